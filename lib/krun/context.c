/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts and the calls that fill them: check, copy, then set, so that a refused call changes
 * nothing. */
#include "context.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libkrun.h"

#define RESOURCES 16u /* RLIM_NLIMITS of Linux */

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct krun_ctx *table[KRUN_CONTEXTS_MAX]; /* under table_lock */

static struct krun_ctx *find(uint32_t id)
{
    struct krun_ctx *c = NULL;

    (void)pthread_mutex_lock(&table_lock);
    if (id < KRUN_CONTEXTS_MAX) {
        c = table[id];
    }
    (void)pthread_mutex_unlock(&table_lock);
    return c;
}

struct krun_ctx *krun_ctx_take(uint32_t id)
{
    struct krun_ctx *c = NULL;

    (void)pthread_mutex_lock(&table_lock);
    if (id < KRUN_CONTEXTS_MAX) {
        c = table[id];
        table[id] = NULL;
    }
    (void)pthread_mutex_unlock(&table_lock);
    return c;
}

int32_t krun_create_ctx(void)
{
    struct krun_ctx *c = calloc(1, sizeof(*c));
    int32_t id = -ENOMEM;

    if (c == NULL) {
        return -ENOMEM;
    }
    c->vcpus = 1;
    c->ram_mib = 256;
    c->shutdown_fd = -1;
    c->share_count = 1;
    (void)pthread_mutex_lock(&table_lock);
    for (uint32_t i = 0; i < KRUN_CONTEXTS_MAX; i++) {
        if (table[i] == NULL) {
            table[i] = c;
            id = (int32_t)i;
            break;
        }
    }
    (void)pthread_mutex_unlock(&table_lock);
    if (id < 0) {
        free(c);
    }
    return id;
}

static void list_free(struct krun_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i]);
    }
    free(l->items);
    *l = (struct krun_list){ 0 };
}

/* A string of ours in a field of the public structs. */
static void free_const(const char *text)
{
    free((void *)(uintptr_t)text);
}

void krun_ctx_free(struct krun_ctx *c)
{
    if (c == NULL) {
        return;
    }
    free(c->root);
    free(c->program);
    free(c->workdir);
    free(c->console_output);
    free(c->kernel);
    free(c->cmdline);
    list_free(&c->argv);
    list_free(&c->env);
    for (size_t i = 0; i < c->disk_count; i++) {
        free_const(c->disks[i].path);
    }
    for (size_t i = 1; i < c->share_count; i++) {
        free_const(c->shares[i].host_path);
        free_const(c->shares[i].tag);
    }
    for (size_t i = 0; i < c->port_count; i++) {
        free(c->ports[i].path);
    }
    if (c->shutdown_fd >= 0) {
        (void)close(c->shutdown_fd);
    }
    free(c);
}

int32_t krun_free_ctx(uint32_t ctx_id)
{
    struct krun_ctx *c = krun_ctx_take(ctx_id);

    krun_ctx_free(c);
    return c != NULL ? 0 : -ENOENT;
}

/* ---- Copies */

static int32_t set_text(char **field, const char *text)
{
    char *copy;

    if (text == NULL || *text == '\0') {
        return -EINVAL;
    }
    copy = strdup(text);
    if (copy == NULL) {
        return -ENOMEM;
    }
    free(*field);
    *field = copy;
    return 0;
}

static int32_t list_copy(struct krun_list *out, const char *const from[])
{
    size_t count = 0;

    while (from[count] != NULL) {
        count++;
    }
    out->items = calloc(count + 1, sizeof(*out->items));
    out->count = 0;
    if (out->items == NULL) {
        return -ENOMEM;
    }
    for (; out->count < count; out->count++) {
        out->items[out->count] = strdup(from[out->count]);
        if (out->items[out->count] == NULL) {
            list_free(out);
            return -ENOMEM;
        }
    }
    return 0;
}

static int32_t set_list(struct krun_list *field, const char *const from[])
{
    struct krun_list copy;
    int32_t err = list_copy(&copy, from);

    if (err == 0) {
        list_free(field);
        *field = copy;
    }
    return err;
}

/* NULL: this process's own. */
static const char *const *environment(const char *const envp[])
{
    return envp != NULL ? envp : (const char *const *)environ;
}

static bool are_assignments(const char *const envp[])
{
    for (size_t i = 0; envp[i] != NULL; i++) {
        if (strchr(envp[i], '=') == NULL || envp[i][0] == '=') {
            return false;
        }
    }
    return true;
}

/* ---- Setters */

int32_t krun_set_vm_config(uint32_t ctx_id, uint8_t num_vcpus, uint32_t ram_mib)
{
    struct krun_ctx *c = find(ctx_id);

    if (c == NULL) {
        return -ENOENT;
    }
    if (num_vcpus == 0 || num_vcpus > DRUPE_VCPUS_MAX || ram_mib < DRUPE_MEMORY_MIB_MIN ||
        ram_mib > DRUPE_MEMORY_MIB_MAX) {
        return -EINVAL;
    }
    c->vcpus = num_vcpus;
    c->ram_mib = ram_mib;
    return 0;
}

int32_t krun_set_root(uint32_t ctx_id, const char *root_path)
{
    struct krun_ctx *c = find(ctx_id);

    return c == NULL ? -ENOENT : set_text(&c->root, root_path);
}

int32_t krun_set_workdir(uint32_t ctx_id, const char *workdir_path)
{
    struct krun_ctx *c = find(ctx_id);

    if (c == NULL) {
        return -ENOENT;
    }
    return workdir_path == NULL || workdir_path[0] != '/' ? -EINVAL
                                                          : set_text(&c->workdir, workdir_path);
}

int32_t krun_set_env(uint32_t ctx_id, const char *const envp[])
{
    struct krun_ctx *c = find(ctx_id);

    if (c == NULL) {
        return -ENOENT;
    }
    return are_assignments(environment(envp)) ? set_list(&c->env, environment(envp)) : -EINVAL;
}

int32_t krun_set_exec(uint32_t ctx_id, const char *exec_path, const char *const argv[],
                      const char *const envp[])
{
    static const char *const none[] = { NULL };
    struct krun_ctx *c = find(ctx_id);
    struct krun_list args = { 0 };
    struct krun_list env = { 0 };
    int32_t err;

    if (c == NULL) {
        return -ENOENT;
    }
    if (exec_path == NULL || *exec_path == '\0' || !are_assignments(environment(envp))) {
        return -EINVAL;
    }
    err = list_copy(&args, argv != NULL ? argv : none);
    err = err != 0 ? err : list_copy(&env, environment(envp));
    err = err != 0 ? err : set_text(&c->program, exec_path);
    if (err != 0) {
        list_free(&args);
        list_free(&env);
        return err;
    }
    list_free(&c->argv);
    list_free(&c->env);
    c->argv = args;
    c->env = env;
    return 0;
}

int32_t krun_set_console_output(uint32_t ctx_id, const char *c_filepath)
{
    struct krun_ctx *c = find(ctx_id);

    return c == NULL ? -ENOENT : set_text(&c->console_output, c_filepath);
}

int32_t krun_setuid(uint32_t ctx_id, uid_t uid)
{
    struct krun_ctx *c = find(ctx_id);

    if (c == NULL) {
        return -ENOENT;
    }
    c->uid = uid;
    c->has_uid = true;
    return 0;
}

int32_t krun_setgid(uint32_t ctx_id, gid_t gid)
{
    struct krun_ctx *c = find(ctx_id);

    if (c == NULL) {
        return -ENOENT;
    }
    c->gid = gid;
    c->has_gid = true;
    return 0;
}

int32_t krun_get_shutdown_eventfd(uint32_t ctx_id)
{
    struct krun_ctx *c = find(ctx_id);

    if (c == NULL) {
        return -ENOENT;
    }
    if (c->shutdown_fd < 0) {
        c->shutdown_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    return c->shutdown_fd < 0 ? -errno : c->shutdown_fd;
}

int32_t krun_set_kernel(uint32_t ctx_id, const char *kernel_path, uint32_t kernel_format,
                        const char *initramfs, const char *cmdline)
{
    struct krun_ctx *c = find(ctx_id);
    int32_t err;

    if (c == NULL) {
        return -ENOENT;
    }
    if (kernel_path == NULL || *kernel_path == '\0' ||
        kernel_format > KRUN_KERNEL_FORMAT_IMAGE_ZSTD) {
        return -EINVAL;
    }
    if (kernel_format != KRUN_KERNEL_FORMAT_ELF || initramfs != NULL) {
        return -ENOTSUP;
    }
    err = cmdline != NULL && *cmdline != '\0' ? set_text(&c->cmdline, cmdline) : 0;
    return err != 0 ? err : set_text(&c->kernel, kernel_path);
}

/* ---- Disks and folders */

int32_t krun_add_disk3(uint32_t ctx_id, const char *block_id, const char *disk_path,
                       uint32_t disk_format, bool read_only, bool direct_io, uint32_t sync_mode)
{
    struct krun_ctx *c = find(ctx_id);
    char *path;

    if (c == NULL) {
        return -ENOENT;
    }
    if (block_id == NULL || disk_path == NULL || *disk_path == '\0' ||
        disk_format > KRUN_DISK_FORMAT_VMDK || sync_mode > KRUN_SYNC_FULL) {
        return -EINVAL;
    }
    if (disk_format != KRUN_DISK_FORMAT_RAW || direct_io) {
        return -ENOTSUP;
    }
    if (c->disk_count == DRUPE_DISKS_MAX) {
        return -ENOMEM;
    }
    path = strdup(disk_path);
    if (path == NULL) {
        return -ENOMEM;
    }
    /* Every mode is served as FULL: what the guest flushes is on the disk. */
    c->disks[c->disk_count++] = (struct drupe_disk){ .path = path, .is_read_only = read_only };
    return 0;
}

int32_t krun_add_disk2(uint32_t ctx_id, const char *block_id, const char *disk_path,
                       uint32_t disk_format, bool read_only)
{
    return krun_add_disk3(ctx_id, block_id, disk_path, disk_format, read_only, false,
                          KRUN_SYNC_FULL);
}

int32_t krun_add_disk(uint32_t ctx_id, const char *block_id, const char *disk_path, bool read_only)
{
    return krun_add_disk2(ctx_id, block_id, disk_path, KRUN_DISK_FORMAT_RAW, read_only);
}

int32_t krun_add_virtiofs3(uint32_t ctx_id, const char *c_tag, const char *c_path,
                           uint64_t shm_size, bool read_only)
{
    struct krun_ctx *c = find(ctx_id);
    char *tag;
    char *path;

    (void)shm_size; /* a window for direct access, which 9p does without */
    if (c == NULL) {
        return -ENOENT;
    }
    if (c_tag == NULL || *c_tag == '\0' || strlen(c_tag) > DRUPE_TAG_SIZE_MAX || c_path == NULL ||
        *c_path == '\0') {
        return -EINVAL;
    }
    for (size_t i = 1; i < c->share_count; i++) {
        if (strcmp(c->shares[i].tag, c_tag) == 0) {
            return -EEXIST;
        }
    }
    if (c->share_count == DRUPE_SHARES_MAX) {
        return -ENOMEM;
    }
    tag = strdup(c_tag);
    path = strdup(c_path);
    if (tag == NULL || path == NULL) {
        free(tag);
        free(path);
        return -ENOMEM;
    }
    c->shares[c->share_count++] =
        (struct drupe_share){ .host_path = path, .tag = tag, .is_read_only = read_only };
    return 0;
}

int32_t krun_add_virtiofs2(uint32_t ctx_id, const char *c_tag, const char *c_path,
                           uint64_t shm_size)
{
    return krun_add_virtiofs3(ctx_id, c_tag, c_path, shm_size, false);
}

int32_t krun_add_virtiofs(uint32_t ctx_id, const char *c_tag, const char *c_path)
{
    return krun_add_virtiofs2(ctx_id, c_tag, c_path, 0);
}

/* ---- Ports and limits */

int32_t krun_add_vsock_port2(uint32_t ctx_id, uint32_t port, const char *c_filepath, bool listen)
{
    struct krun_ctx *c = find(ctx_id);
    char *path;

    if (c == NULL) {
        return -ENOENT;
    }
    if (c_filepath == NULL || *c_filepath == '\0' || strlen(c_filepath) > 107) {
        return -EINVAL;
    }
    if (listen && access(c_filepath, F_OK) == 0) {
        return -EEXIST;
    }
    for (size_t i = 0; i < c->port_count; i++) {
        if (c->ports[i].port == port && c->ports[i].is_listening == listen) {
            return -EEXIST;
        }
    }
    if (c->port_count == KRUN_PORTS_MAX) {
        return -ENOMEM;
    }
    path = strdup(c_filepath);
    if (path == NULL) {
        return -ENOMEM;
    }
    c->ports[c->port_count++] =
        (struct krun_port){ .port = port, .path = path, .is_listening = listen };
    return 0;
}

int32_t krun_add_vsock_port(uint32_t ctx_id, uint32_t port, const char *c_filepath)
{
    return krun_add_vsock_port2(ctx_id, port, c_filepath, false);
}

/* A decimal number up to `end`; moves *text behind it. */
static bool take_number(const char **text, char end, uint64_t *out)
{
    char *stop;

    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    errno = 0;
    *out = strtoull(*text, &stop, 10);
    if (errno != 0 || *stop != end) {
        return false;
    }
    *text = stop + (end != '\0');
    return true;
}

int32_t krun_set_rlimits(uint32_t ctx_id, const char *const rlimits[])
{
    struct krun_ctx *c = find(ctx_id);
    struct krun_rlimit read[KRUN_RLIMITS_MAX];
    size_t count = 0;

    if (c == NULL) {
        return -ENOENT;
    }
    if (rlimits == NULL) {
        return -EINVAL;
    }
    for (; rlimits[count] != NULL; count++) {
        const char *text = rlimits[count];
        uint64_t resource = 0;

        if (count == KRUN_RLIMITS_MAX || !take_number(&text, '=', &resource) ||
            resource >= RESOURCES || !take_number(&text, ':', &read[count].soft) ||
            !take_number(&text, '\0', &read[count].hard) || read[count].soft > read[count].hard) {
            return -EINVAL;
        }
        read[count].resource = (unsigned)resource;
    }
    memcpy(c->rlimits, read, count * sizeof(read[0]));
    c->rlimit_count = count;
    return 0;
}

int32_t krun_set_port_map(uint32_t ctx_id, const char *const port_map[])
{
    if (find(ctx_id) == NULL) {
        return -ENOENT;
    }
    return port_map == NULL || port_map[0] == NULL ? 0 : -ENOTSUP;
}

/* ---- What there is */

int32_t krun_get_max_vcpus(void)
{
    struct drupe_host_report host;

    drupe_host_probe(&host);
    return host.has_kvm ? (int32_t)host.vcpus_max : -ENODEV;
}

int32_t krun_has_feature(uint64_t feature)
{
    if (feature > KRUN_FEATURE_VIRGL_RESOURCE_MAP2) {
        return -EINVAL;
    }
    return feature == KRUN_FEATURE_BLK;
}

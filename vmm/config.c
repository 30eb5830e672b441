/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks come first and report the field and its limit; nothing is clamped. Then files are opened
 * once: later a path may name another file, the descriptor doesn't.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/checked.h>
#include <base/unix_socket.h>

#include "devices/page_disk.h"
#include "error.h"

#include "abi/boot.h"

#define HOSTNAME_SIZE_MAX   64u
#define TTY_SIDE_MAX        65535u
#define CPUID_MODIFIERS_MAX 1024u
#define FD_PATH_PREFIX      "fd:"

void drupe_vm_config_init(drupe_vm_config_t *cfg)
{
    memset(cfg, 0, sizeof(*cfg));
    cfg->struct_size = sizeof(*cfg);
    cfg->accel = DRUPE_ACCEL_AUTO;
    cfg->vcpus = 1;
    cfg->memory_mib = 256;
    cfg->root_mode = DRUPE_ROOT_MAPPED;
    cfg->stdio = DRUPE_STDIO_STREAM;
    cfg->host_stdin = -1;
    cfg->host_stdout = -1;
    cfg->host_stderr = -1;
    cfg->serial_log = -1;
    cfg->serial_in = -1;
    cfg->boot_timeout_ms = 30000;
    cfg->vsock_cid = DRUPE_VSOCK_CID_MIN;
}

static drupe_vm_err_t check_range(const char *field, unsigned value, unsigned low, unsigned high,
                                  struct drupe_error *err)
{
    if (value < low || value > high) {
        return error_field(err, field, "%s is %u; allowed are %u to %u", field, value, low, high);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_path(const char *field, const char *path, struct drupe_error *err)
{
    size_t length = path == NULL ? 0 : strnlen(path, DRUPE_PATH_SIZE_MAX + 1);

    if (length == 0 || length > DRUPE_PATH_SIZE_MAX) {
        return error_field(err, field, "%s must have 1 to %u bytes", field, DRUPE_PATH_SIZE_MAX);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_cmdline(const char *field, const char *text, struct drupe_error *err)
{
    size_t length = text == NULL ? 0 : strnlen(text, DRUPE_CMDLINE_SIZE_MAX + 1);

    if (length > DRUPE_CMDLINE_SIZE_MAX) {
        return error_field(err, field, "%s is longer than %u bytes", field, DRUPE_CMDLINE_SIZE_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~') {
            return error_field(err, field, "%s holds byte 0x%02x at offset %zu", field,
                               (unsigned char)text[i], i);
        }
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_machine(const drupe_vm_config_t *from, struct drupe_error *err)
{
    drupe_vm_err_t r = check_range("vcpus", from->vcpus, 1, DRUPE_VCPUS_MAX, err);

    if (r == DRUPE_OK) {
        r = check_range("memory_mib", from->memory_mib, DRUPE_MEMORY_MIB_MIN, DRUPE_MEMORY_MIB_MAX,
                        err);
    }
    if (r == DRUPE_OK) {
        r = check_range("boot_timeout_ms", from->boot_timeout_ms, DRUPE_BOOT_TIMEOUT_MS_MIN,
                        DRUPE_BOOT_TIMEOUT_MS_MAX, err);
    }
    if (r == DRUPE_OK) {
        r = check_range("accel", from->accel, DRUPE_ACCEL_AUTO, DRUPE_ACCEL_LIBKRUN, err);
    }
    if (r == DRUPE_OK) {
        r = check_range("root_mode", from->root_mode, DRUPE_ROOT_MAPPED, DRUPE_ROOT_DISK_RW, err);
    }
    if (r == DRUPE_OK) {
        r = check_range("stdio", from->stdio, DRUPE_STDIO_STREAM, DRUPE_STDIO_NONE, err);
    }
    if (r == DRUPE_OK) {
        r = check_range("tty_rows", from->tty_rows, 0, TTY_SIDE_MAX, err);
    }
    if (r == DRUPE_OK) {
        r = check_range("tty_cols", from->tty_cols, 0, TTY_SIDE_MAX, err);
    }
    return r;
}

static drupe_vm_err_t check_memory_disk(const struct drupe_disk *d, struct drupe_error *err)
{
    if (d->path != NULL) {
        return error_field(err, "disks", "a disk is in memory or in %.64s, not both", d->path);
    }
    if (d->memory_size % PAGE_DISK_PAGE_SIZE != 0 || d->memory_size > PAGE_DISK_SIZE_MAX) {
        return error_field(err, "disks",
                           "a disk in memory of %llu bytes: whole pages of %u, at most 1 TiB",
                           (unsigned long long)d->memory_size, PAGE_DISK_PAGE_SIZE);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_files(const drupe_vm_config_t *from, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;
    bool has_image = from->kernel_image != NULL && from->kernel_image_size != 0;

    if (has_image == (from->kernel_path != NULL)) {
        return error_field(err, "kernel_path",
                           "exactly one of kernel_path and kernel_image is needed");
    }
    if (from->kernel_path != NULL) {
        r = check_path("kernel_path", from->kernel_path, err);
    }
    if (r == DRUPE_OK && from->root_path != NULL) {
        r = check_path("root_path", from->root_path, err);
    }
    if (r == DRUPE_OK && from->initrd_path != NULL) {
        r = check_path("initrd_path", from->initrd_path, err);
    }
    if (r == DRUPE_OK && from->firecracker_path != NULL) {
        r = check_path("firecracker_path", from->firecracker_path, err);
    }
    if (r == DRUPE_OK && from->disk_count > DRUPE_DISKS_MAX) {
        r = error_field(err, "disks", "%zu disks; at most %u", from->disk_count, DRUPE_DISKS_MAX);
    }
    if (r == DRUPE_OK && from->disk_count != 0 && from->disks == NULL) {
        r = error_field(err, "disks", "disks is NULL and disk_count is not 0");
    }
    for (size_t i = 0; r == DRUPE_OK && from->disks != NULL && i < from->disk_count; i++) {
        r = from->disks[i].memory_size == 0 ? check_path("disks", from->disks[i].path, err)
                                            : check_memory_disk(&from->disks[i], err);
    }
    return r;
}

static drupe_vm_err_t check_cpuid(const drupe_vm_config_t *from, struct drupe_error *err)
{
    if (from->cpuid_count > CPUID_MODIFIERS_MAX ||
        (from->cpuid_count != 0 && from->cpuid == NULL)) {
        return error_field(err, "cpuid", "cpuid has %zu entries; at most %u", from->cpuid_count,
                           CPUID_MODIFIERS_MAX);
    }
    for (size_t i = 0; i < from->cpuid_count; i++) {
        if (from->cpuid[i].reg > 3) {
            return error_field(err, "cpuid", "entry %zu of cpuid names register %u; 0 to 3", i,
                               from->cpuid[i].reg);
        }
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_vsock(const drupe_vm_config_t *from, struct drupe_error *err)
{
    if (from->vsock_path != NULL) {
        size_t length = strnlen(from->vsock_path, DRUPE_VSOCK_PATH_SIZE_MAX + 1);

        if (length == 0 || length > DRUPE_VSOCK_PATH_SIZE_MAX) {
            return error_field(err, "vsock_path", "vsock_path must have 1 to %u bytes",
                               DRUPE_VSOCK_PATH_SIZE_MAX);
        }
        if (from->vsock_cid < DRUPE_VSOCK_CID_MIN || from->vsock_cid == UINT32_MAX) {
            return error_field(err, "vsock_cid", "vsock_cid is %u; allowed are %u to %u",
                               from->vsock_cid, DRUPE_VSOCK_CID_MIN, UINT32_MAX - 1);
        }
    }
    if (from->agent_image != NULL && from->vsock_path == NULL) {
        return error_field(err, "agent_image", "an agent needs vsock_path to be reached by");
    }
    if (from->agent_image != NULL &&
        (from->agent_image_size == 0 || from->agent_image_size > DRUPE_AGENT_SIZE_MAX)) {
        return error_field(err, "agent_image_size", "the agent has %zu bytes; allowed are 1 to %u",
                           from->agent_image_size, DRUPE_AGENT_SIZE_MAX);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_workload(const drupe_vm_config_t *from, struct drupe_error *err)
{
    size_t count = 0;

    if (from->hostname != NULL &&
        strnlen(from->hostname, HOSTNAME_SIZE_MAX + 1) > HOSTNAME_SIZE_MAX) {
        return error_field(err, "hostname", "hostname is longer than %u bytes", HOSTNAME_SIZE_MAX);
    }
    if (from->cwd != NULL && (from->cwd[0] != '/' ||
                              strnlen(from->cwd, DRUPE_PATH_SIZE_MAX + 1) > DRUPE_PATH_SIZE_MAX)) {
        return error_field(err, "cwd", "cwd must be absolute and at most %u bytes",
                           DRUPE_PATH_SIZE_MAX);
    }
    for (; from->env != NULL && from->env[count] != NULL; count++) {
        const char *equals = strchr(from->env[count], '=');

        if (equals == NULL || equals == from->env[count]) {
            return error_field(err, "env", "entry %zu of env is not NAME=value", count);
        }
        if (count == DRUPE_ENV_COUNT_MAX) {
            return error_field(err, "env", "env has more than %u entries", DRUPE_ENV_COUNT_MAX);
        }
    }
    return DRUPE_OK;
}

/* A descriptor that the caller passed: a private duplicate, so that its owner may close it at once.
 */
static drupe_vm_err_t take_fd(const char *field, int fd, int *out, struct drupe_error *err)
{
    if (fd < 0) {
        return DRUPE_OK;
    }
    *out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (*out < 0) {
        (void)error_field(err, field, "%s is descriptor %d, which is not open", field, fd);
        return DRUPE_CONFIG_INVALID;
    }
    return DRUPE_OK;
}

static drupe_vm_err_t open_failed(const char *what, const char *path, int os_errno,
                                  struct drupe_error *err)
{
    drupe_vm_err_t code = DRUPE_NO_ACCESS;

    if (os_errno == ENOENT || os_errno == ENOTDIR) {
        code = DRUPE_NOT_FOUND;
    } else if (os_errno == EMFILE || os_errno == ENFILE || os_errno == ENOMEM) {
        code = DRUPE_NO_MEMORY;
    }
    return error_set(err, code, os_errno, "open %s %s", what, path);
}

static drupe_vm_err_t file_size(const char *what, struct config_file *f, struct drupe_error *err)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0) {
        return error_set(err, DRUPE_NO_ACCESS, errno, "look at %s %s", what, f->path);
    }
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0) {
            return error_set(err, DRUPE_NO_ACCESS, errno, "ask the size of %s %s", what, f->path);
        }
        return DRUPE_OK;
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(err, DRUPE_NO_ACCESS, 0, "%s %s is neither a file nor a block device",
                         what, f->path);
    }
    f->size = (uint64_t)st.st_size;
    return DRUPE_OK;
}

bool config_parse_fd(const char *path, int *out)
{
    int fd = 0;
    size_t i = sizeof(FD_PATH_PREFIX) - 1;

    if (strncmp(path, FD_PATH_PREFIX, i) != 0 || path[i] == '\0') {
        return false;
    }
    for (; path[i] != '\0'; i++) {
        if (path[i] < '0' || path[i] > '9' || fd > (INT32_MAX - 9) / 10) {
            return false;
        }
        fd = fd * 10 + (path[i] - '0');
    }
    *out = fd;
    return true;
}

/* -1 with errno set, like open(2). */
static int open_file(const char *path, bool is_read_only)
{
    /* Not blocking: a FIFO in the place of an image must not hang the caller. */
    int flags = (is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = -1;
    int mode = 0;

    if (!config_parse_fd(path, &fd)) {
        return open(path, flags);
    }
    mode = fcntl(fd, F_GETFL);
    if (mode < 0) {
        return -1;
    }
    if ((mode & O_ACCMODE) == O_WRONLY || (!is_read_only && (mode & O_ACCMODE) != O_RDWR)) {
        errno = EACCES;
        return -1;
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

drupe_vm_err_t config_take_file(const char *what, const char *path, bool is_read_only,
                                struct config_file *out, struct drupe_error *err)
{
    out->path = strdup(path);
    if (out->path == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    out->is_read_only = is_read_only;
    out->fd = open_file(path, is_read_only);
    if (out->fd < 0) {
        return open_failed(what, path, errno, err);
    }
    drupe_vm_err_t r = file_size(what, out, err);

    if (r == DRUPE_OK && out->size == 0) {
        r = error_set(err, DRUPE_NO_ACCESS, 0, "%s %s is empty", what, path);
    }
    return r;
}

static drupe_vm_err_t take_strings(const char *const *from, struct config_strings *out,
                                   struct drupe_error *err)
{
    size_t count = 0;
    size_t bytes = 0;

    for (; from != NULL && from[count] != NULL; count++) {
        bytes += strlen(from[count]) + 1;
        if (bytes > BOOT_ARGS_SIZE_MAX) {
            return error_field(err, "argv", "arguments and environment exceed %u bytes",
                               BOOT_ARGS_SIZE_MAX);
        }
    }
    /* Both terms are bounded: each string has at least its NUL, so count <= bytes. */
    out->items = malloc((count + 1) * sizeof(char *) + bytes);
    if (out->items == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    char *at = (char *)(out->items + count + 1);

    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(from[i]) + 1;

        memcpy(at, from[i], size);
        out->items[i] = at;
        at += size;
    }
    out->items[count] = NULL;
    out->count = count;
    out->bytes = bytes;
    return DRUPE_OK;
}

/* The listening socket; its file is ours from then on. */
static drupe_vm_err_t take_vsock(struct config *c, const drupe_vm_config_t *from,
                                 struct drupe_error *err)
{
    if (from->vsock_path == NULL) {
        return DRUPE_OK;
    }
    c->vsock_fd = unix_listen(from->vsock_path, SOCK_NONBLOCK);
    if (c->vsock_fd < 0) {
        return open_failed("vsock socket", from->vsock_path, -c->vsock_fd, err);
    }
    c->vsock_path = strdup(from->vsock_path);
    if (c->vsock_path == NULL) {
        (void)unlink(from->vsock_path);
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t take_all_files(struct config *c, const drupe_vm_config_t *from,
                                     struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (from->kernel_path != NULL) {
        r = config_take_file("kernel", from->kernel_path, true, &c->kernel, err);
    }
    if (r == DRUPE_OK && from->initrd_path != NULL) {
        r = config_take_file("initrd", from->initrd_path, true, &c->initrd, err);
    }
    if (r == DRUPE_OK && from->root_path != NULL) {
        r = config_take_file("root image", from->root_path, from->root_mode != DRUPE_ROOT_DISK_RW,
                             &c->root, err);
        if (r == DRUPE_OK) {
            r = config_lock_disk("root image", &c->root, err);
        }
    }
    for (; r == DRUPE_OK && c->disk_count < from->disk_count; c->disk_count++) {
        const struct drupe_disk *d = &from->disks[c->disk_count];

        if (d->memory_size == 0) {
            r = config_take_disk(d->path, d->is_read_only, d->is_direct, &c->disks[c->disk_count],
                                 err);
            if (r == DRUPE_OK) {
                r = config_lock_disk("disk", &c->disks[c->disk_count], err);
            }
        }
        c->disks[c->disk_count].memory_size = d->memory_size;
        c->disks[c->disk_count].memory_max =
            d->memory_max == 0 ? d->memory_size / 2 : d->memory_max;
        c->disks[c->disk_count].is_flush_ignored = d->is_flush_ignored;
        c->disks[c->disk_count].is_synchronous = d->is_synchronous;
        c->disks[c->disk_count].limit = d->limit;
    }
    if (r == DRUPE_OK) {
        r = config_take_shares(c, from, err);
    }
    if (r == DRUPE_OK) {
        r = config_take_nets(c, from, err);
    }
    if (r == DRUPE_OK) {
        r = take_fd("host_stdin", from->host_stdin, &c->host_stdin, err);
    }
    if (r == DRUPE_OK) {
        r = take_fd("host_stdout", from->host_stdout, &c->host_stdout, err);
    }
    if (r == DRUPE_OK) {
        r = take_fd("host_stderr", from->host_stderr, &c->host_stderr, err);
    }
    if (r == DRUPE_OK) {
        r = take_fd("serial_log", from->serial_log, &c->serial_log, err);
    }
    if (r == DRUPE_OK) {
        r = take_fd("serial_in", from->serial_in, &c->serial_in, err);
    }
    if (r == DRUPE_OK) {
        r = take_vsock(c, from, err);
    }
    return r;
}

static drupe_vm_err_t take_texts(struct config *c, const drupe_vm_config_t *from,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = take_strings(from->argv, &c->argv, err);

    if (r == DRUPE_OK) {
        r = take_strings(from->env, &c->env, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    c->cmdline_extra = strdup(from->cmdline_extra == NULL ? "" : from->cmdline_extra);
    c->cwd = strdup(from->cwd == NULL ? "" : from->cwd);
    c->hostname = strdup(from->hostname == NULL ? "" : from->hostname);
    if (from->cmdline != NULL) {
        c->cmdline = strdup(from->cmdline);
    }
    if (from->firecracker_path != NULL) {
        c->firecracker_path = strdup(from->firecracker_path);
    }
    if (from->cpuid_count != 0) {
        c->cpuid = malloc(from->cpuid_count * sizeof(*c->cpuid)); /* count is bounded */
    }
    if ((from->cmdline != NULL && c->cmdline == NULL) ||
        (from->firecracker_path != NULL && c->firecracker_path == NULL) ||
        (from->cpuid_count != 0 && c->cpuid == NULL)) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    if (c->cpuid != NULL) {
        memcpy(c->cpuid, from->cpuid, from->cpuid_count * sizeof(*c->cpuid));
        c->cpuid_count = from->cpuid_count;
    }
    if (c->cmdline_extra == NULL || c->cwd == NULL || c->hostname == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    if (sizeof(struct boot_args) + c->argv.bytes + c->env.bytes + strlen(c->cwd) +
            strlen(c->hostname) + 2 >
        BOOT_ARGS_SIZE_MAX) {
        return error_field(err, "argv", "arguments and environment exceed %u bytes",
                           BOOT_ARGS_SIZE_MAX);
    }
    return DRUPE_OK;
}

void config_clear(struct config *c)
{
    memset(c, 0, sizeof(*c));
    c->kernel.fd = -1;
    c->root.fd = -1;
    c->initrd.fd = -1;
    for (size_t i = 0; i < array_size(c->disks); i++) {
        c->disks[i].fd = -1;
    }
    c->kvm_fd = -1;
    c->userfaultfd_fd = -1;
    config_clear_shares(c);
    config_clear_nets(c);
    c->host_stdin = -1;
    c->host_stdout = -1;
    c->host_stderr = -1;
    c->serial_log = -1;
    c->serial_in = -1;
    c->vsock_fd = -1;
    c->vsock_broker_fd = -1;
}

drupe_vm_err_t config_take(struct config *out, const drupe_vm_config_t *from,
                           struct drupe_error *err)
{
    config_clear(out);
    if (from->struct_size != sizeof(*from)) {
        return error_field(err, "struct_size",
                           "the configuration was not made by drupe_vm_config_init()");
    }
    drupe_vm_err_t r = check_machine(from, err);

    if (r == DRUPE_OK) {
        r = check_files(from, err);
    }
    if (r == DRUPE_OK) {
        r = config_check_shares(from, err);
    }
    if (r == DRUPE_OK) {
        r = config_check_nets(from, err);
    }
    if (r == DRUPE_OK) {
        r = check_cmdline("cmdline_extra", from->cmdline_extra, err);
    }
    if (r == DRUPE_OK) {
        r = check_cmdline("cmdline", from->cmdline, err);
    }
    if (r == DRUPE_OK) {
        r = check_cpuid(from, err);
    }
    if (r == DRUPE_OK) {
        r = check_workload(from, err);
    }
    if (r == DRUPE_OK) {
        r = check_vsock(from, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    out->accel = from->accel;
    out->vcpus = from->vcpus;
    out->memory_size = (uint64_t)from->memory_mib << 20;
    out->kernel_image = from->kernel_path == NULL ? from->kernel_image : NULL;
    out->kernel_image_size = from->kernel_path == NULL ? from->kernel_image_size : 0;
    out->root_mode = from->root_mode;
    out->uid = from->uid;
    out->gid = from->gid;
    out->stdio = from->stdio;
    out->tty_rows = from->tty_rows;
    out->tty_cols = from->tty_cols;
    out->is_quiet = from->is_quiet;
    out->has_boot_timer = from->has_boot_timer;
    out->balloon = from->balloon;
    out->entropy_limit = from->entropy_limit;
    out->log = from->log;
    out->log_ctx = from->log_ctx;
    out->boot_timeout_ms = from->boot_timeout_ms;
    out->vsock_cid = from->vsock_cid;
    out->agent_image = from->agent_image;
    out->agent_image_size = from->agent_image == NULL ? 0 : from->agent_image_size;
    out->is_dirty_tracked = from->is_dirty_tracked;
    r = take_texts(out, from, err);
    if (r == DRUPE_OK) {
        r = take_all_files(out, from, err);
    }
    if (r != DRUPE_OK) {
        config_deinit(out);
    }
    return r;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

void config_file_deinit(struct config_file *f)
{
    close_fd(&f->fd);
    free(f->path);
    f->path = NULL;
}

struct config_file *config_disk(struct config *c, unsigned index)
{
    bool has_root = c->root.fd >= 0 && c->root_mode != DRUPE_ROOT_MAPPED;

    if (has_root && index == 0) {
        return &c->root;
    }
    index -= has_root;
    return index < c->disk_count ? &c->disks[index] : NULL;
}

void config_deinit(struct config *c)
{
    config_file_deinit(&c->kernel);
    config_file_deinit(&c->root);
    config_file_deinit(&c->initrd);
    for (size_t i = 0; i < array_size(c->disks); i++) {
        config_file_deinit(&c->disks[i]);
    }
    close_fd(&c->kvm_fd);
    close_fd(&c->userfaultfd_fd);
    config_deinit_shares(c);
    config_deinit_nets(c);
    close_fd(&c->host_stdin);
    close_fd(&c->host_stdout);
    close_fd(&c->host_stderr);
    close_fd(&c->serial_log);
    close_fd(&c->serial_in);
    free(c->cmdline);
    free(c->cpuid);
    close_fd(&c->vsock_fd);
    close_fd(&c->vsock_broker_fd);
    if (c->vsock_path != NULL) {
        (void)unlink(c->vsock_path); /* fails when somebody tidied up already */
    }
    free(c->vsock_path);
    free(c->argv.items);
    free(c->env.items);
    free(c->cmdline_extra);
    free(c->cwd);
    free(c->hostname);
    free(c->firecracker_path);
    config_clear(c);
}

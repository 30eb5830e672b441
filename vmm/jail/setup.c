/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a jail: checked, copied, defaults filled in. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

#include "error.h"
#include "jail/jail_internal.h"

#define MEMORY_MIN (UINT64_C(4) << 20)

drupe_vm_err_t jail_failed(struct drupe_error *err, const char *step, int os_errno,
                           const char *format, ...)
{
    char what[160];
    va_list args;

    va_start(args, format);
    (void)fmt_vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return error_set(err, DRUPE_JAIL_FAILED, os_errno, "jail: %s: %s", step, what);
}

void drupe_jail_config_init(struct drupe_jail_config *cfg)
{
    memset(cfg, 0, sizeof(*cfg));
    cfg->struct_size = sizeof(*cfg);
}

bool jail_id_is_valid(const char *id)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
    const size_t size = strnlen(id, DRUPE_JAIL_ID_SIZE_MAX + 1);

    return size > 0 && size <= DRUPE_JAIL_ID_SIZE_MAX && strspn(id, letters) == size;
}

/* Absolute, and nothing in it that leads elsewhere than it says. */
static bool is_plain_path(const char *path)
{
    size_t at = 0;

    if (path[0] != '/') {
        return false;
    }
    while (path[at] != '\0') {
        const size_t length = strcspn(path + at + 1, "/");

        if ((length == 1 && path[at + 1] == '.') ||
            (length == 2 && path[at + 1] == '.' && path[at + 2] == '.')) {
            return false;
        }
        at += length + 1;
    }
    return true;
}

static drupe_vm_err_t take_path(const char *field, const char *from, char to[JAIL_PATH_MAX],
                                struct drupe_error *err)
{
    if (from == NULL) {
        to[0] = '\0';
        return DRUPE_OK;
    }
    /* Room for what is put behind it. */
    if (strnlen(from, JAIL_PATH_MAX) > JAIL_PATH_MAX - 128 || !is_plain_path(from)) {
        return error_field(err, field,
                           "jail: validate: %s must be absolute, without . and .., and shorter "
                           "than %u bytes",
                           field, JAIL_PATH_MAX - 128);
    }
    (void)fmt_snprintf(to, JAIL_PATH_MAX, "%s", from);
    return DRUPE_OK;
}

/* "0-3,7": what the cpuset files take. */
static drupe_vm_err_t take_list(const char *field, const char *from, char *to, size_t size,
                                struct drupe_error *err)
{
    if (from == NULL) {
        to[0] = '\0';
        return DRUPE_OK;
    }
    if (from[0] == '\0' || from[strspn(from, "0123456789-,")] != '\0' ||
        fmt_snprintf(to, size, "%s", from) >= size) {
        return error_field(err, field, "jail: validate: %s is no list of numbers and ranges",
                           field);
    }
    return DRUPE_OK;
}

bool jail_base(char path[JAIL_PATH_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (geteuid() == 0) {
        return fmt_snprintf(path, JAIL_PATH_MAX, "/run/drupe") < JAIL_PATH_MAX;
    }
    if (runtime != NULL && is_plain_path(runtime)) {
        return fmt_snprintf(path, JAIL_PATH_MAX, "%s/drupe", runtime) < JAIL_PATH_MAX - 128;
    }
    return fmt_snprintf(path, JAIL_PATH_MAX, "/tmp/drupe-%u", (unsigned)geteuid()) < JAIL_PATH_MAX;
}

static drupe_vm_err_t take_paths(struct jail_setup *s, const struct drupe_jail_config *cfg,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = take_path("directory", cfg->directory, s->directory, err);

    if (r == DRUPE_OK) {
        r = take_path("root", cfg->root, s->root, err);
    }
    if (r == DRUPE_OK) {
        r = take_path("netns", cfg->netns, s->netns, err);
    }
    if (r == DRUPE_OK && s->directory[0] == '\0') {
        char base[JAIL_PATH_MAX];

        if (!jail_base(base) || fmt_snprintf(s->directory, sizeof(s->directory), "%s/%s", base,
                                             s->id) >= sizeof(s->directory)) {
            return jail_failed(err, "validate", 0, "no directory for jails; set XDG_RUNTIME_DIR");
        }
        s->owns_directory = true;
    }
    return r;
}

static drupe_vm_err_t take_limits(struct jail_setup *s, const struct drupe_jail_config *cfg,
                                  struct drupe_error *err)
{
    drupe_vm_err_t r =
        take_list("cpuset_cpus", cfg->cpuset_cpus, s->cpuset_cpus, sizeof(s->cpuset_cpus), err);

    if (r == DRUPE_OK) {
        r = take_list("cpuset_mems", cfg->cpuset_mems, s->cpuset_mems, sizeof(s->cpuset_mems), err);
    }
    if (r == DRUPE_OK && cfg->memory_max != 0 && cfg->memory_max < MEMORY_MIN) {
        r = error_field(err, "memory_max", "jail: validate: memory_max is below %llu bytes",
                        (unsigned long long)MEMORY_MIN);
    }
    s->memory_max = cfg->memory_max;
    s->pids_max = cfg->pids_max;
    s->cpu_percent = cfg->cpu_percent;
    s->file_size_max = cfg->file_size_max;
    s->files_max = cfg->files_max == 0 ? JAIL_FILES_DEFAULT : cfg->files_max;
    s->are_limits_optional = cfg->are_limits_optional;
    return r;
}

/* Ids that no other jail of now has, and no user: above all ranges that login tools hand out. */
static uint32_t own_id(void)
{
    return JAIL_UID_BASE + ((uint32_t)getpid() & 0xffffu);
}

static drupe_vm_err_t take_ids(struct jail_setup *s, const struct drupe_jail_config *cfg,
                               struct drupe_error *err)
{
    s->is_root = geteuid() == 0;
    if (!s->is_root) {
        s->uid = geteuid();
        s->gid = getegid();
        return cfg->uid == 0 && cfg->gid == 0
                   ? DRUPE_OK
                   : jail_failed(err, "validate", EPERM, "only root chooses a jail's ids");
    }
    s->uid = cfg->uid == 0 ? own_id() : cfg->uid;
    s->gid = cfg->gid == 0 ? own_id() : cfg->gid;
    if (s->uid == UINT32_MAX || s->gid == UINT32_MAX) {
        return error_field(err, "uid", "jail: validate: %u is no id", UINT32_MAX);
    }
    return DRUPE_OK;
}

void jail_setup_init(struct jail_setup *s)
{
    memset(s, 0, sizeof(*s));
    s->lock_fd = -1;
    s->null_fd = -1;
    s->root_fd = -1;
    s->netns_fd = -1;
    s->pidns_fd = -1;
    s->cgroup_procs_fd = -1;
}

drupe_vm_err_t jail_setup_take(struct jail_setup *s, const struct drupe_jail_config *cfg,
                               struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    jail_setup_init(s);
    if (cfg->struct_size != sizeof(*cfg)) {
        return error_field(err, "struct_size",
                           "the configuration was not made by drupe_jail_config_init()");
    }
    if (cfg->id == NULL || !jail_id_is_valid(cfg->id)) {
        return error_field(err, "id", "jail: validate: an id has 1 to %u of A-Z a-z 0-9 -",
                           DRUPE_JAIL_ID_SIZE_MAX);
    }
    (void)fmt_snprintf(s->id, sizeof(s->id), "%s", cfg->id);
    s->wants_kvm = cfg->wants_kvm;
    s->wants_tun = cfg->wants_tun;
    s->wants_userfaultfd = cfg->wants_userfaultfd;
    s->shares_netns = cfg->shares_netns;
    s->is_daemon = cfg->is_daemon;
    s->filter = cfg->filter;
    r = take_paths(s, cfg, err);
    if (r == DRUPE_OK) {
        r = take_limits(s, cfg, err);
    }
    if (r == DRUPE_OK) {
        r = take_ids(s, cfg, err);
    }
    s->is_reusable = cfg->is_reusable && s->is_root;
    return r;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

void jail_setup_close(struct jail_setup *s)
{
    close_fd(&s->lock_fd);
    close_fd(&s->null_fd);
    close_fd(&s->root_fd);
    close_fd(&s->netns_fd);
    close_fd(&s->pidns_fd);
    close_fd(&s->cgroup_procs_fd);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker's jailer: the same layout and order of work, so that its clients find their files
 * where they expect them. The steps are those of our own jail; what differs is that the root is a
 * directory that the caller may fill, and that a program is executed in it.
 */
#include "drupe/jailer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "jail/jailer_internal.h"

#define BASE_DEFAULT "/srv/jailer"
#define ARGS_MAX     256u

struct jailer {
    const struct drupe_jailer_config *cfg;
    struct jail_setup setup;
    char exec_path[PATH_MAX];      /* without symbolic links */
    const char *exec_name;         /* its last part */
    char directory[JAIL_PATH_MAX]; /* <base>/<exec name>/<id> */
    uint64_t started_us;
    uint64_t started_cpu_us;
};

static uint64_t clock_us(clockid_t clock)
{
    return clock_ns_of(clock) / NS_PER_US;
}

/* ---- Looking at the arguments ---- */

static drupe_vm_err_t take_limit(struct jail_setup *s, const char *text, struct drupe_error *err)
{
    const char *equals = strchr(text, '=');
    const size_t size = equals == NULL ? 0 : (size_t)(equals - text);
    char *end = NULL;
    unsigned long long value = 0;

    errno = 0;
    value = equals == NULL ? 0 : strtoull(equals + 1, &end, 10);
    if (equals == NULL || equals[1] < '0' || equals[1] > '9' || *end != '\0' || errno != 0) {
        return jail_failed(err, "validate", 0, "resource limit %s is not NAME=NUMBER", text);
    }
    if (size == 5 && memcmp(text, "fsize", size) == 0 && value > 0) {
        s->file_size_max = value;
    } else if (size == 7 && memcmp(text, "no-file", size) == 0 && value > 0 &&
               value <= UINT32_MAX) {
        s->files_max = (uint32_t)value;
    } else {
        return jail_failed(err, "validate", 0, "resource limit %s: use fsize=BYTES, no-file=COUNT",
                           text);
    }
    return DRUPE_OK;
}

/* Inside the jail there are no libraries and no loader. */
static drupe_vm_err_t check_static(int fd, const char *path, struct drupe_error *err)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment;

    if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_phentsize != sizeof(segment)) {
        return jail_failed(err, "validate", ENOEXEC, "%s", path);
    }
    for (unsigned i = 0; i < header.e_phnum; i++) {
        const uint64_t at = header.e_phoff + (uint64_t)i * sizeof(segment);

        if (at > INT64_MAX ||
            pread(fd, &segment, sizeof(segment), (off_t)at) != (ssize_t)sizeof(segment)) {
            return jail_failed(err, "validate", ENOEXEC, "%s", path);
        }
        if (segment.p_type == PT_INTERP) {
            return jail_failed(err, "validate", 0,
                               "%s is not static: its libraries are not in the jail; drupe-vmm is",
                               path);
        }
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_exec_file(struct jailer *j, struct drupe_error *err)
{
    struct stat st;
    drupe_vm_err_t r = DRUPE_OK;
    int fd = -1;

    if (j->cfg->exec_file == NULL || realpath(j->cfg->exec_file, j->exec_path) == NULL) {
        return jail_failed(err, "validate", j->cfg->exec_file == NULL ? EINVAL : errno,
                           "exec file %s", j->cfg->exec_file == NULL ? "" : j->cfg->exec_file);
    }
    j->exec_name = strrchr(j->exec_path, '/') + 1;
    fd = open(j->exec_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        r = jail_failed(err, "validate", errno, "exec file %s", j->exec_path);
    } else if (!S_ISREG(st.st_mode)) {
        r = jail_failed(err, "validate", 0, "exec file %s is not a file", j->exec_path);
    } else {
        r = check_static(fd, j->exec_path, err);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

/* Relative and without ".."; it is put below a cgroup mount. */
static bool is_plain_relative(const char *path)
{
    if (path[0] == '/' || path[0] == '\0') {
        return false;
    }
    for (const char *at = path; *at != '\0';) {
        const size_t length = strcspn(at, "/");

        if ((length == 2 && memcmp(at, "..", 2) == 0) || (length == 1 && *at == '.')) {
            return false;
        }
        at += length;
        at += *at == '/' ? 1 : 0;
    }
    return true;
}

static drupe_vm_err_t check_paths(struct jailer *j, struct drupe_error *err)
{
    const char *base = j->cfg->chroot_base == NULL ? BASE_DEFAULT : j->cfg->chroot_base;
    char real[PATH_MAX];
    struct stat st;

    /* The default need not exist; what the caller names does. */
    if (j->cfg->chroot_base == NULL) {
        (void)mkdir("/srv", 0755);
        (void)mkdir(base, 0755);
    }
    if (realpath(base, real) == NULL || stat(real, &st) < 0) {
        return jail_failed(err, "validate", errno, "chroot base %s", base);
    }
    if (!S_ISDIR(st.st_mode)) {
        return jail_failed(err, "validate", ENOTDIR, "chroot base %s", base);
    }
    if (fmt_snprintf(j->directory, sizeof(j->directory), "%s/%s/%s", real, j->exec_name,
                     j->cfg->id) >= sizeof(j->directory) - 128) {
        return jail_failed(err, "validate", ENAMETOOLONG, "chroot base %s", base);
    }
    if (j->cfg->parent_cgroup != NULL && !is_plain_relative(j->cfg->parent_cgroup)) {
        return jail_failed(err, "validate", 0, "parent cgroup %s is not a relative path without ..",
                           j->cfg->parent_cgroup);
    }
    (void)fmt_snprintf(j->setup.root, sizeof(j->setup.root), "%s/root", j->directory);
    if (j->cfg->netns != NULL && fmt_snprintf(j->setup.netns, sizeof(j->setup.netns), "%s",
                                              j->cfg->netns) >= sizeof(j->setup.netns)) {
        return jail_failed(err, "validate", ENAMETOOLONG, "netns");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check(struct jailer *j, struct drupe_error *err)
{
    const struct drupe_jailer_config *cfg = j->cfg;
    drupe_vm_err_t r = DRUPE_OK;

    if (cfg->struct_size != sizeof(*cfg)) {
        return error_field(err, "struct_size", "jail: validate: not this library's configuration");
    }
    if (cfg->id == NULL || !jail_id_is_valid(cfg->id)) {
        return jail_failed(err, "validate", 0, "an id has 1 to %u of A-Z a-z 0-9 -",
                           DRUPE_JAIL_ID_SIZE_MAX);
    }
    if (geteuid() != 0) {
        return jail_failed(err, "validate", EPERM, "the jailer works for root only");
    }
    if (cfg->uid == 0 || cfg->gid == 0) {
        return jail_failed(err, "validate", EPERM, "uid and gid 0 are no jail");
    }
    if (cfg->cgroup_version > 2) {
        return jail_failed(err, "validate", 0, "cgroup version %u; use 1 or 2",
                           cfg->cgroup_version);
    }
    r = check_exec_file(j, err);
    if (r == DRUPE_OK) {
        r = check_paths(j, err);
    }
    if (r == DRUPE_OK) {
        r = jailer_cgroup_check(cfg, err);
    }
    for (size_t i = 0; r == DRUPE_OK && cfg->limits != NULL && cfg->limits[i] != NULL; i++) {
        r = take_limit(&j->setup, cfg->limits[i], err);
    }
    return r;
}

/* ---- The directory ---- */

static drupe_vm_err_t make_directories(const struct jailer *j, struct drupe_error *err)
{
    char path[JAIL_PATH_MAX];
    size_t at = strlen(j->directory) - strlen(j->cfg->id) - 1;

    /* <base>/<exec name>, then <id>, then root: the last ones are nobody else's business. */
    (void)fmt_snprintf(path, sizeof(path), "%.*s", (int)at, j->directory);
    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        return jail_failed(err, "directory", errno, "make %s", path);
    }
    if ((mkdir(j->directory, 0700) < 0 && errno != EEXIST) ||
        (mkdir(j->setup.root, 0700) < 0 && errno != EEXIST)) {
        return jail_failed(err, "directory", errno, "make %s", j->setup.root);
    }
    return DRUPE_OK;
}

static int copy_all(int from, int to)
{
    for (;;) {
        const ssize_t n = sendfile(to, from, NULL, 1u << 20);

        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

/* An own copy: no page of the program is shared with another jail. */
static drupe_vm_err_t copy_program(const struct jailer *j, struct drupe_error *err)
{
    char path[JAIL_PATH_MAX + NAME_MAX];
    const int from = open(j->exec_path, O_RDONLY | O_CLOEXEC);
    int to = -1;
    int r = 0;

    (void)fmt_snprintf(path, sizeof(path), "%s/%s", j->setup.root, j->exec_name);
    (void)unlink(path);
    to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755);
    r = from < 0 || to < 0 ? -errno : copy_all(from, to);
    if (r == 0 && fchmod(to, 0755) < 0) {
        r = -errno;
    }
    if (from >= 0) {
        (void)close(from);
    }
    if (to >= 0 && close(to) < 0 && r == 0) {
        r = -errno;
    }
    return r < 0 ? jail_failed(err, "directory", -r, "copy %s to %s", j->exec_path, path)
                 : DRUPE_OK;
}

/* ---- Inside the new root, still as root ---- */

/* The number under which the host has the device; 0 when it hasn't. Read before the root changes.
 */
static unsigned find_userfaultfd(void)
{
    struct stat st;

    return stat("/dev/userfaultfd", &st) == 0 && S_ISCHR(st.st_mode) ? minor(st.st_rdev) : 0;
}

static drupe_vm_err_t make_node(const struct jailer *j, const char *path, unsigned major_number,
                                unsigned minor_number, struct drupe_error *err)
{
    (void)unlink(path);
    if (mknod(path, S_IFCHR | 0600, makedev(major_number, minor_number)) < 0 ||
        lchown(path, j->cfg->uid, j->cfg->gid) < 0) {
        return jail_failed(err, "devices", errno, "make %s", path);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t furnish(const struct jailer *j, unsigned userfaultfd, struct drupe_error *err)
{
    static const char *const folders[] = { "/", "/dev", "/dev/net", "/run" };
    drupe_vm_err_t r = DRUPE_OK;

    for (size_t i = 0; i < array_size(folders); i++) {
        struct stat st;

        (void)mkdir(folders[i], 0700);
        /* Nothing that a link leads to: the caller, or an earlier life, may have put one there. */
        if (lstat(folders[i], &st) < 0 || !S_ISDIR(st.st_mode) || chmod(folders[i], 0700) < 0 ||
            lchown(folders[i], j->cfg->uid, j->cfg->gid) < 0) {
            return jail_failed(err, "directory", errno, "make %s of the jail", folders[i]);
        }
    }
    r = make_node(j, "/dev/urandom", 1, 9, err);
    if (r == DRUPE_OK && userfaultfd != 0) {
        r = make_node(j, "/dev/userfaultfd", 10, userfaultfd, err);
    }
    return r;
}

/* ---- The way in ---- */

static drupe_vm_err_t enter_namespaces(struct jailer *j, struct drupe_error *err)
{
    int fd = -1;
    int r = 0;

    if (j->cfg->netns != NULL) {
        fd = open(j->setup.netns, O_RDONLY | O_CLOEXEC);
        r = fd < 0 || setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    return r < 0 ? jail_failed(err, "network namespace", -r, "join %s", j->setup.netns) : DRUPE_OK;
}

static drupe_vm_err_t enter_root(struct jailer *j, struct drupe_error *err)
{
    const unsigned userfaultfd = find_userfaultfd();
    drupe_vm_err_t r = DRUPE_OK;

    if (unshare(CLONE_NEWNS) < 0) {
        return jail_failed(err, "namespaces", errno, "unshare the mounts");
    }
    j->setup.wants_kvm = true;
    j->setup.wants_tun = true;
    r = jail_root_enter(&j->setup, err);
    return r == DRUPE_OK ? furnish(j, userfaultfd, err) : r;
}

static _Noreturn void exec_failed(int os_errno)
{
    /* Its streams may be /dev/null; the status is what is left to tell with. */
    _exit(os_errno == ENOENT ? 127 : 126);
}

static drupe_vm_err_t exec_program(const struct jailer *j, uint64_t parent_cpu_us,
                                   struct drupe_error *err)
{
    char path[NAME_MAX + 2];
    char start[24];
    char start_cpu[24];
    char parent_cpu[24];
    const char *args[ARGS_MAX + 12];
    const char *const environment[] = { NULL };
    size_t count = 0;

    (void)fmt_snprintf(path, sizeof(path), "/%s", j->exec_name);
    (void)fmt_snprintf(start, sizeof(start), "%llu", (unsigned long long)j->started_us);
    (void)fmt_snprintf(start_cpu, sizeof(start_cpu), "%llu", (unsigned long long)j->started_cpu_us);
    (void)fmt_snprintf(parent_cpu, sizeof(parent_cpu), "%llu", (unsigned long long)parent_cpu_us);
    const char *const own[] = { path,       "--id",
                                j->cfg->id, "--start-time-us",
                                start,      "--start-time-cpu-us",
                                start_cpu,  "--parent-cpu-time-us",
                                parent_cpu };

    for (size_t i = 0; i < array_size(own); i++) {
        args[count++] = own[i];
    }
    for (size_t i = 0; j->cfg->args != NULL && j->cfg->args[i] != NULL; i++) {
        if (i == ARGS_MAX) {
            return jail_failed(err, "exec", E2BIG, "%s", path);
        }
        args[count++] = j->cfg->args[i];
    }
    args[count] = NULL;
    (void)execve(path, (char *const *)(uintptr_t)args, (char *const *)(uintptr_t)environment);
    return jail_failed(err, "exec", errno, "%s", path);
}

static int write_pid(const struct jailer *j, pid_t pid)
{
    char path[NAME_MAX + 8];
    char text[16];
    size_t size = fmt_snprintf(text, sizeof(text), "%d", (int)pid);
    int fd = -1;
    int r = 0;

    (void)fmt_snprintf(path, sizeof(path), "/%s.pid", j->exec_name);
    (void)unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    r = write(fd, text, size) == (ssize_t)size && fchown(fd, j->cfg->uid, j->cfg->gid) == 0
            ? 0
            : -errno;
    (void)close(fd);
    return r;
}

static drupe_vm_err_t drop_and_exec(struct jailer *j, uint64_t parent_cpu_us,
                                    struct drupe_error *err)
{
    drupe_vm_err_t r = jail_privileges_drop(&j->setup, err);

    return r == DRUPE_OK ? exec_program(j, parent_cpu_us, err) : r;
}

/* In the starter DRUPE_OK; the child does not return. */
static drupe_vm_err_t exec_in_pid_namespace(struct jailer *j, struct drupe_error *err)
{
    pid_t pid = -1;
    int r = 0;

    if (unshare(CLONE_NEWPID) < 0) {
        return jail_failed(err, "namespaces", errno, "unshare the processes");
    }
    pid = fork();
    if (pid < 0) {
        return jail_failed(err, "namespaces", errno, "fork");
    }
    if (pid == 0) {
        struct drupe_error last;

        (void)!drop_and_exec(j, clock_us(CLOCK_PROCESS_CPUTIME_ID), &last);
        (void)!write(STDERR_FILENO, last.text, strlen(last.text));
        (void)!write(STDERR_FILENO, "\n", 1);
        exec_failed(last.os_errno);
    }
    r = write_pid(j, pid);
    return r < 0 ? jail_failed(err, "pid file", -r, "/%s.pid", j->exec_name) : DRUPE_OK;
}

drupe_vm_err_t drupe_jailer_exec(const struct drupe_jailer_config *cfg, struct drupe_error *err)
{
    struct jailer j = { .cfg = cfg,
                        .started_us = clock_us(CLOCK_MONOTONIC),
                        .started_cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID) };
    drupe_vm_err_t r = DRUPE_OK;

    jail_setup_init(&j.setup);
    j.setup.is_root = true;
    j.setup.uid = cfg->uid;
    j.setup.gid = cfg->gid;
    j.setup.is_daemon = cfg->is_daemon;
    j.setup.files_max = JAIL_FILES_DEFAULT;
    r = check(&j, err);
    if (r == DRUPE_OK) {
        int none = -1;

        r = jail_close_others(&none, 0, err);
    }
    if (r == DRUPE_OK && clearenv() != 0) {
        r = jail_failed(err, "environment", errno, "clear it");
    }
    if (r == DRUPE_OK) {
        r = make_directories(&j, err);
    }
    if (r == DRUPE_OK) {
        r = copy_program(&j, err);
    }
    if (r == DRUPE_OK) {
        r = enter_namespaces(&j, err);
    }
    if (r == DRUPE_OK) {
        r = jail_limits_set(&j.setup, err);
    }
    if (r == DRUPE_OK) {
        r = jailer_cgroup_enter(cfg, j.exec_name, err);
    }
    if (r == DRUPE_OK) {
        r = enter_root(&j, err);
    }
    if (r == DRUPE_OK && cfg->is_daemon) {
        r = jail_session_begin(&j.setup, err);
    }
    if (r == DRUPE_OK) {
        r = cfg->has_pid_namespace ? exec_in_pid_namespace(&j, err)
                                   : drop_and_exec(&j, clock_us(CLOCK_PROCESS_CPUTIME_ID), err);
    }
    return r;
}

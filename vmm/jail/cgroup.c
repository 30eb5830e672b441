/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's control groups: <mount>/drupe/<id>, in version 2's one tree where that has the
 * controllers, otherwise in version 1's tree of each controller that a limit needs. Joining waits
 * for the kernel's grace period, milliseconds on some hosts; so the maker thread joins ahead where
 * version 1 lets a single thread do so, and the process that it forks is in from its first
 * instruction.
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/fmt.h>

#include "jail/jail_internal.h"

#define PARENT         "drupe"
#define CPU_PERIOD_US  100000u
#define REMOVE_LOOKS   200
#define REMOVE_LOOK_NS 1000000

enum controller {
    CONTROLLER_CPU,
    CONTROLLER_CPUSET,
    CONTROLLER_MEMORY,
    CONTROLLER_PIDS,
};

static const char *const controller_names[JAIL_CONTROLLERS] = { "cpu", "cpuset", "memory", "pids" };

/* Where the host has its trees; looked up once. */
struct hierarchy {
    int version;
    unsigned controllers; /* bit 1 << enum controller */
    unsigned in_version_2;
    char mounts[JAIL_CONTROLLERS][256]; /* version 2: all the same */
};

static struct hierarchy host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

/* ---- Small files ---- */

static int file_write(const char *dir, const char *name, const char *text)
{
    char path[JAIL_PATH_MAX];
    const size_t size = strlen(text);
    int fd = -1;
    int r = 0;

    if (fmt_snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (write(fd, text, size) != (ssize_t)size) {
        r = -errno;
    }
    (void)close(fd);
    return r;
}

static int file_write_number(const char *dir, const char *name, uint64_t value)
{
    char text[24];

    (void)fmt_snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return file_write(dir, name, text);
}

/* The number of bytes read, without a newline at the end, or -errno. */
static int file_read(const char *dir, const char *name, char *text, size_t size)
{
    char path[JAIL_PATH_MAX];
    ssize_t n = -1;
    int fd = -1;

    (void)fmt_snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    n = read(fd, text, size - 1);
    (void)close(fd);
    if (n < 0) {
        return -EIO;
    }
    while (n > 0 && text[n - 1] == '\n') {
        n--;
    }
    text[n] = '\0';
    return (int)n;
}

static bool has_word(const char *words, const char *word)
{
    const size_t size = strlen(word);

    for (const char *at = words; *at != '\0';) {
        const size_t length = strcspn(at, " ,");

        if (length == size && memcmp(at, word, size) == 0) {
            return true;
        }
        at += length;
        at += *at == '\0' ? 0 : 1;
    }
    return false;
}

/* ---- The host ---- */

static void take_version_2(const char *dir)
{
    char words[256];

    if (file_read(dir, "cgroup.controllers", words, sizeof(words)) < 0) {
        return;
    }
    for (unsigned c = 0; c < JAIL_CONTROLLERS; c++) {
        if (has_word(words, controller_names[c])) {
            host.version = 2;
            host.controllers |= 1u << c;
            host.in_version_2 |= 1u << c;
            (void)fmt_snprintf(host.mounts[c], sizeof(host.mounts[c]), "%s", dir);
        }
    }
}

static void take_version_1(const char *dir, const char *options)
{
    for (unsigned c = 0; c < JAIL_CONTROLLERS; c++) {
        /* A host that has both: what version 2 holds, version 1 doesn't. */
        if (has_word(options, controller_names[c]) && (host.controllers & (1u << c)) == 0) {
            host.version = host.version == 0 ? 1 : host.version;
            host.controllers |= 1u << c;
            (void)fmt_snprintf(host.mounts[c], sizeof(host.mounts[c]), "%s", dir);
        }
    }
}

static void look_at_host(void)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    char text[4096];

    while (f != NULL && getmntent_r(f, &entry, text, sizeof(text)) != NULL) {
        if (access(entry.mnt_dir, W_OK) < 0 || strlen(entry.mnt_dir) >= sizeof(host.mounts[0])) {
            continue;
        }
        if (strcmp(entry.mnt_type, "cgroup2") == 0) {
            take_version_2(entry.mnt_dir);
        } else if (strcmp(entry.mnt_type, "cgroup") == 0) {
            take_version_1(entry.mnt_dir, entry.mnt_opts);
        }
    }
    if (f != NULL) {
        (void)endmntent(f);
    }
}

int jail_cgroup_probe(char *controllers, size_t size)
{
    size_t length = 0;

    (void)pthread_once(&host_once, look_at_host);
    controllers[0] = '\0';
    for (unsigned c = 0; c < JAIL_CONTROLLERS && length < size; c++) {
        if ((host.controllers & (1u << c)) != 0) {
            length += fmt_snprintf(controllers + length, size - length, "%s%s",
                                   length == 0 ? "" : " ", controller_names[c]);
        }
    }
    return host.version;
}

/* ---- Making ---- */

static void group_path(enum controller c, const char *id, char path[JAIL_PATH_MAX])
{
    (void)fmt_snprintf(path, JAIL_PATH_MAX, "%s/" PARENT "%s%s", host.mounts[c],
                       id[0] == '\0' ? "" : "/", id);
}

static bool is_version_2(enum controller c)
{
    return (host.in_version_2 & (1u << c)) != 0;
}

static unsigned needed_controllers(const struct jail_setup *s)
{
    unsigned needed = 0;

    needed |= s->cpu_percent != 0 ? 1u << CONTROLLER_CPU : 0;
    needed |= s->cpuset_cpus[0] != '\0' || s->cpuset_mems[0] != '\0' ? 1u << CONTROLLER_CPUSET : 0;
    needed |= s->memory_max != 0 ? 1u << CONTROLLER_MEMORY : 0;
    needed |= s->pids_max != 0 ? 1u << CONTROLLER_PIDS : 0;
    return needed;
}

/* Version 1 gives a new cpuset neither CPUs nor memory; it gets those of the group above. */
static void inherit_cpuset(const char *from, const char *to)
{
    static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
    char text[256];

    for (size_t i = 0; i < array_size(files); i++) {
        if (file_read(to, files[i], text, sizeof(text)) == 0 &&
            file_read(from, files[i], text, sizeof(text)) > 0) {
            (void)file_write(to, files[i], text);
        }
    }
}

/* The group that all of ours stand in; in version 2 both levels must hand the controllers down. */
static int make_parent(enum controller c)
{
    char parent[JAIL_PATH_MAX];
    char words[16];

    group_path(c, "", parent);
    if (mkdir(parent, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    if (is_version_2(c)) {
        int r = 0;

        (void)fmt_snprintf(words, sizeof(words), "+%s", controller_names[c]);
        r = file_write(host.mounts[c], "cgroup.subtree_control", words);
        return r < 0 ? r : file_write(parent, "cgroup.subtree_control", words);
    }
    if (c == CONTROLLER_CPUSET) {
        inherit_cpuset(host.mounts[c], parent);
    }
    return 0;
}

static int limit_cpu(const struct jail_setup *s, const char *dir, bool is_v2)
{
    const uint64_t quota = (uint64_t)s->cpu_percent * (CPU_PERIOD_US / 100u);
    char text[48];
    int r = 0;

    if (is_v2) {
        (void)fmt_snprintf(text, sizeof(text), "%llu %u", (unsigned long long)quota, CPU_PERIOD_US);
        return file_write(dir, "cpu.max", text);
    }
    r = file_write_number(dir, "cpu.cfs_period_us", CPU_PERIOD_US);
    return r < 0 ? r : file_write_number(dir, "cpu.cfs_quota_us", quota);
}

static int limit_cpuset(const struct jail_setup *s, const char *dir, bool is_v2)
{
    int r = 0;

    if (!is_v2) {
        char parent[JAIL_PATH_MAX];

        group_path(CONTROLLER_CPUSET, "", parent);
        inherit_cpuset(parent, dir);
    }
    if (s->cpuset_cpus[0] != '\0') {
        r = file_write(dir, "cpuset.cpus", s->cpuset_cpus);
    }
    if (r == 0 && s->cpuset_mems[0] != '\0') {
        r = file_write(dir, "cpuset.mems", s->cpuset_mems);
    }
    return r;
}

static int limit_memory(const struct jail_setup *s, const char *dir, bool is_v2)
{
    int r = 0;

    if (is_v2) {
        int swap = 0;

        r = file_write_number(dir, "memory.max", s->memory_max);
        swap = r < 0 ? 0 : file_write(dir, "memory.swap.max", "0");
        return swap == 0 || swap == -ENOENT ? r : swap; /* not there: swap isn't accounted */
    }
    r = file_write_number(dir, "memory.limit_in_bytes", s->memory_max);
    if (r == 0 && file_write_number(dir, "memory.memsw.limit_in_bytes", s->memory_max) < 0) {
        /* Swap is not accounted here; then at least none of it is wanted. */
        (void)file_write(dir, "memory.swappiness", "0");
    }
    return r;
}

static int set_limit(const struct jail_setup *s, enum controller c, const char *dir)
{
    switch (c) {
    case CONTROLLER_CPU:
        return limit_cpu(s, dir, is_version_2(c));
    case CONTROLLER_CPUSET:
        return limit_cpuset(s, dir, is_version_2(c));
    case CONTROLLER_MEMORY:
        return limit_memory(s, dir, is_version_2(c));
    case CONTROLLER_PIDS:
        return file_write_number(dir, "pids.max", s->pids_max);
    }
    return -EINVAL;
}

static int join(struct jail_setup *s, enum controller c, const char *dir, enum jail_joiner who)
{
    char path[JAIL_PATH_MAX];

    if (!is_version_2(c)) {
        return file_write(dir, who == JAIL_JOIN_THREAD ? "tasks" : "cgroup.procs", "0");
    }
    if (s->cgroup_procs_fd >= 0) {
        return 0; /* one tree: another controller's group is the same */
    }
    (void)fmt_snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    s->cgroup_procs_fd = open(path, O_WRONLY | O_CLOEXEC);
    return s->cgroup_procs_fd < 0 ? -errno : 0;
}

static int make_group(struct jail_setup *s, enum controller c, enum jail_joiner who)
{
    char dir[JAIL_PATH_MAX];
    int r = 0;

    group_path(c, s->id, dir);
    s->cgroups |= 1u << c;
    if (mkdir(dir, 0755) < 0) {
        r = -errno;
        if (r == -ENOENT) {
            r = make_parent(c);
            r = r < 0 || mkdir(dir, 0755) == 0 ? r : -errno;
        }
        /* Version 2: made for another controller. */
        r = r == -EEXIST ? 0 : r;
    }
    r = r < 0 ? r : set_limit(s, c, dir);
    if (r == -ENOENT && is_version_2(c)) {
        /* The parent was made when others were needed, and does not hand this one down yet. */
        r = make_parent(c);
        r = r < 0 ? r : set_limit(s, c, dir);
    }
    return r < 0 ? r : join(s, c, dir, who);
}

drupe_vm_err_t jail_cgroup_make(struct jail_setup *s, enum jail_joiner who, struct drupe_error *err)
{
    const unsigned needed = needed_controllers(s);

    (void)pthread_once(&host_once, look_at_host);
    for (unsigned c = 0; c < JAIL_CONTROLLERS; c++) {
        int r = -ENOTSUP;

        if ((needed & (1u << c)) == 0) {
            continue;
        }
        if ((host.controllers & (1u << c)) != 0) {
            r = make_group(s, (enum controller)c, who);
        }
        if (r < 0 && !s->are_limits_optional) {
            return jail_failed(err, "cgroup", -r, "limit %s of %s", controller_names[c], s->id);
        }
    }
    return DRUPE_OK;
}

/* ---- Removing ---- */

static void kill_members(const char *dir)
{
    char path[JAIL_PATH_MAX];
    FILE *f = NULL;
    char line[32];

    if (file_write(dir, "cgroup.kill", "1") == 0) {
        return;
    }
    (void)fmt_snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const long pid = strtol(line, NULL, 10);

        /* 0: of another PID namespace, which we can't name; never ourselves. */
        if (pid > 1 && pid != (long)getpid()) {
            (void)kill((pid_t)pid, SIGKILL);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

/* A killed process leaves its group some time later, when its memory is gone. */
static void remove_group(const char *dir)
{
    const struct timespec pause = { .tv_nsec = REMOVE_LOOK_NS };

    for (int i = 0; rmdir(dir) < 0 && errno == EBUSY && i < REMOVE_LOOKS; i++) {
        kill_members(dir);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}

void jail_cgroup_remove(const char *id, unsigned cgroups)
{
    char dir[JAIL_PATH_MAX];

    (void)pthread_once(&host_once, look_at_host);
    for (unsigned c = 0; c < JAIL_CONTROLLERS; c++) {
        if ((host.controllers & cgroups & (1u << c)) != 0) {
            group_path((enum controller)c, id, dir);
            remove_group(dir);
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jailer's control groups: files and values as its caller gives them, in
 * <mount>/<parent>/<id>, of one version for all.
 */
#include "jail/jailer_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/fmt.h>

static int write_text(const char *dir, const char *name, const char *text)
{
    char path[JAIL_PATH_MAX];
    const size_t size = strlen(text);
    int r = 0;
    int fd = -1;

    if (fmt_snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    r = write(fd, text, size) == (ssize_t)size ? 0 : -errno;
    (void)close(fd);
    return r;
}

static int read_text(const char *dir, const char *name, char *text, size_t size)
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
    text[n < 0 ? 0 : n] = '\0';
    return n < 0 ? -EIO : 0;
}

/* Where the controller's tree (version 1) or the one tree (version 2) is mounted. */
static bool find_mount(unsigned version, const char *controller, char *out, size_t size)
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    char text[4096];
    bool is_found = false;

    while (f != NULL && !is_found && getmntent_r(f, &entry, text, sizeof(text)) != NULL) {
        is_found = version == 2 ? strcmp(entry.mnt_type, "cgroup2") == 0
                                : strcmp(entry.mnt_type, "cgroup") == 0 &&
                                      hasmntopt(&entry, controller) != NULL;
        is_found = is_found && fmt_snprintf(out, size, "%s", entry.mnt_dir) < size;
    }
    if (f != NULL) {
        (void)endmntent(f);
    }
    return is_found;
}

/* "cpuset.cpus=0-1" in its three parts. */
struct assignment {
    char controller[32];
    char file[64];
    const char *value;
};

static bool split(const char *text, struct assignment *out)
{
    const char *equals = strchr(text, '=');
    const size_t dot = strcspn(text, ".=");

    if (equals == NULL || equals == text || equals[1] == '\0' || text[dot] != '.' || dot == 0 ||
        dot >= sizeof(out->controller) || (size_t)(equals - text) >= sizeof(out->file)) {
        return false;
    }
    (void)fmt_snprintf(out->controller, sizeof(out->controller), "%.*s", (int)dot, text);
    (void)fmt_snprintf(out->file, sizeof(out->file), "%.*s", (int)(equals - text), text);
    out->value = equals + 1;
    return strchr(out->file, '/') == NULL && strstr(out->file, "..") == NULL;
}

drupe_vm_err_t jailer_cgroup_check(const struct drupe_jailer_config *cfg, struct drupe_error *err)
{
    struct assignment a = { .value = "" };

    for (size_t i = 0; cfg->cgroups != NULL && cfg->cgroups[i] != NULL; i++) {
        if (!split(cfg->cgroups[i], &a)) {
            return jail_failed(err, "validate", 0, "cgroup %s is not FILE=VALUE", cfg->cgroups[i]);
        }
    }
    return DRUPE_OK;
}

/* Version 1: a new cpuset is empty, and nothing can join it. */
static void fill_cpuset(const char *parent, const char *dir)
{
    static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
    char text[256] = "";

    for (size_t i = 0; i < array_size(files); i++) {
        if (read_text(dir, files[i], text, sizeof(text)) == 0 && text[0] <= '\n' &&
            read_text(parent, files[i], text, sizeof(text)) == 0) {
            (void)write_text(dir, files[i], text);
        }
    }
}

/* One level down from `dir`, which becomes it. */
static int descend(unsigned version, const char *controller, char *dir, size_t size,
                   const char *name, size_t name_size)
{
    char parent[JAIL_PATH_MAX];
    char word[40];
    const size_t length = strlen(dir);
    int r = 0;

    (void)fmt_snprintf(parent, sizeof(parent), "%s", dir);
    if (version == 2 && controller[0] != '\0') {
        (void)fmt_snprintf(word, sizeof(word), "+%s", controller);
        r = write_text(parent, "cgroup.subtree_control", word);
    }
    if (fmt_snprintf(dir + length, size - length, "/%.*s", (int)name_size, name) >= size - length) {
        return -ENAMETOOLONG;
    }
    if (r == 0 && mkdir(dir, 0755) < 0 && errno != EEXIST) {
        r = -errno;
    }
    if (r == 0 && version == 1 && strcmp(controller, "cpuset") == 0) {
        fill_cpuset(parent, dir);
    }
    return r;
}

/* <mount>/<parent>/<id>, made level by level. */
static int make_group(const struct drupe_jailer_config *cfg, unsigned version,
                      const char *controller, const char *parent, char *dir, size_t size)
{
    int r = 0;

    if (!find_mount(version, controller, dir, size)) {
        return -ENODEV;
    }
    for (const char *at = parent; r == 0 && *at != '\0';) {
        const size_t length = strcspn(at, "/");

        if (length > 0) {
            r = descend(version, controller, dir, size, at, length);
        }
        at += length;
        at += *at == '/' ? 1 : 0;
    }
    return r == 0 ? descend(version, controller, dir, size, cfg->id, strlen(cfg->id)) : r;
}

static const char *join_file(unsigned version)
{
    return version == 2 ? "cgroup.procs" : "tasks";
}

drupe_vm_err_t jailer_cgroup_enter(const struct drupe_jailer_config *cfg, const char *exec_name,
                                   struct drupe_error *err)
{
    const unsigned version = cfg->cgroup_version == 2 ? 2 : 1;
    const char *parent = cfg->parent_cgroup != NULL ? cfg->parent_cgroup : exec_name;
    char dir[JAIL_PATH_MAX] = "";
    struct assignment a = { .value = "" };
    int r = 0;

    for (size_t i = 0; cfg->cgroups != NULL && cfg->cgroups[i] != NULL; i++) {
        (void)split(cfg->cgroups[i], &a); /* jailer_cgroup_check() has seen it */
        r = make_group(cfg, version, a.controller, parent, dir, sizeof(dir));
        r = r < 0 ? r : write_text(dir, a.file, a.value);
        r = r < 0 ? r : write_text(dir, join_file(version), "0");
        if (r < 0) {
            return jail_failed(err, "cgroup", -r, "set %s", cfg->cgroups[i]);
        }
    }
    if (version == 2 && (cfg->cgroups == NULL || cfg->cgroups[0] == NULL) &&
        cfg->parent_cgroup != NULL) {
        char mount[256];

        if (!find_mount(2, "", mount, sizeof(mount)) ||
            fmt_snprintf(dir, sizeof(dir), "%s/%s", mount, parent) >= sizeof(dir)) {
            return jail_failed(err, "cgroup", ENODEV, "find version 2");
        }
        r = write_text(dir, "cgroup.procs", "0");
    }
    return r < 0 ? jail_failed(err, "cgroup", -r, "join %s", parent) : DRUPE_OK;
}

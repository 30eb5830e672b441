/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <directory>/jail holds a lock file. The lock belongs
 * to the open file description that starter and jailed process share: it goes when the last of them
 * does, however it ended. Whoever can take the lock may therefore clean up; there is no pid to
 * compare and no moment at which a live jail looks dead.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/fmt.h>

#include "jail/jail_internal.h"

#define ATTEMPTS    8
#define FORGOTTEN_S 60

static void path_below(const char *directory, const char *name, char path[JAIL_PATH_MAX])
{
    /* jail_setup_take() left room for it. */
    (void)fmt_snprintf(path, JAIL_PATH_MAX, "%s/%s", directory, name);
}

/* Ours, a directory, and no symbolic link that another user put there. */
static int make_private(const char *path)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    if (lstat(path, &st) < 0) {
        return -errno;
    }
    if (!S_ISDIR(st.st_mode)) {
        return -ENOTDIR;
    }
    return st.st_uid == geteuid() ? 0 : -EPERM;
}

/* The lock of a new jail; -EEXIST when the id's jail lives, -EAGAIN when somebody cleans up. */
static int take_lock(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = 0;

    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0) {
        r = -EAGAIN;
        (void)close(fd);
        return r;
    }
    return fd;
}

static void remove_files(const char *directory)
{
    char path[JAIL_PATH_MAX];

    path_below(directory, "jail/lock", path);
    (void)unlink(path);
    path_below(directory, "jail", path);
    (void)rmdir(path);
}

/* True when the jail in that directory was a dead one and is no more. */
static bool sweep_one(const char *directory, const char *id)
{
    char path[JAIL_PATH_MAX];
    int fd = -1;

    path_below(directory, "jail/lock", path);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        /* Killed before it made its lock; whoever is about to make one sees that and begins anew.
         */
        path_below(directory, "jail", path);
        return errno == ENOENT && rmdir(path) == 0;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        (void)close(fd);
        return false;
    }
    jail_cgroup_remove(id, JAIL_ALL_CGROUPS);
    remove_files(directory);
    (void)close(fd);
    return true;
}

/* Killed before anything stood in it. Not a young one: it may be somebody's who is not ready. */
static bool is_forgotten(const char *directory)
{
    struct stat st;

    return lstat(directory, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           time(NULL) - st.st_mtime > FORGOTTEN_S && rmdir(directory) == 0;
}

unsigned drupe_jail_sweep(const char *base)
{
    char own[JAIL_PATH_MAX];
    char path[JAIL_PATH_MAX];
    unsigned count = 0;
    DIR *dir = NULL;

    if (base == NULL && !jail_base(own)) {
        return 0;
    }
    dir = opendir(base == NULL ? own : base);
    if (dir == NULL) {
        return 0;
    }
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (!jail_id_is_valid(e->d_name) ||
            fmt_snprintf(path, sizeof(path), "%s/%s", base == NULL ? own : base, e->d_name) >=
                sizeof(path) - 16) {
            continue;
        }
        if (sweep_one(path, e->d_name)) {
            (void)rmdir(path); /* empty: it was the jail's alone */
            count++;
        } else if (is_forgotten(path)) {
            count++;
        }
    }
    (void)closedir(dir);
    return count;
}

drupe_vm_err_t jail_directory_make(struct jail_setup *s, struct drupe_error *err)
{
    char base[JAIL_PATH_MAX];
    char path[JAIL_PATH_MAX];
    int r = 0;

    if (s->owns_directory) {
        (void)fmt_snprintf(base, sizeof(base), "%s", s->directory);
        *strrchr(base, '/') = '\0';
        r = make_private(base);
    }
    for (int i = 0; r >= 0 && s->lock_fd < 0 && i < ATTEMPTS; i++) {
        r = make_private(s->directory);
        path_below(s->directory, "jail", path);
        r = r < 0 ? r : make_private(path);
        path_below(s->directory, "jail/lock", path);
        r = r < 0 ? r : take_lock(path);
        if (r >= 0) {
            s->lock_fd = r;
        } else if (r == -EEXIST && !sweep_one(s->directory, s->id)) {
            return jail_failed(err, "directory", EEXIST, "id %s is in use: %s", s->id, path);
        } else if (r == -EEXIST || r == -EAGAIN || r == -ENOENT) {
            r = 0; /* somebody swept: again */
        }
    }
    if (r < 0 || s->lock_fd < 0) {
        return jail_failed(err, "directory", r < 0 ? -r : EAGAIN, "make %s", s->directory);
    }
    return DRUPE_OK;
}

void jail_directory_remove(const struct jail_setup *s)
{
    remove_files(s->directory);
    if (s->owns_directory) {
        (void)rmdir(s->directory);
    }
}

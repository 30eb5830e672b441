/* SPDX-License-Identifier: Apache-2.0 */
/* Files, directories, lists and buffers; see files.h. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"

/* ---- Files ----------------------------------------------------------------------------------- */

int file_read(const char *path, size_t size_max, struct buffer *out)
{
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    }
    /* Files of /proc say 0 bytes, and a file may grow meanwhile: read until the end, bounded. */
    buffer_reserve(out, (size_t)min_of((uint64_t)st.st_size, (uint64_t)size_max) + 1);
    for (;;) {
        buffer_reserve(out, 4096);
        ssize_t n = read(fd, out->data + out->size, out->capacity - out->size - 1);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        out->size += (size_t)n;
        if (out->size > size_max) {
            return -EFBIG;
        }
    }
    out->data[out->size] = '\0';
    return 0;
}

int fd_write_all(int fd, const void *bytes, size_t size)
{
    const char *p = bytes;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

int file_replace(const char *path, const void *bytes, size_t size, mode_t mode)
{
    CLEANUP_FREE char *temporary = text_format("%s.tmp-%d", path, (int)getpid());
    CLEANUP_FD fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0) {
        return -errno;
    }
    int err = fd_write_all(fd, bytes, size);

    if (err == 0 && rename(temporary, path) < 0) {
        err = -errno;
    }
    if (err < 0) {
        (void)unlink(temporary);
    }
    return err;
}

int dirs_make(const char *path, mode_t mode)
{
    CLEANUP_FREE char *copy = text_copy(path);

    for (char *p = copy + 1; *copy; p++) {
        char end = *p;

        if (end != '/' && end != '\0') {
            continue;
        }
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST) {
            return -errno;
        }
        if (end == '\0') {
            break;
        }
        *p = end;
    }
    struct stat st;

    if (stat(path, &st) < 0) {
        return -errno;
    }
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void tree_remove(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

char *path_join(const char *dir, const char *name)
{
    size_t size = strlen(dir);

    while (size > 0 && dir[size - 1] == '/') {
        size--;
    }
    while (*name == '/') {
        name++;
    }
    return text_format("%.*s/%s", (int)min_of(size, (size_t)INT_MAX), dir, name);
}

char *cache_dir(const char *name)
{
    const char *own = getenv("DRUPE_CACHE");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    CLEANUP_FREE char *base = NULL;

    if (own && own[0] == '/') {
        base = text_copy(own);
    } else if (xdg && xdg[0] == '/') {
        base = path_join(xdg, "drupe");
    } else if (home && home[0] == '/') {
        base = path_join(home, ".cache/drupe");
    } else {
        base = text_format("/tmp/drupe-%u", (unsigned)getuid());
    }
    char *dir = name ? path_join(base, name) : text_copy(base);
    int err = dirs_make(dir, 0700);
    struct stat st;

    /* Below /tmp someone else may have been first; what runs later must come from us. */
    if (err == 0 && (stat(base, &st) < 0 || st.st_uid != geteuid())) {
        err = -EPERM;
    }
    if (err < 0) {
        free(dir);
        errno = -err;
        return NULL;
    }
    return dir;
}

char *program_find(const char *name)
{
    const char *path = getenv("PATH");
    CLEANUP_FREE char *all =
        text_format("%s:/usr/sbin:/sbin:/usr/bin:/bin", path ? path : "/usr/local/bin");
    char *state = NULL;

    for (char *dir = strtok_r(all, ":", &state); dir; dir = strtok_r(NULL, ":", &state)) {
        char *candidate = path_join(dir, name);
        struct stat st;

        if (stat(candidate, &st) == 0 && S_ISREG(st.st_mode) && access(candidate, X_OK) == 0) {
            return candidate;
        }
        free(candidate);
    }
    return NULL;
}

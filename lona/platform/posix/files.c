/* SPDX-License-Identifier: Apache-2.0 */
/* Console, files and environment of the POSIX platform. */
#include "platform/posix/posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int error_code(void)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return PLATFORM_ENOENT;
    case EACCES:
    case EPERM:
    case EROFS:
        return PLATFORM_EACCES;
    case ENOMEM:
        return PLATFORM_ENOMEM;
    case EEXIST:
        return PLATFORM_EEXIST;
    case EINTR:
        return PLATFORM_EINTR;
    case EINVAL:
    case ENAMETOOLONG:
        return PLATFORM_EINVAL;
    default:
        return PLATFORM_EIO;
    }
}

/* A NUL-terminated copy in buf of PATH_MAX bytes; false when it can't be a path. */
static bool path_copy(char *buf, const char *path, size_t n)
{
    if (n == 0 || n >= PATH_MAX || memchr(path, 0, n) != NULL) {
        return false;
    }
    memcpy(buf, path, n);
    buf[n] = '\0';
    return true;
}

static int write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);

        if (k < 0) {
            if (errno == EINTR) {
                continue;
            }
            return error_code();
        }
        p += k;
        n -= (size_t)k;
    }
    return PLATFORM_OK;
}

int posix_console_write(void *self, enum platform_stream s, const void *p, size_t n)
{
    (void)self;
    return write_all(s == PLATFORM_STDERR ? STDERR_FILENO : STDOUT_FILENO, p, n);
}

long posix_console_read(void *self, void *p, size_t n)
{
    (void)self;
    ssize_t k = read(STDIN_FILENO, p, n);

    return k < 0 ? error_code() : (long)k;
}

int posix_file_read(void *self, const char *path, size_t path_len, uint8_t **out, size_t *size_out)
{
    (void)self;
    char name[PATH_MAX];

    if (!path_copy(name, path, path_len)) {
        return PLATFORM_EINVAL;
    }
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_code();
    }
    size_t size = 0;
    size_t capacity = 4096;
    uint8_t *data = malloc(capacity);
    int err = data == NULL ? PLATFORM_ENOMEM : PLATFORM_OK;

    while (err == PLATFORM_OK) {
        if (size == capacity) {
            uint8_t *bigger = capacity > SIZE_MAX / 2 ? NULL : realloc(data, capacity * 2);

            if (bigger == NULL) {
                err = PLATFORM_ENOMEM;
                break;
            }
            data = bigger;
            capacity *= 2;
        }
        ssize_t k = read(fd, data + size, capacity - size);

        if (k == 0) {
            break;
        }
        if (k > 0) {
            size += (size_t)k;
        } else if (errno != EINTR) {
            err = error_code();
        }
    }
    (void)close(fd);
    if (err != PLATFORM_OK) {
        free(data);
        return err;
    }
    *out = data;
    *size_out = size;
    return PLATFORM_OK;
}

void posix_file_free(void *self, uint8_t *p, size_t size)
{
    (void)self;
    (void)size;
    free(p);
}

int posix_file_write(void *self, const char *path, size_t path_len, const void *p, size_t n,
                     int append)
{
    (void)self;
    char name[PATH_MAX];

    if (!path_copy(name, path, path_len)) {
        return PLATFORM_EINVAL;
    }
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | (append != 0 ? O_APPEND : O_TRUNC), 0666);

    if (fd < 0) {
        return error_code();
    }
    int err = write_all(fd, p, n);

    if (close(fd) != 0 && err == PLATFORM_OK) {
        err = error_code();
    }
    return err;
}

int posix_file_remove(void *self, const char *path, size_t path_len)
{
    (void)self;
    char name[PATH_MAX];

    if (!path_copy(name, path, path_len)) {
        return PLATFORM_EINVAL;
    }
    return unlink(name) == 0 ? PLATFORM_OK : error_code();
}

int posix_file_kind(void *self, const char *path, size_t path_len)
{
    (void)self;
    char name[PATH_MAX];
    struct stat st;

    if (!path_copy(name, path, path_len)) {
        return PLATFORM_EINVAL;
    }
    if (stat(name, &st) != 0) {
        int err = error_code();

        return err == PLATFORM_ENOENT ? 0 : err;
    }
    return S_ISREG(st.st_mode) ? 1 : S_ISDIR(st.st_mode) ? 2 : 3;
}

int posix_dir_list(void *self, const char *path, size_t path_len,
                   void (*each)(void *arg, const char *name, size_t len), void *arg)
{
    (void)self;
    char name[PATH_MAX];
    struct dirent **list = NULL;

    if (!path_copy(name, path, path_len)) {
        return PLATFORM_EINVAL;
    }
    int n = scandir(name, &list, NULL, alphasort);

    if (n < 0) {
        return error_code();
    }
    for (int i = 0; i < n; i++) {
        const char *d = list[i]->d_name;

        if (strcmp(d, ".") != 0 && strcmp(d, "..") != 0) {
            each(arg, d, strlen(d));
        }
        free(list[i]);
    }
    free((void *)list);
    return PLATFORM_OK;
}

long posix_env_get(void *self, const char *name, size_t name_len, char *out, size_t n)
{
    (void)self;
    char key[256];

    if (name_len == 0 || name_len >= sizeof(key) || memchr(name, 0, name_len) != NULL) {
        return PLATFORM_EINVAL;
    }
    memcpy(key, name, name_len);
    key[name_len] = '\0';
    const char *value = getenv(key);

    if (value == NULL) {
        return PLATFORM_ENOENT;
    }
    size_t size = strlen(value);

    memcpy(out, value, size < n ? size : n);
    return (long)size;
}

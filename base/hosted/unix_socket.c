/* SPDX-License-Identifier: Apache-2.0 */
#include <base/unix_socket.h>

#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int make(const char *path, int flags, struct sockaddr_un *address)
{
    size_t size = strlen(path);
    int fd = -1;

    if (size == 0 || size >= sizeof(address->sun_path)) {
        return size == 0 ? -EINVAL : -ENAMETOOLONG;
    }
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, size);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    return fd < 0 ? -errno : fd;
}

int unix_listen(const char *path, int flags)
{
    struct sockaddr_un address;
    int fd = make(path, flags, &address);
    int err = 0;

    if (fd < 0) {
        return fd;
    }
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        err = -errno;
    } else if (listen(fd, SOMAXCONN) < 0) {
        err = -errno;
        (void)unlink(path); /* bind() made it */
    }
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    return fd;
}

int unix_connect(const char *path, int flags)
{
    struct sockaddr_un address;
    int fd = make(path, flags, &address);
    int err = 0;

    if (fd < 0) {
        return fd;
    }
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno != EINTR) {
            err = -errno;
            (void)close(fd);
            return err;
        }
    }
    return fd;
}

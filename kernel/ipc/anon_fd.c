// SPDX-License-Identifier: Apache-2.0
#include <ipc/anon_fd.h>

#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/flags.h>

int anon_fd_open(const struct file_ops *ops, void *private, unsigned flags)
{
    struct file *f;
    int fd = fd_reserve(0, (flags & O_CLOEXEC) != 0);
    int err;

    if (fd < 0) {
        return fd;
    }
    err = file_create(ops, private, flags & (O_ACCMODE | O_NONBLOCK), &f);
    if (err < 0) {
        fd_unreserve(fd);
        return err;
    }
    fd_publish(fd, f);
    return fd;
}

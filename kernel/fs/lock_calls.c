/* SPDX-License-Identifier: Apache-2.0 */
/* flock(2); record locks come through fcntl. */
#include <fs/files.h>
#include <fs/locks.h>
#include <syscall/syscall.h>

long sys_flock(int fd, int operation)
{
    struct file *f = fd_get(fd);
    long err;

    if (!f) {
        return -EBADF;
    }
    err = locks_flock(f, operation);
    file_put(f);
    return err;
}

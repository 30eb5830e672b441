/* SPDX-License-Identifier: Apache-2.0 */
/* Named pipes: what opening an inode of type S_IFIFO does (its pipe hangs at inode->endpoint). */
#pragma once

#include <fs/vfs.h>

extern const struct file_ops fifo_file_ops __attribute__((weak));

/* F_SETPIPE_SZ, F_GETPIPE_SZ: the size in bytes, -EBADF when f is no pipe. */
long pipe_fcntl(struct file *f, int cmd, uint64_t arg) __attribute__((weak));

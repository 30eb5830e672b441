/* SPDX-License-Identifier: Apache-2.0 */
/* What fs/ needs of pipes. Weak: a kernel without pipes links, and answers ENXIO and EBADF. */
#pragma once

#include <fs/vfs.h>

/* inode->file_ops of a named pipe; its pipe hangs at inode->endpoint. */
extern const struct file_ops fifo_ops __attribute__((weak));

bool file_is_pipe(const struct file *f) __attribute__((weak));
long pipe_set_size(struct file *f, uint64_t size) __attribute__((weak));
long pipe_size(struct file *f) __attribute__((weak));

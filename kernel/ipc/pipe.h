/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes, and the fifos of file systems. */
#pragma once

#include <core/types.h>

struct file;
struct file_ops;

#define PIPE_ATOMIC       4096u /* PIPE_BUF: writes up to here are not torn */
#define PIPE_SIZE_DEFAULT (64u << 10)
#define PIPE_SIZE_MAX     (1u << 20)

/*
 * inode->file_ops of a named fifo: open() attaches to the inode's pipe (made at the first open) and
 * waits for the other side as POSIX says.
 */
extern const struct file_ops fifo_ops;

bool file_is_pipe(const struct file *f);
/* fcntl(F_SETPIPE_SZ, F_GETPIPE_SZ): the capacity, or -EBADF (no pipe), -EINVAL, -EBUSY, -EPERM. */
long pipe_set_size(struct file *f, uint64_t size);
long pipe_size(struct file *f);

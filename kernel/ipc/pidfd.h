/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that name a process and are readable when it has ended. */
#pragma once

#include <core/types.h>

struct file;
struct process;

int pidfd_file_create(struct process *p, unsigned flags, struct file **out) MUST_CHECK;
/* The process of a descriptor, counted; NULL: *err is -EBADF. */
struct process *pidfd_to_process(int fd, int *err) MUST_CHECK;
/* Its pid for waitid(): > 0, or -EBADF; -EAGAIN never happens to a child. */
pid_t pidfd_to_pid(int fd);

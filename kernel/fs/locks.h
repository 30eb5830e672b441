/* SPDX-License-Identifier: Apache-2.0 */
/* Advisory locks: POSIX record locks, open-file-description locks, flock(2). */
#pragma once

#include <fs/vfs.h>

struct files;

/* POSIX locks of this table on f's inode go at any close(2) of it. */
void locks_release_posix(struct file *f, struct files *owner);
/* The description is gone: its OFD and flock locks go. */
void locks_release_file(struct file *f);

/* fcntl(F_GETLK..F_OFD_SETLKW) with the user's struct flock. */
long locks_fcntl(struct file *f, int cmd, uint64_t arg);
long locks_flock(struct file *f, int operation);

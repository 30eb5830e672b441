/* SPDX-License-Identifier: Apache-2.0 */
/* Open descriptions, as fs/ uses them beyond the contract in vfs.h. */
#pragma once

#include <fs/vfs.h>

/* open(2) on a path without permission checks (just created, O_PATH, O_TMPFILE). */
int file_open_checked(const struct path *p, unsigned flags, struct file **out) MUST_CHECK;

/*
 * Pipes, sockets and the like have no name, yet /proc/<pid>/fd/<n> and /dev/stdout lead to them. An
 * alias is an inode that stands for such a description: opening it gives another reference to the
 * description itself.
 */
int alias_path(struct file *f, struct path *out) MUST_CHECK; /* *out is counted */
struct file *alias_file(const struct inode *inode);          /* borrowed, NULL: no alias */

/* While a program runs from the inode nobody may open it for writing, and the other way round. */
int inode_deny_write(struct inode *inode) MUST_CHECK; /* 0 or -ETXTBSY */
void inode_allow_write(struct inode *inode);

uint64_t files_open(void); /* in the whole machine, for fs/file-nr */

/* fs/page_io.c: files whose bytes are in inode->mapping. */
ssize_t page_read(struct file *f, struct uio *u, int64_t *pos);
uint32_t page_poll(struct file *f, struct poll_table *pt);
int64_t seek_plain(struct file *f, int64_t offset, int whence, int64_t end);

/* Directories: listing through inode_ops->readdir. */
extern const struct file_ops directory_file_ops;

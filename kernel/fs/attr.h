/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes change here and nowhere else (spec R-VFS-3). */
#pragma once

#include <fs/vfs.h>

/* Apply a change: the file system's own method or the generic one. Takes inode->lock (and
 * write_lock when the size changes). Permission was checked. */
int inode_change(struct inode *inode, const struct attr *a) MUST_CHECK;

/* The generic method: mode, owner, times. inode->lock held for writing. */
void inode_apply_attr(struct inode *inode, const struct attr *a);

/* Mark as modified now (ATTR_MTIME, ATTR_CTIME, ATTR_ATIME). Never fails, takes no lock. */
void inode_touch(struct inode *inode, unsigned which);

/* A read happened: atime by relatime's rule. */
void inode_accessed(struct inode *inode, const struct path *path);

/* Who may change an inode's mode or times: its owner, or CAP_FOWNER. */
bool inode_is_owner(const struct inode *inode, const struct cred *cred);

/* A write by somebody without CAP_FSETID: suid and sgid go. */
void inode_drop_suid(struct inode *inode);

/* May `cred` remove or replace the entry `victim` of directory `dir` (write, search, sticky)? */
int inode_may_delete(const struct inode *dir, const struct inode *victim,
                     const struct cred *cred) MUST_CHECK;

#define CAP_CHOWN        0u
#define CAP_DAC_OVERRIDE 1u
#define CAP_DAC_READ     2u
#define CAP_FOWNER       3u
#define CAP_FSETID       4u
#define CAP_SYS_CHROOT   18u
#define CAP_SYS_ADMIN    21u
#define CAP_MKNOD        27u

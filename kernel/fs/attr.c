/* SPDX-License-Identifier: Apache-2.0 */
/* Permissions and attribute changes (contract in attr.h). */
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <proc/cred.h>
#include <sched/task.h>

int inode_permission(const struct inode *i, const struct cred *cred, unsigned may)
{
    uint32_t mode = i->mode;
    uint32_t granted;

    if (cred->fsuid == i->uid) {
        granted = (mode >> 6) & 7;
    } else if (cred_in_group(cred, i->gid)) {
        granted = (mode >> 3) & 7;
    } else {
        granted = mode & 7;
    }
    if ((may & ~granted) == 0) {
        return 0;
    }
    if (cred_is_capable(cred, CAP_DAC_OVERRIDE)) {
        /* Executing needs somebody's execute bit; directories can always be searched. */
        if (!(may & MAY_EXEC) || S_ISDIR(mode) || (mode & 0111) != 0) {
            return 0;
        }
    }
    if (cred_is_capable(cred, CAP_DAC_READ) &&
        (may == MAY_READ || (S_ISDIR(mode) && !(may & MAY_WRITE)))) {
        return 0;
    }
    return -EACCES;
}

bool inode_is_owner(const struct inode *inode, const struct cred *cred)
{
    return cred->fsuid == inode->uid || cred_is_capable(cred, CAP_FOWNER);
}

int inode_may_delete(const struct inode *dir, const struct inode *victim, const struct cred *cred)
{
    int err = inode_permission(dir, cred, MAY_WRITE | MAY_EXEC);

    if (err < 0) {
        return err;
    }
    if ((dir->mode & S_ISVTX) && cred->fsuid != victim->uid && cred->fsuid != dir->uid &&
        !cred_is_capable(cred, CAP_FOWNER)) {
        return -EPERM;
    }
    return 0;
}

void inode_apply_attr(struct inode *inode, const struct attr *a)
{
    if (a->mask & ATTR_MODE) {
        inode->mode = (inode->mode & S_IFMT) | (a->mode & S_PERM);
        if (S_ISDIR(inode->mode)) {
            dentry_changed(); /* who may walk through it */
        }
    }
    if (a->mask & ATTR_UID) {
        inode->uid = a->uid;
    }
    if (a->mask & ATTR_GID) {
        inode->gid = a->gid;
    }
    if (a->mask & ATTR_ATIME) {
        inode->atime = a->atime;
    }
    if (a->mask & ATTR_MTIME) {
        inode->mtime = a->mtime;
    }
    if (a->mask & ATTR_CTIME) {
        inode->ctime = a->ctime;
    }
}

int inode_change(struct inode *inode, const struct attr *a)
{
    bool changes_size = (a->mask & ATTR_SIZE) != 0;
    int err = 0;

    if (changes_size) {
        mutex_lock(&inode->write_lock);
    }
    rwsem_write_lock(&inode->lock);
    if (inode->ops->setattr) {
        err = inode->ops->setattr(inode, a);
    } else if (changes_size) {
        err = -EINVAL;
    } else {
        inode_apply_attr(inode, a);
    }
    rwsem_write_unlock(&inode->lock);
    if (changes_size) {
        mutex_unlock(&inode->write_lock);
    }
    return err;
}

void inode_touch(struct inode *inode, unsigned which)
{
    struct timestamp now = time_now();

    if (which & ATTR_ATIME) {
        inode->atime = now;
    }
    if (which & ATTR_MTIME) {
        inode->mtime = now;
    }
    if (which & ATTR_CTIME) {
        inode->ctime = now;
    }
}

static bool is_not_after(const struct timestamp *a, const struct timestamp *b)
{
    return a->sec < b->sec || (a->sec == b->sec && a->nsec <= b->nsec);
}

void inode_accessed(struct inode *inode, const struct path *path)
{
    if (!is_not_after(&inode->atime, &inode->mtime) &&
        !is_not_after(&inode->atime, &inode->ctime)) {
        return; /* relatime: read since the last change already */
    }
    if (!path->dentry || path_is_read_only(path)) {
        return;
    }
    inode_touch(inode, ATTR_ATIME);
}

void inode_drop_suid(struct inode *inode)
{
    if ((inode->mode & (S_ISUID | S_ISGID)) == 0 || cred_is_capable(current->cred, CAP_FSETID)) {
        return;
    }
    inode->mode &= ~S_ISUID;
    if (inode->mode & S_IXGRP) {
        inode->mode &= ~S_ISGID;
    }
}

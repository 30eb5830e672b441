/* SPDX-License-Identifier: Apache-2.0 */
/* chmod, chown, utimensat and umask: checks here, the change in inode_change(). */
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

/* What a call wants, checked against the inode it finds. */
struct wish {
    int (*check)(const struct wish *w, struct inode *inode, struct attr *a);
    uint32_t mode;
    uid_t uid; /* UINT32_MAX: as it is */
    gid_t gid;
    bool sets_now; /* both times to now: a right to write suffices */
    struct attr times;
};

static int apply(const struct wish *w, struct inode *inode, const struct path *p)
{
    struct attr a = { 0 };
    int err;

    if (p->dentry && path_is_read_only(p)) {
        return -EROFS;
    }
    if (!inode->ops) {
        return -EPERM;
    }
    err = w->check(w, inode, &a);
    if (err < 0) {
        return err;
    }
    a.mask |= ATTR_CTIME;
    a.ctime = time_now();
    return inode_change(inode, &a);
}

static long apply_to_fd(int fd, const struct wish *w, bool path_is_enough)
{
    struct file *f = fd_get(fd);
    long err;

    if (!f) {
        return -EBADF;
    }
    if (f->mode & FMODE_PATH && !path_is_enough) {
        err = -EBADF;
    } else if (!f->inode) {
        err = 0; /* pipes and the like: accepted by Linux, on an inode nobody can see */
    } else {
        err = apply(w, f->inode, &f->path);
    }
    file_put(f);
    return err;
}

static long apply_to_name(int dirfd, const char __user *path, unsigned flags, const struct wish *w)
{
    struct path p;
    char *name;
    long err = name_get(path, &name);

    if (err < 0) {
        return err;
    }
    if (*name == '\0' && (flags & AT_EMPTY_PATH) && dirfd != AT_FDCWD) {
        name_put(name);
        return apply_to_fd(dirfd, w, true);
    }
    err = path_lookup(dirfd, name,
                      (flags & AT_SYMLINK_NOFOLLOW ? 0u : LOOKUP_FOLLOW) |
                          (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0u),
                      &p);
    name_put(name);
    if (err == 0) {
        err = apply(w, p.dentry->inode, &p);
        path_put(&p);
    }
    return err;
}

/* --- mode ------------------------------------------------------------------------------------- */

static int check_mode(const struct wish *w, struct inode *inode, struct attr *a)
{
    const struct cred *cred = current->cred;

    if (S_ISLNK(inode->mode)) {
        return -EOPNOTSUPP;
    }
    if (!inode_is_owner(inode, cred)) {
        return -EPERM;
    }
    a->mask = ATTR_MODE;
    a->mode = w->mode & S_PERM;
    if (!cred_in_group(cred, inode->gid) && !cred_is_capable(cred, CAP_FSETID)) {
        a->mode &= ~S_ISGID;
    }
    return 0;
}

long sys_fchmod(int fd, unsigned mode)
{
    struct wish w = { .check = check_mode, .mode = mode };

    return apply_to_fd(fd, &w, false);
}

long sys_fchmodat(int dirfd, const char __user *path, unsigned mode)
{
    struct wish w = { .check = check_mode, .mode = mode };

    return apply_to_name(dirfd, path, 0, &w);
}

long sys_chmod(const char __user *path, unsigned mode)
{
    return sys_fchmodat(AT_FDCWD, path, mode);
}

/* --- owner ------------------------------------------------------------------------------------ */

static int check_owner(const struct wish *w, struct inode *inode, struct attr *a)
{
    const struct cred *cred = current->cred;

    if (!cred_is_capable(cred, CAP_CHOWN)) {
        if (w->uid != UINT32_MAX && (w->uid != inode->uid || cred->fsuid != inode->uid)) {
            return -EPERM;
        }
        if (w->gid != UINT32_MAX && w->gid != inode->gid &&
            (cred->fsuid != inode->uid || !cred_in_group(cred, w->gid))) {
            return -EPERM;
        }
    }
    if (w->uid != UINT32_MAX) {
        a->mask |= ATTR_UID;
        a->uid = w->uid;
    }
    if (w->gid != UINT32_MAX) {
        a->mask |= ATTR_GID;
        a->gid = w->gid;
    }
    /* Whoever owns it now did not ask for these bits. */
    if (!S_ISDIR(inode->mode) && (inode->mode & (S_ISUID | S_ISGID))) {
        a->mask |= ATTR_MODE;
        a->mode = inode->mode & S_PERM & ~S_ISUID;
        if (inode->mode & S_IXGRP) {
            a->mode &= ~S_ISGID;
        }
    }
    return 0;
}

long sys_fchown(int fd, unsigned uid, unsigned gid)
{
    struct wish w = { .check = check_owner, .uid = uid, .gid = gid };

    return apply_to_fd(fd, &w, false);
}

long sys_fchownat(int dirfd, const char __user *path, unsigned uid, unsigned gid, int flags)
{
    struct wish w = { .check = check_owner, .uid = uid, .gid = gid };

    if ((unsigned)flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    return apply_to_name(dirfd, path, (unsigned)flags, &w);
}

long sys_chown(const char __user *path, unsigned uid, unsigned gid)
{
    return sys_fchownat(AT_FDCWD, path, uid, gid, 0);
}

long sys_lchown(const char __user *path, unsigned uid, unsigned gid)
{
    return sys_fchownat(AT_FDCWD, path, uid, gid, (int)AT_SYMLINK_NOFOLLOW);
}

/* --- times ------------------------------------------------------------------------------------ */

#define UTIME_NOW  0x3fffffff
#define UTIME_OMIT 0x3ffffffe

struct user_time {
    int64_t sec;
    int64_t fraction; /* ns or us */
};

static int check_times(const struct wish *w, struct inode *inode, struct attr *a)
{
    int err = 0;

    if (!inode_is_owner(inode, current->cred)) {
        err = w->sets_now ? inode_permission(inode, current->cred, MAY_WRITE) : -EPERM;
    }
    *a = w->times;
    return err;
}

/* Two times as given; NULL: both now. False: a fraction out of range. */
static bool wish_of_times(const struct user_time *t, int64_t scale, struct wish *w)
{
    struct timestamp now = time_now();
    struct timestamp value[2];
    bool is_now[2] = { !t, !t };

    *w = (struct wish){ .check = check_times };
    w->times.mask = ATTR_ATIME | ATTR_MTIME;
    for (int i = 0; i < 2; i++) {
        value[i] = now;
        if (!t) {
            continue;
        }
        if (scale == 1 && t[i].fraction == UTIME_NOW) {
            is_now[i] = true;
        } else if (scale == 1 && t[i].fraction == UTIME_OMIT) {
            w->times.mask &= i == 0 ? ~(unsigned)ATTR_ATIME : ~(unsigned)ATTR_MTIME;
        } else if (t[i].fraction < 0 || t[i].fraction * scale >= (int64_t)NSEC_PER_SEC) {
            return false;
        } else {
            value[i].sec = t[i].sec;
            value[i].nsec = (uint32_t)(t[i].fraction * scale);
        }
    }
    w->times.atime = value[0];
    w->times.mtime = value[1];
    w->sets_now = is_now[0] && is_now[1];
    return true;
}

static long set_times(int dirfd, const char __user *path, const void __user *times, int64_t scale,
                      unsigned flags)
{
    struct user_time t[2];
    struct wish w;

    if (times && copy_from_user(t, times, sizeof(t)) < 0) {
        return -EFAULT;
    }
    if (scale != 1 && times &&
        (t[0].fraction < 0 || t[0].fraction >= 1000000 || t[1].fraction < 0 ||
         t[1].fraction >= 1000000)) {
        return -EINVAL;
    }
    if (!wish_of_times(times ? t : NULL, scale, &w)) {
        return -EINVAL;
    }
    if (!(w.times.mask & (ATTR_ATIME | ATTR_MTIME))) {
        return 0; /* nothing to change: not even the name is looked at */
    }
    if (!path) {
        return apply_to_fd(dirfd, &w, false);
    }
    return apply_to_name(dirfd, path, flags, &w);
}

long sys_utimensat(int dirfd, const char __user *path, void __user *times, int flags)
{
    if ((unsigned)flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    if (!path && flags != 0) {
        return -EINVAL;
    }
    if (!path && dirfd == AT_FDCWD) {
        return -EFAULT;
    }
    return set_times(dirfd, path, times, 1, (unsigned)flags);
}

long sys_futimesat(int dirfd, const char __user *path, void __user *times)
{
    return set_times(dirfd, path, times, 1000, 0);
}

long sys_utimes(const char __user *path, void __user *times)
{
    return path ? set_times(AT_FDCWD, path, times, 1000, 0) : -EFAULT;
}

long sys_utime(const char __user *path, void __user *times)
{
    struct user_time t[2] = { 0 };
    int64_t seconds[2];
    struct wish w;

    if (times) {
        if (copy_from_user(seconds, times, sizeof(seconds)) < 0) {
            return -EFAULT;
        }
        t[0].sec = seconds[0];
        t[1].sec = seconds[1];
    }
    (void)wish_of_times(times ? t : NULL, 1, &w); /* no fractions: always right */
    return apply_to_name(AT_FDCWD, path, 0, &w);
}

long sys_umask(unsigned mask)
{
    return (long)atomic_exchange_explicit(&current->fs->umask, mask & 0777, memory_order_relaxed);
}

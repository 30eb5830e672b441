/* SPDX-License-Identifier: Apache-2.0 */
/* stat, statx, access, statfs. The layout of struct stat is the architecture's (arch/abi_fs.h). */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

struct statx_time {
    int64_t sec;
    uint32_t nsec;
    int32_t unused;
};

struct statx {
    uint32_t mask;
    uint32_t block_size;
    uint64_t attributes;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t unused1;
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    struct statx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor;
    uint32_t dev_major, dev_minor;
    uint64_t mount_id;
    uint64_t unused2[13];
};

static_assert(sizeof(struct statx) == 256, "struct statx is ABI");

#define STATX_BASIC_STATS 0x07ffu
#define STATX_BTIME       0x0800u
#define STATX_MNT_ID      0x1000u
#define STATX_RESERVED    0x80000000u

/* What is stat'ed: an inode and maybe where it was found. */
struct subject {
    struct inode *inode; /* counted */
    uint64_t mount_id;
};

static void refresh(struct inode *inode)
{
    if (inode->ops && inode->ops->refresh) {
        inode->ops->refresh(inode);
    }
}

static long put_stat(struct inode *inode, void __user *out)
{
    struct abi_stat s;

    refresh(inode);
    memset(&s, 0, sizeof(s));
    s.dev = inode->sb ? inode->sb->dev : 0;
    s.ino = inode->ino;
    s.mode = inode->mode;
    s.nlink = inode->nlink;
    s.uid = inode->uid;
    s.gid = inode->gid;
    s.rdev = inode->rdev;
    s.size = (int64_t)inode->size;
    s.block_size = (int32_t)PAGE_SIZE;
    s.blocks = (int64_t)inode->blocks;
    s.atime_sec = inode->atime.sec;
    s.atime_nsec = inode->atime.nsec;
    s.mtime_sec = inode->mtime.sec;
    s.mtime_nsec = inode->mtime.nsec;
    s.ctime_sec = inode->ctime.sec;
    s.ctime_nsec = inode->ctime.nsec;
    return copy_to_user(out, &s, sizeof(s));
}

/* The inode behind a descriptor. What has none (eventfd, ...) is shown as Linux's anonymous inode.
 */
static int subject_of_fd(int fd, struct subject *out)
{
    struct file *f = fd_get(fd);

    if (!f) {
        return -EBADF;
    }
    out->mount_id = f->path.mount ? f->path.mount->id : 0;
    if (f->inode) {
        out->inode = inode_get(f->inode);
    } else {
        out->inode = inode_alloc(NULL, 1 + ((uintptr_t)f >> 6), 0600);
        if (out->inode && f->ops->type && strcmp(f->ops->type, "pipe") == 0) {
            out->inode->mode |= S_IFIFO;
        } else if (out->inode && f->ops->type && strcmp(f->ops->type, "socket") == 0) {
            out->inode->mode |= S_IFSOCK | 0777;
        }
    }
    file_put(f);
    return out->inode ? 0 : -ENOMEM;
}

static int subject_of_name(int dirfd, const char __user *path, unsigned at_flags,
                           struct subject *out)
{
    unsigned lookup = at_flags & AT_SYMLINK_NOFOLLOW ? 0u : LOOKUP_FOLLOW;
    struct path p;
    char *name;
    int err;

    if ((at_flags & AT_EMPTY_PATH) && dirfd != AT_FDCWD) {
        char first; /* libc's fstat(): not worth a buffer */

        if (copy_from_user(&first, path, 1) < 0) {
            return -EFAULT;
        }
        if (first == '\0') {
            return subject_of_fd(dirfd, out);
        }
    }
    err = name_get(path, &name);
    if (err < 0) {
        return err;
    }
    if (at_flags & AT_EMPTY_PATH) {
        lookup |= LOOKUP_EMPTY;
    }
    err = path_lookup(dirfd, name, lookup, &p);
    name_put(name);
    if (err < 0) {
        return err;
    }
    out->inode = inode_get(p.dentry->inode);
    out->mount_id = p.mount->id;
    path_put(&p);
    return 0;
}

static long stat_name(int dirfd, const char __user *path, void __user *out, unsigned at_flags)
{
    struct subject s;
    long err = subject_of_name(dirfd, path, at_flags, &s);

    if (err == 0) {
        err = put_stat(s.inode, out);
        inode_put(s.inode);
    }
    return err;
}

long sys_newfstatat(int dirfd, const char __user *path, void __user *out, int flags)
{
    if ((unsigned)flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    return stat_name(dirfd, path, out, (unsigned)flags);
}

long sys_stat(const char __user *path, void __user *out)
{
    return stat_name(AT_FDCWD, path, out, 0);
}

long sys_lstat(const char __user *path, void __user *out)
{
    return stat_name(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

long sys_fstat(int fd, void __user *out)
{
    struct subject s;
    long err = subject_of_fd(fd, &s);

    if (err == 0) {
        err = put_stat(s.inode, out);
        inode_put(s.inode);
    }
    return err;
}

static struct statx_time statx_time(const struct timestamp *t)
{
    return (struct statx_time){ .sec = t->sec, .nsec = t->nsec };
}

long sys_statx(int dirfd, const char __user *path, int flags, unsigned mask, void __user *out)
{
    struct subject s;
    struct statx x;
    long err;

    if ((unsigned)flags &
        ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) {
        return -EINVAL;
    }
    if ((mask & STATX_RESERVED) || ((unsigned)flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE) {
        return -EINVAL;
    }
    err = subject_of_name(dirfd, path, (unsigned)flags, &s);
    if (err < 0) {
        return err;
    }
    refresh(s.inode);
    memset(&x, 0, sizeof(x));
    x.mask = STATX_BASIC_STATS | STATX_MNT_ID;
    if (s.inode->btime.sec != 0) {
        x.mask |= STATX_BTIME;
        x.btime = statx_time(&s.inode->btime);
    }
    x.block_size = (uint32_t)PAGE_SIZE;
    x.nlink = s.inode->nlink;
    x.uid = s.inode->uid;
    x.gid = s.inode->gid;
    x.mode = (uint16_t)s.inode->mode;
    x.ino = s.inode->ino;
    x.size = s.inode->size;
    x.blocks = s.inode->blocks;
    x.atime = statx_time(&s.inode->atime);
    x.mtime = statx_time(&s.inode->mtime);
    x.ctime = statx_time(&s.inode->ctime);
    x.rdev_major = dev_major(s.inode->rdev);
    x.rdev_minor = dev_minor(s.inode->rdev);
    if (s.inode->sb) {
        x.dev_major = dev_major(s.inode->sb->dev);
        x.dev_minor = dev_minor(s.inode->sb->dev);
    }
    x.mount_id = s.mount_id;
    inode_put(s.inode);
    return copy_to_user(out, &x, sizeof(x));
}

/* --- access ----------------------------------------------------------------------------------- */

static long access_of(int dirfd, const char __user *path, int mode, unsigned flags)
{
    const struct cred *cred = current->cred;
    struct cred *real = NULL;
    struct path p;
    char *name;
    long err;

    if (mode & ~7) {
        return -EINVAL;
    }
    if (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    if (!(flags & AT_EACCESS) && (cred->uid != cred->fsuid || cred->gid != cred->fsgid)) {
        real = cred_copy(cred);
        if (!real) {
            return -ENOMEM;
        }
        real->fsuid = real->uid;
        real->fsgid = real->gid;
        real->cap_effective = real->uid == 0 ? real->cap_permitted : 0;
        cred = real;
    }
    err = name_get(path, &name);
    if (err == 0) {
        err = path_lookup(dirfd, name,
                          (flags & AT_SYMLINK_NOFOLLOW ? 0u : LOOKUP_FOLLOW) |
                              (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0u),
                          &p);
        name_put(name);
    }
    if (err == 0) {
        const struct inode *inode = p.dentry->inode;

        if ((mode & (int)MAY_EXEC) && S_ISREG(inode->mode) &&
            ((p.mount->flags | p.mount->sb->flags) & MS_NOEXEC)) {
            err = -EACCES;
        }
        if (err == 0 && mode != 0) {
            err = inode_permission(inode, cred, (unsigned)mode);
        }
        if (err == 0 && (mode & (int)MAY_WRITE) && path_is_read_only(&p) &&
            (S_ISREG(inode->mode) || S_ISDIR(inode->mode) || S_ISLNK(inode->mode))) {
            err = -EROFS;
        }
        path_put(&p);
    }
    if (real) {
        cred_put(real);
    }
    return err;
}

long sys_access(const char __user *path, int mode)
{
    return access_of(AT_FDCWD, path, mode, 0);
}

long sys_faccessat(int dirfd, const char __user *path, int mode)
{
    return access_of(dirfd, path, mode, 0);
}

long sys_faccessat2(int dirfd, const char __user *path, int mode, int flags)
{
    return access_of(dirfd, path, mode, (unsigned)flags);
}

/* --- statfs ----------------------------------------------------------------------------------- */

struct abi_statfs {
    int64_t type, block_size;
    uint64_t blocks, blocks_free, blocks_available, files, files_free;
    int32_t id[2];
    int64_t name_max, fragment_size, flags;
    int64_t spare[4];
};

static_assert(sizeof(struct abi_statfs) == 120, "struct statfs is ABI");

#define ST_VALID 0x20

static long put_statfs(const struct mount *m, void __user *out)
{
    struct statfs_info info = { .block_size = PAGE_SIZE, .name_max = NAME_MAX };
    struct abi_statfs s;
    int err = m && m->sb->ops->statfs ? m->sb->ops->statfs(m->sb, &info) : -ENOSYS;

    if (err < 0) {
        return err;
    }
    memset(&s, 0, sizeof(s));
    s.type = (int64_t)info.type;
    s.block_size = (int64_t)info.block_size;
    s.fragment_size = (int64_t)info.block_size;
    s.blocks = info.blocks;
    s.blocks_free = info.blocks_free;
    s.blocks_available = info.blocks_free;
    s.files = info.files;
    s.files_free = info.files_free;
    s.id[0] = (int32_t)m->sb->dev;
    s.name_max = (int64_t)info.name_max;
    s.flags = ST_VALID | (int64_t)((m->flags | m->sb->flags) &
                                   (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME));
    return copy_to_user(out, &s, sizeof(s));
}

long sys_statfs(const char __user *path, void __user *out)
{
    struct path p;
    char *name;
    long err = name_get(path, &name);

    if (err < 0) {
        return err;
    }
    err = path_lookup(AT_FDCWD, name, LOOKUP_FOLLOW, &p);
    name_put(name);
    if (err == 0) {
        err = put_statfs(p.mount, out);
        path_put(&p);
    }
    return err;
}

long sys_fstatfs(int fd, void __user *out)
{
    struct file *f = fd_get(fd);
    long err;

    if (!f) {
        return -EBADF;
    }
    err = put_statfs(f->path.mount, out);
    file_put(f);
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* open(2) and its relatives. */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/tmpfs/tmpfs.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define OPEN_FLAGS                                                                                 \
    (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC |          \
     O_ASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC |         \
     O_PATH | O_TMPFILE_ONLY)

struct open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

#define RESOLVE_NO_XDEV       0x01u
#define RESOLVE_NO_MAGICLINKS 0x02u
#define RESOLVE_NO_SYMLINKS   0x04u
#define RESOLVE_BENEATH       0x08u
#define RESOLVE_IN_ROOT       0x10u
#define RESOLVE_CACHED        0x20u

static uint32_t mode_to_create(uint32_t mode)
{
    return mode & S_PERM & ~atomic_load_explicit(&current->fs->umask, memory_order_relaxed);
}

static int truncate_opened(struct file *f)
{
    struct attr a = { .mask = ATTR_SIZE | ATTR_MTIME | ATTR_CTIME, .size = 0 };

    if (!S_ISREG(f->inode->mode)) {
        return 0;
    }
    a.mtime = a.ctime = time_now();
    return inode_change(f->inode, &a);
}

static int open_existing(const struct path *p, unsigned flags, struct file **out)
{
    int err;

    if ((flags & O_NOATIME) && !inode_is_owner(p->dentry->inode, current->cred)) {
        return -EPERM;
    }
    err = file_open_path(p, flags, out);
    if (err == 0 && (flags & O_TRUNC) && !(flags & O_PATH)) {
        err = truncate_opened(*out);
        if (err < 0) {
            file_put(*out);
        }
    }
    return err;
}

/* The file does not exist: make it. dir's inode lock held for writing; *child is negative. */
static int create_locked(const struct path *dir, struct dentry *child, const struct name *name,
                         uint32_t mode)
{
    struct inode *inode = dir->dentry->inode;
    struct inode *made;
    int err;

    if (path_is_read_only(dir)) {
        return -EROFS;
    }
    err = inode_permission(inode, current->cred, MAY_WRITE | MAY_EXEC);
    if (err < 0) {
        return err;
    }
    if (!inode->ops->create) {
        return -EACCES;
    }
    err = inode->ops->create(inode, name, S_IFREG | mode_to_create(mode), 0, &made);
    if (err == 0) {
        dentry_fill(child, made);
    }
    return err;
}

/* One directory entry for O_CREAT. 1: opened or refused for good in *err; 0: go on at *link. */
static int open_entry(const struct place *at, unsigned flags, uint32_t mode, struct file **out,
                      char **link)
{
    struct inode *dir = at->dir.dentry->inode;
    struct path p = { .mount = at->dir.mount };
    bool is_new = false;
    int err;

    rwsem_write_lock(&dir->lock);
    if (at->dir.dentry->is_deleted || dir->nlink == 0) {
        rwsem_write_unlock(&dir->lock);
        return -ENOENT;
    }
    err = dentry_lookup(at->dir.dentry, &at->name, &p.dentry);
    if (err == 0 && !p.dentry->inode) {
        err = create_locked(&at->dir, p.dentry, &at->name, mode);
        is_new = err == 0;
        if (err < 0) {
            dentry_put(p.dentry);
        }
    } else if (err == 0 && (flags & O_EXCL)) {
        dentry_put(p.dentry);
        err = -EEXIST;
    }
    rwsem_write_unlock(&dir->lock);
    if (err < 0) {
        return err;
    }
    if (S_ISLNK(p.dentry->inode->mode) && !(flags & O_NOFOLLOW)) {
        const struct inode *inode = p.dentry->inode;

        if (inode->link) {
            *link = kstrdup(inode->link, GFP_KERNEL);
            err = *link ? 0 : -ENOMEM;
            dentry_put(p.dentry);
            return err;
        }
        dentry_put(p.dentry);
        p.dentry = NULL; /* computed links (procfs) never lead to something new */
        err = path_lookup_from(&at->dir, at->name.text, LOOKUP_FOLLOW, &p);
        if (err == 0) {
            err = open_existing(&p, flags, out);
            path_put(&p);
        }
        return err < 0 ? err : 1;
    }
    mount_get(p.mount);
    if (is_new) {
        /* Its mode binds later opens, not this one. */
        err = file_open_checked(&p, flags & ~O_TRUNC, out);
    } else {
        path_cross_mounts(&p);
        if (S_ISDIR(p.dentry->inode->mode)) {
            err = -EISDIR;
        } else {
            err = open_existing(&p, flags, out);
        }
    }
    path_put(&p);
    return err < 0 ? err : 1;
}

static int open_create(int dirfd, const char *name, unsigned flags, uint32_t mode,
                       struct file **out)
{
    unsigned links = 0;
    char *text = NULL;
    struct place at;
    int err = place_lookup(dirfd, name, 0, &at);

    while (err == 0) {
        char *link = NULL;
        struct path start;

        if (at.kind != NAME_NORMAL || at.has_slash) {
            err = at.kind != NAME_NORMAL && (flags & O_EXCL) ? -EEXIST : -EISDIR;
            place_put(&at);
            break;
        }
        err = open_entry(&at, flags, mode, out, &link);
        if (err != 0) {
            place_put(&at);
            err = err < 0 ? err : 0;
            break;
        }
        start = at.dir;
        kfree(text);
        text = link;
        if (++links > SYMLINK_DEPTH_MAX) {
            place_put(&at);
            err = -ELOOP;
            break;
        }
        err = place_lookup_from(&start, text, 0, &links, &at);
        path_put(&start);
    }
    kfree(text);
    return err;
}

static int open_tmpfile(const struct path *dir, unsigned flags, uint32_t mode, struct file **out)
{
    struct inode *inode = dir->dentry->inode;
    struct path p = { .mount = dir->mount };
    struct inode *made;
    int err = inode_permission(inode, current->cred, MAY_WRITE | MAY_EXEC);

    if (err < 0) {
        return err;
    }
    if (!inode->ops->tmpfile) {
        return -EOPNOTSUPP;
    }
    if (path_is_read_only(dir)) {
        return -EROFS;
    }
    err = inode->ops->tmpfile(inode, mode_to_create(mode), &made);
    if (err < 0) {
        return err;
    }
    if (flags & O_EXCL) {
        tmpfs_node_of(made)->is_linkable = false;
    }
    p.dentry = dentry_create_named(made, "#tmpfile");
    if (!p.dentry) {
        return -ENOMEM;
    }
    mount_get(p.mount);
    err = file_open_checked(&p, flags & ~(O_TMPFILE | O_EXCL), out);
    path_put(&p);
    return err;
}

static int open_resolved(int dirfd, const char *name, unsigned flags, uint32_t mode,
                         unsigned lookup, struct file **out)
{
    struct path p;
    int err;

    if (!(flags & O_NOFOLLOW)) {
        lookup |= LOOKUP_FOLLOW;
    }
    if (flags & O_DIRECTORY) {
        lookup |= LOOKUP_DIRECTORY;
    }
    if ((flags & O_TMPFILE_ONLY) && !(flags & O_PATH)) {
        if ((flags & O_TMPFILE) != O_TMPFILE || (flags & O_ACCMODE) == O_RDONLY) {
            return -EINVAL;
        }
        err = path_lookup(dirfd, name, lookup, &p);
        if (err == 0) {
            err = open_tmpfile(&p, flags, mode, out);
            path_put(&p);
        }
        return err;
    }
    if ((flags & O_CREAT) && !(flags & O_PATH)) {
        if (flags & O_DIRECTORY) {
            return -EINVAL;
        }
        if (lookup & ~(unsigned)LOOKUP_FOLLOW) {
            /* With RESOLVE_* the whole name is walked at once; only what exists is opened so. */
            err = path_lookup(dirfd, name, lookup, &p);
            if (err == -ENOENT) {
                return -EOPNOTSUPP;
            }
            if (err == 0) {
                err = (flags & O_EXCL) ? -EEXIST : open_existing(&p, flags, out);
                path_put(&p);
            }
            return err;
        }
        return open_create(dirfd, name, flags, mode, out);
    }
    err = path_lookup(dirfd, name, lookup, &p);
    if (err == 0) {
        err = open_existing(&p, flags, out);
        path_put(&p);
    }
    return err;
}

int file_open(int dirfd, const char *name, unsigned flags, uint32_t mode, struct file **out)
{
    return open_resolved(dirfd, name, flags, mode, 0, out);
}

static long open_user(int dirfd, const char __user *path, unsigned flags, uint32_t mode,
                      unsigned lookup)
{
    struct file *f = NULL;
    char *name;
    int fd;
    int err;

    flags &= OPEN_FLAGS;  /* open(2) ignores what it does not know */
    flags |= O_LARGEFILE; /* as Linux on 64-bit machines */
    if (flags & O_PATH) {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    }
    err = name_get(path, &name);
    if (err < 0) {
        return err;
    }
    err = open_resolved(dirfd, name, flags, mode, lookup, &f);
    name_put(name);
    if (err < 0) {
        return err;
    }
    fd = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
    if (fd < 0) {
        file_put(f);
    }
    return fd;
}

long sys_openat(int dirfd, const char __user *path, int flags, unsigned mode)
{
    return open_user(dirfd, path, (unsigned)flags, mode, 0);
}

long sys_open(const char __user *path, int flags, unsigned mode)
{
    return open_user(AT_FDCWD, path, (unsigned)flags, mode, 0);
}

long sys_creat(const char __user *path, unsigned mode)
{
    return open_user(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, 0);
}

static unsigned lookup_of(uint64_t resolve)
{
    unsigned lookup = 0;

    lookup |= resolve & RESOLVE_NO_XDEV ? LOOKUP_NO_XDEV : 0u;
    lookup |= resolve & RESOLVE_NO_MAGICLINKS ? LOOKUP_NO_MAGICLINKS : 0u;
    lookup |= resolve & RESOLVE_NO_SYMLINKS ? LOOKUP_NO_SYMLINKS : 0u;
    lookup |= resolve & RESOLVE_BENEATH ? LOOKUP_BENEATH : 0u;
    lookup |= resolve & RESOLVE_IN_ROOT ? LOOKUP_IN_ROOT : 0u;
    return lookup;
}

long sys_openat2(int dirfd, const char __user *path, void __user *user_how, size_t size)
{
    struct open_how how;
    uint8_t extra[64];
    size_t at;

    if (size < sizeof(how)) {
        return -EINVAL;
    }
    if (size > PAGE_SIZE) {
        return -E2BIG;
    }
    if (copy_from_user(&how, user_how, sizeof(how)) < 0) {
        return -EFAULT;
    }
    /* A later version's fields must be zero. */
    for (at = sizeof(how); at < size; at += sizeof(extra)) {
        size_t n = min_of(sizeof(extra), size - at);

        if (copy_from_user(extra, (const char __user *)user_how + at, n) < 0) {
            return -EFAULT;
        }
        for (size_t i = 0; i < n; i++) {
            if (extra[i] != 0) {
                return -E2BIG;
            }
        }
    }
    if ((how.flags & ~(uint64_t)OPEN_FLAGS) || (how.resolve & ~UINT64_C(0x3f)) ||
        (how.mode & ~(uint64_t)S_PERM) ||
        (how.mode != 0 && !(how.flags & (O_CREAT | O_TMPFILE_ONLY)))) {
        return -EINVAL;
    }
    if ((how.resolve & RESOLVE_BENEATH) && (how.resolve & RESOLVE_IN_ROOT)) {
        return -EINVAL;
    }
    if (how.resolve & RESOLVE_CACHED) {
        return -EAGAIN; /* "not without asking the file system": always a truthful answer */
    }
    return open_user(dirfd, path, (unsigned)how.flags, (uint32_t)how.mode, lookup_of(how.resolve));
}

#define MFD_CLOEXEC       1u
#define MFD_ALLOW_SEALING 2u
#define MFD_NOEXEC_SEAL   8u
#define MFD_EXEC          16u

long sys_memfd_create(const char __user *user_name, unsigned flags)
{
    char name[6 + 250];
    struct path p;
    struct file *f;
    ssize_t n;
    int fd;
    int err;

    if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC)) {
        return -EINVAL;
    }
    memcpy(name, "memfd:", 6); /* NOLINT(bugprone-not-null-terminated-result): the rest follows */
    n = strncpy_from_user(name + 6, user_name, sizeof(name) - 6);
    if (n < 0) {
        return n == -ENAMETOOLONG ? -EINVAL : n;
    }
    err = tmpfs_memfd(name, flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) ? 0 : F_SEAL_SEAL, &p);
    if (err < 0) {
        return err;
    }
    if (flags & MFD_NOEXEC_SEAL) {
        p.dentry->inode->mode &= ~0111u;
    }
    err = file_open_checked(&p, O_RDWR | O_LARGEFILE, &f);
    path_put(&p);
    if (err < 0) {
        return err;
    }
    fd = fd_install(f, 0, (flags & MFD_CLOEXEC) != 0);
    if (fd < 0) {
        file_put(f);
    }
    return fd;
}

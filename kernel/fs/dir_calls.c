/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: listing, working directory, root. */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/listing.h>
#include <ipc/poll.h>
#include <mm/page.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

/* --- listing ---------------------------------------------------------------------------------- */

bool listing_emit(struct dir_emit *e, const char *name, size_t length, uint64_t ino, unsigned dtype,
                  uint64_t cookie)
{
    return listing_add(container_of(e, struct listing, emit), name, length, ino, dtype, cookie);
}

static uint64_t parent_ino(const struct file *f)
{
    uint64_t ino;

    spin_lock(&dentry_lock);
    const struct dentry *d = f->path.dentry;
    if (d == f->path.mount->root && f->path.mount->parent &&
        f->path.mount->parent != f->path.mount) {
        d = f->path.mount->mountpoint;
    }
    ino = d->parent->inode ? d->parent->inode->ino : f->inode->ino;
    spin_unlock(&dentry_lock);
    return ino;
}

static int list_some(struct file *f, struct listing *l)
{
    struct inode *dir = f->inode;
    int err;

    if (l->cookie == 0 && !listing_emit(&l->emit, ".", 1, dir->ino, 4, 1)) {
        return 0;
    }
    if (l->cookie == 1 && !listing_emit(&l->emit, "..", 2, parent_ino(f), 4, 2)) {
        return 0;
    }
    rwsem_read_lock(&dir->lock);
    if (dir->nlink == 0) {
        err = -ENOENT;
    } else {
        err = dir->ops->readdir(dir, l->cookie, &l->emit);
    }
    rwsem_read_unlock(&dir->lock);
    return err;
}

static long list_locked(struct file *f, uint8_t __user *out, size_t size, bool is_old)
{
    struct page *page = page_alloc(0, GFP_KERNEL);
    size_t done = 0;
    long err = 0;

    if (!page) {
        return -ENOMEM;
    }
    while (done < size) {
        struct listing l = { .emit = { listing_emit },
                             .page = page_address(page),
                             .room = min_of(size - done, (size_t)PAGE_SIZE),
                             .cookie = (uint64_t)f->pos,
                             .is_old = is_old };

        err = list_some(f, &l);
        if (l.used == 0) {
            if (err == 0 && l.is_too_small && done == 0) {
                err = -EINVAL;
            }
            break;
        }
        if (copy_to_user(out + done, l.page, l.used) < 0) {
            err = -EFAULT;
            break;
        }
        f->pos = (int64_t)l.cookie;
        done += l.used;
        if (err < 0) {
            break;
        }
    }
    page_put(page);
    return done > 0 ? (long)done : err;
}

static long list_directory(int fd, void __user *out, unsigned size, bool is_old)
{
    struct file *f = fd_get(fd);
    long n;

    if (!f) {
        return -EBADF;
    }
    if (f->mode & FMODE_PATH) {
        n = -EBADF;
    } else if (!f->inode || !S_ISDIR(f->inode->mode) || !f->inode->ops->readdir) {
        n = -ENOTDIR;
    } else {
        mutex_lock(&f->pos_lock);
        n = list_locked(f, out, min_of(size, (unsigned)INT32_MAX), is_old);
        mutex_unlock(&f->pos_lock);
        inode_accessed(f->inode, &f->path);
    }
    file_put(f);
    return n;
}

long sys_getdents64(int fd, void __user *out, unsigned size)
{
    return list_directory(fd, out, size, false);
}

long sys_getdents(int fd, void __user *out, unsigned size)
{
    return list_directory(fd, out, size, true);
}

/* A position is a cookie; any may be set, those between entries go on at the next one. */
static int64_t directory_seek(struct file *f, int64_t offset, int whence)
{
    int64_t base = whence == SEEK_CUR ? f->pos : 0;

    if (whence != SEEK_SET && whence != SEEK_CUR) {
        return -EINVAL;
    }
    if (!checked_add(base, offset, &base) || base < 0) {
        return -EINVAL;
    }
    f->pos = base;
    return base;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): file_ops gives it its type. */
static ssize_t directory_read(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return -EISDIR;
}

static int directory_fsync(struct file *f, bool data_only)
{
    const struct super_block *sb = f->inode->sb;

    (void)data_only;
    return sb->ops->sync ? sb->ops->sync(f->inode->sb) : 0;
}

const struct file_ops directory_file_ops = {
    .read = directory_read,
    .poll = page_poll,
    .seek = directory_seek,
    .fsync = directory_fsync,
};

/* --- where the task is ------------------------------------------------------------------------ */

static int check_directory(const struct path *p)
{
    if (!S_ISDIR(p->dentry->inode->mode)) {
        return -ENOTDIR;
    }
    return inode_permission(p->dentry->inode, current->cred, MAY_EXEC);
}

static int lookup_directory(const char __user *path, struct path *out)
{
    char *name;
    int err = name_get(path, &name);

    if (err < 0) {
        return err;
    }
    err = path_lookup(AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);
    name_put(name);
    if (err == 0) {
        err = check_directory(out);
        if (err < 0) {
            path_put(out);
        }
    }
    return err;
}

long sys_chdir(const char __user *path)
{
    struct path p;
    int err = lookup_directory(path, &p);

    if (err == 0) {
        fs_set_cwd(&p);
        path_put(&p);
    }
    return err;
}

long sys_fchdir(int fd)
{
    struct file *f = fd_get(fd);
    int err;

    if (!f) {
        return -EBADF;
    }
    err = f->path.dentry ? check_directory(&f->path) : -ENOTDIR;
    if (err == 0) {
        fs_set_cwd(&f->path);
    }
    file_put(f);
    return err;
}

long sys_chroot(const char __user *path)
{
    struct path p;
    int err = lookup_directory(path, &p);

    if (err < 0) {
        return err;
    }
    if (!cred_is_capable(current->cred, CAP_SYS_CHROOT)) {
        err = -EPERM;
    } else {
        fs_set_root(&p);
    }
    path_put(&p);
    return err;
}

long sys_getcwd(void __user *buf, size_t size)
{
    struct page *page = page_alloc(0, GFP_KERNEL);
    struct path cwd;
    char *text;
    long n;

    if (!page) {
        return -ENOMEM;
    }
    fs_cwd(&cwd);
    text = path_text(&cwd, page_address(page), PAGE_SIZE);
    if (cwd.dentry->is_deleted) {
        n = -ENOENT;
    } else if (!text) {
        n = -ENAMETOOLONG;
    } else {
        n = (long)strlen(text) + 1;
        if ((size_t)n > size) {
            n = -ERANGE;
        } else if (copy_to_user(buf, text, (size_t)n) < 0) {
            n = -EFAULT;
        }
    }
    path_put(&cwd);
    page_put(page);
    return n;
}

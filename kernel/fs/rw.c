/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read, write and their vector and positioned forms; lseek, fsync, truncate, fallocate.
 * Budget: 1 byte from a pipe, read(2) as a whole, 600 instructions; this file's part is about 60.
 */
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

enum direction {
    TO_PROGRAM,
    FROM_PROGRAM
};

#define POS_OF_FILE (-1) /* preadv2: use and move the description's offset */

static int check_access(const struct file *f, enum direction way)
{
    if (f->mode & FMODE_PATH) {
        return -EBADF;
    }
    if (way == TO_PROGRAM) {
        if (!(f->mode & FMODE_READ)) {
            return -EBADF;
        }
        return f->ops->read ? 0 : -EINVAL;
    }
    if (!(f->mode & FMODE_WRITE)) {
        return -EBADF;
    }
    return f->ops->write ? 0 : -EINVAL;
}

static ssize_t run(struct file *f, struct uio *u, int64_t *pos, enum direction way)
{
    return way == TO_PROGRAM ? f->ops->read(f, u, pos) : f->ops->write(f, u, pos);
}

/* With the description's offset, atomically if it has one. */
static ssize_t transfer(struct file *f, struct uio *u, enum direction way)
{
    int64_t none = 0;
    ssize_t n;

    if (!(f->mode & FMODE_SEEK)) {
        return run(f, u, &none, way);
    }
    mutex_lock(&f->pos_lock);
    n = run(f, u, &f->pos, way);
    mutex_unlock(&f->pos_lock);
    return n;
}

static ssize_t transfer_at(struct file *f, struct uio *u, int64_t pos, enum direction way)
{
    if (f->mode & FMODE_STREAM || !(f->mode & FMODE_SEEK)) {
        if (f->mode & FMODE_STREAM || f->ops->seek == NULL) {
            if (f->inode && S_ISCHR(f->inode->mode)) {
                return run(f, u, &pos, way); /* /dev/zero and the like have no offset to mind */
            }
            return -ESPIPE;
        }
    }
    return run(f, u, &pos, way);
}

static long single(int fd, void __user *buf, size_t size, enum direction way)
{
    struct file *f = fd_get(fd);
    struct uio u;
    ssize_t n;

    if (!f) {
        return -EBADF;
    }
    n = check_access(f, way);
    if (n == 0) {
        uio_init_user(&u, buf, min_of(size, (size_t)UIO_MAX_BYTES));
        n = transfer(f, &u, way);
    }
    file_put(f);
    return n;
}

long sys_read(int fd, void __user *buf, size_t size)
{
    return single(fd, buf, size, TO_PROGRAM);
}

long sys_write(int fd, void __user *buf, size_t size)
{
    return single(fd, buf, size, FROM_PROGRAM);
}

static long positioned(int fd, void __user *buf, size_t size, int64_t pos, enum direction way)
{
    struct file *f;
    struct uio u;
    ssize_t n;

    if (pos < 0) {
        return -EINVAL;
    }
    f = fd_get(fd);
    if (!f) {
        return -EBADF;
    }
    n = check_access(f, way);
    if (n == 0) {
        uio_init_user(&u, buf, min_of(size, (size_t)UIO_MAX_BYTES));
        n = transfer_at(f, &u, pos, way);
    }
    file_put(f);
    return n;
}

long sys_pread64(int fd, void __user *buf, size_t size, off64_t pos)
{
    return positioned(fd, buf, size, pos, TO_PROGRAM);
}

long sys_pwrite64(int fd, void __user *buf, size_t size, off64_t pos)
{
    return positioned(fd, buf, size, pos, FROM_PROGRAM);
}

/* `pos` is POS_OF_FILE or an offset that was checked. */
static long vector(int fd, const void __user *v, uint64_t count, int64_t pos, enum direction way)
{
    struct user_iovec *heap = NULL;
    struct file *f = fd_get(fd);
    struct uio u;
    ssize_t n;

    if (!f) {
        return -EBADF;
    }
    n = check_access(f, way);
    if (n == 0) {
        n = uio_import(&u, v, count, &heap);
    }
    if (n == 0) {
        n = pos == POS_OF_FILE ? transfer(f, &u, way) : transfer_at(f, &u, pos, way);
    }
    kfree(heap);
    file_put(f);
    return n;
}

long sys_readv(int fd, void __user *v, unsigned long count)
{
    return vector(fd, v, count, POS_OF_FILE, TO_PROGRAM);
}

long sys_writev(int fd, void __user *v, unsigned long count)
{
    return vector(fd, v, count, POS_OF_FILE, FROM_PROGRAM);
}

long sys_preadv(int fd, void __user *v, unsigned long count, unsigned long low, unsigned long high)
{
    (void)high; /* 64-bit machines pass the whole offset in the low part */
    return (int64_t)low < 0 ? -EINVAL : vector(fd, v, count, (int64_t)low, TO_PROGRAM);
}

long sys_pwritev(int fd, void __user *v, unsigned long count, unsigned long low, unsigned long high)
{
    (void)high;
    return (int64_t)low < 0 ? -EINVAL : vector(fd, v, count, (int64_t)low, FROM_PROGRAM);
}

#define RWF_HIPRI 0x01u
#define RWF_DSYNC 0x02u
#define RWF_SYNC  0x04u

static long vector2(int fd, const void __user *v, uint64_t count, int64_t pos, unsigned flags,
                    enum direction way)
{
    if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC)) {
        return -EOPNOTSUPP;
    }
    if (pos < POS_OF_FILE) {
        return -EINVAL;
    }
    return vector(fd, v, count, pos, way);
}

long sys_preadv2(int fd, void __user *v, unsigned long count, unsigned long low, unsigned long high,
                 unsigned flags)
{
    (void)high;
    return vector2(fd, v, count, (int64_t)low, flags, TO_PROGRAM);
}

long sys_pwritev2(int fd, void __user *v, unsigned long count, unsigned long low,
                  unsigned long high, unsigned flags)
{
    (void)high;
    return vector2(fd, v, count, (int64_t)low, flags, FROM_PROGRAM);
}

/* --- lseek ------------------------------------------------------------------------------------ */

long sys_lseek(int fd, off64_t offset, int whence)
{
    struct file *f = fd_get(fd);
    int64_t at;

    if (!f) {
        return -EBADF;
    }
    if (f->mode & FMODE_PATH) {
        at = -EBADF;
    } else if (whence < SEEK_SET || whence > SEEK_HOLE) {
        at = -EINVAL;
    } else if (f->ops->seek) {
        mutex_lock(&f->pos_lock);
        at = f->ops->seek(f, offset, whence);
        mutex_unlock(&f->pos_lock);
    } else if (f->mode & FMODE_SEEK) {
        mutex_lock(&f->pos_lock);
        at = seek_plain(f, offset, whence, f->inode ? (int64_t)f->inode->size : 0);
        mutex_unlock(&f->pos_lock);
    } else {
        at = -ESPIPE;
    }
    file_put(f);
    return at;
}

/* --- durability ------------------------------------------------------------------------------- */

static long sync_file(int fd, bool data_only)
{
    struct file *f = fd_get(fd);
    long err;

    if (!f) {
        return -EBADF;
    }
    if (f->mode & FMODE_PATH) {
        err = -EBADF;
    } else if (f->ops->fsync) {
        err = f->ops->fsync(f, data_only);
    } else {
        err = f->inode && S_ISDIR(f->inode->mode) ? 0 : -EINVAL;
    }
    file_put(f);
    return err;
}

long sys_fsync(int fd)
{
    return sync_file(fd, false);
}

long sys_fdatasync(int fd)
{
    return sync_file(fd, true);
}

long sys_sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
    if (offset < 0 || size < 0 || (flags & ~7u)) {
        return -EINVAL;
    }
    return sync_file(fd, true);
}

long sys_sync(void)
{
    (void)mount_sync_all(); /* sync(2) has no way to tell */
    return 0;
}

long sys_syncfs(int fd)
{
    struct file *f = fd_get(fd);
    long err = 0;

    if (!f) {
        return -EBADF;
    }
    if (f->path.dentry && f->path.mount->sb->ops->sync) {
        err = f->path.mount->sb->ops->sync(f->path.mount->sb);
    }
    file_put(f);
    return err;
}

/* Advice: nothing is kept that could be dropped, nothing is read that could be read earlier. */
static long check_advice(int fd, bool wants_file)
{
    struct file *f = fd_get(fd);
    long err = 0;

    if (!f) {
        return -EBADF;
    }
    if (f->mode & FMODE_STREAM) {
        err = wants_file ? -EINVAL : -ESPIPE;
    }
    file_put(f);
    return err;
}

long sys_readahead(int fd, off64_t offset, size_t size)
{
    (void)offset;
    (void)size;
    return check_advice(fd, true);
}

long sys_fadvise64(int fd, off64_t offset, off64_t size, int advice)
{
    (void)offset;
    if (size < 0 || advice < 0 || advice > 5) {
        return -EINVAL;
    }
    return check_advice(fd, false);
}

/* --- size ------------------------------------------------------------------------------------- */

static int resize(struct inode *inode, int64_t size)
{
    struct attr a = { .mask = ATTR_SIZE | ATTR_MTIME | ATTR_CTIME, .size = (uint64_t)size };

    if (a.size > limit_of(RLIMIT_FSIZE) && a.size > inode->size) {
        (void)signal_send_task(current, SIGXFSZ, NULL);
        return -EFBIG;
    }
    a.mtime = a.ctime = time_now();
    return inode_change(inode, &a);
}

long sys_ftruncate(int fd, off64_t size)
{
    struct file *f;
    long err;

    if (size < 0) {
        return -EINVAL;
    }
    f = fd_get(fd);
    if (!f) {
        return -EBADF;
    }
    if (f->mode & FMODE_PATH) {
        err = -EBADF;
    } else if (!(f->mode & FMODE_WRITE) || !f->inode || !S_ISREG(f->inode->mode)) {
        err = -EINVAL;
    } else {
        inode_drop_suid(f->inode);
        err = resize(f->inode, size);
    }
    file_put(f);
    return err;
}

long sys_truncate(const char __user *path, off64_t size)
{
    struct inode *inode;
    struct path p;
    char *name;
    int err;

    if (size < 0) {
        return -EINVAL;
    }
    err = name_get(path, &name);
    if (err < 0) {
        return err;
    }
    err = path_lookup(AT_FDCWD, name, LOOKUP_FOLLOW, &p);
    name_put(name);
    if (err < 0) {
        return err;
    }
    inode = p.dentry->inode;
    if (S_ISDIR(inode->mode)) {
        err = -EISDIR;
    } else if (!S_ISREG(inode->mode)) {
        err = -EINVAL;
    } else if (path_is_read_only(&p)) {
        err = -EROFS;
    } else {
        err = inode_permission(inode, current->cred, MAY_WRITE);
    }
    if (err == 0 && __atomic_load_n(&inode->writers, __ATOMIC_RELAXED) < 0) {
        err = -ETXTBSY;
    }
    if (err == 0) {
        inode_drop_suid(inode);
        err = resize(inode, size);
    }
    path_put(&p);
    return err;
}

long sys_fallocate(int fd, int mode, off64_t offset, off64_t size)
{
    struct file *f;
    uint64_t end;
    long err;

    if (offset < 0 || size <= 0) {
        return -EINVAL;
    }
    f = fd_get(fd);
    if (!f) {
        return -EBADF;
    }
    if (!(f->mode & FMODE_WRITE) || (f->mode & FMODE_PATH)) {
        err = -EBADF;
    } else if (f->mode & FMODE_STREAM) {
        err = -ESPIPE;
    } else if (!f->inode || !S_ISREG(f->inode->mode)) {
        err = f->inode && S_ISDIR(f->inode->mode) ? -EISDIR : -ENODEV;
    } else if (!checked_add((uint64_t)offset, (uint64_t)size, &end) || end > INT64_MAX) {
        err = -EFBIG;
    } else if (!f->inode->ops->allocate) {
        err = -EOPNOTSUPP;
    } else {
        mutex_lock(&f->inode->write_lock);
        err = f->inode->ops->allocate(f->inode, mode, (uint64_t)offset, (uint64_t)size);
        mutex_unlock(&f->inode->write_lock);
    }
    file_put(f);
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sendfile, copy_file_range and splice: bytes from one description to another through a page of
 * kernel memory. Short transfers are normal; a write that would block ends them.
 */
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/fifo.h>
#include <mm/page.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

/* One side of a transfer: at an own offset, or at the description's. */
struct end {
    struct file *file;
    int64_t pos;
    bool has_pos;
};

static ssize_t end_read(struct end *e, void *buf, size_t size)
{
    struct file *f = e->file;
    struct uio u;
    ssize_t n;

    uio_init_kernel(&u, buf, size);
    if (e->has_pos) {
        return f->ops->read(f, &u, &e->pos);
    }
    if (!(f->mode & FMODE_SEEK)) {
        return f->ops->read(f, &u, &e->pos);
    }
    mutex_lock(&f->pos_lock);
    n = f->ops->read(f, &u, &f->pos);
    mutex_unlock(&f->pos_lock);
    return n;
}

static ssize_t end_write(struct end *e, void *buf, size_t size)
{
    struct file *f = e->file;
    struct uio u;
    ssize_t n;

    uio_init_kernel(&u, buf, size);
    if (e->has_pos || !(f->mode & FMODE_SEEK)) {
        return f->ops->write(f, &u, &e->pos);
    }
    mutex_lock(&f->pos_lock);
    n = f->ops->write(f, &u, &f->pos);
    mutex_unlock(&f->pos_lock);
    return n;
}

/* Bytes read but not written go back: only a side with an offset can take them back. */
static void give_back(struct end *in, int64_t count)
{
    if (count == 0) {
        return;
    }
    if (in->has_pos) {
        in->pos -= count;
    } else if (in->file->mode & FMODE_SEEK) {
        mutex_lock(&in->file->pos_lock);
        in->file->pos -= count;
        mutex_unlock(&in->file->pos_lock);
    }
}

static long transfer(struct end *in, struct end *out, size_t size)
{
    struct page *page = page_alloc(0, GFP_KERNEL);
    bool is_stream = !in->has_pos && !(in->file->mode & FMODE_SEEK);
    ssize_t done = 0;
    ssize_t err = 0;

    if (!page) {
        return -ENOMEM;
    }
    size = min_of(size, (size_t)UIO_MAX_BYTES);
    while ((size_t)done < size) {
        char *at = page_address(page);
        ssize_t got = end_read(in, at, min_of(size - (size_t)done, (size_t)PAGE_SIZE));
        ssize_t put = 0;

        if (got <= 0) {
            err = got;
            break;
        }
        /* What came out of a stream cannot go back into it: all of it must be written. */
        do {
            ssize_t n = end_write(out, at + put, (size_t)(got - put));

            if (n <= 0) {
                err = n < 0 ? n : -EIO;
                break;
            }
            put += n;
        } while (is_stream && put < got);
        done += put;
        if (put < got) {
            give_back(in, got - put);
            break;
        }
        if (is_stream || signal_is_pending(current)) {
            break;
        }
    }
    page_put(page);
    return done > 0 ? done : err;
}

/* Counted descriptions with the rights that are needed. */
static int ends_get(int in_fd, int out_fd, struct end *in, struct end *out)
{
    in->has_pos = out->has_pos = false;
    in->pos = out->pos = 0;
    in->file = fd_get(in_fd);
    if (!in->file) {
        return -EBADF;
    }
    out->file = fd_get(out_fd);
    if (!out->file) {
        file_put(in->file);
        return -EBADF;
    }
    if ((in->file->mode & FMODE_READ) && (out->file->mode & FMODE_WRITE)) {
        if (in->file->ops->read && out->file->ops->write) {
            return 0;
        }
        file_put(in->file);
        file_put(out->file);
        return -EINVAL;
    }
    file_put(in->file);
    file_put(out->file);
    return -EBADF;
}

static void ends_put(struct end *in, struct end *out)
{
    file_put(in->file);
    file_put(out->file);
}

static int offset_get(struct end *e, const void __user *from)
{
    uint64_t value;

    if (!from) {
        return 0;
    }
    if (!(e->file->mode & FMODE_SEEK)) {
        return -ESPIPE;
    }
    if (get_user64(&value, from) < 0) {
        return -EFAULT;
    }
    if (value > INT64_MAX) {
        return -EINVAL;
    }
    e->pos = (int64_t)value;
    e->has_pos = true;
    return 0;
}

static long offset_put(const struct end *e, void __user *to, long result)
{
    if (to && result >= 0 && put_user64((uint64_t)e->pos, to) < 0) {
        return -EFAULT;
    }
    return result;
}

static bool is_regular(const struct file *f)
{
    return f->inode && S_ISREG(f->inode->mode);
}

long sys_sendfile(int out_fd, int in_fd, void __user *offset, size_t size)
{
    struct end in;
    struct end out;
    long n = ends_get(in_fd, out_fd, &in, &out);

    if (n < 0) {
        return n;
    }
    if (!(in.file->mode & FMODE_SEEK)) {
        n = offset ? -ESPIPE : -EINVAL;
    } else if (atomic_load_explicit(&out.file->flags, memory_order_relaxed) & O_APPEND) {
        n = -EINVAL;
    } else {
        n = offset_get(&in, offset);
    }
    if (n == 0) {
        n = offset_put(&in, offset, transfer(&in, &out, size));
    }
    ends_put(&in, &out);
    return n;
}

static bool overlaps(const struct end *in, const struct end *out, uint64_t size)
{
    int64_t from = in->has_pos ? in->pos : in->file->pos;
    int64_t to = out->has_pos ? out->pos : out->file->pos;
    uint64_t gap = from > to ? (uint64_t)(from - to) : (uint64_t)(to - from);

    return in->file->inode == out->file->inode && gap < size;
}

long sys_copy_file_range(int in_fd, void __user *in_offset, int out_fd, void __user *out_offset,
                         size_t size, unsigned flags)
{
    struct end in;
    struct end out;
    long n;

    if (flags != 0) {
        return -EINVAL;
    }
    n = ends_get(in_fd, out_fd, &in, &out);
    if (n < 0) {
        return n;
    }
    if (S_ISDIR(in.file->inode ? in.file->inode->mode : 0) ||
        S_ISDIR(out.file->inode ? out.file->inode->mode : 0)) {
        n = -EISDIR;
    } else if (!is_regular(in.file) || !is_regular(out.file)) {
        n = -EINVAL;
    } else if (atomic_load_explicit(&out.file->flags, memory_order_relaxed) & O_APPEND) {
        n = -EBADF;
    } else {
        n = offset_get(&in, in_offset);
    }
    if (n == 0) {
        n = offset_get(&out, out_offset);
    }
    if (n == 0 && overlaps(&in, &out, size)) {
        n = -EINVAL;
    }
    if (n == 0) {
        n = transfer(&in, &out, size);
        n = offset_put(&in, in_offset, n);
        n = offset_put(&out, out_offset, n);
    }
    ends_put(&in, &out);
    return n;
}

static bool is_pipe(const struct file *f)
{
    return file_is_pipe && file_is_pipe(f);
}

long sys_splice(int in_fd, void __user *in_offset, int out_fd, void __user *out_offset, size_t size,
                unsigned flags)
{
    struct end in;
    struct end out;
    long n;

    if (flags & ~15u) {
        return -EINVAL;
    }
    if (size == 0) {
        return 0;
    }
    n = ends_get(in_fd, out_fd, &in, &out);
    if (n < 0) {
        return n;
    }
    if (!is_pipe(in.file) && !is_pipe(out.file)) {
        n = -EINVAL;
    }
    if (n == 0) {
        n = offset_get(&in, in_offset);
    }
    if (n == 0) {
        n = offset_get(&out, out_offset);
    }
    if (n == 0) {
        n = transfer(&in, &out, size);
        n = offset_put(&in, in_offset, n);
        n = offset_put(&out, out_offset, n);
    }
    ends_put(&in, &out);
    return n;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: close, dup, fcntl, and the part of ioctl that is the same for all files. */
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/locks.h>
#include <fs/tmpfs/tmpfs.h>
#include <ipc/fifo.h>
#include <mm/mm.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

long sys_close(int fd)
{
    return fd_close(fd);
}

#define CLOSE_RANGE_UNSHARE 2u
#define CLOSE_RANGE_CLOEXEC 4u

long sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last) {
        return -EINVAL;
    }
    if (flags & CLOSE_RANGE_UNSHARE) {
        int err = files_unshare();

        if (err < 0) {
            return err;
        }
    }
    last = min_of(last, UINT32_MAX - 1);
    if (flags & CLOSE_RANGE_CLOEXEC) {
        files_mark_range(current->files, first, last);
    } else {
        files_close_range(current->files, first, last);
    }
    return 0;
}

static long dup_from(int fd, unsigned from, bool close_on_exec)
{
    struct file *f = fd_get(fd);
    int copy;

    if (!f) {
        return -EBADF;
    }
    copy = fd_install(f, from, close_on_exec);
    if (copy < 0) {
        file_put(f);
    }
    return copy;
}

long sys_dup(int fd)
{
    return dup_from(fd, 0, false);
}

static long dup_to(int fd, int to, bool close_on_exec)
{
    struct file *f = fd_get(fd);
    int copy;

    if (!f) {
        return -EBADF;
    }
    copy = files_replace((unsigned)to, f, close_on_exec);
    if (copy < 0) {
        file_put(f);
    }
    return copy;
}

long sys_dup2(int fd, int to)
{
    if (fd == to) {
        int flag = files_get_flag(fd);

        return flag < 0 ? flag : fd;
    }
    return dup_to(fd, to, false);
}

long sys_dup3(int fd, int to, int flags)
{
    if ((unsigned)flags & ~O_CLOEXEC || fd == to) {
        return -EINVAL;
    }
    return dup_to(fd, to, ((unsigned)flags & O_CLOEXEC) != 0);
}

/* --- fcntl ------------------------------------------------------------------------------------ */

#define SETTABLE (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

static long set_flags(struct file *f, uint64_t arg)
{
    uint32_t old = atomic_load_explicit(&f->flags, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(&f->flags, &old,
                                                  (old & ~SETTABLE) | ((uint32_t)arg & SETTABLE),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    return 0;
}

static bool has_seals(const struct file *f)
{
    return f->ops == &tmpfs_file_ops && f->inode;
}

static bool has_writable_mapping(struct mapping *m)
{
    const struct vma *v;
    bool found = false;

    spin_lock(&m->lock);
    list_for_each_entry(v, &m->vmas, mapping_link) {
        found = found || ((v->flags & VMA_SHARED) && (v->flags & (VMA_WRITE | VMA_MAYWRITE)));
    }
    spin_unlock(&m->lock);
    return found;
}

static long add_seals(struct file *f, uint64_t arg)
{
    struct tmpfs_node *n;
    long err = 0;

    if (!has_seals(f) || (arg & ~UINT64_C(0x1f))) {
        return -EINVAL;
    }
    if (!(f->mode & FMODE_WRITE)) {
        return -EPERM;
    }
    n = tmpfs_node_of(f->inode);
    mutex_lock(&f->inode->write_lock);
    if (n->seals & F_SEAL_SEAL) {
        err = -EPERM;
    } else if ((arg & F_SEAL_WRITE) && !(n->seals & F_SEAL_WRITE)) {
        /* A program that can still write through a mapping would break the promise. */
        err = has_writable_mapping(&f->inode->mapping) ? -EBUSY : 0;
    }
    if (err == 0) {
        n->seals |= (uint32_t)arg;
    }
    mutex_unlock(&f->inode->write_lock);
    return err;
}

struct owner_ex {
    int32_t type; /* 0 thread, 1 process, 2 group */
    int32_t pid;
};

static long fcntl_owner(struct file *f, int cmd, uint64_t arg)
{
    struct owner_ex o;

    switch (cmd) {
    case F_SETOWN:
        f->owner = (int32_t)arg;
        return 0;
    case F_GETOWN:
        return f->owner;
    case F_SETOWN_EX:
        if (copy_from_user(&o, (void __user *)(uintptr_t)arg, sizeof(o)) < 0) {
            return -EFAULT;
        }
        if (o.type < 0 || o.type > 2) {
            return -EINVAL;
        }
        f->owner = o.type == 2 ? -o.pid : o.pid;
        return 0;
    default:
        o.type = f->owner < 0 ? 2 : 1;
        o.pid = f->owner < 0 ? -f->owner : f->owner;
        return copy_to_user((void __user *)(uintptr_t)arg, &o, sizeof(o));
    }
}

/*
 * A record lock must not outlive its descriptor: if another thread has closed it while we waited,
 * its close(2) found no lock yet, so it is given up here.
 */
static long record_lock(struct file *f, int fd, int cmd, uint64_t arg)
{
    long result = locks_fcntl(f, cmd, arg);

    if (result == 0 && (cmd == F_SETLK || cmd == F_SETLKW)) {
        struct file *now = fd_get(fd);

        if (now != f) {
            locks_release_posix(f, current->files);
            result = -EBADF;
        }
        if (now) {
            file_put(now);
        }
    }
    return result;
}

static long fcntl_file(struct file *f, int fd, int cmd, uint64_t arg)
{
    switch (cmd) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
        int copy;

        if ((int)arg < 0 || arg >= 1u << 20) {
            return -EINVAL;
        }
        copy = fd_install(file_get(f), (unsigned)arg, cmd == F_DUPFD_CLOEXEC);
        if (copy < 0) {
            file_put(f);
        }
        return copy;
    }
    case F_GETFD:
        return files_get_flag(fd);
    case F_SETFD:
        return files_set_flag(fd, (arg & FD_CLOEXEC) != 0);
    case F_GETFL: {
        uint32_t flags = atomic_load_explicit(&f->flags, memory_order_relaxed);

        return (long)(flags & ~O_CLOEXEC);
    }
    default:
        break;
    }
    if (f->mode & FMODE_PATH) {
        return -EBADF;
    }
    switch (cmd) {
    case F_SETFL:
        return set_flags(f, arg);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return record_lock(f, fd, cmd, arg);
    case F_SETOWN:
    case F_GETOWN:
    case F_SETOWN_EX:
    case F_GETOWN_EX:
        return fcntl_owner(f, cmd, arg);
    case F_SETSIG:
        if (arg > 64) {
            return -EINVAL;
        }
        f->owner_signal = (int32_t)arg;
        return 0;
    case F_GETSIG:
        return f->owner_signal;
    case F_GETLEASE:
        return F_UNLCK;
    case F_SETPIPE_SZ:
        return pipe_set_size ? pipe_set_size(f, arg) : -EBADF;
    case F_GETPIPE_SZ:
        return pipe_size ? pipe_size(f) : -EBADF;
    case F_ADD_SEALS:
        return add_seals(f, arg);
    case F_GET_SEALS:
        return has_seals(f) ? (long)tmpfs_node_of(f->inode)->seals : -EINVAL;
    default: /* F_SETLEASE and F_NOTIFY are refused */
        return -EINVAL;
    }
}

long sys_fcntl(int fd, int cmd, unsigned long arg)
{
    struct file *f = fd_get(fd);
    long result;

    if (!f) {
        return -EBADF;
    }
    result = fcntl_file(f, fd, cmd, arg);
    file_put(f);
    return result;
}

/* --- ioctl ------------------------------------------------------------------------------------ */

#define FIONREAD 0x541bu
#define FIONBIO  0x5421u
#define FIONCLEX 0x5450u
#define FIOCLEX  0x5451u
#define FIOASYNC 0x5452u
#define FIOQSIZE 0x5460u

static long toggle(struct file *f, uint32_t flag, uint64_t arg)
{
    uint32_t on;

    if (get_user32(&on, (void __user *)(uintptr_t)arg) < 0) {
        return -EFAULT;
    }
    if (on) {
        atomic_fetch_or_explicit(&f->flags, flag, memory_order_relaxed);
    } else {
        atomic_fetch_and_explicit(&f->flags, ~flag, memory_order_relaxed);
    }
    return 0;
}

static long ioctl_file(struct file *f, int fd, unsigned cmd, uint64_t arg)
{
    switch (cmd) {
    case FIOCLEX:
        return files_set_flag(fd, true);
    case FIONCLEX:
        return files_set_flag(fd, false);
    case FIONBIO:
        return toggle(f, O_NONBLOCK, arg);
    case FIOASYNC:
        return toggle(f, O_ASYNC, arg);
    case FIONREAD:
        if (f->inode && S_ISREG(f->inode->mode)) {
            int64_t left = (int64_t)f->inode->size - f->pos;

            return put_user32((uint32_t)max_of(left, (int64_t)0), (void __user *)(uintptr_t)arg);
        }
        break;
    case FIOQSIZE:
        if (f->inode && (S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode))) {
            return put_user64(f->inode->size, (void __user *)(uintptr_t)arg);
        }
        break;
    default:
        break;
    }
    return f->ops->ioctl ? f->ops->ioctl(f, cmd, arg) : -ENOTTY;
}

long sys_ioctl(int fd, unsigned cmd, unsigned long arg)
{
    struct file *f = fd_get(fd);
    long result;

    if (!f) {
        return -EBADF;
    }
    result = f->mode & FMODE_PATH ? -EBADF : ioctl_file(f, fd, cmd, arg);
    file_put(f);
    return result;
}

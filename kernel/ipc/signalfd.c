// SPDX-License-Identifier: Apache-2.0
/*
 * signalfd: reading dequeues what pends for the reading task and its process, whoever opened the
 * descriptor. Pollers are woken by signals to the process that made the descriptor.
 */
#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/anon_fd.h>
#include <ipc/flags.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

struct signalfd {
    _Atomic uint64_t mask;
    struct process *owner; /* counted: pollers wait on its queue, which outlives them so */
};

struct user_signalfd_siginfo { /* the ABI's, 128 bytes */
    uint32_t signo;
    int32_t error, code;
    uint32_t pid, uid;
    int32_t fd;
    uint32_t tid, band, overrun, trap;
    int32_t status, integer;
    uint64_t pointer, utime, stime, addr;
    uint16_t addr_lsb;
    uint8_t pad[46];
};

static_assert(sizeof(struct user_signalfd_siginfo) == 128, "signalfd_siginfo is ABI");

static struct user_signalfd_siginfo convert(const struct siginfo *info)
{
    struct user_signalfd_siginfo s = {
        .signo = (uint32_t)info->signo,
        .error = info->error,
        .code = info->code,
    };

    if (info->code == SI_TIMER) {
        s.tid = (uint32_t)info->timer_id;
        s.overrun = (uint32_t)info->overrun;
        s.pointer = info->timer_value;
        s.integer = (int32_t)info->timer_value;
    } else if (info->code > 0 && info->code != SI_KERNEL && info->signo != SIGCHLD) {
        s.addr = info->addr;
    } else {
        s.pid = (uint32_t)info->pid;
        s.uid = info->uid;
        if (info->signo == SIGCHLD) {
            s.status = info->status;
            s.utime = (uint64_t)info->utime;
            s.stime = (uint64_t)info->stime;
        } else {
            s.pointer = info->value;
            s.integer = (int32_t)info->value;
        }
    }
    return s;
}

static uint64_t mask_of(const struct file *f)
{
    const struct signalfd *s = f->private;

    return atomic_load_explicit(&s->mask, memory_order_relaxed); /* a word of its own */
}

static uint64_t pending_now(uint64_t mask)
{
    struct task *self = current;
    uint64_t flags = spin_lock_irqsave(&self->process->signal_lock);
    uint64_t pending = (self->pending.set | self->process->pending.set) & mask;

    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    return pending;
}

static bool take_one(uint64_t mask, struct siginfo *info)
{
    struct task *self = current;
    uint64_t flags = spin_lock_irqsave(&self->process->signal_lock);
    int signo = signal_dequeue_locked(self, mask, info);

    if (signo) {
        signal_recalculate_locked(self);
    }
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    return signo != 0;
}

static int wait_for_signal(uint64_t mask)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&current->process->signal_wait, &w, 0);
    current->wait_reason = "signalfd";
    while (!pending_now(mask) && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return pending_now(mask) ? 0 : err;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t signalfd_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct user_signalfd_siginfo s;
    struct siginfo info;
    ssize_t done = 0;

    (void)pos;
    if (u->remaining < sizeof(s)) {
        return -EINVAL;
    }
    while (u->remaining >= sizeof(s)) {
        int err;

        if (take_one(mask_of(f), &info)) {
            s = convert(&info);
            if (uio_copy_out(u, &s, sizeof(s)) != sizeof(s)) {
                return done ? done : -EFAULT;
            }
            done += (ssize_t)sizeof(s);
            continue;
        }
        if (done) {
            break;
        }
        if (file_is_nonblock(f)) {
            return -EAGAIN;
        }
        err = wait_for_signal(mask_of(f));
        if (err < 0) {
            return err;
        }
    }
    return done;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t signalfd_write(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return -EINVAL;
}

static uint32_t signalfd_poll(struct file *f, struct poll_table *pt)
{
    const struct signalfd *s = f->private;

    poll_wait(pt, f, &s->owner->signal_wait);
    return pending_now(mask_of(f)) ? POLLIN : 0;
}

static void signalfd_release(struct file *f)
{
    struct signalfd *s = f->private;

    process_put(s->owner);
    kfree(s);
}

static const struct file_ops signalfd_ops = {
    .type = "anon_inode:[signalfd]",
    .read = signalfd_read,
    .write = signalfd_write,
    .poll = signalfd_poll,
    .release = signalfd_release,
};

static long set_mask(int fd, uint64_t mask)
{
    struct file *f = fd_get(fd);
    struct signalfd *s;

    if (!f) {
        return -EBADF;
    }
    if (f->ops != &signalfd_ops) {
        file_put(f);
        return -EINVAL;
    }
    s = f->private;
    atomic_store_explicit(&s->mask, mask, memory_order_relaxed);
    file_put(f);
    wake_all(&current->process->signal_wait, 0); /* what pends already may count now */
    return fd;
}

long sys_signalfd4(int fd, void __user *from, size_t size, int flags)
{
    struct signalfd *s;
    uint64_t mask;
    long result;

    if (size != SIGNAL_SET_BYTES || ((unsigned)flags & ~(O_CLOEXEC | O_NONBLOCK))) {
        return -EINVAL;
    }
    if (get_user64(&mask, from) < 0) {
        return -EFAULT;
    }
    mask &= ~SIGNALS_UNBLOCKABLE;
    if (fd != -1) {
        return set_mask(fd, mask);
    }
    s = kmalloc(sizeof(*s), GFP_KERNEL);
    if (!s) {
        return -ENOMEM;
    }
    atomic_init(&s->mask, mask);
    s->owner = process_get(current->process);
    result = anon_fd_open(&signalfd_ops, s, O_RDWR | (unsigned)flags);
    if (result < 0) {
        process_put(s->owner);
        kfree(s);
    }
    return result;
}

long sys_signalfd(int fd, void __user *from, size_t size)
{
    return sys_signalfd4(fd, from, size, 0);
}

// SPDX-License-Identifier: Apache-2.0
/* timerfd: a timer whose expirations are read as a count. */
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/anon_fd.h>
#include <ipc/flags.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <sched/task.h>
#include <syscall/clock.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define TFD_TIMER_ABSTIME       1
#define TFD_TIMER_CANCEL_ON_SET 2

struct timerfd {
    struct timer timer;
    struct spinlock lock; /* irq-safe */
    struct wait_queue wait;
    bool is_realtime;
    uint64_t deadline_ns; /* monotonic; 0: off */
    uint64_t interval_ns;
    uint64_t expirations; /* not yet read, up to the last time the timer fired */
};

static struct slab_cache timerfd_cache = SLAB_CACHE("timerfd", struct timerfd);

static void timerfd_expired(struct timer *timer)
{
    struct timerfd *t = container_of(timer, struct timerfd, timer);
    uint64_t flags = spin_lock_irqsave(&t->lock);
    uint64_t now = clock_monotonic_ns();
    bool has_expired = t->deadline_ns && t->deadline_ns <= now;

    if (has_expired) {
        uint64_t more = 1;

        if (t->interval_ns) {
            more += (now - t->deadline_ns) / t->interval_ns;
            t->deadline_ns += more * t->interval_ns;
            timer_start(&t->timer, t->deadline_ns);
        } else {
            t->deadline_ns = 0;
        }
        t->expirations += more;
    }
    spin_unlock_irqrestore(&t->lock, flags);
    if (has_expired) {
        wake_all(&t->wait, POLLIN);
    }
}

static uint64_t expirations_now(const struct timerfd *t)
{
    return *(const volatile uint64_t *)&t->expirations;
}

static uint64_t take_expirations(struct timerfd *t)
{
    uint64_t flags = spin_lock_irqsave(&t->lock);
    uint64_t n = t->expirations;

    t->expirations = 0;
    spin_unlock_irqrestore(&t->lock, flags);
    return n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t timerfd_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct timerfd *t = f->private;
    struct waiter w;
    uint64_t n;
    int err = 0;

    (void)pos;
    if (u->remaining < sizeof(n)) {
        return -EINVAL;
    }
    while ((n = take_expirations(t)) == 0) {
        if (file_is_nonblock(f)) {
            return -EAGAIN;
        }
        if (err < 0) {
            return err;
        }
        wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
        wait_add(&t->wait, &w, POLLIN);
        current->wait_reason = "timerfd";
        while (expirations_now(t) == 0 && (err = wait_sleep(&w)) == 0) {
        }
        current->wait_reason = NULL;
        wait_end(&w);
    }
    return uio_copy_out(u, &n, sizeof(n));
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t timerfd_write(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return -EINVAL;
}

static uint32_t timerfd_poll(struct file *f, struct poll_table *pt)
{
    struct timerfd *t = f->private;

    poll_wait(pt, f, &t->wait);
    return expirations_now(t) ? POLLIN : 0;
}

static void timerfd_release(struct file *f)
{
    struct timerfd *t = f->private;
    uint64_t flags = spin_lock_irqsave(&t->lock);

    t->deadline_ns = 0; /* a callback that runs now starts it no more */
    spin_unlock_irqrestore(&t->lock, flags);
    (void)timer_cancel(&t->timer);
    slab_free(&timerfd_cache, t);
}

static const struct file_ops timerfd_ops = {
    .type = "anon_inode:[timerfd]",
    .read = timerfd_read,
    .write = timerfd_write,
    .poll = timerfd_poll,
    .release = timerfd_release,
};

long sys_timerfd_create(int clock, int flags)
{
    struct timerfd *t;
    long fd;

    if (((unsigned)flags & ~(O_CLOEXEC | O_NONBLOCK)) || !clock_is_waitable(clock) ||
        clock == CLOCK_TAI) {
        return -EINVAL;
    }
    t = slab_alloc(&timerfd_cache, GFP_ZERO);
    if (!t) {
        return -ENOMEM;
    }
    timer_init(&t->timer, timerfd_expired);
    spin_init(&t->lock, RANK_DEVICE);
    wait_queue_init(&t->wait);
    t->is_realtime = clock_is_realtime(clock);
    fd = anon_fd_open(&timerfd_ops, t, O_RDWR | (unsigned)flags);
    if (fd < 0) {
        slab_free(&timerfd_cache, t);
    }
    return fd;
}

struct user_itimerspec {
    struct user_timespec interval;
    struct user_timespec value;
};

static struct user_itimerspec left_locked(const struct timerfd *t)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t left = 0;

    if (t->deadline_ns) {
        left = t->deadline_ns > now ? t->deadline_ns - now : 1;
    }
    return (struct user_itimerspec){ timespec_of(t->interval_ns), timespec_of(left) };
}

/* The description of a timer descriptor, counted; NULL: *err is -EBADF or -EINVAL. */
static struct file *timerfd_get(int fd, int *err)
{
    struct file *f = fd_get(fd);

    *err = -EBADF;
    if (f && f->ops != &timerfd_ops) {
        *err = -EINVAL;
        file_put(f);
        f = NULL;
    }
    return f;
}

long sys_timerfd_settime(int fd, int how, void __user *new_spec, void __user *old_spec)
{
    struct user_itimerspec old;
    struct timerfd *t;
    struct file *f;
    uint64_t value = 0;
    uint64_t interval = 0;
    uint64_t flags;
    int err;

    if (how & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) {
        return -EINVAL;
    }
    err = time_from_user(&interval, new_spec);
    if (err == 0) {
        err = time_from_user(&value,
                             (char __user *)new_spec + offsetof(struct user_itimerspec, value));
    }
    if (err < 0) {
        return err;
    }
    f = timerfd_get(fd, &err);
    if (!f) {
        return err;
    }
    t = f->private;
    flags = spin_lock_irqsave(&t->lock);
    old = left_locked(t);
    t->expirations = 0;
    t->interval_ns = interval;
    if (value) {
        t->deadline_ns = clock_deadline(t->is_realtime, (how & TFD_TIMER_ABSTIME) != 0, value);
        timer_start(&t->timer, t->deadline_ns);
    } else {
        t->deadline_ns = 0;
    }
    spin_unlock_irqrestore(&t->lock, flags);
    file_put(f);
    return old_spec ? copy_to_user(old_spec, &old, sizeof(old)) : 0;
}

long sys_timerfd_gettime(int fd, void __user *to)
{
    struct user_itimerspec spec;
    struct timerfd *t;
    struct file *f;
    uint64_t flags;
    int err;

    f = timerfd_get(fd, &err);
    if (!f) {
        return err;
    }
    t = f->private;
    flags = spin_lock_irqsave(&t->lock);
    spec = left_locked(t);
    spin_unlock_irqrestore(&t->lock, flags);
    file_put(f);
    return copy_to_user(to, &spec, sizeof(spec));
}

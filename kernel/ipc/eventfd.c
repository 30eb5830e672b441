// SPDX-License-Identifier: Apache-2.0
/* eventfd(2): a 64-bit counter that can be waited for. */
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/anon_fd.h>
#include <ipc/flags.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <sched/task.h>
#include <syscall/syscall.h>

#define EFD_SEMAPHORE 1u
#define COUNT_MAX     (UINT64_MAX - 1)

struct eventfd {
    struct spinlock lock;
    uint64_t count;
    bool is_semaphore;
    struct wait_queue wait;
};

static struct slab_cache eventfd_cache = SLAB_CACHE("eventfd", struct eventfd);

static uint64_t count_now(const struct eventfd *e)
{
    return *(const volatile uint64_t *)&e->count;
}

static int wait_until(struct eventfd *e, uint32_t events, uint64_t below)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&e->wait, &w, events);
    current->wait_reason = "eventfd";
    /* To read: not 0. To write: room below the maximum. */
    while ((events == POLLIN ? count_now(e) == 0 : count_now(e) > below) && err == 0) {
        err = wait_sleep(&w);
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return err;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t eventfd_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct eventfd *e = f->private;
    uint64_t value;

    (void)pos;
    if (u->remaining < sizeof(value)) {
        return -EINVAL;
    }
    for (;;) {
        int err;

        spin_lock(&e->lock);
        value = e->is_semaphore ? e->count > 0 : e->count;
        e->count -= value;
        spin_unlock(&e->lock);
        if (value) {
            wake_all(&e->wait, POLLOUT);
            return uio_copy_out(u, &value, sizeof(value));
        }
        if (file_is_nonblock(f)) {
            return -EAGAIN;
        }
        err = wait_until(e, POLLIN, 0);
        if (err < 0 && count_now(e) == 0) {
            return err;
        }
    }
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t eventfd_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct eventfd *e = f->private;
    uint64_t value;

    (void)pos;
    if (u->remaining < sizeof(value)) {
        return -EINVAL;
    }
    if (uio_copy_in(u, &value, sizeof(value)) != sizeof(value)) {
        return -EFAULT;
    }
    if (value == UINT64_MAX) {
        return -EINVAL;
    }
    for (;;) {
        bool fits;
        int err;

        spin_lock(&e->lock);
        fits = value <= COUNT_MAX - e->count;
        e->count += fits ? value : 0;
        spin_unlock(&e->lock);
        if (fits) {
            wake_all(&e->wait, POLLIN);
            return sizeof(value);
        }
        if (file_is_nonblock(f)) {
            return -EAGAIN;
        }
        err = wait_until(e, POLLOUT, COUNT_MAX - value);
        if (err < 0 && count_now(e) > COUNT_MAX - value) {
            return err;
        }
    }
}

static uint32_t eventfd_poll(struct file *f, struct poll_table *pt)
{
    struct eventfd *e = f->private;
    uint64_t count;

    poll_wait(pt, f, &e->wait);
    count = count_now(e);
    return (count > 0 ? POLLIN : 0) | (count < COUNT_MAX ? POLLOUT : 0);
}

static void eventfd_release(struct file *f)
{
    slab_free(&eventfd_cache, f->private);
}

static const struct file_ops eventfd_ops = {
    .type = "anon_inode:[eventfd]",
    .read = eventfd_read,
    .write = eventfd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
};

long sys_eventfd2(unsigned count, int flags)
{
    struct eventfd *e;
    long fd;

    if ((unsigned)flags & ~(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK)) {
        return -EINVAL;
    }
    e = slab_alloc(&eventfd_cache, GFP_ZERO);
    if (!e) {
        return -ENOMEM;
    }
    spin_init(&e->lock, RANK_DEVICE);
    wait_queue_init(&e->wait);
    e->count = count;
    e->is_semaphore = ((unsigned)flags & EFD_SEMAPHORE) != 0;
    fd = anon_fd_open(&eventfd_ops, e, O_RDWR | ((unsigned)flags & ~EFD_SEMAPHORE));
    if (fd < 0) {
        slab_free(&eventfd_cache, e);
    }
    return fd;
}

long sys_eventfd(unsigned count)
{
    return sys_eventfd2(count, 0);
}

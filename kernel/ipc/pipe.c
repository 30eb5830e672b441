// SPDX-License-Identifier: Apache-2.0
/*
 * Pipes and fifos. One mutex a pipe; whoever changes something wakes the other side after dropping
 * it. "Readable" is bytes or no writer, "writable" is room for an atomic write or no reader; poll
 * and blocking use the same two predicates.
 *
 * Budget: read of one byte 600 ring-0 instructions.
 */
#include <ipc/pipe.h>

#include <core/lock.h>
#include <core/ref.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/flags.h>
#include <ipc/pipe_ring.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define FIONREAD         0x541bu
#define CAP_SYS_RESOURCE 24u

struct pipe {
    struct mutex lock;
    struct pipe_ring ring; /* lock */
    uint32_t readers;      /* open descriptions; changed under ends_lock, read without */
    uint32_t writers;
    uint32_t reader_generation; /* opens so far: a fifo's opener sees one that came and went */
    uint32_t writer_generation;
    struct wait_queue read_wait;  /* told of bytes and of the last writer's end */
    struct wait_queue write_wait; /* told of room and of the last reader's end */
    const struct inode *fifo;     /* borrowed from the descriptions; NULL: unnamed */
    struct list link;             /* fifos, ends_lock */
};

static struct slab_cache pipe_cache = SLAB_CACHE("pipe", struct pipe);
static struct spinlock ends_lock = SPINLOCK_INIT(RANK_FS_MISC);
static struct list fifos = LIST_INIT(fifos); /* those that are open */

static struct pipe *pipe_create(void)
{
    struct pipe *p = slab_alloc(&pipe_cache, GFP_ZERO);

    if (!p) {
        return NULL;
    }
    if (pipe_ring_init(&p->ring, PIPE_SIZE_DEFAULT >> PAGE_SHIFT) < 0) {
        slab_free(&pipe_cache, p);
        return NULL;
    }
    mutex_init(&p->lock, RANK_PIPE);
    list_init(&p->link);
    wait_queue_init(&p->read_wait);
    wait_queue_init(&p->write_wait);
    return p;
}

static void pipe_destroy(struct pipe *p)
{
    pipe_ring_deinit(&p->ring);
    slab_free(&pipe_cache, p);
}

/* --- the two predicates; without the lock they are hints that a wake repairs --------------------
 */

static uint64_t used_now(const struct pipe *p)
{
    return *(const volatile uint64_t *)&p->ring.write_at -
           *(const volatile uint64_t *)&p->ring.read_at;
}

static bool is_readable(const struct pipe *p)
{
    return used_now(p) != 0 || *(const volatile uint32_t *)&p->writers == 0;
}

static bool is_writable(const struct pipe *p, uint64_t room)
{
    uint64_t size = (uint64_t) * (const volatile uint32_t *)&p->ring.slots << PAGE_SHIFT;

    return size - used_now(p) >= room || *(const volatile uint32_t *)&p->readers == 0;
}

/* --- moving bytes -------------------------------------------------------------------------------
 */

static int wait_readable(struct pipe *p)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&p->read_wait, &w, POLLIN);
    current->wait_reason = "pipe read";
    while (!is_readable(p) && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return is_readable(p) ? 0 : err;
}

static int wait_writable(struct pipe *p, uint64_t room)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&p->write_wait, &w, POLLOUT);
    current->wait_reason = "pipe write";
    while (!is_writable(p, room) && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return is_writable(p, room) ? 0 : err;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t pipe_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct pipe *p = f->private;

    (void)pos;
    if (u->remaining == 0) {
        return 0;
    }
    for (;;) {
        ssize_t n;
        bool is_end;
        bool has_room;
        int err;

        mutex_lock(&p->lock);
        n = pipe_ring_read(&p->ring, u);
        is_end = p->writers == 0;
        has_room = pipe_ring_free(&p->ring) >= PIPE_ATOMIC;
        mutex_unlock(&p->lock);
        if (n != 0) {
            if (n > 0 && has_room && !wait_queue_is_empty(&p->write_wait)) {
                wake_all(&p->write_wait, POLLOUT | POLLWRNORM);
            }
            return n;
        }
        if (is_end) {
            return 0;
        }
        if (file_is_nonblock(f)) {
            return -EAGAIN;
        }
        err = wait_readable(p);
        if (err < 0) {
            return err;
        }
    }
}

/* As much as fits, or all or nothing of an atomic write. 0: no room. */
static ssize_t write_some(struct pipe *p, struct uio *u, bool is_atomic)
{
    ssize_t n;

    mutex_lock(&p->lock);
    if (p->readers == 0) {
        n = -EPIPE;
    } else if (is_atomic && pipe_ring_free(&p->ring) < u->remaining) {
        n = 0;
    } else {
        n = pipe_ring_write(&p->ring, u);
    }
    mutex_unlock(&p->lock);
    if (n > 0 && !wait_queue_is_empty(&p->read_wait)) {
        wake_all(&p->read_wait, POLLIN | POLLRDNORM);
    }
    return n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t pipe_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct pipe *p = f->private;
    bool is_atomic = u->remaining <= PIPE_ATOMIC;
    ssize_t done = 0;
    ssize_t n = 0;

    (void)pos;
    while (u->remaining > 0) {
        n = write_some(p, u, is_atomic);
        if (n < 0) {
            break;
        }
        done += n;
        if (u->remaining == 0) {
            break;
        }
        if (n == 0) {
            n = file_is_nonblock(f) ? -EAGAIN
                                    : wait_writable(p, is_atomic ? u->remaining : PIPE_ATOMIC);
            if (n < 0) {
                break;
            }
        }
    }
    if (n == -EPIPE) {
        /* Nothing is held. A standard signal to oneself does not fail. */
        (void)signal_send_task(current, SIGPIPE, NULL);
    }
    return done ? done : n;
}

static uint32_t pipe_poll(struct file *f, struct poll_table *pt)
{
    struct pipe *p = f->private;
    uint32_t events = 0;

    if (f->mode & FMODE_READ) {
        poll_wait(pt, f, &p->read_wait);
    }
    if (f->mode & FMODE_WRITE) {
        poll_wait(pt, f, &p->write_wait);
    }
    if (f->mode & FMODE_READ) {
        bool has_writer = *(volatile uint32_t *)&p->writers != 0;

        events |= used_now(p) ? POLLIN | POLLRDNORM : 0;
        /* A fifo opened without a writer yet is not hung up. */
        events |= !has_writer && p->writer_generation != f->pos ? POLLHUP : 0;
    }
    if (f->mode & FMODE_WRITE) {
        bool has_reader = *(volatile uint32_t *)&p->readers != 0;

        events |= is_writable(p, PIPE_ATOMIC) ? POLLOUT | POLLWRNORM : 0;
        events |= has_reader ? 0 : POLLERR;
    }
    return events;
}

static long pipe_ioctl(struct file *f, unsigned command, uint64_t arg)
{
    struct pipe *p = f->private;

    if (command == FIONREAD) {
        return put_user32((uint32_t)used_now(p), (void __user *)arg);
    }
    return -ENOTTY;
}

/* --- ends
 * ------------------------------------------------------------------------------------------ */

static void attach_locked(struct pipe *p, uint32_t mode)
{
    if (mode & FMODE_READ) {
        p->readers++;
        p->reader_generation++;
    }
    if (mode & FMODE_WRITE) {
        p->writers++;
        p->writer_generation++;
    }
}

/* An end goes; the last one takes the pipe with it. */
static void detach(struct pipe *p, uint32_t mode)
{
    bool was_last_reader = false;
    bool was_last_writer = false;
    bool is_unused;

    spin_lock(&ends_lock);
    if (mode & FMODE_READ) {
        was_last_reader = --p->readers == 0;
    }
    if (mode & FMODE_WRITE) {
        was_last_writer = --p->writers == 0;
    }
    is_unused = p->readers == 0 && p->writers == 0;
    if (is_unused) {
        list_remove(&p->link); /* nobody finds it any more */
    }
    spin_unlock(&ends_lock);
    if (is_unused) {
        pipe_destroy(p);
        return;
    }
    if (was_last_writer) {
        wake_all(&p->read_wait, POLLIN | POLLHUP);
    }
    if (was_last_reader) {
        wake_all(&p->write_wait, POLLOUT | POLLERR);
    }
}

static void pipe_release(struct file *f)
{
    detach(f->private, f->mode);
}

static const struct file_ops pipe_ops = {
    .type = "pipe",
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
};

bool file_is_pipe(const struct file *f)
{
    return f->ops == &pipe_ops;
}

static int create_files(unsigned flags, struct file **read_end, struct file **write_end)
{
    struct pipe *p = pipe_create();
    int err;

    if (!p) {
        return -ENFILE;
    }
    err = file_create(&pipe_ops, p, O_RDONLY | (flags & O_NONBLOCK), read_end);
    if (err < 0) {
        pipe_destroy(p);
        return err;
    }
    attach_locked(p, FMODE_READ); /* nobody else knows it yet */
    err = file_create(&pipe_ops, p, O_WRONLY | (flags & O_NONBLOCK), write_end);
    if (err < 0) {
        file_put(*read_end);
        return err;
    }
    attach_locked(p, FMODE_WRITE);
    return 0;
}

long sys_pipe2(void __user *to, int flags)
{
    bool cloexec = ((unsigned)flags & O_CLOEXEC) != 0;
    struct file *ends[2];
    int err;

    if ((unsigned)flags & ~(O_CLOEXEC | O_NONBLOCK)) {
        return -EINVAL; /* O_DIRECT: no packets */
    }
    err = create_files((unsigned)flags, &ends[0], &ends[1]);
    if (err < 0) {
        return err;
    }
    return fd_install_pair(ends, cloexec, to);
}

long sys_pipe(void __user *to)
{
    return sys_pipe2(to, 0);
}

/* --- fifos ---------------------------------------------------------------------------------------
 */

static struct pipe *fifo_find_locked(const struct inode *inode)
{
    struct pipe *p = NULL;

    list_for_each_entry(p, &fifos, link) {
        if (p->fifo == inode) {
            return p;
        }
    }
    return NULL;
}

/* The inode's pipe with one more end attached. */
static struct pipe *fifo_attach(const struct inode *inode, uint32_t mode)
{
    struct pipe *fresh = pipe_create();
    struct pipe *p;

    if (!fresh) {
        return NULL;
    }
    spin_lock(&ends_lock);
    p = fifo_find_locked(inode);
    if (!p) {
        p = fresh;
        p->fifo = inode;
        list_push_back(&fifos, &p->link);
        fresh = NULL;
    }
    attach_locked(p, mode);
    spin_unlock(&ends_lock);
    if (fresh) {
        pipe_destroy(fresh);
    }
    return p;
}

/* Until the other side has been opened, be it that it is gone again. */
static int wait_for_partner(struct wait_queue *q, const uint32_t *count, const uint32_t *generation)
{
    uint32_t before = *(const volatile uint32_t *)generation;
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(q, &w, 0);
    current->wait_reason = "fifo open";
    while (*(const volatile uint32_t *)count == 0 &&
           *(const volatile uint32_t *)generation == before && err == 0) {
        err = wait_sleep(&w);
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return *(const volatile uint32_t *)count || *(const volatile uint32_t *)generation != before
               ? 0
               : err;
}

static int fifo_open(struct inode *inode, struct file *f)
{
    uint32_t mode = f->mode & (FMODE_READ | FMODE_WRITE);
    bool is_nonblock = file_is_nonblock(f);
    struct pipe *p = fifo_attach(inode, mode);
    bool has_writer = p && *(volatile uint32_t *)&p->writers != 0;
    int err = 0;

    if (!p) {
        return -ENOMEM;
    }
    if (mode & FMODE_WRITE) {
        wake_all(&p->read_wait, 0);
    }
    if (mode & FMODE_READ) {
        wake_all(&p->write_wait, 0);
    }
    if (mode == FMODE_READ && !is_nonblock) {
        err = wait_for_partner(&p->read_wait, &p->writers, &p->writer_generation);
    } else if (mode == FMODE_WRITE && is_nonblock) {
        err = *(volatile uint32_t *)&p->readers ? 0 : -ENXIO;
    } else if (mode == FMODE_WRITE) {
        err = wait_for_partner(&p->write_wait, &p->readers, &p->reader_generation);
    }
    if (err < 0) {
        detach(p, mode);
        return err;
    }
    f->ops = &pipe_ops;
    f->private = p;
    f->mode = (f->mode & ~FMODE_SEEK) | FMODE_STREAM;
    /* A reader that did not wait for a writer: until one comes there is no hang-up to report. */
    f->pos = mode == FMODE_READ && is_nonblock && !has_writer ? p->writer_generation : 0;
    return 0;
}

/* Only open() and, before it has replaced the operations, poll() are ever asked of these. */
static uint32_t fifo_poll(struct file *f, struct poll_table *pt)
{
    (void)f;
    (void)pt;
    return POLLERR;
}

const struct file_ops fifo_ops = {
    .type = "fifo",
    .poll = fifo_poll,
    .open = fifo_open,
};

/* --- fcntl
 * ------------------------------------------------------------------------------------------ */

long pipe_size(struct file *f)
{
    const struct pipe *p = f->private;

    return file_is_pipe(f) ? (long)((uint64_t)p->ring.slots << PAGE_SHIFT) : -EBADF;
}

long pipe_set_size(struct file *f, uint64_t size)
{
    struct pipe *p = f->private;
    uint64_t slots = 1;
    int err;

    if (!file_is_pipe(f)) {
        return -EBADF;
    }
    if (size > INT32_MAX) {
        return -EINVAL;
    }
    if (size > PIPE_SIZE_MAX) {
        return cred_is_capable(current->cred, CAP_SYS_RESOURCE) ? -ENOMEM : -EPERM;
    }
    while (slots << PAGE_SHIFT < size) {
        slots <<= 1;
    }
    mutex_lock(&p->lock);
    err = pipe_ring_resize(&p->ring, (uint32_t)slots);
    mutex_unlock(&p->lock);
    wake_all(&p->write_wait, POLLOUT);
    return err < 0 ? err : (long)(slots << PAGE_SHIFT);
}

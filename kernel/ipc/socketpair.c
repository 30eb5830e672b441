// SPDX-License-Identifier: Apache-2.0
/*
 * Pairs of connected local stream sockets, as socketpair(2) makes them: two pipe rings crossed, one
 * for each direction. No names, no packets, no ancillary data: what event loops use to wake
 * themselves.
 *
 * One mutex a pair. An end that is closed or shut down for writing means end of file for the other
 * once its ring is empty; one that is closed or shut down for reading means EPIPE for the other's
 * writes.
 */
#include <core/lock.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/flags.h>
#include <ipc/pipe_ring.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>
#include <syscall/uio.h>

#define AF_UNIX       1
#define SOCK_STREAM   1
#define SOCK_CLOEXEC  O_CLOEXEC
#define SOCK_NONBLOCK O_NONBLOCK
#define SOL_SOCKET    1

#define SO_TYPE     3
#define SO_ERROR    4
#define SO_SNDBUF   7
#define SO_RCVBUF   8
#define SO_PROTOCOL 38
#define SO_DOMAIN   39

#define MSG_DONTWAIT 0x40u
#define MSG_NOSIGNAL 0x4000u

#define SHUT_RD   0
#define SHUT_WR   1
#define SHUT_RDWR 2

#define RING_SIZE (64u << 10)
#define FIONREAD  0x541bu

/* All under the pair's lock; flags and the ring's positions are also read without, as hints. */
struct end {
    struct pair *pair;
    struct pipe_ring ring;   /* what this end can read */
    bool is_open;            /* its description exists */
    bool is_read_shut;       /* nothing more is taken in: the other end's writes fail */
    bool is_write_shut;      /* nothing more comes from here: the other end sees the end */
    struct wait_queue queue; /* told of everything that changes for this end */
};

struct pair {
    struct mutex lock;
    struct end ends[2];
};

static struct slab_cache pair_cache = SLAB_CACHE("socketpair", struct pair);
static const struct file_ops socket_ops;

static struct end *other_of(struct end *e)
{
    struct pair *p = e->pair;

    return e == &p->ends[0] ? &p->ends[1] : &p->ends[0];
}

static uint64_t used_now(const struct end *e)
{
    return *(const volatile uint64_t *)&e->ring.write_at -
           *(const volatile uint64_t *)&e->ring.read_at;
}

static bool sees_end(struct end *e)
{
    const volatile struct end *o = other_of(e);

    return ((const volatile struct end *)e)->is_read_shut || o->is_write_shut || !o->is_open;
}

static bool is_refused(struct end *e)
{
    const volatile struct end *o = other_of(e);

    return ((const volatile struct end *)e)->is_write_shut || o->is_read_shut || !o->is_open;
}

static uint32_t events_now(struct end *e)
{
    struct end *o = other_of(e);
    bool has_end = sees_end(e);
    bool is_hung_up = has_end && is_refused(e);
    uint32_t events = 0;

    events |= used_now(e) > 0 || has_end ? POLLIN | POLLRDNORM : 0;
    events |= has_end ? POLLRDHUP : 0;
    events |= RING_SIZE - used_now(o) > 0 || is_refused(e) ? POLLOUT | POLLWRNORM : 0;
    return events | (is_hung_up ? POLLHUP : 0);
}

static int wait_for(struct end *e, uint32_t events)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&e->queue, &w, events);
    current->wait_reason = "socket";
    while (!(events_now(e) & events) && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return events_now(e) & events ? 0 : err;
}

/* --- moving bytes -------------------------------------------------------------------------------
 */

static ssize_t receive(struct end *e, struct uio *u, bool is_nonblock)
{
    struct end *o = other_of(e);

    if (u->remaining == 0) {
        return 0;
    }
    for (;;) {
        ssize_t n;
        int err;

        mutex_lock(&e->pair->lock);
        n = pipe_ring_read(&e->ring, u);
        mutex_unlock(&e->pair->lock);
        if (n > 0 && !wait_queue_is_empty(&o->queue)) {
            wake_all(&o->queue, POLLOUT | POLLWRNORM);
        }
        if (n != 0 || sees_end(e)) {
            return n;
        }
        if (is_nonblock) {
            return -EAGAIN;
        }
        err = wait_for(e, POLLIN);
        if (err < 0) {
            return err;
        }
    }
}

static ssize_t send_some(struct end *e, struct uio *u)
{
    struct end *o = other_of(e);
    ssize_t n;

    mutex_lock(&e->pair->lock);
    n = is_refused(e) ? -EPIPE : pipe_ring_write(&o->ring, u);
    mutex_unlock(&e->pair->lock);
    if (n > 0 && !wait_queue_is_empty(&o->queue)) {
        wake_all(&o->queue, POLLIN | POLLRDNORM);
    }
    return n;
}

static ssize_t transmit(struct end *e, struct uio *u, bool is_nonblock, bool is_silent)
{
    ssize_t done = 0;
    ssize_t n = 0;

    while (u->remaining > 0) {
        n = send_some(e, u);
        if (n > 0) {
            done += n;
            continue;
        }
        if (n == 0) {
            n = is_nonblock ? -EAGAIN : wait_for(e, POLLOUT);
        }
        if (n < 0) {
            break;
        }
    }
    if (n == -EPIPE && done == 0 && !is_silent) {
        (void)signal_send_task(current, SIGPIPE, NULL);
    }
    return done ? done : n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops */
static ssize_t socket_read(struct file *f, struct uio *u, int64_t *pos)
{
    (void)pos;
    return receive(f->private, u, file_is_nonblock(f));
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops */
static ssize_t socket_write(struct file *f, struct uio *u, int64_t *pos)
{
    (void)pos;
    return transmit(f->private, u, file_is_nonblock(f), false);
}

static uint32_t socket_poll(struct file *f, struct poll_table *pt)
{
    struct end *e = f->private;

    poll_wait(pt, f, &e->queue);
    return events_now(e);
}

static long socket_ioctl(struct file *f, unsigned command, uint64_t arg)
{
    if (command == FIONREAD) {
        return put_user32((uint32_t)used_now(f->private), (void __user *)arg);
    }
    return -ENOTTY;
}

/* --- ends ---------------------------------------------------------------------------------------
 */

static void pair_destroy(struct pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        pipe_ring_deinit(&p->ends[i].ring);
    }
    slab_free(&pair_cache, p);
}

static void socket_release(struct file *f)
{
    struct end *e = f->private;
    struct end *o = other_of(e);
    struct pair *p = e->pair;
    bool is_last;

    mutex_lock(&p->lock);
    e->is_open = false;
    is_last = !o->is_open;
    if (!is_last) {
        wake_all(&o->queue, POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    }
    mutex_unlock(&p->lock);
    if (is_last) {
        pair_destroy(p);
    }
}

static const struct file_ops socket_ops = {
    .type = "socket",
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .release = socket_release,
};

static struct pair *pair_create(void)
{
    struct pair *p = slab_alloc(&pair_cache, GFP_ZERO);

    if (!p) {
        return NULL;
    }
    mutex_init(&p->lock, RANK_PIPE);
    for (unsigned i = 0; i < 2; i++) {
        p->ends[i].pair = p;
        wait_queue_init(&p->ends[i].queue);
        if (pipe_ring_init(&p->ends[i].ring, RING_SIZE >> PAGE_SHIFT) < 0) {
            if (i > 0) {
                pipe_ring_deinit(&p->ends[0].ring);
            }
            slab_free(&pair_cache, p);
            return NULL;
        }
    }
    return p;
}

static int create_files(unsigned flags, struct file *files[2])
{
    struct pair *p = pair_create();
    int err;

    if (!p) {
        return -ENOMEM;
    }
    err = file_create(&socket_ops, &p->ends[0], O_RDWR | (flags & O_NONBLOCK), &files[0]);
    if (err < 0) {
        pair_destroy(p);
        return err;
    }
    p->ends[0].is_open = true;
    err = file_create(&socket_ops, &p->ends[1], O_RDWR | (flags & O_NONBLOCK), &files[1]);
    if (err < 0) {
        file_put(files[0]); /* takes the pair along */
        return err;
    }
    p->ends[1].is_open = true;
    return 0;
}

/* --- system calls -------------------------------------------------------------------------------
 */

long sys_socket(int family, int type, int protocol)
{
    (void)family;
    (void)type;
    (void)protocol;
    return -EAFNOSUPPORT; /* pairs only */
}

long sys_socketpair(int family, int type, int protocol, void __user *to)
{
    unsigned flags = (unsigned)type & (SOCK_CLOEXEC | SOCK_NONBLOCK);
    bool cloexec = (flags & SOCK_CLOEXEC) != 0;
    struct file *files[2];
    int32_t fds[2];
    int err;

    if (family != AF_UNIX) {
        return -EAFNOSUPPORT;
    }
    if (((unsigned)type & ~flags) != SOCK_STREAM) {
        return -ESOCKTNOSUPPORT;
    }
    if (protocol != 0 && protocol != AF_UNIX) {
        return -EPROTONOSUPPORT;
    }
    err = create_files(flags, files);
    if (err < 0) {
        return err;
    }
    fds[0] = fd_reserve(0, cloexec);
    fds[1] = fds[0] < 0 ? fds[0] : fd_reserve(0, cloexec);
    err = fds[1] < 0 ? fds[1] : copy_to_user(to, fds, sizeof(fds));
    if (err < 0) {
        for (unsigned i = 0; i < 2; i++) {
            if (fds[i] >= 0) {
                fd_unreserve(fds[i]);
            }
            file_put(files[i]);
        }
        return err;
    }
    fd_publish(fds[0], files[0]);
    fd_publish(fds[1], files[1]);
    return 0;
}

/* The socket's description, counted, or NULL with the error. */
static struct file *socket_get(int fd, long *err)
{
    struct file *f = fd_get(fd);

    if (!f) {
        *err = -EBADF;
        return NULL;
    }
    if (f->ops != &socket_ops) {
        file_put(f);
        *err = -ENOTSOCK;
        return NULL;
    }
    return f;
}

long sys_sendto(int fd, void __user *from, size_t size, unsigned flags, void __user *address,
                unsigned address_size)
{
    long result = 0;
    struct file *f = socket_get(fd, &result);
    struct uio u;

    (void)address_size;
    if (!f) {
        return result;
    }
    if (address) {
        result = -EISCONN;
    } else if (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) {
        result = -EOPNOTSUPP;
    } else {
        uio_init_user(&u, from, size);
        result = transmit(f->private, &u, file_is_nonblock(f) || (flags & MSG_DONTWAIT),
                          (flags & MSG_NOSIGNAL) != 0);
    }
    file_put(f);
    return result;
}

long sys_recvfrom(int fd, void __user *to, size_t size, unsigned flags, void __user *address,
                  void __user *address_size)
{
    long result = 0;
    struct file *f = socket_get(fd, &result);
    struct uio u;

    if (!f) {
        return result;
    }
    if (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) {
        result = -EOPNOTSUPP;
    } else {
        uio_init_user(&u, to, size);
        result = receive(f->private, &u, file_is_nonblock(f) || (flags & MSG_DONTWAIT));
        /* The other end has no name. */
        if (result >= 0 && address && address_size && put_user32(0, address_size) < 0) {
            result = -EFAULT;
        }
    }
    file_put(f);
    return result;
}

long sys_shutdown(int fd, int how)
{
    long result = 0;
    struct file *f = socket_get(fd, &result);

    if (!f) {
        return result;
    }
    if (how < SHUT_RD || how > SHUT_RDWR) {
        result = -EINVAL;
    } else {
        struct end *e = f->private;
        struct end *o = other_of(e);

        mutex_lock(&e->pair->lock);
        e->is_read_shut = e->is_read_shut || how != SHUT_WR;
        e->is_write_shut = e->is_write_shut || how != SHUT_RD;
        mutex_unlock(&e->pair->lock);
        wake_all(&e->queue, POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
        wake_all(&o->queue, POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    }
    file_put(f);
    return result;
}

/* A local socket without a name is its family alone. */
long sys_getsockname(int fd, void __user *address, void __user *size_at)
{
    static const uint16_t family = AF_UNIX;
    long result = 0;
    struct file *f = socket_get(fd, &result);
    uint32_t size;

    if (!f) {
        return result;
    }
    file_put(f);
    result = get_user32(&size, size_at);
    if (result == 0 && (int32_t)size < 0) {
        result = -EINVAL;
    }
    if (result == 0) {
        result = copy_to_user(address, &family, min_of((size_t)size, sizeof(family)));
    }
    return result < 0 ? result : put_user32(sizeof(family), size_at);
}

long sys_getpeername(int fd, void __user *address, void __user *size_at)
{
    return sys_getsockname(fd, address, size_at);
}

static int option_value(int level, int name, uint32_t *value)
{
    static const struct {
        int name;
        uint32_t value;
    } options[] = {
        { SO_TYPE, SOCK_STREAM }, { SO_ERROR, 0 },    { SO_SNDBUF, RING_SIZE },
        { SO_DOMAIN, AF_UNIX },   { SO_PROTOCOL, 0 }, { SO_RCVBUF, RING_SIZE },
    };

    if (level != SOL_SOCKET) {
        return -EOPNOTSUPP;
    }
    for (unsigned i = 0; i < array_size(options); i++) {
        if (options[i].name == name) {
            *value = options[i].value;
            return 0;
        }
    }
    return -ENOPROTOOPT;
}

long sys_getsockopt(int fd, int level, int name, void __user *to, void __user *size_at)
{
    long result = 0;
    struct file *f = socket_get(fd, &result);
    uint32_t value = 0;
    uint32_t size = 0;

    if (!f) {
        return result;
    }
    file_put(f);
    result = option_value(level, name, &value);
    if (result == 0) {
        result = get_user32(&size, size_at);
    }
    if (result == 0 && (int32_t)size < 0) {
        result = -EINVAL;
    }
    if (result == 0) {
        size = min_of(size, (uint32_t)sizeof(value));
        result = copy_to_user(to, &value, size);
    }
    return result < 0 ? result : put_user32(size, size_at);
}

long sys_setsockopt(int fd, int level, int name, void __user *from, unsigned size)
{
    long result = 0;
    struct file *f = socket_get(fd, &result);

    (void)from;
    (void)size;
    if (!f) {
        return result;
    }
    file_put(f);
    /* Buffer sizes are a wish; they are what they are. */
    return level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF) ? 0 : -ENOPROTOOPT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix stream sockets. What one end sends arrives at the other after a latency drawn for each
 * piece, in order. A partition holds everything back; a lost piece costs the time of sending it
 * again; a reordered one the time that its successor overtakes it by.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/assert.h>

#include "disk.h"
#include "fault.h"
#include "wrap.h"

#define BUFFER_SIZE    (208u << 10)
#define BACKLOG_MAX    128u
#define RESEND_NS      (200u * SIM_NS_PER_MS)
#define DELAY_MS       100u
#define PARTITION_MS   2000u
#define LATENCY_MIN_NS 20000u
#define LATENCY_VARIES 80000u

struct piece {
    struct piece *next;
    uint64_t arrives_ns;
    size_t size;
    size_t taken;
    uint8_t bytes[];
};

struct socket {
    struct sim_file file;
    struct socket *peer; /* NULL: not connected, or the other end is closed */
    struct piece *first;
    struct piece *last;
    size_t queued;
    bool is_connected;
    bool is_listening;
    bool is_reset;
    bool is_read_shut;
    bool is_write_shut;
    bool is_peer_done; /* it will send no more; seen after what it sent */
    uint64_t done_ns;
    struct disk_node *node; /* bound to */
    struct socket *pending[BACKLOG_MAX];
    unsigned pending_count;
    unsigned backlog;
};

static uint64_t partition_until_ns;

void sim_net_init(void)
{
    partition_until_ns = 0;
}

static struct socket *sock(struct sim_file *f)
{
    return (struct socket *)f;
}

static uint64_t arrival(const struct piece *p)
{
    return max_of(p->arrives_ns, partition_until_ns);
}

static void drop_pieces(struct socket *s)
{
    while (s->first != NULL) {
        struct piece *p = s->first;

        s->first = p->next;
        sim_free(p);
    }
    s->last = NULL;
    s->queued = 0;
}

static void reset(struct socket *s)
{
    struct socket *peer = s->peer;

    drop_pieces(s);
    s->is_reset = true;
    s->peer = NULL;
    if (peer != NULL) {
        drop_pieces(peer);
        peer->is_reset = true;
        peer->peer = NULL;
    }
    sim_files_changed();
}

/* ---- Receiving ---- */

static ssize_t sock_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    struct socket *s = sock(f);
    size_t n = 0;

    (void)offset;
    if (s->is_reset) {
        return -ECONNRESET;
    }
    if (!s->is_connected) {
        return -ENOTCONN;
    }
    while (n < size && s->first != NULL && arrival(s->first) <= sim_now_ns()) {
        struct piece *p = s->first;
        size_t part = min_of(size - n, p->size - p->taken);

        memcpy((uint8_t *)to + n, p->bytes + p->taken, part);
        n += part;
        p->taken += part;
        if (p->taken == p->size) {
            s->first = p->next;
            s->last = s->first == NULL ? NULL : s->last;
            sim_free(p);
        }
    }
    if (n > 0 || size == 0) {
        s->queued -= n;
        sim_files_changed();
        return (ssize_t)n;
    }
    if (s->is_read_shut || (s->is_peer_done && s->first == NULL && s->done_ns <= sim_now_ns())) {
        return 0;
    }
    return -EAGAIN;
}

/* ---- Sending ---- */

static uint64_t delivery_ns(enum sim_fault fault, uint64_t param)
{
    uint64_t latency_ns = LATENCY_MIN_NS + sim_random_below(sim_net_random(), LATENCY_VARIES);
    uint64_t ms = param == 0 ? DELAY_MS : param;

    switch (fault) {
    case FAULT_NET_DELAY:
        latency_ns += ms * SIM_NS_PER_MS;
        break;
    case FAULT_NET_JITTER:
        latency_ns += sim_random_below(sim_net_random(), (uint32_t)ms * 1000) * UINT64_C(1000);
        break;
    case FAULT_NET_LOSS:
    case FAULT_NET_REORDER: /* in a stream the receiver waits for the piece that is missing */
        latency_ns += RESEND_NS;
        break;
    default:
        break;
    }
    return sim_now_ns() + latency_ns;
}

static void enqueue(struct socket *to, const void *from, size_t size, uint64_t arrives_ns,
                    bool is_corrupt)
{
    struct piece *p = sim_calloc(1, sizeof(*p) + size);

    p->size = size;
    memcpy(p->bytes, from, size);
    if (is_corrupt) {
        p->bytes[sim_random_below(sim_net_random(), (uint32_t)size)] ^=
            (uint8_t)(1u << sim_random_below(sim_net_random(), 8));
    }
    p->arrives_ns = to->last == NULL ? arrives_ns : max_of(arrives_ns, to->last->arrives_ns);
    if (to->last == NULL) {
        to->first = p;
    } else {
        to->last->next = p;
    }
    to->last = p;
    to->queued += size;
    sim_files_changed();
}

static ssize_t sock_write(struct sim_file *f, const void *from, size_t size, off_t offset)
{
    struct socket *s = sock(f);
    uint64_t param = 0;

    (void)offset;
    if (s->is_reset) {
        return -ECONNRESET;
    }
    if (!s->is_connected) {
        return -ENOTCONN;
    }
    if (s->is_write_shut || s->peer == NULL || s->peer->is_read_shut) {
        return -EPIPE;
    }
    if (s->peer->queued >= BUFFER_SIZE) {
        return -EAGAIN;
    }
    size_t n = min_of(size, BUFFER_SIZE - s->peer->queued);
    enum sim_fault fault =
        n == 0 ? SIM_FAULT_NONE
               : sim_fault_draw(OP_net_send,
                                SIM_KIND(NET_PARTITION) | SIM_KIND(NET_DELAY) | SIM_KIND(NET_LOSS) |
                                    SIM_KIND(NET_REORDER) | SIM_KIND(NET_CORRUPT) |
                                    SIM_KIND(NET_JITTER) | SIM_KIND(VSOCK_RESET),
                                &param);

    if (fault == FAULT_VSOCK_RESET) {
        reset(s);
        return -ECONNRESET;
    }
    if (fault == FAULT_NET_PARTITION) {
        partition_until_ns = sim_now_ns() + (param == 0 ? PARTITION_MS : param) * SIM_NS_PER_MS;
    }
    if (n > 0) {
        enqueue(s->peer, from, n, delivery_ns(fault, param), fault == FAULT_NET_CORRUPT);
    }
    return (ssize_t)n;
}

static short sock_poll(struct sim_file *f)
{
    const struct socket *s = sock(f);
    short r = 0;

    if (s->is_listening) {
        return s->pending_count > 0 ? POLLIN : 0;
    }
    if (s->is_reset) {
        return POLLIN | POLLOUT | POLLERR | POLLHUP;
    }
    if (!s->is_connected) {
        return POLLOUT | POLLHUP;
    }
    if (s->first != NULL ? arrival(s->first) <= sim_now_ns()
                         : (s->is_read_shut || (s->is_peer_done && s->done_ns <= sim_now_ns()))) {
        r |= POLLIN;
    }
    if (s->is_peer_done && s->peer == NULL && s->first == NULL && s->done_ns <= sim_now_ns()) {
        r |= POLLHUP;
    }
    if (s->peer == NULL || s->peer->queued < BUFFER_SIZE) {
        r |= POLLOUT;
    }
    return r;
}

static uint64_t sock_ready_ns(struct sim_file *f)
{
    const struct socket *s = sock(f);

    if (s->first != NULL) {
        uint64_t at_ns = arrival(s->first);

        return at_ns > sim_now_ns() ? at_ns : SIM_FOREVER;
    }
    return s->is_peer_done && s->done_ns > sim_now_ns() ? s->done_ns : SIM_FOREVER;
}

static void peer_is_done(struct socket *peer)
{
    peer->is_peer_done = true;
    peer->done_ns = max_of(sim_now_ns() + LATENCY_MIN_NS, partition_until_ns);
    if (peer->last != NULL) {
        peer->done_ns = max_of(peer->done_ns, peer->last->arrives_ns);
    }
    sim_files_changed();
}

static void sock_close(struct sim_file *f)
{
    struct socket *s = sock(f);

    for (unsigned i = 0; i < s->pending_count; i++) {
        sim_file_put(&s->pending[i]->file);
    }
    if (s->node != NULL && s->node->listener == s) {
        s->node->listener = NULL;
    }
    if (s->peer != NULL) {
        /* Unread bytes at a close reset the connection, as Unix sockets do. */
        if (s->first != NULL) {
            reset(s);
        } else {
            peer_is_done(s->peer);
            s->peer->peer = NULL;
        }
    }
    drop_pieces(s);
    sim_free(s);
}

static const struct sim_file_ops sock_ops = { .kind = "socket",
                                              .read = sock_read,
                                              .write = sock_write,
                                              .poll = sock_poll,
                                              .ready_ns = sock_ready_ns,
                                              .close = sock_close };

static struct socket *sock_new(int type)
{
    struct socket *s = sim_calloc(1, sizeof(*s));

    s->file = (struct sim_file){ .ops = &sock_ops,
                                 .refs = 1,
                                 .flags = O_RDWR | ((type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0) };
    return s;
}

static struct socket *sock_get(int fd)
{
    struct sim_file *f = sim_fd_get(fd);

    return f == NULL || f->ops != &sock_ops ? NULL : sock(f);
}

static void join(struct socket *a, struct socket *b)
{
    a->peer = b;
    b->peer = a;
    a->is_connected = true;
    b->is_connected = true;
}

/* ---- The calls ---- */

WRAP(int, socket)(int domain, int type, int protocol)
{
    (void)protocol;
    sim_step();
    if (domain != AF_UNIX || (type & 0xf) != SOCK_STREAM) {
        return (int)sim_result_of(-EAFNOSUPPORT);
    }
    return (int)sim_result_of(sim_fd_install(&sock_new(type)->file));
}

WRAP(int, socketpair)(int domain, int type, int protocol, int fds[2])
{
    struct socket *a = sock_new(type);
    struct socket *b = sock_new(type);

    (void)domain;
    (void)protocol;
    sim_step();
    join(a, b);
    int first = sim_fd_install(&a->file);

    if (first < 0) {
        sim_file_put(&b->file);
        return (int)sim_result_of(first);
    }
    int second = sim_fd_install(&b->file);

    if (second < 0) {
        (void)close(first);
        return (int)sim_result_of(second);
    }
    fds[0] = first;
    fds[1] = second;
    return 0;
}

static int path_of(const struct sockaddr *address, socklen_t size, char *path, size_t path_size)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)address;
    size_t length = 0;

    if (size <= offsetof(struct sockaddr_un, sun_path) || address->sa_family != AF_UNIX) {
        return -EINVAL;
    }
    length = strnlen(un->sun_path, size - offsetof(struct sockaddr_un, sun_path));
    if (length == 0 || length >= path_size) {
        return -EINVAL;
    }
    memcpy(path, un->sun_path, length);
    path[length] = '\0';
    return 0;
}

static int do_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
    struct socket *s = sock_get(fd);
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;
    int r = s == NULL ? -ENOTSOCK : path_of(address, size, path, sizeof(path));

    if (r < 0) {
        return r;
    }
    r = disk_find(NULL, path, &n, &dir, &name);
    if (r != -ENOENT || dir == NULL) {
        return r == 0 ? -EADDRINUSE : r;
    }
    s->node = disk_node_new(S_IFSOCK | 0700);
    disk_set_name(dir, name, s->node);
    return 0;
}

WRAP(int, bind)(int fd, const struct sockaddr *address, socklen_t size)
{
    sim_step();
    return (int)sim_result_of(do_bind(fd, address, size));
}

WRAP(int, listen)(int fd, int backlog)
{
    struct socket *s = sock_get(fd);

    sim_step();
    if (s == NULL || s->node == NULL) {
        return (int)sim_result_of(s == NULL ? -ENOTSOCK : -EINVAL);
    }
    s->is_listening = true;
    s->backlog = (unsigned)max_of(1, min_of(backlog, (int)BACKLOG_MAX));
    s->node->listener = s;
    return 0;
}

static int do_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
    struct socket *s = sock_get(fd);
    struct disk_node *n = NULL;
    int r = s == NULL ? -ENOTSOCK : path_of(address, size, path, sizeof(path));

    if (r == 0 && s->is_connected) {
        r = -EISCONN;
    }
    if (r == 0) {
        r = disk_find(NULL, path, &n, NULL, NULL);
    }
    if (r < 0) {
        return r;
    }
    struct socket *listener = n->listener;

    if (listener == NULL ||
        sim_fault_draw(OP_net_connect, SIM_KIND(NET_EXHAUSTED), NULL) != SIM_FAULT_NONE) {
        return listener == NULL ? -ECONNREFUSED : -EAGAIN;
    }
    if (listener->pending_count >= listener->backlog) {
        return -EAGAIN;
    }
    struct socket *other = sock_new(0);

    join(s, other);
    listener->pending[listener->pending_count++] = other;
    sim_files_changed();
    return 0;
}

WRAP(int, connect)(int fd, const struct sockaddr *address, socklen_t size)
{
    sim_step();
    return (int)sim_result_of(do_connect(fd, address, size));
}

static int do_accept(int fd, int flags)
{
    struct socket *s = sock_get(fd);

    if (s == NULL || !s->is_listening) {
        return s == NULL ? -ENOTSOCK : -EINVAL;
    }
    while (s->pending_count == 0) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        if ((s->file.flags & O_NONBLOCK) != 0) {
            return -EAGAIN;
        }
        (void)poll(&p, 1, -1);
        s = sock_get(fd);
        if (s == NULL) {
            return -EBADF;
        }
    }
    struct socket *got = s->pending[0];

    s->pending_count--;
    // NOLINTNEXTLINE(bugprone-sizeof-expression): pointers
    memmove(s->pending, s->pending + 1, s->pending_count * sizeof(s->pending[0]));
    got->file.flags = O_RDWR | ((flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0);
    return sim_fd_install(&got->file);
}

// NOLINTNEXTLINE(readability-non-const-parameter): the C library's type
WRAP(int, accept4)(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    (void)address;
    (void)size;
    sim_step();
    return (int)sim_result_of(do_accept(fd, flags));
}

// NOLINTNEXTLINE(readability-non-const-parameter): the C library's type
WRAP(int, accept)(int fd, struct sockaddr *address, socklen_t *size)
{
    return WRAPPED(accept4)(fd, address, size, 0);
}

WRAP(int, shutdown)(int fd, int how)
{
    struct socket *s = sock_get(fd);

    sim_step();
    if (s == NULL || !s->is_connected) {
        return (int)sim_result_of(s == NULL ? -ENOTSOCK : -ENOTCONN);
    }
    if (how != SHUT_RD && !s->is_write_shut) {
        s->is_write_shut = true;
        if (s->peer != NULL) {
            peer_is_done(s->peer);
        }
    }
    if (how != SHUT_WR) {
        s->is_read_shut = true;
    }
    sim_files_changed();
    return 0;
}

/* Into `to`, or out of `from`; the other one is NULL. */
static ssize_t transfer(int fd, void *to, const void *from, size_t size, int flags)
{
    struct socket *s = sock_get(fd);
    bool is_out = from != NULL;

    if (s == NULL) {
        return sim_result_of(sim_fd_get(fd) == NULL ? -EBADF : -ENOTSOCK);
    }
    if ((flags & MSG_DONTWAIT) != 0) {
        return sim_result_of(is_out ? sock_write(&s->file, from, size, -1)
                                    : sock_read(&s->file, to, size, -1));
    }
    return is_out ? write(fd, from, size) : read(fd, to, size);
}

WRAP(ssize_t, send)(int fd, const void *from, size_t size, int flags)
{
    sim_step();
    return transfer(fd, NULL, from, size, flags);
}

WRAP(ssize_t, recv)(int fd, void *to, size_t size, int flags)
{
    sim_step();
    return transfer(fd, to, NULL, size, flags);
}

WRAP(ssize_t, sendmsg)(int fd, const struct msghdr *m, int flags)
{
    sim_step();
    if (m->msg_controllen != 0) {
        return sim_result_of(-EOPNOTSUPP); /* passing descriptors is not part of this world */
    }
    ssize_t total = 0;

    for (size_t i = 0; i < m->msg_iovlen; i++) {
        ssize_t n = transfer(fd, NULL, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len, flags);

        if (n < 0) {
            return total > 0 ? total : n;
        }
        total += n;
        if ((size_t)n < m->msg_iov[i].iov_len) {
            break;
        }
    }
    return total;
}

WRAP(ssize_t, recvmsg)(int fd, struct msghdr *m, int flags)
{
    sim_step();
    m->msg_controllen = 0;
    return m->msg_iovlen == 0
               ? 0
               : transfer(fd, m->msg_iov[0].iov_base, NULL, m->msg_iov[0].iov_len, flags);
}

WRAP(int, setsockopt)(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)level;
    (void)name;
    (void)value;
    (void)size;
    sim_step();
    return (int)sim_result_of(sock_get(fd) == NULL ? -ENOTSOCK : 0);
}

WRAP(int, getsockopt)(int fd, int level, int name, void *value, socklen_t *size)
{
    (void)level;
    sim_step();
    if (sock_get(fd) == NULL) {
        return (int)sim_result_of(-ENOTSOCK);
    }
    if (name != SO_ERROR || *size < sizeof(int)) {
        return (int)sim_result_of(-ENOPROTOOPT);
    }
    memset(value, 0, sizeof(int));
    *size = sizeof(int);
    return 0;
}

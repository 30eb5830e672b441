/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix stream sockets. What one end sends arrives at the other after a latency drawn for each
 * piece, in order. A partition holds everything back; a lost piece costs the time of sending it
 * again; a reordered one the time that its successor overtakes it by.
 */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <base/assert.h>

#include "fault.h"

#define BUFFER_SIZE    (208u << 10)
#define SHORT_SIZE     64u /* a line goes in one piece, as on Linux */
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
    struct sock_passed *passed; /* NULL: none */
    uint8_t bytes[];
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

void sock_passed_drop(struct sock_passed *passed)
{
    for (unsigned i = 0; i < passed->count; i++) {
        sim_file_put(passed->files[i]);
    }
    passed->count = 0;
}

static void drop_piece(struct piece *p)
{
    if (p->passed != NULL) {
        sock_passed_drop(p->passed);
        sim_free(p->passed);
    }
    sim_free(p);
}

static void drop_pieces(struct socket *s)
{
    struct piece *p = s->first;

    s->first = NULL; /* a socket among the files passed may be this one's peer */
    s->last = NULL;
    s->queued = 0;
    while (p != NULL) {
        struct piece *next = p->next;

        s->events++; /* in place of its arrival */
        drop_piece(p);
        p = next;
    }
}

static void reset(struct socket *s)
{
    struct socket *peer = s->peer;

    s->is_reset = true;
    s->peer = NULL;
    s->events++;
    if (peer != NULL) {
        peer->is_reset = true;
        peer->peer = NULL;
        peer->events++;
        drop_pieces(peer);
    }
    drop_pieces(s);
    sim_files_changed();
}

/* ---- Receiving ---- */

static size_t take_bytes(struct socket *s, uint8_t *to, size_t size)
{
    struct piece *p = s->first;
    size_t part = min_of(size, p->size - p->taken);

    memcpy(to, p->bytes + p->taken, part);
    p->taken += part;
    if (p->taken == p->size) {
        s->first = p->next;
        s->last = s->first == NULL ? NULL : s->last;
        s->events++; /* in place of its arrival */
        drop_piece(p);
    }
    return part;
}

/* The files come with the first byte of their piece. */
static bool take_files(struct socket *s, struct sock_passed *to)
{
    struct sock_passed *from = s->first->passed;

    if (from == NULL || from->count == 0) {
        return false;
    }
    if (to == NULL) {
        sock_passed_drop(from);
    } else {
        *to = *from;
        from->count = 0;
    }
    return true;
}

static bool is_at_end(const struct socket *s)
{
    return s->is_read_shut || (s->is_peer_done && s->first == NULL && s->done_ns <= sim_now_ns());
}

static ssize_t peek(const struct socket *s, uint8_t *to, size_t size)
{
    size_t n = 0;

    for (const struct piece *p = s->first; p != NULL && n < size && arrival(p) <= sim_now_ns();
         p = p->next) {
        size_t part = min_of(size - n, p->size - p->taken);

        memcpy(to + n, p->bytes + p->taken, part);
        n += part;
    }
    return (ssize_t)n;
}

ssize_t sock_receive(struct socket *s, void *to, size_t size, int flags, struct sock_passed *passed)
{
    size_t n = 0;
    bool has_files = false;

    if (s->is_reset) {
        return -ECONNRESET;
    }
    if (!s->is_connected) {
        return -ENOTCONN;
    }
    if (s->queued > SHORT_SIZE &&
        sim_fault_draw(OP_net_receive, SIM_KIND(SHORT_TRANSFER), NULL) != SIM_FAULT_NONE) {
        size = min_of(size, (size_t)SHORT_SIZE);
    }
    if ((flags & MSG_PEEK) != 0 && s->first != NULL && arrival(s->first) <= sim_now_ns()) {
        return peek(s, to, size);
    }
    while (n < size && !has_files && s->first != NULL && arrival(s->first) <= sim_now_ns()) {
        has_files = take_files(s, passed);
        n += take_bytes(s, (uint8_t *)to + n, size - n);
    }
    if (n > 0 || size == 0) {
        s->queued -= n;
        if (s->peer != NULL) {
            s->peer->events++; /* there is room again */
        }
        sim_files_changed();
        return (ssize_t)n;
    }
    return is_at_end(s) ? 0 : -EAGAIN;
}

static ssize_t sock_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    (void)offset;
    return sock_receive(sock(f), to, size, 0, NULL);
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
                    bool is_corrupt, struct sock_passed *passed)
{
    struct piece *p = sim_calloc(1, sizeof(*p) + size);

    if (passed != NULL && passed->count > 0) {
        p->passed = sim_calloc(1, sizeof(*p->passed));
        *p->passed = *passed;
        passed->count = 0;
    }
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

ssize_t sock_send(struct socket *s, const void *from, size_t size, struct sock_passed *passed)
{
    uint64_t param = 0;

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
                                    SIM_KIND(NET_JITTER) | SIM_KIND(VSOCK_RESET) |
                                    (n > SHORT_SIZE ? SIM_KIND(SHORT_TRANSFER) : 0),
                                &param);

    if (fault == FAULT_VSOCK_RESET) {
        reset(s);
        return -ECONNRESET;
    }
    if (fault == FAULT_NET_PARTITION) {
        partition_until_ns = sim_now_ns() + (param == 0 ? PARTITION_MS : param) * SIM_NS_PER_MS;
    }
    if (fault == FAULT_SHORT_TRANSFER) {
        n = 1 + sim_random_below(sim_net_random(), SHORT_SIZE);
    }
    if (n > 0) {
        enqueue(s->peer, from, n, delivery_ns(fault, param), fault == FAULT_NET_CORRUPT, passed);
    }
    return (ssize_t)n;
}

static ssize_t sock_write(struct sim_file *f, const void *from, size_t size, off_t offset)
{
    (void)offset;
    return sock_send(sock(f), from, size, NULL);
}

static short sock_poll(struct sim_file *f)
{
    const struct socket *s = sock(f);
    short r = 0;

    if (s->is_listening) {
        return s->pending_count > 0 ? POLLIN : 0;
    }
    if (s->is_reset) {
        return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP;
    }
    if (!s->is_connected) {
        return POLLOUT | POLLHUP;
    }
    bool is_done = s->is_peer_done && s->done_ns <= sim_now_ns();
    bool gets_no_more = s->is_read_shut || is_done;
    bool gives_no_more = s->is_write_shut || (s->peer == NULL ? is_done : s->peer->is_read_shut);

    if (gets_no_more || (s->first != NULL && arrival(s->first) <= sim_now_ns())) {
        r |= POLLIN;
    }
    r = (short)(r | (gets_no_more ? POLLRDHUP : 0));
    r = (short)(r | (gets_no_more && gives_no_more ? POLLHUP : 0));
    if (s->peer == NULL || s->peer->queued < BUFFER_SIZE) {
        r |= POLLOUT;
    }
    return r;
}

static uint64_t sock_ready_ns(struct sim_file *f)
{
    const struct socket *s = sock(f);

    for (const struct piece *p = s->first; p != NULL; p = p->next) {
        if (arrival(p) > sim_now_ns()) {
            return arrival(p);
        }
    }
    return s->is_peer_done && s->done_ns > sim_now_ns() ? s->done_ns : SIM_FOREVER;
}

/* Moves whenever Linux would wake who waits: arrivals, room, an end, a new client. */
static uint64_t sock_activity(struct sim_file *f)
{
    const struct socket *s = sock(f);
    uint64_t n = s->events;

    for (const struct piece *p = s->first; p != NULL && arrival(p) <= sim_now_ns(); p = p->next) {
        n++;
    }
    return n + (s->is_peer_done && s->done_ns <= sim_now_ns() ? 1 : 0);
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
                                              .activity = sock_activity,
                                              .close = sock_close };

struct socket *sock_new(int type)
{
    struct socket *s = sim_calloc(1, sizeof(*s));

    s->file = (struct sim_file){ .ops = &sock_ops,
                                 .refs = 1,
                                 .flags = O_RDWR | ((type & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0) };
    return s;
}

struct socket *sock_get(int fd)
{
    struct sim_file *f = sim_fd_get(fd);

    return f == NULL || f->ops != &sock_ops ? NULL : sock(f);
}

void sock_join(struct socket *a, struct socket *b)
{
    a->peer = b;
    b->peer = a;
    a->is_connected = true;
    b->is_connected = true;
}

void sock_shutdown(struct socket *s, int how)
{
    if (how != SHUT_RD && !s->is_write_shut) {
        s->is_write_shut = true;
        if (s->peer != NULL) {
            peer_is_done(s->peer);
        }
    }
    if (how != SHUT_WR) {
        s->is_read_shut = true;
        if (s->peer != NULL) {
            s->peer->events++;
        }
    }
    s->events++;
    sim_files_changed();
}

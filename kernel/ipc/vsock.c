/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_VSOCK: the calls. Streams alone, as on Linux over virtio; connections are agreed on and ended
 * by packets (vsock_packet.c).
 */
#include <ipc/vsock.h>

#include <core/string.h>
#include <ipc/poll.h>
#include <mm/page.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/time_user.h>
#include <syscall/uio.h>

#define PRIVILEGED_PORTS     1024u
#define CAP_NET_BIND_SERVICE 10u
#define BACKLOG_MAX          4096
#define CONNECT_NS           (2 * NSEC_PER_SEC) /* Linux's default */

struct sockaddr_vm { /* the ABI's */
    uint16_t family;
    uint16_t reserved;
    uint32_t port;
    uint32_t cid;
    uint8_t flags;
    uint8_t zero[3];
};

static_assert(sizeof(struct sockaddr_vm) == 16, "struct sockaddr_vm is ABI");

static struct vsock_socket *vsock_of(const struct socket *s)
{
    return container_of((struct socket *)(uintptr_t)s, struct vsock_socket, base);
}

static const struct socket_ops vsock_ops;

static int vsock_create(int type, int protocol, struct socket **out)
{
    struct vsock_socket *v;
    int err;

    if (!vsock_device_exists()) {
        return -EAFNOSUPPORT;
    }
    if (protocol != 0 && protocol != AF_VSOCK) {
        return -EPROTONOSUPPORT;
    }
    if (type != SOCK_STREAM) {
        return -ESOCKTNOSUPPORT;
    }
    err = vsock_device_start();
    if (err < 0) {
        return err;
    }
    v = vsock_alloc(GFP_KERNEL);
    if (!v) {
        return -ENOMEM;
    }
    socket_init(&v->base, &vsock_ops, AF_VSOCK, type, 0);
    *out = &v->base;
    return 0;
}

/* --- addresses
 * ----------------------------------------------------------------------------------- */

static int address_of(const struct socket_address *a, struct sockaddr_vm *out)
{
    if (a->size < sizeof(*out)) {
        return -EFAULT;
    }
    memcpy(out, a->bytes, sizeof(*out));
    if (out->family != AF_VSOCK) {
        return -EAFNOSUPPORT;
    }
    return out->zero[0] || out->zero[1] || out->zero[2] ? -EINVAL : 0;
}

static int vsock_bind(struct socket *s, const struct socket_address *a)
{
    struct vsock_socket *v = vsock_of(s);
    struct sockaddr_vm at;
    uint64_t flags;
    int err = address_of(a, &at);

    if (err < 0) {
        return err == -EFAULT ? -EINVAL : err;
    }
    flags = spin_lock_irqsave(&vsock_lock);
    if (v->is_bound) {
        err = -EINVAL;
    } else if (at.cid != VSOCK_ANY && at.cid != vsock_device_cid()) {
        err = -EADDRNOTAVAIL;
    } else if (at.port < PRIVILEGED_PORTS &&
               !cred_is_capable(current->cred, CAP_NET_BIND_SERVICE)) {
        err = -EACCES;
    } else if (!vsock_bind_locked(v, at.port)) {
        err = -EADDRINUSE;
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return err;
}

static int vsock_name(struct socket *s, bool of_peer, struct socket_address *out)
{
    const struct vsock_socket *v = vsock_of(s);
    struct sockaddr_vm at = { .family = AF_VSOCK, .port = VSOCK_ANY, .cid = VSOCK_ANY };
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    int err = 0;

    if (of_peer && v->state != VSOCK_CONNECTED) {
        err = -ENOTCONN;
    } else if (of_peer) {
        at.port = v->peer_port;
        at.cid = v->peer_cid;
    } else if (v->is_bound || v->state == VSOCK_CONNECTED || v->state == VSOCK_DONE) {
        at.port = v->local_port;
        at.cid = v->state == VSOCK_CONNECTED ? vsock_device_cid() : VSOCK_ANY;
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    memcpy(out->bytes, &at, sizeof(at));
    out->size = sizeof(at);
    return err;
}

/* --- waiting
 * ------------------------------------------------------------------------------------- */

/* Sleep on q until is_over says that another look makes sense. */
static int wait_on(struct wait_queue *q, uint64_t deadline, bool (*is_over)(struct vsock_socket *v),
                   struct vsock_socket *v)
{
    struct waiter w;
    int err = 0;

    if (deadline == 0) {
        return -EAGAIN;
    }
    wait_begin(&w, WAIT_INTERRUPTIBLE, deadline);
    wait_add(q, &w, 0);
    current->wait_reason = "socket";
    while (!is_over(v) && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return is_over(v) ? 0 : err;
}

static bool is_acceptable(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool is = !list_is_empty(&v->pending) || (v->shut & SHUT_RD);

    spin_unlock_irqrestore(&vsock_lock, flags);
    return is;
}

static bool is_settled(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool is = v->state != VSOCK_CONNECTING;

    spin_unlock_irqrestore(&vsock_lock, flags);
    return is;
}

/* Nothing more will come. */
static bool is_at_end_locked(const struct vsock_socket *v)
{
    return v->state != VSOCK_CONNECTED || (v->shut & SHUT_RD) || (v->peer_shut & VSOCK_SHUT_SEND);
}

static bool is_receivable(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool is = v->queued > 0 || is_at_end_locked(v);

    spin_unlock_irqrestore(&vsock_lock, flags);
    return is;
}

static bool cannot_send_locked(const struct vsock_socket *v)
{
    return v->state != VSOCK_CONNECTED || (v->shut & SHUT_WR) ||
           (v->peer_shut & VSOCK_SHUT_RECEIVE);
}

static bool is_sendable(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool is = vsock_credit_locked(v) > 0 || cannot_send_locked(v);

    spin_unlock_irqrestore(&vsock_lock, flags);
    return is;
}

/* --- connections
 * --------------------------------------------------------------------------------- */

static int vsock_listen(struct socket *s, int backlog)
{
    struct vsock_socket *v = vsock_of(s);
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    int err = 0;

    if (!v->is_bound || (v->state != VSOCK_IDLE && v->state != VSOCK_LISTENING)) {
        err = -EINVAL;
    } else {
        v->state = VSOCK_LISTENING;
        v->backlog = min_of(backlog, BACKLOG_MAX);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return err;
}

static struct vsock_socket *take_pending(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    struct vsock_socket *fresh = NULL;

    if (!list_is_empty(&v->pending)) {
        fresh = list_first(&v->pending, struct vsock_socket, pending_link);
        list_remove(&fresh->pending_link);
        v->pending_count--;
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return fresh;
}

static int vsock_accept(struct socket *s, uint64_t deadline, struct socket **out)
{
    struct vsock_socket *v = vsock_of(s);

    for (;;) {
        struct vsock_socket *fresh;
        int err;

        if (v->state != VSOCK_LISTENING) {
            return -EINVAL;
        }
        fresh = take_pending(v);
        if (fresh) {
            *out = &fresh->base;
            return 0;
        }
        if (v->shut & SHUT_RD) {
            return -EINVAL;
        }
        err = wait_on(&v->read_wait, deadline, is_acceptable, v);
        if (err < 0) {
            return err;
        }
    }
}

/* Begin to connect: what to send, or -errno; -EALREADY while it is under way. */
static int begin_connect_locked(struct vsock_socket *v, const struct sockaddr_vm *to,
                                struct vsock_header *request)
{
    switch (v->state) {
    case VSOCK_CONNECTED:
        return -EISCONN;
    case VSOCK_CONNECTING:
        return -EALREADY;
    case VSOCK_LISTENING:
    case VSOCK_DONE:
        return -EINVAL;
    case VSOCK_IDLE:
        break;
    }
    if (to->cid != VSOCK_CID_HOST) {
        return to->cid == VSOCK_ANY ? -EINVAL : -ENODEV;
    }
    if (!v->is_bound && !vsock_bind_locked(v, VSOCK_ANY)) {
        return -EADDRNOTAVAIL;
    }
    v->state = VSOCK_CONNECTING;
    v->peer_cid = to->cid;
    v->peer_port = to->port;
    v->error = 0;
    vsock_link_locked(v);
    *request = vsock_header_locked(v, VSOCK_OP_REQUEST, 0);
    return 0;
}

/* Give up: the answer comes too late. */
static void cancel_connect(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool owns = false;
    bool was = v->state == VSOCK_CONNECTING;
    struct vsock_header h = vsock_header_locked(v, VSOCK_OP_RST, 0);

    if (was) {
        v->state = VSOCK_IDLE;
        owns = vsock_unlink_locked(v);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (was) {
        (void)vsock_device_send(&h, true); /* without it, the peer's packets are answered so */
    }
    if (owns) {
        vsock_put(v);
    }
}

static int take_error(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    int error = v->error;

    v->error = 0;
    spin_unlock_irqrestore(&vsock_lock, flags);
    return error;
}

static int vsock_connect(struct socket *s, const struct socket_address *a, uint64_t deadline)
{
    struct vsock_socket *v = vsock_of(s);
    struct vsock_header request;
    struct sockaddr_vm to;
    uint64_t flags;
    int err = address_of(a, &to);

    if (err < 0) {
        return err == -EFAULT ? -EINVAL : err;
    }
    flags = spin_lock_irqsave(&vsock_lock);
    err = begin_connect_locked(v, &to, &request);
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (err == 0) {
        err = vsock_device_send(&request, true);
        if (err < 0) {
            cancel_connect(v);
            return err;
        }
        err = deadline == 0 ? -EINPROGRESS : 0;
    }
    if (err < 0 && (err != -EALREADY || deadline == 0)) {
        return err;
    }
    err = wait_on(&v->write_wait, min_of(deadline, deadline_after(CONNECT_NS)), is_settled, v);
    if (err < 0) {
        cancel_connect(v);
        return err;
    }
    return v->state == VSOCK_CONNECTED ? 0 : -take_error(v);
}

/* --- sending
 * ------------------------------------------------------------------------------------- */

/* Set some of the peer's credit aside: bytes that may be sent, 0: none now, -errno. */
static ssize_t reserve(struct vsock_socket *v, size_t want, struct vsock_header *h)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    ssize_t n = 0;

    if ((v->shut & SHUT_WR) || (v->peer_shut & VSOCK_SHUT_RECEIVE)) {
        n = -EPIPE;
    } else if (v->state != VSOCK_CONNECTED) {
        n = -ENOTCONN;
    } else {
        n = (ssize_t)min_of(want, (size_t)min_of(vsock_credit_locked(v), VSOCK_PAYLOAD_MAX));
        v->sent += (uint32_t)n;
        *h = vsock_header_locked(v, VSOCK_OP_RW, 0);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return n;
}

static void give_back(struct vsock_socket *v, uint32_t size)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);

    v->sent -= size;
    spin_unlock_irqrestore(&vsock_lock, flags);
}

/* One packet. Bytes sent; -EAGAIN: no credit. */
static ssize_t send_some(struct vsock_socket *v, struct uio *from)
{
    struct vsock_header h;
    struct page *p = page_alloc(0, GFP_KERNEL);
    ssize_t n = p ? reserve(v, from->remaining, &h) : -ENOBUFS;
    ssize_t copied;
    int err;

    if (n <= 0) {
        if (p) {
            page_put(p);
        }
        return n == 0 ? -EAGAIN : n;
    }
    copied = uio_copy_in(from, (struct vsock_header *)page_address(p) + 1, (size_t)n);
    if (copied < n) {
        give_back(v, (uint32_t)(n - max_of(copied, (ssize_t)0)));
    }
    if (copied <= 0) {
        page_put(p);
        return -EFAULT;
    }
    h.size = (uint32_t)copied;
    *(struct vsock_header *)page_address(p) = h;
    err = vsock_device_send_page(p, (uint32_t)(sizeof(h) + h.size));
    return err < 0 ? err : copied;
}

static ssize_t vsock_send(struct socket *s, struct uio *from, struct socket_message *m,
                          uint64_t deadline)
{
    struct vsock_socket *v = vsock_of(s);
    ssize_t done = 0;
    ssize_t n = 0;

    if (m->flags & MSG_OOB) {
        return -EOPNOTSUPP;
    }
    if (m->name) {
        return v->state == VSOCK_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    }
    if (from->remaining == 0) {
        return v->state == VSOCK_CONNECTED ? 0 : -ENOTCONN;
    }
    while (from->remaining > 0) {
        n = send_some(v, from);
        if (n == -EAGAIN) {
            n = wait_on(&v->write_wait, deadline, is_sendable, v);
        } else if (n > 0) {
            done += n;
        }
        if (n < 0) {
            break;
        }
    }
    return done > 0 ? done : n;
}

/* --- receiving
 * ----------------------------------------------------------------------------------- */

/* Take `n` bytes off the first page. The page, when it is empty. vsock_lock held. */
static struct page *consume_locked(struct vsock_socket *v, struct page *p, uint32_t n)
{
    struct vsock_header *h = page_address(p);

    h->fwd_cnt += n;
    v->queued -= n;
    v->forwarded += n;
    if (h->fwd_cnt < h->size) {
        return NULL;
    }
    list_remove(&p->link);
    return p;
}

/* Copy out of the queue; the front page is ours alone while read_mutex is held. */
static ssize_t take(struct vsock_socket *v, struct uio *to, bool is_peek)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    struct page *p = list_first(&v->queue, struct page, link);
    ssize_t done = 0;

    while (&p->link != &v->queue && to->remaining > 0) {
        const struct vsock_header *h = page_address(p);
        uint32_t offset = h->fwd_cnt;
        uint32_t size = h->size - offset;
        struct page *empty = NULL;
        ssize_t n;

        spin_unlock_irqrestore(&vsock_lock, flags);
        n = uio_copy_out(to, (const uint8_t *)(h + 1) + offset,
                         min_of((size_t)size, to->remaining));
        flags = spin_lock_irqsave(&vsock_lock);
        if (n <= 0) {
            done = done > 0 ? done : n;
            break;
        }
        done += n;
        p = list_first(&p->link, struct page, link); /* the one behind */
        if (!is_peek) {
            empty = consume_locked(v, list_first(&v->queue, struct page, link), (uint32_t)n);
            p = list_first(&v->queue, struct page, link);
        }
        if (empty) {
            page_put(empty);
        }
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return done;
}

/* The peer learns that there is room again, in steps of half the window. */
static void tell_credit(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool owes = v->state == VSOCK_CONNECTED && v->forwarded - v->forwarded_told >= VSOCK_WINDOW / 2;
    struct vsock_header h;

    if (owes) {
        h = vsock_header_locked(v, VSOCK_OP_CREDIT_UPDATE, 0);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (owes && vsock_device_send(&h, true) < 0) {
        flags = spin_lock_irqsave(&vsock_lock);
        v->forwarded_told -= VSOCK_WINDOW / 2; /* the next read tries again */
        spin_unlock_irqrestore(&vsock_lock, flags);
    }
}

/* What an empty queue means: 1: wait, 0: the end, -errno. */
static int look_at_end(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    int result = v->queued > 0 || !is_at_end_locked(v) ? 1 : 0;

    if (result == 0 && v->error && v->state == VSOCK_DONE) {
        result = -v->error;
        v->error = 0;
    } else if (result == 0 && v->state != VSOCK_CONNECTED && v->state != VSOCK_DONE) {
        result = -ENOTCONN;
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return result;
}

static ssize_t vsock_receive_bytes(struct socket *s, struct uio *to, struct socket_message *m,
                                   uint64_t deadline)
{
    struct vsock_socket *v = vsock_of(s);
    bool is_peek = (m->flags & MSG_PEEK) != 0;
    size_t target = (m->flags & MSG_WAITALL) && !is_peek ? to->remaining : 1;
    ssize_t done = 0;
    int err;

    if (m->flags & MSG_OOB) {
        return -EOPNOTSUPP;
    }
    while (to->remaining > 0) {
        ssize_t n;

        mutex_lock(&v->read_mutex);
        n = take(v, to, is_peek);
        mutex_unlock(&v->read_mutex);
        if (n > 0 && !is_peek) {
            tell_credit(v);
        }
        if (n < 0) {
            return done > 0 ? done : n;
        }
        done += n;
        if ((size_t)done >= target) {
            break;
        }
        err = look_at_end(v);
        if (err > 0) {
            err = wait_on(&v->read_wait, deadline, is_receivable, v);
            err = err == 0 ? 1 : err;
        }
        if (err <= 0) {
            return done > 0 ? done : err;
        }
    }
    m->flags &= ~(MSG_TRUNC | MSG_CTRUNC | MSG_EOR);
    return done;
}

/* --- state
 * --------------------------------------------------------------------------------------- */

static int vsock_shutdown(struct socket *s, unsigned how)
{
    struct vsock_socket *v = vsock_of(s);
    struct vsock_header h;
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool is_listening = v->state == VSOCK_LISTENING;
    int err = v->state == VSOCK_CONNECTED || is_listening ? 0 : -ENOTCONN;

    if (err == 0) {
        v->shut |= how;
        h = vsock_header_locked(v, VSOCK_OP_SHUTDOWN, v->shut);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (err == 0) {
        vsock_wake_all(v);
        err = is_listening ? 0 : vsock_device_send(&h, true);
    }
    return err;
}

static uint32_t vsock_poll(struct socket *s, struct file *f, struct poll_table *pt)
{
    struct vsock_socket *v = vsock_of(s);
    uint32_t events = 0;
    uint64_t flags;

    poll_wait(pt, f, &v->read_wait);
    poll_wait(pt, f, &v->write_wait);
    flags = spin_lock_irqsave(&vsock_lock);
    events |= v->error ? POLLERR : 0;
    if (v->shut == VSOCK_SHUT_BOTH || ((v->shut & SHUT_WR) && (v->peer_shut & VSOCK_SHUT_SEND)) ||
        (v->state == VSOCK_DONE && v->peer_shut == VSOCK_SHUT_BOTH)) {
        events |= POLLHUP;
    }
    if ((v->shut & SHUT_RD) || (v->peer_shut & VSOCK_SHUT_SEND)) {
        events |= POLLIN | POLLRDNORM | POLLRDHUP;
    }
    if (v->queued > 0 || !list_is_empty(&v->pending)) {
        events |= POLLIN | POLLRDNORM;
    }
    if (v->state == VSOCK_CONNECTED) {
        events |= vsock_credit_locked(v) > 0 && !(v->shut & SHUT_WR) ? POLLOUT | POLLWRNORM : 0;
    } else if (v->state != VSOCK_CONNECTING && v->state != VSOCK_LISTENING &&
               !(v->shut & SHUT_WR)) {
        events |= POLLOUT | POLLWRNORM; /* a write would not wait: it fails */
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return events;
}

static int vsock_error(struct socket *s)
{
    return take_error(vsock_of(s));
}

static bool vsock_is_listening(const struct socket *s)
{
    return vsock_of(s)->state == VSOCK_LISTENING;
}

static int vsock_peer_credentials(const struct socket *s, struct socket_credentials *out)
{
    (void)s;
    (void)out;
    return -ENOPROTOOPT;
}

static uint32_t vsock_unread(struct socket *s)
{
    return vsock_of(s)->queued;
}

/* A connection without a file: the peer is told, and its answer takes it out of the table. */
static void leave(struct vsock_socket *v)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    bool owns = false;
    bool says = v->state == VSOCK_CONNECTED || v->state == VSOCK_CONNECTING;
    struct vsock_header h = vsock_header_locked(
        v, v->state == VSOCK_CONNECTED ? VSOCK_OP_SHUTDOWN : VSOCK_OP_RST, VSOCK_SHUT_BOTH);

    v->is_released = true;
    vsock_unbind_locked(v);
    if (v->state != VSOCK_CONNECTED) {
        owns = vsock_unlink_locked(v);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (says) {
        (void)vsock_device_send(&h, true); /* lost: the peer's next packet is answered by a reset */
    }
    if (owns) {
        vsock_put(v);
    }
    vsock_put(v);
}

static void vsock_release(struct socket *s)
{
    struct vsock_socket *v = vsock_of(s);
    struct vsock_socket *fresh;
    uint64_t flags = spin_lock_irqsave(&vsock_lock);

    if (v->state == VSOCK_LISTENING) {
        v->state = VSOCK_DONE; /* no more are added */
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    while ((fresh = take_pending(v)) != NULL) {
        leave(fresh);
    }
    leave(v);
}

static const struct socket_ops vsock_ops = {
    .bind = vsock_bind,
    .listen = vsock_listen,
    .accept = vsock_accept,
    .connect = vsock_connect,
    .name = vsock_name,
    .send = vsock_send,
    .receive = vsock_receive_bytes,
    .shutdown = vsock_shutdown,
    .poll = vsock_poll,
    .error = vsock_error,
    .is_listening = vsock_is_listening,
    .peer_credentials = vsock_peer_credentials,
    .unread = vsock_unread,
    .release = vsock_release,
};

const struct socket_family vsock_family = { .family = AF_VSOCK, .create = vsock_create };

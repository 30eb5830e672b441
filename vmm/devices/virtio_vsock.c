/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device: packets between the queues and the connections. Section numbers are those of
 * Virtio 1.1.
 *
 * Everything in a packet is the guest's word: addresses, lengths and counts are checked, and a
 * packet that fits no connection is answered by a reset. Nothing grows with what the guest sends:
 * connections are limited, each keeps at most what it was allowed to send, resets that find no
 * buffer are kept in a small ring and dropped beyond it.
 *
 * vCPU threads only defer: their system calls are few. A reset by the driver takes all connections
 * out of use on its vCPU and has the loop thread close them.
 */
#include "virtio_vsock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/fmt.h>
#include <base/unix_socket.h>

#include "virtio_mmio.h"
#include "vsock_broker.h"
#include "vsock_connection.h"

#define QUEUE_SIZE      128u
#define HEADER_SIZE     ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define PACKET_SIZE_MAX (64u << 10)
#define BUCKETS         256u
#define RESETS_MAX      64u
#define EVENTS_MAX      32
#define ACCEPTS_MAX     32u
#define HOST_PORT_FIRST (1u << 30) /* as Firecracker: far from ports that somebody chose */

static_assert(sizeof(struct virtio_vsock_hdr) == 44, "packet layout (5.10.6)");
static_assert(sizeof(struct virtio_vsock_config) == 8, "configuration layout (5.10.4)");

enum {
    QUEUE_RX, /* to the guest */
    QUEUE_TX,
    QUEUE_EVENT,
    QUEUES,
};

/* A reset for ports that belong to no connection. */
struct stray {
    uint32_t guest_port;
    uint32_t host_port;
};

struct virtio_vsock {
    struct virtio_device dev;
    struct virtqueue queues[QUEUES];
    struct virtio_vsock_config config;
    int listen_fd;
    uint32_t listen_events; /* that it is watched for */
    int epoll_fd;
    int wake_fd; /* eventfd: there is something in `dead` */
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    int broker_fd; /* -1: none */

    /* Under dev.lock. */
    struct list buckets[BUCKETS]; /* connections with ports, by those */
    struct list greeters;         /* those that have not said CONNECT */
    struct list ready;            /* in the order in which they get buffers */
    struct list dead;             /* to be closed on the loop thread */
    unsigned count;
    uint32_t host_port_next;
    struct stray strays[RESETS_MAX];
    unsigned stray_count;
    bool owes_event; /* a transport reset that found no buffer */
};

static const uint16_t queue_sizes[QUEUES] = { QUEUE_SIZE, QUEUE_SIZE, 8 };

static struct virtio_vsock *vsock_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_vsock, dev);
}

static void message(const struct virtio_vsock *v, const char *text)
{
    const struct device_host *host = v->dev.setup.host;

    host->log(host->ctx, DEVICE_LOG_WARN, "virtio-vsock", text);
}

/* ---- Connections ---- */

static struct list *bucket_of(struct virtio_vsock *v, uint32_t guest_port, uint32_t host_port)
{
    return &v->buckets[(guest_port * 31 + host_port) % BUCKETS];
}

static struct vsock_connection *find(struct virtio_vsock *v, uint32_t guest_port,
                                     uint32_t host_port)
{
    struct vsock_connection *c = NULL;

    list_for_each_entry(c, bucket_of(v, guest_port, host_port), link) {
        if (c->guest_port == guest_port && c->host_port == host_port) {
            return c;
        }
    }
    return NULL;
}

static void name_connection(struct virtio_vsock *v, struct vsock_connection *c, uint32_t guest_port,
                            uint32_t host_port)
{
    assert(find(v, guest_port, host_port) == NULL);
    c->guest_port = guest_port;
    c->host_port = host_port;
    list_remove(&c->link);
    list_push_back(bucket_of(v, guest_port, host_port), &c->link);
}

static void drop(struct virtio_vsock *v, struct vsock_connection *c)
{
    assert(v->count > 0);
    v->count--;
    list_remove(&c->link);
    list_remove(&c->ready);
    vsock_connection_destroy(c);
}

/* Out of use, to be closed and freed later: without a system call. */
static void retire_list(struct virtio_vsock *v, struct list *connections)
{
    while (!list_is_empty(connections)) {
        struct vsock_connection *c = list_first(connections, struct vsock_connection, link);

        list_remove(&c->ready);
        list_remove(&c->link);
        list_push_back(&v->dead, &c->link);
        c->is_dead = true;
    }
}

static void retire_all(struct virtio_vsock *v)
{
    retire_list(v, &v->greeters);
    for (unsigned i = 0; i < BUCKETS; i++) {
        retire_list(v, &v->buckets[i]);
    }
    v->stray_count = 0;
}

static void bury_dead(struct virtio_vsock *v)
{
    while (!list_is_empty(&v->dead)) {
        drop(v, list_first(&v->dead, struct vsock_connection, link));
    }
}

/* From a thread that may close descriptors. */
static void drop_all(struct virtio_vsock *v)
{
    retire_all(v);
    bury_dead(v);
    assert(v->count == 0);
}

/* From one that may not. */
static void retire_and_wake(struct virtio_vsock *v)
{
    const uint64_t one = 1;

    retire_all(v);
    if (!list_is_empty(&v->dead)) {
        (void)!write(v->wake_fd, &one, sizeof(one)); /* a full counter wakes as well */
    }
}

static void queue_if_ready(struct virtio_vsock *v, struct vsock_connection *c)
{
    if (!list_is_linked(&c->ready) && vsock_connection_is_ready(c)) {
        list_push_back(&v->ready, &c->ready);
    }
}

/* A new connection over `fd`, which is taken; NULL: it was closed for want of room. */
static struct vsock_connection *add(struct virtio_vsock *v, int fd)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
    struct vsock_connection *c =
        v->count < VIRTIO_VSOCK_CONNECTIONS_MAX ? vsock_connection_create(fd) : NULL;

    if (c == NULL) {
        message(v, "a connection is refused: too many, or no memory");
        (void)close(fd);
        return NULL;
    }
    e.data.ptr = c;
    if (epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
        vsock_connection_destroy(c);
        return NULL;
    }
    v->count++;
    list_push_back(&v->greeters, &c->link);
    return c;
}

/* The end of a connection that the guest knows of: it gets a reset. */
static void reset_connection(struct virtio_vsock *v, struct vsock_connection *c)
{
    vsock_connection_close(c);
    c->state = VSOCK_CLOSING;
    c->pending = VSOCK_PENDING_RESET;
    queue_if_ready(v, c);
}

static void add_stray(struct virtio_vsock *v, uint32_t guest_port, uint32_t host_port)
{
    if (v->stray_count < RESETS_MAX) {
        v->strays[v->stray_count++] = (struct stray){ guest_port, host_port };
    }
}

/* ---- Packets to the guest ---- */

static struct virtio_vsock_hdr header_of(const struct virtio_vsock *v, uint32_t guest_port,
                                         uint32_t host_port, uint16_t op)
{
    return (struct virtio_vsock_hdr){
        .src_cid = VIRTIO_VSOCK_CID_HOST,
        .dst_cid = v->config.guest_cid,
        .src_port = host_port,
        .dst_port = guest_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = op,
    };
}

static void put_header(struct virtio_vsock *v, const struct vq_chain *chain,
                       const struct virtio_vsock_hdr *h)
{
    int err = vq_chain_write(&v->queues[QUEUE_RX], chain, 0, h, sizeof(*h));

    assert(err == 0); /* its size was looked at when it was taken */
    vq_complete(&v->queues[QUEUE_RX], chain->head, HEADER_SIZE + h->len);
}

static void put_packet(struct virtio_vsock *v, const struct vq_chain *chain,
                       struct vsock_connection *c, uint16_t op, uint32_t flags, uint32_t size)
{
    struct virtio_vsock_hdr h = header_of(v, c->guest_port, c->host_port, op);

    h.flags = flags;
    h.len = size;
    h.buf_alloc = VIRTIO_VSOCK_BUFFER_SIZE;
    h.fwd_cnt = c->forwarded;
    c->forwarded_told = c->forwarded;
    put_header(v, chain, &h);
}

/* The first of the packets that wait, other than data; true if there was one. */
static bool put_pending(struct virtio_vsock *v, const struct vq_chain *chain,
                        struct vsock_connection *c)
{
    static const struct {
        unsigned pending;
        uint16_t op;
    } order[] = {
        { VSOCK_PENDING_RESET, VIRTIO_VSOCK_OP_RST },
        { VSOCK_PENDING_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
        { VSOCK_PENDING_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
        { VSOCK_PENDING_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
        { VSOCK_PENDING_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
    };

    for (size_t i = 0; i < array_size(order); i++) {
        if ((c->pending & order[i].pending) != 0) {
            c->pending &= ~order[i].pending;
            put_packet(v, chain, c, order[i].op,
                       order[i].pending == VSOCK_PENDING_SHUTDOWN ? c->host_shut : 0, 0);
            return true;
        }
    }
    return false;
}

/* Both sides are told that the host is gone: its descriptor need not wait for the guest's answer.
 */
static void close_if_told(struct vsock_connection *c)
{
    if (c->state == VSOCK_ESTABLISHED && (c->pending & VSOCK_PENDING_SHUTDOWN) == 0 &&
        c->host_shut == (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)) {
        vsock_connection_close(c);
        c->state = VSOCK_CLOSING;
    }
}

/* Fill the chain for this connection. False: there was nothing after all. */
static bool put_for(struct virtio_vsock *v, const struct vq_chain *chain,
                    struct vsock_connection *c)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    size_t size = 0;
    unsigned count = 0;

    if (c->pending == 0 && vsock_connection_is_ready(c)) {
        size_t limit = min_of(vsock_connection_credit(c), PACKET_SIZE_MAX);

        count =
            vq_chain_iov(&v->queues[QUEUE_RX], chain, VQ_WRITABLE, HEADER_SIZE, limit, iov, &size);
        size = count > 0 ? vsock_connection_read(c, iov, count) : 0;
        if (size > 0) {
            put_packet(v, chain, c, VIRTIO_VSOCK_OP_RW, 0, (uint32_t)size);
            return true;
        }
    }
    if (!put_pending(v, chain, c)) {
        return false;
    }
    close_if_told(c);
    return true;
}

static bool put_stray(struct virtio_vsock *v, const struct vq_chain *chain)
{
    const struct stray *s = NULL;
    struct virtio_vsock_hdr h;

    if (v->stray_count == 0) {
        return false;
    }
    s = &v->strays[--v->stray_count];
    h = header_of(v, s->guest_port, s->host_port, VIRTIO_VSOCK_OP_RST);
    put_header(v, chain, &h);
    return true;
}

/* One packet into the chain, from whoever is first in line. False: nobody has anything. */
static bool fill_one(struct virtio_vsock *v, const struct vq_chain *chain)
{
    if (put_stray(v, chain)) {
        return true;
    }
    while (!list_is_empty(&v->ready)) {
        struct vsock_connection *c = list_first(&v->ready, struct vsock_connection, ready);
        bool was_reset = (c->pending & VSOCK_PENDING_RESET) != 0;
        bool did = put_for(v, chain, c);

        list_remove(&c->ready);
        if (was_reset) {
            drop(v, c);
        } else {
            queue_if_ready(v, c); /* behind the others */
        }
        if (did) {
            return true;
        }
    }
    return false;
}

/* Hand out packets while there are some, and buffers for them. */
static void run_rx(struct virtio_vsock *v)
{
    struct virtqueue *vq = &v->queues[QUEUE_RX];
    unsigned left = QUEUE_SIZE;
    struct vq_chain chain;

    vq_kicks_off(vq);
    while (virtio_device_is_live(&v->dev) && (v->stray_count > 0 || !list_is_empty(&v->ready))) {
        if (left-- == 0) {
            virtio_queue_defer(&v->dev, QUEUE_RX);
            break;
        }
        /* Without a buffer the next one that comes shall wake us. */
        if (vq_take(vq, &chain) != 1 && (vq_kicks_on(vq) != 1 || vq_take(vq, &chain) != 1)) {
            break;
        }
        if (chain.writable_size < HEADER_SIZE) {
            virtio_device_fail(&v->dev, "a buffer too small for a packet; device stopped");
            vq_complete(vq, chain.head, 0);
            break;
        }
        if (!fill_one(v, &chain)) {
            vq_untake(vq);
        }
    }
    virtio_queue_publish(&v->dev, QUEUE_RX);
}

/* ---- Packets from the guest ---- */

/* A connection of the guest to `<path>_<port>`; -errno: nobody there. */
static int connect_out(struct virtio_vsock *v, uint32_t port)
{
    char path[sizeof(v->path)];

    if (v->broker_fd >= 0) {
        const int fd = vsock_broker_ask(v->broker_fd, port);

        if (fd == -EPIPE) {
            message(v, "who connects for the guest is gone: it reaches the host no more");
            v->broker_fd = -1;
            v->path[0] = '\0';
        }
        return fd;
    }
    if (v->path[0] == '\0' ||
        fmt_snprintf(path, sizeof(path), "%s_%u", v->path, port) >= sizeof(path)) {
        return -ECONNREFUSED;
    }
    /* A listener whose queue is full refuses with EAGAIN: the guest may try again. */
    return unix_connect(path, SOCK_NONBLOCK);
}

static void update_credit(struct vsock_connection *c, const struct virtio_vsock_hdr *h)
{
    c->peer_buffer = h->buf_alloc;
    c->peer_forwarded = h->fwd_cnt;
}

static void on_request(struct virtio_vsock *v, const struct virtio_vsock_hdr *h)
{
    struct vsock_connection *c = NULL;
    int fd = connect_out(v, h->dst_port);

    if (fd >= 0) {
        c = add(v, fd);
    }
    if (c == NULL) {
        add_stray(v, h->src_port, h->dst_port);
        return;
    }
    name_connection(v, c, h->src_port, h->dst_port);
    update_credit(c, h);
    c->state = VSOCK_ESTABLISHED;
    c->pending |= VSOCK_PENDING_RESPONSE;
    queue_if_ready(v, c);
}

static void on_response(struct virtio_vsock *v, struct vsock_connection *c)
{
    if (c->state != VSOCK_REQUESTED || vsock_connection_welcome(c) < 0) {
        reset_connection(v, c);
        return;
    }
    c->state = VSOCK_ESTABLISHED;
}

/* The rest of a packet that its socket did not take, into the connection's buffer. */
static int keep_rest(struct virtio_vsock *v, const struct vq_chain *chain,
                     struct vsock_connection *c, size_t done, size_t size)
{
    while (done < size) {
        size_t n = size - done;
        uint8_t *to = vsock_connection_reserve(c, &n);

        if (to == NULL ||
            vq_chain_read(&v->queues[QUEUE_TX], chain, HEADER_SIZE + done, to, n) < 0) {
            return -ENOMEM;
        }
        vsock_connection_keep(c, n);
        done += n;
    }
    return 0;
}

static void on_data(struct virtio_vsock *v, const struct vq_chain *chain, uint32_t size,
                    struct vsock_connection *c)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    size_t lent = 0;
    size_t taken = 0;
    unsigned count = 0;

    if (c->state == VSOCK_CLOSING) {
        return; /* it had not heard yet that the host is gone */
    }
    if (c->state != VSOCK_ESTABLISHED || (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0 ||
        size > chain->readable_size - HEADER_SIZE) {
        reset_connection(v, c);
        return;
    }
    count = vq_chain_iov(&v->queues[QUEUE_TX], chain, VQ_READABLE, HEADER_SIZE, size, iov, &lent);
    assert(lent == size);
    if (size > 0 && (vsock_connection_write(c, iov, count, size, &taken) < 0 ||
                     keep_rest(v, chain, c, taken, size) < 0)) {
        reset_connection(v, c);
        return;
    }
    if (vsock_connection_owes_credit(c)) {
        c->pending |= VSOCK_PENDING_CREDIT;
    }
}

/* The guest will neither send nor receive: once the host has everything, it is over. */
static void finish_if_shut(struct virtio_vsock *v, struct vsock_connection *c)
{
    const unsigned both = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;

    vsock_connection_flush(c);
    if ((c->guest_shut & both) == both && c->count == 0) {
        reset_connection(v, c);
    }
}

static void on_packet_of(struct virtio_vsock *v, const struct vq_chain *chain,
                         const struct virtio_vsock_hdr *h, struct vsock_connection *c)
{
    update_credit(c, h);
    switch (h->op) {
    case VIRTIO_VSOCK_OP_RESPONSE:
        on_response(v, c);
        break;
    case VIRTIO_VSOCK_OP_RST:
        drop(v, c);
        return;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        c->guest_shut |= h->flags & (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
        finish_if_shut(v, c);
        break;
    case VIRTIO_VSOCK_OP_RW:
        on_data(v, chain, h->len, c);
        break;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        c->pending |= VSOCK_PENDING_CREDIT;
        break;
    default: /* REQUEST for ports in use, and what the specification does not know */
        reset_connection(v, c);
        break;
    }
    queue_if_ready(v, c);
}

static void on_packet(struct virtio_vsock *v, const struct vq_chain *chain)
{
    struct virtio_vsock_hdr h;
    struct vsock_connection *c = NULL;

    if (vq_chain_read(&v->queues[QUEUE_TX], chain, 0, &h, sizeof(h)) < 0) {
        virtio_device_fail(&v->dev, "a packet without a header; device stopped");
        return;
    }
    if (h.src_cid != v->config.guest_cid || h.dst_cid != VIRTIO_VSOCK_CID_HOST) {
        return; /* nobody to answer (5.10.6.2): other guests are not reached from here */
    }
    c = h.type == VIRTIO_VSOCK_TYPE_STREAM ? find(v, h.src_port, h.dst_port) : NULL;
    if (c != NULL) {
        on_packet_of(v, chain, &h, c);
    } else if (h.type == VIRTIO_VSOCK_TYPE_STREAM && h.op == VIRTIO_VSOCK_OP_REQUEST) {
        on_request(v, &h);
    } else if (h.op != VIRTIO_VSOCK_OP_RST) {
        add_stray(v, h.src_port, h.dst_port);
    }
}

static void run_tx(struct virtio_vsock *v)
{
    struct virtqueue *vq = &v->queues[QUEUE_TX];
    unsigned left = QUEUE_SIZE;
    struct vq_chain chain;

    vq_kicks_off(vq);
    while (virtio_device_is_live(&v->dev) &&
           (vq_take(vq, &chain) == 1 || (vq_kicks_on(vq) == 1 && vq_take(vq, &chain) == 1))) {
        if (left-- == 0) {
            vq_untake(vq);
            virtio_queue_defer(&v->dev, QUEUE_TX);
            break;
        }
        on_packet(v, &chain);
        vq_complete(vq, chain.head, 0);
    }
    virtio_queue_publish(&v->dev, QUEUE_TX);
}

static void run_event(struct virtio_vsock *v)
{
    const struct virtio_vsock_event event = { .id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET };
    struct virtqueue *vq = &v->queues[QUEUE_EVENT];
    struct vq_chain chain;

    vq_kicks_off(vq);
    if (!v->owes_event || !virtio_device_is_live(&v->dev) ||
        (vq_take(vq, &chain) != 1 && (vq_kicks_on(vq) != 1 || vq_take(vq, &chain) != 1))) {
        return;
    }
    v->owes_event = vq_chain_write(vq, &chain, 0, &event, sizeof(event)) < 0;
    if (v->owes_event) {
        virtio_device_fail(&v->dev, "a buffer too small for an event; device stopped");
    }
    vq_complete(vq, chain.head, v->owes_event ? 0 : (uint32_t)sizeof(event));
    virtio_queue_publish(&v->dev, QUEUE_EVENT);
}

/* ---- The host's side, on the loop thread ---- */

/* A host port that no connection to this guest port has. */
static uint32_t pick_host_port(struct virtio_vsock *v, uint32_t guest_port)
{
    uint32_t port = 0;

    do { /* ends: there are fewer connections than ports */
        port = v->host_port_next++;
        if (v->host_port_next == UINT32_MAX) {
            v->host_port_next = HOST_PORT_FIRST;
        }
    } while (find(v, guest_port, port) != NULL);
    return port;
}

/* Bytes of a greeting; with `is_end` there are none behind them. False: the connection is gone. */
static bool on_greeting(struct virtio_vsock *v, struct vsock_connection *c, bool is_end)
{
    uint32_t port = 0;
    int r = vsock_connection_greeting(c, &port);

    if (r == 0 && !is_end) {
        return true;
    }
    if (r <= 0 || !virtio_device_is_live(&v->dev)) {
        drop(v, c); /* no driver, so nobody listens */
        return false;
    }
    name_connection(v, c, port, pick_host_port(v, port));
    c->state = VSOCK_REQUESTED;
    c->pending |= VSOCK_PENDING_REQUEST;
    return true;
}

static void on_socket(struct virtio_vsock *v, struct vsock_connection *c, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 && !c->is_at_end) {
        c->is_readable = true;
    }
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !c->is_hung_up) {
        c->is_hung_up = true;
        if (c->is_at_end) {
            c->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
            c->pending |= VSOCK_PENDING_SHUTDOWN;
        }
    }
    if (c->state == VSOCK_GREETING &&
        !on_greeting(v, c, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)) {
        return;
    }
    if (c->state == VSOCK_REQUESTED && c->is_hung_up) {
        reset_connection(v, c); /* it did not wait for the answer */
        return;
    }
    if (c->state == VSOCK_ESTABLISHED && (events & EPOLLOUT) != 0) {
        c->is_writable = true;
        finish_if_shut(v, c);
        if (vsock_connection_owes_credit(c)) {
            c->pending |= VSOCK_PENDING_CREDIT;
        }
    }
    queue_if_ready(v, c);
}

/*
 * Level-triggered as long as clients can be accepted. When the process has no descriptor left, one
 * that waits would wake us for ever: then only news do, and the end of a connection.
 */
static void listen_for(struct virtio_vsock *v, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = NULL };

    if (v->listen_events != events && v->listen_fd >= 0 &&
        epoll_ctl(v->epoll_fd, EPOLL_CTL_MOD, v->listen_fd, &e) == 0) {
        v->listen_events = events;
    }
}

static void accept_some(struct virtio_vsock *v)
{
    for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(v->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                listen_for(v, EPOLLIN | EPOLLET);
            }
            return;
        }
        (void)add(v, fd); /* its greeting makes an event of its own */
    }
}

static void on_events(void *device, int fd, uint32_t unused)
{
    struct virtio_vsock *v = device;
    struct epoll_event events[EVENTS_MAX];
    uint64_t count = 0;
    unsigned count_before = 0;
    int n = 0;

    (void)unused;
    virtio_device_lock(&v->dev);
    count_before = v->count;
    /* Under the lock: a connection that is dropped leaves the set, so no pointer here is stale. */
    n = epoll_wait(fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < n; i++) {
        struct vsock_connection *c = events[i].data.ptr;

        if (c == NULL) {
            accept_some(v);
        } else if (events[i].data.ptr == v) {
            (void)!read(v->wake_fd, &count, sizeof(count));
        } else if (!c->is_dead) {
            on_socket(v, c, events[i].events);
        }
    }
    bury_dead(v);
    run_rx(v);
    if (v->count < count_before) {
        listen_for(v, EPOLLIN);
    }
    virtio_device_unlock(&v->dev);
}

/* ---- The device ---- */

static void vsock_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_vsock *v = vsock_of(dev);
    unsigned count_before = v->count;

    if (thread == VIRTIO_ON_VCPU) {
        virtio_queue_defer(dev, queue);
        return;
    }
    if (queue == QUEUE_EVENT) {
        run_event(v);
        return;
    }
    if (queue == QUEUE_TX) {
        run_tx(v);
    }
    run_rx(v); /* answers, or buffers for what waits */
    if (v->count < count_before) {
        listen_for(v, EPOLLIN);
    }
}

static void vsock_reset(struct virtio_device *dev)
{
    struct virtio_vsock *v = vsock_of(dev);

    retire_and_wake(v);
    v->owes_event = false;
}

static const struct virtio_device_ops vsock_ops = {
    .name = "virtio-vsock",
    .device_id = VIRTIO_ID_VSOCK,
    .kick = vsock_kick,
    .reset = vsock_reset,
};

static void close_own(struct virtio_vsock *v)
{
    if (v->epoll_fd >= 0) {
        (void)close(v->epoll_fd);
    }
    if (v->wake_fd >= 0) {
        (void)close(v->wake_fd);
    }
}

static int watch_sockets(struct virtio_vsock *v)
{
    struct epoll_event e = { .events = EPOLLIN };

    v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    v->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    e.data.ptr = v;
    if (v->epoll_fd < 0 || v->wake_fd < 0 ||
        epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, v->wake_fd, &e) < 0) {
        return -errno;
    }
    e.data.ptr = NULL;
    if (v->listen_fd >= 0 && epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, v->listen_fd, &e) < 0) {
        return -errno;
    }
    return 0;
}

static void vsock_init(struct virtio_vsock *v, const struct virtio_vsock_setup *setup)
{
    v->config.guest_cid = setup->guest_cid;
    v->listen_fd = setup->listen_fd;
    v->broker_fd = setup->broker_fd;
    v->listen_events = EPOLLIN;
    v->host_port_next = HOST_PORT_FIRST;
    if (setup->path != NULL) {
        memcpy(v->path, setup->path, strlen(setup->path));
    }
    list_init(&v->greeters);
    list_init(&v->ready);
    list_init(&v->dead);
    for (unsigned i = 0; i < BUCKETS; i++) {
        list_init(&v->buckets[i]);
    }
}

int virtio_vsock_create(const struct virtio_vsock_setup *setup, struct virtio_vsock **out)
{
    const struct device_host *host = setup->host;
    struct virtio_vsock *v = NULL;
    int err = 0;

    if (setup->path != NULL && strlen(setup->path) >= sizeof(v->path)) {
        return -ENAMETOOLONG;
    }
    v = calloc(1, sizeof(*v));
    if (v == NULL) {
        return -ENOMEM;
    }
    vsock_init(v, setup);
    err = watch_sockets(v);
    if (err < 0) {
        goto close_own;
    }
    err = virtio_device_init(&v->dev, &(struct virtio_device_setup){
                                          .ops = &vsock_ops,
                                          .host = host,
                                          .irq = setup->irq,
                                          .config = &v->config,
                                          .config_size = sizeof(v->config),
                                          .queues = v->queues,
                                          .queue_sizes = queue_sizes,
                                          .queue_count = QUEUES,
                                      });
    if (err < 0) {
        goto close_own;
    }
    err = host->watch(host->ctx, v->epoll_fd, EPOLLIN, on_events, v);
    if (err < 0) {
        goto deinit_device;
    }
    *out = v;
    return 0;

deinit_device:
    virtio_device_deinit(&v->dev);
close_own:
    close_own(v);
    free(v);
    return err;
}

void virtio_vsock_destroy(struct virtio_vsock *v)
{
    const struct device_host *host = v->dev.setup.host;

    (void)host->watch(host->ctx, v->epoll_fd, 0, on_events, v);
    virtio_device_lock(&v->dev);
    drop_all(v);
    virtio_device_unlock(&v->dev);
    virtio_device_deinit(&v->dev);
    close_own(v);
    free(v);
}

struct virtio_device *virtio_vsock_device(struct virtio_vsock *v)
{
    return &v->dev;
}

void virtio_vsock_reset(struct virtio_vsock *v)
{
    virtio_device_lock(&v->dev);
    drop_all(v);
    v->owes_event = virtio_device_is_live(&v->dev);
    run_event(v);
    virtio_device_unlock(&v->dev);
}

void virtio_vsock_hang_up(struct virtio_vsock *v)
{
    virtio_device_lock(&v->dev);
    retire_and_wake(v);
    virtio_device_unlock(&v->dev);
}

void virtio_vsock_set_cid(struct virtio_vsock *v, uint32_t guest_cid)
{
    virtio_device_lock(&v->dev);
    v->config.guest_cid = guest_cid;
    virtio_device_unlock(&v->dev);
}

unsigned virtio_vsock_connection_count(struct virtio_vsock *v)
{
    unsigned count = 0;

    virtio_device_lock(&v->dev);
    count = v->count;
    virtio_device_unlock(&v->dev);
    return count;
}

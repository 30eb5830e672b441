/* SPDX-License-Identifier: Apache-2.0 */
/* AF_VSOCK: tables, and what packets of the host do to sockets. */

#include <core/string.h>
#include <ipc/poll.h>
#include <ipc/vsock.h>
#include <mm/page.h>
#include <mm/slab.h>

#define BUCKETS    64u
#define PORT_FIRST 1024u
#define MERGE_MAX                                                                                  \
    512u /* bytes that are rather copied behind the last packet than kept in a page                \
          */

struct spinlock vsock_lock = SPINLOCK_INIT(RANK_VSOCK);

static struct list connections[BUCKETS];
static struct list bound = LIST_INIT(bound);
static uint32_t port_next = PORT_FIRST;

static struct slab_cache vsock_cache = SLAB_CACHE("vsock", struct vsock_socket);

/* --- sockets ---------------------------------------------------------------------------------- */

struct vsock_socket *vsock_alloc(unsigned gfp)
{
    struct vsock_socket *v = slab_alloc(&vsock_cache, gfp | GFP_ZERO);

    if (v) {
        ref_init(&v->ref);
        mutex_init(&v->read_mutex, RANK_PIPE);
        list_init(&v->bound);
        list_init(&v->linked);
        list_init(&v->pending);
        list_init(&v->pending_link);
        list_init(&v->queue);
        wait_queue_init(&v->read_wait);
        wait_queue_init(&v->write_wait);
    }
    return v;
}

void vsock_put(struct vsock_socket *v)
{
    if (!ref_put(&v->ref)) {
        return;
    }
    while (!list_is_empty(&v->queue)) {
        struct page *p = list_first(&v->queue, struct page, link);

        list_remove(&p->link);
        page_put(p);
    }
    slab_free(&vsock_cache, v);
}

void vsock_wake_all(struct vsock_socket *v)
{
    wake_all(&v->read_wait, POLLIN | POLLHUP | POLLRDHUP | POLLERR);
    wake_all(&v->write_wait, POLLOUT | POLLHUP | POLLERR);
}

/* --- tables
 * -------------------------------------------------------------------------------------- */

static struct list *bucket_of(uint32_t local_port, uint32_t peer_port)
{
    struct list *b = &connections[(local_port * 31 + peer_port) % BUCKETS];

    if (!b->next) {
        list_init(b); /* at first sight: nothing is done at boot */
    }
    return b;
}

static struct vsock_socket *find_connection(const struct vsock_header *h)
{
    struct vsock_socket *v;

    list_for_each_entry(v, bucket_of(h->dst_port, h->src_port), linked) {
        if (v->local_port == h->dst_port && v->peer_port == h->src_port &&
            v->peer_cid == h->src_cid) {
            return v;
        }
    }
    return NULL;
}

static struct vsock_socket *find_bound(uint32_t port)
{
    struct vsock_socket *v;

    list_for_each_entry(v, &bound, bound) {
        if (v->local_port == port) {
            return v;
        }
    }
    return NULL;
}

bool vsock_bind_locked(struct vsock_socket *v, uint32_t port)
{
    if (port == VSOCK_ANY) {
        do { /* ends: there is not memory for so many sockets */
            port = port_next++;
            port_next = port_next == VSOCK_ANY ? PORT_FIRST : port_next;
        } while (find_bound(port));
    } else if (find_bound(port)) {
        return false;
    }
    v->local_port = port;
    v->is_bound = true;
    list_push_back(&bound, &v->bound);
    return true;
}

void vsock_unbind_locked(struct vsock_socket *v)
{
    list_remove(&v->bound);
}

void vsock_link_locked(struct vsock_socket *v)
{
    ref_get(&v->ref);
    list_push_back(bucket_of(v->local_port, v->peer_port), &v->linked);
}

bool vsock_unlink_locked(struct vsock_socket *v)
{
    bool was = list_is_linked(&v->linked);

    list_remove(&v->linked);
    return was;
}

/* --- books
 * --------------------------------------------------------------------------------------- */

uint32_t vsock_credit_locked(const struct vsock_socket *v)
{
    uint32_t under_way = v->sent - v->peer_forwarded;

    return under_way < v->peer_buffer ? v->peer_buffer - under_way : 0;
}

struct vsock_header vsock_header_locked(struct vsock_socket *v, enum vsock_op op, uint32_t flags)
{
    v->forwarded_told = v->forwarded;
    return (struct vsock_header){
        .dst_cid = v->peer_cid,
        .src_port = v->local_port,
        .dst_port = v->peer_port,
        .op = (uint16_t)op,
        .flags = flags,
        .buf_alloc = VSOCK_WINDOW,
        .fwd_cnt = v->forwarded,
    };
}

/* --- packets
 * ------------------------------------------------------------------------------------- */

static struct vsock_header reset_of(const struct vsock_header *h)
{
    return (struct vsock_header){
        .dst_cid = h->src_cid, .src_port = h->dst_port, .dst_port = h->src_port, .op = VSOCK_OP_RST
    };
}

/* What a packet asks to be done once the lock is free. */
struct outcome {
    bool keeps_page;
    bool has_reply;
    struct vsock_header reply;
    struct vsock_socket *put; /* a reference to drop */
};

static void reply_reset(struct outcome *o, const struct vsock_header *h)
{
    o->has_reply = true;
    o->reply = reset_of(h);
}

static void end_connection(struct vsock_socket *v, struct outcome *o)
{
    if (vsock_unlink_locked(v)) {
        o->put = v;
    }
    v->state = VSOCK_DONE;
    v->peer_shut = VSOCK_SHUT_BOTH;
    vsock_wake_all(v);
}

/* A connection for a listener. */
static void on_request(const struct vsock_header *h, struct outcome *o)
{
    struct vsock_socket *to = find_bound(h->dst_port);
    struct vsock_socket *v = NULL;

    if (to && to->state == VSOCK_LISTENING && to->pending_count <= to->backlog) {
        v = vsock_alloc(GFP_ATOMIC);
    }
    if (!v) {
        reply_reset(o, h);
        return;
    }
    socket_init(&v->base, to->base.ops, AF_VSOCK, SOCK_STREAM, 0);
    v->state = VSOCK_CONNECTED;
    v->local_port = h->dst_port;
    v->peer_cid = (uint32_t)h->src_cid;
    v->peer_port = h->src_port;
    v->peer_buffer = h->buf_alloc;
    v->peer_forwarded = h->fwd_cnt;
    vsock_link_locked(v);
    list_push_back(&to->pending, &v->pending_link);
    to->pending_count++;
    o->has_reply = true;
    o->reply = vsock_header_locked(v, VSOCK_OP_RESPONSE, 0);
    wake_all(&to->read_wait, POLLIN | POLLRDNORM);
}

/* Small data goes behind the last packet's, so that a page is not spent on a byte. */
static bool merge(struct vsock_socket *v, const struct page *p, uint32_t size)
{
    struct page *last;
    struct vsock_header *h;

    if (size > MERGE_MAX || list_is_empty(&v->queue)) {
        return false;
    }
    last = list_last(&v->queue, struct page, link);
    h = page_address(last);
    if (size > VSOCK_PAYLOAD_MAX - h->size) {
        return false;
    }
    memcpy((uint8_t *)(h + 1) + h->size, (const struct vsock_header *)page_address(p) + 1, size);
    h->size += size;
    return true;
}

static void on_data(struct vsock_socket *v, struct page *p, uint32_t size, struct outcome *o)
{
    struct vsock_header *h = page_address(p);

    v->received += size;
    if (v->is_released || (v->shut & VSOCK_SHUT_RECEIVE)) {
        v->forwarded += size;
        return;
    }
    if (!merge(v, p, size)) {
        h->size = size;
        h->fwd_cnt = 0; /* from here on: read so far */
        list_push_back(&v->queue, &p->link);
        o->keeps_page = true;
    }
    v->queued += size;
    wake_all(&v->read_wait, POLLIN | POLLRDNORM);
}

static void on_shutdown(struct vsock_socket *v, const struct vsock_header *h, struct outcome *o)
{
    v->peer_shut |= h->flags & VSOCK_SHUT_BOTH;
    if (v->peer_shut == VSOCK_SHUT_BOTH) {
        reply_reset(o, h);
        end_connection(v, o);
    } else {
        vsock_wake_all(v);
    }
}

static void on_reset(struct vsock_socket *v, struct outcome *o)
{
    if (v->state == VSOCK_CONNECTING) {
        v->error = ECONNRESET;
        v->state = VSOCK_IDLE;
        if (vsock_unlink_locked(v)) {
            o->put = v;
        }
        vsock_wake_all(v);
    } else {
        end_connection(v, o);
    }
}

/* The packet's payload is `size` bytes; v->state is CONNECTING or CONNECTED. */
static void on_packet(struct vsock_socket *v, struct page *p, const struct vsock_header *h,
                      struct outcome *o)
{
    bool had_credit = vsock_credit_locked(v) > 0;

    v->peer_buffer = h->buf_alloc;
    v->peer_forwarded = h->fwd_cnt;
    switch (h->op) {
    case VSOCK_OP_RESPONSE:
        if (v->state == VSOCK_CONNECTING) {
            v->state = VSOCK_CONNECTED;
            vsock_wake_all(v);
        }
        break;
    case VSOCK_OP_RST:
        on_reset(v, o);
        return;
    case VSOCK_OP_SHUTDOWN:
        on_shutdown(v, h, o);
        return;
    case VSOCK_OP_RW:
        if (h->size > VSOCK_WINDOW - (v->received - v->forwarded) || v->state != VSOCK_CONNECTED) {
            reply_reset(o, h); /* more than it was allowed */
            end_connection(v, o);
            return;
        }
        if (h->size > 0) {
            on_data(v, p, h->size, o);
        }
        break;
    case VSOCK_OP_CREDIT_REQUEST:
        o->has_reply = true;
        o->reply = vsock_header_locked(v, VSOCK_OP_CREDIT_UPDATE, 0);
        break;
    default:
        break;
    }
    if (!had_credit && vsock_credit_locked(v) > 0) {
        wake_all(&v->write_wait, POLLOUT | POLLWRNORM);
    }
}

/* The answer to a request did not go out: the client will hear nothing. Forget it, if nobody has
 * accepted it yet. */
static void take_back(const struct vsock_header *h)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    struct vsock_socket *v = find_connection(h);
    struct outcome o = { 0 };

    if (v) {
        end_connection(v, &o);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (o.put) {
        vsock_put(o.put);
    }
}

bool vsock_receive(struct page *p, uint32_t size)
{
    struct vsock_header h = *(const struct vsock_header *)page_address(p); /* copied once */
    struct vsock_socket *v = NULL;
    struct outcome o = { 0 };
    uint64_t flags;

    if (h.type != VSOCK_TYPE_STREAM || h.src_cid > UINT32_MAX || h.size > size - sizeof(h)) {
        return false;
    }
    flags = spin_lock_irqsave(&vsock_lock);
    v = find_connection(&h);
    if (v) {
        on_packet(v, p, &h, &o);
    } else if (h.op == VSOCK_OP_REQUEST) {
        on_request(&h, &o);
    } else if (h.op != VSOCK_OP_RST) {
        reply_reset(&o, &h);
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    if (o.has_reply && vsock_device_send(&o.reply, false) < 0 && h.op == VSOCK_OP_REQUEST) {
        take_back(&h);
    }
    if (o.put) {
        vsock_put(o.put);
    }
    return o.keeps_page;
}

/* One connection that is left, out of the table; NULL: none. */
static struct vsock_socket *cut_one(void)
{
    uint64_t flags = spin_lock_irqsave(&vsock_lock);
    struct vsock_socket *v = NULL;

    for (unsigned i = 0; i < BUCKETS && !v; i++) {
        if (connections[i].next && !list_is_empty(&connections[i])) {
            v = list_first(&connections[i], struct vsock_socket, linked);
            list_remove(&v->linked);
            v->state = v->state == VSOCK_CONNECTING ? VSOCK_IDLE : VSOCK_DONE;
            v->peer_shut = VSOCK_SHUT_BOTH;
            v->error = ECONNRESET;
            vsock_wake_all(v);
        }
    }
    spin_unlock_irqrestore(&vsock_lock, flags);
    return v;
}

void vsock_transport_reset(void)
{
    struct vsock_socket *v;

    while ((v = cut_one()) != NULL) {
        vsock_put(v);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of connections, and the frames that belong to none. What a connection does is in
 * connection.c.
 */
#include "mmds/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/clock.h>
#include <base/sha256.h>

#include "mmds/connection.h"
#include "mmds/service.h"

#define PORT         80u
#define REPLIES_MAX  8u
#define IDLE_NS      (UINT64_C(5) * NS_PER_S) /* a silent connection may lose its place after this */
#define MSS_OVERHEAD 40u
#define ISN_STEP_NS  4000u /* RFC 9293, 3.4.1: the clock of sequence numbers */

/* What is answered at once and forgotten: an ARP reply, or a reset. */
struct reply {
    bool is_arp;
    struct outgoing frame;
};

struct mmds_stack {
    struct mmds_service *service;
    uint8_t mac[6];
    uint32_t address;
    uint16_t mss;
    uint8_t isn_key[16];
    struct drupe_metadata_stats stats;
    struct reply replies[REPLIES_MAX]; /* a ring */
    unsigned reply_first;
    unsigned reply_count;
    unsigned turn; /* the connection that is asked first */
    struct mmds_connection connections[MMDS_CONNECTIONS_MAX];
};

int mmds_stack_create(struct mmds_service *service, uint16_t mtu, struct mmds_stack **out)
{
    static const uint8_t mac[] = { 0x06, 0x01, 0x23, 0x45, 0x67, 0x01 };
    struct mmds_stack *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return -ENOMEM;
    }
    if (getrandom(s->isn_key, sizeof(s->isn_key), 0) != (ssize_t)sizeof(s->isn_key)) {
        free(s);
        return -EIO;
    }
    s->service = service;
    s->address = mmds_service_address(service);
    s->mss =
        (uint16_t)((mtu == 0 ? FRAME_MTU
                             : min_of(max_of(mtu, CONNECTION_MSS_MIN + MSS_OVERHEAD), FRAME_MTU)) -
                   MSS_OVERHEAD);
    memcpy(s->mac, mac, sizeof(s->mac));
    *out = s;
    return 0;
}

void mmds_stack_reset(struct mmds_stack *s)
{
    for (unsigned i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
        connection_close(&s->connections[i]);
    }
    s->reply_count = 0;
}

void mmds_stack_destroy(struct mmds_stack *s)
{
    if (s != NULL) {
        mmds_stack_reset(s);
        free(s);
    }
}

bool mmds_stack_wants(const struct mmds_stack *s, const uint8_t *head, size_t size)
{
    return frame_is_for(head, size, s->address);
}

/* ---- Replies ---- */

static struct reply *add_reply(struct mmds_stack *s, const struct segment *in)
{
    struct reply *r = &s->replies[(s->reply_first + s->reply_count) % REPLIES_MAX];

    if (s->reply_count == REPLIES_MAX) {
        s->stats.tx_errors++; /* the guest asks again */
        return NULL;
    }
    s->reply_count++;
    *r = (struct reply){ .frame.ends = { .from = s->address, .to = in->address } };
    memcpy(r->frame.ends.from_mac, s->mac, sizeof(s->mac));
    memcpy(r->frame.ends.to_mac, in->mac, sizeof(in->mac));
    return r;
}

/* RFC 9293, 3.10.7.1: what belongs to no connection is reset. */
static void refuse(struct mmds_stack *s, const struct segment *in)
{
    struct reply *r = NULL;

    s->stats.rx_accepted_unusual++;
    if ((in->flags & TCP_RST) != 0) {
        return;
    }
    r = add_reply(s, in);
    if (r == NULL) {
        return;
    }
    r->frame.from_port = in->to_port;
    r->frame.to_port = in->port;
    if ((in->flags & TCP_ACK) != 0) {
        r->frame.flags = TCP_RST;
        r->frame.seq = in->ack;
        return;
    }
    r->frame.flags = TCP_RST | TCP_ACK;
    r->frame.ack =
        in->seq + (uint32_t)in->size + ((in->flags & TCP_SYN) != 0) + ((in->flags & TCP_FIN) != 0);
}

/* ---- In ---- */

static struct mmds_connection *find(struct mmds_stack *s, const struct segment *in)
{
    for (unsigned i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
        if (connection_is(&s->connections[i], in->address, in->port)) {
            return &s->connections[i];
        }
    }
    return NULL;
}

/* A free place, that of one that is closing, or of the one that has been silent longest. */
static struct mmds_connection *find_place(struct mmds_stack *s, uint64_t now_ns)
{
    struct mmds_connection *oldest = &s->connections[0];

    for (unsigned i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
        struct mmds_connection *c = &s->connections[i];

        if (!connection_is_open(c)) {
            return c;
        }
        if (connection_is_leaving(c)) {
            oldest = c;
            break;
        }
        if (c->heard_ns < oldest->heard_ns) {
            oldest = c;
        }
    }
    if (now_ns - oldest->heard_ns < IDLE_NS && !connection_is_leaving(oldest)) {
        return NULL;
    }
    connection_close(oldest);
    s->stats.connections_destroyed++;
    return oldest;
}

/* RFC 6528: a clock, and a secret for each peer, so that none can be guessed from another. */
static uint32_t first_number(const struct mmds_stack *s, const struct segment *in, uint64_t now_ns)
{
    struct sha256 hash;
    uint8_t digest[SHA256_SIZE];
    uint8_t peer[6];

    store_be32(peer, in->address);
    store_be16(peer + 4, in->port);
    sha256_init(&hash);
    sha256_add(&hash, s->isn_key, sizeof(s->isn_key));
    sha256_add(&hash, peer, sizeof(peer));
    sha256_end(&hash, digest);
    return load_le32(digest) + (uint32_t)(now_ns / ISN_STEP_NS);
}

static void open_connection(struct mmds_stack *s, const struct segment *in, uint64_t now_ns)
{
    struct mmds_connection *c = find_place(s, now_ns);

    if (c == NULL) {
        refuse(s, in);
        return;
    }
    connection_open(c, in, s->mss, first_number(s, in, now_ns), now_ns);
    s->stats.connections_created++;
    s->stats.rx_accepted++;
}

static void take_segment(struct mmds_stack *s, const struct segment *in, uint64_t now_ns)
{
    struct mmds_connection *c = in->to_port == PORT ? find(s, in) : NULL;
    bool is_new = (in->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;

    if (c != NULL) {
        s->stats.rx_accepted++;
        if (!connection_input(c, in, s->service, &s->stats, now_ns)) {
            refuse(s, in);
        }
        s->stats.connections_destroyed += !connection_is_open(c);
    } else if (is_new && in->to_port == PORT) {
        open_connection(s, in, now_ns);
    } else {
        refuse(s, in);
    }
}

void mmds_stack_input(struct mmds_stack *s, const uint8_t *frame, size_t size, bool is_checked,
                      uint64_t now_ns)
{
    struct segment in;
    struct reply *r = NULL;

    s->stats.rx_count++;
    switch (frame_parse(frame, size, is_checked, &in)) {
    case FRAME_DAMAGED:
        s->stats.rx_accepted_err++;
        break;
    case FRAME_OTHER:
        s->stats.rx_accepted_unusual++;
        break;
    case FRAME_ARP:
        s->stats.rx_accepted++;
        r = add_reply(s, &in);
        if (r != NULL) {
            r->is_arp = true;
        }
        break;
    case FRAME_TCP:
        take_segment(s, &in, now_ns);
        break;
    }
}

/* ---- Out ---- */

static size_t make_reply(struct mmds_stack *s, uint8_t *out)
{
    const struct reply *r = &s->replies[s->reply_first];

    assert(s->reply_count > 0);
    s->reply_first = (s->reply_first + 1) % REPLIES_MAX;
    s->reply_count--;
    return r->is_arp ? frame_make_arp(out, &r->frame.ends) : frame_make_tcp(out, &r->frame);
}

static size_t make_segment(struct mmds_stack *s, struct mmds_connection *c, uint8_t *out,
                           uint64_t now_ns)
{
    struct outgoing o = { .from_port = PORT, .ends.from = s->address };

    memcpy(o.ends.from_mac, s->mac, sizeof(s->mac));
    if (!connection_output(c, &o, now_ns)) {
        return 0;
    }
    size_t size = frame_make_tcp(out, &o);

    if ((o.flags & TCP_RST) != 0 || connection_is_done(c)) {
        connection_close(c);
        s->stats.connections_destroyed++;
    }
    return size;
}

size_t mmds_stack_output(struct mmds_stack *s, uint8_t *out, uint64_t now_ns)
{
    size_t size = s->reply_count > 0 ? make_reply(s, out) : 0;

    /* In turn, so that a large answer does not hold up the others. */
    for (unsigned i = 0; size == 0 && i < MMDS_CONNECTIONS_MAX; i++) {
        struct mmds_connection *c = &s->connections[s->turn];

        s->turn = (s->turn + 1) % MMDS_CONNECTIONS_MAX;
        if (connection_is_open(c)) {
            size = make_segment(s, c, out, now_ns);
        }
    }
    if (size > 0) {
        s->stats.tx_frames++;
        s->stats.tx_bytes += size;
    }
    return size;
}

uint64_t mmds_stack_deadline(const struct mmds_stack *s)
{
    uint64_t first = CLOCK_NEVER;

    for (unsigned i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
        const struct mmds_connection *c = &s->connections[i];

        if (connection_is_open(c)) {
            first = min_of(first, c->timer_ns);
        }
    }
    return first;
}

void mmds_stack_stats(const struct mmds_stack *s, struct drupe_metadata_stats *sum)
{
    const uint64_t *from = (const uint64_t *)(const void *)&s->stats;
    uint64_t *to = (uint64_t *)(void *)sum;

    static_assert(sizeof(s->stats) % sizeof(*from) == 0, "counters and nothing else");
    for (size_t i = 0; i < sizeof(s->stats) / sizeof(*from); i++) {
        to[i] += from[i];
    }
}

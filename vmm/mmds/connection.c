/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/connection.h"

#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/clock.h>

#include "mmds/service.h"

#define RTO_MIN_NS        (UINT64_C(200) * NS_PER_MS)
#define RTO_MAX_NS        (UINT64_C(3200) * NS_PER_MS)
#define RETRIES_MAX       8u
#define WINDOW_SEGMENTS   16u /* the largest congestion window */
#define DUPLICATES_NEEDED 3u

/* a < b on the circle of sequence numbers. */
static bool is_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

bool connection_is_open(const struct mmds_connection *c)
{
    return c->state != CONNECTION_FREE;
}

bool connection_is(const struct mmds_connection *c, uint32_t address, uint16_t port)
{
    return c->state != CONNECTION_FREE && c->address == address && c->port == port;
}

void connection_open(struct mmds_connection *c, const struct segment *in, uint16_t mss,
                     uint32_t isn, uint64_t now_ns)
{
    const uint16_t theirs = in->mss == 0 ? (uint16_t)CONNECTION_MSS_DEFAULT : in->mss;

    assert(c->state == CONNECTION_FREE);
    c->state = CONNECTION_SYN_RECEIVED;
    memcpy(c->mac, in->mac, sizeof(c->mac));
    c->address = in->address;
    c->port = in->port;
    c->own_mss = mss;
    c->mss = (uint16_t)min_of(max_of(theirs, CONNECTION_MSS_MIN), mss);
    c->send_unacked = isn;
    c->send_next = isn;
    c->send_max = isn;
    c->send_window = in->window;
    c->congestion_window = 4u * c->mss;
    c->rto_ns = RTO_MIN_NS;
    c->timer_ns = CLOCK_NEVER;
    c->heard_ns = now_ns;
    c->receive_next = in->seq + 1;
    c->window_shown = c->receive_next;
}

void connection_close(struct mmds_connection *c)
{
    free(c->answer);
    memset(c, 0, sizeof(*c));
}

/* ---- Receiving ---- */

static uint32_t window_of(const struct mmds_connection *c)
{
    /* What comes when nothing is read any more is acknowledged and dropped. */
    return (uint32_t)(sizeof(c->request) - (c->is_ending ? 0 : c->request_size));
}

static uint32_t answer_end(const struct mmds_connection *c)
{
    return c->answer_seq + (uint32_t)c->answer_size;
}

/* The first sequence number that nothing has been queued for; our FIN's, if we are ending. */
static uint32_t queue_end(const struct mmds_connection *c)
{
    return c->answer != NULL ? answer_end(c) : c->answer_seq;
}

static void stop_timer(struct mmds_connection *c)
{
    c->timer_ns = CLOCK_NEVER;
    c->retries = 0;
    c->rto_ns = RTO_MIN_NS;
    c->is_probing = false;
}

static void drop_answer(struct mmds_connection *c)
{
    free(c->answer);
    c->answer_seq = answer_end(c);
    c->answer = NULL;
    c->answer_size = 0;
}

/* The next request, if it is complete, and nothing is being answered. */
static void answer_next(struct mmds_connection *c, struct mmds_service *service,
                        struct drupe_metadata_stats *stats, uint64_t now_ns)
{
    struct mmds_response r = { 0 };
    long used = 0;

    if (c->answer != NULL || c->is_ending) {
        return;
    }
    if (c->request_size > 0) {
        used = mmds_service_answer(service, c->request, c->request_size,
                                   c->request_size == sizeof(c->request), now_ns, &r);
    }
    if (used < 0) {
        stats->tx_errors++;
        c->must_reset = true;
        return;
    }
    if (used == 0) {
        c->is_ending = c->has_peer_ended;
        return;
    }
    memmove(c->request, c->request + used, c->request_size - (size_t)used);
    c->request_size -= (size_t)used;
    c->answer = r.bytes;
    c->answer_size = r.size;
    c->is_ending = r.is_last;
    stats->tx_count++;
    stats->rx_no_token += r.lacked_token;
    stats->rx_invalid_token += r.had_invalid_token;
}

static void duplicate_ack(struct mmds_connection *c)
{
    if (c->send_unacked == c->send_max || ++c->duplicate_acks != DUPLICATES_NEEDED) {
        return;
    }
    c->send_next = c->send_unacked;
    c->congestion_window = max_of(c->congestion_window / 2, (uint32_t)c->mss);
}

/* New bytes are acknowledged. */
static void advance(struct mmds_connection *c, uint32_t ack, uint64_t now_ns)
{
    c->send_unacked = ack;
    if (is_before(c->send_next, ack)) {
        c->send_next = ack;
    }
    c->duplicate_acks = 0;
    c->congestion_window =
        min_of(c->congestion_window + c->mss, (uint32_t)WINDOW_SEGMENTS * c->mss);
    stop_timer(c);
    if (ack != c->send_max) {
        c->timer_ns = now_ns + c->rto_ns; /* the rest is under way */
    }
    if (c->answer != NULL && !is_before(ack, answer_end(c))) {
        drop_answer(c);
    }
}

/* True: go on with the segment. */
static bool take_ack(struct mmds_connection *c, const struct segment *in, uint64_t now_ns)
{
    const bool is_plain = in->size == 0 && (in->flags & (TCP_SYN | TCP_FIN)) == 0;

    if (is_before(c->send_max, in->ack)) {
        c->must_ack = true; /* for what was never sent */
        return false;
    }
    if (is_before(in->ack, c->send_unacked)) {
        return true; /* an old one */
    }
    if (in->ack != c->send_unacked) {
        advance(c, in->ack, now_ns);
    } else if (is_plain && in->window == c->send_window) {
        duplicate_ack(c);
    }
    c->send_window = in->window;
    return true;
}

/* What is new and in order of the segment's bytes, as far as there is room. */
static void take_data(struct mmds_connection *c, const struct segment *in)
{
    const uint32_t skip = c->receive_next - in->seq;
    const bool has_fin = (in->flags & TCP_FIN) != 0;
    size_t fresh = 0;
    size_t part = 0;

    if (in->size == 0 && !has_fin) {
        c->must_ack = c->must_ack || in->seq != c->receive_next; /* a probe, or out of place */
        return;
    }
    c->must_ack = true;
    if (is_before(c->receive_next, in->seq) || skip > in->size || c->has_peer_ended) {
        return; /* a gap before it, or all of it known */
    }
    fresh = in->size - skip;
    part = min_of(fresh, (size_t)window_of(c));
    if (!c->is_ending) {
        memcpy(c->request + c->request_size, in->payload + skip, part);
        c->request_size += part;
    }
    c->receive_next += (uint32_t)part;
    if (has_fin && part == fresh) {
        c->receive_next++;
        c->has_peer_ended = true;
    }
}

bool connection_is_leaving(const struct mmds_connection *c)
{
    return c->is_ending && c->has_peer_ended && c->answer == NULL &&
           c->send_max == queue_end(c) + 1;
}

bool connection_is_done(const struct mmds_connection *c)
{
    return !c->must_ack && connection_is_leaving(c) && c->send_unacked == c->send_max;
}

/* A reset counts when it is where the next byte would be (RFC 5961). */
static void take_reset(struct mmds_connection *c, const struct segment *in)
{
    if (in->seq == c->receive_next) {
        connection_close(c);
    } else if (!is_before(in->seq, c->receive_next) &&
               is_before(in->seq, c->receive_next + window_of(c))) {
        c->must_ack = true;
    }
}

/* True: the handshake is complete, or was. */
static bool finish_handshake(struct mmds_connection *c, const struct segment *in)
{
    if (c->state == CONNECTION_OPEN) {
        return true;
    }
    if (in->ack != c->send_unacked + 1 || c->send_max == c->send_unacked) {
        return false;
    }
    c->state = CONNECTION_OPEN;
    c->answer_seq = in->ack;
    return true;
}

bool connection_input(struct mmds_connection *c, const struct segment *in,
                      struct mmds_service *service, struct drupe_metadata_stats *stats,
                      uint64_t now_ns)
{
    memcpy(c->mac, in->mac, sizeof(c->mac));
    c->heard_ns = now_ns;
    if ((in->flags & TCP_RST) != 0) {
        take_reset(c, in);
        return true;
    }
    if ((in->flags & TCP_SYN) != 0) {
        if (c->state == CONNECTION_SYN_RECEIVED && in->seq + 1 == c->receive_next) {
            c->send_next = c->send_unacked; /* our answer was lost */
        } else {
            c->must_ack = true;
        }
        return true;
    }
    if ((in->flags & TCP_ACK) == 0) {
        return true; /* nothing that a peer sends */
    }
    if (!finish_handshake(c, in)) {
        return false;
    }
    if (take_ack(c, in, now_ns)) {
        take_data(c, in);
        answer_next(c, service, stats, now_ns);
    }
    if (connection_is_done(c)) {
        connection_close(c);
    }
    return true;
}

/* ---- Sending ---- */

/* What was sent is lost, the window does not open: begin again after the last acknowledged byte. */
static void on_timer(struct mmds_connection *c)
{
    if (++c->retries > RETRIES_MAX) {
        c->must_reset = true;
        return;
    }
    c->send_next = c->send_unacked;
    c->duplicate_acks = 0;
    c->congestion_window = c->mss;
    c->rto_ns = min_of(c->rto_ns * 2, RTO_MAX_NS);
    c->is_probing = c->send_window == 0;
    c->timer_ns = CLOCK_NEVER;
}

static void sent(struct mmds_connection *c, uint32_t count, uint64_t now_ns)
{
    c->send_next += count;
    if (is_before(c->send_max, c->send_next)) {
        c->send_max = c->send_next;
    }
    c->is_probing = false;
    if (count > 0 && c->timer_ns == CLOCK_NEVER) {
        c->timer_ns = now_ns + c->rto_ns;
    }
}

static bool send_syn(struct mmds_connection *c, struct outgoing *out, uint64_t now_ns)
{
    if (c->send_next != c->send_unacked) {
        return false;
    }
    out->flags = TCP_SYN | TCP_ACK;
    out->mss = c->own_mss;
    c->timer_ns = CLOCK_NEVER;
    sent(c, 1, now_ns);
    return true;
}

static bool send_data(struct mmds_connection *c, struct outgoing *out, uint64_t now_ns)
{
    const uint32_t in_flight = c->send_next - c->send_unacked;
    const uint32_t window = c->is_probing ? 1 : min_of(c->send_window, c->congestion_window);
    size_t left = 0;

    if (c->answer == NULL || !is_before(c->send_next, answer_end(c))) {
        return false;
    }
    left = answer_end(c) - c->send_next;
    if (in_flight >= window) {
        if (c->timer_ns == CLOCK_NEVER) {
            c->timer_ns = now_ns + c->rto_ns; /* for the window to open */
        }
        return false;
    }
    out->payload = c->answer + (c->send_next - c->answer_seq);
    out->size = min_of(min_of(left, (size_t)c->mss), (size_t)(window - in_flight));
    out->flags = (uint8_t)(TCP_ACK | (out->size == left ? TCP_PSH : 0));
    sent(c, (uint32_t)out->size, now_ns);
    return true;
}

static bool send_fin(struct mmds_connection *c, struct outgoing *out, uint64_t now_ns)
{
    if (!c->is_ending || c->send_next != queue_end(c)) {
        return false;
    }
    out->flags = TCP_FIN | TCP_ACK;
    sent(c, 1, now_ns);
    return true;
}

/* The peer may not know that there is room again. */
static bool must_show_window(const struct mmds_connection *c)
{
    const uint32_t end = c->receive_next + window_of(c);

    return c->state == CONNECTION_OPEN && c->window_shown == c->receive_next &&
           end != c->window_shown;
}

bool connection_output(struct mmds_connection *c, struct outgoing *out, uint64_t now_ns)
{
    assert(c->state != CONNECTION_FREE);
    if (c->timer_ns <= now_ns) {
        on_timer(c);
    }
    out->seq = c->send_next;
    if (c->must_reset) {
        out->flags = TCP_RST | TCP_ACK;
        out->seq = c->send_max;
    } else if (c->state == CONNECTION_SYN_RECEIVED) {
        if (!send_syn(c, out, now_ns)) {
            return false;
        }
    } else if (!send_data(c, out, now_ns) && !send_fin(c, out, now_ns)) {
        if (!c->must_ack && !must_show_window(c)) {
            return false;
        }
        out->flags = TCP_ACK;
        out->seq = c->send_max; /* in front of what is to be sent again */
    }
    out->to_port = c->port;
    out->ends.to = c->address;
    memcpy(out->ends.to_mac, c->mac, sizeof(c->mac));
    out->ack = c->receive_next;
    out->window = (uint16_t)window_of(c);
    c->window_shown = c->receive_next + window_of(c);
    c->must_ack = false;
    return true;
}

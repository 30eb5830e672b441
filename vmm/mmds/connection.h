/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection of the metadata service, server's side (RFC 9293 as far as such a server
 * goes): in-order receipt into a request, one answer at a time, retransmission from the last
 * acknowledged byte (go-back-N), a congestion window, either side's close. Internal to mmds/stack.c
 * and its tests.
 */
#pragma once

#include "mmds/stack.h"

#define CONNECTION_MSS_MIN     88u /* a peer that says less gets this */
#define CONNECTION_MSS_DEFAULT 536u

struct mmds_service;

enum connection_state {
    CONNECTION_FREE,
    CONNECTION_SYN_RECEIVED,
    CONNECTION_OPEN, /* and closing, as the flags say */
};

/* All zero: free. Sequence numbers wrap. */
struct mmds_connection {
    enum connection_state state;
    uint8_t mac[6];
    uint16_t port;
    uint32_t address;
    uint16_t mss; /* of what we send */
    uint16_t own_mss;

    uint32_t send_unacked;
    uint32_t send_next; /* of the next segment; goes back for a retransmission */
    uint32_t send_max;  /* one past the highest ever sent */
    uint32_t send_window;
    uint32_t congestion_window;
    unsigned duplicate_acks;
    unsigned retries;
    uint64_t rto_ns;
    uint64_t timer_ns; /* CLOCK_NEVER: nothing is waited for */
    uint64_t heard_ns;

    uint32_t receive_next;
    uint32_t window_shown; /* end of the last window that was sent */
    bool must_ack;
    bool must_reset;
    bool has_peer_ended; /* its FIN was received */
    bool is_ending;      /* ours follows the answer */
    bool is_probing;     /* one byte beyond a closed window */

    char *answer; /* NULL: none; sent from sequence number answer_seq on */
    size_t answer_size;
    uint32_t answer_seq;
    size_t request_size;
    char request[MMDS_REQUEST_MAX];
};

bool connection_is_open(const struct mmds_connection *c);
bool connection_is(const struct mmds_connection *c, uint32_t address, uint16_t port);

/* A SYN for a free place. `mss`: of this side. */
void connection_open(struct mmds_connection *c, const struct segment *in, uint16_t mss,
                     uint32_t isn, uint64_t now_ns);
/* Both sides have ended, and each knows it: to be closed. */
bool connection_is_done(const struct mmds_connection *c);
/* Nothing is left but the peer's last word, which may be missed. */
bool connection_is_leaving(const struct mmds_connection *c);
/* Back to free, without a word. */
void connection_close(struct mmds_connection *c);

/* False: the segment is to be refused with a reset. The connection may be free afterwards. */
bool connection_input(struct mmds_connection *c, const struct segment *in,
                      struct mmds_service *service, struct drupe_metadata_stats *stats,
                      uint64_t now_ns) MUST_CHECK;

/*
 * Fill in the next segment; ports and ends but for the sender's. False: nothing to send. One with
 * RST is the last; the payload is valid until the next call.
 */
bool connection_output(struct mmds_connection *c, struct outgoing *out, uint64_t now_ns) MUST_CHECK;

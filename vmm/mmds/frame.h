/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet frames of the metadata service: ARP, and TCP over IPv4. Pure functions; what comes in is
 * hostile. Addresses and ports are in the host's order.
 */
#pragma once

#include <base/compiler.h>

#define FRAME_HEAD_SIZE 42u /* enough of a frame for frame_is_for() */
#define FRAME_TCP_SIZE  54u /* Ethernet, IPv4 and TCP headers without options */
#define FRAME_MTU       1500u
#define FRAME_MAX       (14u + FRAME_MTU)

#define TCP_FIN 0x01u
#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define TCP_PSH 0x08u
#define TCP_ACK 0x10u

/* Does a frame that begins so go to this address: IPv4 to it, or a question by ARP for it? */
bool frame_is_for(const uint8_t *head, size_t size, uint32_t address);

enum frame_kind {
    FRAME_DAMAGED, /* does not hold together, or a checksum is wrong */
    FRAME_OTHER,   /* not TCP, or a fragment */
    FRAME_ARP,
    FRAME_TCP,
};

struct segment {
    uint8_t mac[6];
    uint32_t address;
    uint16_t port;
    uint16_t to_port;
    uint32_t seq;
    uint32_t ack;
    uint16_t window;
    uint16_t mss; /* 0: not said */
    uint8_t flags;
    const uint8_t *payload; /* inside the frame */
    size_t size;
};

/*
 * A frame for which frame_is_for() was true. `is_checked`: its TCP checksum is filled in and has to
 * be right. *out is complete for FRAME_TCP; mac and address for FRAME_ARP.
 */
enum frame_kind frame_parse(const uint8_t *frame, size_t size, bool is_checked,
                            struct segment *out);

struct frame_ends {
    uint8_t from_mac[6];
    uint8_t to_mac[6];
    uint32_t from;
    uint32_t to;
};

/* The answer to a question by ARP; returns its size. `out` has room for FRAME_MAX. */
size_t frame_make_arp(uint8_t *out, const struct frame_ends *ends);

struct outgoing {
    struct frame_ends ends;
    uint16_t from_port;
    uint16_t to_port;
    uint32_t seq;
    uint32_t ack;
    uint16_t window;
    uint16_t mss; /* 0: not said */
    uint8_t flags;
    const void *payload;
    size_t size; /* at most FRAME_MAX - FRAME_TCP_SIZE */
};

size_t frame_make_tcp(uint8_t *out, const struct outgoing *o);

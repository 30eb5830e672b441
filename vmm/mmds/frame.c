/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 826 (ARP), 791 (IPv4), 9293 (TCP). Offsets are from the beginning of the frame. */
#include "mmds/frame.h"

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#define ETHERTYPE_AT   12u
#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_ARP  0x0806u

#define ARP_AT         14u
#define ARP_SIZE       28u
#define ARP_REQUEST    1u
#define ARP_REPLY      2u
#define ARP_SENDER_MAC (ARP_AT + 8u)
#define ARP_SENDER     (ARP_AT + 14u)
#define ARP_TARGET_MAC (ARP_AT + 18u)
#define ARP_TARGET     (ARP_AT + 24u)

#define IP_AT           14u
#define IP_SIZE_MIN     20u
#define IP_FROM         (IP_AT + 12u)
#define IP_TO           (IP_AT + 16u)
#define IP_FRAGMENT     0x3fffu /* more to come, or an offset */
#define IP_DONT         0x4000u
#define IP_TTL          64u
#define IP_PROTOCOL_TCP 6u

#define TCP_SIZE_MIN   20u
#define TCP_OPTION_END 0u
#define TCP_OPTION_NOP 1u
#define TCP_OPTION_MSS 2u

/* Hardware type Ethernet, protocol IPv4, sizes of their addresses. */
static const uint8_t arp_types[] = { 0, 1, 8, 0, 6, 4 };

bool frame_is_for(const uint8_t *head, size_t size, uint32_t address)
{
    if (size < IP_AT + IP_SIZE_MIN) {
        return false;
    }
    switch (load_be16(head + ETHERTYPE_AT)) {
    case ETHERTYPE_IPV4:
        return load_be32(head + IP_TO) == address;
    case ETHERTYPE_ARP:
        return size >= ARP_AT + ARP_SIZE && memcmp(head + ARP_AT, arp_types, 6) == 0 &&
               load_be16(head + ARP_AT + 6) == ARP_REQUEST &&
               load_be32(head + ARP_TARGET) == address;
    default:
        return false;
    }
}

/* ---- Checksums ---- */

static uint32_t add_bytes(uint32_t sum, const uint8_t *at, size_t size)
{
    uint64_t wide = sum;

    for (; size >= 2; size -= 2, at += 2) {
        wide += load_be16(at);
    }
    wide += size == 1 ? (uint32_t)at[0] << 8 : 0;
    while (wide >> 16 != 0) {
        wide = (wide & 0xffff) + (wide >> 16);
    }
    return (uint32_t)wide;
}

static uint32_t tcp_sum(const uint8_t *frame, const uint8_t *tcp, size_t size)
{
    const uint32_t pseudo = add_bytes(IP_PROTOCOL_TCP + (uint32_t)size, frame + IP_FROM, 8);

    return add_bytes(pseudo, tcp, size);
}

/* ---- In ---- */

static uint16_t find_mss(const uint8_t *options, size_t size)
{
    size_t at = 0;

    while (at < size && options[at] != TCP_OPTION_END) {
        if (options[at] == TCP_OPTION_NOP) {
            at++;
            continue;
        }
        if (size - at < 2 || options[at + 1] < 2 || options[at + 1] > size - at) {
            return 0;
        }
        if (options[at] == TCP_OPTION_MSS && options[at + 1] == 4) {
            return load_be16(options + at + 2);
        }
        at += options[at + 1];
    }
    return 0;
}

static enum frame_kind parse_tcp(const uint8_t *frame, const uint8_t *tcp, size_t size,
                                 bool is_checked, struct segment *out)
{
    size_t head = 0;

    if (size < TCP_SIZE_MIN) {
        return FRAME_DAMAGED;
    }
    head = (size_t)(tcp[12] >> 4) * 4;
    if (head < TCP_SIZE_MIN || head > size || (is_checked && tcp_sum(frame, tcp, size) != 0xffff)) {
        return FRAME_DAMAGED;
    }
    out->port = load_be16(tcp);
    out->to_port = load_be16(tcp + 2);
    out->seq = load_be32(tcp + 4);
    out->ack = load_be32(tcp + 8);
    out->flags = tcp[13];
    out->window = load_be16(tcp + 14);
    out->mss = find_mss(tcp + TCP_SIZE_MIN, head - TCP_SIZE_MIN);
    out->payload = tcp + head;
    out->size = size - head;
    return FRAME_TCP;
}

enum frame_kind frame_parse(const uint8_t *frame, size_t size, bool is_checked, struct segment *out)
{
    size_t head = 0;
    size_t total = 0;

    memset(out, 0, sizeof(*out));
    assert(size >= IP_AT + IP_SIZE_MIN);
    if (load_be16(frame + ETHERTYPE_AT) == ETHERTYPE_ARP) {
        memcpy(out->mac, frame + ARP_SENDER_MAC, sizeof(out->mac));
        out->address = load_be32(frame + ARP_SENDER);
        return FRAME_ARP;
    }
    memcpy(out->mac, frame + sizeof(out->mac), sizeof(out->mac));
    out->address = load_be32(frame + IP_FROM);
    head = (size_t)(frame[IP_AT] & 15) * 4;
    total = load_be16(frame + IP_AT + 2);
    if (frame[IP_AT] >> 4 != 4 || head < IP_SIZE_MIN || total < head || total > size - IP_AT ||
        add_bytes(0, frame + IP_AT, head) != 0xffff) {
        return FRAME_DAMAGED;
    }
    if (frame[IP_AT + 9] != IP_PROTOCOL_TCP || (load_be16(frame + IP_AT + 6) & IP_FRAGMENT) != 0) {
        return FRAME_OTHER;
    }
    return parse_tcp(frame, frame + IP_AT + head, total - head, is_checked, out);
}

/* ---- Out ---- */

static void put_ethernet(uint8_t *out, const struct frame_ends *ends, uint16_t type)
{
    memcpy(out, ends->to_mac, sizeof(ends->to_mac));
    memcpy(out + sizeof(ends->to_mac), ends->from_mac, sizeof(ends->from_mac));
    store_be16(out + ETHERTYPE_AT, type);
}

size_t frame_make_arp(uint8_t *out, const struct frame_ends *ends)
{
    put_ethernet(out, ends, ETHERTYPE_ARP);
    memcpy(out + ARP_AT, arp_types, sizeof(arp_types));
    store_be16(out + ARP_AT + 6, ARP_REPLY);
    memcpy(out + ARP_SENDER_MAC, ends->from_mac, sizeof(ends->from_mac));
    store_be32(out + ARP_SENDER, ends->from);
    memcpy(out + ARP_TARGET_MAC, ends->to_mac, sizeof(ends->to_mac));
    store_be32(out + ARP_TARGET, ends->to);
    return ARP_AT + ARP_SIZE;
}

static void put_ip(uint8_t *out, const struct frame_ends *ends, size_t payload_size)
{
    memset(out + IP_AT, 0, IP_SIZE_MIN);
    out[IP_AT] = 0x45;
    store_be16(out + IP_AT + 2, (uint16_t)(IP_SIZE_MIN + payload_size));
    store_be16(out + IP_AT + 6, IP_DONT);
    out[IP_AT + 8] = IP_TTL;
    out[IP_AT + 9] = IP_PROTOCOL_TCP;
    store_be32(out + IP_FROM, ends->from);
    store_be32(out + IP_TO, ends->to);
    store_be16(out + IP_AT + 10, (uint16_t)~add_bytes(0, out + IP_AT, IP_SIZE_MIN));
}

size_t frame_make_tcp(uint8_t *out, const struct outgoing *o)
{
    uint8_t *tcp = out + IP_AT + IP_SIZE_MIN;
    const size_t head = TCP_SIZE_MIN + (o->mss != 0 ? 4 : 0);
    const size_t size = head + o->size;

    assert(o->size <= FRAME_MAX - FRAME_TCP_SIZE - (head - TCP_SIZE_MIN));
    put_ethernet(out, &o->ends, ETHERTYPE_IPV4);
    put_ip(out, &o->ends, size);
    memset(tcp, 0, TCP_SIZE_MIN);
    store_be16(tcp, o->from_port);
    store_be16(tcp + 2, o->to_port);
    store_be32(tcp + 4, o->seq);
    store_be32(tcp + 8, o->ack);
    tcp[12] = (uint8_t)(head / 4 << 4);
    tcp[13] = o->flags;
    store_be16(tcp + 14, o->window);
    if (o->mss != 0) {
        tcp[TCP_SIZE_MIN] = TCP_OPTION_MSS;
        tcp[TCP_SIZE_MIN + 1] = 4;
        store_be16(tcp + TCP_SIZE_MIN + 2, o->mss);
    }
    if (o->size > 0) {
        memcpy(tcp + head, o->payload, o->size);
    }
    store_be16(tcp + 16, (uint16_t)~tcp_sum(out, tcp, size));
    return IP_AT + IP_SIZE_MIN + size;
}

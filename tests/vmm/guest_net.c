/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A polled driver of the virtio network device, and just enough of ARP, IPv4 and UDP to talk to the
 * host at the other end of a tap.
 */
#include "guest_net.h"
#include "guest_queue.h"

#include <stddef.h>

#define HEADER_SIZE 12u
#define BUFFER_SIZE 2048u
#define PATIENCE    (UINT64_C(1) << 35) /* of the counter: ten seconds or so for a frame */

#define FEATURES_LOW (1u << 5) /* MAC */

struct packet {
    uint8_t header[HEADER_SIZE];
    uint8_t ethernet[14];
    uint8_t body[BUFFER_SIZE - HEADER_SIZE - 14];
} __attribute__((packed));

static struct queue rx;
static struct queue tx;
static struct packet rx_buffers[QUEUE_SIZE];
static struct packet out;
static uint8_t own_mac[6];
static uint8_t host_mac[6];

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

static void copy(void *to, const void *from, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
}

static void fill(void *to, uint8_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        ((volatile uint8_t *)to)[i] = value;
    }
}

static uint64_t read_counter(void)
{
    uint32_t low;
    uint32_t high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((uint64_t)high << 32) | low;
}

/* ---- The device ---- */

bool net_start(uint64_t device)
{
    *guest_reg(device, 0x70) = 0;
    *guest_reg(device, 0x70) = 1;
    *guest_reg(device, 0x70) = 3;
    *guest_reg(device, 0x24) = 1;
    *guest_reg(device, 0x20) = 1; /* VERSION_1 */
    *guest_reg(device, 0x24) = 0;
    *guest_reg(device, 0x20) = FEATURES_LOW;
    *guest_reg(device, 0x70) = 11;
    if (*guest_reg(device, 0x70) != 11) {
        return false;
    }
    for (unsigned i = 0; i < 6; i++) {
        own_mac[i] = *((volatile uint8_t *)device + 0x100 + i);
    }
    queue_init(&rx, device, 0);
    queue_init(&tx, device, 1);
    *guest_reg(device, 0x70) = 15;
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        queue_put(&rx, i, &rx_buffers[i], sizeof(rx_buffers[i]), true);
    }
    return true;
}

static void send_frame(uint32_t size)
{
    queue_send(&tx, &out, HEADER_SIZE + 14 + size);
}

/* The slot of the next frame, or -1 when none comes. */
static int next_frame(uint32_t *size)
{
    for (uint64_t end = read_counter() + PATIENCE; read_counter() < end;) {
        if (queue_has_used(&rx)) {
            return (int)queue_take(&rx, size);
        }
        __asm__ volatile("pause");
    }
    return -1;
}

static void give_back(int slot)
{
    queue_put(&rx, (unsigned)slot, &rx_buffers[slot], sizeof(rx_buffers[slot]), true);
}

static void put_ethernet(const uint8_t to[6], unsigned type)
{
    fill(out.header, 0, HEADER_SIZE);
    copy(out.ethernet, to, 6);
    copy(out.ethernet + 6, own_mac, 6);
    put16(out.ethernet + 12, type);
}

/* ---- ARP ---- */

static void put_arp(unsigned operation, const uint8_t target_mac[6], uint32_t target)
{
    put_ethernet(target_mac, 0x0806);
    put16(out.body, 1);
    put16(out.body + 2, 0x0800);
    out.body[4] = 6;
    out.body[5] = 4;
    put16(out.body + 6, operation);
    copy(out.body + 8, own_mac, 6);
    put32(out.body + 14, GUEST_NET_OWN);
    copy(out.body + 18, target_mac, 6);
    put32(out.body + 24, target);
}

/* The host asks for us as well. */
static void answer_arp(const struct packet *p)
{
    if (get16(p->body + 6) == 1 && get32(p->body + 24) == GUEST_NET_OWN) {
        uint8_t mac[6];

        copy(mac, p->body + 8, 6);
        put_arp(2, mac, get32(p->body + 14));
        send_frame(28);
    }
}

bool net_resolve(uint32_t address)
{
    static const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };

    for (unsigned i = 0; i < 50; i++) {
        uint32_t size = 0;
        int slot;

        put_arp(1, everyone, address);
        send_frame(28);
        slot = next_frame(&size);
        if (slot < 0) {
            continue;
        }
        const struct packet *p = &rx_buffers[slot];
        bool is_answer = get16(p->ethernet + 12) == 0x0806 && get16(p->body + 6) == 2 &&
                         get32(p->body + 14) == address;

        if (is_answer) {
            copy(host_mac, p->body + 8, 6);
        }
        give_back(slot);
        if (is_answer) {
            return true;
        }
    }
    return false;
}

/* ---- IPv4 and UDP ---- */

static uint32_t add_words(uint32_t sum, const uint8_t *at, uint32_t size)
{
    for (uint32_t i = 0; i + 1 < size; i += 2) {
        sum += get16(at + i);
    }
    return (size & 1) != 0 ? sum + ((uint32_t)at[size - 1] << 8) : sum;
}

static unsigned fold(uint32_t sum)
{
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return ~sum & 0xffff;
}

static void put_ip(uint8_t protocol, uint32_t to, uint32_t size)
{
    put_ethernet(host_mac, 0x0800);
    fill(out.body, 0, 20);
    out.body[0] = 0x45;
    put16(out.body + 2, 20 + size);
    out.body[8] = 64;
    out.body[9] = protocol;
    put32(out.body + 12, GUEST_NET_OWN);
    put32(out.body + 16, to);
    put16(out.body + 10, fold(add_words(0, out.body, 20)));
}

/* Without a checksum, as UDP allows. */
static void send_datagram(unsigned to_port, uint32_t size)
{
    put_ip(17, GUEST_NET_HOST, 8 + size);
    put16(out.body + 20, 5000);
    put16(out.body + 22, to_port);
    put16(out.body + 24, 8 + size);
    put16(out.body + 26, 0);
    send_frame(28 + size);
}

static bool is_echo(const struct packet *p, uint32_t got, uint32_t size, uint8_t value)
{
    if (got != HEADER_SIZE + 14 + 28 + size || get16(p->ethernet + 12) != 0x0800 ||
        p->body[9] != 17 || get16(p->body + 20) != GUEST_NET_PORT) {
        return false;
    }
    for (uint32_t i = 0; i < size; i++) {
        if (p->body[28 + i] != (uint8_t)(value + i)) {
            return false;
        }
    }
    return true;
}

static bool wait_echo(uint32_t size, uint8_t value)
{
    for (unsigned tries = 0; tries < 20; tries++) {
        uint32_t got = 0;
        int slot = next_frame(&got);
        bool is_ours;

        if (slot < 0) {
            return false;
        }
        is_ours = is_echo(&rx_buffers[slot], got, size, value);
        if (get16(rx_buffers[slot].ethernet + 12) == 0x0806) {
            answer_arp(&rx_buffers[slot]);
        }
        give_back(slot);
        if (is_ours) {
            return true;
        }
    }
    return false;
}

bool net_echo(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t size = 20 + i * (1400 / count);

        for (uint32_t at = 0; at < size; at++) {
            out.body[28 + at] = (uint8_t)(i + at);
        }
        send_datagram(GUEST_NET_PORT, size);
        if (!wait_echo(size, (uint8_t)i)) {
            return false;
        }
    }
    return true;
}

void net_flood(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        send_datagram(9, 1000 - 28 - 14);
    }
}

/* ---- TCP: one connection, in order, every segment acknowledged ---- */

#define TCP_FIN 1u
#define TCP_SYN 2u
#define TCP_PSH 8u
#define TCP_ACK 16u

struct tcp {
    uint32_t address;
    uint32_t seq;
    uint32_t ack;
};

static void send_segment(struct tcp *t, uint8_t flags, uint32_t size)
{
    uint8_t *tcp = out.body + 20;
    uint32_t sum = 0;

    put_ip(6, t->address, 20 + size);
    fill(tcp, 0, 20);
    put16(tcp, 5001);
    put16(tcp + 2, 80);
    put32(tcp + 4, t->seq);
    put32(tcp + 8, t->ack);
    tcp[12] = 5 << 4;
    tcp[13] = flags;
    put16(tcp + 14, 8192);
    sum = add_words(6 + 20 + size, out.body + 12, 8);
    put16(tcp + 16, fold(add_words(sum, tcp, 20 + size)));
    send_frame(40 + size);
    t->seq += size + ((flags & (TCP_SYN | TCP_FIN)) != 0);
}

/* The next segment from the service into `to`, ended with NUL; its flags, 0 when none comes. */
static unsigned next_segment(struct tcp *t, char *to, uint32_t room)
{
    for (unsigned tries = 0; tries < 50; tries++) {
        uint32_t got = 0;
        int slot = next_frame(&got);

        if (slot < 0) {
            return 0;
        }
        const struct packet *p = &rx_buffers[slot];
        const uint8_t *tcp = p->body + 20;
        uint32_t head = (uint32_t)(tcp[12] >> 4) * 4;
        uint32_t size = get16(p->body + 2) - 20 - head;
        unsigned flags = tcp[13];
        bool is_ours = get16(p->ethernet + 12) == 0x0800 && p->body[9] == 6 &&
                       get32(p->body + 12) == t->address && size < room &&
                       ((flags & TCP_SYN) != 0 || get32(tcp + 4) == t->ack);

        if (is_ours) {
            copy(to, tcp + head, size);
            to[size] = '\0';
            t->ack = get32(tcp + 4) + size + ((flags & (TCP_SYN | TCP_FIN)) != 0);
        }
        give_back(slot);
        if (is_ours) {
            return flags;
        }
    }
    return 0;
}

static uint32_t put_request(const char *path)
{
    static const char *const parts[] = { "GET ", NULL, " HTTP/1.0\r\n\r\n" };
    uint32_t size = 0;

    for (unsigned i = 0; i < 3; i++) {
        for (const char *c = i == 1 ? path : parts[i]; *c != '\0'; c++) {
            out.body[40 + size++] = (uint8_t)*c;
        }
    }
    return size;
}

bool net_get(uint32_t address, const char *path, void (*print)(const char *text))
{
    static char text[2048];
    struct tcp t = { .address = address, .seq = 1000 };
    unsigned flags = 0;

    if (!net_resolve(address)) {
        return false;
    }
    send_segment(&t, TCP_SYN, 0);
    if (next_segment(&t, text, sizeof(text)) != (TCP_SYN | TCP_ACK)) {
        return false;
    }
    send_segment(&t, TCP_ACK | TCP_PSH, put_request(path));
    while ((flags & TCP_FIN) == 0) {
        flags = next_segment(&t, text, sizeof(text));
        if ((flags & TCP_ACK) == 0) {
            return false;
        }
        print(text);
        send_segment(&t, (flags & TCP_FIN) != 0 ? TCP_FIN | TCP_ACK : TCP_ACK, 0);
    }
    return (next_segment(&t, text, sizeof(text)) & TCP_ACK) != 0;
}

/* ---- Breaking it ---- */

static void break_ring(unsigned how)
{
    switch (how) {
    case 0: /* a chain that ends in itself */
        tx.desc[0] = (struct desc){ .addr = (uint64_t)&out, .len = 64, .flags = 1, .next = 0 };
        break;
    case 1: /* outside of memory */
        tx.desc[0] = (struct desc){ .addr = UINT64_C(0xfffffffffffff000), .len = 0x2000 };
        break;
    case 2: /* a descriptor that is not there */
        tx.avail.ring[tx.avail.index % QUEUE_SIZE] = 0x7fff;
        break;
    default: /* more chains than the ring has places */
        tx.avail.index = (uint16_t)(tx.avail.index + 5000);
        break;
    }
    if (how < 2) {
        tx.avail.ring[tx.avail.index % QUEUE_SIZE] = 0;
    }
    __atomic_store_n(&tx.avail.index, (uint16_t)(tx.avail.index + 1), __ATOMIC_SEQ_CST);
    *guest_reg(tx.base, 0x50) = tx.number;
}

bool net_break(uint64_t device)
{
    for (unsigned how = 0; how < 4; how++) {
        const uint64_t end = read_counter() + PATIENCE;
        bool is_stopped = false;

        break_ring(how);
        while (!is_stopped && read_counter() < end) {
            is_stopped = (*guest_reg(device, 0x70) & 0x40) != 0; /* DEVICE_NEEDS_RESET */
        }
        if (!is_stopped || !net_start(device) || !net_resolve(GUEST_NET_HOST) || !net_echo(2)) {
            return false;
        }
    }
    return true;
}

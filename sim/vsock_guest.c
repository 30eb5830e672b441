/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock_guest.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/unix_socket.h>

#include "abi/snapshot.h"
#include "file.h"

#define QUEUE_AREA  0x4000u /* of each queue: descriptors, avail ring, used ring */
#define AVAIL_AT    0x1000u
#define USED_AT     0x2000u
#define BUFFER_SIZE 0x1000u
#define RX_AT       0x20000u
#define TX_AT       (RX_AT + VG_QUEUE_SIZE * BUFFER_SIZE)
#define EVENT_AT    0x18000u
#define EVENT_COUNT 4u
#define HEADER      ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define HOST_BUFFER (256u << 10) /* what the device's own contract says */
#define IDLE_NS     (5u * SIM_NS_PER_MS)
#define IRQ         5u

enum {
    RX,
    TX,
    EVENT,
};

uint8_t vg_byte(unsigned number, bool is_to_host, uint32_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 17 + number * 101 + (is_to_host ? 57 : 0));
}

/* ---- Registers and rings ---- */

static void reg_write(struct vguest *g, uint64_t offset, uint32_t value)
{
    g->window.write(g->window.device, offset, 4, value);
}

static uint32_t reg_read(struct vguest *g, uint64_t offset)
{
    return (uint32_t)g->window.read(g->window.device, offset, 4);
}

void vg_kick(struct vguest *g, unsigned queue)
{
    reg_write(g, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static struct vring_desc *descs(struct vguest *g, unsigned queue)
{
    return (struct vring_desc *)(void *)(g->ram + g->queues[queue].at);
}

static struct vring_avail *avail(struct vguest *g, unsigned queue)
{
    return (struct vring_avail *)(void *)(g->ram + g->queues[queue].at + AVAIL_AT);
}

static struct vring_used *used(struct vguest *g, unsigned queue)
{
    return (struct vring_used *)(void *)(g->ram + g->queues[queue].at + USED_AT);
}

static unsigned size_of(unsigned queue)
{
    return queue == EVENT ? EVENT_COUNT : VG_QUEUE_SIZE;
}

/* Descriptor n of a queue always names buffer n. */
static uint64_t buffer_at(unsigned queue, unsigned n)
{
    static const uint64_t starts[] = { RX_AT, TX_AT, EVENT_AT };

    return starts[queue] + (uint64_t)n * (queue == EVENT ? 16 : BUFFER_SIZE);
}

static void post(struct vguest *g, unsigned queue, unsigned n, uint32_t size)
{
    struct vg_queue *q = &g->queues[queue];

    descs(g, queue)[n] = (struct vring_desc){ .addr = buffer_at(queue, n),
                                              .len = size,
                                              .flags = queue == TX ? 0 : VRING_DESC_F_WRITE };
    avail(g, queue)->ring[q->avail_next % size_of(queue)] = (uint16_t)n;
    q->avail_next++;
    __atomic_store_n(&avail(g, queue)->idx, q->avail_next, __ATOMIC_RELEASE);
}

/* The next completion: its descriptor and length. */
static bool take_used(struct vguest *g, unsigned queue, uint32_t *n, uint32_t *size)
{
    struct vg_queue *q = &g->queues[queue];

    if (q->used_seen == __atomic_load_n(&used(g, queue)->idx, __ATOMIC_ACQUIRE)) {
        return false;
    }
    *n = used(g, queue)->ring[q->used_seen % size_of(queue)].id;
    *size = used(g, queue)->ring[q->used_seen % size_of(queue)].len;
    q->used_seen++;
    if (g->is_hostile && *n >= size_of(queue)) {
        return false; /* it wrote that there itself */
    }
    sim_check(*n < size_of(queue), "used descriptor %u of queue %u", *n, queue);
    return true;
}

static void set_up_queue(struct vguest *g, unsigned queue)
{
    uint64_t at = 0x4000u + queue * QUEUE_AREA;

    memset(g->ram + at, 0, QUEUE_AREA);
    g->queues[queue] = (struct vg_queue){ .at = at };
    reg_write(g, VIRTIO_MMIO_QUEUE_SEL, queue);
    reg_write(g, VIRTIO_MMIO_QUEUE_NUM, size_of(queue));
    reg_write(g, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)at);
    reg_write(g, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
    reg_write(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)at + AVAIL_AT);
    reg_write(g, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
    reg_write(g, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)at + USED_AT);
    reg_write(g, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
    reg_write(g, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void set_up_driver(struct vguest *g)
{
    const uint32_t steps = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

    reg_write(g, VIRTIO_MMIO_STATUS, 0);
    memset(g->is_tx_busy, 0, sizeof(g->is_tx_busy));
    memset(g->streams, 0, sizeof(g->streams));
    reg_write(g, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    reg_write(g, VIRTIO_MMIO_STATUS, steps);
    reg_write(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    reg_write(g, VIRTIO_MMIO_DRIVER_FEATURES, 1); /* VERSION_1 */
    reg_write(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg_write(g, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    reg_write(g, VIRTIO_MMIO_STATUS, steps | VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned q = 0; q < 3; q++) {
        set_up_queue(g, q);
    }
    reg_write(g, VIRTIO_MMIO_STATUS,
              steps | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
    sim_check((reg_read(g, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK) != 0,
              "the device does not take its driver");
    for (unsigned i = 0; i < VG_QUEUE_SIZE; i++) {
        post(g, RX, i, BUFFER_SIZE);
    }
    for (unsigned i = 0; i < EVENT_COUNT; i++) {
        post(g, EVENT, i, sizeof(struct virtio_vsock_event));
    }
    vg_kick(g, RX);
    vg_kick(g, EVENT);
}

/* ---- Sending ---- */

static int free_slot(struct vguest *g)
{
    for (unsigned i = 0; i < VG_QUEUE_SIZE; i++) {
        if (!g->is_tx_busy[i]) {
            return (int)i;
        }
    }
    return -1;
}

static void take_sent(struct vguest *g)
{
    uint32_t n = 0;
    uint32_t size = 0;

    while (take_used(g, TX, &n, &size)) {
        sim_check(g->is_tx_busy[n] || g->is_hostile, "a packet is completed twice");
        g->is_tx_busy[n] = false;
    }
}

void vg_send_raw(struct vguest *g, const void *bytes, uint32_t size)
{
    int slot = free_slot(g);

    for (; slot < 0 && !g->is_stopping; slot = free_slot(g)) {
        (void)sim_block(g, sim_now_ns() + IDLE_NS);
        take_sent(g);
        if (g->is_hostile && slot < 0) {
            return; /* a device that has stopped takes nothing more */
        }
    }
    if (slot >= 0) {
        memcpy(g->ram + buffer_at(TX, (unsigned)slot), bytes, size);
        g->is_tx_busy[slot] = true;
        post(g, TX, (unsigned)slot, size);
        vg_kick(g, TX);
    }
}

static void send_packet(struct vguest *g, struct vg_stream *s, unsigned op, uint32_t flags,
                        const uint8_t *data, uint32_t size)
{
    uint8_t packet[BUFFER_SIZE];
    const struct virtio_vsock_hdr h = { .src_cid = VG_CID,
                                        .dst_cid = VIRTIO_VSOCK_CID_HOST,
                                        .src_port = s->guest_port,
                                        .dst_port = s->host_port,
                                        .len = size,
                                        .type = VIRTIO_VSOCK_TYPE_STREAM,
                                        .op = (uint16_t)op,
                                        .flags = flags,
                                        .buf_alloc = s->buffer,
                                        .fwd_cnt = s->forwarded };

    assert(size <= sizeof(packet) - HEADER);
    memcpy(packet, &h, HEADER);
    if (size > 0) {
        memcpy(packet + HEADER, data, size);
    }
    s->forwarded_told = s->forwarded;
    vg_send_raw(g, packet, HEADER + size);
}

/* ---- Streams ---- */

static struct vg_stream *find(struct vguest *g, uint32_t guest_port, uint32_t host_port)
{
    for (unsigned i = 0; i < VG_STREAMS_MAX; i++) {
        struct vg_stream *s = &g->streams[i];

        if (s->is_used && s->guest_port == guest_port && s->host_port == host_port) {
            return s;
        }
    }
    return NULL;
}

static struct vg_stream *new_stream(struct vguest *g, unsigned number)
{
    for (unsigned i = 0; i < VG_STREAMS_MAX; i++) {
        if (!g->streams[i].is_used) {
            g->streams[i] = (struct vg_stream){
                .is_used = true,
                .number = number,
                .buffer = 1 + sim_random_below(sim_scenario_random(), 20000),
            };
            return &g->streams[i];
        }
    }
    return NULL;
}

void vg_connect(struct vguest *g, unsigned number)
{
    struct vg_stream *s = new_stream(g, number);

    sim_check(s != NULL, "too many streams in the guest");
    s->guest_port = 20000 + number;
    s->host_port = VG_PORT_OF_PEER + number;
    send_packet(g, s, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
}

static void drop(struct vguest *g, struct vg_stream *s)
{
    const struct vg_plan *p = &g->plans[s->number];

    if (s->is_established && s->sent == p->to_host && s->received == p->to_guest) {
        g->finished++;
    }
    s->is_used = false;
}

/* Nobody here knows the connection. */
static void refuse(struct vguest *g, const struct virtio_vsock_hdr *h)
{
    struct vg_stream none = { .guest_port = h->dst_port, .host_port = h->src_port };

    if (h->op != VIRTIO_VSOCK_OP_RST) {
        send_packet(g, &none, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
    }
}

static void on_request(struct vguest *g, const struct virtio_vsock_hdr *h)
{
    unsigned number = h->dst_port - VG_PORT_OF_HOST;
    struct vg_stream *s =
        h->dst_port >= VG_PORT_OF_HOST && number < VG_STREAMS_MAX ? new_stream(g, number) : NULL;

    if (s == NULL) {
        refuse(g, h);
        return;
    }
    s->guest_port = h->dst_port;
    s->host_port = h->src_port;
    s->peer_buffer = h->buf_alloc;
    s->peer_forwarded = h->fwd_cnt;
    s->is_established = true;
    send_packet(g, s, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL, 0);
}

static void on_data(struct vguest *g, struct vg_stream *s, const uint8_t *data, uint32_t size)
{
    sim_check(s->is_established, "data before the connection stands");
    sim_check(size <= s->buffer - (s->received - s->forwarded_told),
              "the device sends %u bytes where the guest has room for %u", size,
              s->buffer - (s->received - s->forwarded_told));
    sim_check((s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0, "data after the host's end");
    sim_check(size <= g->plans[s->number].to_guest - s->received, "more than the host sent");
    for (uint32_t i = 0; i < size; i++) {
        sim_check(data[i] == vg_byte(s->number, false, s->received + i),
                  "stream %u to the guest is another at byte %u", s->number, s->received + i);
    }
    s->received += size;
}

static void on_packet(struct vguest *g, const struct virtio_vsock_hdr *h, const uint8_t *data)
{
    struct vg_stream *s = find(g, h->dst_port, h->src_port);

    sim_check(h->src_cid == VIRTIO_VSOCK_CID_HOST && h->dst_cid == VG_CID, "addresses");
    if (s == NULL) {
        if (h->op == VIRTIO_VSOCK_OP_REQUEST) {
            on_request(g, h);
        } else {
            refuse(g, h);
        }
        return;
    }
    s->peer_buffer = h->buf_alloc;
    s->peer_forwarded = h->fwd_cnt;
    sim_check(h->op == VIRTIO_VSOCK_OP_RST || h->buf_alloc == HOST_BUFFER, "buffer of %u",
              h->buf_alloc);
    sim_check(s->sent - h->fwd_cnt <= HOST_BUFFER, "the device has used more than was sent");
    switch (h->op) {
    case VIRTIO_VSOCK_OP_RESPONSE:
        s->is_established = true;
        break;
    case VIRTIO_VSOCK_OP_RST:
        drop(g, s);
        break;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        s->peer_shut |= h->flags;
        break;
    case VIRTIO_VSOCK_OP_RW:
        on_data(g, s, data, h->len);
        break;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        send_packet(g, s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
        break;
    default:
        sim_fail("operation %u", h->op);
    }
}

static bool take_packets(struct vguest *g)
{
    uint32_t n = 0;
    uint32_t size = 0;
    bool has_any = false;

    while (take_used(g, RX, &n, &size)) {
        const uint8_t *at = g->ram + buffer_at(RX, n);
        struct virtio_vsock_hdr h;

        if (!g->is_hostile) {
            sim_check(size >= HEADER && size <= BUFFER_SIZE, "a packet of %u bytes", size);
            memcpy(&h, at, HEADER);
            sim_check(h.len == size - HEADER, "length %u in a packet of %u", h.len, size);
            on_packet(g, &h, at + HEADER);
        }
        post(g, RX, n, BUFFER_SIZE);
        vg_kick(g, RX);
        has_any = true;
    }
    return has_any;
}

/* A transport reset: no connection is left (5.10.6.7). */
static void take_events(struct vguest *g)
{
    uint32_t n = 0;
    uint32_t size = 0;

    while (take_used(g, EVENT, &n, &size)) {
        sim_check(size == sizeof(struct virtio_vsock_event) || g->is_hostile,
                  "an event of %u bytes", size);
        memset(g->streams, 0, sizeof(g->streams));
        g->resets_seen++;
        post(g, EVENT, n, sizeof(struct virtio_vsock_event));
        vg_kick(g, EVENT);
    }
}

static void consume(struct vguest *g, struct vg_stream *s)
{
    uint32_t waiting = s->received - s->forwarded;

    if (waiting > 0) {
        s->forwarded += 1 + sim_random_below(sim_scenario_random(), waiting);
    }
    if (s->forwarded - s->forwarded_told > s->buffer / 2 ||
        (s->forwarded != s->forwarded_told && s->received - s->forwarded_told == s->buffer)) {
        send_packet(g, s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
    }
}

static bool give(struct vguest *g, struct vg_stream *s)
{
    uint8_t data[BUFFER_SIZE - HEADER];
    uint32_t left = g->plans[s->number].to_host - s->sent;
    uint32_t credit = s->peer_buffer - (s->sent - s->peer_forwarded);
    uint32_t most = min_of(min_of(left, credit), (uint32_t)sizeof(data));

    if (most == 0 || (s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0) {
        return false;
    }
    most = 1 + sim_random_below(sim_scenario_random(), most);
    for (uint32_t i = 0; i < most; i++) {
        data[i] = vg_byte(s->number, true, s->sent + i);
    }
    s->sent += most;
    send_packet(g, s, VIRTIO_VSOCK_OP_RW, 0, data, most);
    return true;
}

/* One round of a stream's program. True: there is more to do at once. */
static bool pump(struct vguest *g, struct vg_stream *s)
{
    bool has_more = false;

    if (!s->is_established || s->has_parted) {
        return false;
    }
    consume(g, s);
    has_more = give(g, s);
    if (!s->has_shut && s->sent == g->plans[s->number].to_host) {
        s->has_shut = true;
        send_packet(g, s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, NULL, 0);
    }
    /* The host is done, and what it sent was read; or it takes nothing more. */
    if ((s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0 && s->received == s->forwarded &&
        (s->has_shut || (s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0)) {
        s->has_parted = true;
        send_packet(g, s, VIRTIO_VSOCK_OP_SHUTDOWN,
                    VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV, NULL, 0);
    }
    return has_more;
}

static void stand_still(struct vguest *g)
{
    while (g->wants_still && !g->is_stopping) {
        g->is_still = true;
        sim_wake_all(&g->is_still);
        (void)sim_block(g, SIM_FOREVER);
    }
    g->is_still = false;
}

static void *guest_main(void *arg)
{
    struct vguest *g = arg;

    while (!g->is_stopping) {
        bool is_busy = false;

        stand_still(g);
        reg_write(g, VIRTIO_MMIO_INTERRUPT_ACK, reg_read(g, VIRTIO_MMIO_INTERRUPT_STATUS));
        take_sent(g);
        is_busy = take_packets(g);
        take_events(g);
        for (unsigned i = 0; i < VG_STREAMS_MAX && !g->is_hostile; i++) {
            is_busy = (g->streams[i].is_used && pump(g, &g->streams[i])) || is_busy;
        }
        if (!is_busy) {
            (void)sim_block(g, sim_now_ns() + IDLE_NS);
        }
    }
    return NULL;
}

/* ---- The machine around it ---- */

static void irq_raise(void *ctx, unsigned irq)
{
    sim_check(irq == IRQ, "interrupt %u", irq);
    sim_wake_all(ctx);
}

static int watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    return loop_watch(&((struct vguest *)ctx)->loop, fd, events, fn, device);
}

static void log_message(void *ctx, enum device_log_level level, const char *device,
                        const char *text)
{
    struct vguest *g = ctx;

    (void)level;
    sim_trace("%s: %s", device, text);
    g->failures++;
}

static void machine_end(void *ctx, unsigned kind, unsigned status)
{
    (void)ctx;
    sim_fail("the device ends the machine: %u %u", kind, status);
}

static void *loop_main(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void make_device(struct vguest *g)
{
    const struct virtio_vsock_setup setup = { .host = &g->host,
                                              .broker_fd = -1,
                                              .irq = IRQ,
                                              .guest_cid = VG_CID,
                                              .listen_fd = g->listen_fd,
                                              .path = g->path };

    sim_check(virtio_vsock_create(&setup, &g->vsock) == 0, "the device cannot be made");
    g->window = virtio_mmio_window(virtio_vsock_device(g->vsock), 0);
}

void vg_start(struct vguest *g, const char *path)
{
    memset(g, 0, sizeof(*g));
    g->path = path;
    g->ram = sim_calloc(1, VG_RAM_SIZE);
    g->gmem.regions[0] = (struct gmem_region){ .size = VG_RAM_SIZE, .hva = g->ram };
    g->gmem.region_count = 1;
    g->host = (struct device_host){ .ctx = g,
                                    .gmem = &g->gmem,
                                    .irq_raise = irq_raise,
                                    .watch = watch,
                                    .log = log_message,
                                    .machine_end = machine_end };
    g->listen_fd = unix_listen(path, SOCK_NONBLOCK);
    sim_check(g->listen_fd >= 0 && loop_init(&g->loop) == 0, "no descriptors");
    make_device(g);
    g->loop_task = sim_task_create("loop", loop_main, &g->loop);
    set_up_driver(g);
    g->guest_task = sim_task_create("guest", guest_main, g);
}

void vg_stop(struct vguest *g)
{
    g->is_stopping = true;
    sim_wake_all(g);
    (void)sim_task_join(g->guest_task, NULL);
    loop_stop(&g->loop);
    (void)sim_task_join(g->loop_task, NULL);
    virtio_vsock_destroy(g->vsock);
    loop_deinit(&g->loop);
    (void)close(g->listen_fd);
    (void)unlink(g->path);
    sim_free(g->ram);
}

void vg_pause(struct vguest *g)
{
    g->wants_still = true;
    sim_wake_all(g);
    while (!g->is_still) {
        (void)sim_block(&g->is_still, SIM_FOREVER);
    }
    sim_check(loop_pause(&g->loop, SIM_NS_PER_SEC) == 0, "the loop does not pause");
}

void vg_resume(struct vguest *g)
{
    loop_resume(&g->loop);
    g->wants_still = false;
    sim_wake_all(g);
}

void vg_replace_device(struct vguest *g)
{
    struct virtio_device *dev = virtio_vsock_device(g->vsock);
    size_t size = virtio_transport_size(dev);
    struct snapshot_virtio *state = sim_calloc(1, size);
    const char *why = "";
    int r = 0;

    virtio_vsock_reset(g->vsock);
    virtio_transport_save(dev, state);
    virtio_vsock_destroy(g->vsock);
    make_device(g);
    dev = virtio_vsock_device(g->vsock);
    r = virtio_transport_load(dev, state, size, &why);
    sim_check(r == 0, "the transport is not loaded: %s", why);
    virtio_device_wake(dev);
    sim_free(state);
}

void vg_reset_driver(struct vguest *g)
{
    set_up_driver(g);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test guest's echo: what arrives on standard input goes to standard output until its end, by a
 * polled driver of the multiport virtio console (VIRTIO 1.1, 5.3). Buffers that were received are
 * sent on as they are.
 */
#include "guest_console.h"

#include "abi/boot.h"

/* QEMU drops a control message that finds no buffer, and sends a burst of them for each port. */
#define QUEUE_SIZE   16u
#define BUFFER_SIZE  1024u
#define QUEUE_CTL_RX 2u
#define QUEUE_CTL_TX 3u

#define EVENT_DEVICE_READY 0
#define EVENT_DEVICE_ADD   1
#define EVENT_PORT_READY   3
#define EVENT_PORT_OPEN    6

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

struct queue {
    struct desc desc[QUEUE_SIZE] __attribute__((aligned(16)));

    struct {
        uint16_t flags;
        uint16_t index;
        uint16_t ring[QUEUE_SIZE];
    } avail __attribute__((aligned(4)));

    struct {
        uint16_t flags;
        uint16_t index;

        struct {
            uint32_t id;
            uint32_t len;
        } ring[QUEUE_SIZE];
    } used __attribute__((aligned(4)));

    unsigned number;
    uint16_t seen;
};

struct control {
    uint32_t id;
    uint16_t event;
    uint16_t value;
};

static struct queue ctl_rx;
static struct queue ctl_tx;
static struct queue in;
static struct queue out;

static struct {
    struct control head;
    uint8_t name[56]; /* of a port */
} ctl_buffers[QUEUE_SIZE];
static struct control ctl_message;
static uint8_t in_buffers[QUEUE_SIZE][BUFFER_SIZE];
static uint64_t base;

static volatile uint32_t *reg(uint64_t offset)
{
    return (volatile uint32_t *)(base + offset);
}

static void write_address(uint64_t offset, const void *p)
{
    *reg(offset) = (uint32_t)(uint64_t)p;
    *reg(offset + 4) = (uint32_t)((uint64_t)p >> 32);
}

static void queue_init(struct queue *q, unsigned number)
{
    q->number = number;
    *reg(0x30) = number;
    *reg(0x38) = QUEUE_SIZE;
    write_address(0x80, q->desc);
    write_address(0x90, &q->avail);
    write_address(0xa0, &q->used);
    *reg(0x44) = 1;
}

static void queue_put(struct queue *q, unsigned slot, const void *buffer, uint32_t size,
                      bool is_written)
{
    uint16_t index = q->avail.index;

    q->desc[slot] =
        (struct desc){ .addr = (uint64_t)buffer, .len = size, .flags = is_written ? 2 : 0 };
    q->avail.ring[index % QUEUE_SIZE] = (uint16_t)slot;
    __atomic_store_n(&q->avail.index, (uint16_t)(index + 1), __ATOMIC_SEQ_CST);
    *reg(0x50) = q->number;
}

static bool queue_has_used(const struct queue *q)
{
    return __atomic_load_n(&q->used.index, __ATOMIC_ACQUIRE) != q->seen;
}

static unsigned queue_take(struct queue *q, uint32_t *size)
{
    unsigned at = q->seen++ % QUEUE_SIZE;

    *size = q->used.ring[at].len;
    return q->used.ring[at].id % QUEUE_SIZE;
}

static void queue_send(struct queue *q, const void *buffer, uint32_t size)
{
    uint32_t done = 0;

    queue_put(q, 0, buffer, size, false);
    while (!queue_has_used(q)) {
        __asm__ volatile("pause");
    }
    (void)queue_take(q, &done);
}

static void say(uint32_t id, uint16_t event, uint16_t value)
{
    ctl_message = (struct control){ .id = id, .event = event, .value = value };
    queue_send(&ctl_tx, &ctl_message, sizeof(ctl_message));
}

static void start(uint32_t in_port)
{
    *reg(0x70) = 0;
    *reg(0x70) = 1;
    *reg(0x70) = 3;
    *reg(0x24) = 1;
    *reg(0x20) = 1; /* VERSION_1 */
    *reg(0x24) = 0;
    *reg(0x20) = 2; /* MULTIPORT */
    *reg(0x70) = 11;
    queue_init(&ctl_rx, QUEUE_CTL_RX);
    queue_init(&ctl_tx, QUEUE_CTL_TX);
    queue_init(&in, 2 + 2 * in_port);
    queue_init(&out, 3 + 2 * BOOT_CONSOLE_PORT_STDIO);
    *reg(0x70) = 15;
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        queue_put(&ctl_rx, i, &ctl_buffers[i], sizeof(ctl_buffers[i]), true);
        queue_put(&in, i, in_buffers[i], BUFFER_SIZE, true);
    }
    say(0, EVENT_DEVICE_READY, 1);
}

/* Answer one control message. True when it said that the input has ended. */
static bool take_control(uint32_t in_port)
{
    uint32_t size = 0;
    unsigned slot = queue_take(&ctl_rx, &size);
    struct control c = ctl_buffers[slot].head;

    queue_put(&ctl_rx, slot, &ctl_buffers[slot], sizeof(ctl_buffers[slot]), true);
    if (c.event == EVENT_DEVICE_ADD) {
        say(c.id, EVENT_PORT_READY, 1);
        say(c.id, EVENT_PORT_OPEN, 1);
        /* QEMU's event loop looks at a port again only when its queue is kicked after it was
         * opened. */
        *reg(0x50) = in.number;
    }
    return c.event == EVENT_PORT_OPEN && c.id == in_port && c.value == 0;
}

void console_echo(uint64_t device, uint32_t in_port)
{
    bool is_ended = false;

    base = device;
    start(in_port);
    while (!is_ended || queue_has_used(&in)) {
        if (queue_has_used(&in)) {
            uint32_t size = 0;
            unsigned slot = queue_take(&in, &size);

            queue_send(&out, in_buffers[slot], size);
            queue_put(&in, slot, in_buffers[slot], BUFFER_SIZE, true);
        } else if (queue_has_used(&ctl_rx)) {
            is_ended = take_control(in_port) || is_ended;
        }
    }
}

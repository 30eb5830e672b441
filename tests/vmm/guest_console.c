/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test guest's echo: what arrives on standard input goes to standard output until its end, by a
 * polled driver of the multiport virtio console (VIRTIO 1.1, 5.3). Buffers that were received are
 * sent on as they are.
 */
#include "guest_console.h"
#include "guest_queue.h"

#include "abi/boot.h"

#define BUFFER_SIZE  1024u
#define QUEUE_CTL_RX 2u
#define QUEUE_CTL_TX 3u

#define EVENT_DEVICE_READY 0
#define EVENT_DEVICE_ADD   1
#define EVENT_PORT_READY   3
#define EVENT_PORT_OPEN    6

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
    return guest_reg(base, offset);
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
    queue_init(&ctl_rx, base, QUEUE_CTL_RX);
    queue_init(&ctl_tx, base, QUEUE_CTL_TX);
    queue_init(&in, base, 2 + 2 * in_port);
    queue_init(&out, base, 3 + 2 * BOOT_CONSOLE_PORT_STDIO);
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console's control queues (VIRTIO 1.1, 5.3.6.2). What the device owes the driver is a set of
 * bits per port and not a list of messages: each says the state as it is when sent, so nothing
 * piles up.
 */

#include "virtio_console_internal.h"

#include <string.h>

#include <base/assert.h>

static const char *const port_names[VIRTIO_CONSOLE_PORTS] = { "tty", "stdio", "stderr" };

/*
 * Control queue, device to driver.
 */

struct control_message {
    struct virtio_console_control header;
    uint8_t payload[8];
    size_t size;
};

static_assert(sizeof(struct virtio_console_control) == 8, "control message layout (5.3.6.2)");

/* Build the next message that the port owes, and forget that it does. */
static void next_message(struct console_port *port, struct control_message *m)
{
    const unsigned bit = port->pending & (0u - port->pending);
    const struct virtio_console_config *config = &port->con->config;

    assert(bit != 0);
    port->pending &= ~bit;
    *m = (struct control_message){ .header = { .id = port->id }, .size = sizeof(m->header) };
    switch ((enum console_pending)bit) {
    case PENDING_ADD:
        m->header.event = VIRTIO_CONSOLE_PORT_ADD;
        m->header.value = 1;
        break;
    case PENDING_CONSOLE:
        m->header.event = VIRTIO_CONSOLE_CONSOLE_PORT;
        m->header.value = 1;
        break;
    case PENDING_NAME:
        m->header.event = VIRTIO_CONSOLE_PORT_NAME;
        m->header.value = 1;
        assert(strlen(port_names[port->id]) <= sizeof(m->payload));
        memcpy(m->payload, port_names[port->id], strlen(port_names[port->id]));
        m->size += strlen(port_names[port->id]);
        break;
    case PENDING_RESIZE:
        m->header.event = VIRTIO_CONSOLE_RESIZE;
        memcpy(m->payload, &config->cols, 2); /* columns first (5.3.6.2) */
        memcpy(m->payload + 2, &config->rows, 2);
        m->size += 4;
        break;
    case PENDING_OPEN:
        m->header.event = VIRTIO_CONSOLE_PORT_OPEN;
        m->header.value = !port->is_input_ended && !port->is_output_lost;
        break;
    case PENDING_REMOVE:
        m->header.event = VIRTIO_CONSOLE_PORT_REMOVE;
        m->header.value = 1;
        break;
    }
}

static struct console_port *port_with_pending(struct virtio_console *con)
{
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        if (con->ports[i].pending != 0) {
            return &con->ports[i];
        }
    }
    return NULL;
}

/* Send what is owed while the driver has buffers for it. */
void console_send_control(struct virtio_console *con)
{
    struct virtqueue *vq = &con->queues[CONSOLE_QUEUE_CONTROL_RX];
    struct console_port *port = port_with_pending(con);
    struct vq_chain chain;

    if (port == NULL || !virtio_device_is_live(&con->dev)) {
        return;
    }
    vq_kicks_off(vq);
    for (; port != NULL; port = port_with_pending(con)) {
        struct control_message m;

        if (vq_take(vq, &chain) != 1 && (vq_kicks_on(vq) != 1 || vq_take(vq, &chain) != 1)) {
            break; /* the kick for a new buffer brings us back */
        }
        next_message(port, &m);
        if (vq_chain_write(vq, &chain, 0, &m.header, sizeof(m.header)) < 0 ||
            vq_chain_write(vq, &chain, sizeof(m.header), m.payload, m.size - sizeof(m.header)) <
                0) {
            console_message(con, DEVICE_LOG_WARN, "control buffer too small; message dropped");
            m.size = 0;
        }
        vq_complete(vq, chain.head, (uint32_t)m.size);
    }
    virtio_queue_publish(&con->dev, CONSOLE_QUEUE_CONTROL_RX);
}

void console_owe(struct console_port *port, unsigned what)
{
    if (port->is_ready) {
        port->pending |= what;
        console_send_control(port->con);
    }
}

/*
 * Control queue, driver to device.
 */

static void on_control(struct virtio_console *con, const struct virtio_console_control *m)
{
    struct console_port *port = m->id < VIRTIO_CONSOLE_PORTS ? &con->ports[m->id] : NULL;

    if (m->event == VIRTIO_CONSOLE_DEVICE_READY) {
        for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS && m->value == 1; i++) {
            if (con->ports[i].is_present && !con->ports[i].is_output_lost) {
                con->ports[i].pending |= PENDING_ADD;
            }
        }
        return;
    }
    if (port == NULL || !port->is_present) {
        return; /* no such port: nothing to answer with (5.3.6.2) */
    }
    if (m->event == VIRTIO_CONSOLE_PORT_READY && m->value == 1) {
        port->is_ready = true;
        port->pending |= PENDING_NAME | PENDING_OPEN | (port->is_output_lost ? PENDING_REMOVE : 0);
        if (port->id == BOOT_CONSOLE_PORT_TTY) {
            port->pending |= PENDING_CONSOLE;
            if (virtio_device_has_feature(&con->dev, VIRTIO_CONSOLE_F_SIZE)) {
                port->pending |= PENDING_RESIZE;
            }
        }
    } else if (m->event == VIRTIO_CONSOLE_PORT_OPEN) {
        console_port_opened(port, m->value != 0);
    }
}

void console_run_control(struct virtio_console *con)
{
    struct virtqueue *vq = &con->queues[CONSOLE_QUEUE_CONTROL_TX];
    unsigned chains_left = vq->size;
    struct vq_chain chain;

    vq_kicks_off(vq);
    while (vq_take(vq, &chain) == 1 || (vq_kicks_on(vq) == 1 && vq_take(vq, &chain) == 1)) {
        struct virtio_console_control m;

        if (chains_left-- == 0) {
            vq_untake(vq);
            virtio_queue_defer(&con->dev, CONSOLE_QUEUE_CONTROL_TX);
            break;
        }
        if (vq_chain_read(vq, &chain, 0, &m, sizeof(m)) == 0) {
            on_control(con, &m);
        }
        vq_complete(vq, chain.head, 0);
    }
    virtio_queue_publish(&con->dev, CONSOLE_QUEUE_CONTROL_TX);
    console_send_control(con);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console in a snapshot. The driver's side of a port is kept; the host's side is what this
 * monitor was given: a port whose input had ended gets the new one's, and hears of it.
 */
#include "virtio_console_internal.h"

#include <errno.h>

#define PENDING_ALL                                                                                \
    (PENDING_ADD | PENDING_CONSOLE | PENDING_NAME | PENDING_RESIZE | PENDING_OPEN | PENDING_REMOVE)

size_t console_save(struct virtio_device *dev, void *state)
{
    const struct virtio_console *con = container_of(dev, struct virtio_console, dev);
    struct snapshot_console *out = state;

    out->port_count = VIRTIO_CONSOLE_PORTS;
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        const struct console_port *port = &con->ports[i];

        out->ports[i] = (struct snapshot_console_port){
            .is_ready = port->is_ready,
            .is_guest_open = port->is_guest_open,
            .is_input_ended = port->is_input_ended,
            .is_output_lost = port->is_output_lost,
            .pending = port->pending,
            .written = port->has_chain ? port->written : port->written_before,
        };
    }
    return CONSOLE_STATE_SIZE;
}

int console_load(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                 const char **why)
{
    struct virtio_console *con = container_of(dev, struct virtio_console, dev);
    const struct snapshot_console *in = state;

    if (version != 1 || size != CONSOLE_STATE_SIZE || in->port_count != VIRTIO_CONSOLE_PORTS) {
        *why = "its state is of another version";
        return -EINVAL;
    }
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        const struct snapshot_console_port *from = &in->ports[i];
        struct console_port *port = &con->ports[i];

        if (from->is_ready != 0 && !port->is_present) {
            *why = "the standard streams are of another kind";
            return -EINVAL;
        }
        port->is_ready = from->is_ready != 0;
        port->is_guest_open = from->is_guest_open != 0;
        port->is_output_lost = from->is_output_lost != 0;
        port->pending = from->pending & PENDING_ALL;
        port->written_before = from->written;
        if (port->is_ready && from->is_input_ended != 0 && !port->is_output_lost) {
            port->pending |= PENDING_OPEN;
        }
    }
    return 0;
}

void console_loaded(struct virtio_device *dev)
{
    struct virtio_console *con = container_of(dev, struct virtio_console, dev);
    struct console_port *tty = &con->ports[BOOT_CONSOLE_PORT_TTY];

    if (virtio_device_has_feature(dev, VIRTIO_CONSOLE_F_SIZE) && tty->is_ready &&
        console_is_multiport(con)) {
        tty->pending |= PENDING_RESIZE; /* sent with the control queue's kick */
    }
}

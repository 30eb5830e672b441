/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the console's two files share: virtio_console.c (streams) and virtio_console_control.c
 * (messages).
 */
#pragma once

#include <linux/virtio_console.h>

#include "abi/snapshot.h"
#include "virtio_console.h"

#define CONSOLE_QUEUE_CONTROL_RX 2u
#define CONSOLE_QUEUE_CONTROL_TX 3u
#define CONSOLE_QUEUE_COUNT      (2u * VIRTIO_CONSOLE_PORTS + 2u)

/*
 * Control messages that wait for a buffer: bits, since each one says the state as it is when sent.
 */
enum console_pending {
    PENDING_ADD = 1u << 0,
    PENDING_CONSOLE = 1u << 1,
    PENDING_NAME = 1u << 2,
    PENDING_RESIZE = 1u << 3,
    PENDING_OPEN = 1u << 4,
    PENDING_REMOVE = 1u << 5,
};

#define CONSOLE_STATE_SIZE                                                                         \
    (sizeof(struct snapshot_console) + VIRTIO_CONSOLE_PORTS * sizeof(struct snapshot_console_port))

struct console_port {
    struct virtio_console *con;
    unsigned id;
    bool is_present;
    int in_fd;
    int out_fd;
    bool in_is_polite; /* a blocking descriptor: poll first */
    bool out_is_polite;

    bool is_input_ended; /* end of file: says PORT_OPEN 0 */
    bool is_output_lost;

    bool is_ready;         /* the driver sent PORT_READY */
    bool is_guest_open;    /* the driver's last PORT_OPEN */
    bool is_input_waiting; /* for EPOLLIN, with a buffer there */
    bool is_output_waiting;
    uint32_t in_watched; /* events that the host watches for us */
    uint32_t out_watched;
    unsigned pending;

    bool has_chain; /* a chain of output, `written` bytes of it done */
    size_t written;
    size_t written_before; /* of the next chain, taken already before a snapshot */
    struct vq_chain chain;
};

struct virtio_console {
    struct virtio_device dev;
    struct virtqueue queues[CONSOLE_QUEUE_COUNT];
    struct virtio_console_config config;
    struct console_port ports[VIRTIO_CONSOLE_PORTS];
    int tee_fd;
    uint64_t tee_bytes_left;
};

static inline bool console_is_multiport(const struct virtio_console *con)
{
    return virtio_device_has_feature(&con->dev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* All of these expect the device's lock. */

void console_message(struct virtio_console *con, enum device_log_level level, const char *text);

/*
 * Tell the driver these things (PENDING_... bits) about a port, now or when it has a buffer for it.
 */
void console_owe(struct console_port *port, unsigned what);

/* Send what is owed while the driver has buffers; the control receive queue was kicked. */
void console_send_control(struct virtio_console *con);

/* The control transmit queue was kicked. */
void console_run_control(struct virtio_console *con);

/* virtio_console_state.c: the operations for snapshots. */
size_t console_save(struct virtio_device *dev, void *state);
int console_load(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                 const char **why);
void console_loaded(struct virtio_device *dev);

/* The driver's PORT_OPEN: input may flow, or not any more. */
void console_port_opened(struct console_port *port, bool is_open);

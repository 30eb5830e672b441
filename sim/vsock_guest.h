/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of the library's virtio-vsock device inside the world: a driver written from Virtio 1.1
 * (4.2, 5.10), over the library's own event loop. It plays the guest's end of streams whose bytes
 * follow from their number, and checks all that the device tells it.
 */
#pragma once

#include <linux/virtio_vsock.h>

#include "devices/gmem.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_vsock.h"
#include "loop.h"

#include "world.h"

#define VG_RAM_SIZE     (1u << 20)
#define VG_CID          7u
#define VG_QUEUE_SIZE   64u
#define VG_STREAMS_MAX  64u
#define VG_PORT_OF_HOST 5000u /* + stream: the host connects to it */
#define VG_PORT_OF_PEER 7000u /* + stream: of the host, the guest connects to it */

/* What one stream is to carry. Written before it begins. */
struct vg_plan {
    uint32_t to_guest;
    uint32_t to_host;
};

struct vg_stream {
    bool is_used;
    bool is_established;
    bool has_shut;   /* SEND was said */
    bool has_parted; /* both were said: a reset will come */
    unsigned peer_shut;
    unsigned number;
    uint32_t guest_port;
    uint32_t host_port;
    uint32_t sent;
    uint32_t peer_buffer;
    uint32_t peer_forwarded;
    uint32_t buffer; /* what the device is told that there is room for */
    uint32_t received;
    uint32_t forwarded;
    uint32_t forwarded_told;
};

struct vg_queue {
    uint64_t at; /* of the descriptors; the rings stand behind */
    uint16_t used_seen;
    uint16_t avail_next;
};

struct vguest {
    struct loop loop;
    struct device_host host;
    struct gmem gmem;
    uint8_t *ram;
    struct virtio_vsock *vsock;
    struct io_window window;
    const char *path;
    int listen_fd;
    struct vg_queue queues[3];
    bool is_tx_busy[VG_QUEUE_SIZE];
    struct vg_plan plans[VG_STREAMS_MAX];
    struct vg_stream streams[VG_STREAMS_MAX];
    unsigned loop_task;
    unsigned guest_task;
    bool is_stopping;
    bool is_still; /* the vCPU stands still between two rounds */
    bool wants_still;
    bool is_hostile;      /* what the device says is not checked */
    unsigned finished;    /* streams that ended with all their bytes */
    unsigned resets_seen; /* transport resets */
    unsigned failures;    /* messages of the device about the driver */
};

/* Byte number `at` of a stream. */
uint8_t vg_byte(unsigned number, bool is_to_host, uint32_t at);

/* A device at `path` with its loop and a guest that drives it. */
void vg_start(struct vguest *g, const char *path);
void vg_stop(struct vguest *g);
/* The guest stands still, at a point between two of its rounds; the loop is paused. */
void vg_pause(struct vguest *g);
void vg_resume(struct vguest *g);
/* While paused: what a snapshot and a restore do to the device. */
void vg_replace_device(struct vguest *g);
/* While paused: the driver resets the device and sets it up anew; its streams are gone. */
void vg_reset_driver(struct vguest *g);

/* The guest connects to the host's port VG_PORT_OF_PEER + number. */
void vg_connect(struct vguest *g, unsigned number);
/* A packet as it is, `size` bytes of which the header's part may be short. For hostile guests. */
void vg_send_raw(struct vguest *g, const void *bytes, uint32_t size);
void vg_kick(struct vguest *g, unsigned queue);

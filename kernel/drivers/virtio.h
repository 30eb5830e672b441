/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio over MMIO, split rings, event index (OASIS Virtio 1.1, sections 2.6 and 4.2). The device
 * is not trusted: indices and lengths that it writes are checked against what was offered (spec
 * R-BOOT-11); a device that lies is reported once and used no more.
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>

#define VIRTIO_F_RING_EVENT_IDX UINT64_C(0x20000000)
#define VIRTIO_F_VERSION_1      UINT64_C(0x100000000)

#define VIRTQUEUE_SIZE_MAX  64u /* all three rings of one fit in a page */
#define VIRTIO_QUEUES_MAX   10u
#define VIRTIO_SEGMENTS_MAX 16u

struct virtio_device;

struct virtqueue {
    struct virtio_device *device;
    struct spinlock lock; /* irq-safe; taken by every call below */
    uint16_t index;
    uint16_t size; /* power of two */
    uint16_t free_head;
    uint16_t free_count;
    uint16_t avail_next; /* ours, counts on */
    uint16_t avail_told; /* value at the last look at whether to notify */
    uint16_t used_next;  /* first used entry not taken yet */
    bool is_broken;
    bool is_silent; /* virtqueue_interrupts(q, false) was said last */
    struct vring_desc *desc;
    uint16_t *avail;                       /* flags, idx, ring[size], used_event */
    uint8_t *used;                         /* flags, idx, {id, len}[size], avail_event */
    void *tokens[VIRTQUEUE_SIZE_MAX];      /* by head descriptor */
    uint32_t writable[VIRTQUEUE_SIZE_MAX]; /* bytes offered to the device, by head */
    /* In the interrupt, once a look: something may be in the used ring. */
    void (*ready)(struct virtqueue *q);
};

struct virtio_device {
    paddr_t base;
    volatile uint8_t *regs;
    unsigned irq;
    uint32_t id;
    uint64_t features; /* negotiated */
    struct virtqueue *queues[VIRTIO_QUEUES_MAX];
    unsigned queue_count;                            /* one past the last that was made */
    void (*config_changed)(struct virtio_device *d); /* may be NULL */
    void *private;
};

struct virtio_driver {
    uint32_t id;
    const char *name;
    int (*probe)(struct virtio_device *d); /* 0, or -errno: the device is left in FAILED state */
};

/* ACKNOWLEDGE, DRIVER, then features = offered & wanted (VERSION_1 is required), FEATURES_OK. 0 or
 * -ENODEV. */
int virtio_negotiate(struct virtio_device *d, uint64_t wanted) MUST_CHECK;
/* Make queue `index` with at most `size` entries. Before virtio_start(). 0, -ENOENT (the device has
 * none), -ENOMEM. */
int virtqueue_create(struct virtio_device *d, unsigned index, unsigned size,
                     void (*ready)(struct virtqueue *q), struct virtqueue **out) MUST_CHECK;
int virtio_start(struct virtio_device *d) MUST_CHECK; /* interrupt, DRIVER_OK */

uint8_t virtio_config8(struct virtio_device *d, unsigned offset);
uint32_t virtio_config32(struct virtio_device *d, unsigned offset);
uint64_t virtio_config64(struct virtio_device *d, unsigned offset); /* generation checked */

void virtio_config32_set(struct virtio_device *d, unsigned offset, uint32_t value);

struct virtio_segment {
    void *buf; /* direct-map kernel memory */
    uint32_t size;
};

/*
 * Offer a chain: out_count segments that the device reads, then in_count that it writes. The
 * buffers belong to the device until virtqueue_take() returns the token (not NULL). 0, -ENOSPC
 * (ring full), -EIO (broken). Any context.
 */
int virtqueue_add(struct virtqueue *q, const struct virtio_segment *segments, unsigned out_count,
                  unsigned in_count, void *token) MUST_CHECK;
/* Tell the device what was added since the last time, if it wants to know. */
void virtqueue_kick(struct virtqueue *q);

/* Offer a new queue all the buffers that it holds, `size` bytes each, to be written to; the token
 * of each is its address. 0, or -EIO. */
int virtqueue_post_all(struct virtqueue *q, uint8_t *buffers, uint32_t size) MUST_CHECK;

/* Notify the device although nothing new was added: for the few that look again only then. */
void virtqueue_notify(struct virtqueue *q);
/* A completed chain's token and the bytes written into it (at most what was offered); NULL: none.
 */
void *virtqueue_take(struct virtqueue *q, uint32_t *written);
/* Would virtqueue_take() find something now? A hint without the lock. */
bool virtqueue_has_used(const struct virtqueue *q);
/*
 * Ask for an interrupt at the next completion (true) or for none (false). After enabling: look into
 * the ring once more, a completion may have come in between; returns true if one has.
 */
bool virtqueue_interrupts(struct virtqueue *q, bool enable);

/* Drivers, by virtio id. */
extern const struct virtio_driver virtio_console_driver;
extern const struct virtio_driver virtio_blk_driver;
extern const struct virtio_driver virtio_rng_driver;
extern const struct virtio_driver virtio_balloon_driver;
extern const struct virtio_driver virtio_9p_driver;
extern const struct virtio_driver virtio_vsock_driver;

void virtio_probe_all(void);

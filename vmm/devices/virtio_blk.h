/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (VIRTIO 1.1, section 5.2) on a host file or block device.
 *
 * With io_uring, requests are submitted by the kicking thread; those that the page cache can answer
 * complete before the kick returns, the others on the loop. Without it, all I/O runs on the loop.
 * A write counts as stable after FLUSH, or at once for a driver that did not accept that feature.
 */
#pragma once

#include "virtio_mmio.h"

#include "drupe/vm.h"

#define VIRTIO_BLK_SECTOR_SIZE   512u
#define VIRTIO_BLK_SEGMENTS_MAX  64u
#define VIRTIO_BLK_SEGMENT_MAX   (256u << 10) /* bytes */
#define VIRTIO_BLK_IN_FLIGHT_MAX 32u          /* of all queues together */
#define VIRTIO_BLK_QUEUES_MAX    4u

struct page_disk;
struct virtio_blk;

struct virtio_blk_setup {
    const struct device_host *host; /* outlives the device */
    unsigned irq;
    int fd; /* borrowed until destroy; its size at creation, in whole sectors, is the capacity */
    struct page_disk *memory; /* instead of the file; borrowed until destroy; NULL: none */
    bool is_read_only;
    bool want_sync;        /* do without io_uring */
    bool is_flush_ignored; /* no FLUSH is offered, and writes need not reach the medium */
    unsigned queue_count;  /* 1..VIRTIO_BLK_QUEUES_MAX; 0: 1 */
    struct drupe_rate_limit limit;
    const char *id; /* at most 20 characters of it; may be NULL */
};

/* 0 and a device in *out (destroy it), or -errno. Context as for virtio_device_init/deinit. */
int virtio_blk_create(const struct virtio_blk_setup *setup, struct virtio_blk **out) MUST_CHECK;

/* Waits for what is under way. */
void virtio_blk_destroy(struct virtio_blk *blk);

/*
 * Wait for what is under way and show it to the driver: until the next kick nothing touches guest
 * memory. No kick comes meanwhile.
 */
void virtio_blk_quiesce(struct virtio_blk *blk);

/*
 * Another file (borrowed like the first; -1: the same one) and other limits (NULL: the same). The
 * driver hears of the new size. 0 or -errno, and then nothing has changed. Any thread.
 */
int virtio_blk_update(struct virtio_blk *blk, int fd, const struct drupe_rate_limit *limit);

struct virtio_device *virtio_blk_device(struct virtio_blk *blk);

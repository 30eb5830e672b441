/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver asks of a disk, decoded and checked. A request's shape (VIRTIO 1.1, 5.2.6) is read
 * by byte positions and not by descriptors, as 2.6.4 asks: the first 16 readable bytes are its
 * header, the last writable byte is its status, the rest is data.
 */
#pragma once

#include <linux/virtio_blk.h>

#include "block_file.h"
#include "virtio_blk.h"
#include "virtio_mmio.h"

#define BLK_HEADER_SIZE         16u
#define BLK_DISCARD_SECTORS_MAX (1u << 22)
#define BLK_STATUS_PENDING      UINT8_MAX /* the answer comes later */

struct blk_request {
    struct block_op op;
    uint16_t head;
    uint8_t queue;
    uint32_t written; /* bytes of data that the guest gets if all goes well */
    gpa_t status;
    struct iovec iov[VIRTIO_BLK_SEGMENTS_MAX];
};

struct blk_disk {
    const struct virtio_blk_config *config; /* capacity may change between requests */
    bool is_read_only;
    bool is_flush_ignored;
    char id[VIRTIO_BLK_ID_BYTES];
};

/*
 * Decode a chain that has at least one writable byte: fills r->op, r->iov and r->written. The
 * status to answer with at once, or BLK_STATUS_PENDING when r->op is to be carried out. The
 * device's lock is held.
 */
uint8_t blk_decode(const struct virtio_device *dev, const struct blk_disk *disk,
                   const struct virtqueue *queue, const struct vq_chain *chain,
                   struct blk_request *r) MUST_CHECK;

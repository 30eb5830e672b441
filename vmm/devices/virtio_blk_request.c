/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the block device: see virtio_blk_request.h. Section numbers are those of VIRTIO 1.1.
 */

#include "virtio_blk_request.h"

#include <linux/virtio_blk.h>
#include <string.h>

#include <base/assert.h>
#include <base/checked.h>

#define REQUEST_BYTES_MAX ((uint64_t)VIRTIO_BLK_SEGMENTS_MAX * VIRTIO_BLK_SEGMENT_MAX)

static_assert(sizeof(struct virtio_blk_outhdr) == BLK_HEADER_SIZE, "request layout (5.2.6)");
static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "segment layout (5.2.6)");

struct request_source {
    const struct virtio_device *dev;
    const struct blk_disk *disk;
    const struct virtqueue *queue;
};

/* Sectors [sector, sector + size / 512) lie on the disk, and size is whole sectors. */
static bool is_on_disk(const struct blk_disk *disk, uint64_t sector, uint64_t size)
{
    return size > 0 && size % VIRTIO_BLK_SECTOR_SIZE == 0 &&
           range_fits(sector, size / VIRTIO_BLK_SECTOR_SIZE, disk->config->capacity);
}

/* Decode a read or a write. Returns the status to answer with at once, or BLK_STATUS_PENDING. */
static uint8_t decode_transfer(const struct request_source *from, const struct vq_chain *chain,
                               uint64_t sector, struct blk_request *r)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    const bool is_write = r->op.kind != BLOCK_READ;
    const size_t skip = is_write ? BLK_HEADER_SIZE : 0;
    const size_t size =
        is_write ? chain->readable_size - BLK_HEADER_SIZE : chain->writable_size - 1;
    size_t lent;

    if (!is_on_disk(from->disk, sector, size) || size > REQUEST_BYTES_MAX ||
        (is_write && from->disk->is_read_only)) {
        return VIRTIO_BLK_S_IOERR;
    }
    r->op.iov_count = vq_chain_iov(from->queue, chain, is_write ? VQ_READABLE : VQ_WRITABLE, skip,
                                   size, iov, &lent);
    if (r->op.iov_count > VIRTIO_BLK_SEGMENTS_MAX) {
        return VIRTIO_BLK_S_IOERR;
    }
    assert(lent == size);
    memcpy(r->iov, iov, r->op.iov_count * sizeof(iov[0]));
    r->op.iov = r->iov;
    r->op.offset = sector * VIRTIO_BLK_SECTOR_SIZE;
    r->op.size = size;
    r->written = is_write ? 0 : (uint32_t)size;
    return BLK_STATUS_PENDING;
}

/* Discard and write zeroes: one segment each (max_discard_seg, max_write_zeroes_seg). */
static uint8_t decode_clear(const struct request_source *from, const struct vq_chain *chain,
                            bool is_discard, struct blk_request *r)
{
    struct virtio_blk_discard_write_zeroes segment;
    const unsigned feature = is_discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
    bool may_unmap;
    uint64_t size;

    if (!virtio_device_has_feature(from->dev, feature)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (chain->readable_size != BLK_HEADER_SIZE + sizeof(segment) ||
        vq_chain_read(from->queue, chain, BLK_HEADER_SIZE, &segment, sizeof(segment)) < 0) {
        return VIRTIO_BLK_S_IOERR;
    }
    may_unmap = (segment.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
    if ((segment.flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0 ||
        (is_discard && may_unmap)) {
        return VIRTIO_BLK_S_UNSUPP; /* 5.2.6.2 */
    }
    size = (uint64_t)segment.num_sectors * VIRTIO_BLK_SECTOR_SIZE;
    if (segment.num_sectors > BLK_DISCARD_SECTORS_MAX ||
        !is_on_disk(from->disk, segment.sector, size)) {
        return VIRTIO_BLK_S_IOERR;
    }
    r->op.kind = is_discard || may_unmap ? BLOCK_PUNCH : BLOCK_ZERO;
    r->op.offset = segment.sector * VIRTIO_BLK_SECTOR_SIZE;
    r->op.size = size;
    return BLK_STATUS_PENDING;
}

static uint8_t answer_id(const struct request_source *from, const struct vq_chain *chain,
                         struct blk_request *r)
{
    /* The last writable byte is the status. */
    if (chain->writable_size < sizeof(from->disk->id) + 1 ||
        vq_chain_write(from->queue, chain, 0, from->disk->id, sizeof(from->disk->id)) < 0) {
        return VIRTIO_BLK_S_IOERR;
    }
    r->written = sizeof(from->disk->id);
    return VIRTIO_BLK_S_OK;
}

uint8_t blk_decode(const struct virtio_device *dev, const struct blk_disk *disk,
                   const struct virtqueue *queue, const struct vq_chain *chain,
                   struct blk_request *r)
{
    const struct request_source source = { dev, disk, queue };
    const struct request_source *from = &source;
    struct virtio_blk_outhdr header;

    if (vq_chain_read(from->queue, chain, 0, &header, sizeof(header)) < 0) {
        return VIRTIO_BLK_S_IOERR;
    }
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        r->op.kind = BLOCK_READ;
        return decode_transfer(from, chain, header.sector, r);
    case VIRTIO_BLK_T_OUT:
        r->op.kind =
            from->disk->is_flush_ignored || virtio_device_has_feature(from->dev, VIRTIO_BLK_F_FLUSH)
                ? BLOCK_WRITE
                : BLOCK_WRITE_DURABLE; /* 5.2.6.2: no flush, no volatile cache */
        return decode_transfer(from, chain, header.sector, r);
    case VIRTIO_BLK_T_FLUSH:
        if (from->disk->is_flush_ignored) {
            return VIRTIO_BLK_S_OK;
        }
        r->op.kind = BLOCK_FLUSH;
        return BLK_STATUS_PENDING;
    case VIRTIO_BLK_T_GET_ID:
        return answer_id(from, chain, r);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return decode_clear(from, chain, header.type == VIRTIO_BLK_T_DISCARD, r);
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

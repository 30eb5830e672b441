/* SPDX-License-Identifier: Apache-2.0 */
/* Split virtqueues, device side. Section numbers are those of VIRTIO 1.1. */

#include "virtqueue.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include <base/assert.h>
#include <base/checked.h>

#include "abi/snapshot.h"

/* The area layouts of 2.6: header of flags and idx, the ring, one event index behind it. */
#define RING_HEADER_SIZE   4u
#define AVAIL_ELEMENT_SIZE 2u
#define RING_IDX_OFFSET    2u

static_assert(sizeof(struct vring_desc) == 16, "descriptor layout (2.6.5)");
static_assert(sizeof(struct vring_used_elem) == 8, "used element layout (2.6.8)");

static gpa_t gpa_plus(gpa_t base, uint64_t offset)
{
    return (gpa_t){ base.raw + offset };
}

static gpa_t avail_idx_gpa(const struct virtqueue *vq)
{
    return gpa_plus(vq->avail, RING_IDX_OFFSET);
}

static gpa_t used_event_gpa(const struct virtqueue *vq)
{
    return gpa_plus(vq->avail, RING_HEADER_SIZE + (uint64_t)vq->size * AVAIL_ELEMENT_SIZE);
}

static gpa_t avail_event_gpa(const struct virtqueue *vq)
{
    return gpa_plus(vq->used,
                    RING_HEADER_SIZE + (uint64_t)vq->size * sizeof(struct vring_used_elem));
}

static int broken(struct virtqueue *vq)
{
    vq->is_broken = true;
    return -EPROTO;
}

void vq_reset(struct virtqueue *vq, const struct gmem *mem, uint16_t size_max)
{
    assert(is_power_of_two(size_max));
    assert(size_max <= VQ_SIZE_MAX);
    *vq = (struct virtqueue){ .mem = mem, .size_max = size_max, .size = size_max };
}

int vq_start(struct virtqueue *vq, uint64_t features)
{
    const uint64_t desc_size = (uint64_t)vq->size * sizeof(struct vring_desc);
    const uint64_t avail_size = RING_HEADER_SIZE + (uint64_t)vq->size * AVAIL_ELEMENT_SIZE + 2;
    const uint64_t used_size =
        RING_HEADER_SIZE + (uint64_t)vq->size * sizeof(struct vring_used_elem) + 2;

    assert(!vq->is_ready);
    if (!is_power_of_two(vq->size) || vq->size > vq->size_max) {
        return -EINVAL;
    }
    if (!is_aligned(vq->desc.raw, VRING_DESC_ALIGN_SIZE) ||
        !is_aligned(vq->avail.raw, VRING_AVAIL_ALIGN_SIZE) ||
        !is_aligned(vq->used.raw, VRING_USED_ALIGN_SIZE)) {
        return -EINVAL;
    }
    if (!gmem_contains(vq->mem, vq->desc, desc_size) ||
        !gmem_contains(vq->mem, vq->avail, avail_size) ||
        !gmem_is_writable(vq->mem, vq->used, used_size)) {
        return -EINVAL;
    }
    vq->has_event_index = (features & (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)) != 0;
    vq->has_indirect = (features & (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)) != 0;
    vq->is_ready = true;
    return 0;
}

void vq_save(const struct virtqueue *vq, struct snapshot_queue *out)
{
    *out = (struct snapshot_queue){
        .desc = vq->desc.raw,
        .avail = vq->avail.raw,
        .used = vq->used.raw,
        .size = vq->size,
        .is_ready = vq->is_ready,
        .avail_next = (uint16_t)(vq->avail_next - vq->in_flight),
        .used_next = vq->used_next,
        .used_published = vq->used_published,
    };
}

int vq_load(struct virtqueue *vq, uint64_t features, const struct snapshot_queue *in)
{
    const struct gmem *mem = vq->mem;
    int r = 0;

    assert(!vq->is_ready);
    if (in->is_ready > 1 || (uint16_t)(in->used_next - in->used_published) > vq->size_max) {
        return -EINVAL;
    }
    vq->size = in->size;
    vq->desc = (gpa_t){ in->desc };
    vq->avail = (gpa_t){ in->avail };
    vq->used = (gpa_t){ in->used };
    if (in->is_ready != 0) {
        r = vq_start(vq, features);
    } else if (in->size > vq->size_max) {
        r = -EINVAL;
    }
    if (r < 0) {
        vq_reset(vq, mem, vq->size_max);
        return r;
    }
    vq->avail_next = in->avail_next;
    vq->avail_seen = in->avail_next;
    vq->used_next = in->used_next;
    vq->used_published = in->used_published;
    return 0;
}

/* Fetch avail.idx. A driver can't have more chains outstanding than the ring has places. */
static int fetch_avail(struct virtqueue *vq)
{
    uint16_t idx;

    if (gmem_load_acquire16(vq->mem, avail_idx_gpa(vq), &idx) < 0) {
        return broken(vq);
    }
    if ((uint16_t)(idx - vq->avail_next) > vq->size - vq->in_flight) {
        return broken(vq);
    }
    vq->avail_seen = idx;
    return 0;
}

/* Add one buffer descriptor, already a private copy, to the chain. */
static int append_segment(const struct virtqueue *vq, struct vq_chain *chain,
                          const struct vring_desc *desc)
{
    const gpa_t addr = { desc->addr };
    const bool is_writable = (desc->flags & VRING_DESC_F_WRITE) != 0;
    const unsigned count = (unsigned)chain->readable_count + chain->writable_count;
    uint32_t total;

    if (!is_writable && chain->writable_count > 0) {
        return -EPROTO; /* readable parts come first (2.6.4.2) */
    }
    if (!checked_add(chain->readable_size, chain->writable_size, &total) ||
        !checked_add(total, desc->len, &total)) {
        return -EPROTO; /* no chain is longer than 4 GiB (2.6.5) */
    }
    if (is_writable ? !gmem_is_writable(vq->mem, addr, desc->len)
                    : !gmem_contains(vq->mem, addr, desc->len)) {
        return -EPROTO;
    }
    if (desc->len == 0) {
        return 0;
    }
    assert(count < VQ_SEGMENTS_MAX);
    chain->segments[count] = (struct vq_segment){ .addr = addr, .size = desc->len };
    if (is_writable) {
        chain->writable_count++;
        chain->writable_size += desc->len;
    } else {
        chain->readable_count++;
        chain->readable_size += desc->len;
    }
    return 0;
}

/* The table being walked: the queue's own, or an indirect one (2.6.5.3). */
struct desc_table {
    gpa_t base;
    uint32_t count;
    bool is_indirect;
};

static int enter_indirect(const struct virtqueue *vq, const struct vring_desc *desc,
                          struct desc_table *table)
{
    const gpa_t base = { desc->addr };

    if (!vq->has_indirect || table->is_indirect || (desc->flags & VRING_DESC_F_NEXT) != 0) {
        return -EPROTO;
    }
    if (desc->len == 0 || desc->len % sizeof(struct vring_desc) != 0 ||
        !gmem_contains(vq->mem, base, desc->len)) {
        return -EPROTO;
    }
    *table = (struct desc_table){
        .base = base,
        .count = desc->len / (uint32_t)sizeof(struct vring_desc),
        .is_indirect = true,
    };
    return 0;
}

static int copy_chain(const struct virtqueue *vq, uint16_t head, struct vq_chain *chain)
{
    struct desc_table table = { .base = vq->desc, .count = vq->size };
    const uint32_t steps = min_of(vq->size, (uint32_t)VQ_SEGMENTS_MAX);
    uint32_t index = head;

    chain->head = head;
    chain->readable_count = 0;
    chain->writable_count = 0;
    chain->readable_size = 0;
    chain->writable_size = 0;
    /* At most one step per place in the queue, and one into a table: a cycle ends here. */
    for (uint32_t n = 0; n < steps + (table.is_indirect ? 1 : 0); n++) {
        struct vring_desc desc; /* private copy; the guest may rewrite its own at any time */

        if (index >= table.count ||
            gmem_read(vq->mem, gpa_plus(table.base, (uint64_t)index * sizeof(desc)), &desc,
                      sizeof(desc)) < 0) {
            return -EPROTO;
        }
        if ((desc.flags & VRING_DESC_F_INDIRECT) != 0) {
            if (enter_indirect(vq, &desc, &table) < 0) {
                return -EPROTO;
            }
            index = 0;
            continue;
        }
        if (append_segment(vq, chain, &desc) < 0) {
            return -EPROTO;
        }
        if ((desc.flags & VRING_DESC_F_NEXT) == 0) {
            return 0;
        }
        index = desc.next;
    }
    return -EPROTO;
}

int vq_take(struct virtqueue *vq, struct vq_chain *chain)
{
    const uint64_t place = vq->avail_next & (vq->size - 1u);
    uint16_t head;

    if (!vq->is_ready) {
        return 0;
    }
    if (vq->is_broken) {
        return -EPROTO;
    }
    assert(vq->in_flight <= vq->size);
    if (vq->avail_next == vq->avail_seen && fetch_avail(vq) < 0) {
        return -EPROTO;
    }
    if (vq->avail_next == vq->avail_seen) {
        return 0;
    }
    /* The acquire load of idx orders this read behind it; the element itself is plain data. */
    if (gmem_read(vq->mem, gpa_plus(vq->avail, RING_HEADER_SIZE + place * AVAIL_ELEMENT_SIZE),
                  &head, sizeof(head)) < 0 ||
        copy_chain(vq, head, chain) < 0) {
        return broken(vq);
    }
    vq->avail_next++;
    vq->in_flight++;
    assert(vq->in_flight <= vq->size);
    return 1;
}

void vq_untake(struct virtqueue *vq)
{
    assert(vq->in_flight > 0);
    vq->in_flight--;
    vq->avail_next--;
}

void vq_complete(struct virtqueue *vq, uint16_t head, uint32_t written)
{
    const struct vring_used_elem element = { .id = head, .len = written };
    const uint64_t place = vq->used_next & (vq->size - 1u);

    assert(vq->in_flight > 0);
    assert(head < vq->size);
    if (gmem_write(vq->mem, gpa_plus(vq->used, RING_HEADER_SIZE + place * sizeof(element)),
                   &element, sizeof(element)) < 0) {
        (void)broken(vq); /* vq_start() saw it writable: the memory map has changed under us */
    }
    vq->in_flight--;
    vq->used_next++;
}

/* 2.6.7.2: with the event index, interrupt when the driver's index lies in what is new. */
static bool interrupt_wanted(struct virtqueue *vq, uint16_t old_idx)
{
    uint16_t word;
    const gpa_t at = vq->has_event_index ? used_event_gpa(vq) : vq->avail;

    if (gmem_load_acquire16(vq->mem, at, &word) < 0) {
        (void)broken(vq);
        return false;
    }
    if (vq->has_event_index) {
        return vring_need_event(word, vq->used_next, old_idx) != 0;
    }
    return (word & VRING_AVAIL_F_NO_INTERRUPT) == 0;
}

bool vq_publish(struct virtqueue *vq)
{
    const uint16_t old_idx = vq->used_published;

    if (vq->used_next == old_idx || vq->is_broken) {
        return false;
    }
    if (gmem_store_release16(vq->mem, gpa_plus(vq->used, RING_IDX_OFFSET), vq->used_next) < 0) {
        (void)broken(vq);
        return false;
    }
    vq->used_published = vq->used_next;
    return interrupt_wanted(vq, old_idx);
}

void vq_kicks_off(struct virtqueue *vq)
{
    /* With the event index nothing is to do: it stays behind, so that no new chain passes it. */
    if (vq->is_ready && !vq->has_event_index &&
        gmem_store_release16(vq->mem, vq->used, VRING_USED_F_NO_NOTIFY) < 0) {
        (void)broken(vq);
    }
}

int vq_kicks_on(struct virtqueue *vq)
{
    const gpa_t at = vq->has_event_index ? avail_event_gpa(vq) : vq->used;

    if (!vq->is_ready) {
        return 0;
    }
    if (vq->is_broken ||
        gmem_store_release16(vq->mem, at, vq->has_event_index ? vq->avail_next : 0) < 0) {
        return broken(vq);
    }
    /* A chain that was made available before the store above was visible brings no kick: look. */
    if (fetch_avail(vq) < 0) {
        return -EPROTO;
    }
    return vq->avail_next != vq->avail_seen;
}

/* Where one part's segments stand. */
static const struct vq_segment *part_segments(const struct vq_chain *chain, enum vq_part part,
                                              unsigned *count)
{
    *count = part == VQ_READABLE ? chain->readable_count : chain->writable_count;
    return chain->segments + (part == VQ_READABLE ? 0 : chain->readable_count);
}

unsigned vq_chain_iov(const struct virtqueue *vq, const struct vq_chain *chain, enum vq_part part,
                      size_t offset, size_t limit, struct iovec *iov, size_t *size)
{
    unsigned count;
    const struct vq_segment *segment = part_segments(chain, part, &count);
    unsigned filled = 0;

    *size = 0;
    for (; count > 0 && *size < limit; segment++, count--) {
        if (offset >= segment->size) {
            offset -= segment->size;
            continue;
        }
        const size_t length = min_of(segment->size - offset, limit - *size);
        void *hva =
            gmem_lend(vq->mem, gpa_plus(segment->addr, offset), length, part == VQ_WRITABLE);

        assert(hva != NULL); /* the chain was validated and the memory map does not change */
        iov[filled++] = (struct iovec){ .iov_base = hva, .iov_len = length };
        *size += length;
        offset = 0;
    }
    return filled;
}

int vq_chain_read(const struct virtqueue *vq, const struct vq_chain *chain, size_t offset, void *to,
                  size_t size)
{
    uint8_t *at = to;

    if (!range_fits(offset, size, chain->readable_size)) {
        return -ENODATA;
    }
    for (unsigned i = 0; i < chain->readable_count && size > 0; i++) {
        const struct vq_segment *segment = &chain->segments[i];

        if (offset >= segment->size) {
            offset -= segment->size;
            continue;
        }
        const size_t length = min_of(segment->size - offset, size);

        if (gmem_read(vq->mem, gpa_plus(segment->addr, offset), at, length) < 0) {
            return -ENODATA;
        }
        at += length;
        size -= length;
        offset = 0;
    }
    return 0;
}

int vq_chain_write(const struct virtqueue *vq, const struct vq_chain *chain, size_t offset,
                   const void *from, size_t size)
{
    const struct vq_segment *segments = chain->segments + chain->readable_count;
    const uint8_t *at = from;

    if (!range_fits(offset, size, chain->writable_size)) {
        return -ENOSPC;
    }
    for (unsigned i = 0; i < chain->writable_count && size > 0; i++) {
        if (offset >= segments[i].size) {
            offset -= segments[i].size;
            continue;
        }
        const size_t length = min_of(segments[i].size - offset, size);

        if (gmem_write(vq->mem, gpa_plus(segments[i].addr, offset), at, length) < 0) {
            return -ENOSPC;
        }
        at += length;
        size -= length;
        offset = 0;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue (VIRTIO 1.1, section 2.6): take chains that the driver
 * made available, give them back as used, and keep notifications rare in both directions.
 *
 * Everything in the rings is guest-controlled. A chain is copied and validated as a whole before
 * the device sees any of it; each field is read once. A guest that breaks the protocol breaks its
 * own queue: every later call answers -EPROTO until vq_reset().
 *
 * A queue has no lock of its own: all calls are made under the lock of the device that owns it. No
 * call sleeps or allocates.
 */
#pragma once

#include <sys/uio.h>

#include "gmem.h"

struct snapshot_queue;

/*
 * Our transport offers queues of at most 128; behind QEMU's, Linux makes them of 1024, whatever the
 * device says. A chain is never longer than its queue (2.6.5.3.1), nor than this.
 */
#define VQ_SIZE_MAX     1024
#define VQ_SEGMENTS_MAX 128

struct virtqueue {
    const struct gmem *mem;
    uint16_t size_max; /* fixed by the device: a power of two, 1..VQ_SIZE_MAX */

    /* Set by the driver through the transport while !is_ready. */
    uint16_t size;
    gpa_t desc;
    gpa_t avail;
    gpa_t used;

    bool is_ready;
    bool is_broken; /* the driver broke the protocol */
    bool has_event_index;
    bool has_indirect;

    uint16_t avail_next;     /* ring index of the next chain to take */
    uint16_t avail_seen;     /* avail.idx as last fetched */
    uint16_t used_next;      /* ring index of the next used element */
    uint16_t used_published; /* used.idx as the driver sees it */
    uint16_t in_flight;      /* chains taken and not completed; <= size */
};

struct vq_segment {
    gpa_t addr;
    uint32_t size; /* bytes, never 0 */
};

/* A private copy of one descriptor chain. Readable segments come first, then the writable ones. */
struct vq_chain {
    uint16_t head; /* names the chain in vq_complete() */
    uint16_t readable_count;
    uint16_t writable_count;
    uint32_t readable_size; /* bytes in all readable segments */
    uint32_t writable_size;
    struct vq_segment segments[VQ_SEGMENTS_MAX];
};

/* The two halves of a chain, from the device's point of view. */
enum vq_part {
    VQ_READABLE,
    VQ_WRITABLE,
};

/* Forget everything the driver said. `size_max` as above. */
void vq_reset(struct virtqueue *vq, const struct gmem *mem, uint16_t size_max);

/*
 * Into and out of a snapshot. Chains in flight are saved as not yet taken: the device takes them
 * again, and remembers by itself what it did of them. vq_load() is for a queue just reset;
 * `features` as for vq_start(). -EINVAL, with the queue reset, for what no queue of ours can be.
 */
void vq_save(const struct virtqueue *vq, struct snapshot_queue *out);
int vq_load(struct virtqueue *vq, uint64_t features, const struct snapshot_queue *in) MUST_CHECK;

/*
 * The driver says that size and addresses are complete. `features` are the negotiated ones.
 * -EINVAL, with the queue not ready, when the size is no power of two up to size_max, an area is
 * misaligned or outside guest memory, or the used area is read-only.
 */
int vq_start(struct virtqueue *vq, uint64_t features) MUST_CHECK;

/*
 * Take the next chain off the avail ring and copy it into *chain. Segments lie inside guest memory,
 * the writable ones in writable memory, their sizes sum up to less than 4 GiB; empty segments are
 * left out.
 *
 * Returns 1 and fills *chain; 0 if the ring is empty or the queue not ready; -EPROTO if the driver
 * broke the protocol. *chain is meaningful only after 1. The caller owes one vq_complete() or
 * vq_untake() per chain.
 */
int vq_take(struct virtqueue *vq, struct vq_chain *chain) MUST_CHECK;

/* Put back the chain that was taken last; the next vq_take() reads it anew. */
void vq_untake(struct virtqueue *vq);

/*
 * Give chain `head` back with the first `written` bytes of its writable part filled. The driver
 * sees it at the next vq_publish().
 */
void vq_complete(struct virtqueue *vq, uint16_t head, uint32_t written);

/*
 * Show the driver all that was completed. Returns true when it wants an interrupt for that; false
 * when it doesn't, or nothing is new.
 */
bool vq_publish(struct virtqueue *vq) MUST_CHECK;

/* Tell the driver that kicks are not needed for now. It may kick all the same. */
void vq_kicks_off(struct virtqueue *vq);

/*
 * Ask for a kick at the next chain. 0: it will come; 1: chains are there already, take them;
 * -EPROTO as above.
 */
int vq_kicks_on(struct virtqueue *vq) MUST_CHECK;

/*
 * Copy `size` bytes at `offset` of the readable part out of the chain, across segments. -ENODATA
 * with nothing copied when it is shorter than that.
 */
int vq_chain_read(const struct virtqueue *vq, const struct vq_chain *chain, size_t offset, void *to,
                  size_t size) MUST_CHECK;

/* The same into the writable part. -ENOSPC with nothing copied when it is too short. */
int vq_chain_write(const struct virtqueue *vq, const struct vq_chain *chain, size_t offset,
                   const void *from, size_t size) MUST_CHECK;

/*
 * Host addresses of up to `limit` bytes at `offset` of one part, for a system call. `iov` has room
 * for VQ_SEGMENTS_MAX. Returns how many were filled (0 when the part ends at `offset`); *size is
 * their sum.
 */
unsigned vq_chain_iov(const struct virtqueue *vq, const struct vq_chain *chain, enum vq_part part,
                      size_t offset, size_t limit, struct iovec *iov, size_t *size);

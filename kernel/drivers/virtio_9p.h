/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-9p (Virtio 1.1, device type 9): carries messages of the 9P protocol to a server in the
 * monitor. What they say is fs/p9's.
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>
#include <drivers/virtio.h>
#include <sched/wait.h>

#define P9_TAG_MAX           36u
#define P9_DATA_SEGMENTS_MAX 16u

/* One message and the room for its answer. All buffers are direct-map kernel memory. */
struct p9_message {
    uint8_t *out;
    uint32_t out_size;
    uint8_t *in;
    uint32_t in_size;
    /* Behind `out` (a write) or behind `in` (a read). */
    const struct virtio_segment *data;
    unsigned data_count;
    bool is_data_in;

    /* The channel's. */
    uint32_t written; /* bytes of the answer, data included; at most what was offered */
    _Atomic bool is_done;
    struct wait_queue done;
    struct p9_message *next_garbage;
};

struct p9_channel {
    struct virtqueue *queue;
    struct wait_queue room; /* tasks that found the ring full */
    char tag[P9_TAG_MAX + 1];
    struct spinlock lock;       /* irq-safe; the next two */
    struct p9_message *garbage; /* answered, and nobody waits for them */
    unsigned sleepers;          /* tasks that need the interrupt */
    void *session;              /* fs/p9's; under its lock */
};

/* The channel with that tag, or NULL. */
struct p9_channel *p9_channel_find(const char *tag);

/* Send and wait for the answer, uninterruptibly. 0 or -EIO (the device is broken). */
int p9_channel_call(struct p9_channel *ch, struct p9_message *m) MUST_CHECK;

/* Send and forget: `m` (of kmalloc, with its buffers inside) is freed some time after the answer.
 * Not sent, and freed at once, when the ring is full: the caller loses a fid of the server. */
void p9_channel_post(struct p9_channel *ch, struct p9_message *m);

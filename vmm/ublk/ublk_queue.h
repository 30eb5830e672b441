/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a ublk device: descriptors that the kernel wrote become operations of the block
 * backend that virtio-blk uses as well (devices/block_file.h). How tags arrive and results leave is
 * the caller's business, so this part runs without ublk.
 *
 * The kernel is the client here, and is checked all the same: a request outside the disk or its
 * buffer ends with an error. One thread.
 */
#pragma once

#include <base/compiler.h>

struct block_file;
struct page_disk;
struct ublk_queue;
struct ublksrv_io_desc;

struct ublk_queue_setup {
    int fd;                   /* the image, borrowed */
    struct page_disk *memory; /* instead, borrowed */
    uint64_t size;            /* bytes, whole sectors */
    bool is_read_only;
    unsigned depth; /* tags */
    uint32_t buffer_size;
    /* Hand back a tag: bytes moved, or -errno. From request, submit and reap below. */
    void (*commit)(void *ctx, unsigned tag, int32_t result);
    void *ctx;
};

/* 0 or -errno. destroy: nothing is under way. */
int ublk_queue_create(const struct ublk_queue_setup *setup, struct ublk_queue **out) MUST_CHECK;
void ublk_queue_destroy(struct ublk_queue *q);

/*
 * Where the kernel writes a tag's descriptor before the tag arrives, and its data: buffer_size
 * bytes a tag. Before the first request; borrowed.
 */
void ublk_queue_attach(struct ublk_queue *q, const volatile struct ublksrv_io_desc *descs,
                       uint8_t *buffers);

/* A tag has arrived: begin its request. Followed by a submit. */
void ublk_queue_request(struct ublk_queue *q, unsigned tag);
void ublk_queue_submit(
    struct ublk_queue *q);                  /* to the host's kernel; takes what has ended already */
void ublk_queue_reap(struct ublk_queue *q); /* the descriptor below was readable */
void ublk_queue_drain(struct ublk_queue *q); /* wait for all */

int ublk_queue_event_fd(const struct ublk_queue *q); /* -1: nothing ever ends later */
uint32_t ublk_queue_block_size(const struct ublk_queue *q);

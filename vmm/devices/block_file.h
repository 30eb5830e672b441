/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host file, or pages in memory, as a disk: reads, writes and the like, several at a time through
 * io_uring; one after the other in the caller's thread where the host refuses io_uring. The one
 * file that knows liburing. On a file opened with O_DIRECT nothing needs to be aligned to its
 * blocks, but what is not is slow (block_bounce.h).
 *
 * No lock of its own: all calls are made under the lock of the device that owns it.
 */
#pragma once

#include <sys/uio.h>

#include <base/compiler.h>

enum block_op_kind {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_WRITE_DURABLE, /* on the medium when done */
    BLOCK_FLUSH,
    BLOCK_PUNCH, /* deallocate; reads as zeros afterwards */
    BLOCK_ZERO,  /* make zero, keep allocated */
};

/* One operation; the caller keeps it and its vector alive until it is done. */
struct block_op {
    enum block_op_kind kind;
    uint64_t offset; /* bytes, as is size; both advance as the transfer proceeds */
    uint64_t size;
    struct iovec *iov; /* transfers only; sums up to size; consumed */
    unsigned iov_count;
    struct block_op *next; /* block_file.c's own */
};

static inline bool block_op_is_transfer(const struct block_op *op)
{
    return op->kind == BLOCK_READ || op->kind == BLOCK_WRITE || op->kind == BLOCK_WRITE_DURABLE;
}

/* What remains after `bytes` were transferred. */
void block_op_advance(struct block_op *op, uint64_t bytes);

/* `result` is 0, or -errno; a transfer that met the end of the file is -EIO. */
typedef void (*block_done_fn)(void *ctx, struct block_op *op, int result);

struct block_file;

/*
 * `fd` is borrowed. At most `depth` operations will be under way. 0 or -errno; a host without
 * io_uring is no error (see block_file_is_async()), nor is `want_sync`, which asks for that.
 */
int block_file_create(int fd, unsigned depth, bool want_sync, block_done_fn done, void *ctx,
                      struct block_file **out) MUST_CHECK;

/* The same on a disk in memory, which is borrowed. Not async. 0 or -ENOMEM. */
struct page_disk;
int block_file_create_memory(struct page_disk *disk, block_done_fn done, void *ctx,
                             struct block_file **out) MUST_CHECK;

/* Nothing is under way any more (block_file_drain()). */
void block_file_destroy(struct block_file *f);

/* False: block_file_start() does the work itself, blocks, and calls `done` before it returns. */
bool block_file_is_async(const struct block_file *f);

/* What a transfer should be aligned to, in bytes: 512, or more for a file opened with O_DIRECT. */
uint32_t block_file_block_size(const struct block_file *f);

/* Becomes readable when block_file_reap() has work to do; -1 when not async. */
int block_file_event_fd(const struct block_file *f);

void block_file_start(struct block_file *f, struct block_op *op);

/*
 * Hand what was started to the kernel, then call `done` for all that has ended. A submission is
 * followed by a reap: until then the event keeps silent.
 */
void block_file_submit(struct block_file *f);
void block_file_reap(struct block_file *f);

/* Wait until nothing is under way; calls `done` for each. */
void block_file_drain(struct block_file *f);

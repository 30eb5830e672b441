/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a ublk device: see ublk_queue.h. */

#include "ublk_queue.h"

#include <errno.h>
#include <linux/ublk_cmd.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "devices/block_file.h"

#define SECTOR_SIZE 512u

struct request {
    struct block_op op;
    struct iovec vector;
    int32_t moved; /* bytes to report when all goes well */
    bool is_under_way;
};

struct ublk_queue {
    struct ublk_queue_setup setup;
    struct block_file *file;
    const volatile struct ublksrv_io_desc *descs;
    uint8_t *buffers;
    struct request requests[];
};

static void on_done(void *ctx, struct block_op *op, int result)
{
    struct ublk_queue *q = ctx;
    struct request *r = container_of(op, struct request, op);

    assert(r->is_under_way);
    r->is_under_way = false;
    q->setup.commit(q->setup.ctx, (unsigned)(r - q->requests), result < 0 ? result : r->moved);
}

static bool is_on_disk(const struct ublk_queue *q, const struct ublksrv_io_desc *d)
{
    return d->nr_sectors > 0 &&
           range_fits(d->start_sector, d->nr_sectors, q->setup.size / SECTOR_SIZE);
}

static int decode_transfer(const struct ublk_queue *q, const struct ublksrv_io_desc *d,
                           unsigned tag, struct request *r)
{
    const uint64_t size = (uint64_t)d->nr_sectors * SECTOR_SIZE;

    if (!is_on_disk(q, d) || size > q->setup.buffer_size) {
        return -EINVAL;
    }
    r->vector = (struct iovec){ q->buffers + (size_t)tag * q->setup.buffer_size, size };
    r->op.offset = d->start_sector * SECTOR_SIZE;
    r->op.size = size;
    r->op.iov = &r->vector;
    r->op.iov_count = 1;
    r->moved = (int32_t)size;
    return 0;
}

static int decode_clear(const struct ublk_queue *q, const struct ublksrv_io_desc *d,
                        struct request *r)
{
    if (!is_on_disk(q, d)) {
        return -EINVAL;
    }
    r->op.offset = d->start_sector * SECTOR_SIZE;
    r->op.size = (uint64_t)d->nr_sectors * SECTOR_SIZE;
    return 0;
}

/* Fill in *r. 0 or -errno. */
static int decode(const struct ublk_queue *q, const struct ublksrv_io_desc *d, unsigned tag,
                  struct request *r)
{
    const uint8_t op = ublksrv_get_op(d);

    if (q->setup.is_read_only && op != UBLK_IO_OP_READ && op != UBLK_IO_OP_FLUSH) {
        return -EROFS;
    }
    switch (op) {
    case UBLK_IO_OP_READ:
        r->op.kind = BLOCK_READ;
        return decode_transfer(q, d, tag, r);
    case UBLK_IO_OP_WRITE:
        r->op.kind = (d->op_flags & UBLK_IO_F_FUA) != 0 ? BLOCK_WRITE_DURABLE : BLOCK_WRITE;
        return decode_transfer(q, d, tag, r);
    case UBLK_IO_OP_FLUSH:
        r->op.kind = BLOCK_FLUSH;
        return 0;
    case UBLK_IO_OP_DISCARD:
        r->op.kind = BLOCK_PUNCH;
        return decode_clear(q, d, r);
    case UBLK_IO_OP_WRITE_ZEROES:
        r->op.kind = (d->op_flags & UBLK_IO_F_NOUNMAP) != 0 ? BLOCK_ZERO : BLOCK_PUNCH;
        return decode_clear(q, d, r);
    default:
        return -EOPNOTSUPP;
    }
}

void ublk_queue_attach(struct ublk_queue *q, const volatile struct ublksrv_io_desc *descs,
                       uint8_t *buffers)
{
    q->descs = descs;
    q->buffers = buffers;
}

void ublk_queue_request(struct ublk_queue *q, unsigned tag)
{
    assert(tag < q->setup.depth);
    const volatile struct ublksrv_io_desc *from = &q->descs[tag];
    /* Read once. */
    const struct ublksrv_io_desc d = { .op_flags = from->op_flags,
                                       .nr_sectors = from->nr_sectors,
                                       .start_sector = from->start_sector };
    struct request *r = &q->requests[tag];
    int err;

    assert(!r->is_under_way); /* a tag comes back only after its commit */
    *r = (struct request){ .is_under_way = true };
    err = decode(q, &d, tag, r);
    if (err < 0) {
        r->is_under_way = false;
        q->setup.commit(q->setup.ctx, tag, err);
        return;
    }
    block_file_start(q->file, &r->op);
}

void ublk_queue_submit(struct ublk_queue *q)
{
    block_file_submit(q->file);
    block_file_reap(q->file);
}

void ublk_queue_reap(struct ublk_queue *q)
{
    uint64_t count;

    if (block_file_is_async(q->file)) {
        (void)!read(block_file_event_fd(q->file), &count, sizeof(count)); /* EAGAIN: nothing new */
    }
    block_file_reap(q->file);
}

void ublk_queue_drain(struct ublk_queue *q)
{
    block_file_drain(q->file);
}

int ublk_queue_event_fd(const struct ublk_queue *q)
{
    return block_file_event_fd(q->file);
}

uint32_t ublk_queue_block_size(const struct ublk_queue *q)
{
    return block_file_block_size(q->file);
}

int ublk_queue_create(const struct ublk_queue_setup *setup, struct ublk_queue **out)
{
    struct ublk_queue *q;
    int err;

    assert(setup->depth > 0);
    assert(setup->buffer_size <= INT32_MAX);
    q = calloc(1, sizeof(*q) + setup->depth * sizeof(q->requests[0]));
    if (q == NULL) {
        return -ENOMEM;
    }
    q->setup = *setup;
    err = setup->memory != NULL
              ? block_file_create_memory(setup->memory, on_done, q, &q->file)
              : block_file_create(setup->fd, setup->depth, false, on_done, q, &q->file);
    if (err < 0) {
        free(q);
        return err;
    }
    *out = q;
    return 0;
}

void ublk_queue_destroy(struct ublk_queue *q)
{
    block_file_destroy(q->file);
    free(q);
}

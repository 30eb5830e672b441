/* SPDX-License-Identifier: Apache-2.0 */
/* Direct I/O for guests that do not align: see block_bounce.h. */

#include "block_bounce.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <base/assert.h>
#include <base/checked.h>

#define BLOCK_FALLBACK 4096u /* where the kernel does not tell: no medium has larger ones */
#define BLOCK_MAX      (64u << 10)

static bool is_usable(uint32_t n)
{
    return n > 0 && n <= BLOCK_MAX && (n & (n - 1)) == 0;
}

int direct_alignment_of(int fd, struct direct_alignment *out)
{
    struct statx st = { 0 };
    int size = 0;

    *out = (struct direct_alignment){ BLOCK_FALLBACK, BLOCK_FALLBACK };
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_DIOALIGN, &st) < 0) {
        return -errno;
    }
    if ((st.stx_mask & STATX_DIOALIGN) != 0) {
        if (st.stx_dio_offset_align == 0) {
            return -EOPNOTSUPP;
        }
        *out = (struct direct_alignment){ st.stx_dio_mem_align, st.stx_dio_offset_align };
    } else if (S_ISBLK(st.stx_mode) && ioctl(fd, BLKSSZGET, &size) == 0) {
        *out = (struct direct_alignment){ (uint32_t)size, (uint32_t)size };
    }
    return is_usable(out->memory) && is_usable(out->block) ? 0 : -EINVAL;
}

int bounce_init(struct bounce *b, int fd)
{
    int err = direct_alignment_of(fd, &b->alignment);

    if (err < 0) {
        return err;
    }
    b->buffer = aligned_alloc(BLOCK_MAX, BOUNCE_SIZE);
    return b->buffer == NULL ? -ENOMEM : 0;
}

void bounce_deinit(struct bounce *b)
{
    assert(b->op == NULL);
    free(b->buffer);
}

bool bounce_is_needed(const struct bounce *b, const struct block_op *op)
{
    const uint64_t block = b->alignment.block;
    uint64_t all;

    if (!block_op_is_transfer(op)) {
        return false;
    }
    all = op->offset | op->size;
    for (unsigned i = 0; i < op->iov_count; i++) {
        const struct iovec *v = &op->iov[i];

        if (((uintptr_t)v->iov_base & (b->alignment.memory - 1)) != 0) {
            return true;
        }
        all |= v->iov_len;
    }
    return (all & (block - 1)) != 0;
}

/* Carry out `kind` on the blocks of the present piece. */
static void set_step(struct bounce *b, enum block_op_kind kind)
{
    const uint64_t block = b->alignment.block;
    const uint64_t start = align_down(b->op->offset, block);
    const uint64_t end = align_up(b->op->offset + b->piece, block);

    b->vector = (struct iovec){ b->buffer, end - start };
    b->io = (struct block_op){
        .kind = kind, .offset = start, .size = end - start, .iov = &b->vector, .iov_count = 1
    };
}

/* Between the buffer and the guest: the piece alone, not the rest of its blocks. */
static void copy(struct bounce *b, bool to_guest)
{
    uint8_t *at = b->buffer + (b->op->offset & (b->alignment.block - 1));
    const struct iovec *v = b->op->iov;

    for (uint64_t left = b->piece; left > 0; v++) {
        const size_t n = min_of(left, (uint64_t)v->iov_len);

        memcpy(to_guest ? v->iov_base : at, to_guest ? at : v->iov_base, n);
        at += n;
        left -= n;
    }
}

static void begin_write(struct bounce *b)
{
    copy(b, false);
    b->is_filling = false;
    set_step(b, b->op->kind);
}

static void begin_piece(struct bounce *b)
{
    const uint64_t mask = b->alignment.block - 1;
    const struct block_op *op = b->op;

    b->piece = min_of(op->size, BOUNCE_SIZE - (op->offset & mask));
    b->is_filling = op->kind == BLOCK_READ || ((op->offset | b->piece) & mask) != 0;
    if (b->is_filling) {
        set_step(b, BLOCK_READ);
    } else {
        begin_write(b);
    }
}

void bounce_begin(struct bounce *b, struct block_op *op)
{
    assert(b->op == NULL && op->size > 0);
    b->op = op;
    begin_piece(b);
}

bool bounce_next(struct bounce *b)
{
    struct block_op *op = b->op;

    if (op->kind != BLOCK_READ && b->is_filling) {
        begin_write(b);
        return true;
    }
    if (op->kind == BLOCK_READ) {
        copy(b, true);
    }
    block_op_advance(op, b->piece);
    if (op->size == 0) {
        return false;
    }
    begin_piece(b);
    return true;
}

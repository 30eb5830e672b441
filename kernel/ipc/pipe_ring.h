/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a pipe: a ring over pages that are allocated when first written and given back when
 * read, but for one. No locking: the pipe's. Positions count bytes and never wrap in practice (64
 * bits); they restart at 0 whenever the ring is empty.
 */
#pragma once

#include <core/types.h>

struct page;
struct uio;

#define PIPE_PAGES_MAX 256u

struct pipe_ring {
    struct page **pages; /* `slots` of them; NULL: nothing there */
    uint32_t slots;      /* power of two */
    uint64_t read_at;
    uint64_t write_at;
};

int pipe_ring_init(struct pipe_ring *r, uint32_t slots) MUST_CHECK; /* -ENOMEM */
void pipe_ring_deinit(struct pipe_ring *r);
/* Another number of slots, contents kept: -EBUSY when they do not fit, -ENOMEM. */
int pipe_ring_resize(struct pipe_ring *r, uint32_t slots) MUST_CHECK;

static inline uint64_t pipe_ring_used(const struct pipe_ring *r)
{
    return r->write_at - r->read_at;
}

static inline uint64_t pipe_ring_free(const struct pipe_ring *r)
{
    return ((uint64_t)r->slots << PAGE_SHIFT) - pipe_ring_used(r);
}

/* Bytes moved (0: empty or full, or nothing wanted), -EFAULT, -ENOMEM when not one byte was. */
ssize_t pipe_ring_read(struct pipe_ring *r, struct uio *u);
ssize_t pipe_ring_write(struct pipe_ring *r, struct uio *u);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is only cached. Whoever keeps such memory registers how to give it back; programs'
 * allocations ask for it before anything is killed. Layers above mm/ register; mm/ knows none of
 * them.
 */
#pragma once

#include <core/types.h>

struct mapping;

struct reclaimer {
    struct list link;
    /* Free about `want` frames' worth; returns how many objects or frames went, 0: nothing is left.
     * Called without spinlocks, one at a time; never allocates. */
    size_t (*shrink)(struct reclaimer *r, size_t want);
};

void reclaim_register(struct reclaimer *r); /* for good, or until reclaim_unregister() */
void reclaim_unregister(struct reclaimer *r);

/* Ask everybody. Returns what was gained, in whatever units; 0: nothing. May yield the CPU; not
 * under a spinlock. */
size_t reclaim(size_t want);

/* One page for a program or the page cache: reclaims before it gives up. */
struct page *page_alloc_reclaim(unsigned gfp) MUST_CHECK;

/*
 * Drop up to `want` clean pages of m that nobody uses: what is in no page table and not looked at
 * right now. For a cache whose pages can be read again. Goes round from where it stopped last.
 */
size_t mapping_shrink(struct mapping *m, size_t want, uint64_t *cursor);

/* SPDX-License-Identifier: Apache-2.0 */
#include <mm/reclaim.h>

#include <stdatomic.h>

#include <core/lock.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <sched/sched.h>

#define RECLAIM_BATCH 128u
#define TRIES_MAX     32u
#define PAUSE         256u

static struct spinlock lock = SPINLOCK_INIT(RANK_FS_MISC);
static struct list reclaimers = LIST_INIT(reclaimers);
static _Atomic bool is_busy;

void reclaim_register(struct reclaimer *r)
{
    spin_lock(&lock);
    list_push_back(&reclaimers, &r->link);
    spin_unlock(&lock);
}

void reclaim_unregister(struct reclaimer *r)
{
    while (atomic_exchange_explicit(&is_busy, true, memory_order_acquire)) {
        sched_yield_cpu(); /* somebody walks the list */
    }
    spin_lock(&lock);
    list_remove(&r->link);
    spin_unlock(&lock);
    atomic_store_explicit(&is_busy, false, memory_order_release);
}

size_t reclaim(size_t want)
{
    size_t gained = kstack_reclaim();
    struct reclaimer *r;

    /* Acquire pairs with the release below: one walks at a time, and sees the list as it is. */
    if (atomic_exchange_explicit(&is_busy, true, memory_order_acquire)) {
        sched_yield_cpu();
        return 1; /* what the other one gains is for all */
    }
    list_for_each_entry(r, &reclaimers, link) { /* entries go only while nobody walks */
        gained += gained < want ? r->shrink(r, want - gained) : 0;
    }
    atomic_store_explicit(&is_busy, false, memory_order_release);
    return gained;
}

/*
 * The kernel's own allocations cannot wait for reclaim: so programs' do it before memory is that
 * short. When nothing was gained, the next calls do not try.
 */
static void keep_room(void)
{
    static _Atomic unsigned pause; /* a hint: relaxed, lost updates are harmless */
    unsigned left = atomic_load_explicit(&pause, memory_order_relaxed);

    if (left > 0) {
        atomic_store_explicit(&pause, left - 1, memory_order_relaxed);
    } else if (reclaim(RECLAIM_BATCH) == 0) {
        atomic_store_explicit(&pause, PAUSE, memory_order_relaxed);
    }
}

struct page *page_alloc_reclaim(unsigned gfp)
{
    if (unlikely(page_is_low())) {
        keep_room();
    }
    struct page *p = page_alloc(0, gfp);

    /* What is gained need not be whole frames: small objects go before their slabs do. */
    for (unsigned tries = 0; unlikely(!p) && tries < TRIES_MAX && reclaim(RECLAIM_BATCH) > 0;
         tries++) {
        p = page_alloc(0, gfp);
    }
    return p;
}

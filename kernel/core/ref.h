/* SPDX-License-Identifier: Apache-2.0 */
/* Reference counts (rule A1: counted objects, never bare indices). Zero is final: a dead object is
 * not revived. */
#pragma once

#include <stdatomic.h>

#include <core/types.h>

struct ref {
    _Atomic uint32_t count;
};

static inline void ref_init(struct ref *r)
{
    atomic_store_explicit(&r->count, 1, memory_order_relaxed); /* not shared yet */
}

/* Relaxed: the caller already holds a reference, so nothing needs ordering. */
static inline void ref_get(struct ref *r)
{
    uint32_t old = atomic_fetch_add_explicit(&r->count, 1, memory_order_relaxed);

    assert(old != 0);
}

/* For lookups under a table's lock, where the object may be dying. */
static inline bool ref_get_unless_zero(struct ref *r)
{
    uint32_t old = atomic_load_explicit(&r->count, memory_order_relaxed);

    while (old != 0) {
        if (atomic_compare_exchange_weak_explicit(&r->count, &old, old + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/*
 * True when this was the last one and the caller must free. Acquire-release: what other holders
 * did before their put is visible to the one that frees.
 */
static inline bool ref_put(struct ref *r)
{
    uint32_t old = atomic_fetch_sub_explicit(&r->count, 1, memory_order_acq_rel);

    assert(old != 0);
    return old == 1;
}

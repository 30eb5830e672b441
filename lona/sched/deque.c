/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/deque.h"

struct deque_ring {
    struct deque_ring *older; /* kept: a thief may still read it; freed with the deque */
    size_t mask;
    _Atomic(struct process *) slots[];
};

static size_t ring_bytes(size_t size)
{
    return sizeof(struct deque_ring) + size * sizeof(_Atomic(struct process *));
}

static struct deque_ring *ring_new(struct vm *vm, size_t size, struct deque_ring *older)
{
    struct deque_ring *r = vm_alloc(vm, ring_bytes(size));

    if (r != NULL) {
        r->older = older;
        r->mask = size - 1;
    }
    return r;
}

bool deque_init(struct deque *d, struct vm *vm)
{
    struct deque_ring *r = ring_new(vm, 256, NULL);

    atomic_init(&d->top, 0);
    atomic_init(&d->bottom, 0);
    atomic_init(&d->ring, r);
    return r != NULL;
}

void deque_deinit(struct deque *d, struct vm *vm)
{
    struct deque_ring *r = atomic_load_explicit(&d->ring, memory_order_relaxed);

    while (r != NULL) {
        struct deque_ring *older = r->older;

        vm_free(vm, r, ring_bytes(r->mask + 1));
        r = older;
    }
}

bool deque_push(struct deque *d, struct vm *vm, struct process *p)
{
    int64_t bottom = atomic_load_explicit(&d->bottom, memory_order_relaxed);
    /* acquire: slots that thieves have emptied are really free */
    int64_t top = atomic_load_explicit(&d->top, memory_order_acquire);
    struct deque_ring *r = atomic_load_explicit(&d->ring, memory_order_relaxed);

    if (bottom - top > (int64_t)r->mask - 1) {
        struct deque_ring *bigger = ring_new(vm, (r->mask + 1) * 2, r);

        if (bigger == NULL) {
            return false;
        }
        for (int64_t i = top; i < bottom; i++) {
            struct process *q =
                atomic_load_explicit(&r->slots[(size_t)i & r->mask], memory_order_relaxed);

            atomic_store_explicit(&bigger->slots[(size_t)i & bigger->mask], q,
                                  memory_order_relaxed);
        }
        /* release: a thief that sees the new ring sees its content */
        atomic_store_explicit(&d->ring, bigger, memory_order_release);
        r = bigger;
    }
    atomic_store_explicit(&r->slots[(size_t)bottom & r->mask], p, memory_order_relaxed);
    sched_point(vm);
    /* release: pairs with the acquire of bottom in deque_take(); slot and record are complete */
    atomic_store_explicit(&d->bottom, bottom + 1, memory_order_release);
    return true;
}

struct process *deque_take(struct deque *d, bool *lost)
{
    int64_t top = atomic_load_explicit(&d->top, memory_order_acquire);
    int64_t bottom = atomic_load_explicit(&d->bottom, memory_order_acquire);

    *lost = false;
    if (top >= bottom) {
        return NULL;
    }
    const struct deque_ring *r = atomic_load_explicit(&d->ring, memory_order_acquire);
    struct process *p =
        atomic_load_explicit(&r->slots[(size_t)top & r->mask], memory_order_relaxed);

    /* Whoever moves top owns the slot that was read; a ring that was replaced still holds it. */
    if (!atomic_compare_exchange_strong_explicit(&d->top, &top, top + 1, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        *lost = true;
        return NULL;
    }
    return p;
}

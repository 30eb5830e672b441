/* SPDX-License-Identifier: Apache-2.0 */
/* Realm memory: a bump allocator over one reservation. */
#include <base/checked.h>

#include "realm/realm.h"
#include "vm_state.h"

#ifdef TEST_BUILD
/* What this thread holds. Simulated threads share one, so there the order isn't checked. */
static _Thread_local uint32_t held[LOCK_MEMORY];
static _Thread_local unsigned held_count;

static void check_rank(const struct platform *pf, const struct lock *l)
{
    assert(l->rank != LOCK_UNRANKED);
    if (pf->step == NULL) {
        assert(held_count == 0 || held[held_count - 1] < l->rank);
        held[held_count++] = l->rank;
    }
}

static void uncheck_rank(const struct lock *l)
{
    if (held_count != 0) {
        assert(held[held_count - 1] == l->rank);
        held_count--;
    }
}
#else
static void check_rank(const struct platform *pf, const struct lock *l)
{
    (void)pf;
    (void)l;
}

static void uncheck_rank(const struct lock *l)
{
    (void)l;
}
#endif

void lock_acquire(const struct platform *pf, struct lock *l)
{
    unsigned spins = 0;

    check_rank(pf, l);

    /* acquire: pairs with the release in lock_release() */
    while (atomic_exchange_explicit(&l->held, 1, memory_order_acquire) != 0) {
        if (++spins > 64) {
            pf->yield_cpu(pf->self);
        }
    }
}

void lock_release(struct lock *l)
{
    uncheck_rank(l);
    atomic_store_explicit(&l->held, 0, memory_order_release);
}

term_t *realm_alloc_locked(struct vm *vm, size_t words)
{
    struct realm *r = &vm->realm;
    size_t at = atomic_load_explicit(&r->used, memory_order_relaxed);
    size_t bytes;

    if (!checked_mul(words, sizeof(term_t), &bytes) || bytes > REALM_SIZE - at) {
        return NULL;
    }
    if (at + bytes > r->committed) {
        size_t step = align_up(at + bytes - r->committed, REALM_COMMIT_STEP);

        if (step > REALM_SIZE - r->committed ||
            vm->platform.commit(vm->platform.self, r->base + r->committed, step) != PLATFORM_OK) {
            return NULL;
        }
        r->committed += step;
    }
    atomic_store_explicit(&r->used, at + bytes, memory_order_relaxed);
    return (term_t *)(void *)(r->base + at);
}

term_t *realm_alloc(struct vm *vm, size_t words)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    term_t *p = realm_alloc_locked(vm, words);

    lock_release(&vm->realm.lock);
    return p;
}

bool realm_owns(const struct vm *vm, term_t t)
{
    return term_is_pointer(t) && realm_holds(&vm->realm, term_ptr(t));
}

bool realm_add_fun(struct vm *vm, const struct fun *f)
{
    struct fun_index *x = &vm->realm.funs;
    uint32_t n = atomic_load_explicit(&x->count, memory_order_relaxed);
    size_t step = 4096 / sizeof(const struct fun *);

    if (n == FUNS_MAX) {
        return false;
    }
    if (n % step == 0 && vm->platform.commit(vm->platform.self, (void *)(x->funs + n), 4096) != 0) {
        return false;
    }
    x->funs[n] = f;
    /* release: pairs with the acquire in realm_fun_at() */
    atomic_store_explicit(&x->count, n + 1, memory_order_release);
    return true;
}

uint64_t realm_next_gensym(struct vm *vm)
{
    return atomic_fetch_add_explicit(&vm->realm.gensym, 1, memory_order_relaxed) + 1;
}

uint64_t realm_next_ref(struct vm *vm)
{
    return atomic_fetch_add_explicit(&vm->realm.ref, 1, memory_order_relaxed) + 1;
}

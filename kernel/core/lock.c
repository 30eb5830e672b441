/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ticket spinlocks, and mutexes and semaphores built on the wait protocol: a sleeper is queued
 * under the lock's spinlock, and whoever releases hands the lock to the first in line, so a woken
 * task owns it already.
 */

#include <stdatomic.h>

#include <arch/ops.h>
#include <core/lock.h>
#include <sched/cpu.h>
#include <sched/task.h>

#ifdef TEST_BUILD
/* Ranks must rise: the CPU's mask of held ranks may have no bit at or above the new one. */
static void note_taken(struct spinlock *l)
{
    uint64_t *held = &this_cpu()->held_locks[0];

    l->owner = (uint8_t)(this_cpu()->index + 1);
    if (l->rank != RANK_NONE) {
        assert(*held >> l->rank == 0);
        *held |= UINT64_C(1) << l->rank;
    }
}

static void note_released(struct spinlock *l)
{
    assert(l->owner == this_cpu()->index + 1);
    l->owner = 0;
    this_cpu()->held_locks[0] &= ~(l->rank != RANK_NONE ? UINT64_C(1) << l->rank : 0);
}
#else
static inline void note_taken(struct spinlock *l)
{
    (void)l;
}

static inline void note_released(struct spinlock *l)
{
    (void)l;
}
#endif

static NEVER_INLINE void spin_wait(struct spinlock *l, uint16_t ticket)
{
    /* acquire: pairs with the release in spin_unlock(). */
    while (atomic_load_explicit(&l->serving, memory_order_acquire) != ticket) {
        cpu_relax();
    }
}

void spin_lock(struct spinlock *l)
{
    /* relaxed: taking a number orders nothing; the acquire below does. */
    uint16_t ticket = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);

    /* acquire: pairs with the release in spin_unlock(). */
    if (unlikely(atomic_load_explicit(&l->serving, memory_order_acquire) != ticket)) {
        spin_wait(l, ticket);
    }
    note_taken(l);
}

bool spin_trylock(struct spinlock *l)
{
    uint16_t serving = atomic_load_explicit(&l->serving, memory_order_relaxed);
    uint16_t expected = serving;

    /* acquire on success: pairs with the release in spin_unlock(). Nobody drew a number between the
     * two loads, so `serving` is ours. */
    if (!atomic_compare_exchange_strong_explicit(&l->next, &expected, (uint16_t)(serving + 1),
                                                 memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
#ifdef TEST_BUILD
    l->owner = (uint8_t)(this_cpu()->index + 1); /* a try cannot wait: no rank is asked */
#endif
    return true;
}

void spin_unlock(struct spinlock *l)
{
    uint16_t serving = atomic_load_explicit(&l->serving, memory_order_relaxed);

    note_released(l);
    /* release: what was done under the lock is seen by the next holder. Only the holder writes it.
     */
    atomic_store_explicit(&l->serving, (uint16_t)(serving + 1), memory_order_release);
}

uint64_t spin_lock_irqsave(struct spinlock *l)
{
    uint64_t flags = irq_save();

    spin_lock(l);
    return flags;
}

void spin_unlock_irqrestore(struct spinlock *l, uint64_t flags)
{
    spin_unlock(l);
    irq_restore(flags);
}

bool spin_is_mine(const struct spinlock *l)
{
#ifdef TEST_BUILD
    return l->owner == this_cpu()->index + 1;
#else
    return atomic_load_explicit(&l->next, memory_order_relaxed) !=
           atomic_load_explicit(&l->serving, memory_order_relaxed);
#endif
}

/* --- sleeping locks ------------------------------------------------------------------------------
 */

/* One task in line for a mutex or a semaphore; lives on its stack. */
struct lock_waiter {
    struct list link;
    struct task *task;
    bool wants_write;
    _Atomic bool is_granted; /* set by the releaser, under the spinlock */
};

/*
 * Sleep until granted. -EINTR when `killable` and a fatal signal came first: the caller then takes
 * itself off the line under the spinlock, looking at is_granted again.
 */
static int await_grant(struct lock_waiter *w, bool killable)
{
    struct sched_entity *self = &current->sched;

    for (;;) {
        /* seq_cst: the state must be visible before is_granted is read; pairs with grant(). */
        atomic_store_explicit(&self->state, killable ? TASK_KILLABLE : TASK_BLOCKED,
                              memory_order_seq_cst);
        if (atomic_load_explicit(&w->is_granted, memory_order_seq_cst)) {
            break;
        }
        if (killable && fatal_signal_is_pending(current)) {
            atomic_store_explicit(&self->state, TASK_RUNNING, memory_order_relaxed);
            return -EINTR;
        }
        schedule();
    }
    atomic_store_explicit(&self->state, TASK_RUNNING, memory_order_relaxed);
    return 0;
}

static void grant(struct lock_waiter *w)
{
    struct task *t = w->task;

    list_remove(&w->link);
    /* seq_cst: before the sleeper's state is read in sched_wake(); `w` may be gone right after. */
    atomic_store_explicit(&w->is_granted, true, memory_order_seq_cst);
    (void)sched_wake(t, WAKE_SLEEPERS);
}

void mutex_init(struct mutex *m, enum lock_rank rank)
{
    (void)rank; /* sleeping locks are ordered by rank on paper; the checker follows spinlocks */
    atomic_init(&m->owner, NULL);
    spin_init(&m->lock, RANK_MUTEX_INNER);
    list_init(&m->waiters);
}

bool mutex_trylock(struct mutex *m)
{
    struct task *none = NULL;

    /* acquire: pairs with the release in mutex_unlock(). */
    return atomic_compare_exchange_strong_explicit(&m->owner, &none, current, memory_order_acquire,
                                                   memory_order_relaxed);
}

static int mutex_lock_slow(struct mutex *m, bool killable)
{
    struct lock_waiter w = { .task = current };
    uint64_t flags = spin_lock_irqsave(&m->lock);
    int err;

    assert(atomic_load_explicit(&m->owner, memory_order_relaxed) != current);
    list_push_back(&m->waiters, &w.link);
    /*
     * Visible in the list before the owner is looked at again: an owner that left before sees no
     * waiter, and then the lock is free for us here; one that leaves later takes the spinlock and
     * finds us.
     */
    atomic_thread_fence(memory_order_seq_cst);
    if (mutex_trylock(m)) {
        list_remove(&w.link);
        spin_unlock_irqrestore(&m->lock, flags);
        return 0;
    }
    spin_unlock_irqrestore(&m->lock, flags);

    err = await_grant(&w, killable);
    if (err < 0) {
        flags = spin_lock_irqsave(&m->lock);
        if (atomic_load_explicit(&w.is_granted, memory_order_relaxed)) {
            err = 0; /* granted in between: keep it */
        } else {
            list_remove(&w.link);
        }
        spin_unlock_irqrestore(&m->lock, flags);
    }
    return err;
}

void mutex_lock(struct mutex *m)
{
    if (unlikely(!mutex_trylock(m))) {
        int err = mutex_lock_slow(m, false);

        assert(err == 0);
    }
}

int mutex_lock_killable(struct mutex *m)
{
    return likely(mutex_trylock(m)) ? 0 : mutex_lock_slow(m, true);
}

void mutex_unlock(struct mutex *m)
{
    assert(mutex_is_mine(m));
    if (likely(list_is_empty(&m->waiters))) {
        /* seq_cst: pairs with the fence in mutex_lock_slow(): one of us sees the other. */
        atomic_store_explicit(&m->owner, NULL, memory_order_seq_cst);
        if (likely(list_is_empty(&m->waiters))) {
            return;
        }
        /* A waiter came in between. Whoever owns the lock now serves it; if nobody does, we must.
         */
        if (!mutex_trylock(m)) {
            return;
        }
    }
    uint64_t flags = spin_lock_irqsave(&m->lock);

    if (list_is_empty(&m->waiters)) {
        spin_unlock_irqrestore(&m->lock, flags);
        mutex_unlock(m); /* the waiter gave up: release as usual */
        return;
    }
    struct lock_waiter *w = list_first(&m->waiters, struct lock_waiter, link);

    atomic_store_explicit(&m->owner, w->task, memory_order_relaxed); /* ordered by the grant */
    grant(w);
    spin_unlock_irqrestore(&m->lock, flags);
}

bool mutex_is_mine(const struct mutex *m)
{
    return atomic_load_explicit(&m->owner, memory_order_relaxed) == current;
}

void rwsem_init(struct rwsem *s, enum lock_rank rank)
{
    (void)rank;
    atomic_init(&s->state, 0);
    spin_init(&s->lock, RANK_MUTEX_INNER);
    list_init(&s->waiters);
}

/* May one more come in, as far as those who are in are concerned? */
static bool rwsem_has_room(uint32_t state, bool wants_write)
{
    return (state & (wants_write ? ~RWSEM_WAITERS : RWSEM_WRITER)) == 0;
}

/* Let in whoever is first: one writer, or the readers up to the next writer. Spinlock held. */
static void rwsem_admit(struct rwsem *s)
{
    while (!list_is_empty(&s->waiters)) {
        struct lock_waiter *w = list_first(&s->waiters, struct lock_waiter, link);

        /* acquire: pairs with the release of who left. WAITERS is set: nobody comes in meanwhile.
         */
        if (!rwsem_has_room(atomic_load_explicit(&s->state, memory_order_acquire),
                            w->wants_write)) {
            return;
        }
        atomic_fetch_add_explicit(&s->state, w->wants_write ? RWSEM_WRITER : 1,
                                  memory_order_acquire);
        grant(w);
    }
    atomic_fetch_and_explicit(&s->state, ~RWSEM_WAITERS, memory_order_relaxed);
}

static NEVER_INLINE void rwsem_lock_slow(struct rwsem *s, bool wants_write)
{
    struct lock_waiter w = { .task = current, .wants_write = wants_write };
    uint64_t flags = spin_lock_irqsave(&s->lock);

    list_push_back(&s->waiters, &w.link);
    /* From here on whoever leaves sees that somebody waits; who left before made the room that
     * rwsem_admit() sees. */
    atomic_fetch_or_explicit(&s->state, RWSEM_WAITERS, memory_order_seq_cst);
    rwsem_admit(s);
    spin_unlock_irqrestore(&s->lock, flags);

    int err = await_grant(&w, false);

    assert(err == 0);
}

static NEVER_INLINE void rwsem_unlock_slow(struct rwsem *s)
{
    uint64_t flags = spin_lock_irqsave(&s->lock);

    rwsem_admit(s);
    spin_unlock_irqrestore(&s->lock, flags);
}

bool rwsem_read_trylock(struct rwsem *s)
{
    uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);

    while ((state & (RWSEM_WRITER | RWSEM_WAITERS)) == 0) {
        /* acquire: pairs with the release of the writer before. */
        if (likely(atomic_compare_exchange_weak_explicit(
                &s->state, &state, state + 1, memory_order_acquire, memory_order_relaxed))) {
            return true;
        }
    }
    return false;
}

void rwsem_read_lock(struct rwsem *s)
{
    if (unlikely(!rwsem_read_trylock(s))) {
        rwsem_lock_slow(s, false);
    }
}

void rwsem_read_unlock(struct rwsem *s)
{
    /* release: pairs with the acquire of the next writer. */
    uint32_t state = atomic_fetch_sub_explicit(&s->state, 1, memory_order_acq_rel);

    assert((state & ~(RWSEM_WRITER | RWSEM_WAITERS)) != 0);
    if (unlikely(state == (RWSEM_WAITERS | 1))) {
        rwsem_unlock_slow(s);
    }
}

void rwsem_write_lock(struct rwsem *s)
{
    uint32_t none = 0;

    if (unlikely(!atomic_compare_exchange_strong_explicit(
            &s->state, &none, RWSEM_WRITER, memory_order_acquire, memory_order_relaxed))) {
        rwsem_lock_slow(s, true);
    }
}

void rwsem_write_unlock(struct rwsem *s)
{
    /* release: pairs with the acquire of the next holder. */
    uint32_t state = atomic_fetch_sub_explicit(&s->state, RWSEM_WRITER, memory_order_acq_rel);

    assert((state & ~RWSEM_WAITERS) == RWSEM_WRITER);
    if (unlikely(state & RWSEM_WAITERS)) {
        rwsem_unlock_slow(s);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spinlocks, mutexes, reader/writer semaphores. The kernel is not preempted in ring 0 (only at the
 * return to user mode and in cond_resched()), so a spinlock alone keeps a CPU; locks that interrupt
 * handlers also take are taken with the _irqsave forms everywhere. Ranks are in core/lock_rank.h;
 * debug builds stop when they do not rise. Spin-holders never sleep, allocate with GFP_KERNEL, or
 * touch user memory.
 */
#pragma once

#include <stdatomic.h>

#include <core/lock_rank.h>
#include <core/types.h>

struct task;

/* Ticket lock. 8 bytes; all-zero is unlocked, rank 0 (unranked) until initialised. */
struct spinlock {
    _Atomic uint16_t next;
    _Atomic uint16_t serving;
    uint8_t rank;
    uint8_t
        owner; /* CPU index + 1 while held; kept by test builds only: it costs eight instructions */
    uint16_t unused;
};

static_assert(sizeof(struct spinlock) == 8, "locks are embedded everywhere");

#define SPINLOCK_INIT(r)                                                                           \
    {                                                                                              \
        .rank = (r)                                                                                \
    }

static inline void spin_init(struct spinlock *l, enum lock_rank rank)
{
    *l = (struct spinlock)SPINLOCK_INIT((uint8_t)rank);
}

void spin_lock(struct spinlock *l);
bool spin_trylock(struct spinlock *l);
void spin_unlock(struct spinlock *l);
uint64_t spin_lock_irqsave(struct spinlock *l); /* returns the flags to give back */
void spin_unlock_irqrestore(struct spinlock *l, uint64_t flags);
/* Held, by this CPU as far as test builds are concerned; for assertions. */
bool spin_is_mine(const struct spinlock *l);

/* Sleeping lock, not recursive. Waiters are served in order. */
struct mutex {
    _Atomic(struct task *) owner;
    struct spinlock lock;
    struct list waiters;
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
int mutex_lock_killable(struct mutex *m)
    MUST_CHECK; /* 0 or -EINTR when a fatal signal is pending */
void mutex_unlock(struct mutex *m);
bool mutex_is_mine(const struct mutex *m);

/*
 * Many readers or one writer; sleeping; whoever waits stops new ones, so waiters come in in order.
 * `state` counts the readers; bits above say that a writer has it and that somebody waits. While
 * the latter is set, only the holder of the spinlock lets anybody in.
 */
struct rwsem {
    struct spinlock lock; /* of the line */
    _Atomic uint32_t state;
    struct list waiters;
};

#define RWSEM_WRITER  (UINT32_C(1) << 30)
#define RWSEM_WAITERS (UINT32_C(1) << 31)

/* For a holder that wants to know how it holds it. */
static inline bool rwsem_is_written(const struct rwsem *s)
{
    return (atomic_load_explicit(&s->state, memory_order_relaxed) & RWSEM_WRITER) != 0;
}

void rwsem_init(struct rwsem *s, enum lock_rank rank);
void rwsem_read_lock(struct rwsem *s);
bool rwsem_read_trylock(struct rwsem *s);
void rwsem_read_unlock(struct rwsem *s);
void rwsem_write_lock(struct rwsem *s);
void rwsem_write_unlock(struct rwsem *s);

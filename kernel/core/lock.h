/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spinlocks, mutexes, reader/writer semaphores. The kernel is not preempted in ring 0 (only at the
 * return to user mode and in cond_resched()), so a spinlock alone keeps a CPU; locks that interrupt
 * handlers also take are taken with the _irqsave forms everywhere. Ranks are in core/lock_rank.h;
 * debug builds stop when they do not rise. Spin-holders never sleep, allocate with GFP_KERNEL, or
 * touch user memory.
 */
#pragma once

#include <core/lock_rank.h>
#include <core/types.h>

struct task;

/* Ticket lock. 8 bytes; all-zero is unlocked, rank 0 (unranked) until initialised. */
struct spinlock {
    _Atomic uint16_t next;
    _Atomic uint16_t serving;
    uint8_t rank;
    uint8_t owner; /* CPU index + 1 while held */
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
bool spin_is_mine(const struct spinlock *l); /* held by this CPU; for assertions */

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

/* Many readers or one writer; sleeping; a waiting writer stops new readers. */
struct rwsem {
    struct spinlock lock;
    int32_t readers; /* -1: a writer has it */
    uint32_t writers_waiting;
    struct list waiters;
};

void rwsem_init(struct rwsem *s, enum lock_rank rank);
void rwsem_read_lock(struct rwsem *s);
bool rwsem_read_trylock(struct rwsem *s);
void rwsem_read_unlock(struct rwsem *s);
void rwsem_write_lock(struct rwsem *s);
void rwsem_write_unlock(struct rwsem *s);

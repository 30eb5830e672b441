/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks of single-threaded unit tests: what would spin or sleep for ever on one CPU stops the test,
 * and ranks of spinlocks must rise.
 */
#include <core/lock.h>

#include <arch/inline_ops.h>
#include <host/host.h>
#include <sched/task.h>

static unsigned held[RANK_MAX]; /* spinlocks held, by rank */

static void rank_enter(unsigned rank)
{
    assert(rank < RANK_MAX);
    if (rank != RANK_NONE) {
        for (unsigned r = rank + 1; r < RANK_MAX; r++) {
            assert(held[r] == 0);
        }
        held[rank]++;
    }
}

static void rank_leave(unsigned rank)
{
    if (rank != RANK_NONE) {
        assert(held[rank] > 0);
        held[rank]--;
    }
}

HOST_STAND_IN void spin_lock(struct spinlock *l)
{
    assert(l->owner == 0);
    rank_enter(l->rank);
    l->owner = 1;
}

HOST_STAND_IN bool spin_trylock(struct spinlock *l)
{
    if (l->owner != 0) {
        return false;
    }
    rank_enter(l->rank);
    l->owner = 1;
    return true;
}

HOST_STAND_IN void spin_unlock(struct spinlock *l)
{
    assert(l->owner == 1);
    l->owner = 0;
    rank_leave(l->rank);
}

HOST_STAND_IN uint64_t spin_lock_irqsave(struct spinlock *l)
{
    uint64_t flags = irq_save();

    spin_lock(l);
    return flags;
}

HOST_STAND_IN void spin_unlock_irqrestore(struct spinlock *l, uint64_t flags)
{
    spin_unlock(l);
    irq_restore(flags);
}

HOST_STAND_IN bool spin_is_mine(const struct spinlock *l)
{
    return l->owner == 1;
}

HOST_STAND_IN void mutex_init(struct mutex *m, enum lock_rank rank)
{
    *m = (struct mutex){ .owner = NULL };
    spin_init(&m->lock, rank);
    list_init(&m->waiters);
}

HOST_STAND_IN void mutex_lock(struct mutex *m)
{
    assert(m->owner == NULL);
    m->owner = current;
}

HOST_STAND_IN bool mutex_trylock(struct mutex *m)
{
    if (m->owner) {
        return false;
    }
    m->owner = current;
    return true;
}

HOST_STAND_IN int mutex_lock_killable(struct mutex *m)
{
    mutex_lock(m);
    return 0;
}

HOST_STAND_IN void mutex_unlock(struct mutex *m)
{
    assert(m->owner == current);
    m->owner = NULL;
}

HOST_STAND_IN bool mutex_is_mine(const struct mutex *m)
{
    return m->owner == current;
}

HOST_STAND_IN void rwsem_init(struct rwsem *s, enum lock_rank rank)
{
    *s = (struct rwsem){ 0 };
    spin_init(&s->lock, rank);
    list_init(&s->waiters);
}

HOST_STAND_IN bool rwsem_read_trylock(struct rwsem *s)
{
    if (s->state == RWSEM_WRITER) {
        return false;
    }
    s->state++;
    return true;
}

HOST_STAND_IN void rwsem_read_lock(struct rwsem *s)
{
    bool ok = rwsem_read_trylock(s);

    assert(ok);
}

HOST_STAND_IN void rwsem_read_unlock(struct rwsem *s)
{
    assert(s->state > 0 && s->state < RWSEM_WRITER);
    s->state--;
}

HOST_STAND_IN void rwsem_write_lock(struct rwsem *s)
{
    assert(s->state == 0);
    s->state = RWSEM_WRITER;
}

HOST_STAND_IN void rwsem_write_unlock(struct rwsem *s)
{
    assert(s->state == RWSEM_WRITER);
    s->state = 0;
}

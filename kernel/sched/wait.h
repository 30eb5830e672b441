/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one blocking primitive (rule A7). Sleep = enqueue on wait queues, publish the sleeping state,
 * look at the condition again, then switch; wake = state compare-and-swap. No polling anywhere.
 *
 *     struct waiter w;
 *     wait_begin(&w, WAIT_INTERRUPTIBLE, deadline);
 *     wait_add(&queue, &w, POLLIN);
 *     while (!(ready = condition()) && (err = wait_sleep(&w)) == 0) { }
 *     wait_end(&w);
 *     return ready ? 0 : err;
 *
 * The condition counts first, then a signal, then the deadline (spec R-IO-3).
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>

struct task;

struct wait_queue {
    struct spinlock lock; /* irq-safe: interrupt handlers wake */
    struct list entries;  /* wait_entry->node, exclusive ones at the end */
};

/*
 * One presence on one queue. `wake` runs under the queue's lock, maybe in an interrupt: it records
 * and wakes, nothing else. `events` are POLL* bits it wants; 0: all. Returns true if it took the
 * event (counts for wake-one).
 */
struct wait_entry {
    struct list node;
    struct wait_queue *queue; /* NULL: on none */
    bool (*wake)(struct wait_entry *e, uint32_t events);
    uint32_t events;
    bool is_exclusive;
    void *ctx; /* wake()'s own */
};

void wait_queue_init(struct wait_queue *q);
void wait_queue_init_ranked(struct wait_queue *q, enum lock_rank rank);
void wait_entry_add(struct wait_queue *q, struct wait_entry *e);
void wait_entry_remove(struct wait_entry *e); /* idempotent; on return `wake` runs no more */

/*
 * Tell sleepers that `events` happened (POLL* bits; what to tell must be visible before the call).
 * wake_all: everybody; wake_one: all shared entries and the first exclusive one that takes it. Any
 * context.
 */
void wake_all(struct wait_queue *q, uint32_t events);
void wake_one(struct wait_queue *q, uint32_t events);

static inline bool wait_queue_is_empty(const struct wait_queue *q)
{
    return list_is_empty(&q->entries); /* a hint, unless the queue's lock is held */
}

enum wait_kind {
    WAIT_UNINTERRUPTIBLE, /* short, bounded waits only */
    WAIT_KILLABLE,        /* fatal signals end it */
    WAIT_INTERRUPTIBLE,   /* any deliverable signal ends it */
};

#define WAITER_INLINE 2

struct waiter {
    struct task *task;
    enum wait_kind kind;
    uint64_t deadline_ns;  /* monotonic; TIME_FOREVER: none */
    _Atomic bool is_woken; /* a wake since the last wait_sleep(): that one returns at once */
    unsigned count;
    struct wait_entry entry[WAITER_INLINE];
};

void wait_begin(struct waiter *w, enum wait_kind kind, uint64_t deadline_ns);
void wait_add(struct wait_queue *q, struct waiter *w,
              uint32_t events); /* at most WAITER_INLINE queues */
void wait_add_exclusive(struct wait_queue *q, struct waiter *w, uint32_t events);
/*
 * Sleep until woken: 0 (look at the condition again), -ERESTARTSYS (a signal; KILLABLE: -EINTR),
 * -ETIMEDOUT. A wake between wait_add() and here is not lost.
 */
int wait_sleep(struct waiter *w) MUST_CHECK;
/* Wake this sleeper itself, without a queue; the caller sees to it that w is still there. Any
 * context. */
void wait_wake(struct waiter *w);
/* For WAIT_UNINTERRUPTIBLE without a deadline, where there is nothing but the wake. */
void wait_sleep_surely(struct waiter *w);
void wait_end(struct waiter *w);

/* Plain sleeps. sleep_until: 0 at the deadline or -ERESTARTSYS. */
int sleep_until(uint64_t deadline_ns, enum wait_kind kind) MUST_CHECK;

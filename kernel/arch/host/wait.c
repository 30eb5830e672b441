/* SPDX-License-Identifier: Apache-2.0 */
/* Wait queues of single-threaded unit tests: a sleep asks the test's hook what happens meanwhile.
 */
#include <sched/wait.h>

#include <host/host.h>
#include <sched/task.h>

bool (*host_on_sleep)(void);

static void queue_init(struct wait_queue *q, enum lock_rank rank)
{
    spin_init(&q->lock, rank);
    list_init(&q->entries);
}

HOST_STAND_IN void wait_queue_init(struct wait_queue *q)
{
    queue_init(q, RANK_WAIT);
}

HOST_STAND_IN void wait_queue_init_ranked(struct wait_queue *q, enum lock_rank rank)
{
    queue_init(q, rank);
}

HOST_STAND_IN void wait_entry_add(struct wait_queue *q, struct wait_entry *e)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);

    e->queue = q;
    if (e->is_exclusive) {
        list_push_back(&q->entries, &e->node);
    } else {
        list_push_front(&q->entries, &e->node);
    }
    spin_unlock_irqrestore(&q->lock, flags);
}

HOST_STAND_IN void wait_entry_remove(struct wait_entry *e)
{
    if (e->queue) {
        list_remove(&e->node);
        e->queue = NULL;
    }
}

static void wake(struct wait_queue *q, uint32_t events, bool one)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);
    struct wait_entry *e;
    struct wait_entry *tmp;

    list_for_each_entry_safe(e, tmp, &q->entries, node) {
        if (events != 0 && e->events != 0 && (e->events & events) == 0) {
            continue;
        }
        if (e->wake(e, events) && e->is_exclusive && one) {
            break;
        }
    }
    spin_unlock_irqrestore(&q->lock, flags);
}

HOST_STAND_IN void wake_all(struct wait_queue *q, uint32_t events)
{
    wake(q, events, false);
}

HOST_STAND_IN void wake_one(struct wait_queue *q, uint32_t events)
{
    wake(q, events, true);
}

HOST_STAND_IN void wait_begin(struct waiter *w, enum wait_kind kind, uint64_t deadline_ns)
{
    *w = (struct waiter){ .task = current, .kind = kind, .deadline_ns = deadline_ns };
}

/* Entries lie in the waiter's array: one function for each place finds the waiter. */
static bool wake_first(struct wait_entry *e, uint32_t events)
{
    (void)events;
    container_of(e, struct waiter, entry[0])->is_woken = true;
    return true;
}

static bool wake_second(struct wait_entry *e, uint32_t events)
{
    (void)events;
    container_of(e, struct waiter, entry[1])->is_woken = true;
    return true;
}

static void add(struct wait_queue *q, struct waiter *w, uint32_t events, bool is_exclusive)
{
    static bool (*const wakes[WAITER_INLINE])(struct wait_entry *, uint32_t) = { wake_first,
                                                                                 wake_second };

    assert(w->count < WAITER_INLINE);
    bool (*entry_wake)(struct wait_entry *, uint32_t) = wakes[w->count];
    struct wait_entry *e = &w->entry[w->count++];

    *e = (struct wait_entry){ .wake = entry_wake, .events = events, .is_exclusive = is_exclusive };
    wait_entry_add(q, e);
}

HOST_STAND_IN void wait_add(struct wait_queue *q, struct waiter *w, uint32_t events)
{
    add(q, w, events, false);
}

HOST_STAND_IN void wait_add_exclusive(struct wait_queue *q, struct waiter *w, uint32_t events)
{
    add(q, w, events, true);
}

HOST_STAND_IN int wait_sleep(struct waiter *w)
{
    bool is_signal = w->kind == WAIT_INTERRUPTIBLE ? signal_is_pending(w->task)
                     : w->kind == WAIT_KILLABLE    ? fatal_signal_is_pending(w->task)
                                                   : false;
    int interrupted = w->kind == WAIT_KILLABLE ? -EINTR : -ERESTARTSYS;

    if (w->is_woken) {
        w->is_woken = false;
        return 0;
    }
    if (is_signal) {
        return interrupted;
    }
    if (host_on_sleep) {
        if (!host_on_sleep()) {
            return interrupted;
        }
        w->is_woken = false;
        return host_now_ns >= w->deadline_ns ? -ETIMEDOUT : 0;
    }
    assert(w->deadline_ns != TIME_FOREVER); /* nobody would ever wake it */
    host_now_ns = max_of(host_now_ns, w->deadline_ns);
    return -ETIMEDOUT;
}

HOST_STAND_IN void wait_end(struct waiter *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        wait_entry_remove(&w->entry[i]);
    }
}

HOST_STAND_IN int sleep_until(uint64_t deadline_ns, enum wait_kind kind)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, kind, deadline_ns);
    while (err == 0) {
        err = wait_sleep(&w);
    }
    wait_end(&w);
    return err == -ETIMEDOUT ? 0 : err;
}

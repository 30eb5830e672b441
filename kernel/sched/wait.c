/* SPDX-License-Identifier: Apache-2.0 */
/* Wait queues and the sleep protocol; see the header for the argument why no wake is lost. */

#include <stdatomic.h>

#include <arch/ops.h>
#include <sched/task.h>
#include <sched/wait.h>

void wait_queue_init_ranked(struct wait_queue *q, enum lock_rank rank)
{
    spin_init(&q->lock, rank);
    list_init(&q->entries);
}

void wait_queue_init(struct wait_queue *q)
{
    wait_queue_init_ranked(q, RANK_WAIT);
}

void wait_entry_add(struct wait_queue *q, struct wait_entry *e)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);

    assert(!e->queue);
    e->queue = q;
    if (e->is_exclusive) {
        list_push_back(&q->entries, &e->node);
    } else {
        list_push_front(&q->entries, &e->node);
    }
    spin_unlock_irqrestore(&q->lock, flags);
}

void wait_entry_remove(struct wait_entry *e)
{
    struct wait_queue *q = e->queue;

    /* Entries leave only here, by their owner, so the pointer is stable for him. */
    if (q) {
        uint64_t flags = spin_lock_irqsave(&q->lock);

        list_remove(&e->node);
        e->queue = NULL;
        spin_unlock_irqrestore(&q->lock, flags);
    }
}

static void wake(struct wait_queue *q, uint32_t events, bool one)
{
    struct wait_entry *e;
    struct wait_entry *next;
    uint64_t flags;

    /*
     * Orders the caller's news before the look at the queue: pairs with the lock in
     * wait_entry_add(), after which a sleeper looks at its condition. Empty here means that it will
     * see the news by itself.
     */
    atomic_thread_fence(memory_order_seq_cst);
    if (wait_queue_is_empty(q)) {
        return;
    }
    flags = spin_lock_irqsave(&q->lock);
    list_for_each_entry_safe(e, next, &q->entries, node) {
        if (e->events && events && !(e->events & events)) {
            continue;
        }
        if (e->wake(e, events) && e->is_exclusive && one) {
            break;
        }
    }
    spin_unlock_irqrestore(&q->lock, flags);
}

void wake_all(struct wait_queue *q, uint32_t events)
{
    wake(q, events, false);
}

void wake_one(struct wait_queue *q, uint32_t events)
{
    wake(q, events, true);
}

/* --- tasks as waiters
 * ------------------------------------------------------------------------------ */

static bool waiter_wake(struct wait_entry *e, uint32_t events)
{
    struct waiter *w = e->ctx;

    (void)events;
    /* seq_cst: before the state is read in sched_wake(); pairs with the exchange in wait_sleep().
     */
    if (atomic_exchange_explicit(&w->is_woken, true, memory_order_seq_cst)) {
        return false; /* somebody else's wake, not yet consumed: an exclusive event goes to the next
                       */
    }
    (void)sched_wake(w->task, WAKE_SLEEPERS);
    return true;
}

void wait_begin(struct waiter *w, enum wait_kind kind, uint64_t deadline_ns)
{
    w->task = current;
    w->kind = kind;
    w->deadline_ns = deadline_ns;
    atomic_init(&w->is_woken, false);
    w->count = 0;
}

static void waiter_add(struct wait_queue *q, struct waiter *w, uint32_t events, bool exclusive)
{
    struct wait_entry *e = &w->entry[w->count];

    assert(w->count < WAITER_INLINE);
    w->count++;
    *e = (struct wait_entry){
        .wake = waiter_wake,
        .events = events ? events | 0x18u : 0, /* POLLERR and POLLHUP always count */
        .is_exclusive = exclusive,
        .ctx = w,
    };
    wait_entry_add(q, e);
    /* Added before the condition is read: pairs with the fence in wake(). */
    atomic_thread_fence(memory_order_seq_cst);
}

void wait_add(struct wait_queue *q, struct waiter *w, uint32_t events)
{
    waiter_add(q, w, events, false);
}

void wait_add_exclusive(struct wait_queue *q, struct waiter *w, uint32_t events)
{
    waiter_add(q, w, events, true);
}

struct sleep_timer {
    struct timer timer;
    struct task *task;
};

static void sleep_timer_expired(struct timer *t)
{
    (void)sched_wake(container_of(t, struct sleep_timer, timer)->task, WAKE_SLEEPERS);
}

static int reason_not_to_sleep(const struct waiter *w)
{
    if (w->kind == WAIT_INTERRUPTIBLE && signal_is_pending(w->task)) {
        return -ERESTARTSYS;
    }
    if (w->kind == WAIT_KILLABLE && fatal_signal_is_pending(w->task)) {
        return -EINTR;
    }
    if (w->deadline_ns != TIME_FOREVER && clock_monotonic_ns() >= w->deadline_ns) {
        return -ETIMEDOUT;
    }
    return 0;
}

int wait_sleep(struct waiter *w)
{
    static const uint32_t states[] = {
        [WAIT_UNINTERRUPTIBLE] = TASK_BLOCKED,
        [WAIT_KILLABLE] = TASK_KILLABLE,
        [WAIT_INTERRUPTIBLE] = TASK_SLEEPING,
    };
    struct sched_entity *self = &w->task->sched;
    struct sleep_timer st;
    int err = 0;

    assert(w->task == current);
    /* seq_cst: sleeping is public before is_woken and the signal state are read. */
    atomic_store_explicit(&self->state, states[w->kind], memory_order_seq_cst);
    if (!atomic_exchange_explicit(&w->is_woken, false, memory_order_seq_cst)) {
        err = reason_not_to_sleep(w);
        if (err == 0) {
            if (w->deadline_ns != TIME_FOREVER) {
                st.task = w->task;
                timer_init(&st.timer, sleep_timer_expired);
                timer_start(&st.timer, w->deadline_ns);
                schedule();
                (void)timer_cancel(&st.timer);
            } else {
                schedule();
            }
            atomic_store_explicit(&w->is_woken, false, memory_order_seq_cst);
        }
    }
    atomic_store_explicit(&self->state, TASK_RUNNING, memory_order_relaxed);
    return err;
}

void wait_wake(struct waiter *w)
{
    /* As waiter_wake(): the flag before the state is read. */
    if (!atomic_exchange_explicit(&w->is_woken, true, memory_order_seq_cst)) {
        (void)sched_wake(w->task, WAKE_SLEEPERS);
    }
}

void wait_sleep_surely(struct waiter *w)
{
    int err;

    assert(w->kind == WAIT_UNINTERRUPTIBLE && w->deadline_ns == TIME_FOREVER);
    err = wait_sleep(w);
    assert(err == 0);
}

void wait_end(struct waiter *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        wait_entry_remove(&w->entry[i]);
    }
}

int sleep_until(uint64_t deadline_ns, enum wait_kind kind)
{
    struct waiter w;
    int err;

    wait_begin(&w, kind, deadline_ns);
    do {
        err = wait_sleep(&w);
    } while (err == 0);
    wait_end(&w);
    return err == -ETIMEDOUT ? 0 : err;
}

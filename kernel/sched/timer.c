/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per-CPU queues of one-shot timers in red-black trees, the first cached. The hardware is armed for
 * the earlier of the first timer and the end of the running task's slice (sched.c), and for nothing
 * when there is neither.
 */

#include <stdatomic.h>

#include <arch/ops.h>
#include <mm/slab.h>
#include <sched/cpu.h>
#include <sched/sched_internal.h>
#include <sched/task.h>
#include <sched/timer.h>

struct timer_queue {
    struct spinlock lock;
    struct rb_root tree;
    struct timer *first;
    struct timer *_Atomic running; /* its callback runs now; NULL: none */
    uint64_t slice_end_ns;         /* own CPU only, interrupts off */
    uint64_t armed_ns;             /* what the hardware is set to; own CPU only */
};

static struct timer_queue queues[CPU_MAX];

void timer_init_cpu(struct cpu *cpu)
{
    struct timer_queue *q = &queues[cpu->index];

    spin_init(&q->lock, RANK_TIMER);
    q->slice_end_ns = TIME_FOREVER;
    q->armed_ns = TIME_FOREVER;
    cpu->timers = q;
}

/* Arm for what comes first. This CPU, interrupts off. A read of `first` races only towards an extra
 * interrupt. */
static void program(struct timer_queue *q)
{
    uint64_t next = q->first ? q->first->deadline_ns : TIME_FOREVER;

    next = min_of(next, q->slice_end_ns);
    if (next != q->armed_ns) {
        q->armed_ns = next;
        arch_timer_arm(next);
    }
}

void timer_set_slice_end(uint64_t deadline_ns)
{
    struct timer_queue *q = this_cpu()->timers;

    q->slice_end_ns = deadline_ns;
    /* A later deadline needs no new arming: the early interrupt finds nothing and arms again. */
    if (deadline_ns < q->armed_ns) {
        spin_lock(&q->lock);
        program(q);
        spin_unlock(&q->lock);
    }
}

void timer_init(struct timer *t, void (*expired)(struct timer *t))
{
    t->expired = expired;
    t->cpu = -1;
}

static void insert_locked(struct timer_queue *q, struct timer *t)
{
    struct rb_node **link = &q->tree.node;
    struct rb_node *parent = NULL;
    bool is_first = true;

    while (*link) {
        parent = *link;
        if (t->deadline_ns < rb_entry(parent, struct timer, node)->deadline_ns) {
            link = &parent->left;
        } else {
            link = &parent->right;
            is_first = false;
        }
    }
    rb_link(&t->node, parent, link);
    rb_insert_fixup(&q->tree, &t->node);
    if (is_first) {
        q->first = t;
    }
}

static void remove_locked(struct timer_queue *q, struct timer *t)
{
    if (q->first == t) {
        struct rb_node *next = rb_next(&t->node);

        q->first = next ? rb_entry(next, struct timer, node) : NULL;
    }
    rb_remove(&q->tree, &t->node);
    t->cpu = -1;
}

/* Lock the queue that t is on; NULL if it is on none. t->cpu changes only under that queue's lock.
 */
static struct timer_queue *lock_queue_of(const struct timer *t)
{
    for (;;) {
        int16_t cpu = *(const volatile int16_t *)&t->cpu;

        if (cpu < 0) {
            return NULL;
        }
        spin_lock(&queues[cpu].lock);
        if (t->cpu == cpu) {
            return &queues[cpu];
        }
        spin_unlock(&queues[cpu].lock);
    }
}

void timer_start(struct timer *t, uint64_t deadline_ns)
{
    uint64_t flags = irq_save();
    struct timer_queue *q = lock_queue_of(t);

    if (q) {
        remove_locked(q, t);
        spin_unlock(&q->lock);
    }
    q = this_cpu()->timers;
    spin_lock(&q->lock);
    t->deadline_ns = deadline_ns;
    t->cpu = (int16_t)this_cpu()->index;
    insert_locked(q, t);
    if (q->first == t) {
        program(q);
    }
    spin_unlock(&q->lock);
    irq_restore(flags);
}

bool timer_cancel(struct timer *t)
{
    uint64_t flags = irq_save();
    struct timer_queue *q = lock_queue_of(t);

    if (q) {
        remove_locked(q, t);
        spin_unlock(&q->lock);
        irq_restore(flags);
        return true;
    }
    irq_restore(flags);
    for (unsigned i = 0; i < cpu_count; i++) {
        /* acquire: pairs with the release after the callback: its effects are visible on return. */
        while (atomic_load_explicit(&queues[i].running, memory_order_acquire) == t) {
            cpu_relax();
        }
    }
    return false;
}

void timer_interrupt(void)
{
    struct timer_queue *q = this_cpu()->timers;
    uint64_t now = clock_monotonic_ns();

    spin_lock(&q->lock);
    q->armed_ns = TIME_FOREVER; /* one-shot: it has fired */
    while (q->first && q->first->deadline_ns <= now) {
        struct timer *t = q->first;

        /* Before it leaves the queue: timer_cancel() looks at the queue first and at this second.
         */
        atomic_store_explicit(&q->running, t, memory_order_seq_cst);
        remove_locked(q, t);
        spin_unlock(&q->lock);
        t->expired(t); /* may free or restart t */
        atomic_store_explicit(&q->running, NULL, memory_order_release);
        spin_lock(&q->lock);
    }
    if (q->slice_end_ns <= now) {
        q->slice_end_ns = TIME_FOREVER;
        spin_unlock(&q->lock);
        sched_tick();
        spin_lock(&q->lock);
    }
    program(q);
    spin_unlock(&q->lock);
}

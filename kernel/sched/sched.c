/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round robin with budgets. Each CPU has three queues: real-time by priority, normal, idle class. A
 * normal task gets a budget (10 ms scaled by nice); while any is left it goes to the front of the
 * queue when it becomes runnable, so a sleeper runs at once; when it is spent, to the back with a
 * new one. Sleeping does not refill it, so tasks that wake each other cannot starve those that
 * compute. No tick: the timer is set to the end of the running task's budget only while somebody
 * waits.
 *
 * Protocol of sleeping and waking. A task publishes its sleeping state, then calls schedule(),
 * which looks at the state under the run queue's lock: not RUNNING means off the queue.
 * sched_wake() changes the state under the same lock: if the task is still queued (it did not get
 * to schedule() yet) that was all; otherwise it waits for on_cpu to become 0 (its stack is left),
 * chooses a CPU and queues it there.
 */

#include <stdatomic.h>

#include <arch/ops.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/mm.h>
#include <mm/slab.h>
#include <sched/cpu.h>
#include <sched/sched_internal.h>
#include <sched/task.h>

#define WAKE_PREEMPT_NS                                                                            \
    NSEC_PER_MSEC /* a running task keeps the CPU this long against a woken one */

enum queue_class {
    QUEUE_REALTIME,
    QUEUE_NORMAL,
    QUEUE_IDLE,
    QUEUE_COUNT
};

struct run_queue {
    struct spinlock lock;
    struct list queues[QUEUE_COUNT];
    uint32_t waiting; /* tasks in the lists */
    struct task *running;
    struct task *dead;      /* left by the last switch; its reference is dropped by the tail */
    uint64_t idle_since_ns; /* 0: not idle */
};

struct cpu cpus[CPU_MAX];
unsigned cpu_count = 1;
_Atomic uint64_t cpu_online_mask;

static struct run_queue run_queues[CPU_MAX];
static struct task boot_idle_task;
static _Atomic uint64_t idle_mask; /* CPUs that halt or are about to */

static enum queue_class class_of(const struct task *t)
{
    switch (t->sched.policy) {
    case 1:
    case 2:
        return QUEUE_REALTIME;
    case 5:
        return QUEUE_IDLE;
    default:
        return QUEUE_NORMAL;
    }
}

/* Nice -20..19 to 40..1 ms around 10 ms at 0: strictly falling, never 0. */
static int64_t slice_of(const struct task *t)
{
    int nice = t->sched.nice; /* NOLINT(bugprone-signed-char-misuse): a small number */
    int64_t ms = nice <= 0 ? 10 + (-nice * 3) / 2 : max_of(1, 10 - nice / 2);

    return ms * (int64_t)NSEC_PER_MSEC;
}

/* --- the queue, all with rq->lock held
 * ------------------------------------------------------------- */

static void enqueue_locked(struct run_queue *rq, struct task *t)
{
    enum queue_class c = class_of(t);
    struct task *other;

    assert(spin_is_mine(&rq->lock));
    rq->waiting++;
    if (c == QUEUE_REALTIME) {
        list_for_each_entry(other, &rq->queues[c], sched.run_link) {
            if (other->sched.rt_priority < t->sched.rt_priority) {
                break;
            }
        }
        list_insert_before(&other->sched.run_link, &t->sched.run_link);
    } else if (t->sched.budget_ns > 0) {
        list_push_front(&rq->queues[c], &t->sched.run_link);
    } else {
        t->sched.budget_ns = slice_of(t);
        list_push_back(&rq->queues[c], &t->sched.run_link);
    }
}

static struct task *first_locked(const struct run_queue *rq)
{
    for (unsigned c = 0; c < QUEUE_COUNT; c++) {
        if (!list_is_empty(&rq->queues[c])) {
            return list_first(&rq->queues[c], struct task, sched.run_link);
        }
    }
    return NULL;
}

static void dequeue_locked(struct run_queue *rq, struct task *t)
{
    assert(rq->waiting > 0);
    rq->waiting--;
    list_remove(&t->sched.run_link);
}

static bool beats(const struct task *t, const struct task *running)
{
    enum queue_class a = class_of(t);
    enum queue_class b = class_of(running);

    return a != b ? a < b
                  : a == QUEUE_REALTIME && t->sched.rt_priority > running->sched.rt_priority;
}

/* Put a woken or new task on the queue of CPU `index` and see to it that it gets its turn. */
static void place(struct task *t, unsigned index)
{
    struct cpu *cpu = &cpus[index];
    struct run_queue *rq = cpu->run_queue;

    spin_lock(&rq->lock);
    t->sched.cpu = (uint16_t)index;
    t->sched.is_queued = true;
    enqueue_locked(rq, t);
    if (index != this_cpu()->index || rq->running == cpu->idle || beats(t, rq->running)) {
        (void)atomic_fetch_or_explicit(&rq->running->work, WORK_RESCHED, memory_order_relaxed);
    } else {
        /* Its turn comes when the running one had its minimum, or its whole budget. */
        const struct sched_entity *r = &rq->running->sched;
        int64_t left = t->sched.budget_ns > 0 && class_of(t) == class_of(rq->running)
                           ? min_of(r->budget_ns, (int64_t)WAKE_PREEMPT_NS)
                           : r->budget_ns;

        timer_set_slice_end(r->exec_start_ns + (uint64_t)max_of(left, 0));
    }
    spin_unlock(&rq->lock);
    if (index != this_cpu()->index) {
        ipi_resched(index); /* it ends its halt, or looks at its work on the way to user mode */
    }
}

/* The last CPU if idle, else an idle one, else the last; always one that the task may use. */
static unsigned choose_cpu(const struct task *t)
{
    unsigned last = t->sched.cpu;
    /* relaxed: a hint; the run queue's lock decides. */
    uint64_t online = atomic_load_explicit(&cpu_online_mask, memory_order_relaxed);
    uint64_t allowed = t->sched.affinity & online;
    uint64_t idle = allowed & atomic_load_explicit(&idle_mask, memory_order_relaxed);

    assert(allowed != 0);
    if ((allowed >> last & 1) && (idle == 0 || (idle >> last & 1))) {
        return last;
    }
    return (unsigned)__builtin_ctzll(idle ? idle : allowed);
}

/* --- waking
 * ------------------------------------------------------------------------------------------- */

static struct run_queue *lock_run_queue_of(const struct task *t)
{
    for (;;) {
        unsigned index = *(const volatile uint16_t *)&t->sched.cpu;
        struct run_queue *rq = &run_queues[index];

        spin_lock(&rq->lock);
        if (t->sched.cpu == index) {
            return rq;
        }
        spin_unlock(&rq->lock);
    }
}

bool sched_wake(struct task *t, uint32_t mask)
{
    uint64_t flags;
    struct run_queue *rq;
    uint32_t state;

    /* The waker's news before the sleeper's state: pairs with the seq_cst store of the state. */
    atomic_thread_fence(memory_order_seq_cst);
    state = atomic_load_explicit(&t->sched.state, memory_order_relaxed);
    if (!(mask & 1u << state)) {
        return false;
    }
    flags = irq_save();
    rq = lock_run_queue_of(t);
    state = atomic_load_explicit(&t->sched.state, memory_order_relaxed);
    if (!(mask & 1u << state)) {
        spin_unlock(&rq->lock);
        irq_restore(flags);
        return false;
    }
    assert(state != TASK_RUNNING && state != TASK_DEAD);
    atomic_store_explicit(&t->sched.state, TASK_RUNNING, memory_order_relaxed);
    if (t->sched.is_queued) {
        spin_unlock(&rq->lock);
        irq_restore(flags);
        return true;
    }
    spin_unlock(&rq->lock);
    /* acquire: pairs with the release in sched_switch_tail(): its context is saved. */
    while (atomic_load_explicit(&t->sched.on_cpu, memory_order_acquire)) {
        cpu_relax();
    }
    place(t, choose_cpu(t));
    irq_restore(flags);
    return true;
}

void sched_task_init(struct task *t)
{
    const struct sched_entity *from = &current->sched;

    t->sched = (struct sched_entity){
        .policy = from->policy,
        .nice = from->nice,
        .rt_priority = from->rt_priority,
        .cpu = from->cpu,
        .affinity = from->affinity,
    };
    /* Not runnable before sched_start(): a stray wake finds no sleeping state. */
    atomic_init(&t->sched.state, TASK_RUNNING);
    list_init(&t->sched.run_link);
    if (current == this_cpu()->idle) {
        t->sched.policy = 0;
        t->sched.affinity = UINT64_MAX;
    }
}

void sched_start(struct task *t)
{
    uint64_t flags = irq_save();

    assert(!t->sched.is_queued);
    place(t, choose_cpu(t));
    irq_restore(flags);
}

void sched_kick(struct task *t)
{
    unsigned index = t->sched.cpu;

    if (index != this_cpu()->index && run_queues[index].running == t) {
        ipi_resched(index);
    }
}

/* --- switching
 * ------------------------------------------------------------------------------------------ */

/*
 * Take a waiting task from another CPU into our own queue, whose lock is held: the other's is only
 * tried, so two CPUs that steal from each other cannot wait for each other.
 */
static void steal_locked(struct cpu *self)
{
    for (unsigned i = 1; i < cpu_count; i++) {
        struct run_queue *rq = &run_queues[(self->index + i) % cpu_count];
        struct task *t = NULL;
        struct task *candidate;

        if (rq->waiting == 0 || !spin_trylock(&rq->lock)) {
            continue;
        }
        for (unsigned c = 0; c < QUEUE_COUNT && !t; c++) {
            list_for_each_entry(candidate, &rq->queues[c], sched.run_link) {
                /* acquire: pairs with the release in sched_switch_tail(). */
                if ((candidate->sched.affinity >> self->index & 1) &&
                    !atomic_load_explicit(&candidate->sched.on_cpu, memory_order_acquire)) {
                    t = candidate;
                    break;
                }
            }
        }
        if (t) {
            dequeue_locked(rq, t);
            t->sched.cpu = (uint16_t)self->index;
            enqueue_locked(self->run_queue, t);
        }
        spin_unlock(&rq->lock);
        if (t) {
            return;
        }
    }
}

static void account_locked(struct task *t, uint64_t now)
{
    uint64_t ran = now - t->sched.exec_start_ns;

    t->sched.run_ns += ran;
    t->sched.budget_ns -= (int64_t)ran;
    t->sched.exec_start_ns = now;
}

/* The previous task leaves the CPU: back into the queue, or off it. */
static void put_previous_locked(struct cpu *cpu, struct run_queue *rq, struct task *prev)
{
    if (prev == cpu->idle) {
        return;
    }
    if (atomic_load_explicit(&prev->sched.state, memory_order_relaxed) == TASK_RUNNING) {
        prev->sched.switches_forced++;
        enqueue_locked(rq, prev);
    } else {
        prev->sched.switches_voluntary++;
        prev->sched.is_queued = false;
    }
}

static struct task *pick_locked(struct run_queue *rq, struct task *prev)
{
    struct task *next = first_locked(rq);
    bool prev_runs =
        atomic_load_explicit(&prev->sched.state, memory_order_relaxed) == TASK_RUNNING &&
        prev != this_cpu()->idle;

    if (next && prev_runs && beats(prev, next)) {
        return prev;
    }
    return next ? next : prev_runs ? prev : NULL;
}

void sched_switch_tail(void)
{
    struct cpu *cpu = this_cpu();
    struct run_queue *rq = cpu->run_queue;
    struct task *prev = cpu->previous;
    struct task *dead = rq->dead;

    assert(spin_is_mine(&rq->lock));
    rq->dead = NULL;
    /* release: prev's context is complete before another CPU may run it. */
    atomic_store_explicit(&prev->sched.on_cpu, 0, memory_order_release);
    spin_unlock(&rq->lock);
    if (dead) {
        task_put(dead);
    }
}

static void set_slice(struct run_queue *rq, const struct task *t)
{
    if (rq->waiting == 0 || t == this_cpu()->idle || t->sched.policy == 1) {
        timer_set_slice_end(TIME_FOREVER);
    } else {
        timer_set_slice_end(t->sched.exec_start_ns + (uint64_t)max_of(t->sched.budget_ns, 0));
    }
}

void schedule(void)
{
    uint64_t flags = irq_save();
    struct cpu *cpu = this_cpu();
    struct run_queue *rq = cpu->run_queue;
    struct task *prev = current;
    struct task *next;
    uint64_t now = clock_monotonic_ns();

    assert(cpu->interrupt_depth == 0);
    spin_lock(&rq->lock);
    (void)atomic_fetch_and_explicit(&prev->work, ~(uint32_t)WORK_RESCHED, memory_order_relaxed);
    account_locked(prev, now);
    next = pick_locked(rq, prev);
    if (!next) {
        if (cpu_count > 1) {
            steal_locked(cpu);
            next = first_locked(rq);
        }
        next = next ? next : cpu->idle;
    }
    if (next == prev) {
        if (prev != cpu->idle && prev->sched.budget_ns <= 0) {
            prev->sched.budget_ns = slice_of(prev);
        }
        set_slice(rq, prev);
        spin_unlock(&rq->lock);
        irq_restore(flags);
        return;
    }
    if (next != cpu->idle) {
        dequeue_locked(rq, next);
    }
    put_previous_locked(cpu, rq, prev);
    atomic_store_explicit(&next->sched.on_cpu, 1, memory_order_relaxed); /* under the lock */
    next->sched.exec_start_ns = now;
    rq->running = next;
    cpu->previous = prev;
    cpu->switches++;
    set_slice(rq, next);
    if (next->mm != cpu->loaded_mm) {
        mm_switch(next->mm);
    }
    arch_switch(prev, next);
    sched_switch_tail();
    irq_restore(flags);
}

void sched_yield_cpu(void)
{
    uint64_t flags = irq_save();

    current->sched.budget_ns = 0; /* to the back of its queue */
    schedule();
    irq_restore(flags);
}

void cond_resched(void)
{
    if (unlikely(atomic_load_explicit(&current->work, memory_order_relaxed) & WORK_RESCHED)) {
        schedule();
    }
}

void sched_exit(void)
{
    struct run_queue *rq;

    irq_disable();
    rq = this_cpu()->run_queue;
    spin_lock(&rq->lock);
    atomic_store_explicit(&current->sched.state, TASK_DEAD, memory_order_relaxed);
    rq->dead = current; /* safe: only the tail of the switch below looks at it, in the next task */
    spin_unlock(&rq->lock);
    schedule();
    unreachable("a dead task ran");
}

void sched_tick(void)
{
    (void)atomic_fetch_or_explicit(&current->work, WORK_RESCHED, memory_order_relaxed);
}

/* --- idling and start
 * ------------------------------------------------------------------------------------- */

void sched_idle(void)
{
    struct cpu *cpu = this_cpu();
    struct run_queue *rq = cpu->run_queue;
    uint64_t bit = UINT64_C(1) << cpu->index;

    for (;;) {
        uint64_t began;

        irq_disable();
        (void)atomic_fetch_or_explicit(&idle_mask, bit, memory_order_seq_cst);
        if (rq->waiting == 0 &&
            !(atomic_load_explicit(&current->work, memory_order_relaxed) & WORK_RESCHED)) {
            began = clock_monotonic_ns();
            cpu_idle_wait();
            cpu->idle_ns += clock_monotonic_ns() - began;
        }
        irq_disable();
        (void)atomic_fetch_and_explicit(&idle_mask, ~bit, memory_order_relaxed);
        irq_enable();
        schedule();
    }
}

static void start_cpu(struct cpu *cpu, struct task *idle)
{
    struct run_queue *rq = &run_queues[cpu->index];

    spin_init(&rq->lock, RANK_RUN_QUEUE);
    for (unsigned c = 0; c < QUEUE_COUNT; c++) {
        list_init(&rq->queues[c]);
    }
    rq->running = idle;
    cpu->run_queue = rq;
    cpu->idle = idle;
    timer_init_cpu(cpu);
    ref_init(&idle->ref);
    idle->sched.cpu = (uint16_t)cpu->index;
    idle->sched.affinity = UINT64_C(1) << cpu->index;
    idle->sched.policy = 5;
    list_init(&idle->sched.run_link);
    atomic_store_explicit(&idle->sched.on_cpu, 1, memory_order_relaxed);
    (void)str_copy(idle->name, "idle", sizeof(idle->name));
    set_current_task(idle);
    (void)atomic_fetch_or_explicit(&cpu_online_mask, UINT64_C(1) << cpu->index,
                                   memory_order_release);
}

void sched_init(void)
{
    start_cpu(&cpus[0], &boot_idle_task);
}

void sched_start_cpu(void)
{
    struct task *idle = kmalloc(sizeof(*idle), GFP_KERNEL);

    if (!idle) {
        panic(NULL, "no memory for the idle task of CPU %u", this_cpu()->index);
    }
    *idle = (struct task){ 0 };
    start_cpu(this_cpu(), idle);
}

/* --- parameters
 * -------------------------------------------------------------------------------------------- */

void sched_set_priority(struct task *t, uint8_t policy, int8_t nice, uint8_t rt_priority)
{
    uint64_t flags = irq_save();
    struct run_queue *rq = lock_run_queue_of(t);
    bool is_waiting = t->sched.is_queued && rq->running != t;

    assert(nice >= -20 && nice <= 19 && rt_priority <= 99);
    if (is_waiting) {
        dequeue_locked(rq, t);
    }
    t->sched.policy = policy;
    t->sched.nice = nice;
    t->sched.rt_priority = rt_priority;
    t->sched.budget_ns = slice_of(t);
    if (is_waiting) {
        enqueue_locked(rq, t);
    }
    spin_unlock(&rq->lock);
    irq_restore(flags);
}

int sched_set_affinity(struct task *t, uint64_t mask)
{
    uint64_t flags;
    struct run_queue *rq;
    bool must_move;

    mask &= atomic_load_explicit(&cpu_online_mask, memory_order_acquire);
    if (mask == 0) {
        return -EINVAL;
    }
    flags = irq_save();
    rq = lock_run_queue_of(t);
    t->sched.affinity = mask;
    must_move = t->sched.is_queued && !(mask >> t->sched.cpu & 1);
    if (must_move && rq->running != t) {
        dequeue_locked(rq, t);
        t->sched.is_queued = false;
    }
    spin_unlock(&rq->lock);
    if (must_move) {
        if (!t->sched.is_queued) {
            while (atomic_load_explicit(&t->sched.on_cpu, memory_order_acquire)) {
                cpu_relax();
            }
            place(t, choose_cpu(t));
        } else {
            (void)atomic_fetch_or_explicit(&t->work, WORK_RESCHED, memory_order_relaxed);
            sched_kick(t);
        }
    }
    irq_restore(flags);
    return 0;
}

uint64_t sched_run_ns(const struct task *t)
{
    uint64_t ns = t->sched.run_ns;

    /* A running task's last stretch is read without its lock: a little old at worst. */
    if (run_queues[t->sched.cpu].running == t) {
        uint64_t now = clock_monotonic_ns();

        ns += now > t->sched.exec_start_ns ? now - t->sched.exec_start_ns : 0;
    }
    return ns;
}

unsigned sched_runnable(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        const struct run_queue *rq = &run_queues[i];

        n += rq->waiting + (rq->running && rq->running != cpus[i].idle);
    }
    return n;
}

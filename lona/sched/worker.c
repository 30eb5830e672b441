/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker does: fire timers, take a process, run it for a slice, put it where it belongs.
 *
 * Where a woken process goes: into the slot `next` of the worker that woke it, in front of its
 * queue, because the message is warm there. What was in the slot before moves to the queue, where
 * thieves may take it. A thief takes from the slot only when it has seen the same process wait
 * there for STALE_SPINS rounds, which means that its worker is busy with something long.
 */
#include "sched/worker.h"

#include "gc/memory.h"
#include "interp/interp.h"
#include "process/mailbox.h"
#include "process/relations.h"
#include "process/table.h"
#include "sched/deque.h"
#include "sched/timer.h"

enum {
    NEXT_RUNS_MAX = 64, /* slices in a row from the slot before the queue gets a turn */
    CLOCK_EVERY = 16,   /* slices between looks at the clock, if they were short */
    STALE_SPINS = 400,
    OUTSIDE_EVERY = 8, /* turns between looks at what threads that are no workers made ready */
};

static unsigned queue_of(const struct process *p)
{
    return p->priority >= 170 ? QUEUE_HIGH : p->priority >= 85 ? QUEUE_NORMAL : QUEUE_LOW;
}

static uint64_t now_ns(struct vm *vm)
{
    return vm->platform.mono_ns(vm->platform.self);
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* A store before it is visible before a load after it. TSan knows no fences, but
 * read-modify-writes. */
static void full_fence(struct vm *vm)
{
#ifdef __SANITIZE_THREAD__
    (void)atomic_fetch_add_explicit(&vm->sleeping, 0, memory_order_seq_cst);
#else
    (void)vm;
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* One sleeping worker, if there is one and nobody searches already. */
static void wake_one(struct vm *vm, const struct worker *self)
{
    if (atomic_load_explicit(&vm->sleeping, memory_order_seq_cst) == 0 ||
        atomic_load_explicit(&vm->searching, memory_order_relaxed) != 0) {
        return;
    }
    for (unsigned i = 0; i < vm->worker_count; i++) {
        struct worker *w = vm->workers[i];

        if (w != self && atomic_exchange_explicit(&w->asleep, false, memory_order_acq_rel)) {
            vm->platform.wake_signal(vm->platform.self, &w->wake);
            return;
        }
    }
}

static void enqueue(struct vm *vm, struct worker *w, struct process *p)
{
    if (!deque_push(&w->queues[queue_of(p)], vm, p)) {
        vm->platform.fatal(vm->platform.self, "out of memory for a run queue");
    }
    /* seq_cst fence: the push is visible before we look for sleepers; pairs with the one in idle()
     */
    full_fence(vm);
    sched_point(vm);
    wake_one(vm, w);
}

void sched_ready(struct vm *vm, struct worker *self, struct process *p)
{
    p->status = PROCESS_READY;
    sched_point(vm);
    if (self == NULL || self == &vm->outside) {
        bool locked = self == NULL;

        if (locked) {
            lock_acquire(&vm->platform, &vm->outside_lock);
        }
        enqueue(vm, &vm->outside, p);
        if (locked) {
            lock_release(&vm->outside_lock);
        }
        return;
    }
    if (queue_of(p) != QUEUE_NORMAL) {
        enqueue(vm, self, p);
        return;
    }
    /* release: a thief that takes it sees the record complete */
    struct process *before = atomic_exchange_explicit(&self->next, p, memory_order_acq_rel);

    if (before != NULL) {
        enqueue(vm, self, before);
    }
}

struct worker *sched_current(struct process *p)
{
    return p->worker;
}

/* ---- taking ---- */

static struct process *take_from(struct worker *w, struct deque *d)
{
    (void)w;
    bool lost;
    struct process *p;

    do {
        p = deque_take(d, &lost);
    } while (lost);
    return p;
}

static struct process *take_own(struct worker *w, unsigned *next_runs)
{
    struct process *p = take_from(w, &w->queues[QUEUE_HIGH]);

    if (p != NULL && ++w->skipped[QUEUE_NORMAL] <= PRIORITY_LOW_SKIP) {
        return p;
    }
    if (p != NULL) { /* the others had to wait long enough: this one goes to the back */
        w->skipped[QUEUE_NORMAL] = 0;
        enqueue(w->vm, w, p);
    }
    if (atomic_load_explicit(&w->next, memory_order_relaxed) != NULL) {
        p = atomic_exchange_explicit(&w->next, NULL, memory_order_acquire);
        if (p != NULL && *next_runs < NEXT_RUNS_MAX) {
            (*next_runs)++;
            return p;
        }
        if (p != NULL) {
            enqueue(w->vm, w, p);
        }
    }
    *next_runs = 0;
    bool low_first = w->skipped[QUEUE_LOW] >= PRIORITY_LOW_SKIP;

    p = low_first ? take_from(w, &w->queues[QUEUE_LOW]) : NULL;
    if (p == NULL) {
        p = take_from(w, &w->queues[QUEUE_NORMAL]);
        if (p != NULL) {
            w->skipped[QUEUE_LOW]++;
            return p;
        }
        p = take_from(w, &w->queues[QUEUE_LOW]);
    }
    w->skipped[QUEUE_LOW] = 0;
    return p != NULL ? p : take_from(w, &w->queues[QUEUE_HIGH]);
}

static uint64_t next_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static struct process *steal_from(struct worker *victim)
{
    for (unsigned q = 0; q < QUEUES; q++) {
        bool lost;
        struct process *p = deque_take(&victim->queues[q], &lost);

        if (p != NULL) {
            return p;
        }
    }
    return NULL;
}

static struct process *steal(struct worker *w)
{
    struct vm *vm = w->vm;
    struct process *p = steal_from(&vm->outside);
    unsigned start = vm->worker_count > 1 ? (unsigned)(next_random(w) % vm->worker_count) : 0;

    for (unsigned i = 0; i < vm->worker_count && p == NULL; i++) {
        struct worker *victim = vm->workers[(start + i) % vm->worker_count];

        if (victim != w) {
            p = steal_from(victim);
        }
    }
    return p;
}

/* What has been seen in another worker's slot, and for how many rounds. */
struct stale {
    struct process *seen;
    uint32_t slice;
    unsigned rounds;
    unsigned victim;
};

static struct process *steal_stale(struct worker *w, struct stale *s)
{
    struct vm *vm = w->vm;

    if (s->rounds == 0) {
        s->victim = (s->victim + 1) % vm->worker_count;
    }
    struct worker *victim = vm->workers[s->victim];
    struct process *p = atomic_load_explicit(&victim->next, memory_order_relaxed);
    uint32_t slice = atomic_load_explicit(&victim->slice, memory_order_relaxed);

    if (victim == w || p == NULL || p != s->seen || slice != s->slice) {
        s->seen = p;
        s->slice = slice;
        s->rounds = victim == w || p == NULL ? 0 : 1;
        return NULL;
    }
    if (++s->rounds < STALE_SPINS) {
        return NULL;
    }
    s->rounds = 0;
    return atomic_compare_exchange_strong_explicit(&victim->next, &p, NULL, memory_order_acq_rel,
                                                   memory_order_relaxed)
               ? p
               : NULL;
}

/* ---- idling ---- */

static bool work_in_sight(struct worker *w)
{
    struct vm *vm = w->vm;

    for (unsigned q = 0; q < QUEUES; q++) {
        if (deque_size(&vm->outside.queues[q]) > 0) {
            return true;
        }
        for (unsigned i = 0; i < vm->worker_count; i++) {
            if (deque_size(&vm->workers[i]->queues[q]) > 0) {
                return true;
            }
        }
    }
    return false;
}

/* Spin, then sleep. NULL when there may be something to do elsewhere (timers, shutdown). */
static struct process *idle(struct worker *w)
{
    struct vm *vm = w->vm;
    struct process *p = NULL;
    struct stale stale = { .victim = w->index };
    uint64_t start = now_ns(vm);
    uint64_t deadline = wheel_next_ns(w);
    uint64_t now = start;

    arena_drain(&w->arena);
    atomic_fetch_add_explicit(&vm->searching, 1, memory_order_relaxed);
    while (p == NULL && now < deadline && now - start < IDLE_SPIN_NS &&
           !atomic_load_explicit(&vm->stopping, memory_order_relaxed)) {
        for (unsigned i = 0; i < 20 && p == NULL; i++) {
            p = steal(w);
            p = p != NULL ? p : steal_stale(w, &stale);
            cpu_relax();
        }
        now = now_ns(vm);
    }
    atomic_fetch_sub_explicit(&vm->searching, 1, memory_order_relaxed);
    if (p != NULL || now >= deadline) {
        if (p != NULL && work_in_sight(w)) {
            wake_one(vm, w); /* pass the search on */
        }
        return p;
    }
    sched_point(vm);
    atomic_store_explicit(&w->asleep, true, memory_order_relaxed);
    sched_point(vm);
    atomic_fetch_add_explicit(&vm->sleeping, 1, memory_order_seq_cst);
    /* seq_cst fence: whoever pushes after we looked sees us asleep; pairs with the one in enqueue()
     */
    full_fence(vm);
    sched_point(vm);
    if (!work_in_sight(w) && !atomic_load_explicit(&vm->stopping, memory_order_relaxed)) {
        /* A process left in another's slot comes to a queue at the end of that worker's slice. */
        vm->platform.wake_wait(vm->platform.self, &w->wake, deadline);
    }
    atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
    atomic_fetch_sub_explicit(&vm->sleeping, 1, memory_order_seq_cst);
    return NULL;
}

/* ---- running ---- */

/* One slice of p. True: it has more to do and is the caller's to put somewhere; else it belongs to
 * nobody, or someone else, when this returns. */
static bool run(struct worker *w, struct process *p)
{
    p->worker = w;
    w->current = p;
    p->status = PROCESS_RUNNING;
    p->reductions_left = w->vm->slice;
    atomic_store_explicit(&w->slice, atomic_load_explicit(&w->slice, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    for (;;) {
        if (!inbox_is_empty(p)) {
            inbox_drain(w, p);
        }
        bool dead = (p->flags & PROCESS_KILLED) != 0 ||
                    (unlikely(heap_is_due(p)) && !heap_collect(p, false));
        enum run_result r = dead ? RUN_FAILED : interp_run(w, p);
        int32_t left = p->reductions_left;

        if (r == RUN_WAIT) {
            p->status = PROCESS_WAITING;
            sched_point(w->vm);
            p->reductions += (uint64_t)(w->vm->slice - max_of(left, 0));
            if (inbox_park(p)) {
                return false;
            }
            p->status = PROCESS_RUNNING; /* something came in: go on */
            if (left > 0) {
                p->reductions -= (uint64_t)(w->vm->slice - left);
                continue;
            }
            r = RUN_YIELDED;
        } else {
            p->reductions += (uint64_t)(w->vm->slice - max_of(left, 0));
        }
        if (r == RUN_YIELDED) {
            p->status = PROCESS_READY;
            return true;
        }
        if (r == RUN_FAILED && (p->flags & PROCESS_KILLED) == 0) {
            error_add_trace(p);
        }
        if (r != RUN_DONE) {
            p->stack[1] = p->reason; /* of (exit :normal) the result, for who waits for one */
        }
        process_end(w, p, r == RUN_DONE ? KW(normal) : p->reason);
        return false;
    }
}

/* Nobody else waits for this worker, nor for any: the process that it has may go on at once. */
static bool is_alone(const struct worker *w)
{
    for (unsigned q = 0; q < QUEUES; q++) {
        if (deque_size(&w->queues[q]) > 0 || deque_size(&w->vm->outside.queues[q]) > 0) {
            return false;
        }
    }
    return atomic_load_explicit(&w->next, memory_order_relaxed) == NULL;
}

void worker_main(void *arg)
{
    struct worker *w = arg;
    struct vm *vm = w->vm;
    unsigned since_clock = 0;
    unsigned next_runs = 0;
    unsigned turn = 0;
    struct process *kept = NULL;

    wheel_init(w, now_ns(vm));
    while (!atomic_load_explicit(&vm->stopping, memory_order_relaxed)) {
        struct process *p = kept;

        /* What comes from outside gets its turn also where own work never ends. */
        if (p == NULL && ++turn % OUTSIDE_EVERY == 0) {
            p = steal_from(&vm->outside);
        }
        if (p == NULL) {
            p = take_own(w, &next_runs);
        }
        if (p == NULL) {
            wheel_advance(w, now_ns(vm));
            p = take_own(w, &next_runs);
        }
        if (p == NULL) {
            p = steal(w);
        }
        if (p == NULL) {
            p = idle(w);
            if (p == NULL) {
                continue;
            }
        }
        kept = run(w, p) ? p : NULL;
        w->current = NULL;
        if (kept != NULL && !is_alone(w)) {
            enqueue(vm, w, kept);
            kept = NULL;
        }
        if (w->wheel.count != 0 && ++since_clock >= CLOCK_EVERY) {
            since_clock = 0;
            wheel_advance(w, now_ns(vm));
            arena_drain(&w->arena);
        }
    }
}

bool worker_init(struct worker *w, struct vm *vm, unsigned index)
{
    w->vm = vm;
    w->index = index;
    w->apply_fn = TERM_NIL;
    w->apply_args = TERM_NIL;
    w->random = (vm->hash_seed ^ ((uint64_t)index + 1) * 0x9E3779B97F4A7C15u) | 1;
    arena_init(&w->arena, &vm->pool);
    w->arena.may_fail = index < WORKERS_MAX;
    for (unsigned q = 0; q < QUEUES; q++) {
        if (!deque_init(&w->queues[q], vm)) {
            return false;
        }
    }
    return true;
}

void worker_deinit(struct worker *w)
{
    const struct platform *pf = &w->vm->platform;

    for (unsigned q = 0; q < QUEUES; q++) {
        deque_deinit(&w->queues[q], w->vm);
    }
    if (w->copy.base != NULL) {
        pf->release(pf->self, w->copy.base, SCRATCH_SIZE);
    }
    if (w->copy_log.base != NULL) {
        pf->release(pf->self, w->copy_log.base, SCRATCH_SIZE);
    }
    arena_deinit(&w->arena);
}

void workers_wake_all(struct vm *vm)
{
    for (unsigned i = 0; i < vm->worker_count; i++) {
        vm->platform.wake_signal(vm->platform.self, &vm->workers[i]->wake);
    }
}

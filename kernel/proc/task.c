// SPDX-License-Identifier: Apache-2.0
/*
 * Tasks as objects: making them, counting them, giving them back. The number of tasks is limited by
 * memory, so that a fork bomb meets EAGAIN long before the kernel meets its reserve.
 */
#include <proc/proc_internal.h>

#include <arch/ops.h>
#include <core/string.h>
#include <mm/slab.h>
#include <proc/pid.h>
#include <sched/task.h>

#define PAGES_PER_TASK   16u /* stack, page tables, descriptors, ... of a small process */
#define TASK_LIMIT_LEAST 32u

static struct slab_cache task_cache = SLAB_CACHE("task", struct task);
static _Atomic uint32_t tasks_alive;
static _Atomic uint32_t tasks_limit; /* 0: not yet computed */

static uint32_t task_limit(void)
{
    /* relaxed: whoever computes it gets the same number. */
    uint32_t limit = atomic_load_explicit(&tasks_limit, memory_order_relaxed);

    if (limit == 0) {
        struct page_stats stats;

        page_stats(&stats);
        limit = (uint32_t)min_of(stats.total / PAGES_PER_TASK, (uint64_t)PID_MAX / 2);
        limit = max_of(limit, TASK_LIMIT_LEAST);
        atomic_store_explicit(&tasks_limit, limit, memory_order_relaxed);
    }
    return limit;
}

unsigned task_count(void)
{
    return atomic_load_explicit(&tasks_alive, memory_order_relaxed); /* a statistic */
}

int task_create(struct task **out)
{
    struct task *t;

    /* relaxed: a limit, not a lock. */
    if (atomic_fetch_add_explicit(&tasks_alive, 1, memory_order_relaxed) >= task_limit()) {
        atomic_fetch_sub_explicit(&tasks_alive, 1, memory_order_relaxed);
        return -EAGAIN;
    }
    t = slab_alloc(&task_cache, GFP_ZERO);
    if (!t) {
        atomic_fetch_sub_explicit(&tasks_alive, 1, memory_order_relaxed);
        return -ENOMEM;
    }
    ref_init(&t->ref);
    list_init(&t->thread_link);
    list_init(&t->pending.entries);
    t->timer_slack_ns = 50000; /* Linux's default */
    t->kstack = kstack_alloc();
    t->tid = t->kstack ? pid_alloc() : -ENOMEM;
    if (t->tid < 0) {
        int err = t->tid;

        t->tid = 0;
        task_put(t);
        return err;
    }
    sched_task_init(t);
    *out = t;
    return 0;
}

void task_discard(struct task *t)
{
    pid_set_task(t->tid, NULL);
    pid_drop(t->tid);
    task_put(t);
}

void task_put(struct task *t)
{
    if (!ref_put(&t->ref)) {
        return;
    }
    assert(!list_is_linked(&t->thread_link));
    assert(!t->mm && !t->files && !t->fs && !t->pending.set);
    arch_thread_free(t);
    if (t->cred) {
        cred_put(t->cred);
    }
    if (t->process) {
        process_put(t->process);
    }
    if (t->kstack) {
        kstack_free(t->kstack);
    }
    slab_free(&task_cache, t);
    atomic_fetch_sub_explicit(&tasks_alive, 1, memory_order_relaxed);
}

struct task *kernel_thread(const char *name, int (*fn)(void *arg), void *arg)
{
    struct task *t;

    if (task_create(&t) < 0) {
        return NULL;
    }
    (void)str_copy(t->name, name, sizeof(t->name));
    t->cred = cred_get(&init_cred);
    t->start_ns = clock_monotonic_ns();
    arch_thread_init_kernel(t, fn, arg);
    pid_set_task(t->tid, t);
    sched_start(t);
    return t;
}

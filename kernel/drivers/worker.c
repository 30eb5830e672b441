/* SPDX-License-Identifier: Apache-2.0 */
/* One kernel thread that runs deferred work in order. */

#include <core/log.h>
#include <drivers/worker.h>
#include <sched/task.h>
#include <sched/wait.h>

static struct spinlock lock = SPINLOCK_INIT(RANK_DEVICE);
static struct list queue = LIST_INIT(queue);
static struct wait_queue wakeup;

static struct work *next_work(void)
{
    uint64_t flags = spin_lock_irqsave(&lock);
    struct work *w = NULL;

    if (!list_is_empty(&queue)) {
        w = list_first(&queue, struct work, link);
        list_remove(&w->link);
        w->is_queued = false;
    }
    spin_unlock_irqrestore(&lock, flags);
    return w;
}

static _Noreturn int worker(void *arg)
{
    (void)arg;
    for (;;) {
        struct waiter waiter;
        struct work *w;

        wait_begin(&waiter, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
        wait_add(&wakeup, &waiter, 0);
        while ((w = next_work()) == NULL) {
            wait_sleep_surely(&waiter);
        }
        wait_end(&waiter);
        w->run(w);
    }
}

void worker_start(void)
{
    wait_queue_init(&wakeup);
    if (!kernel_thread("worker", worker, NULL)) {
        panic(NULL, "no memory for the worker thread");
    }
}

void work_init(struct work *w, void (*run)(struct work *w))
{
    list_init(&w->link);
    w->run = run;
    w->is_queued = false;
}

void work_queue(struct work *w)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    if (!w->is_queued) {
        w->is_queued = true;
        list_push_back(&queue, &w->link);
    }
    spin_unlock_irqrestore(&lock, flags);
    wake_all(&wakeup, 0);
}

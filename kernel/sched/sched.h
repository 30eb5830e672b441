/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler: per-CPU run queues, 40 nice levels folded into round robin by priority with a 10
 * ms slice, FIFO/RR above, idle below. The state word and `on_cpu` of a task are the whole protocol
 * between sleeping and waking.
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>

struct task;
struct rb_node;

enum task_state {
    TASK_RUNNING = 0,  /* on a run queue or on a CPU */
    TASK_SLEEPING = 1, /* any signal wakes */
    TASK_KILLABLE = 2, /* fatal signals wake */
    TASK_BLOCKED = 3,  /* only its event wakes */
    TASK_STOPPED = 4,  /* job control; SIGCONT and SIGKILL wake */
    TASK_DEAD = 5,     /* never runs again */
};

#define SCHED_SLICE_NS (10 * NSEC_PER_MSEC)

/* What the scheduler keeps in a task; sched/ alone writes it. */
struct sched_entity {
    _Atomic uint32_t state; /* enum task_state */
    _Atomic uint32_t
        on_cpu;          /* 1 while its stack is in use: not runnable elsewhere before it is 0 */
    bool is_queued;      /* under the run queue's lock */
    uint8_t policy;      /* SCHED_OTHER 0, FIFO 1, RR 2, BATCH 3, IDLE 5 */
    int8_t nice;         /* -20..19 */
    uint8_t rt_priority; /* 1..99 for FIFO, RR */
    uint16_t cpu;        /* where it runs or ran last */
    uint64_t affinity;   /* CPU mask, never empty */
    struct list run_link;
    int64_t budget_ns;      /* left of its slice; sleeping does not refill it before it is spent */
    uint64_t exec_start_ns; /* when it got the CPU */
    uint64_t run_ns;        /* CPU time up to exec_start_ns */
    uint64_t user_ns;       /* of it, in user mode */
    uint64_t switches_voluntary;
    uint64_t switches_forced;
};

void sched_init(void);      /* boot CPU */
void sched_start_cpu(void); /* other CPUs, before they are online; then sched_idle() */
_Noreturn void
sched_idle(void); /* what a CPU's first context does once it has started its threads */
/*
 * The end of every switch, in the new task's context, interrupts off: schedule() does it by itself;
 * the architecture's first-entry path of a new task calls it before anything else.
 */
void sched_switch_tail(void);
void sched_task_init(struct task *t); /* fork: inherit policy, nice, affinity from current */
void sched_start(struct task *t);     /* first time runnable; commit point: it may run at once */

/* Give up the CPU in the state already published (or RUNNING: to an equal). Interrupts on or off;
 * as before on return. */
void schedule(void);
void sched_yield_cpu(void);
/* If the slice is over or a better task waits: schedule(). Call in long kernel loops, holding
 * nothing. */
void cond_resched(void);

/*
 * Make t runnable if its state is in `mask` (bit 1 << state). True if this call woke it. Any
 * context.
 */
bool sched_wake(struct task *t, uint32_t mask);
#define WAKE_SLEEPERS ((1u << TASK_SLEEPING) | (1u << TASK_KILLABLE) | (1u << TASK_BLOCKED))

/* Interrupt t's CPU so that it looks at its work flags soon (signal to a running task). */
void sched_kick(struct task *t);

/* The timer interrupt: ends slices. Arch's return-to-user path calls schedule() when need_resched
 * is set. */
void sched_tick(void);
void sched_set_priority(struct task *t, uint8_t policy, int8_t nice, uint8_t rt_priority);
int sched_set_affinity(struct task *t, uint64_t mask); /* -EINVAL: no online CPU in it */

/*
 * Never returns: the caller's task is dead. Takes over one reference to it, put by the task that
 * runs next, so that the stack is left before it is freed. Works with interrupts in any state.
 */
_Noreturn void sched_exit(void);

uint64_t sched_run_ns(const struct task *t); /* CPU time so far, also while running */
unsigned sched_runnable(void);               /* over all CPUs; for /proc/loadavg */

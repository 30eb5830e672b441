/* SPDX-License-Identifier: Apache-2.0 */
/* The running task and CPU, from the per-CPU base register. Included by sched/task.h. */
#pragma once

#include <sched/cpu.h>

/* Not volatile: a context that calls this twice is the same task both times. */
static inline struct task *current_task(void)
{
    struct task *t;

    __asm__("movq %%gs:%c1, %0" : "=r"(t) : "i"(offsetof(struct cpu, arch.task)));
    return t;
}

/* Only for a CPU's first context (sched_init(), sched_start_cpu()): arch_switch() does the rest. */
static inline void set_current_task(struct task *t)
{
    __asm__ volatile("movq %0, %%gs:%c1"
                     :
                     : "r"(t), "i"(offsetof(struct cpu, arch.task))
                     : "memory");
}

/* Stays valid only while this task cannot be switched away. */
static inline struct cpu *this_cpu(void)
{
    struct cpu *c;

    __asm__ volatile("movq %%gs:%c1, %0" : "=r"(c) : "i"(offsetof(struct cpu, arch.self)));
    return c;
}

static inline bool in_interrupt(void)
{
    unsigned depth;

    __asm__ volatile("movl %%gs:%c1, %0"
                     : "=r"(depth)
                     : "i"(offsetof(struct cpu, interrupt_depth)));
    return depth != 0;
}

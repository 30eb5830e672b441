/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/current.h, for unit tests only: one CPU, one task, which a test may replace.
 */
#pragma once

#include <sched/cpu.h>

struct task;

static inline struct cpu *this_cpu(void)
{
    return &cpus[0];
}

static inline struct task *current_task(void)
{
    return cpus[0].arch.task;
}

static inline bool in_interrupt(void)
{
    return cpus[0].interrupt_depth != 0;
}

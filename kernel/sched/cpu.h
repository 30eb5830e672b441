/* SPDX-License-Identifier: Apache-2.0 */
/* What each CPU has of its own. Found through the per-CPU base register; see arch/current.h. */
#pragma once

#include <arch/cpu_data.h>
#include <core/types.h>

#define CPU_MAX 32

struct task;
struct run_queue;
struct timer_queue;

struct cpu {
    struct arch_cpu
        arch; /* first: assembly knows offsets in it (current task, kernel stack, scratch) */
    unsigned index;
    unsigned interrupt_depth;
    struct task *idle;
    struct task
        *previous; /* whom the switch came from: its on_cpu is cleared by the switch's tail */
    struct mm *loaded_mm;
    struct run_queue *run_queue;
    struct timer_queue *timers;
    uint64_t interrupts;
    uint64_t switches;
    uint64_t idle_ns;
    struct page_cpu_list *pages; /* the page allocator's per-CPU list */
    uint64_t held_locks[4];      /* debug builds: ranks held, spinlocks only */
};

extern struct cpu cpus[CPU_MAX];
extern unsigned cpu_count; /* found */
extern _Atomic uint64_t cpu_online_mask;

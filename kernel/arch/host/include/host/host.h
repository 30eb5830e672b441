/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host machine that kernel unit tests run on. For tests only: nothing here is part of the
 * kernel, and nothing here proves that the real architecture works.
 *
 * One CPU, one task (`current`), time that stands still until a test moves it, RAM that is one
 * anonymous mapping, page tables that are a sorted array per root, locks that check instead of
 * spin, and user memory that is the test's own memory (a user pointer is a host pointer).
 *
 * Functions that the kernel proper also defines (locks, wait queues, clocks, log, ...) are weak
 * here: a test that links the real file gets the real one.
 */
#pragma once

#include <core/types.h>

struct mm;
struct task;

#define HOST_STAND_IN __attribute__((weak))

/* A fresh machine: `size` bytes of RAM from physical 0 (page-aligned), page_init() done, one task
 * with a process, credentials of root, no limits. Frees the machine before it; slab caches
 * (kmalloc) keep pointers into the first one, so a program that allocates objects makes one machine
 * only. */
void host_machine_create(uint64_t size, bool ram_is_zero);
void host_machine_destroy(void);

/* What the clocks answer. Starts at one second. */
extern uint64_t host_now_ns;
extern uint64_t host_realtime_ns;

/* RLIMIT_*: soft limits as limit_of() answers them. */
extern uint64_t host_limits[16];

/* What signal_is_pending() and fatal_signal_is_pending() answer. */
extern bool host_signal_pending;
extern bool host_fatal_pending;

/*
 * Called where the task would sleep: make the condition true, move the clock, or return false to
 * end the sleep as a signal would. Without a hook a sleep ends at its deadline at once (the clock
 * jumps there), or, having none, stops the test: nobody would ever wake it.
 */
extern bool (*host_on_sleep)(void);

/* User addresses in [host_bad_start, host_bad_end) fault and the fault is not served. */
extern uintptr_t host_bad_start;
extern uintptr_t host_bad_end;

/* The n-th page_alloc() from now on fails (1: the next one); 0: none. */
extern unsigned host_fail_page_alloc;

/* Simulated page tables. */
unsigned host_pt_count(paddr_t root); /* present PTEs */
extern unsigned host_tlb_flushes;     /* tlb_flush_* calls */
extern unsigned host_lines_logged;    /* log_write() calls at warn and above */

/* Where fd_get() looks, unless the real descriptor tables are linked. */
struct file;
extern struct file *host_files[8];
extern unsigned host_files_released; /* last references put */
extern unsigned host_oom_kills;
extern unsigned host_signals_sent;

/* Touch a user address the way the CPU would: walks the simulated PTEs, calls mm_fault() until the
 * access is legal. Returns the host address of the byte, or NULL with *signal set. */
void *host_touch(struct mm *mm, uint64_t addr, unsigned access, int *signal);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedulers: one worker a thread, each with three Chase-Lev queues (high, normal, low priority), a
 * slot for the process it woke last, and a timing wheel. This header is what the rest of the VM may
 * ask of them; struct worker is in sched/worker.h.
 *
 * A process that a worker makes ready goes to that worker's slot, so that the woken runs where its
 * data is warm; a thief may take from the slot only what has been waiting there for a while. Idle
 * workers spin for IDLE_SPIN_NS, then sleep until the next timer or a wake-up.
 */
#pragma once

#include "process/process.h"

/* Make p, which the caller alone may make ready, runnable on the calling worker (or any, from
 * outside). */
void sched_ready(struct vm *vm, struct worker *self, struct process *p);

/* The worker of the calling code; NULL outside of workers. */
struct worker *sched_current(struct process *p);

/* ---- timers
 * --------------------------------------------------------------------------------------
 * (send-after) and the deadline of a receive. A timer belongs to the worker that started it; any
 * worker may cancel it.
 */

/* Send `message` (copied now) to `to` at deadline_ns. *ref_out names the timer. */
bool timer_send_after(struct process *p, uint64_t deadline_ns, uint64_t to, term_t message,
                      uint64_t *ref_out) MUST_CHECK;
/* Remaining nanoseconds, or -1 when there is no such timer any more. */
int64_t timer_cancel_ref(struct vm *vm, struct worker *self, uint64_t ref);
/* Arm the deadline of the current wait of p; replaces an earlier one. */
bool timer_arm_wait(struct process *p, uint64_t deadline_ns) MUST_CHECK;
void timer_disarm_wait(struct process *p);

/* ---- registry
 * ------------------------------------------------------------------------------------ */

/* Raw pid or PID_NONE_RAW. */
uint64_t registry_find(struct vm *vm, term_t name);
/* False when the name is taken, the process has a name, or is dead. */
bool registry_add(struct vm *vm, term_t name, uint64_t pid);
bool registry_remove(struct vm *vm, term_t name);

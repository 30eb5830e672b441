/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and one-shot timers. Each CPU keeps its timers ordered by deadline and programs the
 * hardware for the first one only: no periodic tick. Callbacks run in the timer interrupt: they
 * record and wake.
 */
#pragma once

#include <base/rbtree.h>
#include <core/types.h>

struct timer {
    struct rb_node node;
    uint64_t deadline_ns; /* monotonic */
    void (*expired)(struct timer *t);
    int16_t cpu; /* queued on that CPU; -1: not */
};

void timer_init(struct timer *t, void (*expired)(struct timer *t));
void timer_start(struct timer *t,
                 uint64_t deadline_ns); /* restarts if queued; the past fires soon */
/* True if it was queued. On return the callback neither runs nor will: waits for a running one
 * (never call it from the callback). */
bool timer_cancel(struct timer *t);

/* --- clocks; any context --------------------------------------------------------------------- */

uint64_t clock_monotonic_ns(void); /* since boot, never back, equal on all CPUs */
uint64_t clock_realtime_ns(void);  /* Unix time */
void clock_set_realtime(uint64_t now_ns);

/* From the architecture's timer interrupt on this CPU. */
void timer_interrupt(void);
/* Boot: start from this Unix time (0: unknown). Arch's counter is calibrated already. */
void clock_init(uint64_t realtime_ns);

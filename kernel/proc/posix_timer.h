/* SPDX-License-Identifier: Apache-2.0 */
/* timer_create(2) and its like. */
#pragma once

#include <core/types.h>

struct posix_timer;
struct process;
struct siginfo;

/* All of a process' timers: at exec and at its end. May sleep. */
void posix_timers_destroy(struct process *p);

/* The signal of a timer is being delivered: fills in its overrun. signal_lock held. */
void posix_timer_taken(struct posix_timer *t, struct siginfo *info);

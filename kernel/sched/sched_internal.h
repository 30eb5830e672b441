/* SPDX-License-Identifier: Apache-2.0 */
/* Between the scheduler and its timers. */
#pragma once

#include <core/types.h>

struct cpu;

void timer_init_cpu(struct cpu *cpu);
/* When the running task must make room; TIME_FOREVER: never. This CPU, interrupts off. */
void timer_set_slice_end(uint64_t deadline_ns);

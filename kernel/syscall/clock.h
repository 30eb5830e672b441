/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks by their ABI numbers. */
#pragma once

#include <core/types.h>

#define CLOCK_REALTIME           0
#define CLOCK_MONOTONIC          1
#define CLOCK_PROCESS_CPUTIME_ID 2
#define CLOCK_THREAD_CPUTIME_ID  3
#define CLOCK_MONOTONIC_RAW      4
#define CLOCK_REALTIME_COARSE    5
#define CLOCK_MONOTONIC_COARSE   6
#define CLOCK_BOOTTIME           7
#define CLOCK_REALTIME_ALARM     8
#define CLOCK_BOOTTIME_ALARM     9
#define CLOCK_TAI                11

bool clock_is_waitable(int clock); /* may be slept on, and drive timers */
bool clock_is_realtime(int clock);
bool clock_is_cpu_time(int clock);

/* A time on a clock as a deadline on the monotonic one; the past gives now. Absolute times of the
 * realtime clock are converted with what it shows now. */
uint64_t clock_deadline(bool is_realtime, bool is_absolute, uint64_t ns);

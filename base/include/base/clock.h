/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's clocks as nanoseconds. Hosted programs only. All of the library reads them here, by
 * clock_gettime(), which the simulation wraps.
 */
#pragma once

#include <time.h>

#include <base/compiler.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_US UINT64_C(1000)

/* A deadline that never comes. */
#define CLOCK_NEVER UINT64_MAX

/* CLOCK_MONOTONIC, which all deadlines are of. */
uint64_t clock_ns(void);

/* Any other clock, for example CLOCK_REALTIME. One that the host does not have reads 0. */
uint64_t clock_ns_of(clockid_t clock);

/* The same moment as pthread_cond_timedwait() and timerfd_settime() want it. */
struct timespec clock_timespec(uint64_t ns);

/*
 * What poll(2) is to wait until a deadline: milliseconds, rounded up, so that the caller's loop
 * does not spin through the last one; 0 when it has passed; -1 for CLOCK_NEVER. At most INT32_MAX:
 * a caller whose deadline is weeks away looks again.
 */
int clock_poll_ms(uint64_t deadline_ns);

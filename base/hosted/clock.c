/* SPDX-License-Identifier: Apache-2.0 */
#include <base/clock.h>

uint64_t clock_ns_of(clockid_t clock)
{
    struct timespec t = { 0 };

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t clock_ns(void)
{
    return clock_ns_of(CLOCK_MONOTONIC);
}

struct timespec clock_timespec(uint64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
}

int clock_poll_ms(uint64_t deadline_ns)
{
    uint64_t now = 0;

    if (deadline_ns == CLOCK_NEVER) {
        return -1;
    }
    now = clock_ns();
    return now >= deadline_ns
               ? 0
               : (int)min_of((deadline_ns - now - 1) / NS_PER_MS + 1, (uint64_t)INT32_MAX);
}

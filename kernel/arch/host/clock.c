/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks of unit tests: they show what the test says. */
#include <sched/timer.h>

#include <host/host.h>

HOST_STAND_IN uint64_t clock_monotonic_ns(void)
{
    return host_now_ns;
}

HOST_STAND_IN uint64_t clock_realtime_ns(void)
{
    return host_realtime_ns;
}

HOST_STAND_IN void clock_set_realtime(uint64_t now_ns)
{
    host_realtime_ns = now_ns;
}

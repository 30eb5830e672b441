/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time from the architecture's counter: ns = base + (counter - start) * mult >> shift, with a
 * 128-bit product, so that the line never needs a new base. The vDSO computes the same from the
 * same numbers.
 */

#include <stdatomic.h>

#include <arch/ops.h>
#include <sched/timer.h>

static struct {
    uint64_t counter_start;
    uint32_t mult;
    uint32_t shift;
    _Atomic uint64_t realtime_offset_ns; /* Unix time at monotonic 0 */
} clock;

uint64_t clock_monotonic_ns(void)
{
    uint64_t delta = cpu_counter() - clock.counter_start;

    return (uint64_t)(((unsigned __int128)delta * clock.mult) >> clock.shift);
}

uint64_t clock_realtime_ns(void)
{
    /* relaxed: one word, nothing else hangs on it. */
    return atomic_load_explicit(&clock.realtime_offset_ns, memory_order_relaxed) +
           clock_monotonic_ns();
}

void clock_set_realtime(uint64_t now_ns)
{
    uint64_t offset = now_ns - clock_monotonic_ns();

    atomic_store_explicit(&clock.realtime_offset_ns, offset, memory_order_relaxed);
    arch_vdso_update(clock.counter_start, 0, offset, clock.mult, clock.shift);
}

void clock_init(uint64_t realtime_ns)
{
    arch_clock_scale(&clock.mult, &clock.shift);
    assert(clock.mult != 0 && clock.shift < 64);
    clock.counter_start = cpu_counter();
    clock_set_realtime(realtime_ns);
}

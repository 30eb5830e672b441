/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time from the architecture's counter: ns = (counter - start) * mult >> shift, with a 128-bit
 * product, so that the line never needs a new base. The vDSO computes the same from the same
 * numbers.
 *
 * When the machine stood still, the counter may have gone on: the identity page says how far, and
 * what time it is now. Each reading looks whether its generation is still the one that `start`
 * belongs to: after the counter was read, so that a pause before that look is seen, and a pause
 * behind it does not matter.
 */

#include <stdatomic.h>

#include <arch/ops.h>
#include <core/identity.h>
#include <sched/timer.h>

static struct {
    uint64_t counter_boot;
    uint32_t mult;
    uint32_t shift;
    _Atomic uint64_t counter_start;      /* counter_boot and what was skipped since */
    _Atomic uint32_t generation;         /* the one that counter_start is for; stored behind it */
    _Atomic bool is_adjusting;           /* one CPU takes over a new generation */
    _Atomic uint64_t realtime_offset_ns; /* Unix time at monotonic 0 */
} clock;

static uint64_t to_ns(uint64_t ticks)
{
    return (uint64_t)(((unsigned __int128)ticks * clock.mult) >> clock.shift);
}

static void publish(uint64_t start, uint32_t generation)
{
    arch_vdso_know_generation(generation);
    arch_vdso_update(start, 0,
                     atomic_load_explicit(&clock.realtime_offset_ns, memory_order_relaxed),
                     clock.mult, clock.shift);
}

/* Take over the identity page's numbers. May be interrupted by the next pause: then once more. */
static void adopt_generation(void)
{
    uint32_t generation;
    uint64_t start;
    uint64_t offset;

    do {
        generation = identity_generation();
        start = clock.counter_boot + identity->counter_skip;
        offset = identity->realtime_ns - to_ns(identity->counter - start);
    } while (identity_generation() != generation);
    /* relaxed: ordered by the release below, or one word that nothing hangs on. */
    atomic_store_explicit(&clock.realtime_offset_ns, offset, memory_order_relaxed);
    atomic_store_explicit(&clock.counter_start, start, memory_order_relaxed);
    publish(start, generation);
    /* release: pairs with the acquire in clock_monotonic_ns(): who sees it sees the new start. */
    atomic_store_explicit(&clock.generation, generation, memory_order_release);
}

/* Any context, so no lock of the ranked kind: interrupts off, and the others wait. */
static NEVER_INLINE void adjust(void)
{
    uint64_t flags = irq_save();

    while (atomic_exchange_explicit(&clock.is_adjusting, true, memory_order_acquire)) {
        cpu_relax();
    }
    if (identity_generation() != atomic_load_explicit(&clock.generation, memory_order_relaxed)) {
        adopt_generation();
    }
    atomic_store_explicit(&clock.is_adjusting, false, memory_order_release);
    irq_restore(flags);
}

uint64_t clock_monotonic_ns(void)
{
    for (;;) {
        uint32_t generation = atomic_load_explicit(&clock.generation, memory_order_acquire);
        uint64_t start = atomic_load_explicit(&clock.counter_start, memory_order_relaxed);
        uint64_t delta = cpu_counter() - start;

        if (likely(identity_generation() == generation)) {
            return to_ns(delta);
        }
        adjust();
    }
}

uint64_t clock_realtime_ns(void)
{
    /* In this order: reading the one takes over a new generation, and with it the other. */
    uint64_t monotonic = clock_monotonic_ns();

    /* relaxed: one word, nothing else hangs on it. */
    return atomic_load_explicit(&clock.realtime_offset_ns, memory_order_relaxed) + monotonic;
}

void clock_set_realtime(uint64_t now_ns)
{
    uint64_t offset = now_ns - clock_monotonic_ns();

    atomic_store_explicit(&clock.realtime_offset_ns, offset, memory_order_relaxed);
    publish(atomic_load_explicit(&clock.counter_start, memory_order_relaxed),
            atomic_load_explicit(&clock.generation, memory_order_relaxed));
}

void clock_init(uint64_t realtime_ns)
{
    arch_clock_scale(&clock.mult, &clock.shift);
    assert(clock.mult != 0 && clock.shift < 64);
    clock.counter_boot = cpu_counter();
    atomic_store_explicit(&clock.counter_start, clock.counter_boot, memory_order_relaxed);
    /* What was skipped before now is none of this clock's business. */
    clock.counter_boot -= identity->counter_skip;
    atomic_store_explicit(&clock.generation, identity_generation(), memory_order_relaxed);
    clock_set_realtime(realtime_ns);
}

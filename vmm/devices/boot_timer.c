/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/boot_timer.h"

#include <time.h>

#include <base/clock.h>
#include <base/fmt.h>

void boot_timer_init(struct boot_timer *t, const struct device_host *host)
{
    t->host = host;
    atomic_init(&t->start_ns, 0);
}

void boot_timer_start(struct boot_timer *t)
{
    atomic_store_explicit(&t->start_ns, clock_ns(), memory_order_relaxed);
}

uint64_t boot_timer_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

void boot_timer_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct boot_timer *t = device;
    uint64_t start_ns = 0;
    uint64_t wall_ns = 0;
    uint64_t cpu_ns = 0;
    char text[128];

    if (offset != 0 || size != 1 || value != BOOT_TIMER_MAGIC) {
        return;
    }
    /* Relaxed: the clock is all that matters; the exchange makes it once. */
    start_ns = atomic_exchange_explicit(&t->start_ns, 0, memory_order_relaxed);
    if (start_ns == 0) {
        return;
    }
    wall_ns = clock_ns() - start_ns;
    cpu_ns = clock_ns_of(CLOCK_PROCESS_CPUTIME_ID);
    (void)fmt_snprintf(
        text, sizeof(text), "Guest-boot-time = %6llu us %llu ms, %6llu CPU us %llu CPU ms",
        (unsigned long long)(wall_ns / NS_PER_US), (unsigned long long)(wall_ns / NS_PER_MS),
        (unsigned long long)(cpu_ns / NS_PER_US), (unsigned long long)(cpu_ns / NS_PER_MS));
    t->host->log(t->host->ctx, DEVICE_LOG_INFO, "boot-timer", text);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/inline_ops.h, for unit tests only: interrupts are one simulated flag. */
#pragma once

#include <core/types.h>

extern bool host_irq_enabled;
uint64_t host_counter(void);

static inline uint64_t irq_save(void)
{
    bool was = host_irq_enabled;

    host_irq_enabled = false;
    return was;
}

static inline void irq_restore(uint64_t flags)
{
    host_irq_enabled = flags != 0;
}

static inline void irq_enable(void)
{
    host_irq_enabled = true;
}

static inline void irq_disable(void)
{
    host_irq_enabled = false;
}

static inline bool irq_is_enabled(void)
{
    return host_irq_enabled;
}

static inline void cpu_relax(void)
{
}

static inline void cpu_idle_wait(void)
{
    host_irq_enabled = true;
}

static inline uint64_t cpu_counter(void)
{
    return host_counter();
}

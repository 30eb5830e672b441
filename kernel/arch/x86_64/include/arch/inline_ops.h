/* SPDX-License-Identifier: Apache-2.0 */
/* The inline part of arch/ops.h; meanings stand there. */
#pragma once

#include <arch/layout.h>
#include <base/compiler.h>

#define FLAGS_IF (UINT64_C(1) << 9)

static ALWAYS_INLINE uint64_t irq_flags(void)
{
    uint64_t flags;

    __asm__ volatile("pushfq; popq %0" : "=r"(flags) : : "memory");
    return flags;
}

static ALWAYS_INLINE void irq_disable(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static ALWAYS_INLINE void irq_enable(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static ALWAYS_INLINE bool irq_is_enabled(void)
{
    return (irq_flags() & FLAGS_IF) != 0;
}

static ALWAYS_INLINE uint64_t irq_save(void)
{
    uint64_t flags = irq_flags();

    irq_disable();
    return flags;
}

static ALWAYS_INLINE void irq_restore(uint64_t flags)
{
    if (flags & FLAGS_IF) {
        irq_enable();
    }
}

static ALWAYS_INLINE void cpu_relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* STI takes effect after the next instruction: no interrupt can slip in before the HLT. */
static ALWAYS_INLINE void cpu_idle_wait(void)
{
    __asm__ volatile("sti; hlt" : : : "memory");
}

/* LFENCE: the counter is not read ahead of what comes before it. */
static ALWAYS_INLINE uint64_t cpu_counter(void)
{
    uint32_t low;
    uint32_t high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

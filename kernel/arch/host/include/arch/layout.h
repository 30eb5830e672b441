/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/layout.h, for unit tests only: the direct map is one anonymous mapping. */
#pragma once

#include <core/types.h>

extern uintptr_t host_ram_base;     /* where simulated physical address 0 lies */
extern uintptr_t host_vmalloc_base; /* an address range that no memory backs */

#define DIRECT_MAP_BASE  host_ram_base
#define VMALLOC_BASE     host_vmalloc_base
#define LOW_RESERVED_END UINT64_C(0x10000)
#define LOW_TOUCHED_END  UINT64_C(0x10000)
#define VMALLOC_SIZE     (UINT64_C(1) << 30)

static inline uint64_t arch_kernel_phys_end(void)
{
    return UINT64_C(0x20000); /* as if a small kernel lay at the bottom */
}

static inline void *arch_phys_to_virt(uint64_t pa)
{
    return (void *)(DIRECT_MAP_BASE + pa); /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint64_t arch_virt_to_phys(const void *p)
{
    return (uintptr_t)p - DIRECT_MAP_BASE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a jail lets machines and their monitor use. */
#pragma once

#include <stdint.h>

/* The monitor's own memory, and page cache that it is charged for, bytes. */
#define MONITOR_MEMORY_OVERHEAD (UINT64_C(64) << 20)

/* Of one monitor that holds so much guest memory, bytes. */
static inline uint64_t monitor_memory_max(uint64_t guest_mib)
{
    return (guest_mib << 20) + MONITOR_MEMORY_OVERHEAD;
}

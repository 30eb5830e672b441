/* SPDX-License-Identifier: Apache-2.0 */
/* The page below the vDSO's code: written by the kernel, read by every program. */
#pragma once

#include <stdint.h>

struct vdso_data {
    _Atomic uint32_t sequence; /* odd: being changed */
    uint32_t has_counter; /* 0: programs cannot read the kernel's counter; use the system call */
    uint64_t counter_base;
    uint64_t monotonic_base_ns;
    uint64_t realtime_offset_ns;
    uint32_t mult; /* ns = counter * mult >> shift */
    uint32_t shift;
    uint32_t generation;       /* the monitor's: another once the machine stood still */
    uint32_t generation_known; /* the one that the numbers above belong to */
};

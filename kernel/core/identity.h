/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The identity page (abi/boot.h): how the kernel learns that the machine stood still, or that it is
 * a copy of one that goes on elsewhere. Who depends on it keeps the generation it saw last and
 * compares at each use: two loads.
 */
#pragma once

#include <stdatomic.h>

#include <abi/boot.h>
#include <core/types.h>

/* Never NULL; a page of zeros, generation 0, when the monitor has none. Written by the monitor. */
extern struct boot_identity *identity;

/* After page_init(), before the clock: map the page, and tell the monitor what it asks for. */
void identity_init(void);

/*
 * Read anew each time. Acquire: what the monitor wrote before it is read after it. (The monitor
 * writes only while no CPU runs.)
 */
static inline uint32_t identity_generation(void)
{
    return __atomic_load_n(&identity->generation, __ATOMIC_ACQUIRE);
}

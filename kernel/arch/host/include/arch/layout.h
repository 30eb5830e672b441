/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/layout.h, for unit tests only: the direct map is one anonymous mapping. */
#pragma once

#include <core/types.h>

extern uintptr_t host_ram_base;      /* where simulated physical address 0 lies */
extern uintptr_t host_vmalloc_base;  /* an address range that no memory backs */

#define DIRECT_MAP_BASE   host_ram_base
#define KERNEL_IMAGE_BASE UINTPTR_MAX /* nothing lies above: no address is a kernel image's */
#define VMALLOC_BASE      host_vmalloc_base
#define VMALLOC_SIZE      (UINT64_C(1) << 30)

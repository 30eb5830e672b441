/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's half of the address space. Every architecture has this file with these names.
 *
 *   DIRECT_MAP_BASE    physical address p is reached at DIRECT_MAP_BASE + p
 *   VMALLOC_BASE       kernel mappings of scattered frames: vmalloc(), kernel stacks
 *   KERNEL_IMAGE_BASE  the image, linked at KERNEL_IMAGE_BASE + its physical address; the topmost
 */
#pragma once

#include <core/types.h>

#define DIRECT_MAP_BASE   UINT64_C(0xffff888000000000)
#define VMALLOC_BASE      UINT64_C(0xffffc90000000000)
#define VMALLOC_SIZE      (UINT64_C(1) << 36)
#define KERNEL_IMAGE_BASE UINT64_C(0xffffffff80000000)

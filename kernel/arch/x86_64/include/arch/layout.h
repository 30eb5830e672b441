/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's half of the address space. Assembly includes this file too.
 *
 *   DIRECT_MAP_BASE    physical memory, one to one, never executable, extended on demand
 *   VMALLOC_BASE       pt_kernel_map(): vmalloc areas and kernel stacks
 *   KERNEL_IMAGE_BASE  the kernel image: physical 0 would be here, so text begins 1 MiB above
 */
#pragma once

#ifdef __ASSEMBLER__
#define LAYOUT_U64(n) n
#else
#include <base/compiler.h>
#define LAYOUT_U64(n) UINT64_C(n)
#endif

#define DIRECT_MAP_BASE   LAYOUT_U64(0xffff888000000000)
#define DIRECT_MAP_SIZE   LAYOUT_U64(0x8000000000) /* one top-level entry: 512 GiB */
#define VMALLOC_BASE      LAYOUT_U64(0xffffc90000000000)
#define VMALLOC_SIZE      LAYOUT_U64(0x8000000000)
#define KERNEL_IMAGE_BASE LAYOUT_U64(0xffffffff80000000)
#define KERNEL_PHYS_START LAYOUT_U64(0x100000)
#define LOW_RESERVED_END  LAYOUT_U64(0x10000)  /* never given to the allocator: CPU start-up code */
#define LOW_TOUCHED_END   LAYOUT_U64(0x100000) /* firmware or the monitor wrote here */

/* Linux's GDT layout: a hypervisor that runs ring 0 without hardware help relies on it. */
#define SELECTOR_KERNEL_CODE 0x10
#define SELECTOR_KERNEL_DATA 0x18
#define SELECTOR_USER_CODE32 0x23
#define SELECTOR_USER_DATA   0x2b
#define SELECTOR_USER_CODE   0x33
#define SELECTOR_TSS         0x40

#ifndef __ASSEMBLER__

/* The linker's: first byte of the image, first byte after it (with .bss). */
extern char kernel_image_start[];
extern char kernel_image_end[];

/* The first physical address past the kernel image: where free memory may begin. */
static inline uint64_t arch_kernel_phys_end(void)
{
    return (uintptr_t)kernel_image_end - KERNEL_IMAGE_BASE;
}

/* Hot forms of phys_to_virt() and virt_to_phys(). */
static inline void *arch_phys_to_virt(uint64_t pa)
{
    return (void *)(uintptr_t)(DIRECT_MAP_BASE + pa);
}

static inline uint64_t arch_virt_to_phys(const void *p)
{
    uint64_t va = (uintptr_t)p;

    return va >= KERNEL_IMAGE_BASE ? va - KERNEL_IMAGE_BASE : va - DIRECT_MAP_BASE;
}

#endif

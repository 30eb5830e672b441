/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating-point and vector state: XSAVE (standard format, eager) where announced; where ring 0 is
 * interpreted and has none, the monitor does the same for us (abi/boot.h, the vector port); else
 * FXSAVE.
 * State whose size would dwarf everything else (AMX tiles) stays off.
 */

#include <abi/boot.h>
#include <arch/internal.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <x86.h>

#define XCR0_X87    (1u << 0)
#define XCR0_SSE    (1u << 1)
#define XCR0_AVX    (1u << 2)
#define XCR0_AVX512 (7u << 5)
#define XCR0_PKRU   (1u << 9) /* not used: no pkey calls */
#define XCR0_WANTED (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

#define FXSAVE_SIZE       512u
#define XSAVE_HEADER_SIZE 64u
#define FPU_ALIGN         64u

uint32_t fpu_size = FXSAVE_SIZE;
uint64_t fpu_xmask;

static struct slab_cache fpu_cache = SLAB_CACHE_OF("fpu", FXSAVE_SIZE, FPU_ALIGN);

static uint16_t port; /* the monitor's; 0: none */

static void set_xcr0(uint64_t value)
{
    __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

/* Bytes up to the end of the last component of the mask. */
static uint32_t size_of(uint64_t mask)
{
    uint32_t size = FXSAVE_SIZE + XSAVE_HEADER_SIZE;

    for (unsigned i = 2; i < 64; i++) {
        if ((mask & UINT64_C(1) << i) != 0) {
            struct cpuid c = cpuid(0xd, i);

            size = max_of(size, c.ebx + c.eax);
        }
    }
    return size;
}

static void find_port(void)
{
    uint64_t number = 0;
    uint64_t mask = 0;

    if (boot_option_u64("drupe.fpu=", &number) && boot_option_u64("drupe.xcr0=", &mask) &&
        number != 0 && number <= 0xffff - BOOT_FPU_LOAD &&
        size_of(mask & XCR0_WANTED) <= BOOT_FPU_PAGE_SIZE) {
        port = (uint16_t)number;
        fpu_xmask = mask & XCR0_WANTED;
        fpu_size = size_of(fpu_xmask);
    }
}

void fpu_init(bool is_boot_cpu)
{
    if (cpu_features.has_xsave) {
        if (is_boot_cpu) {
            struct cpuid c = cpuid(0xd, 0);

            fpu_xmask = c.eax & XCR0_WANTED;
            if (!(fpu_xmask & XCR0_AVX) || (fpu_xmask & XCR0_AVX512) != XCR0_AVX512) {
                fpu_xmask &= ~(uint64_t)XCR0_AVX512;
            }
        }
        set_xcr0(fpu_xmask);
        if (is_boot_cpu) {
            fpu_size = cpuid(0xd, 0).ebx; /* for what XCR0 enables now */
            fpu_cache.size = fpu_size;
            fpu_cache.stride = (uint32_t)SLAB_STRIDE(fpu_size, FPU_ALIGN);
            fpu_cache.per_slab = (uint16_t)(PAGE_SIZE / fpu_cache.stride);
        }
    } else if (is_boot_cpu) {
        find_port();
    }
    __asm__ volatile("fninit");
}

/* Hand the area's page to the monitor, which is done with it when the instruction completes. */
static void ask_monitor(unsigned offset, const void *area)
{
    __asm__ volatile("outl %0, %1"
                     :
                     : "a"((uint32_t)(virt_to_phys(area) / BOOT_FPU_PAGE_SIZE)),
                       "Nd"((uint16_t)(port + offset))
                     : "memory");
}

void fpu_save(void *area)
{
    if (port) {
        ask_monitor(0, area);
    } else if (fpu_xmask) {
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
    } else {
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    }
}

void fpu_load(const void *area)
{
    if (port) {
        ask_monitor(BOOT_FPU_LOAD, area);
    } else if (fpu_xmask) {
        __asm__ volatile("xrstor64 (%0)"
                         :
                         : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX)
                         : "memory");
    } else {
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
    }
}

/* The state that a program starts with: what FNINIT and the reset of MXCSR give. */
void fpu_reset(void *area)
{
    memset(area, 0, fpu_size);
    store_le16(area, 0x37f);
    store_le32((char *)area + 24, 0x1f80);
    if (fpu_xmask) {
        store_le64((char *)area + FXSAVE_SIZE, XCR0_X87 | XCR0_SSE); /* XSTATE_BV: rest initial */
    }
}

void *fpu_alloc(void)
{
    struct page *p = port ? page_alloc(0, GFP_KERNEL) : NULL;
    uint8_t *area = p ? page_address(p) : NULL;

    if (!port) {
        area = slab_alloc(&fpu_cache, GFP_KERNEL);
    }
    /* XSAVE writes the header's first word only, and XRSTOR refuses rubbish in the rest. */
    if (area && fpu_xmask) {
        memset(area + FXSAVE_SIZE, 0, XSAVE_HEADER_SIZE);
    }
    return area;
}

void fpu_free(void *area)
{
    if (!port) {
        slab_free(&fpu_cache, area);
    } else if (area) {
        page_put(phys_to_page(virt_to_phys(area)));
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's half of the page tables: the image with its permissions, the direct map, the vmalloc
 * area. Every root shares these three top-level entries, whose tables are static, so a change below
 * them is seen everywhere and no root ever needs to be brought up to date.
 *
 * The direct map grows by 2 MiB pages when somebody is about to use a piece of RAM for the first
 * time; the page allocator does that with its lock held, so table pages come from a small reserve
 * that pt_create() refills. All its changes are single compare-and-swaps: no lock.
 */

#include <stdatomic.h>

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <core/lock.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/page.h>
#include <sched/cpu.h>
#include <x86.h>

#define LARGE_SIZE  (UINT64_C(2) << 20)
#define GIB         (UINT64_C(1) << 30)
#define TABLE_FLAGS (PTE_PRESENT | PTE_WRITABLE)
#define LARGE_FLAGS (PTE_PRESENT | PTE_WRITABLE | PTE_LARGE | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL)
#define SMALL_FLAGS (PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL)

#define TOP_DIRECT  273
#define TOP_VMALLOC 402
#define TOP_IMAGE   511

static_assert((DIRECT_MAP_BASE >> 39 & 511) == TOP_DIRECT, "start.S has it there");
static_assert((VMALLOC_BASE >> 39 & 511) == TOP_VMALLOC, "start.S has it there");
static_assert((KERNEL_IMAGE_BASE >> 39 & 511) == TOP_IMAGE, "start.S has it there");

/* start.S */
extern _Atomic uint64_t direct_pdpt[512];
extern uint64_t vmalloc_pdpt[512];
extern uint64_t image_pd[512];

/* kernel.lds */
extern char kernel_text_start[], kernel_text_end[];
extern char kernel_rodata_start[];
extern char kernel_data_start[];
extern char boot_stack_guard[]; /* start.S */

#define RESERVE_COUNT 4

static ALIGNED(4096) uint64_t image_tables[2][512];
static ALIGNED(4096) uint64_t kernel_root[512]; /* for tasks without an address space */
static ALIGNED(4096) uint64_t boot_reserve[RESERVE_COUNT][512];
static _Atomic paddr_t reserve[RESERVE_COUNT]; /* zeroed table pages */

static struct spinlock kernel_map_lock = SPINLOCK_INIT(RANK_NONE);

static void map_image(const char *start, const char *end, uint64_t flags)
{
    uint64_t pa = (uintptr_t)start - KERNEL_IMAGE_BASE;
    uint64_t value = align_down(pa, PAGE_SIZE) | flags;
    uint64_t *entry = &image_tables[0][0] + (pa >> PAGE_SHIFT);
    uint64_t *behind =
        &image_tables[0][0] + (((uintptr_t)end - KERNEL_IMAGE_BASE - 1) >> PAGE_SHIFT) + 1;

    for (; behind - entry >= 8; entry += 8) { /* two instructions a page */
        entry[0] = value;
        entry[1] = value + 1 * PAGE_SIZE;
        entry[2] = value + 2 * PAGE_SIZE;
        entry[3] = value + 3 * PAGE_SIZE;
        entry[4] = value + 4 * PAGE_SIZE;
        entry[5] = value + 5 * PAGE_SIZE;
        entry[6] = value + 6 * PAGE_SIZE;
        entry[7] = value + 7 * PAGE_SIZE;
        value += 8 * PAGE_SIZE;
    }
    for (; entry < behind; value += PAGE_SIZE) {
        *entry++ = value;
    }
}

void pt_init(void)
{
    const uint64_t *boot = (const uint64_t *)boot_page_table;

    map_image(kernel_text_start, kernel_text_end, SMALL_FLAGS);
    map_image(kernel_rodata_start, kernel_data_start, SMALL_FLAGS | PTE_NX);
    map_image(kernel_data_start, kernel_image_end, SMALL_FLAGS | PTE_WRITABLE | PTE_NX);
    (&image_tables[0][0])[((uintptr_t)boot_stack_guard - KERNEL_IMAGE_BASE) >> PAGE_SHIFT] = 0;
    for (unsigned i = 0; i < array_size(image_tables); i++) {
        image_pd[i] = arch_virt_to_phys(image_tables[i]) | TABLE_FLAGS;
    }
    for (unsigned i = 0; i < RESERVE_COUNT; i++) {
        reserve[i] = arch_virt_to_phys(boot_reserve[i]);
    }
    kernel_root[TOP_DIRECT] = boot[TOP_DIRECT];
    kernel_root[TOP_VMALLOC] = boot[TOP_VMALLOC];
    kernel_root[TOP_IMAGE] = boot[TOP_IMAGE];
    write_cr3(arch_virt_to_phys(kernel_root));
}

/* --- the direct map */

static paddr_t reserve_take(void)
{
    for (unsigned i = 0; i < RESERVE_COUNT; i++) {
        paddr_t pa = atomic_exchange_explicit(&reserve[i], 0, memory_order_acq_rel);

        if (pa != 0) {
            return pa;
        }
    }
    return 0;
}

static void reserve_refill(void)
{
    for (unsigned i = 0; i < RESERVE_COUNT; i++) {
        if (likely(atomic_load_explicit(&reserve[i], memory_order_relaxed) != 0)) {
            continue;
        }
        struct page *p = page_alloc_table();

        if (!p) {
            return;
        }
        paddr_t nobody = 0;

        if (!atomic_compare_exchange_strong_explicit(&reserve[i], &nobody, page_to_phys(p),
                                                     memory_order_acq_rel, memory_order_relaxed)) {
            page_put_table(p); /* somebody else was faster */
        }
    }
}

/* The table for the GiB that holds pa; NULL: no table page left. */
static _Atomic uint64_t *direct_table(paddr_t pa)
{
    _Atomic uint64_t *slot = &direct_pdpt[pa / GIB];
    uint64_t entry = atomic_load_explicit(slot, memory_order_acquire);

    if (entry == 0) {
        paddr_t table = reserve_take();

        if (table == 0) {
            return NULL;
        }
        if (atomic_compare_exchange_strong_explicit(slot, &entry, table | TABLE_FLAGS,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            entry = table | TABLE_FLAGS;
        } else {
            for (unsigned i = 0; i < RESERVE_COUNT;
                 i++) { /* another CPU installed one: give back */
                paddr_t nobody = 0;

                if (atomic_compare_exchange_strong_explicit(
                        &reserve[i], &nobody, table, memory_order_acq_rel, memory_order_relaxed)) {
                    break;
                }
            }
        }
    }
    return (_Atomic uint64_t *)arch_phys_to_virt(entry & PTE_ADDRESS);
}

int pt_direct_map(paddr_t pa, uint64_t size, bool is_device)
{
    uint64_t flags = LARGE_FLAGS | (is_device ? PTE_PCD | PTE_PWT : 0);
    uint64_t end;

    if (!range_fits(pa, size, DIRECT_MAP_SIZE)) {
        return -EINVAL;
    }
    end = pa + size;
    if (end <= GIB && !is_device) {
        return 0; /* start.S did */
    }
    for (pa = align_down(pa, LARGE_SIZE); pa < end; pa += LARGE_SIZE) {
        _Atomic uint64_t *table = direct_table(pa);

        if (!table) {
            return -ENOMEM;
        }
        _Atomic uint64_t *slot = &table[pa / LARGE_SIZE % 512];
        uint64_t entry = atomic_load_explicit(slot, memory_order_relaxed);

        if (entry == 0) {
            atomic_store_explicit(slot, pa | flags, memory_order_release); /* equal from any CPU */
        } else if (is_device && !(entry & PTE_PCD)) {
            atomic_store_explicit(slot, pa | flags, memory_order_release);
            invlpg(DIRECT_MAP_BASE + pa);
        }
    }
    return 0;
}

/* --- vmalloc and kernel stacks */

static uint64_t *next_table(uint64_t *slot)
{
    if (*slot == 0) {
        struct page *p = page_alloc_table();

        if (!p) {
            return NULL;
        }
        *slot = page_to_phys(p) | TABLE_FLAGS;
    }
    return arch_phys_to_virt(*slot & PTE_ADDRESS);
}

static uint64_t *kernel_pte(uintptr_t va)
{
    uint64_t *table = next_table(&vmalloc_pdpt[va >> 30 & 511]);

    table = table ? next_table(&table[va >> 21 & 511]) : NULL;
    return table ? &table[va >> 12 & 511] : NULL;
}

int pt_kernel_map(uintptr_t va, paddr_t pa, uint64_t count)
{
    assert(va >= VMALLOC_BASE && is_aligned(va, PAGE_SIZE));
    assert(range_fits(va - VMALLOC_BASE, count * PAGE_SIZE, VMALLOC_SIZE));

    uint64_t flags = spin_lock_irqsave(&kernel_map_lock);
    int err = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t *pte = kernel_pte(va + i * PAGE_SIZE);

        if (!pte) {
            err = -ENOMEM; /* what is mapped already stays until pt_kernel_unmap() */
            break;
        }
        assert(*pte == 0);
        *pte = (pa + i * PAGE_SIZE) | SMALL_FLAGS | PTE_WRITABLE | PTE_NX;
    }
    spin_unlock_irqrestore(&kernel_map_lock, flags);
    return err;
}

struct kernel_range {
    uintptr_t va;
    uint64_t count;
};

static void flush_kernel_range(void *arg)
{
    const struct kernel_range *r = arg;

    for (uint64_t i = 0; i < r->count; i++) {
        invlpg(r->va + i * PAGE_SIZE);
    }
}

void pt_kernel_unmap(uintptr_t va, uint64_t count)
{
    struct kernel_range r = { va, count };
    uint64_t flags = spin_lock_irqsave(&kernel_map_lock);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t *pte = kernel_pte(va + i * PAGE_SIZE);

        if (pte) {
            *pte = 0;
        }
    }
    spin_unlock_irqrestore(&kernel_map_lock, flags);
    flush_kernel_range(&r);
    ipi_call(atomic_load_explicit(&cpu_online_mask, memory_order_relaxed), flush_kernel_range, &r);
}

/* --- roots */

paddr_t pt_create(void)
{
    struct page *p = page_alloc_table();
    uint64_t *root;

    if (!p) {
        return 0;
    }
    reserve_refill();
    root = page_address(p);
    root[TOP_DIRECT] = kernel_root[TOP_DIRECT];
    root[TOP_VMALLOC] = kernel_root[TOP_VMALLOC];
    root[TOP_IMAGE] = kernel_root[TOP_IMAGE];
    return page_to_phys(p);
}

void pt_kernel_half_drop(uint64_t *root)
{
    root[TOP_DIRECT] = 0;
    root[TOP_VMALLOC] = 0;
    root[TOP_IMAGE] = 0;
}

void arch_load_page_table(paddr_t root)
{
    write_cr3(root ? root : arch_virt_to_phys(kernel_root));
}

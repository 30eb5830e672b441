/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's half of the page tables. Callers hold the mm's page_table_lock.
 *
 * Scanning 512 entries to find three costs more than using them, so each table page carries a
 * summary in its struct page (page->index): bit i says that one of the entries 8i..8i+7 was ever
 * used. It is never cleared while the table lives; a stale bit only costs a look.
 *
 * A non-zero PTE holds a frame. PROT_NONE pages keep theirs with the present bit off (SOFT_NONE).
 */

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <core/string.h>
#include <mm/page.h>
#include <x86.h>

#define ENTRIES     512u
#define TABLE_FLAGS (PTE_PRESENT | PTE_WRITABLE | PTE_USER | PTE_ACCESSED)
#define SOFT_NONE   0x800u

static uint64_t *table_at(uint64_t entry)
{
    return arch_phys_to_virt(entry & PTE_ADDRESS);
}

static struct page *table_page(const uint64_t *table)
{
    return phys_to_page(arch_virt_to_phys(table));
}

static uint64_t to_pte(unsigned flags)
{
    uint64_t e = PTE_USER | PTE_ACCESSED;

    e |= flags & (PTE_USER_READ | PTE_USER_WRITE | PTE_USER_EXEC) ? PTE_PRESENT : SOFT_NONE;
    e |= flags & PTE_USER_WRITE ? PTE_WRITABLE | PTE_DIRTY : 0;
    e |= flags & PTE_USER_EXEC ? 0 : PTE_NX;
    e |= flags & PTE_DIRECT ? PTE_SOFT_DIRECT : 0;
    e |= flags & PTE_SHARED ? PTE_SOFT_SHARED : 0;
    return e;
}

static void from_pte(uint64_t e, struct pte *out)
{
    out->is_present = e != 0;
    out->is_dirty = (e & PTE_DIRTY) != 0;
    out->is_accessed = (e & PTE_ACCESSED) != 0;
    out->pa = e & PTE_ADDRESS;
    out->flags = 0;
    if (e & PTE_PRESENT) {
        out->flags |= PTE_USER_READ;
        out->flags |= e & PTE_WRITABLE ? PTE_USER_WRITE : 0;
        out->flags |= e & PTE_NX ? 0 : PTE_USER_EXEC;
    }
    out->flags |= e & PTE_SOFT_DIRECT ? PTE_DIRECT : 0;
    out->flags |= e & PTE_SOFT_SHARED ? PTE_SHARED : 0;
}

static void summary_set(const uint64_t *table, unsigned first, unsigned count)
{
    unsigned low = first / 8;
    unsigned high = (first + count - 1) / 8;

    assert(count > 0 && high < 64);
    table_page(table)->index |= (UINT64_MAX >> (63 - (high - low))) << low;
}

/* The table below table[index]; made when absent and `create`. NULL: absent, or no memory. */
static uint64_t *descend(uint64_t *table, unsigned index, bool create)
{
    uint64_t entry = table[index];

    if (likely(entry != 0)) {
        return table_at(entry);
    }
    if (!create) {
        return NULL;
    }
    struct page *p = page_alloc(0, GFP_ZERO | GFP_ATOMIC);

    if (!p) {
        return NULL;
    }
    p->flags |= PAGE_TABLE;
    p->index = 0;
    table[index] = page_to_phys(p) | TABLE_FLAGS;
    summary_set(table, index, 1);
    return page_address(p);
}

static NEVER_INLINE uint64_t *make_leaf_table(paddr_t root, uint64_t va)
{
    uint64_t *t = descend(arch_phys_to_virt(root), va >> 39 & 511, true);

    t = t ? descend(t, va >> 30 & 511, true) : NULL;
    return t ? descend(t, va >> 21 & 511, true) : NULL;
}

/* The last-level table that holds va's PTE. The walk of a table that is there is inline: every
 * fault does it. */
static ALWAYS_INLINE uint64_t *leaf_table(paddr_t root, uint64_t va, bool create)
{
    uint64_t entry = ((const uint64_t *)arch_phys_to_virt(root))[va >> 39 & 511];

    if (likely(entry != 0)) {
        entry = table_at(entry)[va >> 30 & 511];
        if (likely(entry != 0)) {
            entry = table_at(entry)[va >> 21 & 511];
            if (likely(entry != 0)) {
                return table_at(entry);
            }
        }
    }
    return create ? make_leaf_table(root, va) : NULL;
}

/* How far one can skip from va when its leaf table is absent. */
static uint64_t skip_absent(paddr_t root, uint64_t va)
{
    const uint64_t *t = arch_phys_to_virt(root);

    for (unsigned shift = 39; shift > 21; shift -= 9) {
        uint64_t entry = t[va >> shift & 511];

        if (entry == 0) {
            return align_down(va, UINT64_C(1) << shift) + (UINT64_C(1) << shift);
        }
        t = table_at(entry);
    }
    return align_down(va, UINT64_C(1) << 21) + (UINT64_C(1) << 21);
}

/* How many pages from va to end lie under va's leaf table. */
static unsigned pages_here(uint64_t va, uint64_t end)
{
    uint64_t left = (end - va) >> PAGE_SHIFT;
    uint64_t room = ENTRIES - (va >> PAGE_SHIFT & 511);

    return (unsigned)min_of(left, room);
}

static bool make_tables(paddr_t root, uint64_t va, uint64_t end)
{
    while (va < end) {
        if (!leaf_table(root, va, true)) {
            return false;
        }
        va += (uint64_t)pages_here(va, end) << PAGE_SHIFT;
    }
    return true;
}

long pt_map_run(paddr_t root, uint64_t va, paddr_t first, uint64_t count, unsigned flags, bool keep)
{
    uint64_t value = first | to_pte(flags);
    uint64_t end = va + (count << PAGE_SHIFT);
    long installed = 0;

    assert(is_aligned(va | first, PAGE_SIZE) && count > 0 && end <= UINT64_C(1) << 47);
    if (pages_here(va, end) < count && !make_tables(root, va, end)) {
        return -ENOMEM;
    }
    while (va < end) {
        uint64_t *table = leaf_table(root, va, true);
        unsigned index = va >> PAGE_SHIFT & 511;
        unsigned n = pages_here(va, end);

        if (!table) {
            return -ENOMEM; /* the only table: nothing is installed yet */
        }
        summary_set(table, index, n);
        for (uint64_t *pte = table + index, *last = pte + n; pte < last; pte++) {
            if (*pte == 0 || !keep) {
                *pte = value;
                installed++;
            }
            value += PAGE_SIZE;
        }
        va += (uint64_t)n << PAGE_SHIFT;
    }
    return installed;
}

bool pt_lookup(paddr_t root, uint64_t va, struct pte *out)
{
    const uint64_t *table = leaf_table(root, va, false);
    uint64_t e = table ? table[va >> PAGE_SHIFT & 511] : 0;

    if (e == 0) {
        return false;
    }
    from_pte(e, out);
    return true;
}

void pt_visit(paddr_t root, uint64_t start, uint64_t end, pt_visit_fn fn, void *ctx)
{
    uint64_t va = start;

    while (va < end) {
        uint64_t *table = leaf_table(root, va, false);

        if (!table) {
            va = skip_absent(root, va);
            continue;
        }
        unsigned n = pages_here(va, end);

        for (uint64_t *pte = table + (va >> PAGE_SHIFT & 511); n > 0; n--, pte++, va += PAGE_SIZE) {
            struct pte p;

            if (*pte == 0) {
                continue;
            }
            from_pte(*pte, &p);
            if (fn(ctx, va, &p)) {
                uint64_t e = p.is_present ? p.pa | to_pte(p.flags) : 0;

                /* A clean page stays clean: only the CPU or an explicit wish makes it dirty. */
                if (e != 0 && !p.is_dirty) {
                    e &= ~(uint64_t)PTE_DIRTY;
                }
                *pte = e;
            }
        }
    }
}

/* One leaf table's share of a fork. */
static void fork_leaf(uint64_t *from, uint64_t *to, unsigned index, unsigned n, bool is_shared)
{
    uint64_t summary = table_page(from)->index;
    unsigned end = index + n;
    bool any = false;

    while (index < end) {
        if (!(summary >> (index / 8) & 1)) {
            index = align_down(index, 8u) + 8;
            continue;
        }
        uint64_t e = from[index];

        if (e != 0) {
            if (e & PTE_WRITABLE && !is_shared) {
                e &= ~(uint64_t)PTE_WRITABLE;
                from[index] = e;
            }
            if (!(e & PTE_SOFT_DIRECT)) {
                struct page *p = phys_to_page(e & PTE_ADDRESS);

                page_get(p);
                (void)atomic_fetch_add_explicit(&p->mapcount, 1, memory_order_relaxed);
            }
            to[index] = e;
            any = true;
        }
        index++;
    }
    if (any) {
        table_page(to)->index |= summary;
    }
}

int pt_fork_range(paddr_t from, paddr_t to, uint64_t start, uint64_t end, bool is_shared)
{
    uint64_t va = start;

    while (va < end) {
        uint64_t *source = leaf_table(from, va, false);

        if (!source || table_page(source)->index == 0) {
            va = skip_absent(from, va);
            continue;
        }
        uint64_t *target = leaf_table(to, va, true);
        unsigned n = pages_here(va, end);

        if (!target) {
            return -ENOMEM;
        }
        fork_leaf(source, target, va >> PAGE_SHIFT & 511, n, is_shared);
        va += (uint64_t)n << PAGE_SHIFT;
    }
    return 0;
}

/* Take one leaf table's PTEs; the index at which it stopped (the batch is full) or `end`. */
static unsigned unmap_leaf(uint64_t *table, unsigned index, unsigned end, struct pt_batch *batch)
{
    uint64_t summary = table_page(table)->index;

    while (index < end) {
        if (!(summary >> (index / 8) & 1)) {
            index = align_down(index, 8u) + 8;
            continue;
        }
        uint64_t e = table[index];

        if (e == 0) {
            index++;
            continue;
        }
        if (!(e & PTE_SOFT_DIRECT)) {
            if (batch->count == array_size(batch->slots)) {
                return index;
            }
            struct page *p = phys_to_page(e & PTE_ADDRESS);

            (void)atomic_fetch_sub_explicit(&p->mapcount, 1, memory_order_relaxed);
            if ((e & (PTE_DIRTY | PTE_SOFT_SHARED)) == (PTE_DIRTY | PTE_SOFT_SHARED)) {
                p->flags |= PAGE_DIRTY;
            }
            batch->slots[batch->count++] = p;
        }
        table[index++] = 0;
        batch->unmapped++;
    }
    return end;
}

uint64_t pt_unmap_range(paddr_t root, uint64_t start, uint64_t end, struct pt_batch *batch)
{
    uint64_t va = start;

    while (va < end) {
        uint64_t *table = leaf_table(root, va, false);

        if (!table) {
            va = skip_absent(root, va);
            continue;
        }
        unsigned index = va >> PAGE_SHIFT & 511;
        unsigned last = index + pages_here(va, end);
        unsigned stop = unmap_leaf(table, index, last, batch);

        va += (uint64_t)(stop - index) << PAGE_SHIFT;
        if (stop < last) {
            return va;
        }
    }
    return end;
}

/*
 * Tables are given back as what they are then: zero. So the next one needs no clearing. PTEs that
 * are left in last-level tables hold no reference (PTE_DIRECT).
 */
static void free_table(uint64_t *table, unsigned level)
{
    struct page *p = table_page(table);

    for (uint64_t summary = p->index; summary != 0; summary &= summary - 1) {
        uint64_t *entry = table + (unsigned)__builtin_ctzll(summary) * 8;

        for (unsigned i = 0; i < 8; i++) {
            if (level > 1 && entry[i] != 0) {
                free_table(table_at(entry[i]), level - 1);
            }
            entry[i] = 0;
        }
    }
    p->flags &= (uint16_t)~PAGE_TABLE;
    page_put_clean(p);
}

void pt_destroy(paddr_t root)
{
    pt_kernel_half_drop(arch_phys_to_virt(root)); /* the summary knows the user's half only */
    free_table(arch_phys_to_virt(root), 4);
}

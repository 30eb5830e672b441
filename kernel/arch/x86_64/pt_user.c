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

/* Of an entry that names a table: its flags are the low bits only. */
static ALWAYS_INLINE uint64_t *table_at(uint64_t entry)
{
    return arch_phys_to_virt(entry & PAGE_MASK);
}

static struct page *table_page(const uint64_t *table)
{
    return phys_to_page(arch_virt_to_phys(table));
}

#define PTE_BITS(flags)                                                                            \
    (PTE_USER | PTE_ACCESSED |                                                                     \
     ((flags) & (PTE_USER_READ | PTE_USER_WRITE | PTE_USER_EXEC) ? PTE_PRESENT : SOFT_NONE) |      \
     ((flags)&PTE_USER_WRITE ? PTE_WRITABLE | PTE_DIRTY : 0) |                                     \
     ((flags)&PTE_USER_EXEC ? 0 : PTE_NX) | ((flags)&PTE_DIRECT ? PTE_SOFT_DIRECT : 0) |           \
     ((flags)&PTE_SHARED ? PTE_SOFT_SHARED : 0))
#define PTE_BITS_4(flags)                                                                          \
    PTE_BITS(flags), PTE_BITS((flags) + 1), PTE_BITS((flags) + 2), PTE_BITS((flags) + 3)

/* One load instead of twenty instructions, at every mapping. */
static const uint64_t pte_bits[32] = {
    PTE_BITS_4(0),  PTE_BITS_4(4),  PTE_BITS_4(8),  PTE_BITS_4(12),
    PTE_BITS_4(16), PTE_BITS_4(20), PTE_BITS_4(24), PTE_BITS_4(28),
};

static ALWAYS_INLINE uint64_t to_pte(unsigned flags)
{
    return pte_bits[flags & 31];
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

/* The bits of entries [first, first + count). */
static ALWAYS_INLINE uint64_t summary_of(unsigned first, unsigned count)
{
    unsigned low = first / 8;
    unsigned high = (first + count - 1) / 8;

    assert_slow(count > 0 && high < 64);
    return (UINT64_MAX >> (63 - (high - low))) << low;
}

/* A table below table[index], which is empty. NULL: no memory. */
static NEVER_INLINE uint64_t *make_table(uint64_t *table, unsigned index)
{
    struct page *p = page_alloc_table();

    if (!p) {
        return NULL;
    }
    table[index] = page_to_phys(p) | TABLE_FLAGS;
    table_page(table)->index |= summary_of(index, 1);
    return page_address(p);
}

/* The last-level table that holds va's PTE, or NULL: absent. Every fault comes here: three loads.
 */
static ALWAYS_INLINE uint64_t *find_leaf(paddr_t root, uint64_t va)
{
    uint64_t e = ((const uint64_t *)arch_phys_to_virt(root))[va >> 39 & 511];

    if (unlikely(e == 0)) {
        return NULL;
    }
    e = table_at(e)[va >> 30 & 511];
    if (unlikely(e == 0)) {
        return NULL;
    }
    e = table_at(e)[va >> 21 & 511];
    return likely(e != 0) ? table_at(e) : NULL;
}

/* The same, made where it is absent. NULL: no memory. */
static NEVER_INLINE uint64_t *make_leaf(paddr_t root, uint64_t va)
{
    uint64_t *t = arch_phys_to_virt(root);

    for (unsigned shift = 39; t && shift >= 21; shift -= 9) {
        unsigned index = va >> shift & 511;

        t = t[index] != 0 ? table_at(t[index]) : make_table(t, index);
    }
    return t;
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
        if (!make_leaf(root, va)) {
            return false;
        }
        va += (uint64_t)pages_here(va, end) << PAGE_SHIFT;
    }
    return true;
}

/* Entries that are empty: nothing to look at, two instructions a page. */
static ALWAYS_INLINE void fill(uint64_t *pte, uint64_t value, unsigned count)
{
    for (; count >= 8; count -= 8, pte += 8, value += 8 * PAGE_SIZE) {
        pte[0] = value;
        pte[1] = value + 1 * PAGE_SIZE;
        pte[2] = value + 2 * PAGE_SIZE;
        pte[3] = value + 3 * PAGE_SIZE;
        pte[4] = value + 4 * PAGE_SIZE;
        pte[5] = value + 5 * PAGE_SIZE;
        pte[6] = value + 6 * PAGE_SIZE;
        pte[7] = value + 7 * PAGE_SIZE;
    }
    for (; count > 0; count--, pte++, value += PAGE_SIZE) {
        *pte = value;
    }
}

/* Entries some of which are in use: those stay. Groups that the summary says to be empty are not
 * looked at. */
static NEVER_INLINE long fill_gaps(uint64_t *table, uint64_t summary, unsigned index,
                                   uint64_t value, unsigned count)
{
    unsigned end = index + count;
    long installed = 0;

    while (index < end) {
        uint64_t groups = summary >> (index / 8);

        if (!(groups & 1)) {
            unsigned stop =
                groups ? align_down(index, 8u) + (unsigned)__builtin_ctzll(groups) * 8 : ENTRIES;
            unsigned n = min_of(stop, end) - index;

            fill(table + index, value, n);
            installed += n;
            index += n;
            value += (uint64_t)n << PAGE_SHIFT;
            continue;
        }
        unsigned stop = min_of(align_down(index, 8u) + 8, end);

        for (; index < stop; index++, value += PAGE_SIZE) {
            if (table[index] == 0) {
                table[index] = value;
                installed++;
            }
        }
    }
    return installed;
}

/* `count` PTEs that lie in one leaf table. */
static ALWAYS_INLINE long map_in_leaf(paddr_t root, uint64_t va, uint64_t value, unsigned count,
                                      bool keep)
{
    uint64_t *table = find_leaf(root, va);
    unsigned index = va >> PAGE_SHIFT & 511;

    if (unlikely(!table)) {
        table = make_leaf(root, va);
        if (!table) {
            return -ENOMEM;
        }
    }
    uint64_t *summary = &table_page(table)->index;
    uint64_t mine = summary_of(index, count);
    uint64_t before = *summary;

    *summary = before | mine;
    if (!keep || (before & mine) == 0) {
        fill(table + index, value, count);
        return count;
    }
    return fill_gaps(table, before, index, value, count);
}

static NEVER_INLINE long map_in_leaves(paddr_t root, uint64_t va, uint64_t value, uint64_t count,
                                       bool keep)
{
    uint64_t end = va + (count << PAGE_SHIFT);
    long installed = 0;

    assert(end <= UINT64_C(1) << 47);
    if (!make_tables(root, va, end)) {
        return -ENOMEM;
    }
    while (va < end) {
        unsigned n = pages_here(va, end);

        installed += map_in_leaf(root, va, value, n, keep);
        value += (uint64_t)n << PAGE_SHIFT;
        va += (uint64_t)n << PAGE_SHIFT;
    }
    return installed;
}

long pt_map_run(paddr_t root, uint64_t va, paddr_t first, uint64_t count, unsigned flags, bool keep)
{
    uint64_t value = first | to_pte(flags);

    assert(((va | first) & ~PAGE_MASK) == 0 && count > 0 && va >> 47 == 0);
    if (unlikely((va >> PAGE_SHIFT & 511) + count > ENTRIES)) {
        return map_in_leaves(root, va, value, count, keep);
    }
    return map_in_leaf(root, va, value, (unsigned)count, keep);
}

bool pt_lookup(paddr_t root, uint64_t va, struct pte *out)
{
    const uint64_t *table = find_leaf(root, va);
    uint64_t e = table ? table[va >> PAGE_SHIFT & 511] : 0;

    if (e == 0) {
        return false;
    }
    from_pte(e, out);
    return true;
}

/* The entries of a window; NULL: all are empty, because there is no table. */
static ALWAYS_INLINE const uint64_t *window_open(paddr_t root, uint64_t va, unsigned count,
                                                 struct pt_window *w)
{
    uint64_t *table = find_leaf(root, va);
    unsigned index = va >> PAGE_SHIFT & 511;

    assert(count - 1 < 32 && index + count <= ENTRIES);
    w->root = root;
    w->va = va;
    w->pte = table ? table + index : NULL;
    w->summary = table ? &table_page(table)->index : NULL;
    return w->pte;
}

static ALWAYS_INLINE uint32_t all_of(unsigned count)
{
    return (uint32_t)((UINT64_C(1) << count) - 1);
}

uint32_t pt_window_empty(paddr_t root, uint64_t va, unsigned count, struct pt_window *w)
{
    const uint64_t *pte = window_open(root, va, count, w);
    unsigned index = va >> PAGE_SHIFT & 511;
    uint32_t mask = 0;

    if (!pte || (*w->summary & summary_of(index, count)) == 0) {
        return all_of(count);
    }
    for (unsigned i = 0; i < count;) {
        if ((index + i) % 8 == 0 && count - i >= 8 && !(*w->summary >> ((index + i) / 8) & 1)) {
            mask |= UINT32_C(0xff) << i; /* a group that is empty */
            i += 8;
            continue;
        }
        mask |= (uint32_t)(pte[i] == 0) << i;
        i++;
    }
    return mask;
}

uint32_t pt_window_direct(paddr_t root, uint64_t va, unsigned count, paddr_t first,
                          struct pt_window *w, uint32_t *mapped)
{
    const uint64_t *pte = window_open(root, va, count, w);
    uint64_t want = first | PTE_SOFT_DIRECT;
    uint32_t empty = 0;
    uint32_t there = 0;

    *mapped = 0;
    if (!pte) {
        return all_of(count);
    }
    const uint64_t *end = pte + count;

    for (uint32_t bit = 1; pte != end; bit <<= 1, pte++, want += PAGE_SIZE) {
        uint64_t entry = *pte;

        if (entry == 0) {
            empty |= bit;
        } else if ((entry & (PTE_ADDRESS | PTE_SOFT_DIRECT)) == want) {
            there |= bit;
        }
    }
    *mapped = there;
    return empty | there;
}

bool pt_window_map(const struct pt_window *w, unsigned from, unsigned count, paddr_t first,
                   unsigned flags)
{
    if (unlikely(!w->pte)) {
        return pt_map_run(w->root, w->va + ((uint64_t)from << PAGE_SHIFT), first, count, flags,
                          false) == (long)count;
    }
    *w->summary |= summary_of((w->va >> PAGE_SHIFT & 511) + from, count);
    fill(w->pte + from, first | to_pte(flags), count);
    return true;
}

void pt_visit(paddr_t root, uint64_t start, uint64_t end, pt_visit_fn fn, void *ctx)
{
    uint64_t va = start;

    while (va < end) {
        uint64_t *table = find_leaf(root, va);

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
        uint64_t *source = find_leaf(from, va);

        if (!source || table_page(source)->index == 0) {
            va = skip_absent(from, va);
            continue;
        }
        uint64_t *target = make_leaf(to, va);
        unsigned n = pages_here(va, end);

        if (!target) {
            return -ENOMEM;
        }
        fork_leaf(source, target, va >> PAGE_SHIFT & 511, n, is_shared);
        va += (uint64_t)n << PAGE_SHIFT;
    }
    return 0;
}

/*
 * Take one leaf table's PTEs; the index at which it stopped (the batch is full) or `end`. This runs
 * for each page that a program ever had: the counts stay in registers.
 */
static unsigned unmap_leaf(uint64_t *table, unsigned index, unsigned end, struct pt_batch *batch)
{
    uint64_t summary = table_page(table)->index;
    unsigned count = batch->count;
    uint64_t unmapped = batch->unmapped;
    bool is_full = false;

    while (index < end && !is_full) {
        uint64_t groups = summary >> (index / 8);

        if (!(groups & 1)) { /* to the next group that is in use */
            if (groups == 0) {
                index = end;
                break;
            }
            index = align_down(index, 8u) + (unsigned)__builtin_ctzll(groups) * 8;
            continue;
        }
        unsigned stop = min_of(align_down(index, 8u) + 8, end);

        for (; index < stop; index++) {
            uint64_t e = table[index];

            if (e == 0) {
                continue;
            }
            if (!(e & PTE_SOFT_DIRECT)) {
                if (unlikely(count == array_size(batch->slots))) {
                    is_full = true;
                    break;
                }
                struct page *p = phys_to_page(e & PTE_ADDRESS);

                (void)atomic_fetch_sub_explicit(&p->mapcount, 1, memory_order_relaxed);
                if (unlikely((e & (PTE_DIRTY | PTE_SOFT_SHARED)) ==
                             (PTE_DIRTY | PTE_SOFT_SHARED))) {
                    p->flags |= PAGE_DIRTY;
                }
                batch->slots[count++] = p;
            }
            table[index] = 0;
            unmapped++;
        }
    }
    batch->count = count;
    batch->unmapped = unmapped;
    return min_of(index, end);
}

uint64_t pt_unmap_range(paddr_t root, uint64_t start, uint64_t end, struct pt_batch *batch)
{
    uint64_t va = start;

    while (va < end) {
        uint64_t *table = find_leaf(root, va);

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
        uint64_t *entry = table + (size_t)__builtin_ctzll(summary) * 8;

        for (unsigned i = 0; level > 1 && i < 8; i++) {
            if (entry[i] != 0) {
                free_table(table_at(entry[i]), level - 1);
            }
        }
        entry[0] = entry[1] = entry[2] = entry[3] = 0;
        entry[4] = entry[5] = entry[6] = entry[7] = 0;
    }
    page_put_table(p);
}

void pt_destroy(paddr_t root)
{
    pt_kernel_half_drop(arch_phys_to_virt(root)); /* the summary knows the user's half only */
    free_table(arch_phys_to_virt(root), 4);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated page tables for unit tests: one sorted array of PTEs a root. They follow the contract
 * of arch/ops.h to the letter (references, map counts, batches), so that mm's fault, fork and unmap
 * logic can be tested; they say nothing about the real tables.
 */
#include <arch/ops.h>

#include <stdlib.h>
#include <string.h>

#include <host/host.h>
#include <mm/mm.h>
#include <mm/page.h>

struct host_pte {
    uint64_t va;
    struct pte pte;
};

struct host_table {
    struct host_pte *entries; /* by va */
    size_t count;
    size_t capacity;
};

unsigned host_tlb_flushes;

static struct host_table *table_of(paddr_t root)
{
    assert(root != 0);
    return (struct host_table *)(uintptr_t)root;
}

/* First entry at or above va. */
static size_t table_find(const struct host_table *t, uint64_t va)
{
    size_t low = 0;
    size_t high = t->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (t->entries[middle].va < va) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void table_insert(struct host_table *t, size_t at, uint64_t va, const struct pte *pte)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 64;
        t->entries = realloc(t->entries, t->capacity * sizeof(*t->entries));
        assert(t->entries);
    }
    memmove(&t->entries[at + 1], &t->entries[at], (t->count - at) * sizeof(*t->entries));
    t->entries[at] = (struct host_pte){ .va = va, .pte = *pte };
    t->count++;
}

static void table_remove(struct host_table *t, size_t at)
{
    t->count--;
    memmove(&t->entries[at], &t->entries[at + 1], (t->count - at) * sizeof(*t->entries));
}

paddr_t pt_create(void)
{
    struct host_table *t = calloc(1, sizeof(*t));

    return (paddr_t)(uintptr_t)t; /* cppcheck-suppress memleak ; pt_destroy() frees it */
}

void pt_destroy(paddr_t root)
{
    struct host_table *t = table_of(root);

    for (size_t i = 0; i < t->count; i++) {
        assert(t->entries[i].pte.flags & PTE_DIRECT); /* all that hold a reference are gone */
    }
    free(t->entries);
    free(t);
}

unsigned host_pt_count(paddr_t root)
{
    return (unsigned)table_of(root)->count;
}

long pt_map_run(paddr_t root, uint64_t va, paddr_t first, uint64_t count, unsigned flags, bool keep)
{
    struct host_table *t = table_of(root);
    long installed = 0;

    assert(is_aligned(va, PAGE_SIZE) && is_aligned(first, PAGE_SIZE));
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at_va = va + i * PAGE_SIZE;
        size_t at = table_find(t, at_va);
        bool is_there = at < t->count && t->entries[at].va == at_va;
        struct pte pte = { .is_present = true, .flags = flags, .pa = first + i * PAGE_SIZE };

        if (is_there && keep) {
            continue;
        }
        if (is_there) {
            t->entries[at].pte = pte;
        } else {
            table_insert(t, at, at_va, &pte);
        }
        installed++;
    }
    return installed;
}

/* fn may install PTEs elsewhere, which moves entries: each step looks for its place again. */
void pt_visit(paddr_t root, uint64_t start, uint64_t end, pt_visit_fn fn, void *ctx)
{
    struct host_table *t = table_of(root);

    for (size_t i = table_find(t, start); i < t->count && t->entries[i].va < end;) {
        uint64_t va = t->entries[i].va;
        struct pte pte = t->entries[i].pte;

        if (fn(ctx, va, &pte)) {
            assert(pte.is_present);
            t->entries[table_find(t, va)].pte = pte;
        }
        i = table_find(t, va + 1);
    }
}

bool pt_lookup(paddr_t root, uint64_t va, struct pte *out)
{
    struct host_table *t = table_of(root);
    uint64_t page = va & PAGE_MASK;
    size_t at = table_find(t, page);

    if (at == t->count || t->entries[at].va != page) {
        return false;
    }
    *out = t->entries[at].pte;
    return true;
}

uint32_t pt_window_empty(paddr_t root, uint64_t va, unsigned count, struct pt_window *w)
{
    uint32_t mask = 0;

    *w = (struct pt_window){ .root = root, .va = va };
    for (unsigned i = 0; i < count; i++) {
        struct pte pte;

        mask |= (uint32_t)!pt_lookup(root, va + i * PAGE_SIZE, &pte) << i;
    }
    return mask;
}

uint32_t pt_window_direct(paddr_t root, uint64_t va, unsigned count, paddr_t first,
                          struct pt_window *w, uint32_t *mapped)
{
    uint32_t mask = 0;

    *w = (struct pt_window){ .root = root, .va = va };
    *mapped = 0;
    for (unsigned i = 0; i < count; i++) {
        struct pte pte;
        bool is_there = pt_lookup(root, va + i * PAGE_SIZE, &pte);

        if (!is_there || ((pte.flags & PTE_DIRECT) && pte.pa == first + i * PAGE_SIZE)) {
            mask |= 1u << i;
            *mapped |= (uint32_t)is_there << i;
        }
    }
    return mask;
}

bool pt_window_map(const struct pt_window *w, unsigned from, unsigned count, paddr_t first,
                   unsigned flags)
{
    return pt_map_run(w->root, w->va + from * PAGE_SIZE, first, count, flags, false) == (long)count;
}

int pt_fork_range(paddr_t from, paddr_t to, uint64_t start, uint64_t end, bool is_shared)
{
    struct host_table *parent = table_of(from);
    struct host_table *child = table_of(to);

    for (size_t i = table_find(parent, start); i < parent->count && parent->entries[i].va < end;
         i++) {
        struct host_pte *e = &parent->entries[i];

        if (!is_shared) {
            e->pte.flags &= ~(unsigned)PTE_USER_WRITE;
        }
        if (!(e->pte.flags & PTE_DIRECT)) {
            struct page *p = page_of_phys(e->pte.pa);

            page_get(p);
            p->mapcount++;
        }
        table_insert(child, table_find(child, e->va), e->va, &e->pte);
    }
    return 0;
}

uint64_t pt_unmap_range(paddr_t root, uint64_t start, uint64_t end, struct pt_batch *batch)
{
    struct host_table *t = table_of(root);
    size_t i = table_find(t, start);

    while (i < t->count && t->entries[i].va < end) {
        struct host_pte e = t->entries[i];

        if (!(e.pte.flags & PTE_DIRECT)) {
            struct page *p = page_of_phys(e.pte.pa);

            if (batch->count == array_size(batch->slots)) {
                return e.va;
            }
            assert(p->mapcount > 0);
            p->mapcount--;
            batch->slots[batch->count++] = p;
        }
        batch->unmapped++;
        table_remove(t, i);
    }
    return end;
}

void tlb_flush_range(struct mm *mm, uint64_t start, uint64_t end)
{
    (void)mm;
    assert(start <= end);
    host_tlb_flushes++;
}

void tlb_flush_mm(struct mm *mm)
{
    (void)mm;
    host_tlb_flushes++;
}

void arch_load_page_table(paddr_t root)
{
    (void)root;
}

int pt_kernel_map(uintptr_t va, paddr_t pa, uint64_t count)
{
    (void)va;
    (void)pa;
    (void)count;
    return 0;
}

void pt_kernel_unmap(uintptr_t va, uint64_t count)
{
    (void)va;
    (void)count;
}

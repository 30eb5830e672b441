/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel mappings of scattered frames: large buffers, and kernel stacks with a guard page.
 *
 * The range is cut in two. Stacks have fixed slots at its beginning, each with an unmapped page
 * below; a freed stack stays mapped in a list, so that fork and exit never touch page tables.
 * Behind them lie vmalloc areas in a list ordered by address, first fit, one unmapped page between.
 */
#include <arch/ops.h>
#include <core/lock.h>
#include <mm/slab.h>

#define STACK_SLOTS  4096u
#define STACK_STRIDE (2 * (uintptr_t)KSTACK_SIZE)
#define STACK_FRAMES (KSTACK_SIZE / PAGE_SIZE)
#define STACKS_BASE  ((uintptr_t)VMALLOC_BASE)
#define AREAS_BASE   (STACKS_BASE + STACK_SLOTS * STACK_STRIDE)
#define AREAS_END    ((uintptr_t)VMALLOC_BASE + (uintptr_t)VMALLOC_SIZE)

struct area {
    struct list link; /* by address */
    uintptr_t start;
    uint64_t count;    /* frames mapped */
    struct list pages; /* page->link */
};

/* Lies at the bottom of each stack; the magic is gone when the stack overran into it. */
struct stack_foot {
    uint64_t magic;
    struct stack_foot *next; /* while cached */
    unsigned slot;
    struct page *pages[STACK_FRAMES];
};

#define FOOT_MAGIC UINT64_C(0x6b636174736b6b73)

static struct slab_cache area_cache = SLAB_CACHE("vmalloc_area", struct area);
static struct spinlock lock = SPINLOCK_INIT(RANK_VMALLOC);
static struct list areas = LIST_INIT(areas);
static struct stack_foot *cached_stacks;
static uint64_t slots_used[STACK_SLOTS / 64];

/* --- areas ------------------------------------------------------------------------------------ */

/* Find a gap of `count` pages and a guard, and list the area there. */
static int area_place(struct area *a, uint64_t count)
{
    uintptr_t at = AREAS_BASE;
    uint64_t size = (count + 1) * PAGE_SIZE;
    struct area *other;
    uint64_t flags = spin_lock_irqsave(&lock);
    struct list *place = &areas;

    list_for_each_entry(other, &areas, link) {
        /* cppcheck-suppress uninitvar ; the loop sets it */
        if (other->start - at >= size) {
            place = &other->link;
            break;
        }
        at = other->start + (other->count + 1) * PAGE_SIZE;
    }
    bool fits = AREAS_END - at >= size;

    if (fits) {
        a->start = at;
        a->count = count;
        list_insert_before(place, &a->link);
    }
    spin_unlock_irqrestore(&lock, flags);
    return fits ? 0 : -ENOMEM;
}

static void area_remove(struct area *a)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    list_remove(&a->link);
    spin_unlock_irqrestore(&lock, flags);
}

static void put_pages(struct list *pages)
{
    struct page *p;
    struct page *tmp;

    list_for_each_entry_safe(p, tmp, pages, link) {
        list_remove(&p->link);
        page_put(p);
    }
}

static void area_destroy(struct area *a, uint64_t mapped)
{
    if (mapped > 0) {
        pt_kernel_unmap(a->start, mapped);
    }
    area_remove(a);
    put_pages(&a->pages);
    slab_free(&area_cache, a);
}

void *vmalloc(size_t size, unsigned gfp)
{
    if (size == 0 || size > AREAS_END - AREAS_BASE - PAGE_SIZE) {
        return NULL;
    }
    struct area *a = slab_alloc(&area_cache, GFP_KERNEL);

    if (!a) {
        return NULL;
    }
    list_init(&a->link);
    list_init(&a->pages);
    if (area_place(a, div_ceil(size, PAGE_SIZE)) < 0) {
        slab_free(&area_cache, a);
        return NULL;
    }
    for (uint64_t i = 0; i < a->count; i++) {
        struct page *p = page_alloc(0, gfp);

        if (p) {
            list_init(&p->link);
            list_push_back(&a->pages, &p->link);
        }
        if (!p || pt_kernel_map(a->start + i * PAGE_SIZE, page_to_phys(p), 1) < 0) {
            area_destroy(a, i);
            return NULL;
        }
    }
    return (void *)a->start;
}

void vfree(void *p)
{
    struct area *a;

    if (!p) {
        return;
    }
    uint64_t flags = spin_lock_irqsave(&lock);

    list_for_each_entry(a, &areas, link) {
        /* cppcheck-suppress uninitvar ; the loop sets it */
        if (a->start == (uintptr_t)p) {
            break;
        }
    }
    assert(&a->link != &areas);
    spin_unlock_irqrestore(&lock, flags);
    area_destroy(a, a->count);
}

/* --- stacks ----------------------------------------------------------------------------------- */

static void *stack_top(unsigned slot)
{
    return (void *)(STACKS_BASE +
                    (slot + 1) * STACK_STRIDE); /* NOLINT(performance-no-int-to-ptr) */
}

static int slot_take(unsigned *slot)
{
    uint64_t flags = spin_lock_irqsave(&lock);
    int err = -EAGAIN;

    for (unsigned i = 0; i < array_size(slots_used) && err < 0; i++) {
        if (~slots_used[i] != 0) {
            unsigned bit = (unsigned)__builtin_ctzll(~slots_used[i]);

            slots_used[i] |= UINT64_C(1) << bit;
            *slot = i * 64 + bit;
            err = 0;
        }
    }
    spin_unlock_irqrestore(&lock, flags);
    return err;
}

static void slot_give(unsigned slot)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    slots_used[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    spin_unlock_irqrestore(&lock, flags);
}

static void stack_destroy(uintptr_t bottom, unsigned slot, struct page **pages, unsigned count)
{
    if (count > 0) {
        pt_kernel_unmap(bottom, count);
    }
    while (count > 0) {
        page_put(pages[--count]);
    }
    slot_give(slot);
}

static void *stack_create(void)
{
    struct page *pages[STACK_FRAMES];
    unsigned slot = 0;

    if (slot_take(&slot) < 0) {
        return NULL;
    }
    uintptr_t bottom = (uintptr_t)stack_top(slot) - KSTACK_SIZE;

    for (unsigned i = 0; i < STACK_FRAMES; i++) { /* single: fragmentation cannot refuse a stack */
        pages[i] = page_alloc(0, GFP_KERNEL);
        if (!pages[i]) {
            stack_destroy(bottom, slot, pages, i);
            return NULL;
        }
        if (pt_kernel_map(bottom + i * PAGE_SIZE, page_to_phys(pages[i]), 1) < 0) {
            page_put(pages[i]);
            stack_destroy(bottom, slot, pages, i);
            return NULL;
        }
    }
    struct stack_foot *foot = (struct stack_foot *)bottom; /* NOLINT(performance-no-int-to-ptr) */

    foot->magic = FOOT_MAGIC;
    foot->slot = slot;
    for (unsigned i = 0; i < STACK_FRAMES; i++) {
        foot->pages[i] = pages[i];
    }
    return stack_top(slot);
}

static struct stack_foot *cached_take(void)
{
    uint64_t flags = spin_lock_irqsave(&lock);
    struct stack_foot *foot = cached_stacks;

    if (foot) {
        cached_stacks = foot->next;
    }
    spin_unlock_irqrestore(&lock, flags);
    return foot;
}

void *kstack_alloc(void)
{
    struct stack_foot *foot = cached_take();

    return foot ? (char *)foot + KSTACK_SIZE : stack_create();
}

void kstack_free(void *top)
{
    struct stack_foot *foot = (struct stack_foot *)((char *)top - KSTACK_SIZE);
    uint64_t flags = spin_lock_irqsave(&lock);

    assert(foot->magic == FOOT_MAGIC); /* else the stack overran */
    foot->next = cached_stacks;
    cached_stacks = foot;
    spin_unlock_irqrestore(&lock, flags);
}

unsigned kstack_reclaim(void)
{
    unsigned frames = 0;

    for (struct stack_foot *foot = cached_take(); foot; foot = cached_take()) {
        struct page *pages[STACK_FRAMES];

        for (unsigned i = 0; i < STACK_FRAMES; i++) {
            pages[i] = foot->pages[i];
        }
        stack_destroy((uintptr_t)foot, foot->slot, pages, STACK_FRAMES);
        frames += STACK_FRAMES;
    }
    return frames;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Physical memory: one struct page per frame of RAM, a buddy allocator above it that wakes up
 * lazily.
 *
 * Boot cost must not depend on the size of RAM, so RAM is carved in chunks of CHUNK_SIZE only when
 * the free lists run dry; an all-zero struct page means "never carved". When boot_info.ram_is_zero,
 * frames that were never handed out are known to be zero and GFP_ZERO clears nothing; page->flags
 * remembers (PAGE_TOUCHED). Order-0 pages go through per-CPU lists. Frames outside RAM (the root
 * image, devices) have no struct page.
 */
#pragma once

#include <stdatomic.h>

#include <arch/layout.h>
#include <core/types.h>

struct mapping;

enum page_flags {
    PAGE_TOUCHED = 1u << 0,  /* contents may be non-zero */
    PAGE_FREE = 1u << 1,     /* in the buddy's lists (head of a block) */
    PAGE_CACHE = 1u << 2,    /* belongs to page->mapping at page->index */
    PAGE_DIRTY = 1u << 3,    /* cache page newer than its device */
    PAGE_UPTODATE = 1u << 4, /* cache page holds the file's bytes */
    PAGE_TABLE = 1u << 5,    /* is a page table */
    PAGE_SLAB = 1u << 6,     /* owned by a slab cache */
};

struct page {
    _Atomic uint32_t refcount; /* owners: page cache, each PTE, each pin. 0: free */
    _Atomic uint32_t mapcount; /* user PTEs that map it */
    uint16_t flags;            /* owner's to change, or the mapping's lock for cache pages */
    uint16_t order;            /* of a free block or of a multi-page allocation (its head) */
    uint32_t private;          /* owner's: slab free count, page-table entry count */

    union {
        struct list link; /* free lists, slab lists */

        struct {
            struct mapping *mapping;
            uint64_t index; /* page number in the file */
        };
    };
};

static_assert(sizeof(struct page) == 32, "spec R-MM-2");

enum gfp {
    GFP_KERNEL = 0,
    GFP_ZERO = 1u << 0, /* contents zero */
    GFP_ATOMIC =
        1u << 1, /* may use the reserve; never sleeps (page allocation never sleeps anyway today) */
    GFP_USER =
        1u << 2, /* for a program: stops above the kernel reserve, may trigger the OOM kill */
};

#define PAGE_ORDER_MAX 10u /* 4 MiB blocks */

/* 2^order contiguous frames with refcount 1, or NULL. Any context with GFP_ATOMIC. */
struct page *page_alloc(unsigned order, unsigned gfp) MUST_CHECK;

/*
 * Up to *wanted (at most 32) zero frames next to each other for a program, *wanted says how many;
 * each is a page of its own with refcount 1 and mapcount 1 (about to be mapped). NULL: memory is
 * short, or there are none without clearing and `may_clear` is not set.
 */
struct page *page_alloc_run(unsigned *wanted, bool may_clear) MUST_CHECK;

/* Is less than twice the reserve free? Roughly and at once. */
bool page_is_low(void);

/* Free frames, roughly and at once. */
uint64_t page_free_hint(void);

/* Drop the last reference of an order-0 page whose bytes are all zero still: it was never written
 * to. */
void page_put_clean(struct page *p);

/*
 * Page tables: zero frames with PAGE_TABLE set, given back when all their entries are zero again.
 * They stay among themselves: a monitor that shadows page tables keeps watching a frame that was
 * one, and writes to it as data would cost an exit each, or be missed when they come from outside
 * the guest. Only when memory is short do they become ordinary frames.
 */
struct page *page_alloc_table(void) MUST_CHECK;
void page_put_table(struct page *p);

/* One struct page for each frame number of RAM; entries exist from the carving of their chunk on.
 */
extern struct page *page_map;
uint64_t page_map_count(void); /* of records, those of frames that are no RAM included */

void page_free(struct page *p); /* page_put()'s: the last reference is gone */

/* Relaxed: the caller holds a reference already, or the lock of the table that holds one. */
static inline void page_get(struct page *p)
{
    uint32_t old = atomic_fetch_add_explicit(&p->refcount, 1, memory_order_relaxed);

    assert(old != 0);
}

/* Drop a reference; the last frees the block. Any context. */
static inline void page_put(struct page *p)
{
    /* Acquire-release: what other holders did is visible to the one that frees. */
    uint32_t old = atomic_fetch_sub_explicit(&p->refcount, 1, memory_order_acq_rel);

    assert(old != 0); /* a double free */
    if (old == 1) {
        page_free(p);
    }
}

/* page_put() for each; the array is scratch. */
void page_put_all(struct page **pages, unsigned count);

static inline paddr_t page_to_phys(const struct page *p)
{
    return (paddr_t)(p - page_map) << PAGE_SHIFT;
}

/* Of a frame that the allocator handed out (a PTE without PTE_DIRECT): not checked. */
static inline struct page *phys_to_page(paddr_t pa)
{
    return page_map + (pa >> PAGE_SHIFT);
}

struct page *page_of_phys(paddr_t pa); /* checked: NULL when pa is no RAM of the allocator */

/* The kernel's address of a frame of RAM or of the root image (direct map). */
static inline void *phys_to_virt(paddr_t pa)
{
    return arch_phys_to_virt(pa);
}

/* Of a direct-map or kernel-image address. */
static inline paddr_t virt_to_phys(const void *p)
{
    return arch_virt_to_phys(p);
}

static inline void *page_address(const struct page *p)
{
    return phys_to_virt(page_to_phys(p));
}

struct page_stats {
    uint64_t total;   /* frames of RAM that the allocator owns */
    uint64_t free;    /* carved and free, or never carved */
    uint64_t reserve; /* kept for the kernel and for the dying */
    uint64_t page_tables;
    uint64_t cache;
};

void page_stats(struct page_stats *out);

/* Boot: hand over RAM described by boot_info, less what is in use. Called once, before anything
 * allocates. */
void page_init(void);

/* Give back RAM that page_init() kept (the ramdisk, once its bytes were copied). Page-aligned
 * inward by the allocator. */
void page_release_range(paddr_t start, uint64_t size);

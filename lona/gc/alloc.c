/* SPDX-License-Identifier: Apache-2.0 */
#include "gc/alloc.h"

#include <base/assert.h>
#include <stdatomic.h>

#include "platform/platform.h"

struct free_block {
    struct free_block *next;
};

struct arena_page {
    struct arena *owner;
    struct arena_page *next;
    struct arena_page *prev;
    struct free_block *free;
    uint8_t *bump; /* blocks from here to end were never used */
    uint8_t *end;
    uint32_t used;
    uint16_t class;
    bool listed;
};

#define CARRIER_PAGES (ARENA_CARRIER_SIZE / ARENA_PAGE_SIZE)

/* The header lies in the carrier's first page, which holds no blocks. */
struct arena_carrier {
    struct arena_carrier *next;
    struct arena_page pages[CARRIER_PAGES];
};

/* 16-byte steps to 512, then eight classes a doubling. */
static unsigned class_of(size_t size)
{
    if (size <= 512) {
        return size == 0 ? 0 : (unsigned)((size - 1) / 16);
    }
    unsigned top = 63 - (unsigned)__builtin_clzll(size - 1); /* 2^top <= size-1 */
    unsigned step = (unsigned)((size - 1) >> (top - 2)) & 3;

    return 32 + (top - 9) * 4 + step;
}

static size_t class_size(unsigned class)
{
    if (class < 32) {
        return ((size_t) class + 1) * 16;
    }
    unsigned top = 9 + (class - 32) / 4;
    unsigned step = (class - 32) % 4;

    return ((size_t)1 << top) + ((size_t)step + 1) * ((size_t)1 << (top - 2));
}

static size_t round_page(size_t size)
{
    return align_up(size, (size_t)4096);
}

size_t arena_good_size(size_t size)
{
    return size <= ARENA_BLOCK_MAX ? class_size(class_of(size)) : round_page(size);
}

static struct arena_page *page_of(void *block)
{
    uintptr_t at = (uintptr_t)block;
    struct arena_carrier *c = (struct arena_carrier *)align_down(at, ARENA_CARRIER_SIZE);

    return &c->pages[(at & (ARENA_CARRIER_SIZE - 1)) / ARENA_PAGE_SIZE];
}

static uint8_t *page_base(struct arena_page *page)
{
    uintptr_t c = align_down((uintptr_t)page, ARENA_CARRIER_SIZE);
    size_t index = (size_t)(page - ((struct arena_carrier *)c)->pages);

    return (uint8_t *)c + index * ARENA_PAGE_SIZE;
}

/* ---- memory of the platform, within the limit ---- */

static void *pool_map(struct arena_pool *pool, size_t size, size_t align)
{
    size_t now = atomic_fetch_add_explicit(&pool->mapped, size, memory_order_relaxed) + size;
    const struct platform *pf = pool->platform;
    void *p = NULL;

    if (pool->limit == 0 || now <= pool->limit) {
        p = pf->reserve(pf->self, size, align);
        if (p != NULL && pf->commit(pf->self, p, size) != PLATFORM_OK) {
            pf->release(pf->self, p, size);
            p = NULL;
        }
    }
    if (p == NULL) {
        atomic_fetch_sub_explicit(&pool->mapped, size, memory_order_relaxed);
    }
    return p;
}

static void pool_unmap(struct arena_pool *pool, void *p, size_t size)
{
    pool->platform->release(pool->platform->self, p, size);
    atomic_fetch_sub_explicit(&pool->mapped, size, memory_order_relaxed);
}

/* ---- lists of pages ---- */

static void page_list(struct arena *a, struct arena_page *page)
{
    struct arena_page **head = &a->pages[page->class];

    page->prev = NULL;
    page->next = *head;
    if (*head != NULL) {
        (*head)->prev = page;
    }
    *head = page;
    page->listed = true;
}

static void page_unlist(struct arena *a, struct arena_page *page)
{
    if (page->prev != NULL) {
        page->prev->next = page->next;
    } else {
        a->pages[page->class] = page->next;
    }
    if (page->next != NULL) {
        page->next->prev = page->prev;
    }
    page->listed = false;
}

static struct arena_page *page_new(struct arena *a, unsigned class)
{
    struct arena_page *page = a->free_pages;

    if (page == NULL) {
        struct arena_carrier *c = pool_map(a->pool, ARENA_CARRIER_SIZE, ARENA_CARRIER_SIZE);

        if (c == NULL) {
            return NULL;
        }
        c->next = a->carriers;
        a->carriers = c;
        for (size_t i = CARRIER_PAGES - 1; i > 0; i--) {
            c->pages[i].owner = a;
            c->pages[i].next = a->free_pages;
            a->free_pages = &c->pages[i];
            a->free_page_count++;
        }
        page = a->free_pages;
    }
    a->free_pages = page->next;
    a->free_page_count--;
    page->class = (uint16_t) class;
    page->free = NULL;
    page->used = 0;
    page->bump = page_base(page);
    page->end = page->bump + ARENA_PAGE_SIZE;
    page_list(a, page);
    return page;
}

static void *page_take(struct arena_page *page, size_t size)
{
    struct free_block *b = page->free;

    if (b != NULL) {
        page->free = b->next;
        page->used++;
        return b;
    }
    if ((size_t)(page->end - page->bump) >= size) {
        void *p = page->bump;

        page->bump += size;
        page->used++;
        return p;
    }
    return NULL;
}

static void free_local(struct arena *a, struct arena_page *page, void *block)
{
    struct free_block *b = block;

    b->next = page->free;
    page->free = b;
    assert(page->used > 0);
    page->used--;
    if (!page->listed) {
        page_list(a, page);
    } else if (page->used == 0 && a->pages[page->class] != page) {
        page_unlist(a, page);
        page->next = a->free_pages;
        a->free_pages = page;
        if (++a->free_page_count > ARENA_PAGES_KEPT) {
            a->pool->platform->purge(a->pool->platform->self, page_base(page), ARENA_PAGE_SIZE);
        }
    }
}

void arena_drain(struct arena *a)
{
    if (atomic_load_explicit(&a->returned, memory_order_relaxed) == NULL) {
        return;
    }
    /* acquire: pairs with the release in arena_free(); what the freer wrote is complete */
    struct free_block *b = atomic_exchange_explicit(&a->returned, NULL, memory_order_acquire);

    while (b != NULL) {
        struct free_block *next = b->next;

        free_local(a, page_of(b), b);
        b = next;
    }
}

/* ---- big blocks ---- */

static void *big_alloc(struct arena *a, size_t size)
{
    size = round_page(size);
    for (unsigned i = 0; i < ARENA_CACHE; i++) {
        if (a->cache[i].block != NULL && a->cache[i].size == size) {
            void *p = a->cache[i].block;

            a->cache[i].block = NULL;
            a->cached -= size;
            return p;
        }
    }
    return pool_map(a->pool, size, 4096);
}

static void big_free(struct arena *a, void *block, size_t size)
{
    size = round_page(size);
    if (size <= ARENA_CACHE_BYTES / 4 && a->cached + size <= ARENA_CACHE_BYTES) {
        for (unsigned i = 0; i < ARENA_CACHE; i++) {
            if (a->cache[i].block == NULL) {
                a->cache[i].block = block;
                a->cache[i].size = size;
                a->cached += size;
                return;
            }
        }
    }
    pool_unmap(a->pool, block, size);
}

size_t arena_trim(struct arena *a, void *block, size_t size, size_t wanted)
{
    if (size <= ARENA_BLOCK_MAX || wanted <= ARENA_BLOCK_MAX) {
        return size;
    }
    size = round_page(size);
    wanted = round_page(wanted);
    if (wanted < size) {
        pool_unmap(a->pool, (uint8_t *)block + wanted, size - wanted);
        return wanted;
    }
    return size;
}

/* ---- the interface ---- */

static bool is_refused(struct arena *a, size_t size)
{
#ifdef TEST_BUILD
    uint32_t n = atomic_load_explicit(&a->pool->fail_one_in, memory_order_relaxed);

    if (n != 0 && a->may_fail && size >= ARENA_FAIL_MIN) {
        uint32_t request = atomic_fetch_add_explicit(&a->pool->requests, 1, memory_order_relaxed);

        return (request * 2654435761u >> 8) % n == 0;
    }
#else
    (void)a;
    (void)size;
#endif
    return false;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (is_refused(a, size)) {
        return NULL;
    }
    if (size > ARENA_BLOCK_MAX) {
        return size > SIZE_MAX / 2 ? NULL : big_alloc(a, size);
    }
    unsigned class = class_of(size);

    size = class_size(class);
    for (;;) {
        struct arena_page *page = a->pages[class];

        if (page == NULL) {
            arena_drain(a);
            if (a->pages[class] == NULL && page_new(a, class) == NULL) {
                return NULL;
            }
            page = a->pages[class];
        }
        void *p = page_take(page, size);

        if (p != NULL) {
            return p;
        }
        page_unlist(a, page); /* full: comes back with its first free block */
    }
}

void arena_free(struct arena *a, void *block, size_t size)
{
    if (block == NULL) {
        return;
    }
    if (size > ARENA_BLOCK_MAX) {
        big_free(a, block, size);
        return;
    }
    struct arena_page *page = page_of(block);

    if (page->owner == a) {
        free_local(a, page, block);
        return;
    }
    struct free_block *b = block;
    _Atomic(void *) *returned = &page->owner->returned;
    void *head = atomic_load_explicit(returned, memory_order_relaxed);

    do {
        b->next = head;
        /* release: pairs with the acquire in arena_drain() */
    } while (!atomic_compare_exchange_weak_explicit(returned, &head, b, memory_order_release,
                                                    memory_order_relaxed));
}

void arena_init(struct arena *a, struct arena_pool *pool)
{
    *a = (struct arena){ .pool = pool };
}

void arena_deinit(struct arena *a)
{
    for (unsigned i = 0; i < ARENA_CACHE; i++) {
        if (a->cache[i].block != NULL) {
            pool_unmap(a->pool, a->cache[i].block, a->cache[i].size);
        }
    }
    while (a->carriers != NULL) {
        struct arena_carrier *c = a->carriers;

        a->carriers = c->next;
        pool_unmap(a->pool, c, ARENA_CARRIER_SIZE);
    }
    *a = (struct arena){ .pool = a->pool };
}

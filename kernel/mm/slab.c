/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs: frames cut into objects of one size; the free ones form a chain inside the frame. Each
 * cache has a magazine per CPU, so that the usual alloc or free moves one pointer with interrupts
 * off. Only slabs that have both used and free objects (and one that is empty) are listed.
 *
 * While a frame is a slab its struct page means: private = cache id << 16 | free objects;
 * mapcount = byte offset of the first free object + 1, 0: none; link = in the cache's partial list.
 * A free object begins with the same kind of offset for the next one, exclusive-or that of its
 * neighbour above: so a frame of zeros is a chain of all its objects, and a new slab need not be
 * walked.
 */
#include <mm/slab.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <core/string.h>
#include <sched/task.h>

#define CACHES_MAX 96u
#define REFILL     (MAGAZINE_SIZE / 2)
#define WALK_MAX   8u /* objects; above, even clearing a frame is cheaper than linking each */

static struct slab_cache *caches[CACHES_MAX]; /* by id - 1 */
static unsigned cache_count;
static struct spinlock caches_lock = SPINLOCK_INIT(RANK_SLAB);

static unsigned slab_free_count(const struct page *p)
{
    return p->private & 0xffffu;
}

static void chain_push(struct page *p, void *object, uint32_t stride)
{
    uint32_t offset = (uint32_t)((char *)object - (char *)page_address(p));
    uint32_t next = atomic_load_explicit(&p->mapcount, memory_order_relaxed);

    *(uint32_t *)object = next ^ (offset + stride + 1);
    atomic_store_explicit(&p->mapcount, offset + 1, memory_order_relaxed);
    p->private ++;
}

/* Take up to `count` objects off the chain; how many there were. At least one is there. */
static uint32_t chain_pop(struct page *p, uint32_t stride, void **objects, uint32_t count)
{
    char *base = page_address(p);
    uint32_t next = atomic_load_explicit(&p->mapcount, memory_order_relaxed);
    uint32_t taken = min_of(count, slab_free_count(p));

    assert(taken != 0);
    for (uint32_t i = 0; i < taken; i++) {
        assert(next != 0 && next <= PAGE_SIZE);
        objects[i] = base + next - 1;
        next = *(uint32_t *)objects[i] ^ (next + stride);
    }
    p->private -= taken;
    atomic_store_explicit(&p->mapcount, slab_free_count(p) ? next : 0, memory_order_relaxed);
    return taken;
}

/* First use: a place in the table. */
static void cache_setup(struct slab_cache *c)
{
    uint64_t flags = spin_lock_irqsave(&caches_lock);

    if (c->id == 0) {
        assert(c->size != 0 && c->size <= KMALLOC_MAX && c->stride >= c->size);
        assert(cache_count < CACHES_MAX);
        spin_init(&c->lock, RANK_SLAB);
        list_init(&c->partial);
        caches[cache_count++] = c;
        c->id = (uint16_t)cache_count;
    }
    spin_unlock_irqrestore(&caches_lock, flags);
}

/* Is a new slab of it a frame of zeros? */
static bool is_by_zeros(const struct slab_cache *c)
{
    return c->per_slab > WALK_MAX || boot_info.ram_is_zero;
}

/* A new slab, all free, listed. c->lock held; the page allocator's lock ranks above. */
static struct page *slab_grow_locked(struct slab_cache *c, unsigned gfp)
{
    bool by_zeros = is_by_zeros(c);
    struct page *p = page_alloc(0, (gfp & GFP_ATOMIC) | (by_zeros ? GFP_ZERO : 0u));

    if (!p) {
        return NULL;
    }
    p->flags |= PAGE_SLAB;
    p->private = (uint32_t)c->id << 16;
    if (by_zeros) {
        p->private += c->per_slab;
        atomic_store_explicit(&p->mapcount, 1, memory_order_relaxed);
    } else {
        for (unsigned i = c->per_slab; i > 0; i--) { /* so that low addresses come first */
            chain_push(p, (char *)page_address(p) + (size_t)(i - 1) * c->stride, c->stride);
        }
    }
    list_init(&p->link);
    list_push_front(&c->partial, &p->link);
    c->empty_slabs++;
    atomic_fetch_add_explicit(&c->slabs_count, 1, memory_order_relaxed);
    return p;
}

/* The first `count` objects of a new slab that is a frame of zeros: no chain to follow. */
static uint32_t cut_fresh(struct slab_cache *c, struct page *p, void **objects, uint32_t count)
{
    char *base = page_address(p);

    count = min_of(count, (uint32_t)c->per_slab);
    for (uint32_t i = 0; i < count; i++) {
        objects[i] = base + (size_t)i * c->stride;
    }
    p->private -= count;
    atomic_store_explicit(&p->mapcount, slab_free_count(p) ? count * c->stride + 1 : 0,
                          memory_order_relaxed);
    return count;
}

/* Up to `count` objects of one slab, a new one if there is none with free ones; 0: no memory. */
static uint32_t take_locked(struct slab_cache *c, unsigned gfp, void **objects, uint32_t count)
{
    bool is_fresh = list_is_empty(&c->partial);
    struct page *p =
        is_fresh ? slab_grow_locked(c, gfp) : list_first(&c->partial, struct page, link);

    if (!p) {
        return 0;
    }
    if (slab_free_count(p) == c->per_slab) {
        c->empty_slabs--;
    }
    count = is_fresh && is_by_zeros(c) ? cut_fresh(c, p, objects, count)
                                       : chain_pop(p, c->stride, objects, count);
    if (slab_free_count(p) == 0) {
        list_remove(&p->link);
    }
    return count;
}

static void give_locked(struct slab_cache *c, void *object)
{
    struct page *p = phys_to_page(virt_to_phys(object));

    assert((p->flags & PAGE_SLAB) && p->private >> 16 == c->id);
    assert(slab_free_count(p) < c->per_slab); /* a double free */
    if (slab_free_count(p) == 0) {
        list_push_front(&c->partial, &p->link);
    }
    chain_push(p, object, c->stride);
    if (slab_free_count(p) < c->per_slab) {
        return;
    }
    if (c->empty_slabs == 0) {
        c->empty_slabs = 1; /* one is kept: the next alloc would only ask for it again */
        list_remove(&p->link);
        list_push_back(&c->partial, &p->link);
        return;
    }
    list_remove(&p->link);
    p->flags &= (uint16_t)~PAGE_SLAB;
    atomic_store_explicit(&p->mapcount, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->slabs_count, 1, memory_order_relaxed);
    page_put(p);
}

/* This CPU's magazine; NULL: there is no memory for one. Interrupts off. */
static struct magazine *magazine_of(struct slab_cache *c)
{
    unsigned cpu = this_cpu()->index;

    if (likely(cpu == 0)) {
        return &c->magazine;
    }
    if (unlikely(!c->others)) {
        static_assert(sizeof(struct magazine) * (CPU_MAX - 1) <= PAGE_SIZE, "one page");
        struct page *p = page_alloc(0, GFP_ZERO | GFP_ATOMIC);

        if (!p) {
            return NULL;
        }
        spin_lock(&c->lock);
        bool is_first = c->others == NULL;

        if (is_first) {
            c->others = page_address(p);
        }
        spin_unlock(&c->lock);
        if (!is_first) {
            page_put(p);
        }
    }
    return &c->others[cpu - 1];
}

/* Magazine empty: fill up to half of it from one slab, and return one object. Interrupts off. */
static NEVER_INLINE void *refill(struct slab_cache *c, struct magazine *m, unsigned gfp)
{
    void *object = NULL;

    if (unlikely(c->id == 0)) {
        cache_setup(c);
    }
    spin_lock(&c->lock);
    if (m) {
        m->batch = (uint16_t)min_of(2u * m->batch + 1u, REFILL);
        m->count = (uint16_t)take_locked(c, gfp, m->objects, m->batch);
        object = m->count ? m->objects[--m->count] : NULL;
    } else {
        (void)take_locked(c, gfp, &object, 1);
    }
    spin_unlock(&c->lock);
    return object;
}

void *slab_alloc(struct slab_cache *c, unsigned gfp)
{
    void *object;
    uint64_t flags = irq_save();
    struct magazine *m = magazine_of(c);

    if (likely(m && m->count > 0)) {
        object = m->objects[--m->count];
    } else {
        object = refill(c, m, gfp);
    }
    irq_restore(flags);
#ifdef TEST_BUILD
    if (object) {
        memset(object, 0xcd, c->size);
    }
#endif
    if ((gfp & GFP_ZERO) && object) {
        memset(object, 0, c->size);
    }
    return object;
}

static void check_not_in(const struct magazine *m, const void *object)
{
    for (uint32_t i = 0; i < m->count; i++) {
        assert_slow(m->objects[i] != object); /* a double free */
    }
}

void slab_free(struct slab_cache *c, void *object)
{
    if (!object) {
        return;
    }
#ifdef TEST_BUILD
    memset(object, 0xdf, c->stride); /* poison */
#endif
    uint64_t flags = irq_save();
    struct magazine *m = magazine_of(c);

    if (likely(m && m->count < MAGAZINE_SIZE)) {
#ifdef TEST_BUILD
        check_not_in(m, object);
#else
        (void)check_not_in;
#endif
        m->objects[m->count++] = object;
    } else {
        spin_lock(&c->lock);
        while (m && m->count > MAGAZINE_SIZE - REFILL) {
            give_locked(c, m->objects[--m->count]);
        }
        give_locked(c, object);
        spin_unlock(&c->lock);
    }
    irq_restore(flags);
}

/* --- kmalloc ---------------------------------------------------------------------------------- */

#define KMALLOC_CACHE(n) SLAB_CACHE_OF("kmalloc-" #n, n, 16u)

static struct slab_cache kmalloc_caches[] = {
    KMALLOC_CACHE(16),  KMALLOC_CACHE(32),  KMALLOC_CACHE(64),   KMALLOC_CACHE(128),
    KMALLOC_CACHE(256), KMALLOC_CACHE(512), KMALLOC_CACHE(1024), KMALLOC_CACHE(2048),
};

static_assert(array_size(kmalloc_caches) == 8 && KMALLOC_MAX == 16u << 7, "16 << index");

/* Powers of two from `unit` up: the least n with unit << n >= size. */
static unsigned order_of(size_t size, unsigned unit_shift)
{
    size_t units = (size - 1) >> unit_shift;

    return units == 0 ? 0 : 64 - (unsigned)__builtin_clzll(units);
}

void *kmalloc(size_t size, unsigned gfp)
{
    if (unlikely(size == 0)) {
        size = 1;
    }
    if (likely(size <= KMALLOC_MAX)) {
        return slab_alloc(&kmalloc_caches[order_of(size, 4)], gfp);
    }
    unsigned order = order_of(size, PAGE_SHIFT);

    if (order > PAGE_ORDER_MAX) {
        return NULL;
    }
    struct page *p = page_alloc(order, gfp);

    return p ? page_address(p) : NULL;
}

void kfree(const void *object)
{
    if (!object) {
        return;
    }
    struct page *p = phys_to_page(virt_to_phys(object));

    if (p->flags & PAGE_SLAB) {
        unsigned id = p->private >> 16;

        assert(id != 0 && id <= cache_count);
        slab_free(caches[id - 1], (void *)object);
    } else {
        assert(is_aligned((uintptr_t)object, PAGE_SIZE));
        page_put(p);
    }
}

void *kmalloc_array(size_t count, size_t size, unsigned gfp)
{
    size_t total;

    return checked_mul(count, size, &total) ? kmalloc(total, gfp) : NULL;
}

char *kstrdup(const char *s, unsigned gfp)
{
    size_t size = strlen(s) + 1;
    char *copy = kmalloc(size, gfp);

    if (copy) {
        memcpy(copy, s, size);
    }
    return copy;
}

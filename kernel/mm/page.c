/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page allocator: a binary buddy over chunks of RAM that are taken into use ("carved") one at a
 * time, when the free lists run low. Nothing is done for RAM that nobody asked for yet.
 *
 * Free blocks are kept in two sets of lists: clean ones, whose bytes are known to be zero because
 * the machine said that RAM is zero and nobody ever had them, and used ones. Blocks merge only with
 * blocks of their own kind. A request for zeroed pages takes clean ones first, any other request
 * used ones first, so that clearing is rarely needed.
 *
 * Programs' anonymous pages are cut off a run of clean frames that each CPU has, front to back.
 *
 * Order 0 goes through two small stacks per CPU, filled and emptied in batches. What they give back
 * is not merged but kept loose until a request finds no block: most of it is asked for again as
 * single pages, or never.
 *
 * Locks: zone.lock, with interrupts off; the stacks belong to their CPU with interrupts off.
 */
#include <mm/page.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <core/lock.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/page_copy.h>
#include <sched/task.h>

#ifdef KERNEL_HOST
#include <host/host.h>
#endif

#define CHUNK_SIZE  (PAGE_SIZE << PAGE_ORDER_MAX)
#define CARVE_BELOW 64u /* frames: carving may itself need table pages */

#define STACK_SIZE  32u
#define BATCH_ORDER 3u
#define BATCH       (1u << BATCH_ORDER)
#define RUN_ORDER   6u
#define RUN_SIZE    (1u << RUN_ORDER)

enum kind {
    USED,
    CLEAN,
    KINDS
};

struct page_cpu_list {
    unsigned count[KINDS];
    unsigned tables_count;
    unsigned run_left;
    struct page *run; /* clean frames, next to each other */
    struct page *stack[KINDS][STACK_SIZE];
    struct page *tables[STACK_SIZE]; /* former page tables: see page_put_table() */
};

/* RAM that is not simply free and clean. */
struct special {
    paddr_t start, end;
    bool is_reserved; /* else: free, but written to before us */
};

static struct {
    struct spinlock lock;
    struct list free[KINDS][PAGE_ORDER_MAX + 1];
    uint32_t present[KINDS]; /* bit per order: its list is not empty */
    uint64_t free_count;     /* frames in the lists */
    uint64_t free_clean;     /* of them, known to be zero */
    uint64_t uncarved;       /* frames of chunks not yet carved */
    struct list loose;       /* used frames, each free by itself; free_count has them */
    uint64_t loose_count;
    struct list tables; /* former page tables that the CPU stacks have no room for */
    uint64_t tables_count;
    uint64_t total;
    uint64_t reserve;
    unsigned next_range; /* where carving goes on: a range of boot_info, */
    paddr_t next;        /* an address in it */
    paddr_t end;         /* of RAM */
    paddr_t map_cleared; /* struct pages of frames below are valid */
    int carving_cpu;     /* -1: nobody carves */
    struct special special[5];
    unsigned special_count;
} zone = { .lock = SPINLOCK_INIT(RANK_PAGE), .carving_cpu = -1 };

static struct page_cpu_list boot_cpu_list;
struct page *page_map;

/* --- buddy ------------------------------------------------------------------------------------ */

static void block_add(struct page *p, unsigned order, enum kind kind)
{
    p->flags = (uint16_t)(PAGE_FREE | (kind == USED ? PAGE_TOUCHED : 0u));
    p->order = (uint16_t)order;
    list_push_front(&zone.free[kind][order], &p->link);
    zone.present[kind] |= 1u << order;
}

static void block_remove(struct page *p, unsigned order, enum kind kind)
{
    list_remove(&p->link);
    if (list_is_empty(&zone.free[kind][order])) {
        zone.present[kind] &= ~(1u << order);
    }
}

static enum kind kind_of(const struct page *p)
{
    return p->flags & PAGE_TOUCHED ? USED : CLEAN;
}

/* A struct page of a frame that no carved chunk holds is all zero, so it is never taken for a free
 * buddy. */
static void free_block_locked(struct page *p, unsigned order, enum kind kind)
{
    uint64_t frame = (uint64_t)(p - page_map);

    zone.free_count += UINT64_C(1) << order;
    zone.free_clean += (uint64_t)(kind == CLEAN) << order;
    while (order < PAGE_ORDER_MAX) {
        uint64_t buddy_frame = frame ^ (UINT64_C(1) << order);
        struct page *buddy = page_map + buddy_frame;

        if ((buddy_frame << PAGE_SHIFT) >= zone.end || !(buddy->flags & PAGE_FREE) ||
            buddy->order != order || kind_of(buddy) != kind) {
            break;
        }
        block_remove(buddy, order, kind);
        buddy->flags = 0;
        frame &= ~(UINT64_C(1) << order);
        order++;
    }
    block_add(page_map + frame, order, kind);
}

/* The smallest block of this kind that is big enough, cut to size; NULL: none. */
static struct page *take_block_locked(unsigned order, enum kind kind)
{
    uint32_t orders = zone.present[kind] >> order;

    if (orders == 0) {
        return NULL;
    }
    unsigned o = order + (unsigned)__builtin_ctz(orders);
    struct page *p = list_first(&zone.free[kind][o], struct page, link);

    block_remove(p, o, kind);
    while (o > order) {
        o--;
        block_add(p + (UINT64_C(1) << o), o, kind);
    }
    zone.free_count -= UINT64_C(1) << order;
    zone.free_clean -= (uint64_t)(kind == CLEAN) << order;
    p->flags = 0;
    p->order = (uint16_t)order;
    return p;
}

/* --- carving ---------------------------------------------------------------------------------- */

/* Free [start, end) as blocks of their natural size. */
static void free_span_locked(paddr_t start, paddr_t end, enum kind kind)
{
    while (start < end) {
        unsigned order = 0;

        while (order < PAGE_ORDER_MAX && is_aligned(start, PAGE_SIZE << (order + 1)) &&
               (PAGE_SIZE << (order + 1)) <= end - start) {
            order++;
        }
        free_block_locked(phys_to_page(start), order, kind);
        start += PAGE_SIZE << order;
    }
}

/* Free [start, end) less what is reserved; what was written to before us goes to the used lists. */
static void free_range_locked(paddr_t start, paddr_t end)
{
    while (start < end) {
        paddr_t stop = end;
        const struct special *inside = NULL;

        for (unsigned i = 0; i < zone.special_count; i++) {
            const struct special *s = &zone.special[i];

            if (s->start <= start && start < s->end && (!inside || s->is_reserved)) {
                inside = s;
            } else if (s->start > start && s->start < stop) {
                stop = s->start;
            }
        }
        if (inside) {
            stop = min_of(stop, inside->end);
        }
        if (!inside || !inside->is_reserved) {
            free_span_locked(start, stop, inside || !boot_info.ram_is_zero ? USED : CLEAN);
        }
        start = stop;
    }
}

/* The part of the next chunk that lies in one RAM range. False: all RAM is in use. */
static bool next_chunk_locked(paddr_t *start, paddr_t *end)
{
    while (zone.next_range < boot_info.ram_count) {
        const struct phys_range *r = &boot_info.ram[zone.next_range];
        paddr_t from = max_of(zone.next, r->start);
        paddr_t range_end = r->start + r->size;

        if (from < range_end) {
            *start = from;
            *end = min_of(range_end, align_down(from, CHUNK_SIZE) + CHUNK_SIZE);
            zone.next = *end;
            return true;
        }
        zone.next_range++;
    }
    return false;
}

/* Make the chunk and its struct pages addressable, and those known. No lock: may allocate tables.
 */
static int prepare_chunk(paddr_t start, paddr_t end)
{
    /* All of the chunk's struct pages, holes too: merging looks at buddies that are no RAM. */
    paddr_t map_from = max_of(align_down(start, CHUNK_SIZE), zone.map_cleared);
    paddr_t map_to = min_of(align_up(end, CHUNK_SIZE), zone.end);

    if (pt_direct_map(start, end - start, false) < 0) {
        return -ENOMEM;
    }
    if (map_from < map_to) {
        struct page *first = phys_to_page(map_from);
        uint64_t size = (map_to - map_from) / PAGE_SIZE * sizeof(struct page);

        if (pt_direct_map(virt_to_phys(first), size, false) < 0) {
            return -ENOMEM;
        }
        if (!boot_info.ram_is_zero) {
            memset(first, 0, size);
        }
        zone.map_cleared = map_to; /* the one carver's alone */
    }
    return 0;
}

/* Called and returns with zone.lock held, which is dropped meanwhile. False: nothing was gained. */
static bool carve_locked(void)
{
    paddr_t start;
    paddr_t end;

    if (zone.carving_cpu == (int)this_cpu()->index) {
        return false; /* carving needs a page itself: it takes one of the last */
    }
    if (zone.carving_cpu >= 0) {
        spin_unlock(&zone.lock);
        cpu_relax();
        spin_lock(&zone.lock);
        return true; /* look again */
    }
    if (!next_chunk_locked(&start, &end)) {
        return false;
    }
    zone.carving_cpu = (int)this_cpu()->index;
    spin_unlock(&zone.lock);
    int err = prepare_chunk(start, end);

    spin_lock(&zone.lock);
    zone.carving_cpu = -1;
    zone.uncarved -= (end - start) / PAGE_SIZE;
    if (err < 0) {
        zone.total -= (end - start) / PAGE_SIZE;
        return false;
    }
    free_range_locked(start, end);
    return true;
}

/* --- allocation ------------------------------------------------------------------------------- */

/* How many frames must stay free after such a request. */
static uint64_t floor_of(unsigned gfp)
{
    if (gfp & GFP_ATOMIC) {
        return 0;
    }
    return gfp & GFP_USER ? zone.reserve : zone.reserve / 2;
}

/* Memory is short: former page tables become ordinary frames again. */
static void release_tables_locked(void)
{
    while (!list_is_empty(&zone.tables)) {
        struct page *p = list_first(&zone.tables, struct page, link);

        list_remove(&p->link);
        zone.tables_count--;
        free_block_locked(p, 0, USED);
    }
}

/* Blocks are wanted: let the loose frames merge. False: there are none. */
static bool merge_loose_locked(void)
{
    bool any = zone.loose_count != 0;

    zone.free_count -= zone.loose_count; /* free_block_locked() counts them again */
    zone.loose_count = 0;
    while (!list_is_empty(&zone.loose)) {
        struct page *p = list_first(&zone.loose, struct page, link);

        list_remove(&p->link);
        free_block_locked(p, 0, USED);
    }
    return any;
}

static struct page *take_loose_locked(void)
{
    struct page *p = list_first(&zone.loose, struct page, link);

    list_remove(&p->link);
    zone.loose_count--;
    zone.free_count--;
    return p;
}

static struct page *take_locked(unsigned order, unsigned gfp)
{
    enum kind first = gfp & GFP_ZERO ? CLEAN : USED;
    uint64_t want = UINT64_C(1) << order;

    if (unlikely(zone.free_count < CARVE_BELOW + want)) {
        while (zone.free_count < CARVE_BELOW + want && carve_locked()) {
        }
    }
    if (first == CLEAN && !zone.present[CLEAN] && boot_info.ram_is_zero) {
        (void)carve_locked(); /* cheaper than clearing; without success a used one is cleared */
    }
    if (zone.free_count + zone.uncarved < floor_of(gfp) + want) {
        release_tables_locked();
        if (zone.free_count + zone.uncarved < floor_of(gfp) + want) {
            return NULL;
        }
    }
    for (;;) {
        if (order == 0 && first == USED && zone.loose_count != 0) {
            return take_loose_locked();
        }
        struct page *p = take_block_locked(order, first);

        if (!p) {
            p = take_block_locked(order, first == CLEAN ? USED : CLEAN);
            first = p ? (first == CLEAN ? USED : CLEAN) : first;
        }
        if (p) {
            p->flags = first == USED ? PAGE_TOUCHED : 0;
            return p;
        }
        if (!merge_loose_locked() && !carve_locked()) { /* enough is free, but in pieces */
            return NULL;
        }
    }
}

static struct page_cpu_list *cpu_list(void)
{
    struct page_cpu_list *l = this_cpu()->pages;

    if (likely(l != NULL)) {
        return l;
    }
    if (this_cpu()->index == 0) {
        l = &boot_cpu_list;
    } else {
        spin_lock(&zone.lock);
        struct page *p = take_locked(0, GFP_ATOMIC);

        spin_unlock(&zone.lock);
        if (!p) {
            return NULL;
        }
        atomic_store_explicit(&p->refcount, 1, memory_order_relaxed);
        l = page_address(p);
        l->count[USED] = 0;
        l->count[CLEAN] = 0;
        l->tables_count = 0;
        l->run_left = 0;
    }
    static_assert(sizeof(*l) <= PAGE_SIZE, "one page holds a CPU's stacks");
    this_cpu()->pages = l;
    return l;
}

/*
 * A page for this request, and a batch of its neighbours onto the stack: one block cut up, not a
 * walk through the lists for each. Interrupts off.
 */
static struct page *refill(struct page_cpu_list *l, unsigned gfp)
{
    struct page *first = NULL;

    spin_lock(&zone.lock);
    if (l && zone.free_count >= CARVE_BELOW + BATCH) {
        enum kind kind = gfp & GFP_ZERO ? CLEAN : USED;

        if (kind == USED && zone.loose_count >= BATCH && l->count[USED] + BATCH <= STACK_SIZE) {
            for (unsigned i = BATCH - 1; i > 0; i--) {
                l->stack[USED][l->count[USED]++] = take_loose_locked();
            }
            first = take_loose_locked();
            spin_unlock(&zone.lock);
            return first;
        }
        if (kind == USED && !zone.present[USED]) {
            kind = CLEAN;
        }
        if (zone.present[kind] && l->count[kind] + BATCH <= STACK_SIZE &&
            zone.free_count + zone.uncarved >= floor_of(GFP_USER) + BATCH) {
            first = take_block_locked(BATCH_ORDER, kind);
        }
        for (unsigned i = BATCH - 1; first && i > 0; i--) {
            first[i].flags = kind == USED ? PAGE_TOUCHED : 0;
            l->stack[kind][l->count[kind]++] = first + i;
        }
        if (first) {
            first->flags = kind == USED ? PAGE_TOUCHED : 0;
            first->order = 0;
        }
    }
    if (!first) {
        first = take_locked(0, gfp);
    }
    spin_unlock(&zone.lock);
    return first;
}

/* Off the front of this CPU's run, which has as many. */
static struct page *cut_run(struct page_cpu_list *l, unsigned count)
{
    struct page *p = l->run;

    assert_slow(l->run_left >= count);
    l->run += count;
    l->run_left -= count;
    p->flags = 0;
    return p;
}

/* A new run; the old one is used up. False: memory is not plenty. */
static NEVER_INLINE bool renew_run(struct page_cpu_list *l)
{
    struct page *p = NULL;

    assert_slow(l->run_left == 0);

    spin_lock(&zone.lock);
    if (zone.free_count < CARVE_BELOW + RUN_SIZE) {
        (void)carve_locked(); /* what is free now decides */
    }
    if (zone.free_count + zone.uncarved > zone.reserve + (uint64_t)RUN_SIZE * 8) {
        p = take_block_locked(RUN_ORDER, CLEAN);
    }
    spin_unlock(&zone.lock);
    if (!p) {
        return false;
    }
    l->run = p;
    l->run_left = RUN_SIZE;
    return true;
}

static struct page *take_one(unsigned gfp)
{
    struct page_cpu_list *l = cpu_list();
    enum kind kind = gfp & GFP_ZERO ? CLEAN : USED;

    if (likely(l != NULL)) {
        if (l->count[kind] != 0) {
            return l->stack[kind][--l->count[kind]];
        }
        if (kind == USED && l->count[CLEAN] != 0) {
            return l->stack[CLEAN][--l->count[CLEAN]];
        }
        if ((kind == CLEAN || (!zone.present[USED] && zone.loose_count < BATCH)) &&
            (l->run_left != 0 || renew_run(l))) {
            return cut_run(l, 1);
        }
        /* Zeroed wanted, none at hand: clear a used one only when no clean ones are left. */
        if (l->count[USED] != 0 && zone.uncarved + zone.free_clean == 0) {
            return l->stack[USED][--l->count[USED]];
        }
    }
    struct page *p = refill(l, gfp);

    return !p && l && l->run_left != 0 ? cut_run(l, 1) : p;
}

struct page *page_alloc(unsigned order, unsigned gfp)
{
    struct page *p;

    assert(order <= PAGE_ORDER_MAX);
#ifdef KERNEL_HOST
    if (host_fail_page_alloc != 0 && --host_fail_page_alloc == 0) {
        return NULL;
    }
#endif
    uint64_t flags = irq_save();

    if (likely(order == 0)) {
        p = take_one(gfp);
    } else {
        spin_lock(&zone.lock);
        p = take_locked(order, gfp);
        spin_unlock(&zone.lock);
    }
    irq_restore(flags);
    if (unlikely(!p)) {
        return NULL;
    }
    assert(atomic_load_explicit(&p->refcount, memory_order_relaxed) == 0);
    if ((gfp & GFP_ZERO) && (p->flags & PAGE_TOUCHED)) {
        page_clear(page_to_phys(p), UINT64_C(1) << order);
    }
    p->flags = PAGE_TOUCHED;
    p->order = (uint16_t)order;
    p->private = 0;
    atomic_store_explicit(&p->refcount, 1, memory_order_relaxed); /* nobody else has it yet */
    return p;
}

/* Frames that are next to each other in a block; what the block has more is given back. Interrupts
 * off. */
static NEVER_INLINE struct page *take_piece(unsigned count, bool may_clear, bool *is_dirty)
{
    unsigned order = 0;
    struct page *p = NULL;

    while (1u << order < count) {
        order++;
    }
    spin_lock(&zone.lock);
    if (zone.free_count < CARVE_BELOW + (1u << order)) {
        (void)carve_locked(); /* what is free now decides */
    }
    if (zone.free_count + zone.uncarved > zone.reserve + (1u << order)) {
        p = take_block_locked(order, CLEAN);
        if (!p && may_clear) {
            *is_dirty = true;
            p = take_block_locked(order, USED);
            if (!p && merge_loose_locked()) {
                p = take_block_locked(order, USED);
            }
        }
    }
    for (unsigned i = count; p && i < 1u << order; i++) {
        p[i].flags = 0;
        free_block_locked(p + i, 0, *is_dirty ? USED : CLEAN);
    }
    spin_unlock(&zone.lock);
    return p;
}

struct page *page_alloc_run(unsigned *wanted, bool may_clear)
{
    unsigned count = *wanted;
    /* What counts in a page that is about to be mapped: its first half, two stores. */
    static const struct page about_to_be_mapped = { .refcount = 1,
                                                    .mapcount = 1,
                                                    .flags = PAGE_TOUCHED };
    bool is_dirty = false;
    uint64_t flags = irq_save();
    struct page_cpu_list *l = cpu_list();
    struct page *p;

    assert(count > 0 && count <= RUN_SIZE / 2);
    if (likely(l && (l->run_left > 0 || renew_run(l)))) {
        count = min_of(count, l->run_left);
        *wanted = count;
        p = cut_run(l, count);
    } else {
        p = take_piece(count, may_clear, &is_dirty);
    }
    irq_restore(flags);
    if (is_dirty && p) {
        page_clear(page_to_phys(p), count);
    }
    if (!p) {
        return NULL;
    }
#pragma GCC unroll 4
    for (unsigned i = 0; i < count; i++) {
        memcpy(p + i, &about_to_be_mapped, offsetof(struct page, link)); /* ours alone */
    }
    return p;
}

bool page_is_low(void)
{
    return zone.free_count + zone.uncarved < 2 * zone.reserve;
}

uint64_t page_free_hint(void)
{
    return zone.free_count + zone.uncarved;
}

void page_put_clean(struct page *p)
{
    uint32_t old = atomic_fetch_sub_explicit(&p->refcount, 1, memory_order_acq_rel);

    assert(old == 1 && p->order == 0 && !(p->flags & PAGE_FREE));
    assert(atomic_load_explicit(&p->mapcount, memory_order_relaxed) == 0);
    uint64_t flags = irq_save();
    struct page_cpu_list *l = cpu_list();

    p->flags = 0;
    if (l && l->count[CLEAN] < STACK_SIZE) {
        l->stack[CLEAN][l->count[CLEAN]++] = p;
    } else {
        spin_lock(&zone.lock);
        free_block_locked(p, 0, CLEAN);
        spin_unlock(&zone.lock);
    }
    irq_restore(flags);
}

struct page *page_alloc_table(void)
{
    uint64_t flags = irq_save();
    struct page_cpu_list *l = cpu_list();
    struct page *p = NULL;

    if (likely(l && l->tables_count > 0)) {
        p = l->tables[--l->tables_count];
    } else if (zone.tables_count > 0) {
        spin_lock(&zone.lock);
        if (!list_is_empty(&zone.tables)) {
            p = list_first(&zone.tables, struct page, link);
            list_remove(&p->link);
            zone.tables_count--;
        }
        spin_unlock(&zone.lock);
    }
    irq_restore(flags);
    if (!p) {
        p = page_alloc(0, GFP_ZERO | GFP_ATOMIC);
    } else {
        p->private = 0;
        atomic_store_explicit(&p->refcount, 1, memory_order_relaxed); /* nobody else has it */
    }
    if (p) {
        p->flags = PAGE_TOUCHED | PAGE_TABLE;
        p->index = 0;
    }
    return p;
}

void page_put_table(struct page *p)
{
    uint32_t old = atomic_fetch_sub_explicit(&p->refcount, 1, memory_order_acq_rel);

    assert(old == 1 && p->order == 0 && (p->flags & PAGE_TABLE));
    uint64_t flags = irq_save();
    struct page_cpu_list *l = cpu_list();

    p->flags = PAGE_TOUCHED;
    if (l && l->tables_count < STACK_SIZE) {
        l->tables[l->tables_count++] = p;
    } else {
        spin_lock(&zone.lock);
        list_init(&p->link);
        list_push_front(&zone.tables, &p->link);
        zone.tables_count++;
        spin_unlock(&zone.lock);
    }
    irq_restore(flags);
}

/* Half a stack goes back, for all CPUs to take. Interrupts off. */
static void drain(struct page_cpu_list *l)
{
    spin_lock(&zone.lock);
    while (l->count[USED] > STACK_SIZE / 2) {
        list_push_front(&zone.loose, &l->stack[USED][--l->count[USED]]->link);
    }
    zone.loose_count += STACK_SIZE / 2;
    zone.free_count += STACK_SIZE / 2;
    spin_unlock(&zone.lock);
}

void page_free(struct page *p)
{
    unsigned order = p->order;

    /* Cheap enough to stay on (spec R-MM-4): a mapped page must never be freed. */
    assert(atomic_load_explicit(&p->mapcount, memory_order_relaxed) == 0);
    assert(!(p->flags & PAGE_FREE) && order <= PAGE_ORDER_MAX);
#ifdef TEST_BUILD
    memset(page_address(p), 0xdf, PAGE_SIZE << order); /* poison */
#endif
    uint64_t flags = irq_save();
    struct page_cpu_list *l = order == 0 ? cpu_list() : NULL;

    if (l) {
        if (unlikely(l->count[USED] == STACK_SIZE)) {
            drain(l);
        }
        p->flags = PAGE_TOUCHED;
        l->stack[USED][l->count[USED]++] = p;
    } else {
        spin_lock(&zone.lock);
        free_block_locked(p, order, USED);
        spin_unlock(&zone.lock);
    }
    irq_restore(flags);
}

/* Free pages of order 0, several at once. */
static void free_pages(struct page **pages, unsigned count)
{
    uint64_t flags = irq_save();
    struct page_cpu_list *l = cpu_list();
    unsigned i = 0;

    for (; l && i < count && l->count[USED] < STACK_SIZE; i++) {
        l->stack[USED][l->count[USED]++] = pages[i];
    }
    if (i < count) {
        spin_lock(&zone.lock);
        zone.loose_count += count - i;
        zone.free_count += count - i;
        for (; i < count; i++) {
            list_push_front(&zone.loose, &pages[i]->link);
        }
        spin_unlock(&zone.lock);
    }
    irq_restore(flags);
}

void page_put_all(struct page **pages, unsigned count)
{
    unsigned free = 0;

    for (unsigned i = 0; i < count; i++) {
        struct page *p = pages[i];
        /* Acquire-release: what other holders did is visible to the one that frees. */
        uint32_t old = atomic_fetch_sub_explicit(&p->refcount, 1, memory_order_acq_rel);

        assert(old != 0); /* a double free */
        if (old != 1) {
            continue;
        }
        if (unlikely(p->order != 0)) {
            page_free(p);
            continue;
        }
        assert(atomic_load_explicit(&p->mapcount, memory_order_relaxed) == 0);
        assert_slow(!(p->flags & PAGE_FREE));
#ifdef TEST_BUILD
        memset(page_address(p), 0xdf, PAGE_SIZE); /* poison */
#endif
        p->flags = PAGE_TOUCHED;
        pages[free++] = p;
    }
    free_pages(pages, free);
}

/* --- queries ---------------------------------------------------------------------------------- */

static bool is_ram(paddr_t pa)
{
    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        if (pa >= boot_info.ram[i].start && pa - boot_info.ram[i].start < boot_info.ram[i].size) {
            return true;
        }
    }
    return false;
}

struct page *page_of_phys(paddr_t pa)
{
    if (pa >= zone.next || !is_ram(pa)) {
        return NULL; /* no RAM, or a chunk that nobody was given a frame of */
    }
    return phys_to_page(pa);
}

void page_stats(struct page_stats *out)
{
    uint64_t cached = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        const struct page_cpu_list *l = cpus[i].pages;

        if (l) {
            cached += l->count[USED] + l->count[CLEAN] + l->tables_count + l->run_left;
        }
    }
    *out = (struct page_stats){
        .total = zone.total,
        .free = zone.free_count + zone.uncarved + zone.tables_count + cached,
        .reserve = zone.reserve,
    };
}

/* --- boot ------------------------------------------------------------------------------------- */

static void special_add(paddr_t start, paddr_t end, bool is_reserved)
{
    assert(zone.special_count < array_size(zone.special));
    if (start < end) {
        zone.special[zone.special_count++] =
            (struct special){ .start = start, .end = end, .is_reserved = is_reserved };
    }
}

/* Room for page_map: the first gap of RAM behind the kernel that the ramdisk does not touch. */
static paddr_t place_page_map(uint64_t size)
{
    paddr_t disk_start = align_down(boot_info.ramdisk.start, PAGE_SIZE);
    paddr_t disk_end = align_up(boot_info.ramdisk.start + boot_info.ramdisk.size, PAGE_SIZE);

    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        const struct phys_range *r = &boot_info.ram[i];
        paddr_t start = max_of(r->start, align_up(arch_kernel_phys_end(), PAGE_SIZE));
        paddr_t end = r->start + r->size;

        if (boot_info.ramdisk.size != 0 && start < disk_end && disk_start < end) {
            if (start < disk_start && disk_start - start >= size) {
                return start;
            }
            start = max_of(start, disk_end);
        }
        if (start < end && end - start >= size) {
            return start;
        }
    }
    panic(NULL, "page_init: no room for %zu bytes of page structures", (size_t)size);
}

static uint64_t reserved_frames(void)
{
    uint64_t frames = 0;

    for (unsigned i = 0; i < zone.special_count; i++) {
        if (zone.special[i].is_reserved) {
            frames += (zone.special[i].end - zone.special[i].start) / PAGE_SIZE;
        }
    }
    return frames;
}

void page_init(void)
{
    const struct phys_range *disk = &boot_info.ramdisk;
    uint64_t frames = 0;

    zone.special_count = 0;
    zone.free_count = 0;
    zone.free_clean = 0;
    zone.tables_count = 0;
    list_init(&zone.tables);
    list_init(&zone.loose);
    zone.loose_count = 0;
    zone.present[USED] = 0;
    zone.present[CLEAN] = 0;
    zone.map_cleared = 0;
    zone.next_range = 0;
    zone.next = 0;
    zone.end = 0;
    for (unsigned order = 0; order <= PAGE_ORDER_MAX; order++) {
        list_init(&zone.free[USED][order]);
        list_init(&zone.free[CLEAN][order]);
    }
    boot_cpu_list = (struct page_cpu_list){ 0 };
    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        frames += boot_info.ram[i].size / PAGE_SIZE;
        zone.end = boot_info.ram[i].start + boot_info.ram[i].size; /* sorted */
    }
    uint64_t map_size = align_up(zone.end / PAGE_SIZE * sizeof(struct page), PAGE_SIZE);
    paddr_t map = place_page_map(map_size);
    paddr_t kernel_end = align_up(arch_kernel_phys_end(), PAGE_SIZE);

    page_map = phys_to_virt(map);
    special_add(0, LOW_RESERVED_END, true);
    special_add(LOW_RESERVED_END, LOW_TOUCHED_END, false);
    if (map == kernel_end) {
        special_add(LOW_TOUCHED_END, map + map_size, true);
    } else {
        special_add(LOW_TOUCHED_END, kernel_end, true);
        special_add(map, map + map_size, true);
    }
    special_add(align_down(disk->start, PAGE_SIZE), align_up(disk->start + disk->size, PAGE_SIZE),
                disk->size != 0);
    zone.uncarved = frames;
    zone.total = frames - min_of(frames, reserved_frames());
    zone.reserve = min_of(max_of(zone.total / 64, UINT64_C(16)), UINT64_C(1024));

    uint64_t flags = irq_save();

    spin_lock(&zone.lock);
    bool is_carved = carve_locked();

    spin_unlock(&zone.lock);
    irq_restore(flags);
    if (!is_carved) {
        panic(NULL, "page_init: the first chunk of RAM cannot be used");
    }
}

uint64_t page_map_count(void)
{
    return zone.end / PAGE_SIZE;
}

void page_release_range(paddr_t start, uint64_t size)
{
    paddr_t first = align_down(start, PAGE_SIZE);
    uint64_t flags = spin_lock_irqsave(&zone.lock);

    for (unsigned i = 0; i < zone.special_count; i++) {
        struct special *s = &zone.special[i];

        if (!s->is_reserved || s->start != first || s->end != align_up(start + size, PAGE_SIZE)) {
            continue;
        }
        s->is_reserved = false; /* what is carved later finds it free, but written to */
        zone.total += (s->end - s->start) / PAGE_SIZE;
        paddr_t carved_end = min_of(s->end, zone.next);

        if (first < carved_end) {
            free_span_locked(first, carved_end, USED);
        }
        break;
    }
    spin_unlock_irqrestore(&zone.lock, flags);
}

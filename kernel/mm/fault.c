/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page faults. Each costs a fixed price that is large where ring 0 is interpreted, so a fault maps
 * more than the page that was asked for whenever that is nearly free:
 *
 *   - image files (frames without struct page): the whole VMA within one page table's reach;
 *   - cached files: what is resident of the 16 pages around;
 *   - a write to a private image mapping: copies of the pages around as well, where the monitor
 * copies for us;
 *   - anonymous memory: a run of frames known to be zero, which needs no clearing. The run grows
 *     while faults are sequential, and never exceeds 1/256 of the free memory.
 *
 * mmap_lock is held for reading; page_table_lock while PTEs and their references change. A fault
 * first looks at the PTE again: if the access is legal by now, a sibling was faster (R-MM-8).
 */
#include <arch/ops.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/mapping.h>
#include <mm/page.h>
#include <mm/reclaim.h>
#include <mm/page_copy.h>
#include <mm/vma.h>
#include <proc/process.h>
#include <sched/task.h>

#define ANON_ORDER_MAX   5u  /* 128 KiB */
#define ANON_CLEARED     8u  /* frames that must be cleared: 1.6 ms at worst */
#define ANON_ORDER_FIRST 3u  /* a first touch, not next to the last one */
#define CACHE_AROUND     16u /* pages */
#define COPY_ORDER_MAX   5u  /* private copies of image pages made together */
#define COPY_ORDER_MIN   4u  /* ... with less memory; with even less, none */
#define TABLE_PAGES      512u
#define FREE_PER_WINDOW  256u

static ALIGNED(PAGE_SIZE) const uint8_t zero_page[PAGE_SIZE];

struct fault {
    struct mm *mm;
    struct vma *vma;
    uint64_t page;  /* address */
    uint64_t index; /* in the mapping */
    bool is_write;
    uint32_t unmappings; /* of the mapping, before it was asked for frames */
};

static paddr_t zero_page_phys(void)
{
    return virt_to_phys(zero_page);
}

static unsigned pte_flags_of(const struct vma *v)
{
    static_assert(VMA_READ == (int)PTE_USER_READ && VMA_WRITE == (int)PTE_USER_WRITE &&
                      VMA_EXEC == (int)PTE_USER_EXEC,
                  "access bits are shared");
    return (v->flags & VMA_ACCESS) | (v->flags & VMA_SHARED ? (unsigned)PTE_SHARED : 0u);
}

static void rss_add(struct mm *mm, uint64_t pages)
{
    uint64_t now = atomic_fetch_add_explicit(&mm->rss_pages, pages, memory_order_relaxed) + pages;

    if (now > mm->hwm_pages) {
        mm->hwm_pages = now; /* statistics: a lost update is harmless */
    }
}

/* --- anonymous memory ------------------------------------------------------------------------- */

/* Order of the run to map around f->page, which lies inside the VMA whole. */
static unsigned anon_order(const struct fault *f)
{
    uint64_t windows = page_free_hint() / FREE_PER_WINDOW;
    bool is_next = f->page == f->mm->anon_next;
    unsigned order = is_next ? f->mm->anon_order + 2 : ANON_ORDER_FIRST;

    order = min_of(order, ANON_ORDER_MAX);
    while (order > 0) {
        uint64_t size = PAGE_SIZE << order;
        uint64_t start = align_down(f->page, size);

        if ((UINT64_C(1) << order) <= windows && start >= f->vma->start &&
            f->vma->end - start >= size) {
            break;
        }
        order--;
    }
    return order;
}

static struct page *user_page(unsigned gfp)
{
    struct page *p = page_alloc_reclaim(GFP_USER | gfp);

    if (p) {
        atomic_store_explicit(&p->mapcount, 1, memory_order_relaxed); /* about to be mapped */
    }
    return p;
}

static void user_page_drop(struct page *p)
{
    atomic_store_explicit(&p->mapcount, 0, memory_order_relaxed);
    page_put(p);
}

/* The pages next to each other around page `at` of a window, which are all in `mask`. */
static void stretch_of(uint32_t mask, unsigned at, unsigned *from, unsigned *count)
{
    uint64_t others = ~(uint64_t)mask;
    uint64_t below = others & ((UINT64_C(1) << at) - 1);

    assert_slow(mask >> at & 1);
    *from = below ? 64 - (unsigned)__builtin_clzll(below) : 0;
    *count = at + (unsigned)__builtin_ctzll(others >> at) - *from;
}

/* Frames for the pages [*from, *from + *count) of a window; when there are fewer, for fewer of the
 * pages, among them page `at`. */
static struct page *alloc_stretch(unsigned at, unsigned *from, unsigned *count)
{
    struct page *run = page_alloc_run(count, false);

    if (at - *from >= *count) {
        *from = at - *count + 1;
    }
    return run;
}

/*
 * A run of frames for the pages of the window around f->page that show nothing yet. False: one page
 * at a time. page_table_lock stays held, so that they go on showing nothing; taking frames does not
 * sleep.
 */
static bool anon_run(struct fault *f, unsigned order)
{
    struct mm *mm = f->mm;
    unsigned at = (unsigned)(f->page >> PAGE_SHIFT) & ((1u << order) - 1);
    uint64_t start = f->page - ((uint64_t)at << PAGE_SHIFT);
    bool is_next = f->page == mm->anon_next;
    bool is_done = false;
    struct pt_window window;
    unsigned from;
    unsigned count;

    spin_lock(&mm->page_table_lock);
    uint32_t mask = pt_window_empty(mm->page_table, start, 1u << order, &window);

    if (!(mask >> at & 1)) {
        spin_unlock(&mm->page_table_lock);
        return true; /* a sibling was faster */
    }
    stretch_of(mask, at, &from, &count);
    struct page *run = alloc_stretch(at, &from, &count);

    if (!run && is_next) {
        /* No more clean memory, but faults go on in order: save some of them all the same. */
        count = min_of(from + count - at, ANON_CLEARED); /* what is left of the stretch */
        from = at;
        run = page_alloc_run(&count, true);
    }
    if (run) {
        is_done = pt_window_map(&window, from, count, page_to_phys(run), pte_flags_of(f->vma));
        mm->anon_next = start + ((uint64_t)(from + count) << PAGE_SHIFT);
        mm->anon_order = order;
    }
    spin_unlock(&mm->page_table_lock);
    if (is_done) {
        rss_add(mm, count);
        return true;
    }
    for (unsigned i = 0; run && i < count; i++) {
        user_page_drop(run + i);
    }
    return false;
}

static int anon_write(struct fault *f)
{
    unsigned order = anon_order(f);

    if (order > 0 && anon_run(f, order)) {
        return 0;
    }
    struct page *p = user_page(GFP_ZERO);

    if (!p) {
        return -ENOMEM;
    }
    spin_lock(&f->mm->page_table_lock);
    long n = pt_map_run(f->mm->page_table, f->page, page_to_phys(p), 1, pte_flags_of(f->vma), true);

    f->mm->anon_next = f->page + PAGE_SIZE;
    f->mm->anon_order = 0;
    spin_unlock(&f->mm->page_table_lock);
    if (n != 1) {
        atomic_store_explicit(&p->mapcount, 0, memory_order_relaxed); /* never mapped */
        page_put_clean(p);
        return n < 0 ? -ENOMEM : 0;
    }
    rss_add(f->mm, 1);
    return 0;
}

static int map_zero_page(struct fault *f)
{
    unsigned flags = (pte_flags_of(f->vma) & ~(unsigned)PTE_USER_WRITE) | PTE_DIRECT;

    spin_lock(&f->mm->page_table_lock);
    long n = pt_map_run(f->mm->page_table, f->page, zero_page_phys(), 1, flags, true);

    spin_unlock(&f->mm->page_table_lock);
    return n < 0 ? -ENOMEM : 0;
}

/* --- files ------------------------------------------------------------------------------------ */

/* To be said before the mapping is asked for a frame. */
static void begin_lookup(struct fault *f)
{
    /* acquire: what is looked up afterwards is at least as new. */
    f->unmappings = atomic_load_explicit(&f->vma->mapping->unmappings, memory_order_acquire);
}

/* Did somebody unmap pages of the file since then? The frame may be one that had to go: nothing is
 * mapped, and the access faults again. page_table_lock held. */
static bool is_outdated(const struct fault *f)
{
    return atomic_load_explicit(&f->vma->mapping->unmappings, memory_order_relaxed) !=
           f->unmappings;
}

/* Map as much of an image as one page table reaches. True if f->page is among it. */
static bool map_direct(struct fault *f)
{
    const struct vma *v = f->vma;
    struct mapping *m = v->mapping;
    uint64_t start = align_down(f->page, TABLE_PAGES * PAGE_SIZE);
    uint64_t from = max_of(start, v->start);
    uint64_t to = min_of(start + TABLE_PAGES * PAGE_SIZE, v->end);
    uint64_t index = v->page_offset + (from - v->start) / PAGE_SIZE;
    paddr_t first = 0;
    uint64_t run = m->ops->direct_run(m, index, &first);

    if (run <= (f->page - from) / PAGE_SIZE) { /* does not reach us: begin at the page itself */
        from = f->page;
        run = m->ops->direct_run(m, f->index, &first);
        if (run == 0) {
            return false;
        }
    }
    unsigned flags = (pte_flags_of(v) & ~(unsigned)PTE_USER_WRITE) | PTE_DIRECT;
    long n = 0;

    spin_lock(&f->mm->page_table_lock);
    if (likely(!is_outdated(f))) {
        n = pt_map_run(f->mm->page_table, from, first, min_of(run, (to - from) / PAGE_SIZE), flags,
                       true);
    }
    spin_unlock(&f->mm->page_table_lock);
    return n >= 0;
}

/* Install a counted page of the cache, whose reference becomes the PTE's. */
static int map_cached(const struct fault *f, uint64_t at, struct page *p, unsigned flags)
{
    atomic_fetch_add_explicit(&p->mapcount, 1, memory_order_relaxed);
    long n = 0;

    spin_lock(&f->mm->page_table_lock);
    if (likely(!is_outdated(f))) {
        n = pt_map_run(f->mm->page_table, at, page_to_phys(p), 1, flags, true);
        f->vma->flags |= VMA_HAS_PAGES;
    }
    spin_unlock(&f->mm->page_table_lock);
    if (n == 1) {
        rss_add(f->mm, 1);
        return 0;
    }
    atomic_fetch_sub_explicit(&p->mapcount, 1, memory_order_relaxed);
    page_put(p);
    return n < 0 ? -ENOMEM : 0;
}

/* Map what is resident near f->page, read-only. */
static void cache_around(struct fault *f)
{
    const struct vma *v = f->vma;
    const uint64_t size = CACHE_AROUND * PAGE_SIZE;
    uint64_t from = max_of(align_down(f->page, size), v->start);
    uint64_t to = min_of(align_down(f->page, size) + size, v->end);
    unsigned flags = pte_flags_of(v) & ~(unsigned)PTE_USER_WRITE;

    for (uint64_t at = from; at < to; at += PAGE_SIZE) {
        struct frame frame;
        uint64_t index = v->page_offset + (at - v->start) / PAGE_SIZE;

        if (at == f->page ||
            v->mapping->ops->get(v->mapping, index, MAPPING_RESIDENT, &frame) != 0 || !frame.page) {
            continue;
        }
        if (map_cached(f, at, frame.page, flags) < 0) {
            return;
        }
    }
}

static int get_frame(struct fault *f, unsigned how, struct frame *out)
{
    struct mapping *m = f->vma->mapping;
    int err;

    begin_lookup(f);
    err = m->ops->get(m, f->index, how, out);
    if (err == -ENODATA) { /* a hole: a page of its own, so that later writes are seen */
        how |= MAPPING_WRITE;
        err = m->ops->get(m, f->index, how, out);
    }
    if (err == 0 && (how & MAPPING_WRITE) && is_outdated(f)) {
        /* Most likely by our own wish: the page was made, and what showed the image unmapped. */
        if (out->page) {
            page_put(out->page);
        }
        begin_lookup(f);
        err = m->ops->get(m, f->index, how, out);
    }
    return err;
}

#define NO_FRAME UINT64_MAX

/*
 * A private page, the copy of `from` (NULL: zero), in place of the frame `expected` (NO_FRAME:
 * nothing). When something else is mapped by now a sibling was faster, and the access decides.
 */
static int install_copy(struct fault *f, const void *from, paddr_t expected)
{
    struct page *p = user_page(from ? GFP_KERNEL : GFP_ZERO);
    struct pt_batch old;
    struct pte now;
    long n = 0;

    if (!p) {
        return -ENOMEM;
    }
    if (from) {
        page_copy_one(page_to_phys(p), virt_to_phys(from));
    }
    old.count = 0;
    old.unmapped = 0;
    spin_lock(&f->mm->page_table_lock);
    bool is_there = pt_lookup(f->mm->page_table, f->page, &now);
    bool is_as_expected = is_there ? now.pa == expected : expected == NO_FRAME;

    if (is_as_expected && is_there) {
        (void)pt_unmap_range(f->mm->page_table, f->page, f->page + PAGE_SIZE, &old);
    }
    if (is_as_expected) {
        n = pt_map_run(f->mm->page_table, f->page, page_to_phys(p), 1, pte_flags_of(f->vma), false);
        /* Readers of mmap_lock only ever set these bits, under page_table_lock. */
        f->vma->flags |= VMA_HAS_ANON | VMA_HAS_PAGES;
    }
    spin_unlock(&f->mm->page_table_lock);
    if (old.unmapped > 0) {
        tlb_flush_range(f->mm, f->page, f->page + PAGE_SIZE);
    }
    if (old.count > 0) {
        page_put(old.slots[0]); /* after the flush: no CPU can reach it */
    } else if (n == 1) {
        rss_add(f->mm, 1);
    }
    if (n != 1) {
        user_page_drop(p);
        return n < 0 ? -ENOMEM : 0;
    }
    return 0;
}

/*
 * A write to a private mapping of an image: where copies are cheap and memory is plenty, copy the
 * pages around too, in one request. Programs write to most of their data. True if f->page is done;
 * false: one page at a time. The lock stays held over the copying, which is short wherever this is
 * used.
 */
static bool copy_around(struct fault *f)
{
    const struct vma *v = f->vma;
    uint64_t windows = page_free_hint() / FREE_PER_WINDOW;
    const uint64_t size = PAGE_SIZE
                          << (windows >> COPY_ORDER_MAX ? COPY_ORDER_MAX : COPY_ORDER_MIN);
    uint64_t start = max_of(align_down(f->page, size), v->start);
    uint64_t end = min_of(align_down(f->page, size) + size, v->end);
    unsigned at = (unsigned)((f->page - start) >> PAGE_SHIFT);
    struct page *run = NULL;
    paddr_t first = 0;
    uint32_t mapped = 0;
    unsigned from = 0;
    unsigned count = 0;
    bool is_done = false;
    struct pt_window window;

    if (!v->mapping->ops->direct_run || windows < 1u << COPY_ORDER_MIN) {
        return false;
    }
    uint64_t there = v->mapping->ops->direct_run(
        v->mapping, v->page_offset + ((start - v->start) >> PAGE_SHIFT), &first);

    spin_lock(&f->mm->page_table_lock);
    /* Pages that still show the image: not written to before. */
    uint32_t mask = there == 0
                        ? 0
                        : pt_window_direct(f->mm->page_table, start,
                                           (unsigned)min_of(there, (end - start) >> PAGE_SHIFT),
                                           first, &window, &mapped);

    if (mask >> at & 1) {
        stretch_of(mask, at, &from, &count);
        run = alloc_stretch(at, &from, &count);
    }
    if (run) {
        page_copy_run(page_to_phys(run), first + from * PAGE_SIZE, count);
        is_done = pt_window_map(&window, from, count, page_to_phys(run), pte_flags_of(v));
        f->vma->flags |= VMA_HAS_ANON | VMA_HAS_PAGES;
    }
    spin_unlock(&f->mm->page_table_lock);
    if (!is_done) {
        for (unsigned i = 0; run && i < count; i++) {
            user_page_drop(run + i);
        }
        return false;
    }
    if (mapped) {
        tlb_flush_range(f->mm, start + from * PAGE_SIZE, start + (from + count) * PAGE_SIZE);
    }
    rss_add(f->mm, count);
    return true;
}

static int file_fault(struct fault *f)
{
    const struct vma *v = f->vma;
    bool is_private = !(v->flags & VMA_SHARED);
    struct frame frame;

    begin_lookup(f);
    if (!f->is_write && v->mapping->ops->direct_run && map_direct(f)) {
        return 0;
    }
    if (f->is_write && is_private && page_copy_is_cheap() && copy_around(f)) {
        return 0;
    }
    int err = get_frame(f, f->is_write && !is_private ? MAPPING_WRITE : MAPPING_READ, &frame);

    if (err < 0) {
        return err;
    }
    if (f->is_write && is_private) {
        err = install_copy(f, phys_to_virt(frame.pa), NO_FRAME);
        if (frame.page) {
            page_put(frame.page);
        }
        return err;
    }
    unsigned flags = pte_flags_of(v);

    if (!f->is_write) {
        flags &= ~(unsigned)PTE_USER_WRITE; /* the first write is seen, and marks the page dirty */
    } else if (frame.page) {
        frame.page->flags |= PAGE_DIRTY;
    }
    if (!frame.page) {
        long n = 0;

        spin_lock(&f->mm->page_table_lock);
        if (likely(!is_outdated(f))) {
            n = pt_map_run(f->mm->page_table, f->page, frame.pa, 1, flags | PTE_DIRECT, true);
        }
        spin_unlock(&f->mm->page_table_lock);
        return n < 0 ? -ENOMEM : 0;
    }
    err = map_cached(f, f->page, frame.page, flags);
    if (err == 0 && !f->is_write) {
        cache_around(f);
    }
    return err;
}

/* --- write to what is mapped read-only -------------------------------------------------------- */

/* Make the PTE writable as it is, if it still maps that frame. */
static int make_writable(struct fault *f, paddr_t pa)
{
    struct pte pte;

    spin_lock(&f->mm->page_table_lock);
    if (pt_lookup(f->mm->page_table, f->page, &pte) && pte.pa == pa) {
        (void)pt_map_run(f->mm->page_table, f->page, pa, 1,
                         pte_flags_of(f->vma) | (pte.flags & PTE_DIRECT), false);
    }
    spin_unlock(&f->mm->page_table_lock);
    return 0;
}

/* A shared mapping: tell the object, which may give another frame (a hole filled, a copy made). */
static int shared_write(struct fault *f, const struct pte *pte)
{
    struct frame frame;
    int err = get_frame(f, MAPPING_WRITE, &frame);

    if (err < 0) {
        return err;
    }
    if (frame.page) {
        frame.page->flags |= PAGE_DIRTY;
    }
    if (frame.pa == pte->pa) {
        err = make_writable(f, pte->pa);
        if (frame.page) {
            page_put(frame.page);
        }
        return err;
    }
    mm_zap(f->mm, f->page, f->page + PAGE_SIZE);
    if (frame.page) {
        return map_cached(f, f->page, frame.page, pte_flags_of(f->vma));
    }
    return 0; /* the access faults again, and finds nothing mapped */
}

/*
 * Copy on write. The frame is pinned while it is copied; if it is ours alone (one reference: this
 * PTE's), it just becomes writable. page_table_lock held on entry, released.
 */
static int private_write(struct fault *f, const struct pte *pte)
{
    if (pte->flags & PTE_DIRECT) {
        spin_unlock(&f->mm->page_table_lock);
        if (f->vma->mapping && page_copy_is_cheap() && copy_around(f)) {
            return 0;
        }
        return install_copy(f, pte->pa == zero_page_phys() ? NULL : phys_to_virt(pte->pa), pte->pa);
    }
    struct page *p = phys_to_page(pte->pa);

    if (!(p->flags & PAGE_CACHE) && atomic_load_explicit(&p->refcount, memory_order_acquire) == 1) {
        (void)pt_map_run(f->mm->page_table, f->page, pte->pa, 1, pte_flags_of(f->vma), false);
        spin_unlock(&f->mm->page_table_lock);
        return 0;
    }
    page_get(p);
    spin_unlock(&f->mm->page_table_lock);
    int err = install_copy(f, page_address(p), pte->pa);

    page_put(p);
    return err;
}

/* --- the fault -------------------------------------------------------------------------------- */

static bool is_legal(const struct pte *pte, unsigned access)
{
    unsigned need = (unsigned)PTE_USER_READ | PTE_USER_WRITE | PTE_USER_EXEC;

    if (access & FAULT_WRITE) {
        need = PTE_USER_WRITE;
    } else if (access & FAULT_EXEC) {
        need = PTE_USER_EXEC;
    }
    return (pte->flags & need) != 0;
}

/* Nothing is mapped. */
static int first_touch(struct fault *f)
{
    if (f->vma->mapping) {
        return file_fault(f);
    }
    return f->is_write ? anon_write(f) : map_zero_page(f);
}

/* The VMA is right and allows the access. */
static int resolve(struct fault *f, unsigned access)
{
    struct pte pte;

    if ((access & FAULT_ABSENT) && f->is_write && !f->vma->mapping) {
        return anon_write(f); /* keeps what a sibling may have mapped meanwhile */
    }
    spin_lock(&f->mm->page_table_lock);
    if (pt_lookup(f->mm->page_table, f->page, &pte)) {
        if (is_legal(&pte, access)) {
            spin_unlock(&f->mm->page_table_lock);
            return 0; /* somebody was faster, or the TLB was older than the tables */
        }
        if (!f->is_write) { /* mapped with less than the VMA allows now: give it all but write */
            unsigned flags = pte_flags_of(f->vma) & ~(unsigned)PTE_USER_WRITE;

            (void)pt_map_run(f->mm->page_table, f->page, pte.pa, 1,
                             flags | (pte.flags & (PTE_DIRECT | PTE_USER_WRITE)), false);
            spin_unlock(&f->mm->page_table_lock);
            return 0;
        }
        if (!(f->vma->flags & VMA_SHARED)) {
            return private_write(f, &pte); /* releases the lock */
        }
        spin_unlock(&f->mm->page_table_lock);
        return shared_write(f, &pte);
    }
    spin_unlock(&f->mm->page_table_lock);
    return first_touch(f);
}

/* Grow the stack above addr down to it. Takes mmap_lock for writing. False: it is no stack's. */
static bool grow_stack(struct mm *mm, uint64_t addr)
{
    bool is_grown = false;

    rwsem_write_lock(&mm->mmap_lock);
    struct vma *v = vma_find(mm, addr);

    if (v && addr >= v->start) {
        is_grown = true; /* somebody was faster */
    } else if (v && (v->flags & VMA_GROWSDOWN)) {
        const struct vma *below = vma_prev(v);
        uint64_t start = align_down(addr, PAGE_SIZE);
        uint64_t size = v->end - start;

        is_grown =
            size <= limit_of(RLIMIT_STACK) && start >= USER_MIN &&
            (!below || start - below->end >= STACK_GUARD_GAP || (below->flags & VMA_ACCESS) == 0) &&
            mm_may_grow(mm, (v->start - start) / PAGE_SIZE, v->flags) == 0;
        if (is_grown) {
            /* A little more at once, so that the next window has room. */
            uint64_t more = 8 * PAGE_SIZE;
            uint64_t floor = below ? below->end + STACK_GUARD_GAP : USER_MIN;

            if (size + more <= limit_of(RLIMIT_STACK) && start >= floor + more) {
                start -= more;
            }
            vma_resize(v, start, v->end);
        }
    }
    rwsem_write_unlock(&mm->mmap_lock);
    return is_grown;
}

static int refuse(int *signal, int *code, int signo, int why)
{
    *signal = signo;
    *code = why;
    return -EFAULT;
}

static int report(int err, int *signal, int *code)
{
    if (err == 0) {
        return 0;
    }
    if (err == -ENOMEM) {
        oom_kill();
        return -ENOMEM;
    }
    return refuse(signal, code, SIGBUS, BUS_ADRERR);
}

static uint32_t needed_vma_flags(unsigned access)
{
    if (access & FAULT_WRITE) {
        return VMA_WRITE;
    }
    return access & FAULT_EXEC ? VMA_EXEC : VMA_READ | VMA_WRITE | VMA_EXEC;
}

int mm_fault(struct mm *mm, uint64_t addr, unsigned access, int *signal, int *code)
{
    if (unlikely(addr >= USER_MAX)) {
        return refuse(signal, code, SIGSEGV, SEGV_MAPERR);
    }
    rwsem_read_lock(&mm->mmap_lock);
    struct vma *v = vma_find(mm, addr);

    if (unlikely(!v || addr < v->start)) {
        bool may_grow = v && (v->flags & VMA_GROWSDOWN);

        rwsem_read_unlock(&mm->mmap_lock);
        if (!may_grow || !grow_stack(mm, addr)) {
            return refuse(signal, code, SIGSEGV, SEGV_MAPERR);
        }
        rwsem_read_lock(&mm->mmap_lock);
        v = vma_find(mm, addr);
        if (!v || addr < v->start) {
            rwsem_read_unlock(&mm->mmap_lock);
            return 0; /* it was unmapped meanwhile: the access tells */
        }
    }
    if (unlikely(!(v->flags & needed_vma_flags(access)))) {
        rwsem_read_unlock(&mm->mmap_lock);
        return refuse(signal, code, SIGSEGV, SEGV_ACCERR);
    }
    struct fault f = {
        .mm = mm,
        .vma = v,
        .page = align_down(addr, PAGE_SIZE),
        .is_write = (access & FAULT_WRITE) != 0,
    };

    f.index = v->page_offset + (f.page - v->start) / PAGE_SIZE;
    int err = resolve(&f, access);

    rwsem_read_unlock(&mm->mmap_lock);
    if (current) {
        current->min_faults++;
    }
    return report(err, signal, code);
}

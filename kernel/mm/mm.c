/* SPDX-License-Identifier: Apache-2.0 */
/* Address spaces: life, switching, removal of mappings. */
#include <mm/mm.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <fs/vfs.h>
#include <mm/mapping.h>
#include <mm/slab.h>
#include <mm/vma.h>
#include <proc/process.h>
#include <sched/task.h>

static struct slab_cache mm_cache = SLAB_CACHE("mm", struct mm);

struct mm *mm_create(void)
{
    struct mm *mm = slab_alloc(&mm_cache, GFP_KERNEL | GFP_ZERO);

    if (!mm) {
        return NULL;
    }
    mm->page_table = pt_create();
    if (mm->page_table == 0) {
        slab_free(&mm_cache, mm);
        return NULL;
    }
    ref_init(&mm->users);
    ref_init(&mm->count);
    rwsem_init(&mm->mmap_lock, RANK_MM);
    spin_init(&mm->page_table_lock, RANK_PAGE_TABLE);
    mm->mmap_top = USER_MAX;
    mm->search_top = USER_MAX;
    return mm;
}

struct mm *mm_get(struct mm *mm)
{
    ref_get(&mm->users);
    return mm;
}

static void count_put(struct mm *mm)
{
    if (ref_put(&mm->count)) {
        assert(mm->vma_count == 0);
        pt_destroy(mm->page_table);
        slab_free(&mm_cache, mm);
    }
}

void mm_switch(struct mm *next)
{
    struct cpu *cpu = this_cpu();
    struct mm *prev = cpu->loaded_mm;

    if (!next || next == prev) {
        return; /* a kernel thread runs on whatever is loaded; the count keeps it alive */
    }
    ref_get(&next->count);
    /* Before the load: whoever changes PTEs from now on must flush this CPU too. */
    atomic_fetch_or_explicit(&next->cpu_mask, UINT64_C(1) << cpu->index, memory_order_seq_cst);
    arch_load_page_table(next->page_table);
    cpu->loaded_mm = next;
    if (prev) {
        atomic_fetch_and_explicit(&prev->cpu_mask, ~(UINT64_C(1) << cpu->index),
                                  memory_order_seq_cst);
        count_put(prev);
    }
}

/* Leave mm on this CPU, so that taking it down needs no flush here. */
static void unload(struct mm *mm)
{
    uint64_t flags = irq_save();
    struct cpu *cpu = this_cpu();

    if (cpu->loaded_mm == mm) {
        arch_load_page_table(0);
        cpu->loaded_mm = NULL;
        atomic_fetch_and_explicit(&mm->cpu_mask, ~(UINT64_C(1) << cpu->index),
                                  memory_order_seq_cst);
        count_put(mm); /* not the last: the caller's users hold one */
    }
    irq_restore(flags);
}

/* Nobody runs in it any more: no lock is needed but for those that objects share. */
static void mm_clear(struct mm *mm)
{
    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        /* Frames of an image need nothing: their PTEs go with the tables. */
        if (!v->mapping || (v->flags & VMA_HAS_PAGES)) {
            mm_zap(mm, v->start, v->end);
        }
    }
    vma_destroy_all(mm);
}

void mm_put(struct mm *mm)
{
    if (!ref_put(&mm->users)) {
        return;
    }
    unload(mm);
    mm_clear(mm);
    if (mm->exe) {
        file_put(mm->exe);
        mm->exe = NULL;
    }
    count_put(mm);
}

/* --- removal ---------------------------------------------------------------------------------- */

static void batch_put(struct mm *mm, struct pt_batch *batch)
{
    page_put_all(batch->slots, batch->count);
    atomic_fetch_sub_explicit(&mm->rss_pages, batch->count, memory_order_relaxed); /* a count */
}

void mm_zap(struct mm *mm, uint64_t start, uint64_t end)
{
    struct pt_batch batch;

    while (start < end) {
        batch.count = 0;
        batch.unmapped = 0;
        spin_lock(&mm->page_table_lock);
        uint64_t next = pt_unmap_range(mm->page_table, start, end, &batch);

        spin_unlock(&mm->page_table_lock);
        if (batch.unmapped > 0) {
            tlb_flush_range(mm, start, next);
        }
        batch_put(mm, &batch); /* after the flush: no CPU can reach the frames */
        start = next;
    }
}

void mm_unmap_mapping(struct mapping *m, uint64_t first, uint64_t count)
{
    uint64_t last = count > UINT64_MAX - first ? UINT64_MAX : first + count; /* past the end */
    struct vma *v;

    spin_lock(&m->lock);
    /* A fault that found what is to go either sees this under its page_table_lock and gives up, or
     * had that lock before us, and what it mapped goes now. Ordered by that lock. */
    atomic_fetch_add_explicit(&m->unmappings, 1, memory_order_release);
    list_for_each_entry(v, &m->vmas, mapping_link) {
        uint64_t v_last = v->page_offset + (v->end - v->start) / PAGE_SIZE;
        uint64_t from = max_of(first, v->page_offset);
        uint64_t to = min_of(last, v_last);

        if (from < to) {
            /* Interrupts are on, so that waiting CPUs answer the flush under this spinlock. */
            mm_zap(v->mm, v->start + (from - v->page_offset) * PAGE_SIZE,
                   v->start + (to - v->page_offset) * PAGE_SIZE);
        }
    }
    spin_unlock(&m->lock);
}

void mm_unmap_locked(struct mm *mm, uint64_t start, uint64_t end, struct vma *spare)
{
    struct vma *v = vma_find(mm, start);

    if (v && v->start < start && v->end > end) { /* a hole in the middle */
        vma_split(mm, v, end, spare);
        spare = NULL;
    }
    while (v && v->start < end) {
        struct vma *next = vma_next(v);
        uint64_t from = max_of(start, v->start);
        uint64_t to = min_of(end, v->end);

        mm_zap(mm, from, to);
        if (v->start < from) {
            vma_resize(v, v->start, from);
        } else if (v->end > to) {
            vma_resize(v, to, v->end);
        } else {
            vma_remove(mm, v);
            vma_destroy(v);
        }
        v = next;
    }
    if (spare) {
        vma_destroy(spare);
    }
}

int mm_unmap(struct mm *mm, uint64_t addr, uint64_t size)
{
    if (!is_aligned(addr, PAGE_SIZE) || size == 0 || !range_fits(addr, size, USER_MAX)) {
        return -EINVAL;
    }
    struct vma *spare = vma_alloc();

    if (!spare) {
        return -ENOMEM;
    }
    rwsem_write_lock(&mm->mmap_lock);
    mm_unmap_locked(mm, addr, align_up(addr + size, PAGE_SIZE), spare);
    rwsem_write_unlock(&mm->mmap_lock);
    return 0;
}

/* --- new mappings ----------------------------------------------------------------------------- */

int mm_may_grow(const struct mm *mm, uint64_t pages, uint32_t vma_flags)
{
    struct page_stats stats;
    uint64_t limit = limit_of(RLIMIT_AS);

    if (pages > (USER_MAX / PAGE_SIZE) - min_of(mm->total_pages, USER_MAX / PAGE_SIZE)) {
        return -ENOMEM;
    }
    if (limit != RLIM_INFINITY && (mm->total_pages + pages) > limit / PAGE_SIZE) {
        return -ENOMEM;
    }
    if ((vma_flags & (VMA_WRITE | VMA_SHARED | VMA_NORESERVE)) == VMA_WRITE && pages > 4096) {
        /* Obvious overcommit of one request, as Linux's heuristic mode refuses it. */
        page_stats(&stats);
        if (pages > stats.total) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* Where the mapping goes. */
static int64_t place(struct mm *mm, const struct mm_map *r, uint64_t size)
{
    if (!(r->how & (MM_MAP_FIXED | MM_MAP_NOREPLACE))) {
        return vma_gap(mm, r->addr, size);
    }
    if (!is_aligned(r->addr, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (!range_fits(r->addr, size, USER_MAX)) {
        return -ENOMEM;
    }
    if (r->addr < USER_MIN) {
        return -EPERM;
    }
    if ((r->how & MM_MAP_NOREPLACE) && vma_overlaps(mm, r->addr, r->addr + size)) {
        return -EEXIST;
    }
    return (int64_t)r->addr;
}

/* A neighbour that private anonymous memory can simply extend: the usual case of heaps. */
static bool extend_neighbour(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags)
{
    struct vma *above = vma_find(mm, start);
    struct vma *below = above ? vma_prev(above) : NULL;
    const uint32_t ignored = VMA_HISTORY;

    if (above && above->start == end && !above->mapping && !above->file &&
        ((above->flags ^ flags) & ~ignored) == 0) {
        vma_resize(above, start, above->end);
        vma_merge(mm, above);
        return true;
    }
    if (below && below->end == start && !below->mapping && !below->file &&
        ((below->flags ^ flags) & ~ignored) == 0) {
        vma_resize(below, below->start, end);
        return true;
    }
    return false;
}

static int64_t map_locked(struct mm *mm, const struct mm_map *r, uint64_t size, struct vma *v,
                          struct vma *spare, struct mapping *mapping)
{
    uint32_t flags = r->vma_flags | mm->locked_flags;
    int64_t at = place(mm, r, size);
    int err = at < 0 ? (int)at : mm_may_grow(mm, size / PAGE_SIZE, flags);

    if (err < 0) {
        vma_destroy(v);
        vma_destroy(spare);
        return err;
    }
    uint64_t start = (uint64_t)at;

    /* Commit point: nothing below fails. */
    if (r->how & MM_MAP_FIXED) {
        mm_unmap_locked(mm, start, start + size, spare);
    } else {
        vma_destroy(spare);
    }
    if (!mapping && !(flags & (VMA_GROWSDOWN | VMA_STACK | VMA_VDSO)) &&
        extend_neighbour(mm, start, start + size, flags)) {
        vma_destroy(v);
        return at;
    }
    v->start = start;
    v->end = start + size;
    v->flags = flags;
    v->mm = mm;
    vma_attach(v, r->file, mapping, r->offset / PAGE_SIZE);
    vma_insert(mm, v);
    if (mapping) {
        vma_merge(mm, v);
    }
    return at;
}

int64_t mm_map(struct mm *mm, const struct mm_map *r)
{
    uint64_t size;

    if (r->size == 0 || !is_aligned(r->offset, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (!checked_add(r->size, PAGE_SIZE - 1, &size) || size > USER_MAX) {
        return -ENOMEM;
    }
    size = align_down(size, PAGE_SIZE);
    struct mapping *mapping = r->mapping;
    bool is_own = !r->file && (r->vma_flags & VMA_SHARED);
    struct vma *v = vma_alloc();
    struct vma *spare = vma_alloc();

    if (is_own) {
        mapping = mapping_create_anon();
    }
    if (!v || !spare || (is_own && !mapping)) {
        if (v) {
            vma_destroy(v);
        }
        if (spare) {
            vma_destroy(spare);
        }
        if (is_own && mapping) {
            mapping_destroy(mapping);
        }
        return -ENOMEM;
    }
    rwsem_write_lock(&mm->mmap_lock);
    int64_t at = map_locked(mm, r, size, v, spare, mapping);

    rwsem_write_unlock(&mm->mmap_lock);
    if (at < 0) {
        if (is_own) {
            mapping_destroy(mapping);
        }
        return at;
    }
    if (((r->how & MM_MAP_POPULATE) || ((r->vma_flags | mm->locked_flags) & VMA_LOCKED)) &&
        (r->vma_flags & VMA_ACCESS)) {
        /* Best effort, as Linux: a later touch reports what is wrong. */
        (void)!mm_populate(mm, (uint64_t)at, size, (r->vma_flags & VMA_WRITE) != 0);
    }
    return at;
}

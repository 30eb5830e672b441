/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of VMAs: a red-black tree by address. Nothing here touches page tables.
 *
 * A VMA that maps an object is also in that object's list, where truncation finds it without
 * mmap_lock; so bounds of such a VMA change under the mapping's lock as well.
 */
#include <mm/vma.h>

#include <fs/vfs.h>
#include <mm/slab.h>

static struct slab_cache vma_cache = SLAB_CACHE("vma", struct vma);

struct vma *vma_alloc(void)
{
    struct vma *v = slab_alloc(&vma_cache, GFP_KERNEL | GFP_ZERO);

    if (v) {
        list_init(&v->mapping_link);
    }
    return v;
}

void vma_attach(struct vma *v, struct file *file, struct mapping *mapping, uint64_t page_offset)
{
    assert(!v->file && !v->mapping);
    v->file = file ? file_get(file) : NULL;
    v->mapping = mapping;
    v->page_offset = page_offset;
    if (mapping) {
        spin_lock(&mapping->lock);
        list_push_back(&mapping->vmas, &v->mapping_link);
        spin_unlock(&mapping->lock);
    }
}

void vma_destroy(struct vma *v)
{
    struct mapping *m = v->mapping;

    if (m) {
        spin_lock(&m->lock);
        list_remove(&v->mapping_link);
        /* Shared anonymous memory is owned by the VMAs that map it: all forks of one. */
        bool is_last = !v->file && (v->flags & VMA_SHARED) && list_is_empty(&m->vmas);

        spin_unlock(&m->lock);
        if (is_last) {
            mapping_destroy(m);
        }
    }
    if (v->file) {
        file_put(v->file);
    }
    slab_free(&vma_cache, v);
}

/* --- the tree --------------------------------------------------------------------------------- */

static struct vma *vma_of(struct rb_node *n)
{
    return n ? rb_entry(n, struct vma, node) : NULL;
}

struct vma *vma_first(struct mm *mm)
{
    return vma_of(rb_first(&mm->vmas));
}

struct vma *vma_next(struct vma *v)
{
    return vma_of(rb_next(&v->node));
}

struct vma *vma_prev(struct vma *v)
{
    return vma_of(rb_prev(&v->node));
}

struct vma *vma_find(struct mm *mm, uint64_t addr)
{
    struct vma *v = mm->vma_cache;
    struct rb_node *n = mm->vmas.node;
    struct vma *best = NULL;

    if (v && v->start <= addr && addr < v->end) {
        return v;
    }
    while (n) {
        v = rb_entry(n, struct vma, node);
        if (addr < v->end) {
            best = v;
            if (v->start <= addr) {
                mm->vma_cache = v; /* a hint; racing readers store equally good ones */
                break;
            }
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

void vma_insert(struct mm *mm, struct vma *v)
{
    struct rb_node **link = &mm->vmas.node;
    struct rb_node *parent = NULL;

    assert(v->start < v->end && v->end <= USER_MAX && is_aligned(v->start | v->end, PAGE_SIZE));
    while (*link) {
        const struct vma *other = rb_entry(*link, struct vma, node);

        parent = *link;
        assert(v->end <= other->start || v->start >= other->end);
        link = v->start < other->start ? &parent->left : &parent->right;
    }
    rb_link(&v->node, parent, link);
    rb_insert_fixup(&mm->vmas, &v->node);
    v->mm = mm;
    mm->vma_count++;
    mm->total_pages += (v->end - v->start) / PAGE_SIZE;
    if (v->flags & VMA_LOCKED) {
        mm->locked_pages += (v->end - v->start) / PAGE_SIZE;
    }
}

struct vma *vma_append(struct mm *mm, struct vma *v, struct vma *last)
{
    assert(!last || (v->start >= last->end && !last->node.right));
    rb_link(&v->node, last ? &last->node : NULL, last ? &last->node.right : &mm->vmas.node);
    rb_insert_fixup(&mm->vmas, &v->node);
    v->mm = mm;
    mm->vma_count++;
    mm->total_pages += (v->end - v->start) / PAGE_SIZE;
    return v;
}

void vma_destroy_all(struct mm *mm)
{
    struct rb_node *n = mm->vmas.node;

    while (n) { /* down to a leaf, take it off, go on at its parent */
        if (n->left) {
            n = n->left;
            continue;
        }
        if (n->right) {
            n = n->right;
            continue;
        }
        struct rb_node *parent = n->parent;

        if (parent && parent->left == n) {
            parent->left = NULL;
        } else if (parent) {
            parent->right = NULL;
        }
        vma_destroy(rb_entry(n, struct vma, node));
        n = parent;
    }
    mm->vmas.node = NULL;
    mm->vma_cache = NULL;
    mm->vma_count = 0;
    mm->total_pages = 0;
    mm->locked_pages = 0;
}

/* The gap search must look again from the end of a gap that grew. */
static void gap_grew(struct mm *mm, uint64_t end)
{
    if (end > mm->search_top) {
        mm->search_top = mm->mmap_top;
        mm->search_hole = 0;
    }
}

static void count_pages(struct vma *v, int64_t pages)
{
    v->mm->total_pages += (uint64_t)pages;
    if (v->flags & VMA_LOCKED) {
        v->mm->locked_pages += (uint64_t)pages;
    }
}

void vma_remove(struct mm *mm, struct vma *v)
{
    assert(v->mm == mm && mm->vma_count > 0);
    rb_remove(&mm->vmas, &v->node);
    mm->vma_count--;
    count_pages(v, -(int64_t)((v->end - v->start) / PAGE_SIZE));
    if (mm->vma_cache == v) {
        mm->vma_cache = NULL;
    }
    gap_grew(mm, v->end);
}

void vma_resize(struct vma *v, uint64_t start, uint64_t end)
{
    struct mapping *m = v->mapping;

    assert(start < end && is_aligned(start | end, PAGE_SIZE));
    count_pages(v,
                (int64_t)((end - start) / PAGE_SIZE) - (int64_t)((v->end - v->start) / PAGE_SIZE));
    if (start > v->start || end < v->end) {
        gap_grew(v->mm, v->end);
    }
    if (m) {
        spin_lock(&m->lock);
    }
    v->page_offset += (uint64_t)((int64_t)(start - v->start) / (int64_t)PAGE_SIZE);
    v->start = start;
    v->end = end;
    if (m) {
        spin_unlock(&m->lock);
    }
}

void vma_split(struct mm *mm, struct vma *v, uint64_t addr, struct vma *upper)
{
    uint64_t end = v->end;

    assert(v->start < addr && addr < end && is_aligned(addr, PAGE_SIZE));
    upper->start = addr;
    upper->end = end;
    upper->flags = v->flags;
    upper->mm = mm;
    /* Linked to the mapping before the lower part shrinks: no page is without a VMA in the list. */
    vma_attach(upper, v->file, v->mapping, v->page_offset + (addr - v->start) / PAGE_SIZE);
    uint64_t search_top = mm->search_top;
    uint64_t search_hole = mm->search_hole;

    vma_resize(v, v->start, addr);
    vma_insert(mm, upper);
    mm->search_top = search_top; /* no gap came to be */
    mm->search_hole = search_hole;
}

/* Would `low` and `high`, which touch, be one VMA? */
static bool can_join(const struct vma *low, const struct vma *high)
{
    const uint32_t apart = VMA_GROWSDOWN | VMA_STACK | VMA_VDSO;

    if (low->end != high->start || ((low->flags ^ high->flags) & ~VMA_HISTORY) ||
        (low->flags & apart) || low->file != high->file || low->mapping != high->mapping) {
        return false;
    }
    return !low->mapping ||
           low->page_offset + (low->end - low->start) / PAGE_SIZE == high->page_offset;
}

/* `high` goes, `low` takes its range. */
static struct vma *join(struct mm *mm, struct vma *low, struct vma *high)
{
    uint64_t end = high->end;
    uint64_t search_top = mm->search_top;
    uint64_t search_hole = mm->search_hole;

    low->flags |= high->flags & VMA_HISTORY;
    vma_remove(mm, high);
    vma_resize(low, low->start, end);
    vma_destroy(high);
    mm->search_top = search_top;
    mm->search_hole = search_hole;
    return low;
}

struct vma *vma_merge(struct mm *mm, struct vma *v)
{
    struct vma *low = vma_prev(v);
    struct vma *high = vma_next(v);

    if (high && can_join(v, high)) {
        v = join(mm, v, high);
    }
    if (low && can_join(low, v)) {
        v = join(mm, low, v);
    }
    return v;
}

bool vma_overlaps(struct mm *mm, uint64_t start, uint64_t end)
{
    const struct vma *v = vma_find(mm, start);

    return v && v->start < end;
}

int vma_alloc_pair(struct vma *spare[2])
{
    spare[0] = vma_alloc();
    spare[1] = vma_alloc();
    if (spare[0] && spare[1]) {
        return 0;
    }
    if (spare[0]) {
        vma_destroy(spare[0]);
    }
    if (spare[1]) {
        vma_destroy(spare[1]);
    }
    return -ENOMEM;
}

struct vma *vma_isolate(struct mm *mm, uint64_t start, uint64_t end, struct vma *spare[2])
{
    struct vma *v = vma_find(mm, start);

    if (v && v->start < start) {
        vma_split(mm, v, start, spare[0]);
        v = spare[0];
        spare[0] = NULL;
    }
    struct vma *first = v && v->start < end ? v : NULL;
    struct vma *last = vma_find(mm, end);

    if (last && last->start < end && last->end > end) {
        vma_split(mm, last, end, spare[1]);
        spare[1] = NULL;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (spare[i]) {
            vma_destroy(spare[i]);
        }
    }
    return first;
}

bool vma_covers(struct mm *mm, uint64_t start, uint64_t end)
{
    for (struct vma *v = vma_find(mm, start); v && v->start <= start; v = vma_next(v)) {
        if (v->end >= end) {
            return true;
        }
        start = v->end;
    }
    return false;
}

void vma_merge_range(struct mm *mm, uint64_t start, uint64_t end)
{
    struct vma *v = vma_find(mm, start);

    while (v && v->start <= end) {
        v = vma_next(vma_merge(mm, v));
    }
}

/* --- gaps ------------------------------------------------------------------------------------- */

/* Where the room below v ends: a stack keeps its guard gap free. */
static uint64_t room_end(const struct vma *v)
{
    if (!(v->flags & VMA_GROWSDOWN)) {
        return v->start;
    }
    return v->start > STACK_GUARD_GAP ? v->start - STACK_GUARD_GAP : 0;
}

static bool is_gap(struct mm *mm, uint64_t start, uint64_t size)
{
    if (start < USER_MIN || !range_fits(start, size, USER_MAX)) {
        return false;
    }
    const struct vma *v = vma_find(mm, start);

    return !v || start + size <= room_end(v);
}

/* The topmost gap of `size` that ends at or below `top`; 0: none. *hole: the largest one passed. */
static uint64_t gap_below(struct mm *mm, uint64_t top, uint64_t size, uint64_t *hole)
{
    struct vma *above = vma_find(mm, top);
    struct vma *v = above ? vma_prev(above) : vma_of(rb_last(&mm->vmas));
    uint64_t end = above ? min_of(top, room_end(above)) : top;

    for (;;) {
        uint64_t floor = v ? v->end : USER_MIN;

        if (end >= floor && end - floor >= size && end - size >= USER_MIN) {
            return end - size;
        }
        if (end > floor) {
            *hole = max_of(*hole, end - floor);
        }
        if (!v) {
            return 0;
        }
        end = min_of(top, room_end(v));
        v = vma_prev(v);
    }
}

int64_t vma_gap(struct mm *mm, uint64_t hint, uint64_t size)
{
    uint64_t hole = 0;

    if (hint != 0 && is_gap(mm, hint, size)) {
        return (int64_t)hint;
    }
    /* Between search_top and mmap_top no gap is larger than search_hole: no need to look there. */
    if (size <= mm->search_hole) {
        mm->search_top = mm->mmap_top;
        mm->search_hole = 0;
    }
    uint64_t at = gap_below(mm, mm->search_top, size, &hole);

    if (at != 0) {
        mm->search_hole = max_of(mm->search_hole, hole);
        mm->search_top = at;
        return (int64_t)at;
    }
    at = gap_below(mm, USER_MAX, size, &hole); /* above mmap_top, as a last resort */
    return at != 0 ? (int64_t)at : -ENOMEM;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy of an address space. Private pages become shared, read-only in both, until one writes.
 *
 * PTEs are copied only where they hold something that a fault could not find again: private pages
 * and shared anonymous memory. Clean file pages are left to the child's faults, which map them by
 * the hundred (see fault.c); a child that calls exec needs few of them.
 */
#include <arch/ops.h>
#include <core/string.h>
#include <fs/vfs.h>
#include <mm/mapping.h>
#include <mm/slab.h>
#include <mm/vma.h>

static void copy_layout(struct mm *to, const struct mm *from)
{
    to->start_code = from->start_code;
    to->end_code = from->end_code;
    to->start_data = from->start_data;
    to->end_data = from->end_data;
    to->start_brk = from->start_brk;
    to->brk = from->brk;
    to->start_stack = from->start_stack;
    to->arg_start = from->arg_start;
    to->arg_end = from->arg_end;
    to->env_start = from->env_start;
    to->env_end = from->env_end;
    to->mmap_top = from->mmap_top;
    to->search_top = from->search_top;
    to->search_hole = from->search_hole;
    to->vdso = from->vdso;
    to->exe = from->exe ? file_get(from->exe) : NULL;
    memcpy(to->auxv, from->auxv, sizeof(to->auxv));
}

/* Frames of RAM that the child's copy of a VMA maps. */
static bool count_frame(void *ctx, uint64_t va, struct pte *p)
{
    uint64_t *count = ctx;

    (void)va;
    *count += !(p->flags & PTE_DIRECT);
    return false;
}

static bool has_pages_to_copy(const struct vma *v)
{
    return !v->mapping || !v->file || (v->flags & VMA_HAS_ANON);
}

static int copy_vma(struct mm *from, struct mm *to, const struct vma *v, struct vma **last)
{
    struct vma *copy;

    if (v->flags & VMA_DONTFORK) {
        return 0;
    }
    copy = vma_alloc();
    if (!copy) {
        return -ENOMEM;
    }
    copy->start = v->start;
    copy->end = v->end;
    copy->flags = v->flags & ~(uint32_t)VMA_LOCKED; /* locks are not inherited */
    vma_attach(copy, v->file, v->mapping, v->page_offset);
    *last = vma_append(to, copy, *last);
    if (!has_pages_to_copy(v)) {
        copy->flags &= ~(uint32_t)VMA_HAS_PAGES; /* its own faults find them */
    }
    if ((v->flags & VMA_WIPEONFORK) || !has_pages_to_copy(v)) {
        return 0;
    }
    bool is_shared = (v->flags & VMA_SHARED) != 0;

    spin_lock(&from->page_table_lock);
    int err = pt_fork_range(from->page_table, to->page_table, v->start, v->end, is_shared);

    spin_unlock(&from->page_table_lock);
    if (v->file && !is_shared) { /* the parent's clean file pages may be among them */
        copy->flags |= VMA_HAS_ANON | VMA_HAS_PAGES;
    }
    return err;
}

/* What the child maps: counted where it differs from the parent's count. */
static uint64_t count_rss(struct mm *mm)
{
    uint64_t count = 0;

    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        if (has_pages_to_copy(v)) {
            pt_visit(mm->page_table, v->start, v->end, count_frame, &count);
        }
    }
    return count;
}

int mm_fork(struct mm *parent, struct mm **child)
{
    struct mm *mm = mm_create();
    struct vma *last = NULL;
    bool is_plain = true; /* the child maps all frames that the parent does */
    int err = 0;

    if (!mm) {
        return -ENOMEM;
    }
    rwsem_write_lock(&parent->mmap_lock);
    copy_layout(mm, parent);
    for (struct vma *v = vma_first(parent); v && err == 0; v = vma_next(v)) {
        err = copy_vma(parent, mm, v, &last);
        is_plain = is_plain && !(v->flags & (VMA_DONTFORK | VMA_WIPEONFORK)) &&
                   (has_pages_to_copy(v) || v->mapping->ops->direct_run);
    }
    mm->search_top = parent->search_top; /* insertions do not move it, but say so */
    uint64_t rss = is_plain && err == 0 ? parent->rss_pages : count_rss(mm);

    atomic_store_explicit(&mm->rss_pages, rss, memory_order_relaxed); /* nobody else sees it yet */
    mm->hwm_pages = rss;
    /* The parent's writable translations of pages that are shared now must go. */
    tlb_flush_mm(parent);
    rwsem_write_unlock(&parent->mmap_lock);
    if (err < 0) {
        mm_put(mm);
        return err;
    }
    *child = mm;
    return 0;
}

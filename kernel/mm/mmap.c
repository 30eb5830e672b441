/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that make, remove and size mappings: mmap, munmap, mremap, brk. */
#include <arch/ops.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/mapping.h>
#include <mm/vma.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/syscall.h>

#define PROT_MASK 0x7u

#define MAP_SHARED          0x01u
#define MAP_PRIVATE         0x02u
#define MAP_SHARED_VALIDATE 0x03u
#define MAP_TYPE            0x0fu
#define MAP_FIXED           0x10u
#define MAP_ANONYMOUS       0x20u
#define MAP_GROWSDOWN       0x0100u
#define MAP_LOCKED          0x2000u
#define MAP_NORESERVE       0x4000u
#define MAP_POPULATE        0x8000u
#define MAP_STACK           0x20000u
#define MAP_HUGETLB         0x40000u
#define MAP_FIXED_NOREPLACE 0x100000u

#define MREMAP_MAYMOVE   1u
#define MREMAP_FIXED     2u
#define MREMAP_DONTUNMAP 4u

#define MS_NOEXEC_FLAG 8u /* super_block flags are mount(2)'s */

/* --- mmap ------------------------------------------------------------------------------------- */

/* May this description be mapped so? Adds what mprotect may do later to *vma_flags. */
static int check_file(const struct file *f, unsigned flags, uint32_t *vma_flags)
{
    bool is_shared = (flags & MAP_TYPE) != MAP_PRIVATE;

    if ((f->mode & FMODE_PATH) != 0) {
        return -EBADF;
    }
    if (!(f->mode & FMODE_READ)) {
        return -EACCES;
    }
    if (is_shared && (*vma_flags & VMA_WRITE) && !(f->mode & FMODE_WRITE)) {
        return -EACCES;
    }
    if ((*vma_flags & VMA_EXEC) && f->inode && f->inode->sb &&
        (f->inode->sb->flags & MS_NOEXEC_FLAG)) {
        return -EPERM;
    }
    if (!is_shared || (f->mode & FMODE_WRITE)) {
        *vma_flags |= VMA_MAYWRITE;
    }
    return 0;
}

static int vma_flags_of(uint64_t prot, uint64_t flags, uint32_t *out)
{
    unsigned type = flags & MAP_TYPE;

    if (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_SHARED_VALIDATE) {
        return -EINVAL;
    }
    if (flags & MAP_HUGETLB) {
        return -ENOMEM; /* as Linux without reserved huge pages */
    }
    *out = (uint32_t)prot & PROT_MASK;
    *out |= type == MAP_PRIVATE ? 0u : (uint32_t)VMA_SHARED;
    *out |= flags & MAP_GROWSDOWN ? (uint32_t)VMA_GROWSDOWN : 0u;
    *out |= flags & MAP_NORESERVE ? (uint32_t)VMA_NORESERVE : 0u;
    *out |= flags & MAP_LOCKED ? (uint32_t)VMA_LOCKED : 0u;
    return 0;
}

int mm_file_mapping(struct file *f, uint32_t vma_flags, struct mapping **mapping)
{
    if (f->ops->mmap) {
        return f->ops->mmap(f, vma_flags, mapping);
    }
    if (!f->inode || (f->inode->mode & 0170000u) != 0100000u || !f->inode->mapping.ops) {
        return -ENODEV;
    }
    *mapping = &f->inode->mapping;
    return 0;
}

static long map_file(struct mm_map *r, int fd, unsigned flags)
{
    struct file *f = fd_get(fd);

    if (!f) {
        return -EBADF;
    }
    long result = check_file(f, flags, &r->vma_flags);

    if (result == 0) {
        result = mm_file_mapping(f, r->vma_flags, &r->mapping);
    }
    if (result == 0) {
        /* A device may map nothing of its own (/dev/zero): then it is anonymous memory. */
        r->file = r->mapping ? f : NULL;
        r->offset = r->mapping ? r->offset : 0;
        result = mm_map(current->mm, r);
    }
    file_put(f);
    return result;
}

long sys_mmap(unsigned long addr, unsigned long length, unsigned long prot, unsigned long flags,
              int fd, unsigned long offset)
{
    struct mm_map r = { .addr = addr, .size = length, .offset = offset };
    long err = vma_flags_of(prot, flags, &r.vma_flags);

    if (err < 0 || length == 0 || !is_aligned(offset, PAGE_SIZE)) {
        return err < 0 ? err : -EINVAL;
    }
    if (flags & MAP_FIXED_NOREPLACE) {
        r.how |= MM_MAP_NOREPLACE;
    } else if (flags & MAP_FIXED) {
        r.how |= MM_MAP_FIXED;
    } else {
        r.addr = align_down(addr, PAGE_SIZE); /* a hint */
    }
    r.how |= flags & MAP_POPULATE ? (unsigned)MM_MAP_POPULATE : 0u;
    if (flags & MAP_ANONYMOUS) {
        r.vma_flags |= VMA_MAYWRITE;
        r.offset = 0;
        return mm_map(current->mm, &r);
    }
    return map_file(&r, fd, (unsigned)flags);
}

long sys_munmap(unsigned long addr, unsigned long length)
{
    return mm_unmap(current->mm, addr, length);
}

/* --- brk -------------------------------------------------------------------------------------- */

static bool heap_grow(struct mm *mm, uint64_t from, uint64_t to, struct vma *fresh)
{
    const uint32_t flags = VMA_READ | VMA_WRITE | VMA_MAYWRITE | VMA_HEAP | mm->locked_flags;
    struct vma *below = vma_find(mm, from - 1);
    const struct vma *above = vma_find(mm, from);
    uint64_t gap = above && (above->flags & VMA_GROWSDOWN) ? STACK_GUARD_GAP : PAGE_SIZE;

    if (to > USER_MAX - PAGE_SIZE || (above && to + gap > above->start) ||
        mm_may_grow(mm, (to - from) / PAGE_SIZE, flags) < 0) {
        vma_destroy(fresh);
        return false;
    }
    if (below && below->end == from && (below->flags & VMA_HEAP) && !below->mapping &&
        ((below->flags ^ flags) & ~VMA_HISTORY) == 0) {
        vma_resize(below, below->start, to);
        vma_destroy(fresh);
        return true;
    }
    fresh->start = from;
    fresh->end = to;
    fresh->flags = flags;
    vma_insert(mm, fresh);
    return true;
}

long sys_brk(unsigned long wanted)
{
    struct mm *mm = current->mm;
    uint64_t limit = limit_of(RLIMIT_DATA);
    struct vma *spare = NULL;

    rwsem_write_lock(&mm->mmap_lock);
    uint64_t old_end = align_up(mm->brk, PAGE_SIZE);

    if (wanted < mm->start_brk || wanted > USER_MAX || wanted == mm->brk ||
        (limit != RLIM_INFINITY &&
         wanted - mm->start_brk + (mm->end_data - mm->start_data) > limit)) {
        goto out; /* the query, and every refusal: the break as it is */
    }
    uint64_t end = align_up(wanted, PAGE_SIZE);

    if (end != old_end) {
        spare = vma_alloc();
        if (!spare) {
            goto out;
        }
    }
    if (end < old_end) {
        mm_unmap_locked(mm, end, old_end, spare);
    } else if (end > old_end && !heap_grow(mm, old_end, end, spare)) {
        goto out;
    }
    mm->brk = wanted;
out:
    rwsem_write_unlock(&mm->mmap_lock);
    return (long)mm->brk;
}

/* --- mremap ----------------------------------------------------------------------------------- */

struct pte_move {
    struct mm *mm;
    uint64_t distance; /* modulo 2^64 */
    uint64_t moved;
    bool is_failed;
};

/* The frame gets a second PTE with references of its own; the first goes with the old range. */
static bool move_pte(void *ctx, uint64_t va, struct pte *pte)
{
    struct pte_move *move = ctx;
    struct page *p = pte->flags & PTE_DIRECT ? NULL : phys_to_page(pte->pa);

    if (move->is_failed) {
        return false;
    }
    if (pt_map_run(move->mm->page_table, va + move->distance, pte->pa, 1, pte->flags, false) < 0) {
        move->is_failed = true;
        return false;
    }
    if (p) {
        page_get(p);
        atomic_fetch_add_explicit(&p->mapcount, 1, memory_order_relaxed);
        move->moved++;
    }
    return false;
}

static int move_pages(struct mm *mm, uint64_t from, uint64_t to, uint64_t size)
{
    struct pte_move move = { .mm = mm, .distance = to - from };

    spin_lock(&mm->page_table_lock);
    pt_visit(mm->page_table, from, from + size, move_pte, &move);
    spin_unlock(&mm->page_table_lock);
    atomic_fetch_add_explicit(&mm->rss_pages, move.moved, memory_order_relaxed); /* a count */
    mm_zap(mm, move.is_failed ? to : from, (move.is_failed ? to : from) + size);
    return move.is_failed ? -ENOMEM : 0;
}

struct remap {
    uint64_t old, old_size, new, new_size;
    unsigned flags;
};

/* A copy of v for [to, to + new_size), with the pages of the old range. */
static int64_t move_vma(struct mm *mm, const struct remap *r, struct vma *v, uint64_t to,
                        struct vma *copy, struct vma *spare)
{
    uint64_t offset = v->page_offset + (r->old - v->start) / PAGE_SIZE;

    copy->start = to;
    copy->end = to + r->new_size;
    copy->flags = v->flags;
    vma_attach(copy, v->file, v->mapping, offset);
    vma_insert(mm, copy);
    int err = move_pages(mm, r->old, to, min_of(r->old_size, r->new_size));

    if (err < 0) {
        vma_remove(mm, copy);
        vma_destroy(copy);
        vma_destroy(spare);
        return err;
    }
    if (r->flags & MREMAP_DONTUNMAP) {
        vma_destroy(spare);
    } else {
        mm_unmap_locked(mm, r->old, r->old + r->old_size, spare);
    }
    vma_merge(mm, copy);
    return (int64_t)to;
}

static int64_t remap_checked(struct mm *mm, const struct remap *r, struct vma *v,
                             struct vma *spare[3], bool *is_spent)
{
    uint64_t grow = r->new_size > r->old_size ? r->new_size - r->old_size : 0;
    bool must_move = (r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0;
    int64_t to;

    if (!must_move && grow == 0) {
        if (r->new_size < r->old_size) {
            mm_unmap_locked(mm, r->old + r->new_size, r->old + r->old_size, spare[0]);
            spare[0] = NULL;
        }
        return (int64_t)r->old;
    }
    int err = mm_may_grow(mm, (must_move ? r->new_size : grow) / PAGE_SIZE, v->flags);

    if (err < 0) {
        return err;
    }
    const struct vma *above = vma_next(v);
    uint64_t room = (above ? above->start : USER_MAX) - v->end;

    if (!must_move && r->old + r->old_size == v->end && room >= grow) {
        vma_resize(v, v->start, v->end + grow);
        vma_merge(mm, v);
        return (int64_t)r->old;
    }
    if (!(r->flags & MREMAP_MAYMOVE)) {
        return -ENOMEM;
    }
    if (r->flags & MREMAP_FIXED) {
        mm_unmap_locked(mm, r->new, r->new + r->new_size, spare[0]);
        spare[0] = NULL;
        to = (int64_t)r->new;
        v = vma_find(mm, r->old); /* unmapping may have cut it, never at the old range */
    } else {
        to = vma_gap(mm, r->new, r->new_size);
        if (to < 0) {
            return to;
        }
    }
    *is_spent = true;
    return move_vma(mm, r, v, (uint64_t)to, spare[1], spare[2]);
}

static int check_remap(const struct remap *r)
{
    unsigned flags = r->flags;

    if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) {
        return -EINVAL;
    }
    if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE)) {
        return -EINVAL;
    }
    if (!is_aligned(r->old, PAGE_SIZE) || r->new_size == 0 || r->old_size == 0 ||
        ((flags & MREMAP_DONTUNMAP) && r->old_size != r->new_size)) {
        return -EINVAL;
    }
    if (!range_fits(r->old, r->old_size, USER_MAX)) {
        return -EFAULT;
    }
    if (r->new_size > USER_MAX) {
        return -ENOMEM;
    }
    if (flags & MREMAP_FIXED) {
        bool is_apart = range_fits(r->new, r->new_size, USER_MAX) &&
                        (r->new + r->new_size <= r->old || r->old + r->old_size <= r->new);

        if (!is_aligned(r->new, PAGE_SIZE) || !is_apart || r->new < USER_MIN) {
            return -EINVAL;
        }
    }
    return 0;
}

long sys_mremap(unsigned long old, unsigned long old_size, unsigned long new_size,
                unsigned long flags, unsigned long to)
{
    struct mm *mm = current->mm;
    struct remap r = { .old = old, .new = to, .flags = (unsigned)flags };
    bool is_spent = false;

    if (flags > UINT32_MAX || old_size > USER_MAX || new_size > USER_MAX) {
        return new_size > USER_MAX ? -ENOMEM : -EINVAL;
    }
    r.old_size = align_up(old_size, PAGE_SIZE);
    r.new_size = align_up(new_size, PAGE_SIZE);
    r.new = flags &MREMAP_FIXED ? to : 0;
    long err = check_remap(&r);

    if (err < 0) {
        return err;
    }
    struct vma *spare[3] = { vma_alloc(), vma_alloc(), vma_alloc() };
    int64_t result = -ENOMEM;

    rwsem_write_lock(&mm->mmap_lock);
    struct vma *v = vma_find(mm, r.old);

    if (!v || r.old < v->start || r.old_size > v->end - r.old) {
        result = -EFAULT; /* not mapped, or not by one mapping: told apart from "cannot grow" */
    } else if ((r.flags & MREMAP_DONTUNMAP) && (v->file || (v->flags & VMA_SHARED))) {
        result = -EINVAL;
    } else if (spare[0] && spare[1] && spare[2]) {
        result = remap_checked(mm, &r, v, spare, &is_spent);
    }
    rwsem_write_unlock(&mm->mmap_lock);
    for (unsigned i = 0; i < 3; i++) {
        if (spare[i] && !(is_spent && i > 0)) {
            vma_destroy(spare[i]);
        }
    }
    return result;
}

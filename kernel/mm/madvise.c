/* SPDX-License-Identifier: Apache-2.0 */
/* madvise, msync, mincore, membarrier: advice and questions about mappings. */
#include <arch/ops.h>
#include <fs/vfs.h>
#include <mm/mapping.h>
#include <mm/vma.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

enum madvise {
    MADV_NORMAL = 0,
    MADV_RANDOM = 1,
    MADV_SEQUENTIAL = 2,
    MADV_WILLNEED = 3,
    MADV_DONTNEED = 4,
    MADV_FREE = 8,
    MADV_REMOVE = 9,
    MADV_DONTFORK = 10,
    MADV_DOFORK = 11,
    MADV_MERGEABLE = 12,
    MADV_UNMERGEABLE = 13,
    MADV_HUGEPAGE = 14,
    MADV_NOHUGEPAGE = 15,
    MADV_DONTDUMP = 16,
    MADV_DODUMP = 17,
    MADV_WIPEONFORK = 18,
    MADV_KEEPONFORK = 19,
    MADV_COLD = 20,
    MADV_PAGEOUT = 21,
    MADV_POPULATE_READ = 22,
    MADV_POPULATE_WRITE = 23,
    MADV_DONTNEED_LOCKED = 24,
};

#define MS_ASYNC      1
#define MS_INVALIDATE 2
#define MS_SYNC       4

/* --- madvise ---------------------------------------------------------------------------------- */

/* Drop the PTEs of [start, end): the next touch finds zero or the file again. Holes: -ENOMEM at the
 * end, as Linux. */
static int drop_range(struct mm *mm, uint64_t start, uint64_t end, int advice)
{
    int err = 0;

    rwsem_read_lock(&mm->mmap_lock);
    for (struct vma *v = vma_find(mm, start); start < end; v = vma_next(v)) {
        if (!v || v->start >= end) {
            err = -ENOMEM;
            break;
        }
        if (v->start > start) {
            err = -ENOMEM;
        }
        if (((v->flags & VMA_LOCKED) && advice != MADV_DONTNEED_LOCKED) ||
            (advice == MADV_FREE && (v->mapping || v->file))) {
            err = -EINVAL;
            break;
        }
        mm_zap(mm, max_of(start, v->start), min_of(end, v->end));
        start = v->end;
    }
    rwsem_read_unlock(&mm->mmap_lock);
    return err;
}

/* Change flag bits of the VMAs in [start, end). */
static int flag_range(struct mm *mm, uint64_t start, uint64_t end, uint32_t set, uint32_t clear)
{
    struct vma *spare[2];
    int err = 0;

    if (vma_alloc_pair(spare) < 0) {
        return -ENOMEM;
    }
    rwsem_write_lock(&mm->mmap_lock);
    for (struct vma *v = vma_isolate(mm, start, end, spare); v && v->start < end; v = vma_next(v)) {
        if ((set & VMA_WIPEONFORK) && (v->mapping || (v->flags & VMA_SHARED))) {
            err = -EINVAL; /* private anonymous memory only */
            break;
        }
        v->flags = (v->flags | set) & ~clear;
    }
    vma_merge_range(mm, start, end);
    if (err == 0 && !vma_covers(mm, start, end)) {
        err = -ENOMEM;
    }
    rwsem_write_unlock(&mm->mmap_lock);
    return err;
}

/* Punch [start, end) out of shared memory that has no file behind it. */
static int remove_range(struct mm *mm, uint64_t start, uint64_t end)
{
    int err = 0;

    rwsem_read_lock(&mm->mmap_lock);
    for (struct vma *v = vma_find(mm, start); start < end && err == 0; v = vma_next(v)) {
        if (!v || v->start > start) {
            err = -ENOMEM;
        } else if (v->file || !v->mapping || (v->flags & VMA_LOCKED)) {
            err = -EINVAL;
        } else {
            uint64_t to = min_of(end, v->end);

            mapping_drop(v->mapping, v->page_offset + (start - v->start) / PAGE_SIZE,
                         (to - start) / PAGE_SIZE);
            start = to;
        }
    }
    rwsem_read_unlock(&mm->mmap_lock);
    return err;
}

static int covers(struct mm *mm, uint64_t start, uint64_t end)
{
    rwsem_read_lock(&mm->mmap_lock);
    bool is_covered = vma_covers(mm, start, end);

    rwsem_read_unlock(&mm->mmap_lock);
    return is_covered ? 0 : -ENOMEM;
}

static int advise(struct mm *mm, uint64_t start, uint64_t end, int advice)
{
    switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED: /* a file is read when it is touched; nothing is installed ahead */
    case MADV_HUGEPAGE: /* hints about page sizes and merging that we do not have */
    case MADV_NOHUGEPAGE:
    case MADV_UNMERGEABLE:
    case MADV_COLD: /* there is no swap to move pages to */
    case MADV_PAGEOUT:
        return covers(mm, start, end);
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE: /* "may be freed at any time": at once */
        return drop_range(mm, start, end, advice);
    case MADV_REMOVE:
        return remove_range(mm, start, end);
    case MADV_DONTFORK:
        return flag_range(mm, start, end, VMA_DONTFORK, 0);
    case MADV_DOFORK:
        return flag_range(mm, start, end, 0, VMA_DONTFORK);
    case MADV_DONTDUMP:
        return flag_range(mm, start, end, VMA_DONTDUMP, 0);
    case MADV_DODUMP:
        return flag_range(mm, start, end, 0, VMA_DONTDUMP);
    case MADV_WIPEONFORK:
        return flag_range(mm, start, end, VMA_WIPEONFORK, 0);
    case MADV_KEEPONFORK:
        return flag_range(mm, start, end, 0, VMA_WIPEONFORK);
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE: {
        int err = covers(mm, start, end);

        return err < 0 ? err : mm_populate(mm, start, end - start, advice == MADV_POPULATE_WRITE);
    }
    default:
        return -EINVAL; /* MADV_MERGEABLE too, as a Linux without KSM */
    }
}

long sys_madvise(unsigned long addr, unsigned long length, int advice)
{
    if (!is_aligned(addr, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (length > USER_MAX || !range_fits(addr, align_up(length, PAGE_SIZE), USER_MAX)) {
        return length > USER_MAX ? -EINVAL : -ENOMEM;
    }
    uint64_t end = addr + align_up(length, PAGE_SIZE);

    if (addr == end) { /* only the advice is looked at */
        return advice >= 0 && advice <= MADV_DONTNEED_LOCKED && advice != MADV_MERGEABLE &&
                       (advice <= MADV_DONTNEED || advice >= MADV_FREE)
                   ? 0
                   : -EINVAL;
    }
    return advise(current->mm, addr, end, advice);
}

/* --- msync ------------------------------------------------------------------------------------ */

long sys_msync(unsigned long addr, unsigned long length, int flags)
{
    struct mm *mm = current->mm;
    long result = 0;

    if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || !is_aligned(addr, PAGE_SIZE) ||
        ((flags & MS_ASYNC) && (flags & MS_SYNC))) {
        return -EINVAL;
    }
    if (length > USER_MAX || !range_fits(addr, align_up(length, PAGE_SIZE), USER_MAX)) {
        return -ENOMEM;
    }
    uint64_t at = addr;
    uint64_t end = addr + align_up(length, PAGE_SIZE);

    while (at < end) {
        struct file *f = NULL;

        rwsem_read_lock(&mm->mmap_lock);
        const struct vma *v = vma_find(mm, at);

        if (!v || v->start >= end || v->start > at) {
            result = -ENOMEM; /* at the end: what is mapped is synced nevertheless */
        }
        if ((flags & MS_INVALIDATE) && v && v->start < end && (v->flags & VMA_LOCKED)) {
            result = -EBUSY;
        }
        if (v && v->start < end && (flags & MS_SYNC) && (v->flags & VMA_SHARED) && v->file) {
            f = file_get(v->file);
        }
        at = v ? max_of(v->end, at) : end;
        rwsem_read_unlock(&mm->mmap_lock);
        if (f) {
            if (f->ops->fsync) {
                int err = f->ops->fsync(f, true);

                result = err < 0 ? err : result;
            }
            file_put(f);
        }
        if (result == -EBUSY) {
            break;
        }
    }
    return result;
}

/* --- mincore ---------------------------------------------------------------------------------- */

/* Is the page in memory? For files: in the cache, mapped here or not. mmap_lock held. */
static bool is_resident(struct mm *mm, const struct vma *v, uint64_t page)
{
    struct pte pte;
    struct frame frame;
    paddr_t first;
    uint64_t index = v->page_offset + (page - v->start) / PAGE_SIZE;

    spin_lock(&mm->page_table_lock);
    bool is_mapped = pt_lookup(mm->page_table, page, &pte);

    spin_unlock(&mm->page_table_lock);
    if (is_mapped || !v->mapping) {
        return is_mapped;
    }
    if (v->mapping->ops->direct_run && v->mapping->ops->direct_run(v->mapping, index, &first) > 0) {
        return true;
    }
    if (v->mapping->ops->get(v->mapping, index, MAPPING_RESIDENT, &frame) != 0) {
        return false;
    }
    if (frame.page) {
        page_put(frame.page);
    }
    return true;
}

long sys_mincore(unsigned long addr, unsigned long length, void __user *vec)
{
    struct mm *mm = current->mm;
    uint8_t answer[64];

    if (!is_aligned(addr, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (length > USER_MAX || !range_fits(addr, align_up(length, PAGE_SIZE), USER_MAX)) {
        return -ENOMEM;
    }
    uint64_t pages = align_up(length, PAGE_SIZE) / PAGE_SIZE;

    for (uint64_t done = 0; done < pages;) {
        uint64_t n = min_of(pages - done, (uint64_t)sizeof(answer));
        bool is_hole = false;

        rwsem_read_lock(&mm->mmap_lock);
        for (uint64_t i = 0; i < n && !is_hole; i++) {
            uint64_t page = addr + (done + i) * PAGE_SIZE;
            const struct vma *v = vma_find(mm, page);

            is_hole = !v || page < v->start;
            answer[i] = !is_hole && is_resident(mm, v, page);
        }
        rwsem_read_unlock(&mm->mmap_lock);
        if (is_hole) {
            return -ENOMEM;
        }
        if (copy_to_user((uint8_t __user *)vec + done, answer, n) < 0) {
            return -EFAULT;
        }
        done += n;
    }
    return 0;
}

/* --- membarrier ------------------------------------------------------------------------------- */

enum membarrier {
    MEMBARRIER_QUERY = 0,
    MEMBARRIER_GLOBAL = 1 << 0,
    MEMBARRIER_GLOBAL_EXPEDITED = 1 << 1,
    MEMBARRIER_REGISTER_GLOBAL_EXPEDITED = 1 << 2,
    MEMBARRIER_PRIVATE_EXPEDITED = 1 << 3,
    MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 1 << 4,
    MEMBARRIER_SYNC_CORE = 1 << 5,
    MEMBARRIER_REGISTER_SYNC_CORE = 1 << 6,
};

#define MEMBARRIER_ALL                                                                             \
    (MEMBARRIER_GLOBAL | MEMBARRIER_GLOBAL_EXPEDITED | MEMBARRIER_REGISTER_GLOBAL_EXPEDITED |      \
     MEMBARRIER_PRIVATE_EXPEDITED | MEMBARRIER_REGISTER_PRIVATE_EXPEDITED | MEMBARRIER_SYNC_CORE | \
     MEMBARRIER_REGISTER_SYNC_CORE)

/* The interrupt itself orders memory, and its return serialises the instruction stream. */
static void barrier_here(void *arg)
{
    (void)arg;
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the caller's own below */
}

static void barrier_on(uint64_t cpu_mask)
{
    atomic_thread_fence(memory_order_seq_cst); /* what the caller wrote is visible to the others */
    ipi_call(cpu_mask, barrier_here, NULL);
    atomic_thread_fence(memory_order_seq_cst); /* what they wrote is visible to the caller */
}

long sys_membarrier(int command, unsigned flags, int cpu)
{
    struct mm *mm = current->mm;

    (void)cpu; /* only means something with a flag that we refuse */
    if (flags != 0) {
        return -EINVAL;
    }
    switch (command) {
    case MEMBARRIER_QUERY:
        return MEMBARRIER_ALL;
    case MEMBARRIER_GLOBAL:
    case MEMBARRIER_GLOBAL_EXPEDITED:
        barrier_on(cpu_online_mask);
        return 0;
    case MEMBARRIER_REGISTER_GLOBAL_EXPEDITED:
        return 0; /* every process is reached */
    case MEMBARRIER_REGISTER_PRIVATE_EXPEDITED:
    case MEMBARRIER_REGISTER_SYNC_CORE:
        mm->barriers |= (uint32_t)command >> 1;
        return 0;
    case MEMBARRIER_PRIVATE_EXPEDITED:
    case MEMBARRIER_SYNC_CORE:
        if (!(mm->barriers & (uint32_t)command)) {
            return -EPERM; /* not registered */
        }
        barrier_on(atomic_load_explicit(&mm->cpu_mask, memory_order_seq_cst));
        return 0;
    default:
        return -EINVAL;
    }
}

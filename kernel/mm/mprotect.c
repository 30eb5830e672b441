/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that change mappings in place: mprotect, mlock and their kin. */
#include <arch/ops.h>
#include <fs/vfs.h>
#include <mm/vma.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/syscall.h>

#define PROT_MASK      0x7u
#define PROT_GROWSDOWN 0x01000000u
#define PROT_GROWSUP   0x02000000u

#define MCL_CURRENT   1
#define MCL_FUTURE    2
#define MCL_ONFAULT   4
#define MLOCK_ONFAULT 1u

#define CAP_IPC_LOCK   14u
#define MS_NOEXEC_FLAG 8u

/* A PTE gets the access that the VMA allows now, but write only where it had it: the fault on the
 * first write knows whether the frame must be copied. */
static bool narrow_pte(void *ctx, uint64_t va, struct pte *pte)
{
    uint32_t access = *(const uint32_t *)ctx;
    unsigned flags = (pte->flags & ~(unsigned)VMA_ACCESS) |
                     (access & ~(unsigned)(pte->flags & VMA_WRITE ? 0u : (unsigned)VMA_WRITE));

    (void)va;
    if (flags == pte->flags) {
        return false;
    }
    pte->flags = flags;
    return true;
}

static int check_protect(struct mm *mm, uint64_t start, uint64_t end, uint32_t prot)
{
    if (!vma_covers(mm, start, end)) {
        return -ENOMEM;
    }
    for (struct vma *v = vma_find(mm, start); v && v->start < end; v = vma_next(v)) {
        if ((prot & VMA_WRITE) && !(v->flags & VMA_MAYWRITE)) {
            return -EACCES;
        }
        if ((prot & VMA_EXEC) && v->file && v->file->inode && v->file->inode->sb &&
            (v->file->inode->sb->flags & MS_NOEXEC_FLAG)) {
            return -EACCES;
        }
    }
    return 0;
}

int mm_protect(struct mm *mm, uint64_t addr, uint64_t size, uint32_t prot)
{
    struct vma *spare[2];
    uint64_t end;

    if (!is_aligned(addr, PAGE_SIZE) || (prot & ~(uint32_t)VMA_ACCESS)) {
        return -EINVAL;
    }
    if (!checked_add(addr, align_up(size, PAGE_SIZE), &end) || size > USER_MAX || end > USER_MAX) {
        return -ENOMEM;
    }
    if (size == 0) {
        return 0;
    }
    if (vma_alloc_pair(spare) < 0) {
        return -ENOMEM;
    }
    rwsem_write_lock(&mm->mmap_lock);
    int err = check_protect(mm, addr, end, prot);

    if (err < 0) {
        vma_destroy(spare[0]);
        vma_destroy(spare[1]);
        goto unlock;
    }
    bool is_changed = false;

    for (struct vma *v = vma_isolate(mm, addr, end, spare); v && v->start < end; v = vma_next(v)) {
        if ((v->flags & VMA_ACCESS) != prot) {
            v->flags = (v->flags & ~(uint32_t)VMA_ACCESS) | prot;
            spin_lock(&mm->page_table_lock);
            pt_visit(mm->page_table, v->start, v->end, narrow_pte, &prot);
            spin_unlock(&mm->page_table_lock);
            is_changed = true;
        }
    }
    if (is_changed) {
        tlb_flush_range(mm, addr, end); /* every CPU has forgotten before the call returns */
    }
    vma_merge_range(mm, addr, end);
unlock:
    rwsem_write_unlock(&mm->mmap_lock);
    return err;
}

long sys_mprotect(unsigned long addr, unsigned long length, unsigned long prot)
{
    return mm_protect(current->mm, addr, length,
                      (uint32_t)(prot & ~(unsigned long)(PROT_GROWSDOWN | PROT_GROWSUP)));
}

/* --- locking: nothing is ever paged out here, so what counts is that pages are there -----------
 */

/* Set or clear VMA_LOCKED on [start, end). */
static int lock_range(struct mm *mm, uint64_t start, uint64_t end, bool lock)
{
    uint64_t limit = limit_of(RLIMIT_MEMLOCK);
    struct vma *spare[2];
    int err = 0;

    if (vma_alloc_pair(spare) < 0) {
        return -ENOMEM;
    }
    rwsem_write_lock(&mm->mmap_lock);
    if (!vma_covers(mm, start, end)) {
        err = -ENOMEM;
    } else if (lock && limit != RLIM_INFINITY && !cred_is_capable(current->cred, CAP_IPC_LOCK) &&
               mm->locked_pages + (end - start) / PAGE_SIZE > limit / PAGE_SIZE) {
        err = limit == 0 ? -EPERM : -ENOMEM;
    }
    if (err < 0) {
        vma_destroy(spare[0]);
        vma_destroy(spare[1]);
        goto unlock;
    }
    for (struct vma *v = vma_isolate(mm, start, end, spare); v && v->start < end; v = vma_next(v)) {
        uint64_t pages = (v->end - v->start) / PAGE_SIZE;

        if (lock && !(v->flags & VMA_LOCKED)) {
            v->flags |= VMA_LOCKED;
            mm->locked_pages += pages;
        } else if (!lock && (v->flags & VMA_LOCKED)) {
            v->flags &= ~(uint32_t)VMA_LOCKED;
            mm->locked_pages -= pages;
        }
    }
    vma_merge_range(mm, start, end);
unlock:
    rwsem_write_unlock(&mm->mmap_lock);
    return err;
}

/* Page-round a user range; false: it leaves user space. */
static bool round_range(uint64_t addr, uint64_t size, uint64_t *start, uint64_t *end)
{
    if (!range_fits(addr, size, USER_MAX)) {
        return false;
    }
    *start = align_down(addr, PAGE_SIZE);
    *end = align_up(addr + size, PAGE_SIZE);
    return true;
}

/* Fault [start, end) in, each VMA as it may be written. */
static long populate_range(struct mm *mm, uint64_t start, uint64_t end)
{
    while (start < end) {
        rwsem_read_lock(&mm->mmap_lock);
        const struct vma *v = vma_find(mm, start);
        uint64_t from = v ? max_of(start, v->start) : end;
        uint64_t to = v ? min_of(end, v->end) : end;
        uint32_t flags = v ? v->flags : 0;

        rwsem_read_unlock(&mm->mmap_lock);
        if (from < to && (flags & VMA_ACCESS)) {
            int err = mm_populate(mm, from, to - from, (flags & VMA_WRITE) != 0);

            if (err < 0) {
                return err == -EFAULT ? -ENOMEM : err;
            }
        }
        start = max_of(to, start + PAGE_SIZE);
    }
    return 0;
}

static long do_mlock(uint64_t addr, uint64_t size, unsigned flags)
{
    uint64_t start;
    uint64_t end;

    if (flags & ~MLOCK_ONFAULT) {
        return -EINVAL;
    }
    if (!round_range(addr, size, &start, &end)) {
        return -ENOMEM;
    }
    if (start == end) {
        return 0;
    }
    long err = lock_range(current->mm, start, end, true);

    return err < 0 || (flags & MLOCK_ONFAULT) ? err : populate_range(current->mm, start, end);
}

long sys_mlock(unsigned long addr, unsigned long length)
{
    return do_mlock(addr, length, 0);
}

long sys_mlock2(unsigned long addr, unsigned long length, int flags)
{
    return do_mlock(addr, length, (unsigned)flags);
}

long sys_munlock(unsigned long addr, unsigned long length)
{
    uint64_t start;
    uint64_t end;

    if (!round_range(addr, length, &start, &end)) {
        return -ENOMEM;
    }
    return start == end ? 0 : lock_range(current->mm, start, end, false);
}

static void lock_all(struct mm *mm, bool lock)
{
    rwsem_write_lock(&mm->mmap_lock);
    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        v->flags = lock ? v->flags | VMA_LOCKED : v->flags & ~(uint32_t)VMA_LOCKED;
    }
    mm->locked_pages = lock ? mm->total_pages : 0;
    rwsem_write_unlock(&mm->mmap_lock);
}

long sys_mlockall(int flags)
{
    struct mm *mm = current->mm;
    uint64_t limit = limit_of(RLIMIT_MEMLOCK);

    if (flags == 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT) {
        return -EINVAL;
    }
    if (limit != RLIM_INFINITY && !cred_is_capable(current->cred, CAP_IPC_LOCK)) {
        if (limit == 0) {
            return -EPERM;
        }
        if ((flags & MCL_CURRENT) && mm->total_pages > limit / PAGE_SIZE) {
            return -ENOMEM;
        }
    }
    mm->locked_flags = flags & MCL_FUTURE ? (uint32_t)VMA_LOCKED : 0;
    if (flags & MCL_CURRENT) {
        lock_all(mm, true);
        if (!(flags & MCL_ONFAULT)) {
            (void)populate_range(mm, USER_MIN, USER_MAX); /* what cannot be there stays away */
        }
    }
    return 0;
}

long sys_munlockall(void)
{
    current->mm->locked_flags = 0;
    lock_all(current->mm, false);
    return 0;
}

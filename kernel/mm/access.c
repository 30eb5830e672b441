/* SPDX-License-Identifier: Apache-2.0 */
/* Reaching into an address space from the kernel: populating, futex keys, /proc and ptrace. */
#include <arch/ops.h>
#include <core/string.h>
#include <mm/mapping.h>
#include <mm/page.h>
#include <mm/vma.h>
#include <sched/task.h>

int mm_populate(struct mm *mm, uint64_t addr, uint64_t size, bool write)
{
    uint64_t end = addr + size;

    for (uint64_t at = align_down(addr, PAGE_SIZE); at < end; at += PAGE_SIZE) {
        struct pte pte;
        int signal = 0;
        int code = 0;

        spin_lock(&mm->page_table_lock);
        bool is_there =
            pt_lookup(mm->page_table, at, &pte) && (!write || (pte.flags & PTE_USER_WRITE));

        spin_unlock(&mm->page_table_lock);
        if (is_there) {
            continue;
        }
        int err = mm_fault(mm, at, write ? FAULT_WRITE : FAULT_READ, &signal, &code);

        if (err < 0) {
            return err;
        }
        if (fatal_signal_is_pending(current)) {
            return -EINTR;
        }
    }
    return 0;
}

int mm_futex_key(struct mm *mm, uint64_t addr, struct mapping **mapping, uint64_t *offset)
{
    int err = -EFAULT;

    rwsem_read_lock(&mm->mmap_lock);
    const struct vma *v = vma_find(mm, addr);

    if (v && addr >= v->start && (v->flags & VMA_ACCESS)) {
        bool is_shared = v->mapping && (v->flags & VMA_SHARED);

        *mapping = is_shared ? v->mapping : NULL;
        *offset = is_shared ? v->page_offset * PAGE_SIZE + (addr - v->start) : addr;
        err = 0;
    }
    rwsem_read_unlock(&mm->mmap_lock);
    return err;
}

/* The frame behind a page, pinned unless it has no struct page. */
static bool frame_pin(struct mm *mm, uint64_t page, bool write, struct frame *out)
{
    struct pte pte;
    bool is_ok = false;

    spin_lock(&mm->page_table_lock);
    if (pt_lookup(mm->page_table, page, &pte) &&
        (pte.flags & (PTE_USER_READ | PTE_USER_WRITE | PTE_USER_EXEC)) &&
        (!write || (pte.flags & PTE_USER_WRITE))) {
        *out = (struct frame){ .pa = pte.pa };
        if (!(pte.flags & PTE_DIRECT)) {
            out->page = phys_to_page(pte.pa);
            page_get(out->page);
        }
        is_ok = true;
    }
    spin_unlock(&mm->page_table_lock);
    return is_ok;
}

size_t mm_access(struct mm *mm, uint64_t addr, void *buf, size_t size, bool write)
{
    size_t done = 0;

    if (!range_fits(addr, size, USER_MAX)) {
        return 0;
    }
    while (done < size) {
        uint64_t page = align_down(addr + done, PAGE_SIZE);
        size_t offset = (size_t)(addr + done - page);
        size_t n = min_of(size - done, (size_t)PAGE_SIZE - offset);
        struct frame frame;
        int signal = 0;
        int code = 0;

        while (!frame_pin(mm, page, write, &frame)) {
            if (mm_fault(mm, page + offset, write ? FAULT_WRITE : FAULT_READ, &signal, &code) < 0) {
                return done;
            }
        }
        char *at = (char *)phys_to_virt(frame.pa) + offset;

        if (write) {
            memcpy(at, (char *)buf + done, n);
        } else {
            memcpy((char *)buf + done, at, n);
        }
        if (frame.page) {
            page_put(frame.page);
        }
        done += n;
    }
    return done;
}

unsigned mm_pin(struct mm *mm, uint64_t addr, size_t size, bool write, struct mm_pin *out,
                unsigned max)
{
    unsigned count = 0;

    if (!range_fits(addr, size, USER_MAX)) {
        return 0;
    }
    for (size_t done = 0; done < size && count < max; count++) {
        uint64_t page = align_down(addr + done, PAGE_SIZE);
        size_t offset = (size_t)(addr + done - page);
        struct frame frame = { 0 };
        int signal = 0;
        int code = 0;

        while (!frame_pin(mm, page, write, &frame)) {
            if (mm_fault(mm, page + offset, write ? FAULT_WRITE : FAULT_READ, &signal, &code) < 0) {
                return count;
            }
        }
        out[count] = (struct mm_pin){
            .at = (char *)phys_to_virt(frame.pa) + offset,
            .size = (uint32_t)min_of(size - done, (size_t)PAGE_SIZE - offset),
            .page = frame.page,
        };
        done += out[count].size;
    }
    return count;
}

void mm_unpin(const struct mm_pin *pins, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (pins[i].page) {
            page_put(pins[i].page);
        }
    }
}

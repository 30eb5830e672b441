/* SPDX-License-Identifier: Apache-2.0 */
/* What exec puts into a new address space by hand: its first pages, and the vDSO. */
#include <arch/ops.h>
#include <core/string.h>
#include <mm/mapping.h>
#include <mm/page.h>
#include <mm/reclaim.h>
#include <mm/vma.h>

int64_t mm_find_gap(struct mm *mm, uint64_t hint, uint64_t size)
{
    rwsem_write_lock(&mm->mmap_lock);
    int64_t at = vma_gap(mm, hint, size);

    rwsem_write_unlock(&mm->mmap_lock);
    return at;
}

int mm_map_new(struct mm *mm, const struct mm_map *r)
{
    uint64_t size = align_up(r->size, PAGE_SIZE);
    bool is_plain = r->size != 0 && r->size <= USER_MAX && r->addr >= USER_MIN &&
                    is_aligned(r->addr | r->offset, PAGE_SIZE) &&
                    range_fits(r->addr, size, USER_MAX) && mm->locked_flags == 0;
    int64_t at = 0;

    assert(!(r->vma_flags & VMA_SHARED) && r->how == MM_MAP_FIXED);
    rwsem_write_lock(&mm->mmap_lock);
    if (likely(is_plain && !vma_overlaps(mm, r->addr, r->addr + size) &&
               mm_may_grow(mm, size / PAGE_SIZE, r->vma_flags) == 0)) {
        struct vma *v = vma_alloc();

        if (v) {
            v->start = r->addr;
            v->end = r->addr + size;
            v->flags = r->vma_flags;
            vma_attach(v, r->file, r->mapping, r->offset / PAGE_SIZE);
            vma_insert(mm, v);
        }
        rwsem_write_unlock(&mm->mmap_lock);
        return v ? 0 : -ENOMEM;
    }
    rwsem_write_unlock(&mm->mmap_lock);
    at = mm_map(mm, r); /* what is there goes, or why it cannot be is told */
    return at < 0 ? (int)at : 0;
}

int mm_install_page(struct mm *mm, uint64_t addr, struct page *p)
{
    rwsem_read_lock(&mm->mmap_lock);
    struct vma *v = vma_find(mm, addr);

    assert(v && v->start <= addr && !(v->flags & VMA_SHARED) && is_aligned(addr, PAGE_SIZE));
    atomic_store_explicit(&p->mapcount, 1, memory_order_relaxed); /* nobody else maps it */
    spin_lock(&mm->page_table_lock);
    long n = pt_map_run(mm->page_table, addr, page_to_phys(p), 1, v->flags & VMA_ACCESS, true);

    spin_unlock(&mm->page_table_lock);
    if (n == 1) {
        v->flags |= v->mapping ? (uint32_t)(VMA_HAS_ANON | VMA_HAS_PAGES) : 0u;
        atomic_fetch_add_explicit(&mm->rss_pages, 1, memory_order_relaxed); /* a count */
    } else {
        atomic_store_explicit(&p->mapcount, 0, memory_order_relaxed);
    }
    rwsem_read_unlock(&mm->mmap_lock);
    assert(n != 0);
    return n < 0 ? -ENOMEM : 0;
}

int mm_install_tail(struct mm *mm, uint64_t addr, size_t bytes)
{
    struct frame frame;

    assert(is_aligned(addr, PAGE_SIZE) && bytes < PAGE_SIZE);
    rwsem_read_lock(&mm->mmap_lock);
    const struct vma *v = vma_find(mm, addr);

    assert(v && v->start <= addr && v->mapping);
    int err = v->mapping->ops->get(v->mapping, v->page_offset + (addr - v->start) / PAGE_SIZE,
                                   MAPPING_READ, &frame);

    rwsem_read_unlock(&mm->mmap_lock);
    if (err < 0 && err != -ENODATA) {
        return err;
    }
    struct page *p = page_alloc_reclaim(GFP_USER | GFP_ZERO);

    if (p && err == 0) {
        memcpy(page_address(p), phys_to_virt(frame.pa), bytes);
    }
    if (err == 0 && frame.page) {
        page_put(frame.page);
    }
    if (!p) {
        return -ENOMEM;
    }
    err = mm_install_page(mm, addr, p);
    if (err < 0) {
        page_put(p);
    }
    return err;
}

/* --- the vDSO: its data page, then its code, frames without struct page
 * ----------------------------- */

static int vdso_get(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    const struct vdso_image *image = arch_vdso();

    (void)m;
    (void)how; /* private mappings without PROT_WRITE: nobody writes */
    if (index > image->code_size / PAGE_SIZE) {
        return -ERANGE;
    }
    *out = (struct frame){ .pa = index == 0 ? image->data : image->code + (index - 1) * PAGE_SIZE };
    return 0;
}

static const struct mapping_ops vdso_ops = { .get = vdso_get };
static struct mapping vdso_mapping;

static int map_part(struct mm *mm, uint64_t addr, uint64_t size, uint64_t offset, uint32_t access)
{
    const struct mm_map r = {
        .addr = addr,
        .size = size,
        .vma_flags = access | VMA_VDSO | VMA_DONTDUMP,
        .how = MM_MAP_FIXED,
        .mapping = &vdso_mapping,
        .offset = offset,
    };
    return mm_map_new(mm, &r);
}

int mm_map_vdso(struct mm *mm)
{
    const struct vdso_image *image = arch_vdso();
    uint64_t code_size = image ? align_up(image->code_size, PAGE_SIZE) : 0;

    if (code_size == 0) {
        return 0; /* the machine has none */
    }
    if (!vdso_mapping.ops) { /* one exec runs first: init's workload */
        mapping_init(&vdso_mapping, &vdso_ops, NULL);
    }
    int64_t at = mm_find_gap(mm, 0, PAGE_SIZE + code_size);

    if (at < 0) {
        return (int)at;
    }
    int err = map_part(mm, (uint64_t)at, PAGE_SIZE, 0, VMA_READ);

    if (err == 0) {
        err = map_part(mm, (uint64_t)at + PAGE_SIZE, code_size, PAGE_SIZE, VMA_READ | VMA_EXEC);
    }
    if (err == 0) {
        mm->vdso = (uint64_t)at + PAGE_SIZE;
    }
    return err;
}

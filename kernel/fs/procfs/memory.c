/* SPDX-License-Identifier: Apache-2.0 */
/* maps and smaps: read from the VMA set alone (rule A5), residence from the page tables. */
#include <arch/ops.h>
#include <core/string.h>
#include <fs/file.h>
#include <fs/procfs/procfs.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <sched/task.h>

struct residence {
    struct mm *mm;
    uint64_t rss, shared_clean, shared_dirty, private_clean, private_dirty, referenced, anonymous;
    bool is_file;
};

static bool count_page(void *ctx, uint64_t va, struct pte *p)
{
    struct residence *r = ctx;
    struct page *page = page_of_phys(p->pa);
    bool is_shared = !page || atomic_load_explicit(&page->mapcount, memory_order_relaxed) > 1;
    /* Anonymous pages have no older copy anywhere: they count as dirty. */
    bool is_dirty = p->is_dirty || (page && !(page->flags & PAGE_CACHE));

    (void)va;
    r->rss += PAGE_SIZE;
    if (p->is_accessed) {
        r->referenced += PAGE_SIZE;
    }
    if (page && !(page->flags & PAGE_CACHE)) {
        r->anonymous += PAGE_SIZE;
    }
    if (is_shared) {
        *(is_dirty ? &r->shared_dirty : &r->shared_clean) += PAGE_SIZE;
    } else {
        *(is_dirty ? &r->private_dirty : &r->private_clean) += PAGE_SIZE;
    }
    return false;
}

static void print_name(struct proc_text *t, const struct mm *mm, const struct vma *v, char *buf)
{
    const char *name = NULL;

    if (v->file && v->file->path.dentry) {
        name = path_text(&v->file->path, buf, PATH_MAX);
    } else if (v->file) {
        name = v->file->ops->type;
    } else if (v->flags & VMA_STACK) {
        name = "[stack]";
    } else if (v->flags & VMA_HEAP) {
        name = "[heap]";
    } else if (v->flags & VMA_VDSO) {
        name = v->start == mm->vdso ? "[vdso]" : "[vvar]";
    } else if (v->mapping) {
        name = "/dev/zero (deleted)";
    }
    if (name) {
        proc_print(t, "%*s%s", 1, "", name);
    }
    proc_append(t, "\n", 1);
}

static void print_vma(struct proc_text *t, const struct mm *mm, const struct vma *v, char *buf)
{
    const struct inode *inode = v->file ? v->file->inode : NULL;
    dev_t dev = inode && inode->sb ? inode->sb->dev : 0;
    size_t start = t->used;

    proc_print(t, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", (unsigned long)v->start,
               (unsigned long)v->end, v->flags & VMA_READ ? 'r' : '-',
               v->flags & VMA_WRITE ? 'w' : '-', v->flags & VMA_EXEC ? 'x' : '-',
               v->flags & VMA_SHARED ? 's' : 'p',
               v->mapping ? (unsigned long)(v->page_offset << PAGE_SHIFT) : 0ul, dev_major(dev),
               dev_minor(dev), inode ? (unsigned long)inode->ino : 0ul);
    while (t->used - start < 72 && !t->is_out_of_memory) {
        proc_append(t, " ", 1);
    }
    print_name(t, mm, v, buf);
}

static void add(struct residence *sum, const struct residence *one)
{
    sum->rss += one->rss;
    sum->shared_clean += one->shared_clean;
    sum->shared_dirty += one->shared_dirty;
    sum->private_clean += one->private_clean;
    sum->private_dirty += one->private_dirty;
    sum->referenced += one->referenced;
    sum->anonymous += one->anonymous;
}

static void print_residence(struct proc_text *t, const struct residence *r)
{
    uint64_t pss = r->private_clean + r->private_dirty + (r->shared_clean + r->shared_dirty) / 2;

    proc_print(t, "Rss:            %8lu kB\n", (unsigned long)r->rss / 1024);
    proc_print(t, "Pss:            %8lu kB\n", (unsigned long)pss / 1024);
    proc_print(t, "Shared_Clean:   %8lu kB\n", (unsigned long)r->shared_clean / 1024);
    proc_print(t, "Shared_Dirty:   %8lu kB\n", (unsigned long)r->shared_dirty / 1024);
    proc_print(t, "Private_Clean:  %8lu kB\n", (unsigned long)r->private_clean / 1024);
    proc_print(t, "Private_Dirty:  %8lu kB\n", (unsigned long)r->private_dirty / 1024);
    proc_print(t, "Referenced:     %8lu kB\n", (unsigned long)r->referenced / 1024);
    proc_print(t, "Anonymous:      %8lu kB\n", (unsigned long)r->anonymous / 1024);
    proc_print(t, "Swap:                  0 kB\n");
}

static struct residence residence_of(struct mm *mm, const struct vma *v)
{
    struct residence r = { .mm = mm, .is_file = v->file != NULL };

    spin_lock(&mm->page_table_lock);
    pt_visit(mm->page_table, v->start, v->end, count_page, &r);
    spin_unlock(&mm->page_table_lock);
    return r;
}

enum detail {
    MAPS,
    SMAPS,
    ROLLUP
};

static int show(struct proc_text *t, const struct proc_subject *s, enum detail detail)
{
    struct mm *mm = proc_mm(s->task);
    struct residence sum = { 0 };
    struct page *page;

    if (!mm) {
        return 0;
    }
    page = page_alloc(0, GFP_KERNEL);
    if (!page) {
        mm_put(mm);
        return -ENOMEM;
    }
    rwsem_read_lock(&mm->mmap_lock);
    if (detail == ROLLUP) {
        proc_print(t, "%08lx-%08lx ---p 00000000 00:00 0                          [rollup]\n",
                   vma_first(mm) ? (unsigned long)vma_first(mm)->start : 0ul,
                   (unsigned long)USER_MAX);
    }
    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        if (detail != ROLLUP) {
            print_vma(t, mm, v, page_address(page));
        }
        if (detail != MAPS) {
            struct residence one = residence_of(mm, v);

            if (detail == SMAPS) {
                proc_print(t, "Size:           %8lu kB\n",
                           (unsigned long)(v->end - v->start) / 1024);
                proc_print(t, "KernelPageSize:        4 kB\nMMUPageSize:           4 kB\n");
                print_residence(t, &one);
                proc_print(t, "VmFlags:%s%s%s%s\n", v->flags & VMA_READ ? " rd" : "",
                           v->flags & VMA_WRITE ? " wr" : "", v->flags & VMA_EXEC ? " ex" : "",
                           v->flags & VMA_SHARED ? " sh" : "");
            }
            add(&sum, &one);
        }
    }
    rwsem_read_unlock(&mm->mmap_lock);
    if (detail == ROLLUP) {
        print_residence(t, &sum);
    }
    page_put(page);
    mm_put(mm);
    return 0;
}

int proc_show_maps(struct proc_text *t, const struct proc_subject *s)
{
    return show(t, s, MAPS);
}

int proc_show_smaps(struct proc_text *t, const struct proc_subject *s)
{
    return show(t, s, SMAPS);
}

int proc_show_smaps_rollup(struct proc_text *t, const struct proc_subject *s)
{
    return show(t, s, ROLLUP);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF programs into address spaces. Segments are file mappings: no byte of the file is copied but
 * the headers and the page where data ends and bss begins. Segments are mapped in order, so that of
 * a page that two of them share the later one decides, as on Linux (spec R-MM-9).
 */
#include <arch/ops.h>
#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/mm.h>
#include <mm/slab.h>
#include <proc/exec.h>
#include <sched/task.h>

#define PIE_BASE UINT64_C(0x555555554000) /* 2/3 of user space, where Linux puts them */

/* --- files ------------------------------------------------------------------------------------ */

static int read_head(struct exec_binary *f)
{
    assert(f->file);
    ssize_t n = file_read_kernel(f->file, f->head, sizeof(f->head), 0);

    if (n < 0) {
        file_put(f->file);
        f->file = NULL;
        return (int)n;
    }
    f->head_size = (size_t)n;
    return 0;
}

int exec_open_path(const struct path *p, struct exec_binary *out)
{
    int err;

    out->file = NULL;
    err = file_open_exec(p, &out->file);
    return err < 0 ? err : read_head(out);
}

int exec_open(int dirfd, const char *name, unsigned lookup, struct exec_binary *out)
{
    struct path p;
    int err = path_lookup(dirfd, name, lookup, &p);

    if (err < 0) {
        return err;
    }
    err = exec_open_path(&p, out);
    path_put(&p);
    return err;
}

int exec_open_fd(int fd, struct exec_binary *out)
{
    struct file *f = fd_get(fd);

    if (!f) {
        return -EBADF;
    }
    int err = f->path.dentry ? exec_open_path(&f->path, out) : -EACCES;

    file_put(f);
    return err;
}

/* --- parsing ---------------------------------------------------------------------------------- */

static int parse(struct exec_binary *f, struct elf_image *e)
{
    int err = elf_parse_header(f->head, f->head_size, arch_elf_machine, e);

    if (err < 0) {
        return err;
    }
    size_t size = (size_t)e->phdr_count * ELF_PHDR_SIZE;

    if (range_fits(e->phdr_offset, size, f->head_size)) {
        return elf_parse_segments(f->head + e->phdr_offset, size, e);
    }
    char *phdrs = kmalloc(size, GFP_KERNEL);

    if (!phdrs) {
        return -ENOMEM;
    }
    ssize_t n = file_read_kernel(f->file, phdrs, size, (int64_t)e->phdr_offset);

    err = n == (ssize_t)size ? elf_parse_segments(phdrs, size, e) : n < 0 ? (int)n : -ENOEXEC;
    kfree(phdrs);
    return err;
}

/* The interpreter's path, a terminated string in the file. */
static int read_interp(struct exec_binary *f, const struct elf_image *e, char **path)
{
    size_t size = (size_t)e->interp_size;
    char *text = kmalloc(size, GFP_KERNEL);
    ssize_t n = 0;

    if (!text) {
        return -ENOMEM;
    }
    if (range_fits(e->interp_offset, size, f->head_size)) {
        memcpy(text, f->head + e->interp_offset, size);
        n = (ssize_t)size;
    } else {
        n = file_read_kernel(f->file, text, size, (int64_t)e->interp_offset);
    }
    if (n != (ssize_t)size || text[size - 1] != '\0') {
        kfree(text);
        return n < 0 ? (int)n : -ENOEXEC;
    }
    *path = text;
    return 0;
}

/* --- mapping ---------------------------------------------------------------------------------- */

static int map_anon(struct mm *mm, uint64_t start, uint64_t end, uint32_t access)
{
    const struct mm_map r = {
        .addr = start,
        .size = end - start,
        .vma_flags = access | VMA_MAYWRITE,
        .how = MM_MAP_FIXED,
    };
    return start < end ? mm_map_new(mm, &r) : 0;
}

static int map_segment(struct mm *mm, struct file *file, struct mapping *mapping,
                       const struct elf_segment *s, uint64_t bias)
{
    uint64_t addr = s->addr + bias;
    uint64_t file_end = addr + s->file_size;
    uint64_t start = align_down(addr, PAGE_SIZE);
    uint64_t bss_start = s->file_size > 0 ? align_up(file_end, PAGE_SIZE) : start;
    int err = 0;

    if (s->file_size > 0) {
        const struct mm_map r = {
            .addr = start,
            .size = file_end - start,
            .vma_flags = s->access | VMA_MAYWRITE,
            .how = MM_MAP_FIXED,
            .file = file,
            .mapping = mapping,
            .offset = align_down(s->offset, PAGE_SIZE),
        };
        err = mm_map_new(mm, &r);
    }
    if (err == 0 && s->mem_size > s->file_size) {
        size_t tail = s->file_size > 0 ? (size_t)(file_end & (PAGE_SIZE - 1)) : 0;

        if (tail != 0 && (s->access & VMA_WRITE)) {
            err = mm_install_tail(mm, align_down(file_end, PAGE_SIZE), tail);
        }
        if (err == 0) {
            err = map_anon(mm, bss_start, align_up(addr + s->mem_size, PAGE_SIZE), s->access);
        }
    }
    return err;
}

/* Where a program that may be anywhere goes: the distance from its linked addresses. */
static int choose_bias(struct mm *mm, const struct elf_image *e, uint64_t hint, uint64_t *bias)
{
    uint64_t size = e->high - e->low;
    uint64_t slack = e->align > PAGE_SIZE ? e->align : 0;
    int64_t at;

    *bias = 0;
    if (!e->is_dynamic) {
        return e->low < USER_MIN ? -EPERM : 0;
    }
    at = mm_find_gap(mm, hint ? align_up(hint, e->align) : 0, size + slack);
    if (at < 0) {
        return (int)at;
    }
    *bias = align_up((uint64_t)at, e->align) - align_down(e->low, e->align);
    return 0;
}

static int map_image(struct mm *mm, struct exec_binary *f, const struct elf_image *e, uint64_t hint,
                     uint64_t *bias)
{
    struct mapping *mapping;
    int err = mm_file_mapping(f->file, VMA_READ | VMA_EXEC, &mapping);

    if (err == 0 && !mapping) {
        err = -ENODEV;
    }
    if (err == 0) {
        err = choose_bias(mm, e, hint, bias);
    }
    for (unsigned i = 0; i < e->segment_count && err == 0; i++) {
        err = map_segment(mm, f->file, mapping, &e->segments[i], *bias);
    }
    return err;
}

/* Where code, data and heap are, for /proc and brk. */
static void note_layout(struct mm *mm, const struct elf_image *e, uint64_t bias,
                        uint64_t heap_random)
{
    mm->start_code = UINT64_MAX;
    for (unsigned i = 0; i < e->segment_count; i++) {
        const struct elf_segment *s = &e->segments[i];
        uint64_t start = s->addr + bias;

        if (s->access & VMA_EXEC) {
            mm->start_code = min_of(mm->start_code, start);
            mm->end_code = max_of(mm->end_code, start + s->file_size);
        } else if (s->access & VMA_WRITE) {
            mm->start_data = mm->start_data ? mm->start_data : start;
            mm->end_data = max_of(mm->end_data, start + s->file_size);
        }
    }
    mm->start_code = mm->start_code == UINT64_MAX ? e->low + bias : mm->start_code;
    mm->start_brk = e->high + bias + heap_random;
    mm->brk = mm->start_brk;
}

static int load_interp(struct mm *mm, struct exec_binary *f, const struct elf_image *program,
                       struct exec_program *out)
{
    struct exec_binary *interp = NULL;
    struct elf_image *e = NULL;
    char *path = NULL;
    uint64_t bias;
    int err = read_interp(f, program, &path);

    if (err < 0) {
        return err;
    }
    interp = kmalloc(sizeof(*interp), GFP_KERNEL);
    e = kmalloc(sizeof(*e), GFP_KERNEL);
    err = interp && e ? exec_open(AT_FDCWD, path, LOOKUP_FOLLOW, interp) : -ENOMEM;
    if (err < 0) {
        goto free;
    }
    err = parse(interp, e);
    if (err == 0) {
        err = map_image(mm, interp, e, 0, &bias);
    }
    if (err == 0) {
        out->base = bias + (e->is_dynamic ? e->low : 0);
        out->entry = e->entry + bias;
    }
    err = err == -ENOEXEC ? -ELIBBAD : err;
    file_put(interp->file);
free:
    kfree(e);
    kfree(interp);
    kfree(path);
    return err;
}

int exec_load(struct mm *mm, struct exec_binary *f, const struct exec_random *r,
              struct exec_program *out)
{
    struct elf_image *e = kmalloc(sizeof(*e), GFP_KERNEL);
    uint64_t bias = 0;
    int err = e ? parse(f, e) : -ENOMEM;

    *out = (struct exec_program){ 0 };
    if (err < 0) {
        goto free;
    }
    /* A dynamic program has its own place; ld.so run by hand, or a static PIE, goes with mmap. */
    err = map_image(mm, f, e, e->interp_size ? PIE_BASE + r->program : 0, &bias);
    if (err < 0) {
        goto free;
    }
    note_layout(mm, e, bias, r->heap);
    out->own_entry = e->entry + bias;
    out->entry = out->own_entry;
    out->phdr = e->phdr_addr ? e->phdr_addr + bias : 0;
    out->phdr_count = e->phdr_count;
    out->is_stack_exec = e->has_stack_flags && e->is_stack_exec;
    if (e->interp_size) {
        err = load_interp(mm, f, e, out);
    }
free:
    kfree(e);
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* ELF64 headers (System V ABI, gABI 4.1, chapters 4 and 5). */
#include <proc/elf.h>

#include <mm/mm.h>

enum {
    ET_EXEC = 2,
    ET_DYN = 3,
    PT_LOAD = 1,
    PT_INTERP = 3,
    PT_PHDR = 6,
    PT_GNU_STACK = 0x6474e551,
    PF_X = 1,
    PF_W = 2,
    PF_R = 4,
};

#define EHDR_SIZE  64u
#define INTERP_MAX 4096u

int elf_parse_header(const void *head, size_t size, uint16_t machine, struct elf_image *out)
{
    const uint8_t *h = head;

    *out = (struct elf_image){ 0 };
    if (size < EHDR_SIZE || load_be32(h) != 0x7f454c46u || h[4] != 2 || h[5] != 1 || h[6] != 1) {
        return -ENOEXEC;
    }
    uint16_t type = load_le16(h + 16);
    uint16_t count = load_le16(h + 56);

    if ((type != ET_EXEC && type != ET_DYN) || load_le16(h + 18) != machine ||
        load_le16(h + 54) != ELF_PHDR_SIZE || count == 0 || count > ELF_PHDRS_MAX) {
        return -ENOEXEC;
    }
    out->is_dynamic = type == ET_DYN;
    out->entry = load_le64(h + 24);
    out->phdr_offset = load_le64(h + 32);
    out->phdr_count = count;
    if (out->phdr_offset > INT64_MAX - (uint64_t)count * ELF_PHDR_SIZE) {
        return -ENOEXEC;
    }
    return 0;
}

static uint32_t access_of(uint32_t p_flags)
{
    return (p_flags & PF_R ? (uint32_t)VMA_READ : 0u) |
           (p_flags & PF_W ? (uint32_t)VMA_WRITE : 0u) | (p_flags & PF_X ? (uint32_t)VMA_EXEC : 0u);
}

static int add_segment(struct elf_image *e, const uint8_t *ph)
{
    struct elf_segment s = {
        .addr = load_le64(ph + 16),
        .offset = load_le64(ph + 8),
        .file_size = load_le64(ph + 32),
        .mem_size = load_le64(ph + 40),
        .access = access_of(load_le32(ph + 4)),
    };
    uint64_t align = load_le64(ph + 48);

    if (s.mem_size == 0) {
        return 0; /* nothing to map */
    }
    if (s.file_size > s.mem_size || !range_fits(s.addr, s.mem_size, USER_MAX - PAGE_SIZE) ||
        s.offset > (uint64_t)INT64_MAX - PAGE_SIZE ||
        s.file_size > (uint64_t)INT64_MAX - PAGE_SIZE - s.offset ||
        ((s.addr ^ s.offset) & (PAGE_SIZE - 1)) != 0 || e->segment_count == ELF_SEGMENTS_MAX) {
        return -ENOEXEC;
    }
    if (e->segment_count > 0) {
        const struct elf_segment *last = &e->segments[e->segment_count - 1];

        if (s.addr < last->addr + last->mem_size) { /* ascending, and bytes of one's own */
            return -ENOEXEC;
        }
    } else {
        e->low = align_down(s.addr, PAGE_SIZE);
    }
    e->high = align_up(s.addr + s.mem_size, PAGE_SIZE);
    if (is_power_of_two(align) && align > e->align && align <= (UINT64_C(1) << 30)) {
        e->align = align;
    }
    e->segments[e->segment_count++] = s;
    return 0;
}

/* Programs find their own headers in memory (AT_PHDR): in the segment that holds their bytes. */
static uint64_t find_phdr_addr(const struct elf_image *e)
{
    uint64_t size = (uint64_t)e->phdr_count * ELF_PHDR_SIZE;

    for (unsigned i = 0; i < e->segment_count; i++) {
        const struct elf_segment *s = &e->segments[i];

        if (e->phdr_offset >= s->offset &&
            range_fits(e->phdr_offset - s->offset, size, s->file_size)) {
            return s->addr + (e->phdr_offset - s->offset);
        }
    }
    return 0;
}

int elf_parse_segments(const void *phdrs, size_t size, struct elf_image *e)
{
    const uint8_t *ph = phdrs;

    e->align = PAGE_SIZE;
    e->segment_count = 0;
    if (size < (size_t)e->phdr_count * ELF_PHDR_SIZE) {
        return -ENOEXEC;
    }
    for (uint32_t i = 0; i < e->phdr_count; i++, ph += ELF_PHDR_SIZE) {
        uint32_t type = load_le32(ph);
        int err = 0;

        if (type == PT_LOAD) {
            err = add_segment(e, ph);
        } else if (type == PT_INTERP && e->interp_size == 0) {
            e->interp_offset = load_le64(ph + 8);
            e->interp_size = load_le64(ph + 32);
            if (e->interp_size < 2 || e->interp_size > INTERP_MAX ||
                e->interp_offset > (uint64_t)INT64_MAX - INTERP_MAX) {
                err = -ENOEXEC;
            }
        } else if (type == PT_GNU_STACK) {
            e->has_stack_flags = true;
            e->is_stack_exec = (load_le32(ph + 4) & PF_X) != 0;
        }
        if (err < 0) {
            return err;
        }
    }
    if (e->segment_count == 0) {
        return -ENOEXEC;
    }
    e->phdr_addr = find_phdr_addr(e);
    return 0;
}

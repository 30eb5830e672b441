/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check everything, then copy. Each header is copied once out of the source and only the copy is
 * looked at, since a file may change under us.
 */
#include "boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "devices/gmem.h"

#include "abi/boot.h"

#define NOTES_SIZE_MAX 4096u
#define PHDRS_MAX      64u

#define XEN_NOTE_NAME        "Xen"
#define XEN_NOTE_PHYS32_TYPE 18u

static int bytes_read(const void *ctx, uint64_t offset, void *to, size_t size)
{
    const struct elf_bytes *b = ctx;

    memcpy(to, b->bytes + offset, size);
    return 0;
}

struct elf_source elf_source_bytes(const struct elf_bytes *b, uint64_t size)
{
    return (struct elf_source){ .ctx = b, .size = size, .read = bytes_read };
}

static int file_read(const void *ctx, uint64_t offset, void *to, size_t size)
{
    int fd = *(const int *)ctx;
    uint8_t *at = to;

    while (size > 0) {
        ssize_t n = pread(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO; /* shorter than it was: someone truncated it */
        }
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

struct elf_source elf_source_file(const int *fd, uint64_t size)
{
    return (struct elf_source){ .ctx = fd, .size = size, .read = file_read };
}

static int source_read(const struct elf_source *from, uint64_t offset, void *to, size_t size)
{
    if (!range_fits(offset, size, from->size)) {
        return -ENOEXEC;
    }
    return from->read(from->ctx, offset, to, size);
}

static const char *check_header(const Elf64_Ehdr *eh)
{
    if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0) {
        return "not an ELF file";
    }
    if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB) {
        return "not a 64-bit little-endian ELF file";
    }
    if (eh->e_machine != EM_X86_64) {
        return "made for another architecture";
    }
    if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) {
        return "neither an executable nor position-independent";
    }
    if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum == 0 || eh->e_phnum > PHDRS_MAX) {
        return "its program header table has no usable size";
    }
    return NULL;
}

static void note_found(struct elf_image *out, const char *name, size_t name_size, uint32_t type,
                       const uint8_t *desc, size_t desc_size)
{
    uint32_t value = 0;

    if (desc_size < sizeof(value)) {
        return;
    }
    memcpy(&value, desc, sizeof(value));
    if (name_size == sizeof(XEN_NOTE_NAME) && memcmp(name, XEN_NOTE_NAME, name_size) == 0 &&
        type == XEN_NOTE_PHYS32_TYPE) {
        out->has_pvh = true;
        out->pvh_entry = value;
    } else if (name_size == sizeof(BOOT_NOTE_NAME) &&
               memcmp(name, BOOT_NOTE_NAME, name_size) == 0 && type == BOOT_NOTE_TYPE) {
        out->has_drupe = true;
        out->drupe_version = value;
    }
}

/* Walk one PT_NOTE's bytes. A note that doesn't add up ends the walk: notes only add abilities. */
static void parse_notes(struct elf_image *out, const uint8_t *notes, size_t size, size_t align)
{
    size_t at = 0;

    while (range_fits(at, sizeof(Elf64_Nhdr), size)) {
        Elf64_Nhdr nh;
        size_t name = at + sizeof(nh);

        memcpy(&nh, notes + at, sizeof(nh));
        if (!range_fits(name, nh.n_namesz, size)) {
            return;
        }
        size_t desc = align_up(name + nh.n_namesz, align);

        if (!range_fits(desc, nh.n_descsz, size)) {
            return;
        }
        note_found(out, (const char *)notes + name, nh.n_namesz, nh.n_type, notes + desc,
                   nh.n_descsz);
        at = align_up(desc + nh.n_descsz, align);
    }
}

static int take_notes(const struct elf_source *from, const Elf64_Phdr *ph, struct elf_image *out)
{
    uint8_t notes[NOTES_SIZE_MAX];
    size_t size = min_of(ph->p_filesz, sizeof(notes));
    int r = source_read(from, ph->p_offset, notes, size);

    if (r == 0) {
        parse_notes(out, notes, size, ph->p_align == 8 ? 8 : 4);
    }
    return r;
}

/* Keep the list ascending; a segment that overlaps another is refused. */
static const char *insert_segment(struct elf_image *out, const struct elf_segment *s)
{
    unsigned i = out->segment_count;

    if (i == ELF_SEGMENTS_MAX) {
        return "too many segments";
    }
    for (; i > 0 && out->segments[i - 1].gpa > s->gpa; i--) {
        out->segments[i] = out->segments[i - 1];
    }
    out->segments[i] = *s;
    out->segment_count++;
    for (i = 1; i < out->segment_count; i++) {
        const struct elf_segment *below = &out->segments[i - 1];

        if (out->segments[i].gpa - below->gpa < below->memory_size) {
            return "segments overlap";
        }
    }
    return NULL;
}

static const char *take_segment(const struct elf_source *from, const Elf64_Phdr *ph,
                                struct elf_image *out)
{
    struct elf_segment s = {
        .offset = ph->p_offset,
        .file_size = ph->p_filesz,
        .gpa = ph->p_paddr,
        .memory_size = ph->p_memsz,
    };
    uint64_t end = 0;

    if (s.memory_size == 0) {
        return NULL;
    }
    if (s.file_size > s.memory_size || !range_fits(s.offset, s.file_size, from->size)) {
        return "a segment lies outside the file";
    }
    if (s.gpa < ELF_LOAD_GPA_MIN || !checked_add(s.gpa, s.memory_size, &end)) {
        return "a segment lies below 1 MiB or wraps around";
    }
    return insert_segment(out, &s);
}

static bool is_inside_a_segment(const struct elf_image *image, uint64_t gpa)
{
    for (unsigned i = 0; i < image->segment_count; i++) {
        if (gpa >= image->segments[i].gpa &&
            gpa - image->segments[i].gpa < image->segments[i].memory_size) {
            return true;
        }
    }
    return false;
}

bool elf_has_magic(const struct elf_source *from)
{
    uint8_t magic[SELFMAG];

    return from->size >= sizeof(magic) && from->read(from->ctx, 0, magic, sizeof(magic)) == 0 &&
           memcmp(magic, ELFMAG, SELFMAG) == 0;
}

int elf_parse(const struct elf_source *from, struct elf_image *out, const char **why)
{
    Elf64_Ehdr eh;
    int r = source_read(from, 0, &eh, sizeof(eh));

    memset(out, 0, sizeof(*out));
    *why = r == -ENOEXEC ? "not an ELF file" : "it cannot be read";
    if (r < 0) {
        return r;
    }
    *why = check_header(&eh);
    for (unsigned i = 0; *why == NULL && i < eh.e_phnum; i++) {
        Elf64_Phdr ph;
        uint64_t at = 0;

        *why = "its program headers lie outside the file";
        if (!checked_add(eh.e_phoff, (uint64_t)i * sizeof(ph), &at)) {
            return -ENOEXEC;
        }
        r = source_read(from, at, &ph, sizeof(ph));
        if (r < 0) {
            return r;
        }
        *why = NULL;
        if (ph.p_type == PT_LOAD) {
            *why = take_segment(from, &ph, out);
        } else if (ph.p_type == PT_NOTE && take_notes(from, &ph, out) < 0) {
            *why = "a note lies outside the file";
        }
    }
    if (*why != NULL) {
        return -ENOEXEC;
    }
    out->entry = eh.e_entry;
    if (!is_inside_a_segment(out, out->entry) ||
        (out->has_pvh && !is_inside_a_segment(out, out->pvh_entry))) {
        *why = "its entry lies outside its segments";
        return -ENOEXEC;
    }
    return 0;
}

int elf_load(const struct elf_source *from, const struct elf_image *image, const struct gmem *g,
             uint64_t *end)
{
    *end = 0;
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct elf_segment *s = &image->segments[i];

        if (!gmem_is_writable(g, (gpa_t){ s->gpa }, s->memory_size)) {
            return -EFAULT;
        }
    }
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct elf_segment *s = &image->segments[i];
        /* Lent to read(2) or to the one copy out of our own bytes; nobody looks at it. */
        void *to = gmem_lend(g, (gpa_t){ s->gpa }, s->memory_size, true);
        int r = 0;

        assert(to != NULL);
        assert(range_fits(s->offset, s->file_size, from->size));
        r = from->read(from->ctx, s->offset, to, (size_t)s->file_size);
        if (r < 0) {
            return r;
        }
        *end = s->gpa + s->memory_size;
    }
    return 0;
}

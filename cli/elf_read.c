/* SPDX-License-Identifier: Apache-2.0 */
/* Read an ELF file's headers; see elf_deps.h. */

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/checked.h>

#include "elf_deps.h"

#define HEADERS_MAX     256u
#define DYNAMIC_MAX     4096u
#define INTERPRETER_MAX 4096u
#define STRING_SIZE_MAX 4096u
#define NEEDED_MAX      512u
#define TRUNCATED       "the ELF file is truncated or damaged"

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#define HOST_NAME    "x86-64"
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#define HOST_NAME    "AArch64"
#endif

struct elf_file {
    int fd;
    uint64_t size;
    Elf64_Ehdr header;
    Elf64_Phdr programs[HEADERS_MAX];
    Elf64_Dyn dynamic[DYNAMIC_MAX];
    size_t dynamic_count;
    uint64_t strings_offset; /* in the file; 0: none */
    uint64_t strings_size;
};

static bool read_exactly(const struct elf_file *f, uint64_t offset, void *out, size_t size)
{
    char *p = out;

    if (!range_fits(offset, size, f->size)) {
        return false;
    }
    while (size > 0) {
        ssize_t n = pread(f->fd, p, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

static const char *machine_text(unsigned machine)
{
    switch (machine) {
    case EM_386:
        return "a program for 32-bit x86; this host's guests run " HOST_NAME;
    case EM_X86_64:
        return "a program for x86-64; this host's guests run " HOST_NAME;
    case EM_AARCH64:
        return "a program for AArch64; this host's guests run " HOST_NAME;
    case EM_ARM:
        return "a program for 32-bit ARM; this host's guests run " HOST_NAME;
    case EM_RISCV:
        return "a program for RISC-V; this host's guests run " HOST_NAME;
    default:
        return "a program for another CPU; this host's guests run " HOST_NAME;
    }
}

static const char *read_headers(struct elf_file *f)
{
    const Elf64_Ehdr *h = &f->header;

    if (!read_exactly(f, 0, &f->header, sizeof(f->header)) ||
        memcmp(h->e_ident, ELFMAG, SELFMAG) != 0) {
        return "not an ELF program or a script that begins with #!";
    }
    if (h->e_ident[EI_DATA] != ELFDATA2LSB) {
        return "a big-endian program; this host's guests run " HOST_NAME;
    }
    if (h->e_machine != HOST_MACHINE || h->e_ident[EI_CLASS] != ELFCLASS64) {
        return machine_text(h->e_machine == HOST_MACHINE ? EM_386 : h->e_machine);
    }
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN) {
        return h->e_type == ET_REL ? "an object file, not a program: link it first"
                                   : "an ELF file, but not a program";
    }
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > HEADERS_MAX ||
        !read_exactly(f, h->e_phoff, f->programs, h->e_phnum * sizeof(Elf64_Phdr))) {
        return TRUNCATED;
    }
    return NULL;
}

/* Where in the file the byte at that address of the loaded program stands. */
static bool offset_of_address(const struct elf_file *f, uint64_t address, uint64_t *offset,
                              uint64_t *left)
{
    for (unsigned i = 0; i < f->header.e_phnum; i++) {
        const Elf64_Phdr *p = &f->programs[i];

        if (p->p_type == PT_LOAD && address >= p->p_vaddr && address - p->p_vaddr < p->p_filesz &&
            checked_add(p->p_offset, address - p->p_vaddr, offset)) {
            *left = p->p_filesz - (address - p->p_vaddr);
            return true;
        }
    }
    return false;
}

/* A NUL-terminated text of the file's dynamic string table. The caller frees; NULL when it is
 * damaged. */
static char *read_string(const struct elf_file *f, uint64_t index)
{
    char text[STRING_SIZE_MAX];
    uint64_t offset = 0;

    if (index >= f->strings_size || !checked_add(f->strings_offset, index, &offset)) {
        return NULL;
    }
    size_t size = (size_t)min_of(f->strings_size - index, (uint64_t)sizeof(text));

    if (offset >= f->size) {
        return NULL;
    }
    size = (size_t)min_of((uint64_t)size, f->size - offset);
    if (!read_exactly(f, offset, text, size) || !memchr(text, '\0', size)) {
        return NULL;
    }
    return text_copy(text);
}

static bool find_strings(struct elf_file *f)
{
    uint64_t address = 0;
    uint64_t size = 0;
    uint64_t left = 0;

    for (size_t i = 0; i < f->dynamic_count; i++) {
        if (f->dynamic[i].d_tag == DT_STRTAB) {
            address = f->dynamic[i].d_un.d_ptr;
        } else if (f->dynamic[i].d_tag == DT_STRSZ) {
            size = f->dynamic[i].d_un.d_val;
        }
    }
    if (!offset_of_address(f, address, &f->strings_offset, &left)) {
        return false;
    }
    f->strings_size = min_of(size, left);
    return true;
}

static const char *read_dynamic(struct elf_file *f, const Elf64_Phdr *p, struct elf_info *out)
{
    size_t count = (size_t)min_of(p->p_filesz / sizeof(Elf64_Dyn), (uint64_t)DYNAMIC_MAX);

    if (!read_exactly(f, p->p_offset, f->dynamic, count * sizeof(Elf64_Dyn))) {
        return TRUNCATED;
    }
    while (f->dynamic_count < count && f->dynamic[f->dynamic_count].d_tag != DT_NULL) {
        f->dynamic_count++;
    }
    for (size_t i = 0; i < f->dynamic_count; i++) {
        int64_t tag = f->dynamic[i].d_tag;

        if (tag != DT_NEEDED && tag != DT_RPATH && tag != DT_RUNPATH) {
            continue;
        }
        char *text =
            f->strings_size || find_strings(f) ? read_string(f, f->dynamic[i].d_un.d_val) : NULL;

        if (!text || out->needed.count >= NEEDED_MAX) {
            free(text);
            return TRUNCATED;
        }
        if (tag == DT_NEEDED) {
            strings_take(&out->needed, text);
        } else {
            char **field = tag == DT_RPATH ? &out->rpath : &out->runpath;

            free(*field);
            *field = text;
        }
    }
    return NULL;
}

static const char *read_interpreter(const struct elf_file *f, const Elf64_Phdr *p,
                                    struct elf_info *out)
{
    char path[INTERPRETER_MAX];

    if (out->interpreter || p->p_filesz < 2 || p->p_filesz > sizeof(path) ||
        !read_exactly(f, p->p_offset, path, (size_t)p->p_filesz) || path[p->p_filesz - 1] != '\0' ||
        path[0] != '/') {
        return TRUNCATED;
    }
    out->interpreter = text_copy(path);
    return NULL;
}

static const char *read_segments(struct elf_file *f, struct elf_info *out)
{
    const char *why = NULL;
    bool has_load = false;

    for (unsigned i = 0; i < f->header.e_phnum && !why; i++) {
        const Elf64_Phdr *p = &f->programs[i];

        if (p->p_type == PT_LOAD) {
            has_load = true;
            why = range_fits(p->p_offset, p->p_filesz, f->size) ? NULL : TRUNCATED;
        } else if (p->p_type == PT_INTERP) {
            why = read_interpreter(f, p, out);
        } else if (p->p_type == PT_DYNAMIC) {
            why = f->dynamic_count ? TRUNCATED : read_dynamic(f, p, out);
        }
    }
    if (!why && !has_load) {
        why = TRUNCATED;
    }
    return why;
}

const char *elf_read(int fd, struct elf_info *out)
{
    struct elf_file *f = alloc_zeroed(1, sizeof(*f));
    const char *why = NULL;
    struct stat st;

    *out = (struct elf_info){ 0 };
    f->fd = fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        why = "not a regular file";
    } else {
        f->size = (uint64_t)st.st_size;
        why = read_headers(f);
    }
    if (!why) {
        why = read_segments(f, out);
    }
    if (why) {
        elf_info_free(out);
    } else if (out->interpreter) {
        out->kind = ELF_KIND_DYNAMIC;
    } else {
        /* A static-pie program is a shared object with an entry and without needs, like a library.
         */
        bool is_library = f->header.e_type == ET_DYN && (out->needed.count || !f->header.e_entry);

        out->kind = is_library ? ELF_KIND_LIBRARY : ELF_KIND_STATIC;
    }
    free(f);
    return why;
}

void elf_info_free(struct elf_info *info)
{
    free(info->interpreter);
    free(info->rpath);
    free(info->runpath);
    strings_free(&info->needed);
    *info = (struct elf_info){ 0 };
}

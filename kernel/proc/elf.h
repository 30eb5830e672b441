/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF64 executables as bytes: pure parsing, no I/O. Every field is hostile. What it accepts, exec
 * can map without further checks of its own.
 */
#pragma once

#include <core/types.h>

#define ELF_SEGMENTS_MAX 32u
#define ELF_PHDR_SIZE    56u
#define ELF_PHDRS_MAX    512u /* program headers looked at */

struct elf_segment {
    uint64_t addr;      /* as linked; [addr, addr + mem_size) lies below USER_MAX */
    uint64_t offset;    /* congruent to addr modulo the page size */
    uint64_t file_size; /* <= mem_size */
    uint64_t mem_size;  /* > 0 */
    uint32_t access;    /* VMA_READ | VMA_WRITE | VMA_EXEC */
};

struct elf_image {
    bool is_dynamic; /* ET_DYN: may be placed anywhere */
    bool has_stack_flags;
    bool is_stack_exec; /* PT_GNU_STACK asks for it, or is absent on machines where that means so */
    uint64_t entry;
    uint64_t phdr_offset;
    uint32_t phdr_count;
    uint64_t phdr_addr; /* where the program headers are in memory, as linked; 0: nowhere */
    uint64_t interp_offset, interp_size; /* size 0: no interpreter */
    uint64_t low, high;                  /* page-aligned span of all segments */
    uint64_t align;                      /* largest p_align of a segment, at least a page */
    unsigned segment_count;
    struct elf_segment segments[ELF_SEGMENTS_MAX]; /* ascending addresses */
};

/*
 * Check the file header in the first `size` bytes and fill in what it says: phdr_offset, count,
 * entry, is_dynamic. -ENOEXEC: no ELF64 executable for `machine`; -ELIBBAD is the caller's choice.
 */
int elf_parse_header(const void *head, size_t size, uint16_t machine,
                     struct elf_image *out) MUST_CHECK;

/* Then the program headers: `size` bytes, of which phdr_count * ELF_PHDR_SIZE count. */
int elf_parse_segments(const void *phdrs, size_t size, struct elf_image *image) MUST_CHECK;

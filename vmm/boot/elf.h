/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a kernel's ELF64 file. The bytes are hostile: what elf_parse() accepts is wholly checked
 * against the file's size, and elf_load() checks the rest against guest memory. No I/O of its own:
 * bytes come through a source.
 */
#pragma once

#include <base/compiler.h>

struct gmem;

#define ELF_SEGMENTS_MAX 16u
/* Where a kernel may begin: below lie the tables that the monitor makes. */
#define ELF_LOAD_GPA_MIN UINT64_C(0x100000)

struct elf_source {
    const void *ctx;
    uint64_t size;
    /* Copy `size` bytes at `offset`; the range lies inside the source. 0 or -errno. */
    int (*read)(const void *ctx, uint64_t offset, void *to, size_t size);
};

struct elf_segment {
    uint64_t offset; /* in the file */
    uint64_t file_size;
    uint64_t gpa;
    uint64_t memory_size; /* >= file_size; what lies behind the file's bytes is zero */
};

struct elf_image {
    uint64_t entry;     /* e_entry: 64-bit, by the Linux boot protocol */
    uint32_t pvh_entry; /* with has_pvh: 32-bit */
    bool has_pvh;
    bool has_drupe; /* the kernel knows include/abi/boot.h */
    uint32_t drupe_version;
    unsigned segment_count;
    struct elf_segment segments[ELF_SEGMENTS_MAX]; /* ascending by gpa, not overlapping */
};

/* Bytes in the monitor's own memory as a source; they must outlive it. */
struct elf_bytes {
    const uint8_t *bytes;
};

struct elf_source elf_source_bytes(const struct elf_bytes *b, uint64_t size);
/* A file as a source; *fd must outlive it. */
struct elf_source elf_source_file(const int *fd, uint64_t size);

/* Does it begin like an ELF file? */
bool elf_has_magic(const struct elf_source *from);

/* 0 and *out, or -ENOEXEC with *why (static text), or the source's error. */
int elf_parse(const struct elf_source *from, struct elf_image *out, const char **why) MUST_CHECK;

/*
 * Copy the segments into guest memory, which is known to be zero. 0; -EFAULT when one doesn't fit
 * into RAM; or the source's error. *end is the first byte behind the last segment.
 */
int elf_load(const struct elf_source *from, const struct elf_image *image, const struct gmem *g,
             uint64_t *end) MUST_CHECK;

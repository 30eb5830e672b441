/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a Linux bzImage (Documentation/x86/boot.rst, protocol 2.12 or newer with the 64-bit
 * entry). Hostile, as an ELF file is.
 */
#pragma once

#include <base/compiler.h>

#include "boot/elf.h"

#define BZIMAGE_ENTRY_OFFSET 0x200u

struct bzimage {
    uint64_t offset; /* of the protected-mode part in the file, bytes */
    uint64_t size;
    uint64_t gpa;                 /* where it wants to stand, 1 MiB or higher */
    uint64_t memory_size;         /* what it needs there to unpack itself */
    uint8_t setup[0x290 - 0x1f1]; /* its setup header, for the zero page */
    size_t setup_size;
};

/* 0 and *out, or -ENOEXEC with *why (static text), or the source's error. */
int bzimage_parse(const struct elf_source *from, struct bzimage *out, const char **why) MUST_CHECK;

/* Copy it into guest memory. 0; -EFAULT when it or what it needs does not fit; or the source's
 * error. */
int bzimage_load(const struct elf_source *from, const struct bzimage *image,
                 const struct gmem *g) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program of the host needs to run elsewhere: its interpreter and its libraries, found as
 * ld.so(8) finds them. Program files are untrusted: every offset and count is checked, no file is
 * trusted to be what its neighbour says.
 */
#pragma once

#include <stdint.h>

#include <base/compiler.h>

#include "files.h"

enum elf_kind {
    ELF_KIND_STATIC,  /* runs alone */
    ELF_KIND_DYNAMIC, /* names an interpreter */
    ELF_KIND_LIBRARY, /* neither: a shared object without an interpreter */
};

struct elf_info {
    enum elf_kind kind;
    char *interpreter; /* DYNAMIC: its path */
    struct strings needed;
    char *rpath;   /* NULL: none; colon-separated, with $ORIGIN */
    char *runpath; /* NULL: none; then rpath is ignored by ld.so */
};

/*
 * Read the headers of an open file. Returns NULL and fills *out, or a text that says why the file
 * is no program for us ("not an ELF file", "for another CPU (AArch64); this host runs x86-64",
 * ...), with *out empty. elf_info_free() ends it in both cases.
 */
const char *elf_read(int fd, struct elf_info *out) MUST_CHECK;
void elf_info_free(struct elf_info *info);

struct elf_files {
    struct strings paths; /* absolute, each once: the program, its interpreter, all libraries */
    struct strings
        links; /* libraries that the guest's loader would not find in its own directories */
};

/*
 * The closure of the program at `path` (absolute). NULL, or what is wrong (static or in `error`).
 * Libraries that are missing on the host are an error: the program would not start here either.
 */
const char *elf_closure(const char *path, struct elf_files *out, char *error,
                        size_t error_size) MUST_CHECK;
void elf_files_free(struct elf_files *f);

/* SPDX-License-Identifier: Apache-2.0 */
/* Inside proc/: the parts of exec. */
#pragma once

#include <core/types.h>
#include <proc/elf.h>
#include <proc/exec_strings.h>
#include <proc/script.h>

struct exec_random;
struct file;
struct mm;
struct path;

#define EXEC_HEAD_SIZE 1024u /* of the file, read at once: the headers of nearly every program */

/* A file that may be executed, and its beginning. */
struct exec_binary {
    struct file *file; /* counted */
    size_t head_size;
    char head[EXEC_HEAD_SIZE];
};

/* How the program is named and started. */
struct exec_names {
    const char *path;   /* as the caller wrote it: AT_EXECFN, and argv of a script */
    uint64_t user_argv; /* the program's arrays, or ... */
    uint64_t user_envp;
    const char *const *argv; /* ... the kernel's, NULL-terminated; NULL: the user's */
    const char *const *envp;
};

/* What is known of a program that is mapped into mm. */
struct exec_program {
    uint64_t entry;     /* of the interpreter, if there is one */
    uint64_t own_entry; /* AT_ENTRY */
    uint64_t phdr;      /* AT_PHDR */
    uint32_t phdr_count;
    uint64_t base; /* AT_BASE: the interpreter's; 0: none */
    bool is_stack_exec;
};

/* --- exec_load.c ------------------------------------------------------------------------------ */

/* Map the ELF program in f (and its interpreter) into the empty mm. -ENOEXEC, -ELIBBAD, -ENOENT,
 * ... */
int exec_load(struct mm *mm, struct exec_binary *f, const struct exec_random *r,
              struct exec_program *out) MUST_CHECK;

/* Open what may be executed: a regular file with an x bit on a file system that allows it. */
int exec_open(int dirfd, const char *name, unsigned lookup, struct exec_binary *out) MUST_CHECK;
int exec_open_path(const struct path *p, struct exec_binary *out) MUST_CHECK;
/* The same for a description at hand (execveat with an empty path). */
int exec_open_fd(int fd, struct exec_binary *out) MUST_CHECK;

/* --- exec_stack.c ----------------------------------------------------------------------------- */

/* What one exec needs of randomness, drawn at once: distances in bytes, whole pages; all 0 with
 * norandmaps but the seed. */
struct exec_random {
    uint64_t stack, mmap, program, heap;
    uint8_t seed[16]; /* AT_RANDOM */
};

void exec_random_draw(struct exec_random *r);

/* The layout of mm: stack top, mmap top. Before anything is mapped. */
void exec_layout(struct mm *mm, uint64_t stack_limit, const struct exec_random *r);

/*
 * Map the stack with its strings, pointers and auxiliary vector. *sp is where the program starts.
 * Takes the strings' pages; what is left of *s is freed by the caller.
 */
int exec_stack(struct mm *mm, struct exec_strings *s, const struct exec_program *program,
               const struct exec_random *r, const char *path, bool is_secure,
               uint64_t *sp) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strings of a new program (arguments, environment, a few of the kernel's) in the very frames
 * that will be the top of its stack: copied once from where they are, never moved again.
 *
 * Strings lie one after the other from the beginning of the first page; exec maps the pages so that
 * the last one is the topmost of the stack.
 */
#pragma once

#include <core/types.h>
#include <mm/page.h>

#define EXEC_STRING_MAX (128u << 10) /* one string, with its NUL (Linux's MAX_ARG_STRLEN) */
#define EXEC_PAGES_MAX  1536u        /* 6 MiB, Linux's cap of all strings */

struct exec_strings {
    struct page **pages; /* owned until exec maps them */
    uint32_t page_count, page_room;
    uint32_t *offsets; /* of each argument, then of each environment string, in the area */
    uint32_t count, room;
    uint32_t argc, envc;
    uint64_t size;  /* bytes used */
    uint64_t limit; /* bytes allowed, pointers counted */
};

void exec_strings_init(struct exec_strings *s, uint64_t limit);
void exec_strings_deinit(struct exec_strings *s);

/* Add bytes that no pointer of argv or envp names; *offset tells where they are. */
int exec_strings_add_bytes(struct exec_strings *s, const void *bytes, size_t size,
                           uint32_t *offset) MUST_CHECK;
/* Add an argument or environment string from the kernel or from the program's memory. All arguments
 * come before the environment; the caller counts argc and envc. -E2BIG, -EFAULT, -ENOMEM. */
int exec_strings_add(struct exec_strings *s, const char *string) MUST_CHECK;
int exec_strings_add_user(struct exec_strings *s, const char __user *string) MUST_CHECK;
/* The strings of a NULL-terminated user array from its `skip`th on; a NULL array is empty. *count
 * is raised by how many. */
int exec_strings_add_user_array(struct exec_strings *s, const void __user *array, uint32_t skip,
                                uint32_t *count) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/* The boot arguments blob (abi/boot.h) as bytes: pure parsing of a private copy. */
#pragma once

#include <abi/boot.h>
#include <core/types.h>

/* Pointers into the caller's copy of the blob, which must outlive this. */
struct boot_args_view {
    struct boot_args header;
    const char **argv;     /* argc pointers in the caller's array, then NULL */
    const char **envp;     /* envc, then NULL */
    const char *directory; /* "/" when empty */
    const char *host_name; /* "drupe" when empty */
};

/*
 * Check the blob of `size` bytes and find its strings. `pointers` has room for `count` pointers;
 * argc + envc + 2 are needed. 0; -ENOENT: it does not begin with the magic; -EINVAL: it is broken,
 * and *what says how; -E2BIG: more strings than `count`.
 */
int boot_args_parse(const void *blob, size_t size, const char **pointers, size_t count,
                    struct boot_args_view *out, const char **what) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/* The first line of a script: "#! interpreter [one argument]". Pure parsing. */
#pragma once

#include <core/types.h>

#define SCRIPT_HEAD_SIZE 256u /* bytes of the file that count, as on Linux */

struct script_line {
    char interpreter[SCRIPT_HEAD_SIZE];
    char argument[SCRIPT_HEAD_SIZE]; /* unsplit; empty: none */
};

/* `head`: the first `size` bytes of the file. 1: a script, *out filled; 0: none; -ENOEXEC: a script
 * whose line names no interpreter, or does not end in the bytes that count. */
int script_parse(const char *head, size_t size, struct script_line *out) MUST_CHECK;

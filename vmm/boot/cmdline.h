/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line: ours first, then the user's text. Overflow is remembered, not cut. */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct cmdline {
    char text[DRUPE_CMDLINE_SIZE_MAX + 1]; /* always terminated */
    size_t length;
    bool has_overflowed;
    const char *tail; /* what follows our additions: " -- " and init's arguments; NULL: nothing */
};

void cmdline_init(struct cmdline *c);
/* Append one formatted word, with a space before it unless it is the first. */
void cmdline_add(struct cmdline *c, const char *format, ...) PRINTF_LIKE(2, 3);

/* Begin with a whole line of the user's; what it has behind " -- " is kept for cmdline_end(). */
void cmdline_begin(struct cmdline *c, const char *line);
/* Append what the user wants last, then what cmdline_begin() kept. */
void cmdline_end(struct cmdline *c, const char *extra);

/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line: ours first, then the user's text. Overflow is remembered, not cut. */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct cmdline {
    char text[DRUPE_CMDLINE_SIZE_MAX + 1]; /* always terminated */
    size_t length;
    bool has_overflowed;
};

void cmdline_init(struct cmdline *c);
/* Append one formatted word, with a space before it unless it is the first. */
void cmdline_add(struct cmdline *c, const char *format, ...) PRINTF_LIKE(2, 3);

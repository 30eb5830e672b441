/* SPDX-License-Identifier: Apache-2.0 */
/* Terms to text (section 3.6). Allocates nothing on the process heap. Implemented in reader/. */
#pragma once

#include "process/process.h"
#include "term/term.h"

/* Where text goes; called with pieces of any size. */
typedef void (*print_out)(void *arg, const char *text, size_t n);

struct print_options {
    bool display;       /* strings and characters raw (str, println); nested ones stay readable */
    unsigned depth_max; /* 0: PRINT_DEPTH_MAX */
    unsigned list_max;  /* 0: PRINT_LIST_MAX */
};

void term_print(struct vm *vm, term_t t, const struct print_options *options, print_out out,
                void *arg);
/* Shortest text of a double that reads back (with point or exponent); buf of 40 bytes; returns
 * length. */
size_t double_to_text(double d, char *buf);
/* Nearest double of decimal text "[-]digits[.digits][e[+-]digits]"; correctly rounded. */
double double_from_text(const char *text, size_t n);

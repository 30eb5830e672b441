/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of jail_hostile share: lines of TAP, and how an attempt says that it succeeded. */
#pragma once

#include <base/compiler.h>

#define GOT_THROUGH 200 /* exit status; others are errno */

void say(bool is_ok, const char *format, ...) PRINTF_LIKE(2, 3);
void skip(const char *what, const char *why);

/* neighbours.c */
void try_neighbours(void);

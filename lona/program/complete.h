/* SPDX-License-Identifier: Apache-2.0 */
/* What a person can name: completion and documentation. */
#pragma once

#include "program.h"

bool is_name_byte(char c);
/*
 * Names that begin with prefix[0..n): how many; their common beginning; up to 100 of them in a
 * list. ns: the current namespace, NULL for user.
 */
unsigned complete_name(struct vm *vm, struct ns *ns, const char *prefix, size_t n,
                       struct text *common, struct text *list);
/* Print arguments and description of a var or special head; false if there is no such name. */
bool show_doc(struct vm *vm, struct ns *ns, const char *name);

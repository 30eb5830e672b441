/* SPDX-License-Identifier: Apache-2.0 */
/* The instruction table, expanded from the one list. */
#include "interp/bytecode.h"

#include <base/assert.h>

#define WORDS(e1, e2) (1 + (E_##e1 != E_NONE) + (E_##e2 != E_NONE))

const struct op_info op_info[OP_COUNT] = {
#define OP(name, a, b, c, e1, e2, flags)                                                           \
    { #name, O_##a, O_##b, O_##c, E_##e1, E_##e2, flags, WORDS(e1, e2) },
    LONA_OPS(OP)
#undef OP
};

static_assert(OP_COUNT < 256, "opcodes fit the interpreter's table");

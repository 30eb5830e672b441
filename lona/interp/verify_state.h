/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the verifier share: interp/verify.c and interp/verify_receive.c. */
#pragma once

#include "bounds.h"
#include "interp/code.h"

struct big_maps;

struct verifier {
    struct code_unit *u;
    struct code_function *f;
    uint32_t function;
    struct code_error *error;
    struct big_maps *maps;
    uint8_t *starts; /* 1: an instruction begins here */
    uint64_t *live;  /* set_words a word of code: live before it */
    size_t set_words;
    uint64_t *out;    /* one set */
    uint32_t *states; /* of receiving, before each word; verify_receive.c */
    uint32_t state;   /* what merge_state() hands on */
};

/* False, for the caller to return; *what is static text. */
bool verify_fail(struct verifier *v, uint32_t word, const char *what);

typedef bool (*verify_target_fn)(struct verifier *v, uint32_t at, uint32_t target);

/* Calls each() for every jump target of the instruction; false as soon as it or a target says no.
 */
bool verify_each_target(struct verifier *v, uint32_t at, verify_target_fn each);

/* ---- receives: each instruction only where it belongs, on every path ---- */

/* Before liveness; jumps have been checked. */
bool verify_receives(struct verifier *v);
/* After liveness: nothing taken from a message that wasn't accepted is used any more. */
bool verify_held_slots(struct verifier *v);

static inline const struct op_info *verify_info_at(const struct verifier *v, uint32_t at)
{
    return &op_info[op_code(v->f->words[at])];
}

static inline uint32_t verify_words_at(const struct verifier *v, uint32_t at)
{
    const struct op_info *i = verify_info_at(v, at);
    uint32_t n = i->words;

    return (i->flags & OF_TABLE) != 0 ? n + 2 * op_b(v->f->words[at]) : n;
}

static inline uint64_t *verify_live_at(const struct verifier *v, uint32_t at)
{
    return v->live + (size_t)at * v->set_words;
}

/* The slot that the instruction writes, or -1. */
static inline int verify_dst_of(const struct verifier *v, uint32_t at)
{
    uint64_t w = v->f->words[at];
    const struct op_info *i = verify_info_at(v, at);

    return i->a == O_DST ? (int)op_a(w) : i->c == O_DST ? (int)op_c(w) : -1;
}

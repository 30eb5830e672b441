/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns as trees. */
#pragma once

#include "compiler/state.h"

enum pattern_kind {
    P_ANY,
    P_NAME,    /* term: the symbol it binds */
    P_LITERAL, /* term */
    P_EMPTY,   /* () */
    P_PAIR,    /* parts: head, rest */
    P_TUPLE,   /* parts: its elements; with rest at least so many, the last part is the rest */
    P_VECTOR,  /* likewise */
    P_MAP,     /* keys and parts */
    P_SET,     /* term: tuple of literal members; parts: the others */
    P_PID,     /* parts: realm, local id */
    P_BYTES,   /* parts: bytes, with rest the last is the rest */
    P_BITS,    /* term: layout (native/match.c); keys: names of outside sizes; parts: values, with
                  rest the last is the rest */
};

struct pattern {
    enum pattern_kind kind;
    bool rest;
    term_t term;
    term_t *keys;
    struct pattern **parts;
    uint32_t count;     /* of parts */
    uint32_t key_count; /* P_BITS: of keys */
};

/* Parse one clause's pattern; a name may stand in it once. NULL on failure. */
struct pattern *pattern_parse(struct compiler *c, term_t form);

/*
 * Layout of a #bits form, as expression or pattern: a tuple of segments, each a tuple [size
 * unit-bits flags] where size is an integer, [:value k] for the value of segment k, or [:arg k] for
 * the k-th name of *names. flags: bit 0 little-endian, 1 signed, 2 binary. values gets the value
 * forms.
 */
struct bits_form {
    term_t layout;
    term_t *values;
    uint32_t count;
    term_t *names;
    uint32_t name_count;
    bool has_rest;
    term_t rest;
};

bool bits_parse(struct compiler *c, term_t form, bool is_pattern, struct bits_form *out);

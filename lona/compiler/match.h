/* SPDX-License-Identifier: Apache-2.0 */
/* Clauses as match and receive share them. */
#pragma once

#include "compiler/pattern.h"

/* What a row still has to find out: does the value in this slot fit? */
struct test {
    unsigned slot;
    struct pattern *pattern;
};

struct row {
    struct test *tests;
    uint32_t test_count, test_capacity;
    struct local *names; /* bound so far */
    uint32_t name_count, name_capacity;
    const term_t *guard; /* NULL: none */
    const term_t *body;
};

struct clauses {
    struct row *rows;
    uint32_t count;
    const term_t *after; /* receive: the timeout; NULL: none. The body follows it. */
    const term_t *after_body;
};

struct match {
    struct dest dest;
    uint32_t end;
    bool is_receive;
};

/* Parse "pattern [when guard] body ..." from the list. `form` is for errors. */
bool clauses_parse(struct compiler *c, term_t form, term_t list, bool is_receive,
                   struct clauses *out);
/* Code that tries the rows on the value in `slot`; none fits: jump to `fail`. */
bool compile_rows(struct compiler *c, const struct match *m, struct clauses *clauses, unsigned slot,
                  uint32_t fail);

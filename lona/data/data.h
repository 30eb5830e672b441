/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent collections, equality, hashing, order. Semantics: sections 2.6, 5.2-5.4.
 *
 * Functions with a struct process may collect: they take rooted operands by address (args[i], or a
 * registered root) and return TERM_ERROR on :oom. The others neither allocate nor move anything.
 */
#pragma once

#include "process/process.h"
#include "term/term.h"

/* ---- equality, hash, order
 * ------------------------------------------------------------------------ */

/* Section 5.2. Iterative, unlimited depth. p may be NULL; else it is charged for long comparisons.
 */
bool term_equal_slow(struct process *p, term_t a, term_t b);

static inline bool term_equal(struct process *p, term_t a, term_t b)
{
    if (a == b) {
        return !term_is_boxed(a) || term_equal_slow(p, a, b);
    }
    return (term_is_pointer(a) || term_is_pointer(b)) && term_equal_slow(p, a, b);
}

/* Equal terms hash alike in every realm with the same seed. */
uint64_t term_hash(struct vm *vm, term_t t);

/* Library order (compare a b): -1, 0, 1; -2 when the types have no common order. */
int term_compare(struct vm *vm, term_t a, term_t b);

/* The type keyword of section 5.1. */
term_t term_type_keyword(term_t t);

/* ---- lists
 * ------------------------------------------------------------------------------------------ */

/* Length of a proper list; -1 for anything else. */
int64_t list_length(term_t list);

/* ---- vectors
 * ---------------------------------------------------------------------------------------- */

bool term_is_vector(term_t t);
size_t vector_count(term_t v);
term_t vector_get(term_t v, size_t i); /* i < count */
term_t vector_append(struct process *p, term_t *v, term_t *x);
/* From n terms that are frame slots or otherwise rooted at elements[0..n). */
term_t vector_from_array(struct process *p, term_t *elements, size_t n);

/* ---- maps and sets
 * ---------------------------------------------------------------------------------- */

bool term_is_map(term_t t);
size_t map_count(term_t m);
/* TERM_HOLE when absent. */
term_t map_get(struct process *p, term_t m, term_t key);
term_t map_put(struct process *p, term_t *m, term_t *key, term_t *value);
term_t map_remove(struct process *p, term_t *m, term_t *key);
/* n entries k v k v ... in rooted slots; later keys win. */
term_t map_from_array(struct process *p, term_t *pairs, size_t n);

bool term_is_set(term_t t);
size_t set_count(term_t s);
/* The member equal to x, or TERM_HOLE. */
term_t set_get(struct process *p, term_t s, term_t x);
term_t set_add(struct process *p, term_t *s, term_t *x);
term_t set_remove(struct process *p, term_t *s, term_t *x);
term_t set_from_array(struct process *p, term_t *elements, size_t n);

/* The entries that may hold this key, one after the other (key, value; in sets the member alone),
 * going by its hash. NULL when *count is 0. */
const term_t *map_candidates(struct process *p, term_t map_or_set, term_t key, size_t *count);

/* Constants: one empty map, set and vector live in realm memory. */
term_t map_empty(struct vm *vm);
term_t set_empty(struct vm *vm);
term_t vector_empty(struct vm *vm);

/*
 * Iteration over map or set in its fixed order, without allocation. Invalid after a reservation.
 *     struct map_cursor c;
 *     for (map_first(&c, m); !c.done; map_next(&c)) { c.key, c.value }
 */
struct map_cursor {
    bool done;
    term_t key;
    term_t value; /* = key in sets */
    unsigned depth;

    struct {
        const term_t *node;
        unsigned next;
    } level[16];
};

void map_first(struct map_cursor *c, term_t map_or_set);
void map_next(struct map_cursor *c);

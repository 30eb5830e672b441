/* SPDX-License-Identifier: Apache-2.0 */
/* Integers as sign and limbs: what the files of number/ share. Only they include gmp.h. */
#pragma once

#include <gmp.h>

#include "number/number.h"

static_assert(sizeof(mp_limb_t) == 8 && GMP_NUMB_BITS == 64, "limbs are words of 64 bits");

/* A view of any integer term; d is valid until the next reservation, or points to `word`. */
struct magnitude {
    const mp_limb_t *d;
    mp_size_t n; /* without leading zeros; 0 for zero */
    bool negative;
    mp_limb_t word;
};

void magnitude_of(struct magnitude *m, term_t t);

/* Room for a result of up to n limbs; NULL with p's error set. */
mp_limb_t *limbs_reserve(struct process *p, mp_size_t n) MUST_CHECK;
/* The integer whose n limbs were written to what limbs_reserve() gave. */
term_t limbs_finish(struct process *p, mp_size_t n, bool negative);

term_t int_add(struct process *p, term_t *a, term_t *b, bool subtract);
term_t int_mul(struct process *p, term_t *a, term_t *b);

enum division {
    DIVIDE_QUOT,
    DIVIDE_REM,
    DIVIDE_MOD
};

term_t int_divide(struct process *p, term_t *a, term_t *b, enum division what);
term_t int_gcd(struct process *p, term_t *a, term_t *b);
int int_compare(term_t a, term_t b);
int int_sign(term_t t);
bool term_is_plain_integer(term_t t); /* small or bignum */

/* Memory for a comparison, from GMP's own allocator. */
mp_limb_t *scratch_get(mp_size_t n);
void scratch_put(mp_limb_t *d, mp_size_t n);

/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of number/ share. */
#pragma once

#include "number/integer.h"
#include "number/number.h"

enum kind {
    NOT_NUMBER,
    INTEGER,
    FIXED,
    RATIO,
    F64,
    F32
};

static inline enum kind kind_of(term_t t)
{
    if (term_is_small(t)) {
        return INTEGER;
    }
    if (!term_is_boxed(t)) {
        return NOT_NUMBER;
    }
    switch (header_tag(box_header(t))) {
    case TAG_BIGNUM:
        return INTEGER;
    case TAG_FIXINT:
        return FIXED;
    case TAG_RATIO:
        return RATIO;
    case TAG_FLOAT:
        return F64;
    case TAG_F32:
        return F32;
    default:
        return NOT_NUMBER;
    }
}

static inline term_t ratio_numerator(term_t t)
{
    return kind_of(t) == RATIO ? term_ptr(t)[1] : t;
}

static inline term_t ratio_denominator(term_t t)
{
    return kind_of(t) == RATIO ? term_ptr(t)[2] : term_small(1);
}

/* A finite d as m * 2^exponent, m the result. */
uint64_t number_double_parts(double d, bool *negative, int *exponent);

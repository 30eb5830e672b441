/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers: section 5.5. Operands come by the address of rooted slots, results are normalised
 * (smallest form). Functions that raise return TERM_ERROR; `fn` is the name for the error's :fn.
 */
#pragma once

#include "process/process.h"
#include "term/term.h"

bool term_is_integer(term_t t); /* small, bignum or fixed width */
bool term_is_number(term_t t);

term_t number_add(struct process *p, term_t *a, term_t *b);
term_t number_sub(struct process *p, term_t *a, term_t *b);
term_t number_mul(struct process *p, term_t *a, term_t *b);
term_t number_div(struct process *p, term_t *a, term_t *b); /* exact: integer or ratio */
term_t number_quot(struct process *p, term_t *a, term_t *b);
term_t number_rem(struct process *p, term_t *a, term_t *b);
term_t number_mod(struct process *p, term_t *a, term_t *b);

enum number_order {
    NUMBER_LESS = -1,
    NUMBER_EQUAL = 0,
    NUMBER_GREATER = 1,
    NUMBER_UNORDERED = 2,
    NUMBER_TYPE_ERROR = 3
};
/* Exact comparison across all kinds; UNORDERED with NaN; TYPE_ERROR unless both are numbers. */
enum number_order number_compare(term_t a, term_t b);
/* = on two numbers: exact by value, floats among floats, never across. */
bool number_equal(term_t a, term_t b);

/* Conversions. Those with p may collect. */
term_t integer_from_i64(struct process *p, int64_t v);
term_t integer_from_u64(struct process *p, uint64_t v);
/* From limbs (low first, leading zeros allowed) that don't lie on p's heap. */
term_t integer_from_limbs(struct process *p, bool negative, const uint64_t *limbs, size_t n);
/* Digits of a radix 2..36 without sign or underscores; TERM_ERROR only for :oom or too large a
 * number. */
term_t integer_from_digits(struct process *p, const char *digits, size_t n, unsigned radix,
                           bool negative);
/* num/den reduced and normalised; raises :division-by-zero. */
term_t ratio_make(struct process *p, term_t *num, term_t *den);
/* Any integer as i64 / u64 if it fits. */
bool integer_to_i64(term_t t, int64_t *out);
bool integer_to_u64(term_t t, uint64_t *out);
/* Low 64 bits in two's complement of any integer. */
uint64_t integer_low_u64(term_t t);
/* Nearest double of any number. */
double number_to_double(term_t t);
/* The exact integer of a float that is integral. */
term_t integer_from_double(struct process *p, double d);

/* A fixed-width value: payload reduced modulo the width. 2 words must be reserved. */
term_t heap_fixint(struct process *p, enum fixint_kind kind, uint64_t payload);
enum fixint_kind fixint_kind_of(term_t t);
uint64_t fixint_payload(term_t t); /* sign extended for i8..i64 */

/* Text of an integer (small or BIGNUM) in a radix 2..36 (lower case), sign included, no suffix.
 * Returns the length; writes at most n bytes; n from integer_text_max(). */
size_t integer_text_max(term_t t, unsigned radix);
size_t integer_to_text(term_t t, unsigned radix, char *out, size_t n);

/* Shift of a plain integer by k bits (left if k > 0, arithmetic right if k < 0). */
term_t integer_shift(struct process *p, term_t *a, int64_t k);

enum bit_op {
    BIT_AND,
    BIT_OR,
    BIT_XOR
};

/* Plain integers as infinite two's complement. */
term_t integer_bit_op(struct process *p, enum bit_op op, term_t *a, term_t *b);

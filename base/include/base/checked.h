/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic on values that we did not compute. Each returns true and writes *out when the result
 * fits, false (with *out unspecified) when it does not.
 */
#pragma once

#include <base/compiler.h>

#define checked_add(a, b, out) (!__builtin_add_overflow(a, b, out))
#define checked_sub(a, b, out) (!__builtin_sub_overflow(a, b, out))
#define checked_mul(a, b, out) (!__builtin_mul_overflow(a, b, out))

/* Does [offset, offset + size) lie inside [0, limit)? Cannot overflow. An empty range at limit
 * does. */
static inline bool range_fits(uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset <= limit && size <= limit - offset;
}

static inline bool is_power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Little- and big-endian loads and stores at any alignment: the one home of byte order. */
#pragma once

#include <base/compiler.h>

#define BYTES_LOAD_STORE(bits, swap)                                                               \
    static inline uint##bits##_t load_le##bits(const void *p)                                      \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        __builtin_memcpy(&v, p, sizeof(v));                                                        \
        return v;                                                                                  \
    }                                                                                              \
    static inline void store_le##bits(void *p, uint##bits##_t v)                                   \
    {                                                                                              \
        __builtin_memcpy(p, &v, sizeof(v));                                                        \
    }                                                                                              \
    static inline uint##bits##_t load_be##bits(const void *p)                                      \
    {                                                                                              \
        return swap(load_le##bits(p));                                                             \
    }                                                                                              \
    static inline void store_be##bits(void *p, uint##bits##_t v)                                   \
    {                                                                                              \
        store_le##bits(p, swap(v));                                                                \
    }

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "both our architectures are little-endian");

BYTES_LOAD_STORE(16, __builtin_bswap16)
BYTES_LOAD_STORE(32, __builtin_bswap32)
BYTES_LOAD_STORE(64, __builtin_bswap64)

#undef BYTES_LOAD_STORE

/*
 * Eight bytes looked at in one step. The results have the top bit of each byte that is meant; bits
 * above the lowest one set may be wrong, so they tell where the first one is.
 */
#define BYTES_OF(b) (UINT64_C(0x0101010101010101) * (b))

static inline uint64_t bytes_zero(uint64_t word)
{
    return (word - BYTES_OF(1)) & ~word & BYTES_OF(0x80);
}

/* Below n, which is at most 128. */
static inline uint64_t bytes_below(uint64_t word, uint8_t n)
{
    return (word - BYTES_OF(n)) & ~word & BYTES_OF(0x80);
}

/* The number of the first byte that such a result tells; it is not 0. */
static inline unsigned bytes_first(uint64_t found)
{
    return (unsigned)__builtin_ctzll(found) / 8;
}

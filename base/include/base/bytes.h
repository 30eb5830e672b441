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

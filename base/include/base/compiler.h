/* SPDX-License-Identifier: Apache-2.0 */
/* What every file needs of the compiler: attributes, container_of, sizes, alignment. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define PACKED            __attribute__((packed))
#define ALIGNED(n)        __attribute__((aligned(n)))
#define UNUSED            __attribute__((unused))
#define ALWAYS_INLINE     inline __attribute__((always_inline))
#ifdef __clang__
#define NEVER_INLINE __attribute__((noinline))
#else
#define NEVER_INLINE                                                                               \
    __attribute__((noinline, noclone)) /* nor is there a copy under another name                   \
                                        */
#endif

#define array_size(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define min_of(a, b) ((a) < (b) ? (a) : (b))
#define max_of(a, b) ((a) > (b) ? (a) : (b))

/* Power-of-two alignment of unsigned values; the caller guarantees that rounding up cannot wrap. */
#define align_down(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define align_up(x, a)   align_down((x) + ((__typeof__(x))(a)-1), a)
#define is_aligned(x, a) (((x) & ((__typeof__(x))(a)-1)) == 0)

#define div_ceil(n, d) (((n) + (d)-1) / (d))

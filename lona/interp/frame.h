/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The safepoint word, the last word of every instruction that may collect or call; the word in
 * front of each return address:
 *
 *     bits 15..0   window t (calls): callee's fp - caller's fp
 *     bits 31..16  slot for the result (calls)
 *     bits 62..32  live slots 0..30 of this frame, if bit 63 is clear
 *     bits 62..32  offset in words from the realm's base of a struct live_map, if bit 63 is set
 *
 * For a call, live means live after it, without the result slot. For other instructions, live
 * before it.
 */
#pragma once

#include <base/compiler.h>

struct live_map {
    uint64_t count; /* words of bits */
    uint64_t bits[];
};

#define SAFEPOINT_INDIRECT     ((uint64_t)1 << 63)
#define SAFEPOINT_INLINE_SLOTS 31

static inline unsigned safepoint_window(uint64_t w)
{
    return (unsigned)(w & 0xFFFF);
}

static inline unsigned safepoint_result(uint64_t w)
{
    return (unsigned)(w >> 16 & 0xFFFF);
}

static inline uint32_t safepoint_live(uint64_t w)
{
    return (uint32_t)(w >> 32 & 0x7FFFFFFF);
}

/* fp[-1] of the outermost frame. */
#define RETURN_TO_NOBODY UINT64_C(0)

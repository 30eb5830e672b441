/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as strings must have it: shortest forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <base/compiler.h>

/* Bytes of the sequence at p[0..n), n > 0; 0 if it is none. */
static inline unsigned utf8_sequence(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    unsigned k = p[0] < 0x80   ? 1
                 : p[0] < 0xC2 ? 0
                 : p[0] < 0xE0 ? 2
                 : p[0] < 0xF0 ? 3
                 : p[0] < 0xF5 ? 4
                               : 0;

    if (k < 2 || k > n) {
        return k == 1 ? 1 : 0;
    }
    uint32_t c = p[0] & (0xFFu >> (k + 1));

    for (unsigned i = 1; i < k; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3Fu);
    }
    return c < least[k] || (c >= 0xD800 && c < 0xE000) || c > 0x10FFFF ? 0 : k;
}

static inline bool utf8_is_valid(const char *text, size_t n)
{
    const uint8_t *p = (const uint8_t *)text;

    while (n > 0) {
        unsigned k = utf8_sequence(p, n);

        if (k == 0) {
            return false;
        }
        p += k;
        n -= k;
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The stored form of terms and units: what writer and reader share. Little-endian. */
#pragma once

#include <base/assert.h>
#include <base/compiler.h>

enum stored_tag {
    STORED_SPECIAL,   /* u8: low byte of the immediate */
    STORED_SMALL,     /* zig-zag varint */
    STORED_SYMBOL,    /* text: varint size, bytes */
    STORED_KEYWORD,   /* text */
    STORED_CHAR,      /* varint */
    STORED_NATIVE,    /* text ns, text name */
    STORED_LIST,      /* varint n, n terms */
    STORED_TUPLE,     /* varint n, n terms */
    STORED_VECTOR,    /* varint n, n terms */
    STORED_MAP,       /* varint n, 2n terms */
    STORED_SET,       /* varint n, n terms */
    STORED_STRING,    /* text */
    STORED_BINARY,    /* text */
    STORED_BIGNUM,    /* u8 negative, varint limbs, limbs */
    STORED_FLOAT,     /* 8 bytes */
    STORED_F32,       /* 8 bytes */
    STORED_FIXINT,    /* u8 kind, 8 bytes */
    STORED_RATIO,     /* numerator, denominator */
    STORED_NOTED,     /* symbol, map */
    STORED_VAR,       /* text ns, text name */
    STORED_NAMESPACE, /* text */
    STORED_META,      /* map, then the object that carries it */
    STORED_PADDR,     /* 8 bytes */
    STORED_VADDR,     /* 8 bytes */
};

struct stored_head {
    uint32_t magic;
    uint32_t version;
    uint32_t size; /* of the body that follows */
    uint32_t checksum;
};

static_assert(sizeof(struct stored_head) == 16, "a file layout");

#define STORED_SIZE_MAX ((size_t)1 << 30)

/* FNV-1a, eight bytes at a time: finds damage, not malice. */
static inline uint32_t stored_checksum(const uint8_t *p, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;

        __builtin_memcpy(&v, p, 8);
        h = (h ^ v) * 0x100000001B3u;
        h ^= h >> 29;
    }
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * 0x100000001B3u;
    }
    return (uint32_t)(h ^ h >> 32);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The term: every Lonala value is one 64-bit word. This is the lowest layer of Lona; it knows no
 * process, heap or realm. All sizes in words are 8-byte words.
 *
 *   bits 1..0   00 HEADER     never a value: first word of a boxed object, a code address, a marker
 *               01 LIST       address of a pair { head, rest }, 16 bytes, no header
 *               10 BOXED      address of an object that starts with a header word
 *               11 IMMEDIATE  value in the word; bits 3..2 select the kind
 *
 * Because 00 is never a value, raw words with both low bits clear (code addresses on the stack) can
 * lie between terms: the collector passes over them.
 *
 * A header is (arity << 10) | (tag << 2). Bit 63 says that a metadata term follows the object. What
 * arity means depends on the tag; see enum object_tag. term_object_words() needs the header alone.
 */
#pragma once

#include <base/assert.h>
#include <base/compiler.h>

typedef uint64_t term_t;

enum {
    TERM_HEADER = 0,
    TERM_LIST = 1,
    TERM_BOXED = 2,
    TERM_IMMEDIATE = 3,
    TERM_TAG_MASK = 3,

    TERM_SMALL = 0x3, /* low nibbles of the immediates */
    TERM_SYMBOL = 0x7,
    TERM_KEYWORD = 0xB,
    TERM_SPECIAL = 0xF,
    TERM_NIBBLE_MASK = 0xF,
};

#define TERM_NIL        ((term_t)0x0F)
#define TERM_TRUE       ((term_t)0x1F)
#define TERM_FALSE      ((term_t)0x2F)
#define TERM_UNBOUND    ((term_t)0x3F) /* content of a var without value; never reaches user code */
#define TERM_NATIVE_LOW 0x4F           /* native function, id in bits 23..8 */
#define TERM_EMPTY      ((term_t)0x5F) /* the empty list () */
#define TERM_CHAR_LOW   0x6F           /* character, code point in bits 28..8 */
#define TERM_HOLE                                                                                  \
    ((term_t)0x7F) /* "no value" inside the VM (see OP_J_HOLE); never user-visible                 \
                    */

#define SMALL_MAX ((int64_t)576460752303423487)
#define SMALL_MIN (-SMALL_MAX - 1)

/*
 * Object tags. "terms" says which words the collector follows.
 *
 *   tag            arity field                     words            layout after the header
 *   TUPLE          n                               1+n              n terms
 *   VECTOR         n, or OBJECT_LARGE              1+n / 4          n terms | count+shift small,
 * root, tail MAP            entries n <= 8, or OBJECT_LARGE 1+2n / 3         k v ... | count small,
 * root node STRING         bytes | STRING_ASCII            1+ceil(n/8)      UTF-8, zero padded
 *   BINARY         bytes (< 64)                    1+ceil(n/8)      bytes, zero padded
 *   BIGNUM         limbs n                         2+n              sign word 0/1, limbs low first
 *   FLOAT, F32     0                               2                IEEE double / float in the low
 * half FUN            0                               realm only       struct fun (interp/code.h)
 *   CLOSURE        captures n                      2+n              FUN term, captures
 *   PID            0                               2                index u32 low, generation u32
 * high REF            0                               2                64-bit id PROCBIN        0
 * 3                struct shared_binary *, offset u32 | size u32 SUBBIN         0 3 parent term,
 * offset u32 | size u32 NAMESPACE      0                               realm only       struct ns
 * (realm/realm.h) VAR            0                               realm only       struct var
 * (realm/realm.h) NOTED          0                               3                symbol, metadata
 * map RATIO          0                               3                numerator, denominator (> 1)
 *   SET            elements n <= 8, or LARGE       1+n / 3          e ... | count small, root node
 *   VECTOR_NODE    n                               1+n              n terms
 *   NODE           words n | NODE_COLLISION ...    1+n              one raw word (bit maps / hash),
 * n-1 terms FIXINT         kind (enum fixint_kind)         2                64-bit payload, sign or
 * zero extended BYTEBUF        0                               4                address, size,
 * owner (raw words) PADDR, VADDR   0                               2                64-bit address
 *   FORWARD        new address >> 3                -                collector only
 */
enum object_tag {
    TAG_TUPLE = 0x00,
    TAG_VECTOR = 0x01,
    TAG_MAP = 0x02,
    TAG_STRING = 0x03,
    TAG_BINARY = 0x04,
    TAG_BIGNUM = 0x05,
    TAG_FLOAT = 0x06,
    TAG_FUN = 0x07,
    TAG_CLOSURE = 0x08,
    TAG_PID = 0x09,
    TAG_REF = 0x0A,
    TAG_PROCBIN = 0x0B,
    TAG_SUBBIN = 0x0C,
    TAG_NAMESPACE = 0x0D,
    TAG_VAR = 0x0E,
    TAG_NOTED = 0x11,
    TAG_RATIO = 0x12,
    TAG_SET = 0x13,
    TAG_VECTOR_NODE = 0x14,
    TAG_NODE = 0x15,
    TAG_FIXINT = 0x16,
    TAG_F32 = 0x17,
    TAG_BYTEBUF = 0x18,
    TAG_PADDR = 0x19,
    TAG_VADDR = 0x1A,
    TAG_FORWARD = 0xFF,
};

enum fixint_kind {
    FIX_U8,
    FIX_U16,
    FIX_U32,
    FIX_U64,
    FIX_I8,
    FIX_I16,
    FIX_I32,
    FIX_I64
};

#define HEADER_ARITY_SHIFT 10
#define HEADER_ARITY_MASK  (((uint64_t)1 << 53) - 1)
#define HEADER_META        ((uint64_t)1 << 63)

/* Flags inside the arity field, far above any real count. */
#define OBJECT_LARGE     ((uint64_t)1 << 48)
#define STRING_ASCII     ((uint64_t)1 << 52)
#define NODE_COLLISION   ((uint64_t)1 << 48)
#define NODE_SET         ((uint64_t)1 << 49) /* entries are elements, not key/value pairs */
#define ARITY_COUNT_MASK (((uint64_t)1 << 48) - 1)

#define BINARY_INLINE_MAX 63 /* bytes; longer ones are shared and counted */
#define MAP_SMALL_MAX     8  /* entries of an insertion-ordered map or set */
#define VECTOR_SMALL_MAX  32 /* elements of a flat vector */

/* ---- words ------------------------------------------------------------------------------------
 */

static inline unsigned term_tag(term_t t)
{
    return (unsigned)(t & TERM_TAG_MASK);
}

static inline bool term_is_list(term_t t)
{
    return term_tag(t) == TERM_LIST;
}

static inline bool term_is_boxed(term_t t)
{
    return term_tag(t) == TERM_BOXED;
}

static inline bool term_is_immediate(term_t t)
{
    return term_tag(t) == TERM_IMMEDIATE;
}

/* Is it a pair or a boxed object, that is, does it carry an address? */
static inline bool term_is_pointer(term_t t)
{
    return term_tag(t) - 1u < 2u;
}

/* The address inside a LIST or BOXED term. */
static inline term_t *term_ptr(term_t t)
{
    return (term_t *)(uintptr_t)(t & ~(term_t)TERM_TAG_MASK); // NOLINT(performance-no-int-to-ptr)
}

static inline term_t term_from_pair(const term_t *p)
{
    return (term_t)(uintptr_t)p | TERM_LIST;
}

static inline term_t term_from_box(const term_t *p)
{
    return (term_t)(uintptr_t)p | TERM_BOXED;
}

/* ---- immediates -------------------------------------------------------------------------------
 */

static inline bool term_is_small(term_t t)
{
    return (t & TERM_NIBBLE_MASK) == TERM_SMALL;
}

static inline bool small_fits(int64_t v)
{
    return v >= SMALL_MIN && v <= SMALL_MAX;
}

static inline term_t term_small(int64_t v)
{
    return ((term_t)v << 4) | TERM_SMALL;
}

static inline int64_t small_value(term_t t)
{
    return (int64_t)t >> 4;
}

static inline bool term_is_symbol_word(term_t t)
{
    return (t & TERM_NIBBLE_MASK) == TERM_SYMBOL;
}

static inline bool term_is_keyword(term_t t)
{
    return (t & TERM_NIBBLE_MASK) == TERM_KEYWORD;
}

/* Index of a symbol or keyword in the realm's table of that kind. */
static inline uint32_t term_name_index(term_t t)
{
    return (uint32_t)(t >> 4);
}

static inline term_t term_symbol(uint32_t index)
{
    return ((term_t)index << 4) | TERM_SYMBOL;
}

static inline term_t term_keyword(uint32_t index)
{
    return ((term_t)index << 4) | TERM_KEYWORD;
}

static inline term_t term_bool(bool b)
{
    return b ? TERM_TRUE : TERM_FALSE;
}

/* Only nil and false are falsy. */
static inline bool term_is_truthy(term_t t)
{
    return t != TERM_NIL && t != TERM_FALSE;
}

static inline bool term_is_char(term_t t)
{
    return (t & 0xFF) == TERM_CHAR_LOW;
}

static inline term_t term_char(uint32_t code_point)
{
    return ((term_t)code_point << 8) | TERM_CHAR_LOW;
}

static inline uint32_t char_value(term_t t)
{
    return (uint32_t)(t >> 8);
}

static inline bool term_is_native(term_t t)
{
    return (t & 0xFF) == TERM_NATIVE_LOW;
}

static inline term_t term_native(uint32_t id)
{
    return ((term_t)id << 8) | TERM_NATIVE_LOW;
}

static inline uint32_t native_id(term_t t)
{
    return (uint32_t)(t >> 8);
}

/* ---- pairs ------------------------------------------------------------------------------------
 */

static inline term_t pair_head(term_t t)
{
    return term_ptr(t)[0];
}

static inline term_t pair_rest(term_t t)
{
    return term_ptr(t)[1];
}

/* ---- headers and objects ----------------------------------------------------------------------
 */

static inline uint64_t header_make(enum object_tag tag, uint64_t arity)
{
    return (arity << HEADER_ARITY_SHIFT) | ((uint64_t)tag << 2);
}

static inline enum object_tag header_tag(uint64_t h)
{
    return (enum object_tag)((h >> 2) & 0xFF);
}

static inline uint64_t header_arity(uint64_t h)
{
    return (h >> HEADER_ARITY_SHIFT) & HEADER_ARITY_MASK;
}

static inline uint64_t header_count(uint64_t h)
{
    return header_arity(h) & ARITY_COUNT_MASK;
}

static inline bool header_is_large(uint64_t h)
{
    return (header_arity(h) & OBJECT_LARGE) != 0;
}

static inline uint64_t box_header(term_t t)
{
    return term_ptr(t)[0];
}

static inline bool term_has_tag(term_t t, enum object_tag tag)
{
    return term_is_boxed(t) && header_tag(box_header(t)) == tag;
}

/* Words of the object without its metadata slot. Not for realm-only objects (FUN, VAR, NAMESPACE).
 */
static inline size_t header_body_words(uint64_t h)
{
    size_t n = (size_t)header_count(h);

    switch (header_tag(h)) {
    case TAG_TUPLE:
    case TAG_VECTOR_NODE:
    case TAG_NODE:
        return 1 + n;
    case TAG_VECTOR:
        return header_is_large(h) ? 4 : 1 + n;
    case TAG_MAP:
        return header_is_large(h) ? 3 : 1 + 2 * n;
    case TAG_SET:
        return header_is_large(h) ? 3 : 1 + n;
    case TAG_STRING:
    case TAG_BINARY:
        return 1 + (n + 7) / 8;
    case TAG_BIGNUM:
    case TAG_CLOSURE:
        return 2 + n;
    case TAG_BYTEBUF:
        return 4;
    case TAG_PROCBIN:
    case TAG_SUBBIN:
    case TAG_NOTED:
    case TAG_RATIO:
        return 3;
    default:
        return 2;
    }
}

static inline size_t header_words(uint64_t h)
{
    return header_body_words(h) + (size_t)(h >> 63);
}

/*
 * The words of an object that hold terms: [*first, *first + result) relative to the header, the
 * metadata slot included when there is one (it follows the body, so for objects without other terms
 * the range is the slot alone).
 */
static inline size_t header_term_range(uint64_t h, size_t *first)
{
    size_t meta = (size_t)(h >> 63);
    size_t body = header_body_words(h);

    switch (header_tag(h)) {
    case TAG_TUPLE:
    case TAG_VECTOR:
    case TAG_MAP:
    case TAG_SET:
    case TAG_VECTOR_NODE:
    case TAG_CLOSURE:
    case TAG_NOTED:
    case TAG_RATIO:
        *first = 1;
        return body - 1 + meta;
    case TAG_NODE:
        *first = 2;
        return body - 2;
    case TAG_SUBBIN:
        *first = 1;
        return 1;
    default:
        *first = body;
        return meta;
    }
}

static inline bool term_is_tuple(term_t t)
{
    return term_has_tag(t, TAG_TUPLE);
}

static inline size_t tuple_count(term_t t)
{
    return (size_t)header_count(box_header(t));
}

static inline term_t tuple_get(term_t t, size_t i)
{
    return term_ptr(t)[1 + i];
}

static inline bool term_is_string(term_t t)
{
    return term_has_tag(t, TAG_STRING);
}

static inline size_t string_bytes(term_t t)
{
    return (size_t)header_count(box_header(t));
}

static inline const char *string_data(term_t t)
{
    return (const char *)(term_ptr(t) + 1);
}

static inline bool string_is_ascii(term_t t)
{
    return (header_arity(box_header(t)) & STRING_ASCII) != 0;
}

/* A symbol, with or without metadata. */
static inline bool term_is_symbol(term_t t)
{
    return term_is_symbol_word(t) || term_has_tag(t, TAG_NOTED);
}

/* The bare symbol under a symbol that may be NOTED. */
static inline term_t symbol_bare(term_t t)
{
    return term_is_symbol_word(t) ? t : term_ptr(t)[1];
}

/* The metadata map of an object, nil if it has none (NOTED symbols included). */
static inline term_t term_meta(term_t t)
{
    if (!term_is_boxed(t)) {
        return TERM_NIL;
    }
    if (header_tag(box_header(t)) == TAG_NOTED) {
        return term_ptr(t)[2];
    }
    return (box_header(t) & HEADER_META) != 0 ? term_ptr(t)[header_body_words(box_header(t))]
                                              : TERM_NIL;
}

static inline double float_value(term_t t)
{
    double d;
    __builtin_memcpy(&d, term_ptr(t) + 1, sizeof(d));
    return d;
}

static inline uint32_t pid_index(term_t t)
{
    return (uint32_t)term_ptr(t)[1];
}

static inline uint32_t pid_generation(term_t t)
{
    return (uint32_t)(term_ptr(t)[1] >> 32);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: binaries and byte buffers (6.5). */
#include <base/bytes.h>
#include <base/checked.h>

#include "data/data.h"
#include "gc/heap.h"
#include "native.h"
#include "number/number.h"
#include "term/utf8.h"
#include "vm_state.h"

static bool range_args(const term_t *args, size_t limit, uint64_t *offset, uint64_t *size)
{
    return arg_size(args[0], limit, offset) && arg_size(args[1], limit, size) &&
           range_fits(*offset, *size, limit);
}

/* ---- binaries ---- */

static term_t binary(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    term_t coll = args[0];
    bool is_tuple = term_is_tuple(coll);
    bool is_vector = term_is_vector(coll);
    int64_t n = is_tuple           ? (int64_t)tuple_count(coll)
                : is_vector        ? (int64_t)vector_count(coll)
                : coll == TERM_NIL ? 0
                                   : list_length(coll);
    uint8_t *bytes;

    if (n < 0) {
        return raise_type(p, "binary", 0, KW(list), coll);
    }
    term_t list = coll;

    for (int64_t i = 0; i < n; i++) { /* all checked before anything is made */
        term_t e = is_tuple    ? tuple_get(coll, (size_t)i)
                   : is_vector ? vector_get(coll, (size_t)i)
                               : pair_head(list);
        int64_t v;

        if (!term_is_integer(e) || !integer_to_i64(e, &v) || v < 0 || v > 255) {
            return raise_badarg(p, "binary", args, 1);
        }
        list = is_tuple || is_vector ? list : pair_rest(list);
    }
    process_charge(p, (size_t)n / 16);
    term_t b = heap_binary_new(p, (size_t)n, &bytes);

    if (b == TERM_ERROR) {
        return TERM_ERROR;
    }
    coll = args[0];
    list = coll;
    for (int64_t i = 0; i < n; i++) {
        term_t e = is_tuple    ? tuple_get(coll, (size_t)i)
                   : is_vector ? vector_get(coll, (size_t)i)
                               : pair_head(list);

        bytes[i] = (uint8_t)integer_low_u64(e);
        list = is_tuple || is_vector ? list : pair_rest(list);
    }
    return b;
}

static term_t binary_size(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_is_binary(args[0]) ? term_small((int64_t)binary_view(args[0]).size)
                                   : raise_type(p, "binary-size", 0, KW(binary), args[0]);
}

static term_t binary_ref(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    uint64_t i;

    if (!term_is_binary(args[0])) {
        return raise_type(p, "binary-ref", 0, KW(binary), args[0]);
    }
    if (!term_is_small(args[1])) {
        return raise_type(p, "binary-ref", 1, KW(integer), args[1]);
    }
    struct bytes_view v = binary_view(args[0]);

    return arg_size(args[1], SMALL_MAX, &i) && i < v.size ? term_small(v.data[i])
                                                          : raise_bounds(p, args[1], v.size);
}

static term_t binary_slice(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    uint64_t offset;
    uint64_t size;

    if (!term_is_binary(args[0])) {
        return raise_type(p, "binary-slice", 0, KW(binary), args[0]);
    }
    size_t limit = binary_view(args[0]).size;

    return range_args(&args[1], limit, &offset, &size)
               ? heap_binary_slice(p, &args[0], offset, size)
               : raise_bounds(p, args[1], limit);
}

static term_t binary_concat(struct process *p, term_t *args, unsigned argc)
{
    size_t total = 0;
    uint8_t *bytes;

    for (unsigned i = 0; i < argc; i++) {
        if (!term_is_binary(args[i])) {
            return raise_type(p, "binary-concat", i, KW(binary), args[i]);
        }
        total += binary_view(args[i]).size;
    }
    process_charge(p, total / 128);
    term_t b = heap_binary_new(p, total, &bytes);

    for (unsigned i = 0; b != TERM_ERROR && i < argc; i++) {
        struct bytes_view v = binary_view(args[i]);

        if (v.size != 0) {
            __builtin_memcpy(bytes, v.data, v.size);
        }
        bytes += v.size;
    }
    return b;
}

/* ---- text ---- */

enum encoding {
    UTF8,
    ASCII,
    LATIN1,
    NO_ENCODING
};

static enum encoding encoding_of(term_t t)
{
    if (t == KW(utf_8) || t == KW(utf8)) {
        return UTF8;
    }
    return t == KW(ascii) ? ASCII : t == KW(latin1) ? LATIN1 : NO_ENCODING;
}

/* Bytes copied to memory of the worker, so that a collection can't move them. */
static uint8_t *pin(struct process *p, const void *from, size_t n)
{
    uint8_t *copy = arena_alloc(process_arena(p), n + 1);

    if (copy != NULL && n != 0) {
        __builtin_memcpy(copy, from, n);
    }
    return copy;
}

static term_t latin1_to_string(struct process *p, const uint8_t *bytes, size_t n)
{
    char *text = arena_alloc(process_arena(p), 2 * n + 1);
    size_t at = 0;

    if (text == NULL) {
        return raise_oom(p);
    }
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] >= 0x80) {
            text[at++] = (char)(0xC0 | bytes[i] >> 6);
            text[at++] = (char)(0x80 | (bytes[i] & 0x3F));
        } else {
            text[at++] = (char)bytes[i];
        }
    }
    term_t s = heap_string(p, text, at);

    arena_free(process_arena(p), text, 2 * n + 1);
    return s;
}

static term_t raise_at(struct process *p, term_t kind, size_t offset)
{
    return raise(p, kind, 1, KW(offset), term_small((int64_t)offset));
}

static term_t binary_to_string(struct process *p, term_t *args, unsigned argc)
{
    enum encoding e = argc == 2 ? encoding_of(args[1]) : UTF8;

    if (!term_is_binary(args[0])) {
        return raise_type(p, "binary->string", 0, KW(binary), args[0]);
    }
    if (e == NO_ENCODING) {
        return raise_badarg(p, "binary->string", args, argc);
    }
    struct bytes_view v = binary_view(args[0]);

    for (size_t i = 0; i < v.size && e != LATIN1;) {
        unsigned k = e == ASCII ? v.data[i] < 0x80 : utf8_sequence(v.data + i, v.size - i);

        if (k == 0) {
            return raise_at(p, e == ASCII ? KW(invalid_encoding) : KW(invalid_utf8), i);
        }
        i += k;
    }
    uint8_t *copy = pin(p, v.data, v.size);

    if (copy == NULL) {
        return raise_oom(p);
    }
    process_charge(p, v.size / 64);
    term_t s = e == LATIN1 ? latin1_to_string(p, copy, v.size)
                           : heap_string(p, (const char *)copy, v.size);

    arena_free(process_arena(p), copy, v.size + 1);
    return s;
}

/* UTF-8 to one byte a character in place; the offset of the first that does not fit, or -1. */
static int64_t narrow(uint8_t *bytes, size_t *n, uint32_t limit)
{
    size_t at = 0;

    for (size_t i = 0; i < *n;) {
        uint32_t c = bytes[i];
        size_t k = 1;

        if (c >= 0x80) {
            if (c >= 0xE0) {
                return (int64_t)i;
            }
            c = (c & 0x1F) << 6 | (bytes[i + 1] & 0x3Fu);
            k = 2;
        }
        if (c > limit) {
            return (int64_t)i;
        }
        bytes[at++] = (uint8_t)c;
        i += k;
    }
    *n = at;
    return -1;
}

static term_t string_to_binary(struct process *p, term_t *args, unsigned argc)
{
    enum encoding e = argc == 2 ? encoding_of(args[1]) : UTF8;

    if (!term_is_string(args[0])) {
        return raise_type(p, "string->binary", 0, KW(string), args[0]);
    }
    if (e == NO_ENCODING) {
        return raise_badarg(p, "string->binary", args, argc);
    }
    size_t room = string_bytes(args[0]);
    size_t n = room;
    uint8_t *copy = pin(p, string_data(args[0]), n);

    if (copy == NULL) {
        return raise_oom(p);
    }
    process_charge(p, n / 64);
    int64_t bad = e == UTF8 ? -1 : narrow(copy, &n, e == ASCII ? 0x7F : 0xFF);
    term_t b = bad >= 0 ? raise_at(p, KW(invalid_encoding), (size_t)bad) : heap_binary(p, copy, n);

    arena_free(process_arena(p), copy, room + 1);
    return b;
}

/* ---- byte buffers ---- */

static bool is_bytebuf(term_t t)
{
    return term_has_tag(t, TAG_BYTEBUF);
}

static term_t alloc_bytebuf(struct process *p, const term_t *args, bool zeroed)
{
    uint64_t n;

    if (!term_is_integer(args[0])) {
        return raise_type(p, "bytebuf-alloc", 0, KW(integer), args[0]);
    }
    return arg_size(args[0], UINT32_MAX, &n) ? heap_bytebuf(p, n, zeroed)
                                             : raise_badarg(p, "bytebuf-alloc", args, 1);
}

static term_t bytebuf_alloc(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return alloc_bytebuf(p, args, true);
}

static term_t bytebuf_alloc_unsafe(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return alloc_bytebuf(p, args, false);
}

static term_t bytebuf_size(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return is_bytebuf(args[0]) ? term_small((int64_t)bytebuf_view(args[0]).size)
                               : raise_type(p, "bytebuf-size", 0, KW(bytebuf), args[0]);
}

static term_t bytebuf_to_binary(struct process *p, term_t *args, unsigned argc)
{
    uint64_t offset = 0;

    if (!is_bytebuf(args[0])) {
        return raise_type(p, "bytebuf->binary", 0, KW(bytebuf), args[0]);
    }
    struct bytebuf_view v = bytebuf_view(args[0]);
    uint64_t size = v.size;

    if (argc == 2) {
        return raise(p, KW(arity_mismatch), 0);
    }
    if (argc == 3 && !range_args(&args[1], v.size, &offset, &size)) {
        return raise_bounds(p, args[1], v.size);
    }
    process_charge(p, size / 64);
    return heap_binary(p, v.data + offset, size); /* the buffer's storage never moves */
}

/* Place of `width` bytes in buffer args[0] at args[1]; NULL with the error set. */
static uint8_t *place(struct process *p, const term_t *args, size_t width, const char *fn)
{
    uint64_t offset;

    if (!is_bytebuf(args[0])) {
        (void)raise_type(p, fn, 0, KW(bytebuf), args[0]);
        return NULL;
    }
    if (!term_is_small(args[1])) {
        (void)raise_type(p, fn, 1, KW(integer), args[1]);
        return NULL;
    }
    struct bytebuf_view v = bytebuf_view(args[0]);

    if (!arg_size(args[1], SMALL_MAX, &offset) || !range_fits(offset, width, v.size)) {
        (void)raise_bounds(p, args[1], v.size);
        return NULL;
    }
    return v.data + offset;
}

static uint64_t load(const uint8_t *at, size_t width, bool big)
{
    uint64_t v = 0;

    for (size_t i = 0; i < width; i++) {
        v |= (uint64_t)at[big ? width - 1 - i : i] << (8 * i);
    }
    return v;
}

static term_t read_at(struct process *p, const term_t *args, enum fixint_kind kind, size_t width,
                      bool big)
{
    const uint8_t *at = place(p, args, width, "bytebuf-read");

    if (at == NULL) {
        return TERM_ERROR;
    }
    uint64_t v = load(at, width, big);

    if (kind == FIX_U8) {
        return term_small((int64_t)v);
    }
    return heap_reserve(p, 2) ? heap_fixint(p, kind, v) : TERM_ERROR;
}

static term_t write_at(struct process *p, const term_t *args, size_t width, bool big)
{
    if (!term_is_integer(args[2])) {
        return raise_type(p, "bytebuf-write", 2, KW(integer), args[2]);
    }
    uint8_t *at = place(p, args, width, "bytebuf-write");

    if (at == NULL) {
        return TERM_ERROR;
    }
    uint64_t v = integer_low_u64(args[2]);

    for (size_t i = 0; i < width; i++) {
        at[big ? width - 1 - i : i] = (uint8_t)(v >> (8 * i));
    }
    return KW(ok);
}

#define READ(name, kind, width, big)                                                               \
    static term_t name(struct process *p, term_t *args, unsigned argc)                             \
    {                                                                                              \
        (void)argc;                                                                                \
        return read_at(p, args, kind, width, big);                                                 \
    }
#define WRITE(name, width, big)                                                                    \
    static term_t name(struct process *p, term_t *args, unsigned argc)                             \
    {                                                                                              \
        (void)argc;                                                                                \
        return write_at(p, args, width, big);                                                      \
    }

READ(read8, FIX_U8, 1, false)
READ(read16, FIX_U16, 2, false)
READ(read32, FIX_U32, 4, false)
READ(read64, FIX_U64, 8, false)
READ(read16_be, FIX_U16, 2, true)
READ(read32_be, FIX_U32, 4, true)
READ(read64_be, FIX_U64, 8, true)
READ(read_i8, FIX_I8, 1, false)
READ(read_i16, FIX_I16, 2, false)
READ(read_i32, FIX_I32, 4, false)
READ(read_i64, FIX_I64, 8, false)
READ(read_i16_be, FIX_I16, 2, true)
READ(read_i32_be, FIX_I32, 4, true)
READ(read_i64_be, FIX_I64, 8, true)
WRITE(write8, 1, false)
WRITE(write16, 2, false)
WRITE(write32, 4, false)
WRITE(write64, 8, false)
WRITE(write16_be, 2, true)
WRITE(write32_be, 4, true)
WRITE(write64_be, 8, true)

/* (bytebuf-copy! dst doff src soff len); src may be a binary too */
static term_t bytebuf_copy(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    uint64_t to;
    uint64_t from;
    uint64_t n;

    if (!is_bytebuf(args[0]) || (!is_bytebuf(args[2]) && !term_is_binary(args[2]))) {
        return raise_type(p, "bytebuf-copy!", is_bytebuf(args[0]) ? 2 : 0, KW(bytebuf),
                          is_bytebuf(args[0]) ? args[2] : args[0]);
    }
    struct bytebuf_view d = bytebuf_view(args[0]);
    struct bytes_view s;

    if (is_bytebuf(args[2])) {
        struct bytebuf_view b = bytebuf_view(args[2]);

        s = (struct bytes_view){ b.data, b.size };
    } else {
        s = binary_view(args[2]);
    }
    if (!arg_size(args[4], s.size, &n) || !arg_size(args[3], s.size, &from) ||
        !range_fits(from, n, s.size)) {
        return raise_bounds(p, args[3], s.size);
    }
    if (!arg_size(args[1], d.size, &to) || !range_fits(to, n, d.size)) {
        return raise_bounds(p, args[1], d.size);
    }
    if (n != 0) {
        __builtin_memmove(d.data + to, s.data + from, n);
    }
    process_charge(p, n / 64);
    return KW(ok);
}

static term_t bytebuf_fill(struct process *p, term_t *args, unsigned argc)
{
    uint64_t offset;
    uint64_t n;
    uint64_t byte;

    if (!is_bytebuf(args[0])) {
        return raise_type(p, "bytebuf-fill!", 0, KW(bytebuf), args[0]);
    }
    struct bytebuf_view v = bytebuf_view(args[0]);

    if (!range_args(&args[1], v.size, &offset, &n)) {
        return raise_bounds(p, args[1], v.size);
    }
    if (!arg_size(args[3], 255, &byte)) {
        return raise_badarg(p, "bytebuf-fill!", args, argc);
    }
    if (n != 0) {
        __builtin_memset(v.data + offset, (int)byte, n);
    }
    process_charge(p, n / 64);
    return KW(ok);
}

#define PURE  (NATIVE_PURE | NATIVE_ALLOCATES)
#define ANY   NATIVE_VARIADIC
#define ALLOC NATIVE_ALLOCATES
#define R(text, fn)                                                                                \
    {                                                                                              \
        "lona.core", "bytebuf-read" text, fn, 2, 2, ALLOC, 3, "(b off)", "The integer at offset."  \
    }
#define W(text, fn)                                                                                \
    {                                                                                              \
        "lona.core", "bytebuf-write" text, fn, 3, 3, 0, 3, "(b off n)", "Store n at offset; :ok."  \
    }

static const struct native rows[] = {
    { "lona.core", "binary", binary, 1, 1, PURE, 5, "(seq)", "A binary of integers 0 to 255." },
    { "lona.core", "binary-size", binary_size, 1, 1, NATIVE_PURE, 1, "(b)", "Its bytes." },
    { "lona.core", "binary-ref", binary_ref, 2, 2, NATIVE_PURE, 1, "(b i)", "Byte i." },
    { "lona.core", "binary-slice", binary_slice, 3, 3, PURE, 3, "(b off len)", "A part of it." },
    { "lona.core", "binary-concat", binary_concat, 0, ANY, PURE, 5, "(b…)", "All joined." },
    { "lona.core", "binary->string", binary_to_string, 1, 2, PURE, 5, "(b)\n(b enc)", "Its text." },
    { "lona.core", "string->binary", string_to_binary, 1, 2, PURE, 5, "(s)\n(s enc)",
      "Its bytes." },
    { "lona.core", "bytebuf-alloc", bytebuf_alloc, 1, 1, ALLOC, 5, "(n)", "A zeroed buffer." },
    { "lona.core", "bytebuf-alloc-unsafe", bytebuf_alloc_unsafe, 1, 1, ALLOC, 5, "(n)",
      "A buffer of any content." },
    { "lona.core", "bytebuf-size", bytebuf_size, 1, 1, 0, 1, "(b)", "Its bytes." },
    { "lona.core", "bytebuf->binary", bytebuf_to_binary, 1, 3, ALLOC, 5, "(b)\n(b off len)",
      "A copy." },
    R("8", read8),
    R("16", read16),
    R("32", read32),
    R("64", read64),
    R("16-le", read16),
    R("32-le", read32),
    R("64-le", read64),
    R("16-be", read16_be),
    R("32-be", read32_be),
    R("64-be", read64_be),
    R("-i8", read_i8),
    R("-i16", read_i16),
    R("-i32", read_i32),
    R("-i64", read_i64),
    R("-i16-le", read_i16),
    R("-i32-le", read_i32),
    R("-i64-le", read_i64),
    R("-i16-be", read_i16_be),
    R("-i32-be", read_i32_be),
    R("-i64-be", read_i64_be),
    W("8!", write8),
    W("16!", write16),
    W("32!", write32),
    W("64!", write64),
    W("16-le!", write16),
    W("32-le!", write32),
    W("64-le!", write64),
    W("16-be!", write16_be),
    W("32-be!", write32_be),
    W("64-be!", write64_be),
    { "lona.core", "bytebuf-copy!", bytebuf_copy, 5, 5, 0, 5, "(dst doff src soff len)",
      "Copy; may overlap." },
    { "lona.core", "bytebuf-fill!", bytebuf_fill, 4, 4, 0, 5, "(b off len byte)", "Fill." },
};

const struct native_table native_binary = { rows, array_size(rows) };

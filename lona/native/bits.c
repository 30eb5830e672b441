/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: fixed-width integers, bits, byte order, characters (6.2). */
#include "bounds.h"
#include "gc/heap.h"
#include "native.h"
#include "number/number.h"

static const unsigned widths[] = { 8, 16, 32, 64, 8, 16, 32, 64 };

static bool is_fixed(term_t t)
{
    return term_has_tag(t, TAG_FIXINT);
}

static uint64_t mask_of(unsigned width)
{
    return width >= 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
}

static term_t fixed(struct process *p, enum fixint_kind kind, uint64_t v)
{
    return heap_reserve(p, 2) ? heap_fixint(p, kind, v) : TERM_ERROR;
}

/* ---- coercions ---- */

static term_t coerce(struct process *p, term_t *args, enum fixint_kind kind, const char *fn)
{
    if (term_has_tag(args[0], TAG_FLOAT) || term_has_tag(args[0], TAG_F32)) {
        double d = number_to_double(args[0]);
        term_t i = d - d != 0.0 ? TERM_ERROR : integer_from_double(p, d);

        if (i == TERM_ERROR || number_to_double(i) != d) {
            return raise_badarg(p, fn, args, 1);
        }
        args[0] = i;
    }
    if (!term_is_integer(args[0])) {
        return raise_type(p, fn, 0, KW(integer), args[0]);
    }
    return fixed(p, kind, integer_low_u64(args[0]));
}

#define COERCE(name, kind)                                                                         \
    static term_t name(struct process *p, term_t *args, unsigned argc)                             \
    {                                                                                              \
        (void)argc;                                                                                \
        return coerce(p, args, kind, #name);                                                       \
    }

COERCE(u8, FIX_U8)
COERCE(u16, FIX_U16)
COERCE(u32, FIX_U32)
COERCE(u64, FIX_U64)
COERCE(i8, FIX_I8)
COERCE(i16, FIX_I16)
COERCE(i32, FIX_I32)
COERCE(i64, FIX_I64)

static term_t make_char(struct process *p, term_t *args, unsigned argc)
{
    uint64_t c;

    if (!term_is_integer(args[0])) {
        return raise_type(p, "char", 0, KW(integer), args[0]);
    }
    return arg_size(args[0], 0x10FFFF, &c) && (c < 0xD800 || c > 0xDFFF)
               ? term_char((uint32_t)c)
               : raise_badarg(p, "char", args, argc);
}

/* ---- addition with care ---- */

/* Both of one fixed kind; the exact sum and whether it fits. */
static bool fixed_sum(term_t a, term_t b, uint64_t *sum, bool *fits, bool *high)
{
    if (!is_fixed(a) || !is_fixed(b) || fixint_kind_of(a) != fixint_kind_of(b)) {
        return false;
    }
    enum fixint_kind kind = fixint_kind_of(a);
    unsigned width = widths[kind];
    uint64_t x = fixint_payload(a);
    uint64_t y = fixint_payload(b);

    if (kind < FIX_I8) {
        *fits = !__builtin_add_overflow(x, y, sum) && *sum <= mask_of(width);
        *high = true;
        return true;
    }
    int64_t s;
    bool over = __builtin_add_overflow((int64_t)x, (int64_t)y, &s);
    int64_t max = (int64_t)(mask_of(width) >> 1);

    *fits = !over && s <= max && s >= -max - 1;
    *high = (int64_t)x > 0;
    *sum = (uint64_t)s;
    return true;
}

static term_t raise_fixed(struct process *p, const char *fn, const term_t *args)
{
    unsigned at = is_fixed(args[0]) ? 1 : 0;

    return raise_type(p, fn, at, KW(integer), args[at]);
}

static term_t checked_add_(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    uint64_t sum;
    bool fits;
    bool high;

    if (!fixed_sum(args[0], args[1], &sum, &fits, &high)) {
        return raise_fixed(p, "checked-add", args);
    }
    if (!heap_reserve(p, TUPLE_WORDS(2) + 2)) {
        return TERM_ERROR;
    }
    term_t v = fits ? heap_fixint(p, fixint_kind_of(args[0]), sum) : KW(overflow);
    term_t *e;
    term_t t = heap_tuple(p, 2, &e);

    e[0] = fits ? KW(ok) : KW(error);
    e[1] = v;
    return t;
}

static term_t saturating_add(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    uint64_t sum;
    bool fits;
    bool high;

    if (!fixed_sum(args[0], args[1], &sum, &fits, &high)) {
        return raise_fixed(p, "saturating-add", args);
    }
    enum fixint_kind kind = fixint_kind_of(args[0]);
    uint64_t top = kind < FIX_I8 ? mask_of(widths[kind]) : mask_of(widths[kind]) >> 1;

    return fixed(p, kind, fits ? sum : high ? top : ~top);
}

/* ---- bitwise ---- */

static term_t bitwise(struct process *p, term_t *args, unsigned argc, enum bit_op op,
                      const char *fn)
{
    for (unsigned i = 0; i < argc; i++) {
        if (!term_is_integer(args[i])) {
            return raise_type(p, fn, i, KW(integer), args[i]);
        }
    }
    for (unsigned i = 1; i < argc; i++) {
        term_t r;

        if (is_fixed(args[0]) || is_fixed(args[i])) {
            enum fixint_kind kind = fixint_kind_of(is_fixed(args[0]) ? args[0] : args[i]);

            if (is_fixed(args[0]) && is_fixed(args[i]) && fixint_kind_of(args[i]) != kind) {
                return raise_type(p, fn, i, KW(integer), args[i]);
            }
            uint64_t x = integer_low_u64(args[0]);
            uint64_t y = integer_low_u64(args[i]);

            r = fixed(p, kind, op == BIT_AND ? (x & y) : op == BIT_OR ? (x | y) : (x ^ y));
        } else {
            r = integer_bit_op(p, op, &args[0], &args[i]);
        }
        if (r == TERM_ERROR) {
            return TERM_ERROR;
        }
        args[0] = r;
    }
    return args[0];
}

static term_t bit_and(struct process *p, term_t *args, unsigned argc)
{
    return bitwise(p, args, argc, BIT_AND, "bit-and");
}

static term_t bit_or(struct process *p, term_t *args, unsigned argc)
{
    return bitwise(p, args, argc, BIT_OR, "bit-or");
}

static term_t bit_xor(struct process *p, term_t *args, unsigned argc)
{
    return bitwise(p, args, argc, BIT_XOR, "bit-xor");
}

static term_t bit_not(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_integer(args[0])) {
        return raise_type(p, "bit-not", 0, KW(integer), args[0]);
    }
    if (is_fixed(args[0])) {
        return fixed(p, fixint_kind_of(args[0]), ~fixint_payload(args[0]));
    }
    term_t minus_one = term_small(-1);

    return integer_bit_op(p, BIT_XOR, &args[0], &minus_one);
}

enum shift {
    SHIFT_LEFT,
    SHIFT_RIGHT,
    SHIFT_ARITHMETIC
};

static uint64_t fixed_shift(term_t t, enum shift how, uint64_t k)
{
    unsigned width = widths[fixint_kind_of(t)];
    int64_t v = (int64_t)fixint_payload(t);
    uint64_t bits = (uint64_t)v & mask_of(width);

    switch (how) {
    case SHIFT_LEFT:
        return k >= width ? 0 : bits << k;
    case SHIFT_RIGHT:
        return k >= width ? 0 : bits >> k;
    default:
        if (fixint_kind_of(t) < FIX_I8) { /* the sign is the top bit of the width */
            v = (int64_t)(bits << (64 - width)) >> (64 - width);
        }
        return (uint64_t)(v >> min_of(k, (uint64_t)63));
    }
}

static term_t shift(struct process *p, term_t *args, enum shift how, const char *fn)
{
    uint64_t k;

    for (unsigned i = 0; i < 2; i++) {
        if (!term_is_integer(args[i])) {
            return raise_type(p, fn, i, KW(integer), args[i]);
        }
    }
    if (!integer_to_u64(args[1], &k) || k > SHIFT_MAX) {
        return raise_badarg(p, fn, args, 2);
    }
    if (is_fixed(args[0])) {
        return fixed(p, fixint_kind_of(args[0]), fixed_shift(args[0], how, k));
    }
    return integer_shift(p, &args[0], how == SHIFT_LEFT ? (int64_t)k : -(int64_t)k);
}

static term_t bit_shl(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return shift(p, args, SHIFT_LEFT, "bit-shl");
}

static term_t bit_shr(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return shift(p, args, SHIFT_RIGHT, "bit-shr");
}

static term_t bit_sar(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return shift(p, args, SHIFT_ARITHMETIC, "bit-sar");
}

/* v in the kind of the original, or plain. */
static term_t like(struct process *p, term_t original, uint64_t v)
{
    return is_fixed(original) ? fixed(p, fixint_kind_of(original), v) : integer_from_u64(p, v);
}

static term_t rotate(struct process *p, term_t *args, bool left, const char *fn)
{
    uint64_t k;
    uint64_t w;

    if (!term_is_integer(args[0])) {
        return raise_type(p, fn, 0, KW(integer), args[0]);
    }
    if (!arg_size(args[1], SHIFT_MAX, &k) || !arg_size(args[2], 64, &w) || w == 0) {
        return raise_badarg(p, fn, args, 3);
    }
    uint64_t v = integer_low_u64(args[0]) & mask_of((unsigned)w);

    k %= w;
    k = left ? k : (w - k) % w;
    uint64_t r = k == 0 ? v : (v << k | v >> (w - k)) & mask_of((unsigned)w);

    return like(p, args[0], r);
}

static term_t bit_rol(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return rotate(p, args, true, "bit-rol");
}

static term_t bit_ror(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return rotate(p, args, false, "bit-ror");
}

/* ---- single bits: through shifts, so that any integer works ---- */

static bool bit_arguments(const term_t *args, uint64_t *i)
{
    return term_is_integer(args[0]) && integer_to_u64(args[1], i) && *i <= SHIFT_MAX;
}

static term_t bit_test(struct process *p, term_t *args, unsigned argc)
{
    uint64_t i;

    if (!term_is_integer(args[0]) || !term_is_integer(args[1])) {
        return raise_type(p, "bit-test", term_is_integer(args[0]) ? 1 : 0, KW(integer), args[0]);
    }
    if (!bit_arguments(args, &i)) {
        return raise_badarg(p, "bit-test", args, argc);
    }
    if (is_fixed(args[0])) {
        return term_bool(i < 64 && (integer_low_u64(args[0]) >> i & 1) != 0);
    }
    term_t shifted = integer_shift(p, &args[0], -(int64_t)i);

    return shifted == TERM_ERROR ? TERM_ERROR : term_bool((integer_low_u64(shifted) & 1) != 0);
}

enum change {
    CHANGE_SET,
    CHANGE_CLEAR,
    CHANGE_FLIP
};

static term_t change_bit(struct process *p, term_t *args, enum change how, const char *fn)
{
    uint64_t i;

    if (!term_is_integer(args[0]) || !term_is_integer(args[1])) {
        return raise_type(p, fn, term_is_integer(args[0]) ? 1 : 0, KW(integer), args[0]);
    }
    if (!bit_arguments(args, &i)) {
        return raise_badarg(p, fn, args, 2);
    }
    if (is_fixed(args[0])) {
        uint64_t v = fixint_payload(args[0]);
        uint64_t bit = i < 64 ? (uint64_t)1 << i : 0;

        return fixed(p, fixint_kind_of(args[0]),
                     how == CHANGE_SET     ? v | bit
                     : how == CHANGE_CLEAR ? v & ~bit
                                           : v ^ bit);
    }
    term_t one = term_small(1);
    term_t bit = integer_shift(p, &one, (int64_t)i);

    if (bit == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[1] = bit;
    if (how == CHANGE_CLEAR) {
        term_t minus_one = term_small(-1);
        term_t inverse = integer_bit_op(p, BIT_XOR, &args[1], &minus_one);

        if (inverse == TERM_ERROR) {
            return TERM_ERROR;
        }
        args[1] = inverse;
        return integer_bit_op(p, BIT_AND, &args[0], &args[1]);
    }
    return integer_bit_op(p, how == CHANGE_SET ? BIT_OR : BIT_XOR, &args[0], &args[1]);
}

static term_t bit_set(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return change_bit(p, args, CHANGE_SET, "bit-set");
}

static term_t bit_clear(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return change_bit(p, args, CHANGE_CLEAR, "bit-clear");
}

static term_t bit_flip(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return change_bit(p, args, CHANGE_FLIP, "bit-flip");
}

static term_t bit_field(struct process *p, term_t *args, unsigned argc)
{
    uint64_t offset;
    uint64_t width;

    if (!term_is_integer(args[0])) {
        return raise_type(p, "bit-field", 0, KW(integer), args[0]);
    }
    if (!arg_size(args[1], SHIFT_MAX, &offset) || !arg_size(args[2], 64, &width)) {
        return raise_badarg(p, "bit-field", args, argc);
    }
    if (is_fixed(args[0])) {
        unsigned all = widths[fixint_kind_of(args[0])];
        uint64_t v = fixint_payload(args[0]) & mask_of(all);

        return fixed(p, fixint_kind_of(args[0]),
                     offset >= 64 ? 0 : v >> offset & mask_of((unsigned)width));
    }
    term_t shifted = integer_shift(p, &args[0], -(int64_t)offset);

    return shifted == TERM_ERROR
               ? TERM_ERROR
               : integer_from_u64(p, integer_low_u64(shifted) & mask_of((unsigned)width));
}

static term_t bit_field_set(struct process *p, term_t *args, unsigned argc)
{
    uint64_t offset;
    uint64_t width;

    if (!term_is_integer(args[0]) || !term_is_integer(args[3])) {
        return raise_type(p, "bit-field-set", term_is_integer(args[0]) ? 3 : 0, KW(integer),
                          args[0]);
    }
    if (!arg_size(args[1], SHIFT_MAX, &offset) || !arg_size(args[2], 64, &width)) {
        return raise_badarg(p, "bit-field-set", args, argc);
    }
    uint64_t value = integer_low_u64(args[3]) & mask_of((unsigned)width);

    if (is_fixed(args[0])) {
        uint64_t m = offset >= 64 ? 0 : mask_of((unsigned)width) << offset;

        return fixed(p, fixint_kind_of(args[0]),
                     (fixint_payload(args[0]) & ~m) | (offset >= 64 ? 0 : value << offset));
    }
    /* n ^ ((old ^ new) << offset) */
    term_t old = integer_shift(p, &args[0], -(int64_t)offset);

    if (old == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[3] = integer_from_u64(p, (integer_low_u64(old) & mask_of((unsigned)width)) ^ value);
    if (args[3] == TERM_ERROR) {
        args[3] = TERM_NIL;
        return TERM_ERROR;
    }
    term_t change = integer_shift(p, &args[3], (int64_t)offset);

    if (change == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[3] = change;
    return integer_bit_op(p, BIT_XOR, &args[0], &args[3]);
}

static term_t bit_count(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_integer(args[0])) {
        return raise_type(p, "bit-count", 0, KW(integer), args[0]);
    }
    if (is_fixed(args[0])) {
        uint64_t v = fixint_payload(args[0]) & mask_of(widths[fixint_kind_of(args[0])]);

        return term_small(__builtin_popcountll(v));
    }
    if (number_compare(args[0], term_small(0)) == NUMBER_LESS) {
        return raise_badarg(p, "bit-count", args, 1);
    }
    if (term_is_small(args[0])) {
        return term_small(__builtin_popcountll((uint64_t)small_value(args[0])));
    }
    const term_t *o = term_ptr(args[0]);
    int64_t n = 0;

    for (uint64_t i = 0; i < header_count(o[0]); i++) {
        n += __builtin_popcountll(o[2 + i]);
    }
    return term_small(n);
}

static term_t leading_zeros(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!is_fixed(args[0])) {
        return raise_type(p, "leading-zeros", 0, KW(u64), args[0]);
    }
    unsigned width = widths[fixint_kind_of(args[0])];
    uint64_t v = fixint_payload(args[0]) & mask_of(width);

    return term_small(v == 0 ? width : width - 64 + (unsigned)__builtin_clzll(v));
}

static term_t trailing_zeros(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_integer(args[0])) {
        return raise_type(p, "trailing-zeros", 0, KW(integer), args[0]);
    }
    if (is_fixed(args[0])) {
        unsigned width = widths[fixint_kind_of(args[0])];
        uint64_t v = fixint_payload(args[0]) & mask_of(width);

        return term_small(v == 0 ? (int64_t)width : __builtin_ctzll(v));
    }
    if (args[0] == term_small(0)) {
        return raise_badarg(p, "trailing-zeros", args, 1);
    }
    if (term_is_small(args[0])) {
        return term_small(__builtin_ctzll((uint64_t)small_value(args[0])));
    }
    const term_t *o = term_ptr(args[0]);
    int64_t n = 0;

    for (uint64_t i = 0; o[2 + i] == 0; i++) {
        n += 64;
    }
    return term_small(n + __builtin_ctzll(o[2 + (uint64_t)n / 64]));
}

static term_t mask_bits(struct process *p, term_t *args, unsigned argc)
{
    uint64_t k;

    if (!arg_size(args[0], SHIFT_MAX, &k)) {
        return raise_badarg(p, "mask-bits", args, argc);
    }
    term_t one = term_small(1);
    term_t top = integer_shift(p, &one, (int64_t)k);

    if (top == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[0] = top;
    return number_sub(p, &args[0], &one);
}

static term_t mask_range(struct process *p, term_t *args, unsigned argc)
{
    uint64_t low;
    uint64_t high;

    if (!arg_size(args[0], SHIFT_MAX, &low) || !arg_size(args[1], SHIFT_MAX, &high) || high < low) {
        return raise_badarg(p, "mask-range", args, argc);
    }
    args[1] = term_small((int64_t)(high - low));
    term_t ones = mask_bits(p, &args[1], 1);

    if (ones == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[1] = ones;
    return integer_shift(p, &args[1], (int64_t)low);
}

/* ---- byte order ---- */

static uint64_t reverse_bytes(uint64_t v, unsigned width)
{
    return __builtin_bswap64(v) >> (64 - width);
}

static term_t byte_order(struct process *p, term_t *args, unsigned width, bool swap, const char *fn)
{
    enum fixint_kind kind = width == 16 ? FIX_U16 : width == 32 ? FIX_U32 : FIX_U64;

    if (!term_is_integer(args[0])) {
        return raise_type(p, fn, 0, KW(integer), args[0]);
    }
    uint64_t v = integer_low_u64(args[0]) & mask_of(width);

    return fixed(p, kind, swap ? reverse_bytes(v, width) : v);
}

#define BYTE_ORDER(name, width, swap, text)                                                        \
    static term_t name(struct process *p, term_t *args, unsigned argc)                             \
    {                                                                                              \
        (void)argc;                                                                                \
        return byte_order(p, args, width, swap, text);                                             \
    }

BYTE_ORDER(byte_reverse16, 16, true, "byte-reverse16")
BYTE_ORDER(byte_reverse32, 32, true, "byte-reverse32")
BYTE_ORDER(byte_reverse64, 64, true, "byte-reverse64")
BYTE_ORDER(keep16, 16, false, "native->le16")
BYTE_ORDER(keep32, 32, false, "native->le32")
BYTE_ORDER(keep64, 64, false, "native->le64")

static term_t native_endian(struct process *p, term_t *args, unsigned argc)
{
    (void)p;
    (void)args;
    (void)argc;
    return KW(little);
}

#define PURE (NATIVE_PURE | NATIVE_ALLOCATES)
#define ANY  NATIVE_VARIADIC
#define ROW(text, fn, n, args, what)                                                               \
    {                                                                                              \
        "lona.core", text, fn, n, n, PURE, 1, args, what                                           \
    }

static const struct native rows[] = {
    ROW("u8", u8, 1, "(n)", "n modulo 2^8."),
    ROW("u16", u16, 1, "(n)", "n modulo 2^16."),
    ROW("u32", u32, 1, "(n)", "n modulo 2^32."),
    ROW("u64", u64, 1, "(n)", "n modulo 2^64."),
    ROW("i8", i8, 1, "(n)", "n wrapped to 8 bits, signed."),
    ROW("i16", i16, 1, "(n)", "n wrapped to 16 bits, signed."),
    ROW("i32", i32, 1, "(n)", "n wrapped to 32 bits, signed."),
    ROW("i64", i64, 1, "(n)", "n wrapped to 64 bits, signed."),
    ROW("char", make_char, 1, "(n)", "The character of code point n."),
    ROW("checked-add", checked_add_, 2, "(a b)", "[:ok sum] or [:error :overflow]."),
    ROW("saturating-add", saturating_add, 2, "(a b)", "The sum, clamped."),
    { "lona.core", "bit-and", bit_and, 1, ANY, PURE, 1, "(n…)", "Bits set in all." },
    { "lona.core", "bit-or", bit_or, 1, ANY, PURE, 1, "(n…)", "Bits set in any." },
    { "lona.core", "bit-xor", bit_xor, 1, ANY, PURE, 1, "(n…)", "Bits set in an odd number." },
    ROW("bit-not", bit_not, 1, "(n)", "All bits flipped."),
    ROW("bit-shl", bit_shl, 2, "(n k)", "Shifted left."),
    ROW("bit-shr", bit_shr, 2, "(n k)", "Shifted right: logical on fixed width."),
    ROW("bit-sar", bit_sar, 2, "(n k)", "Shifted right, keeping the sign."),
    ROW("bit-rol", bit_rol, 3, "(n k w)", "Rotated left within w bits."),
    ROW("bit-ror", bit_ror, 3, "(n k w)", "Rotated right within w bits."),
    ROW("bit-test", bit_test, 2, "(n i)", "Is bit i set?"),
    ROW("bit-set", bit_set, 2, "(n i)", "With bit i set."),
    ROW("bit-clear", bit_clear, 2, "(n i)", "With bit i clear."),
    ROW("bit-flip", bit_flip, 2, "(n i)", "With bit i flipped."),
    ROW("bit-field", bit_field, 3, "(n off width)", "The field."),
    ROW("bit-field-set", bit_field_set, 4, "(n off width v)", "With the field replaced."),
    ROW("bit-count", bit_count, 1, "(n)", "Number of ones."),
    ROW("leading-zeros", leading_zeros, 1, "(n)", "Zeros above the highest one, within the width."),
    ROW("trailing-zeros", trailing_zeros, 1, "(n)", "Zeros below the lowest one."),
    ROW("mask-bits", mask_bits, 1, "(k)", "k ones."),
    ROW("mask-range", mask_range, 2, "(lo hi)", "Ones in bits lo to hi-1."),
    ROW("native-endian", native_endian, 0, "()", ":little or :big."),
    ROW("byte-reverse16", byte_reverse16, 1, "(n)", "The two bytes swapped."),
    ROW("byte-reverse32", byte_reverse32, 1, "(n)", "The four bytes reversed."),
    ROW("byte-reverse64", byte_reverse64, 1, "(n)", "The eight bytes reversed."),
    ROW("native->be16", byte_reverse16, 1, "(n)", "In big-endian order."),
    ROW("native->be32", byte_reverse32, 1, "(n)", "In big-endian order."),
    ROW("native->be64", byte_reverse64, 1, "(n)", "In big-endian order."),
    ROW("be->native16", byte_reverse16, 1, "(n)", "From big-endian order."),
    ROW("be->native32", byte_reverse32, 1, "(n)", "From big-endian order."),
    ROW("be->native64", byte_reverse64, 1, "(n)", "From big-endian order."),
    ROW("native->le16", keep16, 1, "(n)", "In little-endian order."),
    ROW("native->le32", keep32, 1, "(n)", "In little-endian order."),
    ROW("native->le64", keep64, 1, "(n)", "In little-endian order."),
    ROW("le->native16", keep16, 1, "(n)", "From little-endian order."),
    ROW("le->native32", keep32, 1, "(n)", "From little-endian order."),
    ROW("le->native64", keep64, 1, "(n)", "From little-endian order."),
};

const struct native_table native_bits = { rows, array_size(rows) };

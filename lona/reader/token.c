/* SPDX-License-Identifier: Apache-2.0 */
/* Atoms: numbers, strings, characters, names. */
#include "reader/float_text.h"
#include "reader/reader_state.h"

#include "number/number.h"

/* The text up to the end of the token, in the source. */
static struct bytes_view take_token(struct reader *r)
{
    const uint8_t *from = r->at;

    while (!char_ends_token(reader_peek(r)) && reader_peek(r) != CHAR_INVALID) {
        reader_advance(r);
    }
    return (struct bytes_view){ from, (size_t)(r->at - from) };
}

/* ---- numbers ---- */

struct scan {
    const uint8_t *at;
    const uint8_t *end;
};

static int digit_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

static uint8_t scan_byte(const struct scan *s, size_t ahead)
{
    return (size_t)(s->end - s->at) > ahead ? s->at[ahead] : 0;
}

/*
 * A run of digits with underscores between them, appended to r->buffer without these. 0 when there
 * is none or an underscore stands wrong, -1 without memory, else the count.
 */
static long scan_digits(struct reader *r, struct scan *s, unsigned radix)
{
    long n = 0;

    if (scan_byte(s, 0) == '_') {
        return 0;
    }
    for (; s->at != s->end; s->at++) {
        if (*s->at == '_') {
            continue;
        }
        if (digit_value(*s->at) >= (int)radix) {
            break;
        }
        if (!buffer_put_byte(r, *s->at)) {
            return -1;
        }
        n++;
    }
    return n > 0 && s->at[-1] != '_' ? n : 0;
}

static bool scan_is(const struct scan *s, const char *text)
{
    size_t n = __builtin_strlen(text);

    return (size_t)(s->end - s->at) == n && __builtin_memcmp(s->at, text, n) == 0;
}

static const struct {
    const char *text;
    enum fixint_kind kind;
    unsigned bits;
    bool is_signed;
} suffixes[] = {
    { "u8", FIX_U8, 8, false },    { "u16", FIX_U16, 16, false }, { "u32", FIX_U32, 32, false },
    { "u64", FIX_U64, 64, false }, { "i8", FIX_I8, 8, true },     { "i16", FIX_I16, 16, true },
    { "i32", FIX_I32, 32, true },  { "i64", FIX_I64, 64, true },
};

static term_t bad_number(struct reader *r, struct place at, const char *message)
{
    return reader_fail(r, KW(invalid_number), at, message);
}

static bool fits_suffix(term_t t, size_t k, uint64_t *payload)
{
    int64_t v;

    if (!suffixes[k].is_signed) {
        return integer_to_u64(t, payload) &&
               (suffixes[k].bits == 64 || *payload >> suffixes[k].bits == 0);
    }
    if (!integer_to_i64(t, &v)) {
        return false;
    }
    int64_t limit = (int64_t)1 << (suffixes[k].bits - 1 < 62 ? suffixes[k].bits - 1 : 62);

    *payload = (uint64_t)v;
    return suffixes[k].bits == 64 || (v >= -limit && v < limit);
}

/* What follows the digits of an integer: nothing, N, or a width. */
static term_t finish_integer(struct reader *r, struct scan *s, term_t t, struct place at)
{
    uint64_t payload;

    if (t == TERM_ERROR || s->at == s->end || scan_is(s, "N")) {
        return t;
    }
    for (size_t k = 0; k < sizeof(suffixes) / sizeof(*suffixes); k++) {
        if (scan_is(s, suffixes[k].text)) {
            if (!fits_suffix(t, k, &payload)) {
                return bad_number(r, at, "the number does not fit its width");
            }
            return heap_reserve(r->p, 2) ? heap_fixint(r->p, suffixes[k].kind, payload)
                                         : TERM_ERROR;
        }
    }
    return bad_number(r, at, "not a number");
}

static term_t buffer_integer(struct reader *r, size_t from, size_t n, unsigned radix, bool negative)
{
    return integer_from_digits(r->p, (const char *)r->buffer.bytes + from, n, radix, negative);
}

static term_t radix_number(struct reader *r, struct scan *s, unsigned radix, bool negative,
                           struct place at)
{
    r->buffer.count = 0;
    long n = scan_digits(r, s, radix);

    if (n <= 0) {
        return n < 0 ? TERM_ERROR : bad_number(r, at, "digits are missing or wrong");
    }
    return finish_integer(r, s, buffer_integer(r, 0, (size_t)n, radix, negative), at);
}

static term_t ratio_number(struct reader *r, struct scan *s, size_t digits, bool negative,
                           struct place at)
{
    s->at++; /* the slash */
    long n = scan_digits(r, s, 10);

    if (n <= 0 || s->at != s->end) {
        return n < 0 ? TERM_ERROR : bad_number(r, at, "a ratio is digits/digits");
    }
    term_t num = buffer_integer(r, 0, digits, 10, negative);

    if (num == TERM_ERROR) {
        return TERM_ERROR;
    }
    term_t den = buffer_integer(r, digits, (size_t)n, 10, false);

    if (den == TERM_ERROR) {
        return TERM_ERROR;
    }
    if (den == term_small(0)) {
        return reader_fail(r, KW(division_by_zero), at, "the denominator is zero");
    }
    return ratio_make(r->p, &num, &den);
}

/* Fraction and exponent after the whole digits, into the buffer as text for the conversion. */
static bool scan_fraction(struct reader *r, struct scan *s, bool *bad)
{
    *bad = false;
    if (scan_byte(s, 0) == '.') {
        s->at++;
        if (!buffer_put_byte(r, '.')) {
            return false;
        }
        long n = scan_digits(r, s, 10);

        *bad = n == 0;
        if (n <= 0) {
            return n == 0;
        }
    }
    if ((scan_byte(s, 0) | 0x20) == 'e') {
        if (!buffer_put_byte(r, 'e')) {
            return false;
        }
        s->at++;
        if (scan_byte(s, 0) == '+' || scan_byte(s, 0) == '-') {
            if (!buffer_put_byte(r, *s->at++)) {
                return false;
            }
        }
        long n = scan_digits(r, s, 10);

        *bad = n == 0;
        return n >= 0;
    }
    return true;
}

static term_t decimal_number(struct reader *r, struct scan *s, bool negative, struct place at)
{
    bool bad;

    if (!scan_fraction(r, s, &bad)) {
        return TERM_ERROR;
    }
    if (bad) {
        return bad_number(r, at, "digits are missing");
    }
    bool is_f32 = scan_is(s, "f32");

    if (!is_f32 && s->at != s->end && !scan_is(s, "f64")) {
        return bad_number(r, at, "not a number");
    }
    double d = decimal_to_float((const char *)r->buffer.bytes, r->buffer.count, !is_f32);

    if (__builtin_isinf(d)) {
        return bad_number(r, at, "the number is too large for a float");
    }
    d = negative ? -d : d;
    if (!heap_reserve(r->p, FLOAT_WORDS)) {
        return TERM_ERROR;
    }
    if (!is_f32) {
        return heap_float(r->p, d);
    }
    float f = (float)d;
    uint32_t bits;

    __builtin_memcpy(&bits, &f, sizeof(bits));
    return heap_word_box(r->p, TAG_F32, 0, bits);
}

static term_t plain_number(struct reader *r, struct scan *s, bool negative, struct place at)
{
    r->buffer.count = 0;
    long n = scan_digits(r, s, 10);

    if (n <= 0) {
        return n < 0 ? TERM_ERROR : bad_number(r, at, "not a number");
    }
    uint8_t next = scan_byte(s, 0);

    if (next == 'r') {
        unsigned radix = 0;

        for (long i = 0; i < n && radix <= 36; i++) {
            radix = radix * 10 + (unsigned)(r->buffer.bytes[i] - '0');
        }
        if (radix < 2 || radix > 36) {
            return reader_fail(r, KW(invalid_radix), at, "a radix is 2 to 36");
        }
        s->at++;
        return radix_number(r, s, radix, negative, at);
    }
    if (next == '/') {
        return ratio_number(r, s, (size_t)n, negative, at);
    }
    if (next == '.' || (next | 0x20) == 'e') {
        return decimal_number(r, s, negative, at);
    }
    return finish_integer(r, s, buffer_integer(r, 0, (size_t)n, 10, negative), at);
}

term_t reader_number(struct reader *r)
{
    struct place at = r->here;
    struct bytes_view token = take_token(r);
    struct scan s = { token.data, token.data + token.size };
    bool negative = *s.at == '-';

    if (*s.at == '-' || *s.at == '+') {
        s.at++;
    }
    if (scan_byte(&s, 0) == '0') {
        uint8_t kind = scan_byte(&s, 1);
        unsigned radix = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;

        if (radix != 0) {
            s.at += 2;
            return radix_number(r, &s, radix, negative, at);
        }
    }
    return plain_number(r, &s, negative, at);
}

term_t reader_special_float(struct reader *r, struct place at)
{
    struct bytes_view token = take_token(r);
    struct scan s = { token.data, token.data + token.size };
    double d;

    if (scan_is(&s, "#Inf")) {
        d = __builtin_inf();
    } else if (scan_is(&s, "#-Inf")) {
        d = -__builtin_inf();
    } else if (scan_is(&s, "#NaN")) {
        d = __builtin_nan("");
    } else {
        return reader_fail(r, KW(unexpected_char), at, "only ##Inf, ##-Inf and ##NaN begin so");
    }
    return heap_reserve(r->p, FLOAT_WORDS) ? heap_float(r->p, d) : TERM_ERROR;
}

/* ---- strings and characters ---- */

/* Four hexadecimal digits; -1 if they aren't there. */
static int32_t hex4(struct reader *r)
{
    int32_t v = 0;

    for (unsigned i = 0; i < 4; i++) {
        int32_t c = reader_byte(r, 0);
        int d = c < 0 ? 99 : digit_value((uint8_t)c);

        if (d > 15) {
            return -1;
        }
        v = v * 16 + d;
        reader_advance(r);
    }
    return v;
}

static bool is_surrogate(int32_t c, int32_t base)
{
    return c >= base && c < base + 0x400;
}

/* After "\u": a code point, two escapes if it is a surrogate pair; -1 if malformed. */
static int32_t escaped_unit(struct reader *r)
{
    int32_t c = hex4(r);

    if (is_surrogate(c, 0xD800) && reader_byte(r, 0) == '\\' && reader_byte(r, 1) == 'u') {
        reader_advance(r);
        reader_advance(r);
        int32_t low = hex4(r);

        return is_surrogate(low, 0xDC00) ? 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00) : -1;
    }
    return is_surrogate(c, 0xD800) || is_surrogate(c, 0xDC00) ? -1 : c;
}

static int32_t escaped_char(struct reader *r)
{
    int32_t c = reader_peek(r);

    if (c < 0) {
        return -1;
    }
    reader_advance(r);
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case '\\':
    case '"':
        return c;
    case 'u':
        return escaped_unit(r);
    default:
        return -1;
    }
}

bool reader_string_bytes(struct reader *r, struct place opened)
{
    r->buffer.count = 0;
    for (;;) {
        struct place at = r->here;
        int32_t c = reader_peek(r);

        if (c == CHAR_END) {
            (void)reader_fail_eof(r, opened, "the string is never closed");
            return false;
        }
        if (c == CHAR_INVALID) {
            (void)reader_fail(r, KW(invalid_utf8), at, "the text is not UTF-8 here");
            return false;
        }
        reader_advance(r);
        if (c == '"') {
            return true;
        }
        if (c == '\\') {
            if (reader_peek(r) == CHAR_END) {
                (void)reader_fail_eof(r, opened, "the string is never closed");
                return false;
            }
            c = escaped_char(r);
            if (c < 0) {
                (void)reader_fail(r, KW(invalid_escape), at, "no such escape");
                return false;
            }
        }
        if (!buffer_put_char(r, (uint32_t)c)) {
            return false;
        }
    }
}

term_t reader_string(struct reader *r)
{
    struct place opened = r->here;

    reader_advance(r);
    return reader_string_bytes(r, opened)
               ? heap_string(r->p, (const char *)r->buffer.bytes, r->buffer.count)
               : TERM_ERROR;
}

static bool is_char_name_byte(int32_t c)
{
    return char_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int32_t named_char(struct scan *s)
{
    static const struct {
        const char *name;
        int32_t c;
    } names[] = { { "newline", '\n' }, { "space", ' ' }, { "tab", '\t' }, { "return", '\r' } };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (scan_is(s, names[i].name)) {
            return names[i].c;
        }
    }
    int32_t v = 0;

    if (s->end - s->at != 5 || *s->at != 'u') {
        return -1;
    }
    for (unsigned i = 1; i < 5; i++) {
        if (digit_value(s->at[i]) > 15) {
            return -1;
        }
        v = v * 16 + digit_value(s->at[i]);
    }
    return v >= 0xD800 && v <= 0xDFFF ? -1 : v;
}

term_t reader_char(struct reader *r)
{
    struct place at = r->here;

    reader_advance(r);
    int32_t c = reader_peek(r);

    if (c == CHAR_END) {
        return reader_fail_eof(r, at, "a character is missing");
    }
    if (c == CHAR_INVALID) {
        return reader_fail(r, KW(invalid_utf8), at, "the text is not UTF-8 here");
    }
    const uint8_t *from = r->at;

    reader_advance(r);
    if (!is_char_name_byte(c)) {
        return term_char((uint32_t)c);
    }
    while (is_char_name_byte(reader_peek(r))) {
        reader_advance(r);
    }
    if (r->at - from == 1) {
        return term_char((uint32_t)c);
    }
    c = named_char(&(struct scan){ from, r->at });
    return c < 0 ? reader_fail(r, KW(invalid_char), at, "no character has this name")
                 : term_char((uint32_t)c);
}

/* ---- names ---- */

static bool is_name_char(const struct reader *r, int32_t c)
{
    return char_is_name_start(c) || char_is_digit(c) || c == '\'' || c == ':' ||
           (c == '#' && r->quote_depth > 0);
}

static struct bytes_view take_name(struct reader *r)
{
    const uint8_t *from = r->at;

    while (is_name_char(r, reader_peek(r))) {
        bool last = reader_peek(r) == '#';

        reader_advance(r);
        if (last) {
            break;
        }
    }
    return (struct bytes_view){ from, (size_t)(r->at - from) };
}

/* A name must end where a token may. */
static bool check_name_end(struct reader *r)
{
    int32_t c = reader_peek(r);

    if (c == CHAR_INVALID) {
        (void)reader_fail(r, KW(invalid_utf8), r->here, "the text is not UTF-8 here");
        return false;
    }
    if (!char_ends_token(c)) {
        (void)reader_fail(r, KW(unexpected_char), r->here, "this can't be part of a name");
        return false;
    }
    return true;
}

static bool name_is(struct bytes_view name, const char *text)
{
    return name.size == __builtin_strlen(text) && __builtin_memcmp(name.data, text, name.size) == 0;
}

term_t reader_symbol(struct reader *r)
{
    struct bytes_view name = take_name(r);

    if (!check_name_end(r)) {
        return TERM_ERROR;
    }
    if (name_is(name, "nil")) {
        return TERM_NIL;
    }
    if (name_is(name, "true")) {
        return TERM_TRUE;
    }
    if (name_is(name, "false")) {
        return TERM_FALSE;
    }
    term_t t = realm_symbol(r->vm, (const char *)name.data, name.size);

    return t == TERM_ERROR ? raise_oom(r->p) : t;
}

term_t reader_keyword(struct reader *r)
{
    struct place at = r->here;

    reader_advance(r);
    if (!char_is_name_start(reader_peek(r))) {
        return reader_fail(r, KW(invalid_keyword), at, "a keyword needs a name after its colon");
    }
    struct bytes_view name = take_name(r);

    if (!check_name_end(r)) {
        return TERM_ERROR;
    }
    term_t t = realm_keyword(r->vm, (const char *)name.data, name.size);

    return t == TERM_ERROR ? raise_oom(r->p) : t;
}

static term_t numbered_placeholder(struct reader *r, unsigned number, struct place at)
{
    struct placeholders *a = &r->anon;

    if (number == 0 || number > PLACEHOLDERS_MAX) {
        return reader_fail(r, KW(unexpected_char), at, "no such placeholder");
    }
    if (number > a->highest) {
        a->highest = number;
    }
    if (a->params[number - 1] == 0) {
        term_t s = reader_gensym(r, "p", 1);

        if (s == TERM_ERROR) {
            return TERM_ERROR;
        }
        a->params[number - 1] = s;
    }
    return a->params[number - 1];
}

term_t reader_placeholder(struct reader *r)
{
    struct placeholders *a = &r->anon;
    struct place at = r->here;

    if (!a->active) {
        return reader_fail(r, KW(unexpected_char), at, "% stands only inside #(");
    }
    reader_advance(r);
    if (reader_peek(r) == '&') {
        reader_advance(r);
        if (a->rest == 0) {
            term_t s = reader_gensym(r, "rest", 4);

            if (s == TERM_ERROR) {
                return TERM_ERROR;
            }
            a->rest = s;
        }
        return check_name_end(r) ? a->rest : TERM_ERROR;
    }
    unsigned number = 0;
    bool is_plain = !char_is_digit(reader_peek(r));

    while (char_is_digit(reader_peek(r)) && number <= PLACEHOLDERS_MAX) {
        number = number * 10 + (unsigned)(reader_peek(r) - '0');
        reader_advance(r);
    }
    number = is_plain ? 1 : number;
    a->plain |= is_plain;
    a->first |= !is_plain && number == 1;
    return check_name_end(r) ? numbered_placeholder(r, number, at) : TERM_ERROR;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* TOML: strings, numbers, booleans, dates. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <base/checked.h>

#include "files.h"
#include "toml_internal.h"

#define TOKEN_SIZE_MAX 80u

unsigned toml_utf8_length(const char *p, const char *end)
{
    unsigned char c = (unsigned char)*p;
    unsigned length = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : 4;

    if (c < 0x80) {
        return 1;
    }
    if (c < 0xc2 || c > 0xf4 || (size_t)(end - p) < length) {
        return 0;
    }
    for (unsigned i = 1; i < length; i++) {
        if (((unsigned char)p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    unsigned char second = (unsigned char)p[1];

    /* Overlong forms, surrogates, beyond U+10FFFF. */
    if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
        (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f)) {
        return 0;
    }
    return length;
}

/* ---- Strings --------------------------------------------------------------------------------- */

static void add_code_point(struct buffer *b, uint32_t c)
{
    char bytes[4];
    size_t size = 0;

    if (c < 0x80) {
        bytes[size++] = (char)c;
    } else if (c < 0x800) {
        bytes[size++] = (char)(0xc0 | (c >> 6));
        bytes[size++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        bytes[size++] = (char)(0xe0 | (c >> 12));
        bytes[size++] = (char)(0x80 | ((c >> 6) & 0x3f));
        bytes[size++] = (char)(0x80 | (c & 0x3f));
    } else {
        bytes[size++] = (char)(0xf0 | (c >> 18));
        bytes[size++] = (char)(0x80 | ((c >> 12) & 0x3f));
        bytes[size++] = (char)(0x80 | ((c >> 6) & 0x3f));
        bytes[size++] = (char)(0x80 | (c & 0x3f));
    }
    buffer_add(b, bytes, size);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* s->p stands behind "\u" or "\U". */
static bool parse_unicode_escape(struct toml_parser *s, unsigned digits, struct buffer *b)
{
    uint32_t c = 0;

    for (unsigned i = 0; i < digits; i++, s->p++) {
        int digit = s->p < s->end ? hex_digit(*s->p) : -1;

        if (digit < 0) {
            return toml_fail(s, "expected %u hexadecimal digits", digits);
        }
        c = (c << 4) | (uint32_t)digit;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return toml_fail(s, "U+%X is not a character", c);
    }
    add_code_point(b, c);
    return true;
}

/* "\" at the end of a line drops the new line and all space up to the next character. */
static bool parse_line_continuation(struct toml_parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
    }
    if (!toml_skip_newline(s)) {
        return toml_fail(s, "unknown escape in the string");
    }
    do {
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\t')) {
            s->p++;
        }
    } while (toml_skip_newline(s));
    return true;
}

static bool parse_escape(struct toml_parser *s, bool is_multiline, struct buffer *b)
{
    static const char codes[] = "btnfr\"\\";
    static const char meanings[] = "\b\t\n\f\r\"\\";

    s->p++;
    if (s->p == s->end) {
        return toml_fail(s, "the string does not end");
    }
    char c = *s->p;
    const char *code = c ? strchr(codes, c) : NULL;

    if (code) {
        buffer_add(b, &meanings[code - codes], 1);
        s->p++;
        return true;
    }
    if (c == 'u' || c == 'U') {
        s->p++;
        return parse_unicode_escape(s, c == 'u' ? 4 : 8, b);
    }
    if (is_multiline) {
        return parse_line_continuation(s);
    }
    return toml_fail(s, "unknown escape in the string");
}

/* At a quote of a multi-line string: up to two quotes may stand before the closing three. */
static bool parse_closing_quotes(struct toml_parser *s, char quote, struct buffer *b,
                                 bool *is_closed)
{
    unsigned quotes = 0;

    while (s->p < s->end && *s->p == quote && quotes < 6) {
        s->p++;
        quotes++;
    }
    *is_closed = quotes >= 3;
    if (quotes == 6) {
        return toml_fail(s, "too many quotes at the end of the string");
    }
    for (unsigned i = *is_closed ? 3 : 0; i < quotes; i++) {
        buffer_add(b, &quote, 1);
    }
    return true;
}

static bool parse_string_body(struct toml_parser *s, char quote, bool is_multiline,
                              struct buffer *b)
{
    while (s->p < s->end) {
        if (*s->p == quote && !is_multiline) {
            s->p++;
            return true;
        }
        if (*s->p == quote) {
            bool is_closed = false;

            if (!parse_closing_quotes(s, quote, b, &is_closed)) {
                return false;
            }
            if (is_closed) {
                return true;
            }
            continue;
        }
        if (*s->p == '\\' && quote == '"') {
            if (!parse_escape(s, is_multiline, b)) {
                return false;
            }
            continue;
        }
        if (is_multiline && toml_skip_newline(s)) {
            buffer_add(b, "\n", 1);
            continue;
        }
        unsigned length = toml_utf8_length(s->p, s->end);

        if (*s->p == '\n') {
            return toml_fail(s, "the string does not end on its line");
        }
        if (length == 0 || ((unsigned char)*s->p < 0x20 && *s->p != '\t') || *s->p == 0x7f) {
            return toml_fail(s, "a string must be UTF-8 without control characters");
        }
        buffer_add(b, s->p, length);
        s->p += length;
    }
    return toml_fail(s, "the string does not end");
}

bool toml_parse_string(struct toml_parser *s, bool may_be_multiline, struct toml_text *out)
{
    char quote = *s->p;
    const char triple[4] = { quote, quote, quote, '\0' };
    bool is_multiline = may_be_multiline && toml_looks_at(s, triple);
    CLEANUP_BUFFER b = { 0 };

    s->p += is_multiline ? 3 : 1;
    if (is_multiline) {
        (void)toml_skip_newline(s); /* a new line right behind the quotes is not part of it */
    }
    if (!parse_string_body(s, quote, is_multiline, &b)) {
        return false;
    }
    *out = toml_keep(s, b.data, b.size);
    return true;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/*
 * Copy `text` without its underscores, each of which must stand between two digits of that base.
 * Returns false if one does not.
 */
static bool strip_underscores(const char *text, bool is_hex, char *out)
{
    for (size_t i = 0; text[i]; i++) {
        if (text[i] != '_') {
            *out++ = text[i];
            continue;
        }
        int before = i > 0 ? hex_digit(text[i - 1]) : -1;
        int after = hex_digit(text[i + 1]);
        int limit = is_hex ? 15 : 9;

        if (before < 0 || after < 0 || before > limit || after > limit) {
            return false;
        }
    }
    *out = '\0';
    return true;
}

static bool parse_based_integer(struct toml_parser *s, const char *digits, unsigned base,
                                struct toml_value *out)
{
    uint64_t value = 0;

    if (*digits == '\0') {
        return toml_fail(s, "expected digits");
    }
    for (; *digits; digits++) {
        int digit = hex_digit(*digits);

        if (digit < 0 || (unsigned)digit >= base) {
            return toml_fail(s, "not a number of base %u", base);
        }
        if (!checked_mul(value, (uint64_t)base, &value) ||
            !checked_add(value, (uint64_t)digit, &value) || value > INT64_MAX) {
            return toml_fail(s, "the number does not fit into 64 bits");
        }
    }
    out->type = TOML_INTEGER;
    out->integer = (int64_t)value;
    return true;
}

static bool parse_decimal_integer(struct toml_parser *s, const char *text, struct toml_value *out)
{
    bool is_negative = *text == '-';
    int64_t value = 0;

    text += *text == '-' || *text == '+';
    if (text[0] == '0' && text[1] != '\0') {
        return toml_fail(s, "a number must not begin with 0");
    }
    for (; *text; text++) {
        int digit = *text - '0';

        if (!checked_mul(value, INT64_C(10), &value) ||
            !checked_add(value, is_negative ? -digit : digit, &value)) {
            return toml_fail(s, "the number does not fit into 64 bits");
        }
    }
    out->type = TOML_INTEGER;
    out->integer = value;
    return true;
}

static size_t count_digits(const char *p)
{
    size_t n = 0;

    while (p[n] >= '0' && p[n] <= '9') {
        n++;
    }
    return n;
}

/* [+-]digits[.digits][(e|E)[+-]digits], no leading zeros before the point. */
static bool is_float_syntax(const char *p)
{
    p += *p == '-' || *p == '+';
    size_t whole = count_digits(p);

    if (whole == 0 || (whole > 1 && *p == '0')) {
        return false;
    }
    p += whole;
    if (*p == '.') {
        size_t fraction = count_digits(p + 1);

        if (fraction == 0) {
            return false;
        }
        p += 1 + fraction;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        size_t exponent = count_digits(p);

        if (exponent == 0) {
            return false;
        }
        p += exponent;
    }
    return *p == '\0';
}

static bool parse_number(struct toml_parser *s, const char *token, struct toml_value *out)
{
    char text[TOKEN_SIZE_MAX + 1] = { 0 };
    bool is_hex = strncmp(token, "0x", 2) == 0;
    const char *unsigned_part = token + (*token == '+' || *token == '-');

    if (!strip_underscores(token, is_hex, text)) {
        return toml_fail(s, "_ must stand between two digits");
    }
    if (is_hex || strncmp(token, "0o", 2) == 0 || strncmp(token, "0b", 2) == 0) {
        if (token[2] == '_') {
            return toml_fail(s, "_ must stand between two digits");
        }
        return parse_based_integer(s, text + 2, is_hex ? 16 : token[1] == 'o' ? 8 : 2, out);
    }
    if (strcmp(unsigned_part, "inf") == 0 || strcmp(unsigned_part, "nan") == 0) {
        out->type = TOML_FLOAT;
        out->floating = unsigned_part[0] == 'i' ? (double)INFINITY : (double)NAN;
        out->floating = *token == '-' ? -out->floating : out->floating;
        return true;
    }
    const char *digits = text + (*text == '+' || *text == '-');

    if (*digits && digits[count_digits(digits)] == '\0') {
        return parse_decimal_integer(s, text, out);
    }
    if (is_float_syntax(text)) {
        out->type = TOML_FLOAT;
        out->floating = strtod(text, NULL); /* the program never leaves the C locale */
        return true;
    }
    return toml_fail(s, "not a value: %.40s (strings need quotes)", token);
}

/* ---- Dates ----------------------------------------------------------------------------------- */

static bool take_number(const char **p, size_t digits, unsigned min, unsigned max, unsigned *out)
{
    unsigned value = 0;

    for (size_t i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(**p - '0');
    }
    *out = value;
    return value >= min && value <= max;
}

static bool take_byte(const char **p, const char *any_of)
{
    if (**p == '\0' || !strchr(any_of, **p)) {
        return false;
    }
    (*p)++;
    return true;
}

static bool take_date(const char **p)
{
    static const uint8_t days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    unsigned year = 0;
    unsigned month = 0;
    unsigned day = 0;

    if (!take_number(p, 4, 0, 9999, &year) || !take_byte(p, "-") ||
        !take_number(p, 2, 1, 12, &month) || !take_byte(p, "-") ||
        !take_number(p, 2, 1, days[month - 1], &day)) {
        return false;
    }
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month != 2 || day < 29 || is_leap;
}

static bool take_time(const char **p)
{
    unsigned part = 0;

    if (!take_number(p, 2, 0, 23, &part) || !take_byte(p, ":") ||
        !take_number(p, 2, 0, 59, &part) || !take_byte(p, ":") ||
        !take_number(p, 2, 0, 60, &part)) {
        return false;
    }
    if (take_byte(p, ".")) {
        size_t digits = count_digits(*p);

        *p += digits;
        return digits > 0;
    }
    return true;
}

static bool take_offset(const char **p)
{
    unsigned part = 0;

    if (take_byte(p, "zZ")) {
        return true;
    }
    return take_byte(p, "+-") && take_number(p, 2, 0, 23, &part) && take_byte(p, ":") &&
           take_number(p, 2, 0, 59, &part);
}

static bool is_date_syntax(const char *p)
{
    if (count_digits(p) == 2) {
        return take_time(&p) && *p == '\0';
    }
    if (!take_date(&p)) {
        return false;
    }
    if (*p == '\0') {
        return true;
    }
    if (!take_byte(&p, "tT ") || !take_time(&p)) {
        return false;
    }
    return *p == '\0' || (take_offset(&p) && *p == '\0');
}

/* ---- Any of them ----------------------------------------------------------------------------- */

static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_+-.:", c));
}

static size_t token_length(const struct toml_parser *s)
{
    size_t n = 0;
    size_t left = (size_t)(s->end - s->p);

    while (n < left && is_token_byte(s->p[n])) {
        n++;
    }
    /* "1979-05-27 07:32:00": the one value that may hold a space. */
    if (n == 10 && s->p[4] == '-' && left > 11 && s->p[10] == ' ' && s->p[11] >= '0' &&
        s->p[11] <= '9') {
        n++;
        while (n < left && is_token_byte(s->p[n])) {
            n++;
        }
    }
    return n;
}

bool toml_parse_scalar(struct toml_parser *s, struct toml_value *out)
{
    char token[TOKEN_SIZE_MAX + 1];
    size_t size = 0;

    if (*s->p == '"' || *s->p == '\'') {
        out->type = TOML_STRING;
        return toml_parse_string(s, true, &out->text);
    }
    size = token_length(s);
    if (size == 0 || size > TOKEN_SIZE_MAX) {
        return toml_fail(s, size == 0 ? "expected a value" : "the value is too long");
    }
    memcpy(token, s->p, size);
    token[size] = '\0';
    if (strcmp(token, "true") == 0 || strcmp(token, "false") == 0) {
        out->type = TOML_BOOLEAN;
        out->boolean = token[0] == 't';
    } else if ((count_digits(token) == 4 && token[4] == '-') ||
               (count_digits(token) == 2 && token[2] == ':')) {
        if (!is_date_syntax(token)) {
            return toml_fail(s, "not a date or time: %s", token);
        }
        out->type = TOML_DATETIME;
        out->text = toml_keep(s, token, size);
    } else if (!parse_number(s, token, out)) {
        return false;
    }
    s->p += size;
    return true;
}

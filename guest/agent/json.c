/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <string.h>

void json_init(struct json *j, char *text, size_t size)
{
    *j = (struct json){ .depth = 0 };
    j->at = text;
    j->end = text + size;
}

void json_fail(struct json *j, const char *why)
{
    if (j->error == NULL) {
        j->error = why;
    }
    j->at = j->end;
}

static void skip_space(struct json *j)
{
    while (j->at < j->end &&
           (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r')) {
        j->at++;
    }
}

/* Read `c` if it is next. */
static bool take(struct json *j, char c)
{
    skip_space(j);
    if (j->at < j->end && *j->at == c) {
        j->at++;
        return true;
    }
    return false;
}

static void want(struct json *j, char c, const char *why)
{
    if (!take(j, c)) {
        json_fail(j, why);
    }
}

bool json_end(struct json *j)
{
    skip_space(j);
    if (j->at != j->end) {
        json_fail(j, "something follows the JSON value");
    }
    return j->error == NULL;
}

char json_peek(struct json *j)
{
    skip_space(j);
    if (j->at == j->end) {
        return 0;
    }
    if (*j->at == '-' || (*j->at >= '0' && *j->at <= '9')) {
        return '0';
    }
    if (*j->at == '\0' || strchr("{[\"tfn", *j->at) == NULL) {
        return 0;
    }
    return *j->at;
}

/* --- objects and arrays ----------------------------------------------------------------------- */

static void begin(struct json *j, char c, const char *why)
{
    want(j, c, why);
    if (++j->depth > JSON_DEPTH_MAX) {
        json_fail(j, "JSON nested too deeply");
    }
    j->is_first = true;
}

/* At a member of what `close` ends; false at its end. */
static bool next(struct json *j, char close)
{
    if (j->error != NULL) {
        return false;
    }
    if (take(j, close)) {
        j->depth--;
        j->is_first = false;
        return false;
    }
    if (!j->is_first) {
        want(j, ',', "JSON: a comma is missing");
    }
    j->is_first = false;
    return j->error == NULL;
}

void json_object_begin(struct json *j)
{
    begin(j, '{', "JSON: an object is wanted");
}

bool json_object_next(struct json *j, char **key)
{
    if (!next(j, '}')) {
        return false;
    }
    *key = json_string(j, NULL);
    want(j, ':', "JSON: a colon is missing");
    return j->error == NULL;
}

void json_array_begin(struct json *j)
{
    begin(j, '[', "JSON: an array is wanted");
}

bool json_array_next(struct json *j)
{
    return next(j, ']');
}

/* --- strings ---------------------------------------------------------------------------------- */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits; UINT32_MAX: they are not there. */
static uint32_t take_hex(struct json *j)
{
    uint32_t value = 0;

    if (j->end - j->at < 4) {
        return UINT32_MAX;
    }
    for (unsigned i = 0; i < 4; i++) {
        int digit = hex_of(j->at[i]);

        if (digit < 0) {
            return UINT32_MAX;
        }
        value = value << 4 | (uint32_t)digit;
    }
    j->at += 4;
    return value;
}

/* A code point behind "\u", of one or two escapes; UINT32_MAX: none. */
static uint32_t take_code_point(struct json *j)
{
    uint32_t high = take_hex(j);
    uint32_t low = 0;

    if (high < 0xd800 || high > 0xdfff) {
        return high;
    }
    if (high > 0xdbff || j->end - j->at < 6 || j->at[0] != '\\' || j->at[1] != 'u') {
        return UINT32_MAX;
    }
    j->at += 2;
    low = take_hex(j);
    if (low < 0xdc00 || low > 0xdfff) {
        return UINT32_MAX;
    }
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* Never longer than its escape. */
static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (char)(0xe0 | c >> 12);
        } else {
            *to++ = (char)(0xf0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (c & 0x3f));
    return to;
}

/* Behind a backslash. */
static char *unescape(struct json *j, char *to)
{
    static const char from[] = "\"\\/bfnrt";
    static const char into[] = "\"\\/\b\f\n\r\t";
    const char *found = NULL;
    uint32_t c = 0;

    if (j->at == j->end) {
        json_fail(j, "JSON: a string does not end");
        return to;
    }
    if (*j->at == 'u') {
        j->at++;
        c = take_code_point(j);
        if (c == UINT32_MAX) {
            json_fail(j, "JSON: a wrong \\u escape");
            return to;
        }
        return put_utf8(to, c);
    }
    found = *j->at != '\0' ? strchr(from, *j->at) : NULL;
    if (found == NULL) {
        json_fail(j, "JSON: a wrong escape");
        return to;
    }
    j->at++;
    *to++ = into[found - from];
    return to;
}

char *json_string(struct json *j, size_t *size)
{
    static char empty[1];
    char *start = NULL;
    char *to = NULL;
    bool is_closed = false;

    want(j, '"', "JSON: a string is wanted");
    start = j->at;
    to = start;
    while (j->at < j->end && !is_closed) {
        char c = *j->at++;

        if (c == '"') {
            is_closed = true;
        } else if (c == '\\') {
            to = unescape(j, to);
        } else if ((unsigned char)c < 0x20) {
            json_fail(j, "JSON: a control character in a string");
        } else {
            *to++ = c;
        }
    }
    if (!is_closed) {
        json_fail(j, "JSON: a string does not end");
    }
    if (j->error == NULL && size == NULL && memchr(start, '\0', (size_t)(to - start)) != NULL) {
        json_fail(j, "JSON: a NUL in a string");
    }
    if (j->error != NULL) {
        empty[0] = '\0';
        start = to = empty;
    }
    *to = '\0'; /* at the latest where the closing quote stood */
    if (size != NULL) {
        *size = (size_t)(to - start);
    }
    return start;
}

/* --- the rest --------------------------------------------------------------------------------- */

uint64_t json_number(struct json *j)
{
    const char *start = NULL;
    uint64_t value = 0;

    skip_space(j);
    start = j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') {
        value = value * 10 + (uint64_t)(*j->at++ - '0');
        if (value > UINT64_C(1) << 53) {
            json_fail(j, "JSON: a number is too large");
            return 0;
        }
    }
    if (j->at == start || (*start == '0' && j->at - start > 1) ||
        (j->at < j->end && (*j->at == '.' || *j->at == 'e' || *j->at == 'E'))) {
        json_fail(j, "JSON: a whole number is wanted");
        return 0;
    }
    return value;
}

static bool take_word(struct json *j, const char *word)
{
    size_t size = strlen(word);

    skip_space(j);
    if ((size_t)(j->end - j->at) < size || memcmp(j->at, word, size) != 0) {
        return false;
    }
    j->at += size;
    return true;
}

bool json_bool(struct json *j)
{
    if (take_word(j, "true")) {
        return true;
    }
    if (!take_word(j, "false")) {
        json_fail(j, "JSON: true or false is wanted");
    }
    return false;
}

bool json_null(struct json *j)
{
    return take_word(j, "null");
}

/* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static void skip_digits(struct json *j)
{
    const char *start = j->at;

    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') {
        j->at++;
    }
    if (j->at == start) {
        json_fail(j, "JSON: a wrong number");
    }
}

static void skip_number(struct json *j)
{
    const char *first = NULL;

    (void)take(j, '-');
    first = j->at;
    skip_digits(j);
    if (j->error == NULL && *first == '0' && j->at - first > 1) {
        json_fail(j, "JSON: a wrong number");
    }
    if (j->at < j->end && *j->at == '.') {
        j->at++;
        skip_digits(j);
    }
    if (j->at < j->end && (*j->at == 'e' || *j->at == 'E')) {
        j->at++;
        if (j->at < j->end && (*j->at == '+' || *j->at == '-')) {
            j->at++;
        }
        skip_digits(j);
    }
}

void json_skip(struct json *j) /* NOLINT(misc-no-recursion): depth is bounded */
{
    char *key = NULL;
    size_t size = 0;

    switch (json_peek(j)) {
    case '{':
        json_object_begin(j);
        while (json_object_next(j, &key)) {
            json_skip(j);
        }
        break;
    case '[':
        json_array_begin(j);
        while (json_array_next(j)) {
            json_skip(j);
        }
        break;
    case '"':
        (void)json_string(j, &size);
        break;
    case '0':
        skip_number(j);
        break;
    case 'n':
        if (!json_null(j)) {
            json_fail(j, "JSON: a value is wanted");
        }
        break;
    case 't':
    case 'f':
        (void)json_bool(j);
        break;
    default:
        json_fail(j, "JSON: a value is wanted");
        break;
    }
}

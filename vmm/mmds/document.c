/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/document.h"

#include <string.h>

#include <base/assert.h>

struct cursor {
    const char *at;
    const char *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && is_blank(*c->at)) {
        c->at++;
    }
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ---- Checking ---- */

static bool take_char(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted) {
        return false;
    }
    c->at++;
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    const size_t size = strlen(word);

    if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0) {
        return false;
    }
    c->at += size;
    return true;
}

static bool take_digits(struct cursor *c)
{
    const char *first = c->at;

    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        c->at++;
    }
    return c->at > first;
}

static bool take_number(struct cursor *c)
{
    (void)take_char(c, '-');
    if (!take_char(c, '0') && !take_digits(c)) {
        return false;
    }
    if (take_char(c, '.') && !take_digits(c)) {
        return false;
    }
    if (take_char(c, 'e') || take_char(c, 'E')) {
        (void)(take_char(c, '+') || take_char(c, '-'));
        return take_digits(c);
    }
    return true;
}

static bool take_escape(struct cursor *c)
{
    if (c->at == c->end) {
        return false;
    }
    if (*c->at != 'u') {
        return strchr("\"\\/bfnrt", *c->at) != NULL && *c->at++ != '\0';
    }
    c->at++;
    for (unsigned i = 0; i < 4; i++, c->at++) {
        if (c->at == c->end || hex_of(*c->at) < 0) {
            return false;
        }
    }
    return true;
}

static bool take_string(struct cursor *c)
{
    if (!take_char(c, '"')) {
        return false;
    }
    while (c->at < c->end && *c->at != '"') {
        if ((unsigned char)*c->at < ' ') {
            return false;
        }
        if (*c->at++ == '\\' && !take_escape(c)) {
            return false;
        }
    }
    return take_char(c, '"');
}

/* A string that breaks off is not looked at again from where it did. */
static bool take_scalar(struct cursor *c)
{
    if (c->at < c->end && *c->at == '"') {
        return take_string(c);
    }
    return take_word(c, "true") || take_word(c, "false") || take_word(c, "null") || take_number(c);
}

struct nesting {
    unsigned depth;
    uint8_t is_object[DOCUMENT_DEPTH_MAX / 8];
};

static bool push(struct nesting *n, bool is_object)
{
    const unsigned bit = n->depth % 8;

    if (n->depth == DOCUMENT_DEPTH_MAX) {
        return false;
    }
    n->is_object[n->depth / 8] =
        (uint8_t)((n->is_object[n->depth / 8] & ~(1u << bit)) | (unsigned)is_object << bit);
    n->depth++;
    return true;
}

static bool is_in_object(const struct nesting *n)
{
    const unsigned top = n->depth - 1;

    assert(n->depth > 0);
    return (n->is_object[top / 8] >> top % 8 & 1) != 0;
}

static bool take_key(struct cursor *c)
{
    skip_blanks(c);
    if (!take_string(c)) {
        return false;
    }
    skip_blanks(c);
    return take_char(c, ':');
}

enum step {
    STEP_WRONG,
    STEP_VALUE, /* a value follows */
    STEP_AFTER, /* a value has ended */
};

/* The beginning of a value: the value itself, or the opening of one that holds others. */
static enum step take_value(struct cursor *c, struct nesting *n)
{
    const bool is_object = c->at < c->end && *c->at == '{';

    if (!take_char(c, '{') && !take_char(c, '[')) {
        return take_scalar(c) ? STEP_AFTER : STEP_WRONG;
    }
    skip_blanks(c);
    if (take_char(c, is_object ? '}' : ']')) {
        return STEP_AFTER;
    }
    if (!push(n, is_object) || (is_object && !take_key(c))) {
        return STEP_WRONG;
    }
    return STEP_VALUE;
}

/* What follows a value: the next one beside it, or the end of what holds it. */
static enum step take_separator(struct cursor *c, struct nesting *n)
{
    const bool is_object = is_in_object(n);

    if (take_char(c, ',')) {
        return is_object && !take_key(c) ? STEP_WRONG : STEP_VALUE;
    }
    if (!take_char(c, is_object ? '}' : ']')) {
        return STEP_WRONG;
    }
    n->depth--;
    return STEP_AFTER;
}

bool document_check(const char *text, size_t size)
{
    struct cursor c = { text, text + size };
    struct nesting n = { 0 };
    enum step step = STEP_VALUE;

    do {
        skip_blanks(&c);
        step = step == STEP_VALUE ? take_value(&c, &n) : take_separator(&c, &n);
        skip_blanks(&c);
    } while (step == STEP_VALUE || (step == STEP_AFTER && n.depth > 0));
    return step == STEP_AFTER && c.at == c.end;
}

/* ---- Walking a text that passed ---- */

static void skip_string(struct cursor *c)
{
    assert(c->at < c->end && *c->at == '"');
    for (c->at++; c->at < c->end && *c->at != '"'; c->at++) {
        c->at += *c->at == '\\';
    }
    c->at++;
    assert(c->at <= c->end);
}

static struct json_piece next_value(struct cursor *c)
{
    struct json_piece piece;
    unsigned depth = 0;

    skip_blanks(c);
    piece.at = c->at;
    do {
        assert(c->at < c->end);
        switch (*c->at) {
        case '"':
            skip_string(c);
            break;
        case '{':
        case '[':
            depth++;
            c->at++;
            break;
        case '}':
        case ']':
            depth--;
            c->at++;
            break;
        default:
            c->at++;
            break;
        }
        /* A scalar ends where its bytes do. */
        if (depth == 0 && *piece.at != '"' && *piece.at != '{' && *piece.at != '[') {
            while (c->at < c->end && strchr(",]} \t\r\n", *c->at) == NULL) {
                c->at++;
            }
        }
    } while (depth > 0);
    piece.size = (size_t)(c->at - piece.at);
    return piece;
}

struct json_piece document_root(const char *text, size_t size)
{
    struct cursor c = { text, text + size };

    return next_value(&c);
}

static bool is_kind(struct json_piece p, char open)
{
    return p.at != NULL && p.at[0] == open;
}

/* Inside the brackets. */
static struct cursor enter(struct json_piece p)
{
    return (struct cursor){ p.at + 1, p.at + p.size - 1 };
}

/* The next member or element; false at the end. `key` NULL: there are none. */
static bool next_member(struct cursor *c, struct json_piece *key, struct json_piece *value)
{
    skip_blanks(c);
    if (c->at < c->end && *c->at == ',') {
        c->at++;
        skip_blanks(c);
    }
    if (c->at == c->end) {
        return false;
    }
    if (key != NULL) {
        key->at = c->at;
        skip_string(c);
        key->size = (size_t)(c->at - key->at);
        skip_blanks(c);
        c->at++; /* ':' */
    }
    *value = next_value(c);
    return true;
}

/* ---- Strings ---- */

static unsigned take_hex(struct cursor *c)
{
    unsigned value = 0;

    for (unsigned i = 0; i < 4; i++) {
        value = value << 4 | (unsigned)hex_of(*c->at++);
    }
    return value;
}

/* After "\u": one character, of two such escapes if it is a pair. */
static unsigned take_code_point(struct cursor *c)
{
    const unsigned first = take_hex(c);

    if (first >= 0xd800 && first < 0xdc00 && c->end - c->at >= 6 && c->at[0] == '\\' &&
        c->at[1] == 'u') {
        struct cursor after = { c->at + 2, c->end };
        const unsigned second = take_hex(&after);

        if (second >= 0xdc00 && second < 0xe000) {
            c->at = after.at;
            return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        }
    }
    return first >= 0xd800 && first < 0xe000 ? 0xfffd : first; /* half a pair is no character */
}

static unsigned put_utf8(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* The next bytes of a string's text: 1 to 4. No escape is shorter than what it stands for. */
static unsigned next_bytes(struct cursor *c, char out[4])
{
    static const char escapes[] = "b\bf\fn\nr\rt\t";
    const char *found;
    char escape;

    if (*c->at != '\\') {
        out[0] = *c->at++;
        return 1;
    }
    c->at++;
    escape = *c->at++;
    if (escape == 'u') {
        return put_utf8(take_code_point(c), out);
    }
    out[0] = escape;
    found = strchr(escapes, escape);
    if (found != NULL) {
        out[0] = found[1];
    }
    return 1;
}

static size_t write_string(struct json_piece p, char *out)
{
    struct cursor c = enter(p);
    size_t size = 0;

    while (c.at < c.end) {
        char bytes[4];
        const unsigned count = next_bytes(&c, bytes);

        memcpy(out + size, bytes, count);
        size += count;
    }
    return size;
}

/* ---- Paths ---- */

/* The next byte of a path's part: "~1" is '/', "~0" is '~'. */
static char next_path_byte(struct cursor *c)
{
    if (*c->at == '~' && c->end - c->at > 1 && (c->at[1] == '0' || c->at[1] == '1')) {
        c->at += 2;
        return c->at[-1] == '0' ? '~' : '/';
    }
    return *c->at++;
}

static bool is_key(struct json_piece key, struct cursor part)
{
    struct cursor c = enter(key);

    while (c.at < c.end) {
        char bytes[4];
        const unsigned count = next_bytes(&c, bytes);

        for (unsigned i = 0; i < count; i++) {
            if (part.at == part.end || next_path_byte(&part) != bytes[i]) {
                return false;
            }
        }
    }
    return part.at == part.end;
}

/* Digits without a leading zero; SIZE_MAX for anything else. */
static size_t index_of(struct cursor part)
{
    size_t index = 0;

    if (part.at == part.end || (*part.at == '0' && part.end - part.at > 1)) {
        return SIZE_MAX;
    }
    for (; part.at < part.end; part.at++) {
        if (*part.at < '0' || *part.at > '9' || index > UINT32_MAX) {
            return SIZE_MAX;
        }
        index = index * 10 + (size_t)(*part.at - '0');
    }
    return index;
}

static struct json_piece find_part(struct json_piece value, struct cursor part)
{
    struct json_piece key;
    struct json_piece member;

    if (is_kind(value, '{')) {
        for (struct cursor c = enter(value); next_member(&c, &key, &member);) {
            if (is_key(key, part)) {
                return member;
            }
        }
    } else if (is_kind(value, '[')) {
        size_t left = index_of(part);

        for (struct cursor c = enter(value); left != SIZE_MAX && next_member(&c, NULL, &member);) {
            if (left-- == 0) {
                return member;
            }
        }
    }
    return (struct json_piece){ 0 };
}

struct json_piece document_find(struct json_piece value, const char *path, size_t path_size)
{
    struct cursor c = { path, path + path_size };

    while (value.at != NULL) {
        struct cursor part;

        while (c.at < c.end && *c.at == '/') {
            c.at++;
        }
        if (c.at == c.end) {
            break;
        }
        part.at = c.at;
        while (c.at < c.end && *c.at != '/') {
            c.at++;
        }
        part.end = c.at;
        value = find_part(value, part);
    }
    return value;
}

/* ---- Writing ---- */

/* A line is shorter than its member's text: quotes and colon go, a '/' and a newline come. */
static size_t write_keys(struct json_piece value, char *out)
{
    struct json_piece key;
    struct json_piece member;
    size_t size = 0;

    for (struct cursor c = enter(value); next_member(&c, &key, &member);) {
        if (size > 0) {
            out[size++] = '\n';
        }
        size += write_string(key, out + size);
        if (is_kind(member, '{')) {
            out[size++] = '/';
        }
    }
    return size;
}

size_t document_write(struct json_piece value, enum document_form form, char *out)
{
    size_t size = SIZE_MAX;

    if (form == DOCUMENT_JSON) {
        memcpy(out, value.at, value.size);
        return value.size;
    }
    if (is_kind(value, '"')) {
        size = write_string(value, out);
    } else if (is_kind(value, '{')) {
        size = write_keys(value, out);
    }
    assert(size == SIZE_MAX || size <= value.size);
    return size;
}

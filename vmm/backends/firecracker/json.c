/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/firecracker/json.h"

#include <string.h>

#include <base/fmt.h>

/* ---- Writing ---- */

static void put(struct fc_json *j, const char *bytes, size_t size)
{
    if (j->has_overflowed || size >= sizeof(j->text) - j->length) {
        j->has_overflowed = true;
        return;
    }
    memcpy(j->text + j->length, bytes, size);
    j->length += size;
    j->text[j->length] = '\0';
}

static void put_text(struct fc_json *j, const char *text)
{
    put(j, text, strlen(text));
}

static void put_quoted(struct fc_json *j, const char *text)
{
    put_text(j, "\"");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[8];

        if (c == '"' || c == '\\') {
            (void)fmt_snprintf(escaped, sizeof(escaped), "\\%c", c);
            put_text(j, escaped);
        } else if (c < ' ') {
            (void)fmt_snprintf(escaped, sizeof(escaped), "\\u%04x", c);
            put_text(j, escaped);
        } else {
            put(j, text, 1);
        }
    }
    put_text(j, "\"");
}

static void put_key(struct fc_json *j, const char *key)
{
    if (j->length > 0 && j->text[j->length - 1] != '{') {
        put_text(j, ",");
    }
    put_quoted(j, key);
    put_text(j, ":");
}

void fc_json_begin(struct fc_json *j)
{
    j->length = 0;
    j->has_overflowed = false;
    put_text(j, "{");
}

void fc_json_string(struct fc_json *j, const char *key, const char *value)
{
    put_key(j, key);
    put_quoted(j, value);
}

void fc_json_number(struct fc_json *j, const char *key, uint64_t value)
{
    char text[24];

    put_key(j, key);
    (void)fmt_snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    put_text(j, text);
}

void fc_json_bool(struct fc_json *j, const char *key, bool value)
{
    put_key(j, key);
    put_text(j, value ? "true" : "false");
}

void fc_json_open(struct fc_json *j, const char *key)
{
    put_key(j, key);
    put_text(j, "{");
}

void fc_json_close(struct fc_json *j)
{
    put_text(j, "}");
}

/* ---- Reading ---- */

struct reader {
    const char *at;
    const char *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool accept(struct reader *r, char c)
{
    while (r->at < r->end && is_space(*r->at)) {
        r->at++;
    }
    if (r->at == r->end || *r->at != c) {
        return false;
    }
    r->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash; what is not ASCII becomes '?'. -1: no such escape. */
static int read_escape(struct reader *r)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *name = NULL;
    int code = 0;

    if (r->at == r->end) {
        return -1;
    }
    char c = *r->at++;

    if (c != 'u') {
        name = c == '\0' ? NULL : strchr(names, c);
        return name == NULL ? -1 : values[name - names];
    }
    for (unsigned i = 0; i < 4; i++) {
        int digit = r->at == r->end ? -1 : hex_digit(*r->at++);

        if (digit < 0) {
            return -1;
        }
        code = code * 16 + digit;
    }
    return code > 0 && code < 0x80 ? code : '?';
}

static bool read_string(struct reader *r, char *out, size_t size)
{
    size_t n = 0;

    if (!accept(r, '"')) {
        return false;
    }
    while (r->at < r->end && *r->at != '"') {
        int c = (unsigned char)*r->at++;

        if (c == '\\') {
            c = read_escape(r);
        }
        if (c < 0) {
            return false;
        }
        if (n + 1 < size) {
            out[n] = '?';
            if (c != 0) {
                out[n] = (char)c;
            }
            n++;
        }
    }
    out[n] = '\0';
    return r->at++ < r->end; /* the closing quote is there */
}

/* Over a value that nobody asked for; nesting is counted, not followed. */
static bool skip_value(struct reader *r)
{
    unsigned depth = 0;
    char unused[2];

    for (;;) {
        if (r->at == r->end) {
            return false;
        }
        char c = *r->at;

        if (c == '"') {
            if (!read_string(r, unused, sizeof(unused))) {
                return false;
            }
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}')) {
            return true;
        }
        depth += c == '{' || c == '[' ? 1 : 0;
        if ((c == '}' || c == ']') && depth-- == 0) {
            return false;
        }
        r->at++;
    }
}

bool fc_json_find_string(const char *text, size_t length, const char *key, char *out, size_t size)
{
    struct reader r = { text, text + length };
    char name[64];

    if (!accept(&r, '{')) {
        return false;
    }
    do {
        if (!read_string(&r, name, sizeof(name)) || !accept(&r, ':')) {
            return false;
        }
        if (strcmp(name, key) == 0) {
            return read_string(&r, out, size);
        }
        if (!skip_value(&r)) {
            return false;
        }
    } while (accept(&r, ','));
    return false;
}

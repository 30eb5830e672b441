/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict JSON reader (RFC 8259) that allocates nothing: the text is walked once, strings are
 * unescaped in place. Strings are bytes: what is not escaped passes through, UTF-8 or not.
 *
 *     struct json j;
 *     char *key;
 *
 *     json_init(&j, text, size);            // text[size] may be written
 *     json_object_begin(&j);
 *     while (json_object_next(&j, &key)) {
 *         if (strcmp(key, "n") == 0) n = json_number(&j);
 *         else json_skip(&j);
 *     }
 *     if (!json_end(&j)) ...                // anything wrong on the way shows here
 *
 * After an error every call does nothing and loops end.
 */
#pragma once

#include <base/compiler.h>

#define JSON_DEPTH_MAX 32u

struct json {
    char *at;
    char *end;
    unsigned depth;
    bool is_first;     /* no member of the innermost object or array was read yet */
    const char *error; /* NULL: none so far */
};

void json_init(struct json *j, char *text, size_t size);
/* Note an error of the caller's own; the first one counts. */
void json_fail(struct json *j, const char *why);
/* The value was the last thing, and all was well. */
bool json_end(struct json *j);

void json_object_begin(struct json *j);
/* The next member's name, its value to be read by the caller; false at the end. */
bool json_object_next(struct json *j, char **key);
void json_array_begin(struct json *j);
bool json_array_next(struct json *j);

/* Terminated, in place; *size (may be NULL) without the NUL. Holds NUL bytes only if *size is asked
 * for; otherwise those are an error. "" after an error. */
char *json_string(struct json *j, size_t *size);
/* A whole number from 0 to 2^53. */
uint64_t json_number(struct json *j);
bool json_bool(struct json *j);
bool json_null(struct json *j); /* true and read: the value is null */
void json_skip(struct json *j);
/* '{', '[', '"', 't', 'f', 'n', '0' for a number, 0 for none of them. */
char json_peek(struct json *j);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML 1.0 (https://toml.io/en/v1.0.0), read into a tree. The text is untrusted: size, depth and
 * number of keys are bounded, and every error has its place.
 *
 * All values belong to the document and live until toml_free(). Lines and columns count from 1;
 * columns count bytes.
 */
#pragma once

#include <base/compiler.h>

#define TOML_SIZE_MAX  ((size_t)1 << 20)
#define TOML_DEPTH_MAX 32u
#define TOML_KEYS_MAX  10000u /* in the whole document: look-up is linear */

enum toml_type {
    TOML_STRING,
    TOML_INTEGER,
    TOML_FLOAT,
    TOML_BOOLEAN,
    TOML_DATETIME, /* checked, and kept as text */
    TOML_ARRAY,
    TOML_TABLE,
};

struct toml_text {
    const char *data; /* UTF-8 without surrogates, NUL-terminated; may hold NULs before `size` */
    size_t size;
};

struct toml_value {
    enum toml_type type;
    uint32_t line;
    uint32_t column;

    union {
        struct toml_text text; /* STRING, DATETIME */
        int64_t integer;
        double floating;
        bool boolean;
        struct toml_array *array;
        struct toml_table *table;
    };
};

struct toml_entry {
    struct toml_text key;
    uint32_t line; /* of the key */
    uint32_t column;
    struct toml_value value;
    struct toml_entry *next;
};

struct toml_table {
    struct toml_entry *first; /* in the order of the text */
    struct toml_entry *last;
    uint8_t origin; /* the parser's */
};

struct toml_array {
    struct toml_value *values;
    size_t count;
    size_t capacity;
    bool is_of_tables; /* made by [[name]] */
};

struct toml_error {
    uint32_t line;
    uint32_t column;
    char text[160]; /* one line; bytes of the document in it are escaped */
};

struct toml_document; /* opaque */

/* Parse size bytes. NULL and *error on failure; otherwise the caller's, to be given to toml_free().
 */
struct toml_document *toml_parse(const char *text, size_t size,
                                 struct toml_error *error) MUST_CHECK;
void toml_free(struct toml_document *doc); /* NULL is fine */

const struct toml_table *toml_root(const struct toml_document *doc);

/* The entry of that key, or NULL. */
const struct toml_entry *toml_find(const struct toml_table *table, const char *key);

/* "string", "integer", ...: with its article, for messages. */
const char *toml_type_name(enum toml_type type);

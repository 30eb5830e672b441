/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the TOML parser share: the reading position and the arena. */
#pragma once

#include "toml.h"

struct toml_block;

struct toml_document {
    struct toml_block *blocks;
    struct toml_table root;
};

struct toml_parser {
    const char *p; /* next byte */
    const char *end;
    const char *line_start;
    uint32_t line;
    uint32_t keys;
    struct toml_document *doc;
    struct toml_error *error;
};

/* All of these return false (or NULL) after writing the error. The first error wins. */
bool toml_fail(struct toml_parser *s, const char *format, ...) PRINTF_LIKE(2, 3);

void *toml_alloc(struct toml_parser *s, size_t size);
struct toml_text toml_keep(struct toml_parser *s, const char *data, size_t size);

uint32_t toml_column(const struct toml_parser *s);

/* Any value that is neither array nor inline table; s->p stands at its first byte. */
bool toml_parse_scalar(struct toml_parser *s, struct toml_value *out);

/* A basic or literal string on one line (keys); s->p stands at the quote. */
bool toml_parse_string(struct toml_parser *s, bool may_be_multiline, struct toml_text *out);

/* Bytes from the position on, without moving. */
bool toml_looks_at(const struct toml_parser *s, const char *text);

/* Step over "\n" or "\r\n"; false (no error) if the position is at neither. */
bool toml_skip_newline(struct toml_parser *s);

/* Is there a well-formed UTF-8 sequence at p? Its length in bytes, 0 if not. */
unsigned toml_utf8_length(const char *p, const char *end);

/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a reader: shared by the files of this folder alone. */
#pragma once

#include "bounds.h"
#include "native.h"
#include "reader/reader.h"
#include "vm_state.h"

enum {
    CHAR_END = -1,
    CHAR_INVALID = -2,
    QUOTE_DEPTH_MAX = 8, /* nested syntax-quotes: each level triples the nesting of its template */
    PLACEHOLDERS_MAX = PARAMS_MAX,
};

struct place_entry {
    uint64_t key; /* address, low bit set for a form as a whole; 0: free */
    struct place place;
};

struct place_table {
    struct place_entry *entries;
    size_t count, capacity; /* capacity is a power of two */
};

/* A growing array in VM memory. */
struct term_stack {
    term_t *terms;
    size_t count, capacity;
};

struct byte_buffer {
    uint8_t *bytes;
    size_t count, capacity;
};

/* The anonymous function #(...) being read. */
struct placeholders {
    bool active;
    bool plain; /* % was used */
    bool first; /* %1 was used */
    unsigned highest;
    term_t rest;
    term_t *params; /* PLACEHOLDERS_MAX symbols, 0 while unused; allocated at first use */
};

struct reader {
    struct process *p;
    struct vm *vm;
    const uint8_t *start;
    const uint8_t *at;
    const uint8_t *end;
    const char *file; /* NULL: unknown */
    struct place here;
    struct place form_place;
    unsigned depth;
    unsigned quote_depth;
    bool incomplete;
    struct term_stack stack;
    struct term_stack gensyms; /* pairs x# -> fresh symbol of the innermost syntax-quote */
    struct byte_buffer buffer;
    struct placeholders anon;
    struct place_table places;
};

/* ---- characters ---- */

/* The next code point, CHAR_END or CHAR_INVALID; nothing is consumed. */
int32_t reader_peek(const struct reader *r);
/* Consume what reader_peek() saw. */
void reader_advance(struct reader *r);
/* The byte `ahead` bytes on, or CHAR_END. */
int32_t reader_byte(const struct reader *r, size_t ahead);
bool char_is_space(int32_t c);
bool char_ends_token(int32_t c);
bool char_is_name_start(int32_t c);
bool char_is_digit(int32_t c);
/* Append UTF-8; false without memory. */
bool buffer_put_char(struct reader *r, uint32_t c);
bool buffer_put_byte(struct reader *r, uint8_t b);

/* ---- failing: p->reason gets [:error kind %{:line :column ...}] ---- */

term_t reader_fail(struct reader *r, term_t kind, struct place at, const char *message);
term_t reader_fail_eof(struct reader *r, struct place at, const char *message);

/* ---- forms ---- */

enum item {
    ITEM_FORM,
    ITEM_END,
    ITEM_CLOSE, /* a closing delimiter is next */
    ITEM_ERROR
};

/* The next form, with spacing, comments and discarded forms passed over. */
enum item reader_item(struct reader *r, term_t *out);
/* A form that must come; TERM_ERROR otherwise. */
term_t reader_form(struct reader *r, struct place after, const char *what);
bool reader_push(struct reader *r, term_t t);
/* The terms from `base` on as a list, places kept; pops them. */
term_t reader_pop_list(struct reader *r, size_t base, struct place at);
/* (a b ...) from C; TERM_ERROR without memory. */
term_t reader_list(struct reader *r, struct place at, unsigned n, ...);
/* A fresh symbol prefix__n. */
term_t reader_gensym(struct reader *r, const char *prefix, size_t n);

/* token.c */
term_t reader_number(struct reader *r);
term_t reader_string(struct reader *r);
term_t reader_char(struct reader *r);
term_t reader_keyword(struct reader *r);
term_t reader_symbol(struct reader *r);
term_t reader_special_float(struct reader *r, struct place at);
term_t reader_placeholder(struct reader *r);
/* The rest of a string after its opening quote, into r->buffer. */
bool reader_string_bytes(struct reader *r, struct place opened);

/* bytes.c: after "#bytes" and "#bits" */
term_t reader_bytes(struct reader *r, struct place at);
term_t reader_bits(struct reader *r, struct place at);

/* quote.c: what a syntax-quoted form stands for. */
term_t syntax_quote(struct reader *r, term_t form, struct place at);
/* Markers of ~ and ~@ inside a template: lists headed by these words, which no text can write. */
#define UNQUOTE TERM_HOLE
#define SPLICE  TERM_UNBOUND

/* places.c */
void place_table_deinit(struct place_table *t, struct vm *vm);
/* Without memory the place is lost, nothing else. */
void place_table_put(struct place_table *t, struct vm *vm, uint64_t key, struct place at);
struct place place_table_get(const struct place_table *t, uint64_t key);

static inline uint64_t place_key_form(term_t t)
{
    return (uint64_t)(uintptr_t)term_ptr(t) | 1;
}

static inline uint64_t place_key_slot(const term_t *slot)
{
    return (uint64_t)(uintptr_t)slot;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to terms (section 3). The reader runs with the collector inhibited, so positions can be
 * keyed by address. Implemented in reader/.
 */
#pragma once

#include "process/process.h"
#include "term/term.h"

struct place {
    uint32_t line;   /* from 1; 0: unknown */
    uint32_t column; /* from 1, in code points */
};

struct reader;

/*
 * A reader over text (borrowed, must outlive it; UTF-8 checked as it is read). Unqualified names in
 * syntax-quotes resolve in p's current namespace. The caller keeps p's collector inhibited while
 * the reader lives. `file` (borrowed) goes into errors and may be NULL. NULL without memory.
 */
struct reader *reader_create(struct process *p, const char *text, size_t size, const char *file);
void reader_destroy(struct reader *r);

enum read_result {
    READ_FORM,
    READ_END,
    READ_ERROR
};
/*
 * The next form. READ_ERROR sets p->reason to [:error kind %{:line :column :message ...}]; then
 * reader_is_incomplete() says whether more input could have helped (:unexpected-eof).
 */
enum read_result reader_next(struct reader *r, term_t *form);
bool reader_is_incomplete(const struct reader *r);

/* Byte offset and place just after what has been read: where another reader could go on. */
size_t reader_offset(const struct reader *r);
struct place reader_here(const struct reader *r);
/* Go on from there; before the first reader_next(). offset <= size and on a character boundary. */
void reader_start_at(struct reader *r, size_t offset, struct place here);

/* The file's name as given, or NULL. */
const char *reader_file(const struct reader *r);
/* Place where the last form began. */
struct place reader_place(const struct reader *r);
/* Where a list, tuple, vector, map or set began; line 0 if it wasn't in the text. */
struct place reader_place_of(const struct reader *r, term_t form);
/* Where the element began that stands in this word: the head of a pair, or an element of a tuple or
 * small vector. */
struct place reader_place_of_slot(const struct reader *r, const term_t *slot);

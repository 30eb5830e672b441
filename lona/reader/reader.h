/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to terms (section 3). The reader runs with the collector inhibited, so positions can be
 * keyed by address. Implemented in reader/.
 */
#pragma once

#include "process/process.h"
#include "term/term.h"

struct place {
    uint32_t line;   /* from 1 */
    uint32_t column; /* from 1, in code points */
};

struct reader;

/* A reader over text (borrowed, must outlive it; UTF-8 checked as it is read). ns resolves
 * `::`-less syntax-quote names. NULL without memory. */
struct reader *reader_create(struct process *p, const char *text, size_t size, const char *file);
void reader_destroy(struct reader *r);

enum read_result {
    READ_FORM,
    READ_END,
    READ_ERROR
};
/*
 * The next form. READ_ERROR sets p->reason to [:error kind %{:line :column :file ...}]; .incomplete
 * says that more input could have helped (unexpected-eof).
 */
enum read_result reader_next(struct reader *r, term_t *form);
bool reader_is_incomplete(const struct reader *r);
/* Place where the last form began, or of a list/tuple/vector/map/set/symbol occurrence inside it.
 */
struct place reader_place(const struct reader *r);
struct place reader_place_of(const struct reader *r, term_t form);

/* SPDX-License-Identifier: Apache-2.0 */
/* One top-level form to one unit (section 4). Implemented in compiler/. */
#pragma once

#include "interp/code.h"
#include "reader/reader.h"

/* Where errors and line tables say the form came from. */
struct compile_source {
    const struct reader *reader; /* gives places of forms; may be NULL */
    const char *file;            /* NULL: unknown */
    struct place place;          /* of the whole form; line 0: unknown */
};

/*
 * Expand and compile `form` in p's current namespace into *u (initialised by the caller). The
 * collector must be inhibited. False with p->reason set: [:error kind %{:form :line :column :file
 * :message}]. Runs macros in p.
 */
bool compile_form(struct process *p, const struct compile_source *source, term_t form,
                  struct code_unit *u) MUST_CHECK;
/* One macro step: the same term when form is no macro call; TERM_ERROR when the macro fails. The
 * collector must be inhibited. */
term_t macroexpand_1(struct process *p, term_t form) MUST_CHECK;
/* Steps until the outermost form is no macro call. */
term_t macroexpand(struct process *p, term_t form) MUST_CHECK;

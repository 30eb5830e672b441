/* SPDX-License-Identifier: Apache-2.0 */
/* One top-level form to one unit (section 4). Implemented in compiler/. */
#pragma once

#include "interp/code.h"
#include "reader/reader.h"

/*
 * Expand and compile `form` in p's current namespace into *u (initialised by the caller). `reader`
 * gives places and may be NULL. The collector must be inhibited. False with p->reason set: [:error
 * kind
 * %{:form :line :column :file :message}]. Runs macros in p.
 */
bool compile_form(struct process *p, struct reader *reader, term_t form,
                  struct code_unit *u) MUST_CHECK;
/* One macro step: the same term when form is no macro call; TERM_ERROR when the macro fails. */
term_t macroexpand_1(struct process *p, term_t form) MUST_CHECK;

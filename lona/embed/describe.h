/* SPDX-License-Identifier: Apache-2.0 */
/* An exit reason for a person: kind, message, place, frames. */
#pragma once

#include "reader/printer.h"

/*
 * Writes one line without newline: for [:error kind info] the kind keyword, the message or the
 * other keys of info, and the place; for anything else "exit: " and the reason. With frames, one
 * indented line for each frame of the trace follows.
 */
void error_describe(struct process *p, term_t reason, bool frames, print_out out, void *arg);

/* Line and column of the error in its text, 0 when unknown. */
struct error_place {
    uint32_t line;
    uint32_t column;
};
struct error_place error_place(struct process *p, term_t reason);

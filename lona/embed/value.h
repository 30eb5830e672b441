/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the embedding API: handles and values. */
#pragma once

#include <drupe/lona.h>

#include "vm_state.h"

struct lona_vm {
    struct vm *vm;
};

/* A graph of terms that belongs to nobody's heap. */
struct lona_value {
    struct vm *vm;
    struct lona_value *next; /* in a mailbox's queue */
    bool has_owners;
    size_t words;
    term_t root;
    term_t data[];
};

/* A copy of a term of a process that w runs; NULL without memory. */
struct lona_value *value_copy(struct worker *w, term_t t) MUST_CHECK;
/* A PID value without a process around it. */
struct lona_value *value_pid(struct vm *vm, uint64_t raw) MUST_CHECK;

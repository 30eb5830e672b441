/* SPDX-License-Identifier: Apache-2.0 */
/* The process table: records in slabs that stay mapped; free records in lists of the workers. */
#pragma once

#include "vm_state.h"

static inline struct process *process_at(struct vm *vm, uint32_t index)
{
    uint32_t segment = index / SEGMENT_RECORDS;

    if (segment >= SEGMENTS_MAX) {
        return NULL;
    }
    /* acquire: pairs with the release in table_grow(); the records are initialised */
    struct process_segment *s =
        atomic_load_explicit(&vm->processes.segments[segment], memory_order_acquire);

    return s == NULL ? NULL : &s->records[index % SEGMENT_RECORDS];
}

/* A record with its index, generation and open inbox; all else is the caller's to fill. NULL: table
 * full. */
struct process *process_take(struct worker *w) MUST_CHECK;
/* Its inbox has been closed and its memory released. */
void process_give(struct worker *w, struct process *p);
void process_table_deinit(struct vm *vm);

/* End p for good: names, links, monitors, memory, record. `reason` is p->reason. */
void process_end(struct worker *w, struct process *p, term_t reason);
/* At the end of the VM: free what p holds without telling anyone. */
void process_drop(struct worker *w, struct process *p);
/* Make a record into a process that will call fn (of no arguments). The caller makes it ready. */
struct process *process_make(struct worker *w, term_t fn, const struct spawn_options *options,
                             struct bindings *inherited, term_t *error) MUST_CHECK;

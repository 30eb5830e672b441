/* SPDX-License-Identifier: Apache-2.0 */
/* A thread outside the workers that waits for a process to end. */
#pragma once

#include "vm_state.h"

struct call {
    struct call *next;
    struct vm *vm;
    uint64_t pid;
    void (*print)(void *arg, struct process *p, term_t value, bool is_error);
    void *arg;
    bool is_error;
    _Atomic bool done;
    struct platform_wake wake;
};

/* On the worker that ends p: hand the result over, let the caller go on. */
void call_finish(struct call *c, struct process *p, term_t reason);

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
    term_t (*body)(void *arg, struct process *p, term_t last, bool *again);
    void *body_arg;
    bool again;
    bool is_error;
    _Atomic bool done;
    struct platform_wake wake;
};

/* Links the loop that vm_call_body() starts. */
bool call_body_init(struct vm *vm) MUST_CHECK;

/* On the worker that ends p: hand the result over, let the caller go on. */
void call_finish(struct call *c, struct process *p, term_t reason);

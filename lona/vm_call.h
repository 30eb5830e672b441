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
    bool is_service; /* not an evaluation: interrupts pass it by */
    _Atomic bool done;
    struct platform_wake wake;
};

/* Links the loop that vm_call_body() starts. */
bool call_body_init(struct vm *vm) MUST_CHECK;

/* Start a process for c that calls fn. False without memory. */
bool call_start(struct vm *vm, struct call *c, term_t fn) MUST_CHECK;
/* Wait until the process of c has ended. */
void call_wait(struct vm *vm, struct call *c);
/* Kill it, then wait. */
void call_stop(struct vm *vm, struct call *c);

/* On the worker that ends p: hand the result over, let the caller go on. */
void call_finish(struct call *c, struct process *p, term_t reason);

/* SPDX-License-Identifier: Apache-2.0 */
/* The VM inside: what include/drupe/lona.h hides. No global state; several may live in one program.
 */
#pragma once

#include "platform/platform.h"
#include "process/process.h"

struct vm;

struct vm_options {
    const struct platform *platform;
    unsigned workers;        /* 0: one a CPU, at most WORKERS_MAX */
    uint64_t memory_max;     /* bytes the VM may take in all; 0: none */
    uint32_t heap_max_words; /* default limit of a process; 0: none */
    uint64_t seed;           /* of hashes and scheduling; 0: from the platform */
    uint32_t slice;          /* reductions of one turn, 2 or more; 0: SLICE_REDUCTIONS */
    bool gc_stress;          /* collect at every allocation, verify every heap */
    bool without_library;    /* for the program that compiles the library */
};

/* Realm, natives, library, workers started. NULL with *error a static text. */
struct vm *vm_create(const struct vm_options *options, const char **error) MUST_CHECK;
/* Kills all processes, joins the workers, gives all memory back. */
void vm_destroy(struct vm *vm);

const struct platform *vm_platform(const struct vm *vm);

/*
 * Call native, FUN or CLOSURE `fn` (a realm term or immediate) in a new process from outside any
 * worker and wait for its end. The process's result or exit reason is printed by `print`, on its
 * worker, before its heap goes: is_error says which it is. Returns 0, 1 when it ended with an
 * error, or a negative PLATFORM_E*.
 */
int vm_call(struct vm *vm, term_t fn,
            void (*print)(void *arg, struct process *p, term_t value, bool is_error), void *arg);

/*
 * The same with C code as the function: body(arg, p, step) runs in the process as a native of no
 * arguments. It returns a term, TERM_ERROR, or TERM_APPLY after native_apply(): then the applied
 * function's value is the result, or, when *again was set, body is called again with it as `last`
 * (a reader's loop: one form a round). `last` is TERM_HOLE in the first round.
 */
int vm_call_body(struct vm *vm,
                 term_t (*body)(void *arg, struct process *p, term_t last, bool *again),
                 void *body_arg,
                 void (*print)(void *arg, struct process *p, term_t value, bool is_error),
                 void *arg);

/* Ask every process started by vm_call() to end with reason :interrupted. Safe in any thread. */
void vm_interrupt(struct vm *vm);

/* Words of configuration for natives: command line arguments after the script. */
void vm_set_args(struct vm *vm, int argc, const char *const *argv);

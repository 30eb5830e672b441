/* SPDX-License-Identifier: Apache-2.0 */
/* Running a process. */
#pragma once

#include "process/process.h"
#include "vm_state.h"

enum run_result {
    RUN_YIELDED, /* out of reductions: ready */
    RUN_WAIT,    /* nothing to do until something arrives in the inbox */
    RUN_DONE,    /* the outermost function returned; its value is in p->stack[1] */
    RUN_FAILED,  /* p->reason is the exit reason */
    RUN_NESTED,  /* a function started by native_run() returned; its value is in p->fp[0] */
};

/* Run p on w until one of these. The process's state is complete in its record before and after. */
enum run_result interp_run(struct worker *w, struct process *p);

/* Room for `slots` more words above p->fp; may move the stack. False with p->reason set. */
bool stack_ensure(struct process *p, size_t slots) MUST_CHECK;

/* fp[-1] of a frame started by native_run(). */
#define RETURN_TO_NATIVE UINT64_C(4)

/* [:error kind info] in p->reason gets :trace, a list of [name line] from the frames, if memory
 * allows. */
void error_add_trace(struct process *p);

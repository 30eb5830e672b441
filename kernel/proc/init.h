/* SPDX-License-Identifier: Apache-2.0 */
/* Process 1. init_start() is in proc/process.h. */
#pragma once

#include <base/compiler.h>

struct process;

/* Its child process, for process_start_workload(): the one with whose end the machine ends. */
void init_set_workload(struct process *p);

/*
 * Is `p` the workload, with no other user process left? Its end is the machine's end then, and
 * giving its memory back would only be work: tens of thousands of instructions for nobody.
 */
bool init_ends_with(const struct process *p);

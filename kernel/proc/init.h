/* SPDX-License-Identifier: Apache-2.0 */
/* Process 1. init_start() is in proc/process.h. */
#pragma once

struct process;

/* Its child process, for process_start_workload(): the one with whose end the machine ends. */
void init_set_workload(struct process *p);

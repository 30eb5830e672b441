/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the world show each other. */
#pragma once

#include "world.h"

struct fd_table; /* fd.c */

/* Each part starts empty and is emptied at the end of a world, whatever happened in it. */
void sim_memory_init(void);
void sim_memory_deinit(void);
void sim_files_init(void);
void sim_files_deinit(void);
void sim_faults_init(void);
void sim_faults_deinit(void);
void sim_checks_init(void);
void sim_events_init(void);
void sim_epoll_init(void);
/* The last reference to `f` goes. */
struct sim_file;
void sim_epoll_forget(const struct sim_file *f);

/* Processes: fd.c and memory.c keep what belongs to one; the scheduler says when it ends. */
void sim_fds_close_all(unsigned proc);
unsigned sim_fds_count(unsigned proc);
void sim_memory_drop(unsigned proc);
void sim_memory_held(unsigned proc, unsigned *mappings, unsigned *allocations);

/* Has a fault rule of the runner's that never fired? Its name, else NULL. */
const char *sim_faults_unfired(void);
void sim_faults_report(struct sim_result *out);

#define SIM_PROCS_MAX 64u

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine in the background: a process of its own that holds the VM, serves its control API and
 * ends with it. The starter opens everything that has a path; the monitor, which may be jailed,
 * only uses what is open.
 */
#pragma once

#include <drupe/vm.h>

#include "vm_dir.h"

struct background {
    struct vm_record record; /* dir and id set by vm_dir_create(); the rest by the starter */
    drupe_vm_t *vm;
    int events_fd;
    int api_fd;                            /* listening */
    struct drupe_restore_options *restore; /* NULL: a fresh start; its files are open */
    bool is_left_paused;                   /* restored, and not resumed */
    uint64_t timeout_s;                    /* 0: none */
    bool is_jailed;
    uint64_t memory_max; /* of the jail, bytes */
};

/* Empty, with the descriptors at -1. */
void background_init(struct background *m);
/* What the starter holds: descriptors, the record; on failure the directory as well. */
void background_deinit(struct background *m, bool removes_directory);

/* api.sock and the events file in the record's directory. 0 or an exit status after printing. */
int background_open(struct background *m, const char *verb) MUST_CHECK;

/* The record's facts about the job that m->vm was created for. */
struct job;
void background_describe(struct background *m, const struct job *j);

/*
 * Start the process, write vm.json, wait until the VM runs (or is restored). m->vm is the monitor's
 * from then on: this process must not use it, and not destroy it (that would remove the machine's
 * sockets). Returns 0, or an exit
 * status after printing; then no process is left.
 */
int background_start(struct background *m, const char *verb) MUST_CHECK;

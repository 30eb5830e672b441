/* SPDX-License-Identifier: Apache-2.0 */
/* A snapshot that a machine is to go on from. */
#pragma once

#include <drupe/vm.h>

#include "run_internal.h"

struct thaw {
    struct drupe_restore_options restore; /* its descriptors are owned */
    struct drupe_snapshot_description description;
    char *name; /* restore.name */
    int bases[DRUPE_SNAPSHOT_BASES_MAX];
};

#define THAW_FDS_MAX (2 + DRUPE_SNAPSHOT_BASES_MAX)

/*
 * Open and describe the snapshot `path`, and open what it builds on. Returns 0 or an exit status
 * after printing, with `verb` in front. On success it is owed thaw_close().
 */
int thaw_open(struct thaw *t, const char *verb, const char *path) MUST_CHECK;
/* The same for an open file without a name, which is taken, also on failure. */
int thaw_open_fd(struct thaw *t, const char *verb, int fd) MUST_CHECK;
void thaw_close(struct thaw *t);

/* All descriptors that a restore needs, to keep them in a jail; their number. NULL: none. */
size_t thaw_fds(const struct drupe_restore_options *restore, int fds[THAW_FDS_MAX]);

/*
 * The job whose machine the snapshot is of. Root, shared folders (by the guest's path) and disks
 * (all or none) are where they were unless the options say otherwise. 0 or an exit status after
 * printing.
 */
int thaw_job(const struct thaw *t, const char *verb, const struct run_options *o,
             struct job *j) MUST_CHECK;
/* What job_config() cannot know. */
void thaw_config(const struct thaw *t, drupe_vm_config_t *cfg);

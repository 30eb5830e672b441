/* SPDX-License-Identifier: Apache-2.0 */
/* One snapshot under way: snapshot.c takes it, snapshot_live.c writes memory behind a running
 * guest.
 */
#pragma once

#include "kvm/machine.h"
#include "snapshot/describe.h"
#include "snapshot/live.h"
#include "snapshot/memory.h"
#include "snapshot/output.h"

struct snapshot_job {
    struct machine *m;
    const struct drupe_snapshot_options *options;
    struct state_writer state;
    struct snapshot_file_id root;
    struct snapshot_place base; /* of a diff; the path is owned */
    struct page_set pages;
    bool has_taken_dirty; /* `dirty` are to be added again if this fails */
    struct page_set dirty;
    struct memory_runs runs;
    struct output file;
    struct output memory;
    uint64_t created_ms;
    bool is_live;
    struct live live; /* open while is_live */
    char *metadata;
    size_t metadata_size;
    char id[SNAPSHOT_ID_SIZE];
    uint64_t size; /* of all that was written */
    struct snapshot_header header;
};

static inline bool job_is_diff(const struct snapshot_job *j)
{
    return j->options->kind == DRUPE_SNAPSHOT_DIFF;
}

static inline bool job_has_memory_file(const struct snapshot_job *j)
{
    return j->memory.fd >= 0;
}

/* snapshot_base.c: fill j->base for a diff. CONFIG_INVALID without one, IMAGE_MISMATCH when the
 * caller names another. */
drupe_vm_err_t job_find_base(struct snapshot_job *j, struct drupe_error *err) MUST_CHECK;
/* What comes next builds on this one, which is complete; unless it is one aside. */
void job_become_base(const struct snapshot_job *j);

/*
 * Add the runs, finish state and metadata: of at least these sizes, so that a place reserved for
 * them before is filled.
 */
drupe_vm_err_t job_finish_state(struct snapshot_job *j, size_t metadata_min, size_t state_min,
                                struct drupe_error *err) MUST_CHECK;
/* Fill in what the state's header says beyond its records. False: out of memory. */
bool job_fill_state_header(struct snapshot_job *j) MUST_CHECK;
/* Metadata, state and header, when the memory is written and hashed. 0 or -errno. */
int job_write_parts(struct snapshot_job *j, struct sha256 *memory) MUST_CHECK;

/* The guest runs again, its memory is protected: choose, copy, write, all but the commit. */
drupe_vm_err_t job_write_live(struct snapshot_job *j, struct drupe_error *err) MUST_CHECK;

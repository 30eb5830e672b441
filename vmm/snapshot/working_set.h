/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages that a machine touches from a restore until it has answered. They are found once, kept
 * in the snapshot as a table of runs, and brought in together for each machine that goes on from
 * it: a fault each saved, in the host and, where KVM shadows page tables, in KVM
 * (docs/snapshot.md).
 */
#pragma once

#include "snapshot/memory.h"

/*
 * What was touched of [ram, ...), the memory of a machine restored from `f`: pages of its own are
 * WRITTEN, others READ. -ENOMEM, or -ENOTSUP where /proc does not tell.
 */
int working_set_find(struct memory_runs *out, const struct snapshot_file *f,
                     const uint8_t *ram) MUST_CHECK;
/*
 * Write `f` once more, to `path`, with this table in the place of any that it has. The moment and
 * its id are the same; what the table names comes first, so that a file system that gives out room
 * as it is asked for lays it together. SNAPSHOT_FAILED, NO_MEMORY, UNSUPPORTED (version 1).
 */
drupe_vm_err_t working_set_write(const struct snapshot_file *f, const struct memory_runs *set,
                                 const char *path, struct drupe_error *err) MUST_CHECK;
/*
 * Bring in what the table of `f` names, if it has one. Advice: where the host cannot, pages come
 * one by one. Any thread, also while the guest runs.
 */
void working_set_bring(const struct snapshot_file *f, uint8_t *ram);

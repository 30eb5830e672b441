/* SPDX-License-Identifier: Apache-2.0 */
/* What an incremental snapshot builds on: which file that is, and where. */
#pragma once

#include "snapshot/container.h"

/*
 * Open the chain below `f`, which has no base yet; nothing for a full snapshot. Of `options` counts
 * where bases may come from. On success the bases are owned by `f`; on failure those that were
 * found are. NOT_FOUND, IMAGE_MISMATCH, and what snapshot_open_one() returns.
 */
drupe_vm_err_t bases_open(struct snapshot_file *f, const struct drupe_restore_options *options,
                          struct drupe_error *err) MUST_CHECK;

/* Would a diff written to `path` take the place of its own base? Either may be NULL: not known. */
bool bases_would_lose(const char *path, const char *base);

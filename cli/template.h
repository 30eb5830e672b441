/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates: snapshots with a name, in $DRUPE_TEMPLATES, else $XDG_DATA_HOME/drupe/templates, else
 * ~/.local/share/drupe/templates (root: /var/lib/drupe/templates).
 */
#pragma once

#include "run_internal.h"

/* Its file; a name with a slash is a path of its own. The caller frees. */
char *template_path(const char *name);

/*
 * Let a clone of the new template `path` run on, with the file `input` (NULL: none) to read, and
 * record in the template which memory it touched: *bytes of it. Returns 0 or an exit status after
 * printing.
 */
int template_train(const struct job *job, const struct run_options *options, const char *input,
                   const char *path, uint64_t *bytes) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates: snapshots with a name, in $DRUPE_TEMPLATES, else $XDG_DATA_HOME/drupe/templates, else
 * ~/.local/share/drupe/templates (root: /var/lib/drupe/templates).
 */
#pragma once

/* Its file; a name with a slash is a path of its own. The caller frees. */
char *template_path(const char *name);

/* SPDX-License-Identifier: Apache-2.0 */
/* Where a project's files are, relative to its directory. The caller frees the texts. */
#pragma once

#include "manifest.h"

#define PROJECT_LOG "logs/console.log"

/* "dist/NAME.erofs" */
char *project_image(const struct manifest *m);

/* The file that the guest starts: the entry, or for C sources what `drupe build` makes of them. */
char *project_program(const struct manifest *m);

/*
 * A file of the project that was changed after the image was written, or NULL. Looks at the
 * manifest, the program and src/, at no more than some thousand files.
 */
char *project_newer_file(const struct manifest *m, const char *image);

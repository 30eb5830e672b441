/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that exists complete or not at all: written under another name in the same folder, synced,
 * renamed. Into an open descriptor it is written as it goes; a failure leaves that one empty.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct output {
    int fd;                         /* -1: none */
    char path[DRUPE_PATH_SIZE_MAX]; /* "": a descriptor of the caller's */
    char temporary[DRUPE_PATH_SIZE_MAX + 32];
    bool is_renamed;
};

/* `path`, or `fd` when it is NULL. On failure there is nothing to end. */
drupe_vm_err_t output_begin(struct output *o, const char *path, int fd,
                            struct drupe_error *err) MUST_CHECK;
/* Sync and rename. A failure leaves the old file, if there was one; output_end() is still due. */
drupe_vm_err_t output_commit(struct output *o, struct drupe_error *err) MUST_CHECK;
/* Close; what was not committed is removed. */
void output_end(struct output *o);

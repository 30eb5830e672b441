/* SPDX-License-Identifier: Apache-2.0 */
/* A machine into an open file. */
#pragma once

#include "vm_dir.h"

struct freeze {
    const char *verb;
    bool is_live;
    bool is_aside;    /* what comes next does not build on this one */
    const char *name; /* the file's absolute path; NULL: none */
    int base_fd;      /* of a diff: what it builds on; -1: a full snapshot */
    const char *base_name;
};

/* The monitor writes to the file; it could not open one itself. 0 or an exit status after printing.
 */
int freeze(const struct freeze *f, const struct vm_record *r, int fd) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that another process brings in, page by page: it gets the userfaultfd and the place
 * of each stretch of memory over a Unix socket, in one message as Firecracker sends it.
 */
#pragma once

#include <base/compiler.h>

#include <stdint.h>

#include "drupe/vm.h"

struct handler_region {
    uint8_t *start;
    uint64_t size;
    uint64_t offset; /* of its first byte in the memory's file */
};

/*
 * A userfaultfd, non-blocking: from /dev/userfaultfd when `device` >= 0, which asks for no
 * privilege beyond its own mode, or by the system call. The caller's, or -errno.
 */
int userfaultfd_open(int device) MUST_CHECK;

/*
 * Hand the regions, anonymous memory never touched, to who listens at `path`, and see that a first
 * page comes within HANDLER_WAIT_MS. On success *uffd is the caller's, to be kept open as long as
 * the memory is in use: without it, pages that a dead handler owes would be zero. On failure the
 * regions are plain memory again. NOT_FOUND, NO_ACCESS, UNSUPPORTED, RESTORE_FAILED.
 */
drupe_vm_err_t handler_start(const char *path, int device, const struct handler_region *regions,
                             unsigned count, int *uffd, struct drupe_error *err) MUST_CHECK;

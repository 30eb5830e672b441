/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image as a block device of the host: /dev/ublkbN, served by the calling thread through the
 * same code that serves the disks of machines. Needs Linux 6.0 with the module ublk_drv, and
 * CAP_SYS_ADMIN.
 *
 * Errors as in vm.h: UNAVAILABLE when the host has no ublk or no io_uring for the caller,
 * NOT_FOUND and NO_ACCESS of the image, CONFIG_INVALID with the field.
 */
#pragma once

#include "drupe/vm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DRUPE_BLOCK_ID_ANY    (-1)
#define DRUPE_BLOCK_ID_MAX    1023
#define DRUPE_BLOCK_DEPTH     64u /* requests under way, if `depth` is 0 */
#define DRUPE_BLOCK_DEPTH_MAX 256u

/* Zero it, set struct_size, then what applies. Borrowed for the call. */
typedef struct drupe_block_export {
    size_t struct_size;
    const char *path;     /* a regular file or block device, in whole sectors; NULL: memory_size */
    uint64_t memory_size; /* bytes of an empty disk in memory; 0 with a path */
    bool is_read_only;
    bool is_direct;     /* past the page cache */
    bool is_compressed; /* the image is read into memory and kept there, compressed; what is
                           written to it goes with the call */
    int id;             /* of the device; DRUPE_BLOCK_ID_ANY: the next that is free */
    unsigned depth;     /* 1..DRUPE_BLOCK_DEPTH_MAX; 0: DRUPE_BLOCK_DEPTH */
} drupe_block_export_t;

/*
 * Export until `stop_fd` becomes readable, then remove the device. `ready` (may be NULL) is called
 * from the same thread once the device is there, with its path; it must not wait for I/O on it.
 * Requests that have begun are carried out; a device that is still mounted then gives errors.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_block_export(
    const drupe_block_export_t *cfg, int stop_fd, void (*ready)(void *ctx, const char *device),
    void *ctx, struct drupe_error *err);

#ifdef __cplusplus
}
#endif

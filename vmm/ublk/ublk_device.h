/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's side of a ublk device: its life by commands to /dev/ublk-control, its requests by
 * commands to /dev/ublkcN, both through io_uring (linux/ublk_cmd.h and the kernel's
 * Documentation/block/ublk.rst). Knows nothing of what the requests mean.
 *
 * Order of a life: open, add, set_params, attach, then begin_start; while that goes on requests
 * arrive already (the kernel looks for partitions). begin_stop has the kernel give back all tags;
 * detach, remove, close. All calls from one thread: the kernel ties the tags to it.
 */
#pragma once

#include <base/compiler.h>

struct ublk_device;
struct ublk_params;
struct ublksrv_io_desc;

struct ublk_shape {
    int id; /* -1: any */
    unsigned depth;
    uint32_t buffer_size; /* the longest transfer, bytes; whole pages */
};

enum ublk_command {
    UBLK_STARTED,
    UBLK_STOPPED,
};

struct ublk_events {
    void (*request)(void *ctx, unsigned tag); /* to be answered by ublk_device_commit() */
    /* A begun command has ended: 0 or -errno. */
    void (*ended)(void *ctx, enum ublk_command command, int result);
    void *ctx;
};

/* Every int below is 0 or -errno. open: -ENOENT when the host has no ublk. */
int ublk_device_open(const struct ublk_events *events, struct ublk_device **out) MUST_CHECK;
void ublk_device_close(struct ublk_device *d);

int ublk_device_add(struct ublk_device *d, const struct ublk_shape *shape) MUST_CHECK;
int ublk_device_remove(struct ublk_device *d) MUST_CHECK; /* detached */
int ublk_device_set_params(struct ublk_device *d, struct ublk_params *params) MUST_CHECK;

/* Open the device's character device, map descriptors, offer all tags. detach: all are gone. */
int ublk_device_attach(struct ublk_device *d) MUST_CHECK;
void ublk_device_detach(struct ublk_device *d);

int ublk_device_begin_start(struct ublk_device *d) MUST_CHECK;
int ublk_device_begin_stop(struct ublk_device *d) MUST_CHECK;

/* Report the bytes moved, or -errno, and offer the tag anew. Sent by the next submit. */
void ublk_device_commit(struct ublk_device *d, unsigned tag, int32_t result);
int ublk_device_submit(struct ublk_device *d) MUST_CHECK;

/* What has arrived: calls `request` and `ended`. */
void ublk_device_reap(struct ublk_device *d);

/* Descriptors to poll for input: the two rings. */
void ublk_device_fds(const struct ublk_device *d, int fds[2]);

int ublk_device_id(const struct ublk_device *d);
bool ublk_device_is_over(const struct ublk_device *d); /* the kernel has given up all tags */
const volatile struct ublksrv_io_desc *ublk_device_descs(const struct ublk_device *d);
uint8_t *ublk_device_buffers(const struct ublk_device *d); /* by tag */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory that lives in another process: the regions that a vhost-user front end shares,
 * mapped here.
 *
 * A file that shrinks under a mapping kills whoever touches it, so only descriptors that are sealed
 * against that (memfd_create(2)) are taken.
 */
#pragma once

#include "devices/gmem.h"
#include "vhost_user/message.h"

struct vhost_user_memory {
    struct gmem gmem; /* what devices see */
    /* The front end's own address of each region of gmem. */
    uint64_t user_addrs[VHOST_USER_REGIONS_MAX];
};

/* No region. */
void vhost_user_memory_init(struct vhost_user_memory *v);
/* Unmap; no device touches it any more. */
void vhost_user_memory_deinit(struct vhost_user_memory *v);

/*
 * Map what a front end says into an empty table; `fds` are borrowed, one a region. 0; -EPROTO:
 * regions of no memory: empty, not of whole pages, beyond their file, overlapping; -EPERM: a file
 * that could shrink; or what mmap(2) says. Nothing is kept then.
 */
int vhost_user_memory_map(struct vhost_user_memory *v, const struct vhost_user_regions *regions,
                          const int *fds) MUST_CHECK;

/* The guest-physical address of the front end's `user_addr`. */
bool vhost_user_memory_find(const struct vhost_user_memory *v, uint64_t user_addr,
                            gpa_t *out) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio transport of 9P (device type 9): shared folders. One device serves all shares of a
 * machine; Tattach's name chooses one by its tag. With a single share the device carries that
 * share's tag, so that any driver finds it; with several it carries VIRTIO_9P_TAG_ALL.
 *
 * Requests are served in order by a thread of the device's own, since the host's disk may be slow:
 * neither a vCPU nor the loop waits for it. Data of reads and writes moves between file and guest
 * memory without a copy.
 */
#pragma once

#include "p9_server.h"
#include "virtio_mmio.h"

#define VIRTIO_9P_TAG_ALL "drupe.shares"

struct virtio_9p;

struct virtio_9p_setup {
    const struct device_host *host; /* outlives the device */
    unsigned irq;
    const struct p9_share_setup *shares; /* roots are borrowed until destroy */
    unsigned share_count;
    int proc_fd; /* /proc/self/fd, borrowed until destroy; -1: opened here */
};

/* 0 and a device in *out (destroy it), or -errno. Context as for virtio_device_init/deinit. */
int virtio_9p_create(const struct virtio_9p_setup *setup, struct virtio_9p **out) MUST_CHECK;

/* Waits for what is under way. */
void virtio_9p_destroy(struct virtio_9p *v);

/* As virtio_blk_quiesce(). */
void virtio_9p_quiesce(struct virtio_9p *v);

struct virtio_device *virtio_9p_device(struct virtio_9p *v);

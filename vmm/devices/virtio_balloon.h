/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory balloon (VIRTIO 1.2, section 5.5): the guest names pages that it does without, and the
 * host drops them. What the guest reads there afterwards is not defined.
 *
 * Statistics: the driver leaves a buffer with the device, which gives it back whenever it wants
 * fresh figures. Reporting: free pages are dropped without counting as ballooned.
 */
#pragma once

#include "virtio_mmio.h"

#include "drupe/vm.h"

struct virtio_balloon;

struct virtio_balloon_setup {
    const struct device_host *host; /* outlives the device */
    unsigned irq;
    struct drupe_balloon config;
};

/* 0 and a device in *out (destroy it), or -errno. Context as for virtio_device_init/deinit. */
int virtio_balloon_create(const struct virtio_balloon_setup *setup,
                          struct virtio_balloon **out) MUST_CHECK;
void virtio_balloon_destroy(struct virtio_balloon *b);

/* Any thread. */
void virtio_balloon_set_target(struct virtio_balloon *b, uint32_t target_mib);
/* 0; -ENOTSUP when statistics were not asked for at creation. */
int virtio_balloon_set_interval(struct virtio_balloon *b, uint32_t interval_s) MUST_CHECK;
int virtio_balloon_stats(struct virtio_balloon *b, struct drupe_balloon_stats *out) MUST_CHECK;

struct virtio_device *virtio_balloon_device(struct virtio_balloon *b);

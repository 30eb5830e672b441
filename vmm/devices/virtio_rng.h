/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio entropy device (VIRTIO 1.1, section 5.4): the host's generator, straight into guest
 * buffers.
 */
#pragma once

#include "virtio_mmio.h"

struct virtio_rng;

/* 0 and a device in *out (destroy it), or -errno. Context as for virtio_device_init/deinit. */
int virtio_rng_create(const struct device_host *host, unsigned irq,
                      struct virtio_rng **out) MUST_CHECK;
void virtio_rng_destroy(struct virtio_rng *rng);

struct virtio_device *virtio_rng_device(struct virtio_rng *rng);

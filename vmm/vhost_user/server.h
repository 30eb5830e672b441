/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serve one of our virtio devices to a virtual machine in another process (QEMU), over the
 * vhost-user protocol. The device is the one that stands behind virtio-mmio elsewhere; the front
 * end plays the transport: it says where memory and rings are, kicks and is interrupted by event
 * descriptors.
 *
 * For devices that keep no chain between two calls and whose queues complete in order (vsock):
 * where a ring goes on, the front end says by one index.
 *
 * The front end stops all rings when its machine is paused and when the driver resets the device,
 * and doesn't say which. So a stop changes nothing in the device, and a ring that starts otherwise
 * than it stopped resets it then.
 *
 * Threads: messages and kicks are served on the loop's thread; what the device may do anywhere, it
 * may do anywhere.
 */
#pragma once

#include "devices/device.h"

struct vhost_user_server;
struct virtio_device;

struct vhost_user_setup {
    const struct device_host *host; /* watch and log; outlives the server */
    int socket;                     /* to the front end; taken on success */
    void (*closed)(
        void *ctx); /* the front end has gone, or broke the protocol: once, on the loop */
    void *ctx;
};

/* 0 or -errno, with nothing kept. Nothing is served yet. */
int vhost_user_create(const struct vhost_user_setup *setup,
                      struct vhost_user_server **out) MUST_CHECK;
/* The machine around the device, for its creation: memory and interrupts are the front end's. */
const struct device_host *vhost_user_host(const struct vhost_user_server *s);
/* Serve this device, which was created with that host, and outlives the loop. 0 or -errno. */
int vhost_user_serve(struct vhost_user_server *s, struct virtio_device *dev) MUST_CHECK;
/* After the loop has ended and the device is gone. */
void vhost_user_destroy(struct vhost_user_server *s);

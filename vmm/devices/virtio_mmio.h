/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, register layout version 2 (VIRTIO 1.1, section 4.2), and what a virtio
 * device is to it. A device embeds struct virtio_device first, fills struct virtio_device_setup and
 * supplies operations; the transport owns status, feature negotiation, queue set-up, interrupts.
 *
 * Threads: register accesses arrive on vCPU threads, deferred work on the loop thread. One lock per
 * device; every operation is called with it held. InterruptStatus and InterruptACK take no lock.
 *
 * A driver that breaks the protocol gets DEVICE_NEEDS_RESET and a configuration-change interrupt,
 * one message goes to the host, and the device does nothing more until it is reset (2.1.2).
 */
#pragma once

#include <pthread.h>

#include "device.h"
#include "virtqueue.h"

struct snapshot_virtio;

#define VIRTIO_MMIO_WINDOW_SIZE 0x1000u
#define VIRTIO_QUEUES_MAX       16

struct virtio_device;

/*
 * Where an operation runs. Work that may block in the host belongs on the loop:
 * virtio_queue_defer().
 */
enum virtio_thread {
    VIRTIO_ON_VCPU,
    VIRTIO_ON_LOOP,
};

struct virtio_device_ops {
    const char *name;   /* for messages: "virtio-console" */
    uint32_t device_id; /* VIRTIO_ID_... */

    /* The driver set DRIVER_OK; negotiated features are dev->features. NULL: nothing to do. */
    void (*activate)(struct virtio_device *dev);

    /* The driver kicked this queue, or virtio_queue_defer() asked to run it again. Bounded work. */
    void (*kick)(struct virtio_device *dev, unsigned queue, enum virtio_thread thread);

    /*
     * Drop everything the driver said; afterwards nothing of the device touches guest memory.
     * Queues and transport state are cleared after this call. NULL: nothing to do.
     */
    void (*reset)(struct virtio_device *dev);

    /*
     * The driver wrote to configuration space, inside its size. NULL: it is read-only, writes are
     * dropped.
     */
    void (*config_write)(struct virtio_device *dev, uint64_t offset, unsigned size, uint64_t value);

    /*
     * What a snapshot holds of the device beyond transport and queues: one struct of fixed layout
     * (abi/snapshot.h), of this version; NULL and 0: nothing. docs/snapshot.md, "Devices".
     *
     * save: the guest stands still, nothing is under way in the host; write at most
     * state_size_max bytes (state_size() of them, asked a moment before, when that is not NULL) to
     * zeroed memory, and return how many. load: hostile bytes of a device
     * just created, after transport and queues are as saved; 0, or -errno with a text in *why for
     * what this device cannot be. Neither touches guest memory or raises interrupts; what the
     * driver has to hear is raised by loaded(), which runs with the machine complete and still.
     * Every ready queue is kicked on the loop once the guest goes on.
     */
    uint32_t state_version;
    size_t state_size_max;
    size_t (*state_size)(struct virtio_device *dev);
    size_t (*save)(struct virtio_device *dev, void *state);
    int (*load)(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                const char **why);
    void (*loaded)(struct virtio_device *dev);
};

struct virtio_device_setup {
    const struct virtio_device_ops *ops;
    const struct device_host *host; /* outlives the device */
    unsigned irq;
    uint64_t features;  /* offered beyond VERSION_1, event index and indirect descriptors */
    const void *config; /* configuration space, little-endian; lives as long as the device */
    uint32_t config_size;
    struct virtqueue *queues; /* lives as long as the device */
    const uint16_t *queue_sizes;
    unsigned queue_count; /* <= VIRTIO_QUEUES_MAX */
};

struct virtio_device {
    /* Constant after init. */
    struct virtio_device_setup setup;
    uint64_t features_offered;
    int defer_fd; /* eventfd: queues in `deferred` are to be run on the loop */

    /* Lock-free: bits are set by whoever raises an interrupt, cleared by the driver's ACK. */
    uint32_t interrupt_status;

    pthread_mutex_t lock; /* guards what follows, the queues, and the device around this struct */
    uint32_t status;
    uint64_t features; /* accepted by the driver; final once FEATURES_OK is set */
    uint32_t device_features_select;
    uint32_t driver_features_select;
    uint32_t queue_select;
    uint32_t config_generation;
    uint32_t deferred;   /* bit per queue */
    bool has_complained; /* one message a life between resets about wrong register use */
};

/*
 * Prepare the transport of a device. 0 or -errno (no descriptor left, watch refused), with nothing
 * kept. deinit is called when no vCPU runs, from the loop thread or after the loop has ended.
 */
int virtio_device_init(struct virtio_device *dev,
                       const struct virtio_device_setup *setup) MUST_CHECK;
void virtio_device_deinit(struct virtio_device *dev);

/* The device's register window at `base`, for the core's table of windows. */
struct io_window virtio_mmio_window(struct virtio_device *dev, uint64_t base);

/*
 * The same as the guest's write of `queue` to QueueNotify, for an ioeventfd that the core attached
 * to base + VIRTIO_MMIO_QUEUE_NOTIFY with this value (4 bytes). `queue` may be anything.
 */
void virtio_mmio_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread);
unsigned virtio_mmio_queue_count(const struct virtio_device *dev);

/*
 * The transport's part of a snapshot; `out` has room for virtio_transport_size() bytes. load: of a
 * device just created; 0, or -errno and *why. Both take the lock; the guest stands still.
 */
size_t virtio_transport_size(const struct virtio_device *dev);
void virtio_transport_save(struct virtio_device *dev, struct snapshot_virtio *out);
int virtio_transport_load(struct virtio_device *dev, const struct snapshot_virtio *in, size_t size,
                          const char **why) MUST_CHECK;
/* Have every ready queue looked at when the loop goes on. After the device's own load. */
void virtio_device_wake(struct virtio_device *dev);

/* For the device's own entry points (descriptor events, calls by the embedder). */
void virtio_device_lock(struct virtio_device *dev);
void virtio_device_unlock(struct virtio_device *dev);

/* The rest expects the lock. */

bool virtio_device_is_live(const struct virtio_device *dev); /* DRIVER_OK and not failed */
bool virtio_device_has_feature(const struct virtio_device *dev, unsigned bit);

/* Publish what was completed on a queue, with an interrupt if the driver wants one. */
void virtio_queue_publish(struct virtio_device *dev, unsigned queue);

/* Have ops->kick() called for this queue on the loop thread, soon. */
void virtio_queue_defer(struct virtio_device *dev, unsigned queue);

/* The bytes of the configuration space have changed: new generation, interrupt. */
void virtio_config_changed(struct virtio_device *dev);

/* The driver broke the protocol: see the top of this file. `why` is a constant text. */
void virtio_device_fail(struct virtio_device *dev, const char *why);

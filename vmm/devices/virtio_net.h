/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio network device (VIRTIO 1.1, section 5.1) on a tap of the host: one receive and one
 * transmit queue, mergeable receive buffers, checksums and segmentation as the driver negotiates
 * them with the tap.
 *
 * Threads: all work is done on the loop thread, kicks are deferred to it. The tap is read only
 * while the driver is live and has taken the frame before; what comes meanwhile waits in the tap's
 * own queue, and is lost by the host when that is full.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct device_host;
struct mmds_service;
struct virtio_device;
struct virtio_net;

#define VIRTIO_NET_HEADER_SIZE 12u    /* struct virtio_net_hdr_v1, also the tap's */
#define VIRTIO_NET_FRAME_MAX   65550u /* an Ethernet header and 64 KiB of one segmented packet */

struct virtio_net_setup {
    const struct device_host *host; /* outlives the device */
    unsigned irq;
    /*
     * A tap without packet information and with headers of VIRTIO_NET_HEADER_SIZE, not blocking;
     * borrowed until destroy. In tests any descriptor that keeps the limits of messages.
     */
    int fd;
    uint8_t mac[6];
    bool is_mac_kept; /* over the one that a snapshot brings */
    uint16_t mtu;     /* 0: the driver is not told */
    /* NULL, or what answers frames to its address in the tap's place; outlives the device. */
    struct mmds_service *mmds;
    struct drupe_rate_limit rx_limit;
    struct drupe_rate_limit tx_limit;
};

/* 0 and a device in *out (destroy it), or -errno. Context as for virtio_device_init/deinit. */
int virtio_net_create(const struct virtio_net_setup *setup, struct virtio_net **out) MUST_CHECK;
void virtio_net_destroy(struct virtio_net *net);
struct virtio_device *virtio_net_device(struct virtio_net *net);

/* Other limits; NULL: the same. Any thread. */
void virtio_net_update(struct virtio_net *net, const struct drupe_rate_limit *rx,
                       const struct drupe_rate_limit *tx);

/* What has happened since create. Any thread. */
void virtio_net_stats(struct virtio_net *net, struct drupe_net_stats *out);
/* Those of the metadata service here are added to *sum. */
void virtio_net_add_mmds_stats(struct virtio_net *net, struct drupe_metadata_stats *sum);

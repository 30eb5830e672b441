/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device from inside: virtio_net.c (its life), virtio_net_rx.c (towards the guest) and
 * virtio_net_tx.c (towards the tap). Everything here runs on the loop thread under the device's
 * lock.
 */
#pragma once

#include "devices/rate_limiter.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_net.h"
#include "mmds/stack.h"

#define NET_QUEUE_SIZE  128u
#define NET_QUEUE_RX    0u
#define NET_QUEUE_TX    1u
#define NET_HEADER_SIZE VIRTIO_NET_HEADER_SIZE

struct net_config { /* 5.1.4 */
    uint8_t mac[6];
    uint16_t status;
    uint16_t max_virtqueue_pairs;
    uint16_t mtu;
};

struct net_direction {
    struct rate_limiter limiter;
    uint64_t retry_ns; /* when tokens are asked for again; CLOCK_NEVER: nothing waits for them */
};

struct virtio_net {
    struct virtio_device dev;
    struct virtqueue queues[2];
    struct net_config config;
    int fd;
    int timer_fd;
    bool is_mac_kept;
    bool has_new_mac;  /* since the snapshot was taken */
    bool is_set_up;    /* the tap knows what this driver accepts */
    bool is_watched;   /* the tap, for frames */
    bool is_gone;      /* the tap was taken away */
    bool has_send_log; /* one message a life between resets */
    struct net_direction rx;
    struct net_direction tx;
    struct drupe_net_stats stats;
    struct mmds_stack *mmds; /* NULL: none */

    /* The frame that is on its way to the guest, behind its header. */
    size_t frame_size; /* with the header; 0: none waits */
    bool is_paid;      /* the one that waits has its tokens */
    struct vq_chain first;
    struct vq_chain more;
    struct iovec iov[VQ_SEGMENTS_MAX + 1];
    uint8_t frame[NET_HEADER_SIZE + VIRTIO_NET_FRAME_MAX];
    uint8_t frame_in[MMDS_FRAME_IN_MAX];
};

/* The next chain; otherwise not 1, with a kick asked for. */
int net_take(struct virtqueue *vq, struct vq_chain *chain) MUST_CHECK;
/* True: the limit holds this frame back, and says when it is asked again. */
bool net_is_refused(struct net_direction *d, size_t bytes) MUST_CHECK;

/* The timer brings us back when the first of those that wait for time may go on. */
void net_arm_timer(struct virtio_net *net);
/* Frames of the tap are wanted, or not for now. */
void net_watch_tap(struct virtio_net *net, bool is_wanted);
/* Pass on what the metadata service and the tap have, as far as the driver has room. */
void net_run_rx(struct virtio_net *net);
/* Send what the driver has. */
void net_run_tx(struct virtio_net *net);

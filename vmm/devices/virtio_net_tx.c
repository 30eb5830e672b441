/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames towards the tap, or to the metadata service in its place. Nothing is copied for the tap
 * but the header, which is checked; the frame goes out of guest memory. Section numbers are those
 * of VIRTIO 1.1.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "devices/virtio_net_internal.h"

static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER_SIZE, "header layout (5.1.6)");

bool net_is_refused(struct net_direction *d, size_t bytes)
{
    uint64_t now;

    if (!rate_limiter_is_limited(&d->limiter)) {
        return false;
    }
    now = clock_ns();
    if (rate_limiter_take(&d->limiter, bytes, now)) {
        return false;
    }
    d->retry_ns = now + RATE_LIMITER_RETRY_NS;
    return true;
}

int net_take(struct virtqueue *vq, struct vq_chain *chain)
{
    int r = vq_take(vq, chain);

    if (r == 0 && vq_kicks_on(vq) == 1) {
        r = vq_take(vq, chain);
    }
    return r;
}

static bool may_segment(const struct virtio_device *dev, uint8_t gso_type)
{
    switch (gso_type) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return virtio_device_has_feature(dev, VIRTIO_NET_F_HOST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return virtio_device_has_feature(dev, VIRTIO_NET_F_HOST_TSO6);
    case VIRTIO_NET_HDR_GSO_UDP:
        return virtio_device_has_feature(dev, VIRTIO_NET_F_HOST_UFO);
    default:
        return false;
    }
}

/* What was not negotiated is not asked of the host; the host checks the offsets itself. */
static bool check_header(const struct virtio_net *net, struct virtio_net_hdr_v1 *h)
{
    const bool needs_checksum = (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;

    if ((needs_checksum && !virtio_device_has_feature(&net->dev, VIRTIO_NET_F_CSUM)) ||
        !may_segment(&net->dev, h->gso_type)) {
        return false;
    }
    h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* 5.1.6.2: the driver sets no other */
    h->num_buffers = 0;
    if (!needs_checksum) {
        h->csum_start = 0;
        h->csum_offset = 0;
    }
    if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        h->hdr_len = 0;
        h->gso_size = 0;
    }
    return true;
}

static void send_to_tap(struct virtio_net *net, const struct vq_chain *chain,
                        struct virtio_net_hdr_v1 *h)
{
    const struct device_host *host = net->dev.setup.host;
    size_t size = 0;
    unsigned count = vq_chain_iov(&net->queues[NET_QUEUE_TX], chain, VQ_READABLE, NET_HEADER_SIZE,
                                  VIRTIO_NET_FRAME_MAX, net->iov + 1, &size);
    ssize_t n;

    net->iov[0] = (struct iovec){ .iov_base = h, .iov_len = sizeof(*h) };
    do {
        n = writev(net->fd, net->iov, (int)count + 1);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)(size + sizeof(*h))) {
        net->stats.tx_packets++;
        net->stats.tx_bytes += size;
        return;
    }
    net->stats.tx_fails++;
    net->stats.tap_write_fails++;
    if (!net->has_send_log && n < 0 && errno != EAGAIN) {
        net->has_send_log = true;
        host->log(host->ctx, DEVICE_LOG_WARN, net->dev.setup.ops->name,
                  errno == EIO ? "the tap's interface is down: frames are lost"
                               : "the tap refuses a frame");
    }
}

/* True: the frame was for the metadata service, which has it. */
static bool give_to_mmds(struct virtio_net *net, const struct vq_chain *chain,
                         const struct virtio_net_hdr_v1 *h)
{
    const size_t size =
        min_of((size_t)chain->readable_size - NET_HEADER_SIZE, sizeof(net->frame_in));
    const size_t head = min_of(size, (size_t)FRAME_HEAD_SIZE);

    if (net->mmds == NULL) {
        return false;
    }
    if (vq_chain_read(&net->queues[NET_QUEUE_TX], chain, NET_HEADER_SIZE, net->frame_in, head) <
        0) {
        unreachable("the chain has so many bytes");
    }
    if (!mmds_stack_wants(net->mmds, net->frame_in, head)) {
        return false;
    }
    /* The head is not read again: what was looked at is what the service gets. */
    if (vq_chain_read(&net->queues[NET_QUEUE_TX], chain, NET_HEADER_SIZE + head,
                      net->frame_in + head, size - head) < 0) {
        unreachable("the chain has so many bytes");
    }
    mmds_stack_input(net->mmds, net->frame_in, size, (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0,
                     clock_ns());
    return true;
}

static void transmit(struct virtio_net *net, const struct vq_chain *chain)
{
    struct virtqueue *vq = &net->queues[NET_QUEUE_TX];
    struct virtio_net_hdr_v1 header;
    uint8_t ethernet[ETH_HLEN];

    if (chain->readable_size > NET_HEADER_SIZE + VIRTIO_NET_FRAME_MAX ||
        vq_chain_read(vq, chain, 0, &header, sizeof(header)) < 0 ||
        vq_chain_read(vq, chain, NET_HEADER_SIZE, ethernet, sizeof(ethernet)) < 0 ||
        !check_header(net, &header)) {
        net->stats.tx_malformed_frames++;
        return;
    }
    if (give_to_mmds(net, chain, &header)) {
        return;
    }
    net->stats.tx_spoofed_mac_count +=
        memcmp(ethernet + ETH_ALEN, net->config.mac, sizeof(net->config.mac)) != 0;
    send_to_tap(net, chain, &header);
}

static size_t payload_size(const struct vq_chain *chain)
{
    return chain->readable_size - min_of(chain->readable_size, NET_HEADER_SIZE);
}

void net_run_tx(struct virtio_net *net)
{
    struct virtqueue *vq = &net->queues[NET_QUEUE_TX];
    struct vq_chain *chain = &net->more;
    unsigned left = NET_QUEUE_SIZE;

    if (net->tx.retry_ns != CLOCK_NEVER) {
        return;
    }
    vq_kicks_off(vq);
    while (virtio_device_is_live(&net->dev) && net_take(vq, chain) == 1) {
        if (left-- == 0) {
            vq_untake(vq);
            virtio_queue_defer(&net->dev, NET_QUEUE_TX);
            break;
        }
        if (net_is_refused(&net->tx, payload_size(chain))) {
            net->stats.tx_rate_limiter_throttled++;
            vq_untake(vq);
            break;
        }
        transmit(net, chain);
        vq_complete(vq, chain->head, 0);
    }
    net->stats.tx_count++;
    virtio_queue_publish(&net->dev, NET_QUEUE_TX);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames towards the guest. One is read into the device first: only then is its size known, and
 * with it how many of the driver's buffers it takes. It waits there for buffers or for tokens, and
 * while it does the tap is not watched. Section numbers are those of VIRTIO 1.1.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "devices/virtio_net_internal.h"

#define NUM_BUFFERS_OFFSET 10u

/* Loop thread: the tap has frames. */
static void on_tap(void *device, int fd, uint32_t events)
{
    struct virtio_net *net = device;

    (void)fd;
    (void)events;
    virtio_device_lock(&net->dev);
    if (virtio_device_is_live(&net->dev) && net->is_watched) {
        net->stats.rx_tap_event_count++;
        net_run_rx(net);
        net_arm_timer(net);
    } else {
        net_watch_tap(net, false); /* it failed: nothing is read before the next driver */
    }
    virtio_device_unlock(&net->dev);
}

void net_watch_tap(struct virtio_net *net, bool is_wanted)
{
    const struct device_host *host = net->dev.setup.host;

    if (is_wanted == net->is_watched) {
        return;
    }
    if (host->watch(host->ctx, net->fd, is_wanted ? EPOLLIN : 0, on_tap, net) < 0 && is_wanted) {
        host->log(host->ctx, DEVICE_LOG_ERROR, net->dev.setup.ops->name,
                  "the tap cannot be watched: nothing will be received");
        return;
    }
    net->is_watched = is_wanted;
}

static void lose_tap(struct virtio_net *net)
{
    const struct device_host *host = net->dev.setup.host;

    net_watch_tap(net, false);
    net->is_gone = true;
    net->config.status = 0;
    host->log(host->ctx, DEVICE_LOG_ERROR, net->dev.setup.ops->name,
              "the tap is gone: the link is down");
    if (virtio_device_has_feature(&net->dev, VIRTIO_NET_F_STATUS)) {
        virtio_config_changed(&net->dev);
    }
}

/* The next frame of the tap into net->frame. */
static bool read_tap(struct virtio_net *net)
{
    ssize_t n;

    if (net->is_gone) {
        return false;
    }
    do {
        n = read(net->fd, net->frame, sizeof(net->frame));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        net->stats.tap_read_fails++;
        lose_tap(net);
        return false;
    }
    if (n <= (ssize_t)NET_HEADER_SIZE) {
        net->stats.rx_fails += n >= 0;
        return false;
    }
    net->frame_size = (size_t)n;
    return true;
}

/* The next frame of the metadata service; the limit is for what the network sends. */
static bool ask_mmds(struct virtio_net *net)
{
    size_t size = 0;

    if (net->mmds != NULL) {
        size = mmds_stack_output(net->mmds, net->frame + NET_HEADER_SIZE, clock_ns());
    }
    if (size == 0) {
        return false;
    }
    memset(net->frame, 0, NET_HEADER_SIZE);
    net->frame_size = NET_HEADER_SIZE + size;
    net->is_paid = true;
    return true;
}

static bool next_frame(struct virtio_net *net)
{
    return net->frame_size != 0 || ask_mmds(net) ||
           (net->rx.retry_ns == CLOCK_NEVER && read_tap(net));
}

enum delivery {
    DELIVERED,
    DROPPED,
    WAITS, /* for buffers, and a kick will come; or the queue is broken */
};

/*
 * Fill one chain after the other; nothing is shown to the driver before the whole frame has its
 * place. `taken` names them with what was written.
 */
static enum delivery fill(struct virtio_net *net, struct vring_used_elem *taken, uint16_t *count)
{
    struct virtqueue *vq = &net->queues[NET_QUEUE_RX];
    const bool is_mergeable = virtio_device_has_feature(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
    const size_t first_min = is_mergeable ? NET_HEADER_SIZE : net->frame_size;
    size_t done = 0;

    *count = 0;
    while (done < net->frame_size) {
        struct vq_chain *chain = *count == 0 ? &net->first : &net->more;
        size_t part;

        if (*count == vq->size) {
            return DROPPED; /* more than all buffers together */
        }
        if (net_take(vq, chain) != 1) {
            return WAITS;
        }
        part = min_of((size_t)chain->writable_size, net->frame_size - done);
        taken[*count] = (struct vring_used_elem){ .id = chain->head, .len = (uint32_t)part };
        *count += 1;
        if (*count == 1 && chain->writable_size < first_min) {
            return DROPPED;
        }
        if (vq_chain_write(vq, chain, 0, net->frame + done, part) < 0) {
            unreachable("the part was limited to the chain's room");
        }
        done += part;
    }
    return DELIVERED;
}

static void count_buffers(struct virtio_net *net, uint16_t count)
{
    if (count > 1 && vq_chain_write(&net->queues[NET_QUEUE_RX], &net->first, NUM_BUFFERS_OFFSET,
                                    &count, sizeof(count)) < 0) {
        unreachable("the first chain has room for the header");
    }
}

static enum delivery deliver(struct virtio_net *net)
{
    struct virtqueue *vq = &net->queues[NET_QUEUE_RX];
    struct vring_used_elem taken[NET_QUEUE_SIZE];
    const uint16_t one = 1;
    uint16_t count = 0;
    enum delivery result;

    memcpy(net->frame + NUM_BUFFERS_OFFSET, &one, sizeof(one));
    result = fill(net, taken, &count);
    if (result != DELIVERED) {
        for (uint16_t i = 0; i < count; i++) {
            vq_untake(vq);
        }
        return result;
    }
    count_buffers(net, count);
    for (uint16_t i = 0; i < count; i++) {
        vq_complete(vq, (uint16_t)taken[i].id, taken[i].len);
    }
    return DELIVERED;
}

/* The frame that waits goes to the driver. False: it goes on waiting. */
static bool pass_frame(struct virtio_net *net)
{
    const size_t size = net->frame_size - NET_HEADER_SIZE;

    if (!net->is_paid && net_is_refused(&net->rx, size)) {
        net->stats.rx_rate_limiter_throttled++;
        return false;
    }
    net->is_paid = true;
    switch (deliver(net)) {
    case WAITS:
        net->stats.no_rx_avail_buffer++;
        return false;
    case DROPPED:
        net->stats.rx_fails++;
        break;
    case DELIVERED:
        net->stats.rx_packets++;
        net->stats.rx_bytes += size;
        break;
    }
    net->is_paid = false;
    net->frame_size = 0;
    return true;
}

/* Nothing can be passed on before tokens come back. */
static bool is_held_back(const struct virtio_net *net)
{
    return net->frame_size != 0 && net->rx.retry_ns != CLOCK_NEVER;
}

void net_run_rx(struct virtio_net *net)
{
    unsigned left = NET_QUEUE_SIZE;

    if (is_held_back(net)) {
        return;
    }
    vq_kicks_off(&net->queues[NET_QUEUE_RX]);
    while (virtio_device_is_live(&net->dev) && next_frame(net)) {
        if (left-- == 0) {
            virtio_queue_defer(&net->dev, NET_QUEUE_RX);
            break;
        }
        if (!pass_frame(net)) {
            break;
        }
    }
    net->stats.rx_count++;
    virtio_queue_publish(&net->dev, NET_QUEUE_RX);
    net_watch_tap(net, net->frame_size == 0 && !net->is_gone && virtio_device_is_live(&net->dev));
}

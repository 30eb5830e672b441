/* SPDX-License-Identifier: Apache-2.0 */
/* The network device's life. Section numbers are those of VIRTIO 1.1. */
#include "devices/virtio_net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "abi/snapshot.h"
#include "devices/virtio_net_internal.h"

#define F(bit) (UINT64_C(1) << (bit))

#define FEATURES_ALWAYS                                                                            \
    (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_MAC) |                     \
     F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6) | F(VIRTIO_NET_F_GUEST_UFO) |         \
     F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | F(VIRTIO_NET_F_HOST_UFO) |            \
     F(VIRTIO_NET_F_MRG_RXBUF) | F(VIRTIO_NET_F_STATUS))

static_assert(sizeof(struct net_config) == 12, "configuration layout (5.1.4)");

static const uint16_t queue_sizes[] = { NET_QUEUE_SIZE, NET_QUEUE_SIZE };

static struct virtio_net *net_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_net, dev);
}

void net_arm_timer(struct virtio_net *net)
{
    uint64_t next = min_of(net->rx.retry_ns, net->tx.retry_ns);
    struct itimerspec at = { 0 };

    if (net->mmds != NULL) {
        next = min_of(next, mmds_stack_deadline(net->mmds));
    }
    if (next != CLOCK_NEVER) {
        at.it_value = clock_timespec(next);
    }
    (void)timerfd_settime(net->timer_fd, TFD_TIMER_ABSTIME, &at, NULL); /* of our own making */
}

static unsigned offloads_of(const struct virtio_device *dev)
{
    static const struct {
        unsigned feature;
        unsigned offload;
    } pairs[] = {
        { VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
        { VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
        { VIRTIO_NET_F_GUEST_UFO, TUN_F_UFO },
    };

    unsigned offloads = 0;

    if (!virtio_device_has_feature(dev, VIRTIO_NET_F_GUEST_CSUM)) {
        return 0; /* 5.1.3.1: the others depend on it */
    }
    for (size_t i = 0; i < array_size(pairs); i++) {
        offloads |= virtio_device_has_feature(dev, pairs[i].feature) ? pairs[i].offload : 0u;
    }
    return offloads | TUN_F_CSUM;
}

/* Once for each driver that comes to life, on the loop. */
static void set_up_tap(struct virtio_net *net)
{
    const struct device_host *host = net->dev.setup.host;

    if (net->is_set_up) {
        return;
    }
    net->is_set_up = true;
    if (ioctl(net->fd, TUNSETOFFLOAD, (unsigned long)offloads_of(&net->dev)) < 0 &&
        errno != ENOTTY) {
        host->log(host->ctx, DEVICE_LOG_WARN, net->dev.setup.ops->name,
                  "the tap does not net_take the driver's offloads");
    }
}

static void net_activate(struct virtio_device *dev)
{
    virtio_queue_defer(dev, NET_QUEUE_RX); /* the tap may have frames already */
}

static void net_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_net *net = net_of(dev);

    if (thread == VIRTIO_ON_VCPU) {
        virtio_queue_defer(dev, queue);
        return;
    }
    set_up_tap(net);
    if (queue == NET_QUEUE_RX) {
        net->stats.rx_queue_event_count++;
        net_run_rx(net);
    } else {
        net->stats.tx_queue_event_count++;
        net_run_tx(net);
    }
    if (net->mmds != NULL) {
        net_run_rx(net); /* its answers */
    }
    net_arm_timer(net);
}

/* True, once, when what waited for time may go on. */
static bool is_due(struct net_direction *d, uint64_t now)
{
    if (d->retry_ns == CLOCK_NEVER || now < d->retry_ns) {
        return false;
    }
    d->retry_ns = CLOCK_NEVER;
    return true;
}

/* Loop thread: time has passed, tokens have come back. */
static void on_timer(void *device, int fd, uint32_t events)
{
    struct virtio_net *net = device;
    uint64_t count;
    uint64_t now = clock_ns();

    (void)events;
    (void)!read(fd, &count, sizeof(count));
    virtio_device_lock(&net->dev);
    net->stats.rx_rate_limiter_event_count += is_due(&net->rx, now);
    net->stats.tx_rate_limiter_event_count += is_due(&net->tx, now);
    if (virtio_device_is_live(&net->dev)) {
        net_run_tx(net);
        net_run_rx(net);
    }
    net_arm_timer(net);
    virtio_device_unlock(&net->dev);
}

static void net_reset(struct virtio_device *dev)
{
    struct virtio_net *net = net_of(dev);

    net_watch_tap(net, false);
    net->frame_size = 0;
    net->is_paid = false;
    net->is_set_up = false;
    net->has_send_log = false;
    net->rx.retry_ns = CLOCK_NEVER;
    net->tx.retry_ns = CLOCK_NEVER;
    if (net->mmds != NULL) {
        mmds_stack_reset(net->mmds);
    }
    net_arm_timer(net);
}

/* A frame that waits is lost with the machine, as on any network. */
static size_t net_save(struct virtio_device *dev, void *state)
{
    const struct virtio_net *net = net_of(dev);
    struct snapshot_net *out = state;

    memcpy(out->mac, net->config.mac, sizeof(out->mac));
    out->mtu = net->config.mtu;
    return sizeof(*out);
}

static int net_load(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                    const char **why)
{
    struct virtio_net *net = net_of(dev);
    const struct snapshot_net *in = state;

    if (version != 1 || size != sizeof(*in)) {
        *why = "its state is of another version";
        return -EINVAL;
    }
    if (in->mtu != net->config.mtu) {
        *why = "the interface has another MTU";
        return -EINVAL;
    }
    if (!net->is_mac_kept) {
        memcpy(net->config.mac, in->mac, sizeof(net->config.mac));
    }
    net->has_new_mac = memcmp(net->config.mac, in->mac, sizeof(in->mac)) != 0;
    return 0;
}

static void net_loaded(struct virtio_device *dev)
{
    if (net_of(dev)->has_new_mac) {
        virtio_config_changed(dev);
    }
}

static const struct virtio_device_ops net_ops = {
    .name = "virtio-net",
    .device_id = VIRTIO_ID_NET,
    .activate = net_activate,
    .kick = net_kick,
    .reset = net_reset,
    .state_version = 1,
    .state_size_max = sizeof(struct snapshot_net),
    .save = net_save,
    .load = net_load,
    .loaded = net_loaded,
};

/* Every device has its timer: limits may come later. */
static int make_timer(struct virtio_net *net, const struct device_host *host)
{
    int err;

    net->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (net->timer_fd < 0) {
        return -errno;
    }
    err = host->watch(host->ctx, net->timer_fd, EPOLLIN, on_timer, net);
    if (err < 0) {
        (void)close(net->timer_fd);
    }
    return err;
}

static void net_init(struct virtio_net *net, const struct virtio_net_setup *setup)
{
    net->fd = setup->fd;
    net->is_mac_kept = setup->is_mac_kept;
    net->config = (struct net_config){
        .status = VIRTIO_NET_S_LINK_UP,
        .max_virtqueue_pairs = 1,
        .mtu = setup->mtu,
    };
    memcpy(net->config.mac, setup->mac, sizeof(net->config.mac));
    net->rx.retry_ns = CLOCK_NEVER;
    net->tx.retry_ns = CLOCK_NEVER;
    rate_limiter_init(&net->rx.limiter, &setup->rx_limit, clock_ns());
    rate_limiter_init(&net->tx.limiter, &setup->tx_limit, clock_ns());
}

int virtio_net_create(const struct virtio_net_setup *setup, struct virtio_net **out)
{
    struct virtio_net *net = calloc(1, sizeof(*net));
    int err;

    if (net == NULL) {
        return -ENOMEM;
    }
    net_init(net, setup);
    err = setup->mmds == NULL ? 0 : mmds_stack_create(setup->mmds, setup->mtu, &net->mmds);
    if (err < 0) {
        goto free_net;
    }
    err = virtio_device_init(
        &net->dev, &(struct virtio_device_setup){
                       .ops = &net_ops,
                       .host = setup->host,
                       .irq = setup->irq,
                       .features = FEATURES_ALWAYS | (setup->mtu != 0 ? F(VIRTIO_NET_F_MTU) : 0),
                       .config = &net->config,
                       .config_size = sizeof(net->config),
                       .queues = net->queues,
                       .queue_sizes = queue_sizes,
                       .queue_count = array_size(queue_sizes),
                   });
    if (err < 0) {
        goto destroy_mmds;
    }
    err = make_timer(net, setup->host);
    if (err < 0) {
        goto deinit_device;
    }
    *out = net;
    return 0;

deinit_device:
    virtio_device_deinit(&net->dev);
destroy_mmds:
    mmds_stack_destroy(net->mmds);
free_net:
    free(net);
    return err;
}

void virtio_net_destroy(struct virtio_net *net)
{
    const struct device_host *host = net->dev.setup.host;

    virtio_device_lock(&net->dev);
    net_watch_tap(net, false);
    virtio_device_unlock(&net->dev);
    (void)host->watch(host->ctx, net->timer_fd, 0, on_timer, net);
    (void)close(net->timer_fd);
    virtio_device_deinit(&net->dev);
    mmds_stack_destroy(net->mmds);
    free(net);
}

struct virtio_device *virtio_net_device(struct virtio_net *net)
{
    return &net->dev;
}

/* What was held back by the old limit is looked at again at once. */
static void set_limit(struct virtio_net *net, struct net_direction *d, unsigned queue,
                      const struct drupe_rate_limit *limit)
{
    if (limit == NULL) {
        return;
    }
    rate_limiter_init(&d->limiter, limit, clock_ns());
    d->retry_ns = CLOCK_NEVER;
    if (virtio_device_is_live(&net->dev)) {
        virtio_queue_defer(&net->dev, queue);
    }
}

void virtio_net_update(struct virtio_net *net, const struct drupe_rate_limit *rx,
                       const struct drupe_rate_limit *tx)
{
    virtio_device_lock(&net->dev);
    set_limit(net, &net->rx, NET_QUEUE_RX, rx);
    set_limit(net, &net->tx, NET_QUEUE_TX, tx);
    virtio_device_unlock(&net->dev);
}

void virtio_net_stats(struct virtio_net *net, struct drupe_net_stats *out)
{
    virtio_device_lock(&net->dev);
    *out = net->stats;
    virtio_device_unlock(&net->dev);
}

void virtio_net_add_mmds_stats(struct virtio_net *net, struct drupe_metadata_stats *sum)
{
    if (net->mmds != NULL) {
        virtio_device_lock(&net->dev);
        mmds_stack_stats(net->mmds, sum);
        virtio_device_unlock(&net->dev);
    }
}

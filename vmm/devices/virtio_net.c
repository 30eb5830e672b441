/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device. Section numbers are those of VIRTIO 1.1.
 *
 * Towards the guest a frame is read into the device first: only then is its size known, and with it
 * how many of the driver's buffers it takes. One frame waits there at most, for buffers or for
 * tokens of the limiter, and while it does the tap is not watched. Towards the tap nothing is
 * copied but the header, which is checked; the frame goes out of guest memory.
 */
#include "virtio_net.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>

#include "abi/snapshot.h"
#include "rate_limiter.h"
#include "virtio_mmio.h"

#define QUEUE_SIZE 128u
#define QUEUE_RX   0u
#define QUEUE_TX   1u

#define HEADER_SIZE        VIRTIO_NET_HEADER_SIZE
#define NUM_BUFFERS_OFFSET 10u
#define NEVER              UINT64_MAX
#define F(bit)             (UINT64_C(1) << (bit))

#define FEATURES_ALWAYS                                                                            \
    (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_MAC) |                     \
     F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6) | F(VIRTIO_NET_F_GUEST_UFO) |         \
     F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | F(VIRTIO_NET_F_HOST_UFO) |            \
     F(VIRTIO_NET_F_MRG_RXBUF) | F(VIRTIO_NET_F_STATUS))

static_assert(sizeof(struct virtio_net_hdr_v1) == HEADER_SIZE, "header layout (5.1.6)");

struct net_config { /* 5.1.4 */
    uint8_t mac[6];
    uint16_t status;
    uint16_t max_virtqueue_pairs;
    uint16_t mtu;
};

static_assert(sizeof(struct net_config) == 12, "configuration layout (5.1.4)");

struct direction {
    struct rate_limiter limiter;
    uint64_t retry_ns; /* when tokens are asked for again; NEVER: nothing waits for them */
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
    struct direction rx;
    struct direction tx;
    struct drupe_net_stats stats;

    size_t frame_size; /* with its header; 0: none waits */
    bool is_paid;      /* the one that waits has its tokens */
    struct vq_chain first;
    struct vq_chain more;
    struct iovec iov[VQ_SEGMENTS_MAX + 1];
    uint8_t frame[HEADER_SIZE + VIRTIO_NET_FRAME_MAX];
};

static const uint16_t queue_sizes[] = { QUEUE_SIZE, QUEUE_SIZE };

static struct virtio_net *net_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_net, dev);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* ---- Waiting ---- */

/* The timer brings us back when the first of those that wait for time may go on. */
static void arm_timer(struct virtio_net *net)
{
    const uint64_t next = min_of(net->rx.retry_ns, net->tx.retry_ns);
    struct itimerspec at = { 0 };

    if (next != NEVER) {
        at.it_value.tv_sec = (time_t)(next / UINT64_C(1000000000));
        at.it_value.tv_nsec = (long)(next % UINT64_C(1000000000));
    }
    (void)timerfd_settime(net->timer_fd, TFD_TIMER_ABSTIME, &at, NULL); /* of our own making */
}

/* True: the limit holds this frame back, and the timer is set. */
static bool is_refused(struct direction *d, size_t bytes)
{
    uint64_t now;

    if (!rate_limiter_is_limited(&d->limiter)) {
        return false;
    }
    now = now_ns();
    if (rate_limiter_take(&d->limiter, bytes, now)) {
        return false;
    }
    d->retry_ns = now + RATE_LIMITER_RETRY_NS;
    return true;
}

static void on_tap(void *device, int fd, uint32_t events);

/* Frames are wanted when none waits and none is held back. */
static void watch_tap(struct virtio_net *net, bool is_wanted)
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

/* The next chain, or 0 with a kick asked for. */
static int take(struct virtqueue *vq, struct vq_chain *chain)
{
    int r = vq_take(vq, chain);

    if (r == 0 && vq_kicks_on(vq) == 1) {
        r = vq_take(vq, chain);
    }
    return r;
}

/* ---- The tap ---- */

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
                  "the tap does not take the driver's offloads");
    }
}

static void lose_tap(struct virtio_net *net)
{
    const struct device_host *host = net->dev.setup.host;

    watch_tap(net, false);
    net->is_gone = true;
    net->config.status = 0;
    host->log(host->ctx, DEVICE_LOG_ERROR, net->dev.setup.ops->name,
              "the tap is gone: the link is down");
    if (virtio_device_has_feature(&net->dev, VIRTIO_NET_F_STATUS)) {
        virtio_config_changed(&net->dev);
    }
}

/* ---- Towards the guest ---- */

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
    if (n <= (ssize_t)HEADER_SIZE) {
        net->stats.rx_fails += n >= 0;
        return false;
    }
    net->frame_size = (size_t)n;
    return true;
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
    struct virtqueue *vq = &net->queues[QUEUE_RX];
    const bool is_mergeable = virtio_device_has_feature(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
    const size_t first_min = is_mergeable ? HEADER_SIZE : net->frame_size;
    size_t done = 0;

    *count = 0;
    while (done < net->frame_size) {
        struct vq_chain *chain = *count == 0 ? &net->first : &net->more;
        size_t part;

        if (*count == vq->size) {
            return DROPPED; /* more than all buffers together */
        }
        if (take(vq, chain) != 1) {
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
    if (count > 1 && vq_chain_write(&net->queues[QUEUE_RX], &net->first, NUM_BUFFERS_OFFSET, &count,
                                    sizeof(count)) < 0) {
        unreachable("the first chain has room for the header");
    }
}

static enum delivery deliver(struct virtio_net *net)
{
    struct virtqueue *vq = &net->queues[QUEUE_RX];
    struct vring_used_elem taken[QUEUE_SIZE];
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
    const size_t size = net->frame_size - HEADER_SIZE;

    if (!net->is_paid && is_refused(&net->rx, size)) {
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

static void run_rx(struct virtio_net *net)
{
    unsigned left = QUEUE_SIZE;

    if (net->rx.retry_ns != NEVER) {
        return;
    }
    vq_kicks_off(&net->queues[QUEUE_RX]);
    while (left > 0 && virtio_device_is_live(&net->dev)) {
        if ((net->frame_size == 0 && !read_tap(net)) || !pass_frame(net)) {
            break;
        }
        left--;
    }
    net->stats.rx_count++;
    virtio_queue_publish(&net->dev, QUEUE_RX);
    watch_tap(net, net->frame_size == 0 && !net->is_gone && virtio_device_is_live(&net->dev));
}

/* ---- Towards the tap ---- */

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
    unsigned count = vq_chain_iov(&net->queues[QUEUE_TX], chain, VQ_READABLE, HEADER_SIZE,
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

static void transmit(struct virtio_net *net, const struct vq_chain *chain)
{
    struct virtqueue *vq = &net->queues[QUEUE_TX];
    struct virtio_net_hdr_v1 header;
    uint8_t ethernet[ETH_HLEN];

    if (chain->readable_size > HEADER_SIZE + VIRTIO_NET_FRAME_MAX ||
        vq_chain_read(vq, chain, 0, &header, sizeof(header)) < 0 ||
        vq_chain_read(vq, chain, HEADER_SIZE, ethernet, sizeof(ethernet)) < 0 ||
        !check_header(net, &header)) {
        net->stats.tx_malformed_frames++;
        return;
    }
    net->stats.tx_spoofed_mac_count +=
        memcmp(ethernet + ETH_ALEN, net->config.mac, sizeof(net->config.mac)) != 0;
    send_to_tap(net, chain, &header);
}

static size_t payload_size(const struct vq_chain *chain)
{
    return chain->readable_size - min_of(chain->readable_size, HEADER_SIZE);
}

static void run_tx(struct virtio_net *net)
{
    struct virtqueue *vq = &net->queues[QUEUE_TX];
    struct vq_chain *chain = &net->more;
    unsigned left = QUEUE_SIZE;

    if (net->tx.retry_ns != NEVER) {
        return;
    }
    vq_kicks_off(vq);
    while (virtio_device_is_live(&net->dev) && take(vq, chain) == 1) {
        if (left-- == 0) {
            vq_untake(vq);
            virtio_queue_defer(&net->dev, QUEUE_TX);
            break;
        }
        if (is_refused(&net->tx, payload_size(chain))) {
            net->stats.tx_rate_limiter_throttled++;
            vq_untake(vq);
            break;
        }
        transmit(net, chain);
        vq_complete(vq, chain->head, 0);
    }
    net->stats.tx_count++;
    virtio_queue_publish(&net->dev, QUEUE_TX);
}

/* ---- The device ---- */

static void net_activate(struct virtio_device *dev)
{
    virtio_queue_defer(dev, QUEUE_RX); /* the tap may have frames already */
}

static void net_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_net *net = net_of(dev);

    if (thread == VIRTIO_ON_VCPU) {
        virtio_queue_defer(dev, queue);
        return;
    }
    set_up_tap(net);
    if (queue == QUEUE_RX) {
        net->stats.rx_queue_event_count++;
        run_rx(net);
    } else {
        net->stats.tx_queue_event_count++;
        run_tx(net);
    }
    arm_timer(net);
}

/* Loop thread: the tap has frames. */
static void on_tap(void *device, int fd, uint32_t events)
{
    struct virtio_net *net = device;

    (void)fd;
    (void)events;
    virtio_device_lock(&net->dev);
    if (virtio_device_is_live(&net->dev) && net->is_watched) {
        net->stats.rx_tap_event_count++;
        run_rx(net);
        arm_timer(net);
    } else {
        watch_tap(net, false); /* it failed: nothing is read before the next driver */
    }
    virtio_device_unlock(&net->dev);
}

/* True, once, when what waited for time may go on. */
static bool is_due(struct direction *d, uint64_t now)
{
    if (d->retry_ns == NEVER || now < d->retry_ns) {
        return false;
    }
    d->retry_ns = NEVER;
    return true;
}

/* Loop thread: time has passed, tokens have come back. */
static void on_timer(void *device, int fd, uint32_t events)
{
    struct virtio_net *net = device;
    uint64_t count;
    uint64_t now = now_ns();

    (void)events;
    (void)!read(fd, &count, sizeof(count));
    virtio_device_lock(&net->dev);
    if (is_due(&net->rx, now) && virtio_device_is_live(&net->dev)) {
        net->stats.rx_rate_limiter_event_count++;
        run_rx(net);
    }
    if (is_due(&net->tx, now) && virtio_device_is_live(&net->dev)) {
        net->stats.tx_rate_limiter_event_count++;
        run_tx(net);
    }
    arm_timer(net);
    virtio_device_unlock(&net->dev);
}

static void net_reset(struct virtio_device *dev)
{
    struct virtio_net *net = net_of(dev);

    watch_tap(net, false);
    net->frame_size = 0;
    net->is_paid = false;
    net->is_set_up = false;
    net->has_send_log = false;
    net->rx.retry_ns = NEVER;
    net->tx.retry_ns = NEVER;
    arm_timer(net);
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
    net->rx.retry_ns = NEVER;
    net->tx.retry_ns = NEVER;
    rate_limiter_init(&net->rx.limiter, &setup->rx_limit, now_ns());
    rate_limiter_init(&net->tx.limiter, &setup->tx_limit, now_ns());
}

int virtio_net_create(const struct virtio_net_setup *setup, struct virtio_net **out)
{
    struct virtio_net *net = calloc(1, sizeof(*net));
    int err;

    if (net == NULL) {
        return -ENOMEM;
    }
    net_init(net, setup);
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
        goto free_net;
    }
    err = make_timer(net, setup->host);
    if (err < 0) {
        goto deinit_device;
    }
    *out = net;
    return 0;

deinit_device:
    virtio_device_deinit(&net->dev);
free_net:
    free(net);
    return err;
}

void virtio_net_destroy(struct virtio_net *net)
{
    const struct device_host *host = net->dev.setup.host;

    virtio_device_lock(&net->dev);
    watch_tap(net, false);
    virtio_device_unlock(&net->dev);
    (void)host->watch(host->ctx, net->timer_fd, 0, on_timer, net);
    (void)close(net->timer_fd);
    virtio_device_deinit(&net->dev);
    free(net);
}

struct virtio_device *virtio_net_device(struct virtio_net *net)
{
    return &net->dev;
}

/* What was held back by the old limit is looked at again at once. */
static void set_limit(struct virtio_net *net, struct direction *d, unsigned queue,
                      const struct drupe_rate_limit *limit)
{
    if (limit == NULL) {
        return;
    }
    rate_limiter_init(&d->limiter, limit, now_ns());
    d->retry_ns = NEVER;
    if (virtio_device_is_live(&net->dev)) {
        virtio_queue_defer(&net->dev, queue);
    }
}

void virtio_net_update(struct virtio_net *net, const struct drupe_rate_limit *rx,
                       const struct drupe_rate_limit *tx)
{
    virtio_device_lock(&net->dev);
    set_limit(net, &net->rx, QUEUE_RX, rx);
    set_limit(net, &net->tx, QUEUE_TX, tx);
    virtio_device_unlock(&net->dev);
}

void virtio_net_stats(struct virtio_net *net, struct drupe_net_stats *out)
{
    virtio_device_lock(&net->dev);
    *out = net->stats;
    virtio_device_unlock(&net->dev);
}

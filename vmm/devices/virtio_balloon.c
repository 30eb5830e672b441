/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues come in this order, those that were not asked for left out: inflate, deflate, statistics,
 * reporting. Ascending page numbers are dropped with one call.
 */
#include "virtio_balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "abi/snapshot.h"
#include "gmem.h"

#define QUEUE_SIZE     128u
#define QUEUES_MAX     4u
#define PAGE_SIZE      4096u
#define PAGES_PER_MIB  256u
#define PFNS_AT_ONCE   256u
#define CHAINS_AT_ONCE 16u
#define STAT_SIZE      10u
#define STATS_AT_ONCE  32u

enum balloon_queue {
    INFLATE,
    DEFLATE,
    STATISTICS,
    REPORTING,
};

struct virtio_balloon {
    struct virtio_device dev;
    struct virtqueue queues[QUEUES_MAX];
    uint16_t queue_sizes[QUEUES_MAX];
    enum balloon_queue kinds[QUEUES_MAX]; /* by queue number */
    unsigned queue_count;
    unsigned stats_queue; /* 0: none */
    struct virtio_balloon_config config;
    int timer_fd;    /* -1: no statistics */
    bool has_buffer; /* the driver's statistics buffer is with us */
    uint16_t buffer; /* its chain */
    struct drupe_balloon_stats stats;
};

static struct virtio_balloon *balloon_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_balloon, dev);
}

/* ---- Pages ---- */

struct page_run {
    uint64_t gpa;
    uint64_t size; /* 0: empty */
};

static void drop_run(const struct virtio_balloon *b, const struct page_run *run)
{
    void *at = NULL;

    if (run->size == 0) {
        return;
    }
    at = gmem_lend(b->dev.setup.host->gmem, (gpa_t){ run->gpa }, run->size, true);
    if (at != NULL) { /* what is no RAM is the guest's mistake, and nothing of ours is at stake */
        (void)madvise(at, run->size, MADV_DONTNEED);
    }
}

static void add_to_run(const struct virtio_balloon *b, struct page_run *run, uint64_t gpa)
{
    if (run->size != 0 && gpa == run->gpa + run->size) {
        run->size += PAGE_SIZE;
        return;
    }
    drop_run(b, run);
    *run = (struct page_run){ .gpa = gpa, .size = PAGE_SIZE };
}

/* Page numbers, little-endian, in the chain's readable part. */
static void inflate(struct virtio_balloon *b, const struct virtqueue *vq,
                    const struct vq_chain *chain)
{
    uint8_t pfns[PFNS_AT_ONCE * 4];
    struct page_run run = { .size = 0 };

    for (size_t at = 0; at + 4 <= chain->readable_size; at += sizeof(pfns)) {
        size_t size = min_of(sizeof(pfns), (chain->readable_size - at) & ~(size_t)3);

        if (vq_chain_read(vq, chain, at, pfns, size) < 0) {
            break;
        }
        for (size_t i = 0; i < size; i += 4) {
            add_to_run(b, &run, (uint64_t)load_le32(pfns + i) * PAGE_SIZE);
        }
    }
    drop_run(b, &run);
}

/* Free pages are the chain's writable part itself. */
static void report(const struct virtqueue *vq, const struct vq_chain *chain)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    size_t size = 0;
    unsigned count = vq_chain_iov(vq, chain, VQ_WRITABLE, 0, chain->writable_size, iov, &size);

    for (unsigned i = 0; i < count; i++) {
        if ((uintptr_t)iov[i].iov_base % PAGE_SIZE == 0 && iov[i].iov_len % PAGE_SIZE == 0) {
            (void)madvise(iov[i].iov_base, iov[i].iov_len, MADV_DONTNEED);
        }
    }
}

/* ---- Statistics ---- */

static void take_stats(struct virtio_balloon *b, const struct virtqueue *vq,
                       const struct vq_chain *chain)
{
    uint8_t bytes[STATS_AT_ONCE * STAT_SIZE];
    size_t size = min_of(sizeof(bytes), (size_t)chain->readable_size);

    size -= size % STAT_SIZE;
    if (vq_chain_read(vq, chain, 0, bytes, size) < 0) {
        return;
    }
    for (size_t at = 0; at < size; at += STAT_SIZE) {
        uint16_t tag = load_le16(bytes + at);

        if (tag < DRUPE_BALLOON_STATS) {
            b->stats.values[tag] = load_le64(bytes + at + 2);
            b->stats.reported |= 1u << tag;
        }
    }
}

/* The new buffer stays; one that was there already goes back. */
static void keep_buffer(struct virtio_balloon *b, struct virtqueue *vq,
                        const struct vq_chain *chain)
{
    take_stats(b, vq, chain);
    if (b->has_buffer) {
        vq_complete(vq, b->buffer, 0);
    }
    b->buffer = chain->head;
    b->has_buffer = true;
}

/* Loop thread: time for fresh figures. */
static void on_timer(void *device, int fd, uint32_t events)
{
    struct virtio_balloon *b = device;
    uint64_t count;

    (void)events;
    (void)!read(fd, &count, sizeof(count));
    virtio_device_lock(&b->dev);
    if (b->has_buffer && virtio_device_is_live(&b->dev)) {
        vq_complete(&b->queues[b->stats_queue], b->buffer, 0);
        b->has_buffer = false;
        virtio_queue_publish(&b->dev, b->stats_queue);
    }
    virtio_device_unlock(&b->dev);
}

/* ---- The device ---- */

static void serve(struct virtio_balloon *b, enum balloon_queue kind, struct virtqueue *vq,
                  const struct vq_chain *chain)
{
    switch (kind) {
    case INFLATE:
        inflate(b, vq, chain);
        break;
    case DEFLATE:
        break; /* the host backs a page again when it is touched */
    case STATISTICS:
        keep_buffer(b, vq, chain);
        return;
    case REPORTING:
        report(vq, chain);
        break;
    }
    vq_complete(vq, chain->head, 0);
}

static void balloon_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_balloon *b = balloon_of(dev);
    struct virtqueue *vq = &b->queues[queue];
    unsigned chains_left = CHAINS_AT_ONCE;
    struct vq_chain chain;

    if (thread == VIRTIO_ON_VCPU) {
        virtio_queue_defer(dev, queue); /* memory is dropped on the loop, and only there */
        return;
    }
    vq_kicks_off(vq);
    while (vq_take(vq, &chain) == 1 || (vq_kicks_on(vq) == 1 && vq_take(vq, &chain) == 1)) {
        if (chains_left-- == 0) {
            vq_untake(vq);
            virtio_queue_defer(dev, queue);
            break;
        }
        serve(b, b->kinds[queue], vq, &chain);
    }
    virtio_queue_publish(dev, queue);
}

static void balloon_reset(struct virtio_device *dev)
{
    struct virtio_balloon *b = balloon_of(dev);

    b->has_buffer = false;
    b->config.actual = 0;
    b->stats.reported = 0;
}

/* The driver says how far it is. */
static void balloon_config_write(struct virtio_device *dev, uint64_t offset, unsigned size,
                                 uint64_t value)
{
    if (offset == offsetof(struct virtio_balloon_config, actual) && size == 4) {
        balloon_of(dev)->config.actual = (uint32_t)value;
    }
}

static size_t balloon_save(struct virtio_device *dev, void *state)
{
    const struct virtio_balloon *b = balloon_of(dev);
    struct snapshot_balloon *out = state;

    out->target_pages = b->config.num_pages;
    out->actual_pages = b->config.actual;
    return sizeof(*out);
}

static int balloon_load(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                        const char **why)
{
    struct virtio_balloon *b = balloon_of(dev);
    const struct snapshot_balloon *in = state;

    if (version != 1 || size != sizeof(*in)) {
        *why = "its state is of another version";
        return -EINVAL;
    }
    b->config.num_pages = in->target_pages;
    b->config.actual = in->actual_pages;
    return 0;
}

static const struct virtio_device_ops balloon_ops = {
    .name = "virtio-balloon",
    .device_id = VIRTIO_ID_BALLOON,
    .kick = balloon_kick,
    .reset = balloon_reset,
    .config_write = balloon_config_write,
    .state_version = 1,
    .state_size_max = sizeof(struct snapshot_balloon),
    .save = balloon_save,
    .load = balloon_load,
};

static int set_timer(const struct virtio_balloon *b, uint32_t interval_s)
{
    const struct itimerspec every = { .it_interval = { .tv_sec = interval_s },
                                      .it_value = { .tv_sec = interval_s } };

    return timerfd_settime(b->timer_fd, 0, &every, NULL) < 0 ? -errno : 0;
}

static int start_timer(struct virtio_balloon *b, uint32_t interval_s)
{
    const struct device_host *host = b->dev.setup.host;
    int err = 0;

    b->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    err = b->timer_fd < 0 ? -errno : set_timer(b, interval_s);
    if (err == 0) {
        err = host->watch(host->ctx, b->timer_fd, EPOLLIN, on_timer, b);
    }
    if (err < 0 && b->timer_fd >= 0) {
        (void)close(b->timer_fd);
        b->timer_fd = -1;
    }
    return err;
}

static void add_queue(struct virtio_balloon *b, enum balloon_queue kind)
{
    assert(b->queue_count < QUEUES_MAX);
    b->kinds[b->queue_count] = kind;
    b->queue_sizes[b->queue_count++] = QUEUE_SIZE;
}

static uint64_t choose_queues(struct virtio_balloon *b, const struct drupe_balloon *config)
{
    uint64_t features = 0;

    add_queue(b, INFLATE);
    add_queue(b, DEFLATE);
    if (config->is_deflated_on_oom) {
        features |= 1u << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
    }
    if (config->stats_interval_s != 0) {
        b->stats_queue = b->queue_count;
        add_queue(b, STATISTICS);
        features |= 1u << VIRTIO_BALLOON_F_STATS_VQ;
    }
    if (config->has_reporting) {
        add_queue(b, REPORTING);
        features |= 1u << VIRTIO_BALLOON_F_REPORTING;
    }
    return features;
}

int virtio_balloon_create(const struct virtio_balloon_setup *setup, struct virtio_balloon **out)
{
    struct virtio_balloon *b = calloc(1, sizeof(*b));
    struct virtio_device_setup device = { .ops = &balloon_ops,
                                          .host = setup->host,
                                          .irq = setup->irq,
                                          .config_size = sizeof(b->config) };
    int err = 0;

    if (b == NULL) {
        return -ENOMEM;
    }
    b->timer_fd = -1;
    b->config.num_pages = setup->config.target_mib * PAGES_PER_MIB;
    device.features = choose_queues(b, &setup->config);
    device.config = &b->config;
    device.queues = b->queues;
    device.queue_sizes = b->queue_sizes;
    device.queue_count = b->queue_count;
    err = virtio_device_init(&b->dev, &device);
    if (err < 0) {
        free(b);
        return err;
    }
    if (setup->config.stats_interval_s != 0) {
        err = start_timer(b, setup->config.stats_interval_s);
    }
    if (err < 0) {
        virtio_balloon_destroy(b);
        return err;
    }
    *out = b;
    return 0;
}

void virtio_balloon_destroy(struct virtio_balloon *b)
{
    if (b->timer_fd >= 0) {
        const struct device_host *host = b->dev.setup.host;

        (void)host->watch(host->ctx, b->timer_fd, 0, NULL, b);
        (void)close(b->timer_fd);
    }
    virtio_device_deinit(&b->dev);
    free(b);
}

void virtio_balloon_set_target(struct virtio_balloon *b, uint32_t target_mib)
{
    virtio_device_lock(&b->dev);
    b->config.num_pages = min_of(target_mib, UINT32_MAX / PAGES_PER_MIB) * PAGES_PER_MIB;
    if (virtio_device_is_live(&b->dev)) {
        virtio_config_changed(&b->dev);
    }
    virtio_device_unlock(&b->dev);
}

int virtio_balloon_set_interval(struct virtio_balloon *b, uint32_t interval_s)
{
    int err = -ENOTSUP;

    virtio_device_lock(&b->dev);
    if (b->timer_fd >= 0 && interval_s != 0) {
        err = set_timer(b, interval_s);
    }
    virtio_device_unlock(&b->dev);
    return err;
}

int virtio_balloon_stats(struct virtio_balloon *b, struct drupe_balloon_stats *out)
{
    if (b->timer_fd < 0) {
        return -ENOTSUP;
    }
    virtio_device_lock(&b->dev);
    *out = b->stats;
    out->target_pages = b->config.num_pages;
    out->actual_pages = b->config.actual;
    virtio_device_unlock(&b->dev);
    return 0;
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *b)
{
    return &b->dev;
}

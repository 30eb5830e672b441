/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon: the monitor names a number of pages, and we do without so many (OASIS Virtio 1.2,
 * section 5.5). The worker moves towards the target, one request at a time; it stops where memory
 * is short, and tries again when the target changes or figures are asked for. Pages held are linked
 * through their struct page, for their bytes are gone.
 *
 * When a program's allocation finds nothing, the balloon is asked like any cache, before anything
 * is killed: then pages go back without the device's leave, which it need not give (no
 * MUST_TELL_HOST); it only hears how many are left. One balloon a machine.
 */

#include <base/bytes.h>
#include <base/list.h>
#include <core/lock.h>
#include <core/log.h>
#include <drivers/virtio.h>
#include <drivers/worker.h>
#include <mm/page.h>
#include <mm/reclaim.h>

#define F_STATS_VQ       UINT64_C(0x2)
#define F_DEFLATE_ON_OOM UINT64_C(0x4)

#define CONFIG_TARGET 0u
#define CONFIG_ACTUAL 4u

#define QUEUE_INFLATE 0u
#define QUEUE_DEFLATE 1u
#define QUEUE_STATS   2u

#define BATCH 256u

/* Tags of the figures that we have. */
enum stat_tag {
    STAT_FREE = 4,
    STAT_TOTAL = 5,
    STAT_AVAILABLE = 6,
    STAT_CACHES = 7,
};

#define STATS     4u
#define STAT_SIZE ((size_t)10)

static struct virtio_device *device;
static struct virtqueue *inflate_queue;
static struct virtqueue *deflate_queue;
static struct virtqueue *stats_queue; /* NULL: the monitor wants none */
static struct work work;
static struct reclaimer reclaimer;

/* The device reads these: memory of the image, which the direct map has. The worker's while no
 * request is under way. */
static uint32_t pfns[BATCH];
static uint8_t stats[STATS * STAT_SIZE];
static bool is_busy;       /* the worker's */
static bool are_stats_out; /* the device has the figures; the worker's */

static struct spinlock lock = SPINLOCK_INIT(RANK_DEVICE);
static struct list held = LIST_INIT(held); /* under lock, with the next */
static uint32_t held_count;

static void hold(struct page *p)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    list_push_back(&held, &p->link);
    held_count++;
    spin_unlock_irqrestore(&lock, flags);
}

/* One page back, or NULL. What it holds is not known any more. */
static struct page *release(void)
{
    struct page *p = NULL;
    uint64_t flags = spin_lock_irqsave(&lock);

    if (!list_is_empty(&held)) {
        p = list_first(&held, struct page, link);
        list_remove(&p->link);
        held_count--;
        p->flags |= PAGE_TOUCHED;
    }
    spin_unlock_irqrestore(&lock, flags);
    return p;
}

static uint32_t held_now(void)
{
    uint64_t flags = spin_lock_irqsave(&lock);
    uint32_t count = held_count;

    spin_unlock_irqrestore(&lock, flags);
    return count;
}

static void tell_actual(void)
{
    virtio_config32_set(device, CONFIG_ACTUAL, held_now());
}

static bool send(struct virtqueue *q, uint32_t count)
{
    const struct virtio_segment segment = { pfns, count * (uint32_t)sizeof(pfns[0]) };

    if (virtqueue_add(q, &segment, 1, 0, pfns) < 0) {
        return false;
    }
    is_busy = true;
    virtqueue_kick(q);
    return true;
}

/* Take up to `want` pages out of use. True when a request went out. */
static bool inflate(uint32_t want)
{
    uint32_t count = 0;

    while (count < want && count < BATCH && !page_is_low()) {
        struct page *p = page_alloc(0, GFP_KERNEL);

        if (!p) {
            break;
        }
        hold(p);
        pfns[count++] = (uint32_t)(page_to_phys(p) >> PAGE_SHIFT);
    }
    return count > 0 && send(inflate_queue, count);
}

static bool deflate(uint32_t want)
{
    uint32_t count = 0;
    struct page *p;

    while (count < want && count < BATCH && (p = release())) {
        pfns[count++] = (uint32_t)(page_to_phys(p) >> PAGE_SHIFT);
        page_put(p); /* the device need not know before */
    }
    return count > 0 && send(deflate_queue, count);
}

static void put_stat(unsigned i, enum stat_tag tag, uint64_t pages)
{
    store_le16(stats + i * STAT_SIZE, (uint16_t)tag);
    store_le64(stats + i * STAT_SIZE + 2, pages << PAGE_SHIFT);
}

static void send_stats(void)
{
    const struct virtio_segment segment = { stats, sizeof(stats) };
    struct page_stats now;

    page_stats(&now);
    put_stat(0, STAT_FREE, now.free);
    put_stat(1, STAT_TOTAL, now.total);
    put_stat(2, STAT_AVAILABLE, now.free + now.cache);
    put_stat(3, STAT_CACHES, now.cache);
    if (virtqueue_add(stats_queue, &segment, 1, 0, stats) == 0) {
        are_stats_out = true;
        virtqueue_kick(stats_queue);
    }
}

/* Look at what has come back, then take the next step. */
static void step(struct work *w)
{
    uint32_t written;
    uint32_t target;
    uint32_t count;

    (void)w;
    if (virtqueue_take(inflate_queue, &written) || virtqueue_take(deflate_queue, &written)) {
        is_busy = false;
        tell_actual();
    }
    if (stats_queue && virtqueue_take(stats_queue, &written)) {
        are_stats_out = false;
    }
    if (stats_queue && !are_stats_out) {
        send_stats();
    }
    if (is_busy) {
        return;
    }
    target = virtio_config32(device, CONFIG_TARGET);
    count = held_now();
    if (count < target) {
        (void)inflate(target - count); /* nothing to be had: later */
    } else if (count > target) {
        (void)deflate(count - target);
    }
}

/* Interrupts only wake the worker. */
static void ready(struct virtqueue *q)
{
    if (virtqueue_has_used(q)) {
        work_queue(&work);
    }
}

static void config_changed(struct virtio_device *d)
{
    (void)d;
    work_queue(&work);
}

static size_t shrink(struct reclaimer *r, size_t want)
{
    size_t gained = 0;
    struct page *p;

    (void)r;
    while (gained < want && (p = release())) {
        page_put(p);
        gained++;
    }
    if (gained > 0) {
        tell_actual();
    }
    return gained;
}

static int create_queues(struct virtio_device *d)
{
    int err = virtqueue_create(d, QUEUE_INFLATE, 2, ready, &inflate_queue);

    if (err == 0) {
        err = virtqueue_create(d, QUEUE_DEFLATE, 2, ready, &deflate_queue);
    }
    if (err == 0 && (d->features & F_STATS_VQ)) {
        err = virtqueue_create(d, QUEUE_STATS, 2, ready, &stats_queue);
    }
    return err;
}

static int probe(struct virtio_device *d)
{
    int err = device ? -EBUSY : virtio_negotiate(d, F_STATS_VQ | F_DEFLATE_ON_OOM);

    if (err == 0) {
        err = create_queues(d);
    }
    if (err < 0) {
        return err;
    }
    device = d;
    d->config_changed = config_changed;
    work_init(&work, step);
    err = virtio_start(d);
    if (err < 0) {
        return err;
    }
    if (d->features & F_DEFLATE_ON_OOM) {
        reclaimer.shrink = shrink;
        reclaim_register(&reclaimer);
    }
    work_queue(&work);
    return 0;
}

const struct virtio_driver virtio_balloon_driver = {
    .id = 5,
    .name = "virtio-balloon",
    .probe = probe,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device: its queues and its life. virtio_blk_request.c decodes and checks requests,
 * block_file.c carries them out. Section numbers are those of VIRTIO 1.1.
 */

#include "virtio_blk.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>
#include <base/clock.h>

#include "abi/snapshot.h"
#include "block_file.h"
#include "page_disk.h"
#include "rate_limiter.h"
#include "virtio_blk_request.h"

#define QUEUE_SIZE    128u
#define RUN_BYTES_MAX (32u << 20) /* started in one go, before others get their turn */

struct virtio_blk {
    struct virtio_device dev;
    struct virtqueue queues[VIRTIO_BLK_QUEUES_MAX];
    unsigned queue_count;
    uint32_t starved; /* bit per queue: it found no free request */
    struct virtio_blk_config config;
    struct block_file *file;
    struct blk_disk disk;
    bool want_sync;
    bool is_throttled; /* nothing is begun until the timer ends that */
    int timer_fd;      /* -1 until there is a limit */
    struct rate_limiter limiter;
    unsigned free_count;
    uint8_t free[VIRTIO_BLK_IN_FLIGHT_MAX]; /* indices of requests not under way */
    struct blk_request requests[VIRTIO_BLK_IN_FLIGHT_MAX];
};

static const uint16_t queue_sizes[] = { QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE };

static_assert(array_size(queue_sizes) == VIRTIO_BLK_QUEUES_MAX, "one size for each queue");

static struct virtio_blk *blk_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev);
}

static struct blk_request *request_get(struct virtio_blk *blk)
{
    assert(blk->free_count > 0);
    return &blk->requests[blk->free[--blk->free_count]];
}

static void request_put(struct virtio_blk *blk, const struct blk_request *r)
{
    assert(blk->free_count < VIRTIO_BLK_IN_FLIGHT_MAX);
    blk->free[blk->free_count++] = (uint8_t)(r - blk->requests);
}

static void answer(struct virtio_blk *blk, const struct blk_request *r, uint8_t status)
{
    const struct gmem *g = blk->dev.setup.host->gmem;
    const uint32_t written = status == VIRTIO_BLK_S_OK ? r->written : 0;

    if (gmem_write(g, r->status, &status, 1) < 0) {
        unreachable("the chain was validated and the memory map does not change");
    }
    vq_complete(&blk->queues[r->queue], r->head, written + 1);
}

static void on_done(void *ctx, struct block_op *op, int result)
{
    struct virtio_blk *blk = ctx;
    struct blk_request *r = container_of(op, struct blk_request, op);
    uint8_t status = VIRTIO_BLK_S_OK;

    if (result == -EOPNOTSUPP) {
        status = VIRTIO_BLK_S_UNSUPP; /* the file system has no holes, or no way to zero */
    } else if (result < 0) {
        status = VIRTIO_BLK_S_IOERR;
    }
    answer(blk, r, status);
    request_put(blk, r);
}

static gpa_t last_writable_byte(const struct vq_chain *chain)
{
    const struct vq_segment *last =
        &chain->segments[chain->readable_count + chain->writable_count - 1];

    assert(chain->writable_count > 0);
    return (gpa_t){ last->addr.raw + last->size - 1 };
}

/* Begin one request. Returns the bytes that it moves. */
static uint64_t begin(struct virtio_blk *blk, unsigned queue, const struct vq_chain *chain)
{
    struct blk_request *r;
    uint8_t status;
    uint64_t size;

    if (chain->writable_size == 0) {
        virtio_device_fail(&blk->dev, "a request without room for its status; device stopped");
        vq_complete(&blk->queues[queue], chain->head, 0);
        return 0;
    }
    r = request_get(blk);
    r->op = (struct block_op){ .kind = BLOCK_FLUSH };
    r->head = chain->head;
    r->queue = (uint8_t)queue;
    r->written = 0;
    r->status = last_writable_byte(chain);
    status = blk_decode(&blk->dev, &blk->disk, &blk->queues[queue], chain, r);
    if (status != BLK_STATUS_PENDING) {
        answer(blk, r, status);
        request_put(blk, r);
        return 0;
    }
    size = r->op.iov_count > 0 ? r->op.size : 0;
    block_file_start(blk->file, &r->op);
    return size;
}

/* The limits do not let this request through yet: the timer brings us back. */
static bool is_refused(struct virtio_blk *blk, const struct vq_chain *chain)
{
    const struct itimerspec once = { .it_value = { .tv_nsec = RATE_LIMITER_RETRY_NS } };
    uint64_t size = chain->readable_size + chain->writable_size;

    size -= min_of(size, (uint64_t)BLK_HEADER_SIZE + 1);
    if (!rate_limiter_is_limited(&blk->limiter) ||
        rate_limiter_take(&blk->limiter, size, clock_ns())) {
        return false;
    }
    blk->is_throttled = timerfd_settime(blk->timer_fd, 0, &once, NULL) == 0;
    return blk->is_throttled; /* without a timer nobody would come back */
}

/* Take requests while there is room. True if it ended for want of room. */
static bool begin_some(struct virtio_blk *blk, unsigned queue, unsigned *chains_left,
                       uint64_t *bytes_left)
{
    struct virtqueue *vq = &blk->queues[queue];
    struct vq_chain chain;

    while (blk->free_count > 0 && !blk->is_throttled && virtio_device_is_live(&blk->dev)) {
        if (vq_take(vq, &chain) != 1 && (vq_kicks_on(vq) != 1 || vq_take(vq, &chain) != 1)) {
            return false;
        }
        if (*chains_left == 0 || *bytes_left == 0) {
            vq_untake(vq);
            virtio_queue_defer(&blk->dev, queue);
            return false;
        }
        if (is_refused(blk, &chain)) {
            vq_untake(vq);
            return false;
        }
        const uint64_t moved = begin(blk, queue, &chain);

        *chains_left -= 1;
        *bytes_left -= min_of(*bytes_left, moved);
    }
    return blk->free_count == 0 && !blk->is_throttled;
}

static void publish(struct virtio_blk *blk)
{
    for (unsigned i = 0; i < blk->queue_count; i++) {
        virtio_queue_publish(&blk->dev, i);
    }
}

/* Requests are free again: whoever found none is looked at on the loop. */
static void wake_starved(struct virtio_blk *blk)
{
    for (unsigned i = 0; i < blk->queue_count && blk->free_count > 0; i++) {
        if ((blk->starved & 1u << i) != 0) {
            virtio_queue_defer(&blk->dev, i);
        }
    }
    if (blk->free_count > 0) {
        blk->starved = 0;
    }
}

static void run_queue(struct virtio_blk *blk, unsigned queue)
{
    unsigned chains_left = blk->queues[queue].size;
    uint64_t bytes_left = RUN_BYTES_MAX;
    bool was_full;

    vq_kicks_off(&blk->queues[queue]);
    do {
        was_full = begin_some(blk, queue, &chains_left, &bytes_left);
        block_file_submit(blk->file);
        block_file_reap(blk->file); /* what the page cache had is there already */
    } while (was_full && blk->free_count > 0);
    if (was_full) {
        blk->starved |= 1u << queue; /* completions, of whichever queue, bring us back */
    }
    wake_starved(blk);
    publish(blk);
}

static void run_queues(struct virtio_blk *blk)
{
    for (unsigned i = 0; i < blk->queue_count && virtio_device_is_live(&blk->dev); i++) {
        if (blk->queues[i].is_ready) {
            run_queue(blk, i);
        }
    }
}

static void blk_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_blk *blk = blk_of(dev);

    /* Blocking work, and the limits' timer, are the loop's. */
    if (thread == VIRTIO_ON_VCPU &&
        (!block_file_is_async(blk->file) || rate_limiter_is_limited(&blk->limiter))) {
        virtio_queue_defer(dev, queue);
        return;
    }
    run_queue(blk, queue);
}

/* Loop thread: operations have ended. */
static void on_completions(void *device, int fd, uint32_t events)
{
    struct virtio_blk *blk = device;
    uint64_t count;

    (void)events;
    (void)!read(fd, &count, sizeof(count)); /* EAGAIN: nothing new, and then nothing is reaped */
    virtio_device_lock(&blk->dev);
    block_file_reap(blk->file);
    if (virtio_device_is_live(&blk->dev)) {
        run_queues(blk);
    }
    virtio_device_unlock(&blk->dev);
}

/* Loop thread: time has passed, tokens have come back. */
static void on_timer(void *device, int fd, uint32_t events)
{
    struct virtio_blk *blk = device;
    uint64_t count;

    (void)events;
    (void)!read(fd, &count, sizeof(count));
    virtio_device_lock(&blk->dev);
    blk->is_throttled = false;
    if (virtio_device_is_live(&blk->dev)) {
        run_queues(blk);
    }
    virtio_device_unlock(&blk->dev);
}

/* The limits, and the timer that they need. 0 or -errno. */
static int set_limit(struct virtio_blk *blk, const struct drupe_rate_limit *limit)
{
    const struct device_host *host = blk->dev.setup.host;
    struct rate_limiter limiter;

    rate_limiter_init(&limiter, limit, clock_ns());
    if (rate_limiter_is_limited(&limiter) && blk->timer_fd < 0) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        int err = fd < 0 ? -errno : host->watch(host->ctx, fd, EPOLLIN, on_timer, blk);

        if (err < 0) {
            if (fd >= 0) {
                (void)close(fd);
            }
            return err;
        }
        blk->timer_fd = fd;
    }
    blk->limiter = limiter;
    return 0;
}

static void blk_reset(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);

    block_file_drain(blk->file);
    blk->starved = 0;
}

static size_t blk_save(struct virtio_device *dev, void *state)
{
    const struct virtio_blk *blk = blk_of(dev);
    struct snapshot_block *out = state;

    out->capacity = blk->config.capacity;
    out->is_read_only = blk->disk.is_read_only;
    return sizeof(*out);
}

static int blk_load(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                    const char **why)
{
    const struct virtio_blk *blk = blk_of(dev);
    const struct snapshot_block *in = state;

    if (version != 1 || size != sizeof(*in)) {
        *why = "its state is of another version";
        return -EINVAL;
    }
    if (in->capacity != blk->config.capacity) {
        *why = "the disk has another size";
        return -EINVAL;
    }
    if (in->is_read_only == 0 && blk->disk.is_read_only) {
        *why = "the disk was writable";
        return -EINVAL;
    }
    return 0;
}

static const struct virtio_device_ops blk_ops = {
    .name = "virtio-blk",
    .device_id = VIRTIO_ID_BLOCK,
    .kick = blk_kick,
    .reset = blk_reset,
    .state_version = 1,
    .state_size_max = sizeof(struct snapshot_block),
    .save = blk_save,
    .load = blk_load,
};

/* Size of a regular file or block device. */
static int disk_size(int fd, uint64_t *size)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode)) {
        *size = (uint64_t)st.st_size;
        return 0;
    }
    if (!S_ISBLK(st.st_mode)) {
        return -ENOTBLK;
    }
    return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
}

static uint64_t features_of(const struct virtio_blk_setup *setup)
{
    const uint64_t always = 1u << VIRTIO_BLK_F_SEG_MAX | 1u << VIRTIO_BLK_F_SIZE_MAX |
                            1u << VIRTIO_BLK_F_BLK_SIZE |
                            (setup->is_flush_ignored ? 0 : 1u << VIRTIO_BLK_F_FLUSH);

    return always | (setup->queue_count > 1 ? 1u << VIRTIO_BLK_F_MQ : 0) |
           (setup->is_read_only ? 1u << VIRTIO_BLK_F_RO
                                : 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES);
}

static void blk_init(struct virtio_blk *blk, const struct virtio_blk_setup *setup, uint64_t size)
{
    blk->disk.is_read_only = setup->is_read_only;
    blk->disk.is_flush_ignored = setup->is_flush_ignored;
    blk->want_sync = setup->want_sync;
    blk->queue_count = max_of(setup->queue_count, 1u);
    assert(blk->queue_count <= VIRTIO_BLK_QUEUES_MAX);
    blk->timer_fd = -1;
    blk->disk.config = &blk->config;
    blk->config = (struct virtio_blk_config){
        .capacity = size / VIRTIO_BLK_SECTOR_SIZE,
        .size_max = VIRTIO_BLK_SEGMENT_MAX,
        .seg_max = VIRTIO_BLK_SEGMENTS_MAX,
        .num_queues = (uint16_t)blk->queue_count,
        .max_discard_sectors = BLK_DISCARD_SECTORS_MAX,
        .max_discard_seg = 1,
        .discard_sector_alignment = 1,
        .max_write_zeroes_sectors = BLK_DISCARD_SECTORS_MAX,
        .max_write_zeroes_seg = 1,
        .write_zeroes_may_unmap = 1,
    };
    if (setup->id != NULL) {
        memcpy(blk->disk.id, setup->id, strnlen(setup->id, sizeof(blk->disk.id)));
    }
    for (unsigned i = 0; i < VIRTIO_BLK_IN_FLIGHT_MAX; i++) {
        blk->free[blk->free_count++] = (uint8_t)i;
    }
}

static int watch_completions(struct virtio_blk *blk, uint32_t events)
{
    const struct device_host *host = blk->dev.setup.host;

    if (!block_file_is_async(blk->file)) {
        return 0;
    }
    return host->watch(host->ctx, block_file_event_fd(blk->file), events, on_completions, blk);
}

int virtio_blk_create(const struct virtio_blk_setup *setup, struct virtio_blk **out)
{
    const struct device_host *host = setup->host;
    struct virtio_blk *blk;
    uint64_t size = 0;
    int err = 0;

    if (setup->memory != NULL) {
        size = page_disk_size(setup->memory);
    } else {
        err = disk_size(setup->fd, &size);
    }
    if (err < 0) {
        return err;
    }
    blk = calloc(1, sizeof(*blk));
    if (blk == NULL) {
        return -ENOMEM;
    }
    blk_init(blk, setup, size);
    err = setup->memory != NULL ? block_file_create_memory(setup->memory, on_done, blk, &blk->file)
                                : block_file_create(setup->fd, VIRTIO_BLK_IN_FLIGHT_MAX,
                                                    setup->want_sync, on_done, blk, &blk->file);
    if (err < 0) {
        goto free_blk;
    }
    blk->config.blk_size = block_file_block_size(blk->file);
    err = virtio_device_init(&blk->dev, &(struct virtio_device_setup){
                                            .ops = &blk_ops,
                                            .host = host,
                                            .irq = setup->irq,
                                            .features = features_of(setup),
                                            .config = &blk->config,
                                            .config_size = sizeof(blk->config),
                                            .queues = blk->queues,
                                            .queue_sizes = queue_sizes,
                                            .queue_count = blk->queue_count,
                                        });
    if (err < 0) {
        goto destroy_file;
    }
    err = watch_completions(blk, EPOLLIN);
    if (err < 0) {
        goto deinit_device;
    }
    err = set_limit(blk, &setup->limit);
    if (err < 0) {
        goto unwatch;
    }
    if (!block_file_is_async(blk->file) && !setup->want_sync) {
        host->log(host->ctx, DEVICE_LOG_INFO, blk_ops.name,
                  "the host refuses io_uring: disk I/O runs on the loop thread");
    }
    *out = blk;
    return 0;

unwatch:
    (void)watch_completions(blk, 0);
deinit_device:
    virtio_device_deinit(&blk->dev);
destroy_file:
    block_file_destroy(blk->file);
free_blk:
    free(blk);
    return err;
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
    virtio_device_lock(&blk->dev);
    block_file_drain(blk->file);
    virtio_device_unlock(&blk->dev);
    (void)watch_completions(blk, 0);
    if (blk->timer_fd >= 0) {
        const struct device_host *host = blk->dev.setup.host;

        (void)host->watch(host->ctx, blk->timer_fd, 0, NULL, blk);
        (void)close(blk->timer_fd);
    }
    virtio_device_deinit(&blk->dev);
    block_file_destroy(blk->file);
    free(blk);
}

/* The new file takes the old one's place once that has nothing under way. Lock held. */
static int change_file(struct virtio_blk *blk, int fd)
{
    struct block_file *old = blk->file;
    struct block_file *file = NULL;
    uint64_t size = 0;
    int err = disk_size(fd, &size);

    if (err == 0) {
        err = block_file_create(fd, VIRTIO_BLK_IN_FLIGHT_MAX, blk->want_sync, on_done, blk, &file);
    }
    if (err < 0) {
        return err;
    }
    block_file_drain(old);
    (void)watch_completions(blk, 0);
    blk->file = file;
    err = watch_completions(blk, EPOLLIN);
    if (err < 0) {
        blk->file = old;
        (void)watch_completions(blk, EPOLLIN); /* its place has just become free */
        block_file_destroy(file);
        return err;
    }
    block_file_destroy(old);
    blk->config.capacity = size / VIRTIO_BLK_SECTOR_SIZE;
    blk->config.blk_size = block_file_block_size(file);
    if (virtio_device_is_live(&blk->dev)) {
        publish(blk);
        virtio_config_changed(&blk->dev);
        for (unsigned i = 0; i < blk->queue_count; i++) {
            virtio_queue_defer(&blk->dev, i);
        }
    }
    return 0;
}

int virtio_blk_update(struct virtio_blk *blk, int fd, const struct drupe_rate_limit *limit)
{
    int err = 0;

    virtio_device_lock(&blk->dev);
    if (limit != NULL) {
        err = set_limit(blk, limit);
    }
    if (err == 0 && fd >= 0) {
        err = change_file(blk, fd);
    }
    virtio_device_unlock(&blk->dev);
    return err;
}

void virtio_blk_quiesce(struct virtio_blk *blk)
{
    virtio_device_lock(&blk->dev);
    block_file_drain(blk->file);
    if (virtio_device_is_live(&blk->dev)) {
        publish(blk);
    }
    virtio_device_unlock(&blk->dev);
}

struct virtio_device *virtio_blk_device(struct virtio_blk *blk)
{
    return &blk->dev;
}

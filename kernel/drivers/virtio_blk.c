/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-blk (Virtio 1.1, section 5.2): synchronous requests, as many in flight as tasks ask. */

#include <stdatomic.h>

#include <base/fmt.h>
#include <core/log.h>
#include <drivers/virtio.h>
#include <fs/dev.h>
#include <mm/slab.h>
#include <sched/cpu.h>
#include <sched/task.h>
#include <sched/wait.h>

#define F_READ_ONLY UINT64_C(0x20)
#define F_FLUSH     UINT64_C(0x200)
#define F_MQ        UINT64_C(0x1000)

#define CONFIG_QUEUES 34u /* le16: how many there are, with F_MQ */
#define QUEUES_MAX    4u

#define REQUEST_BYTES_MAX (256u << 10)

enum {
    REQUEST_IN = 0,
    REQUEST_OUT = 1,
    REQUEST_FLUSH = 4,
};

struct blk {
    struct block_device device;
    struct virtqueue *queues[QUEUES_MAX]; /* a CPU uses the one of its number */
    struct wait_queue rooms[QUEUES_MAX];  /* tasks that found that ring full */
    unsigned queue_count;
    uint64_t features;
    char name[8];
};

/* What the device reads and writes of one request, besides the data. */
struct request {
    struct {
        uint32_t type;
        uint32_t reserved;
        uint64_t sector;
    } header;

    uint8_t status;
    _Atomic bool is_done;
    struct wait_queue done;
};

static void ready(struct virtqueue *q)
{
    struct blk *b = q->device->private;
    struct request *r;
    uint32_t written;
    bool any = false;

    /* One interrupt for all queues; those with nothing new go on asking for theirs. */
    if (!virtqueue_has_used(q)) {
        return;
    }
    do {
        while ((r = virtqueue_take(q, &written)) != NULL) {
            struct wait_queue *done = &r->done;

            any = true;
            /*
             * release: the status and the data are visible before is_done. The sleeper frees r only
             * after it has taken the queue's lock in wait_entry_remove(), so wake_all() is done
             * with it by then.
             */
            uint64_t flags = spin_lock_irqsave(&done->lock);
            struct wait_entry *e;
            struct wait_entry *next;

            atomic_store_explicit(&r->is_done, true, memory_order_release);
            list_for_each_entry_safe(e, next, &done->entries, node) {
                (void)e->wake(e, 0);
            }
            spin_unlock_irqrestore(&done->lock, flags);
        }
    } while (virtqueue_interrupts(q, true));
    if (any) {
        wake_all(&b->rooms[q->index], 0);
    }
}

static int add_waiting(struct blk *b, unsigned queue, const struct virtio_segment *segments,
                       unsigned out, unsigned in, struct request *r)
{
    struct waiter w;
    int err = virtqueue_add(b->queues[queue], segments, out, in, r);

    if (err != -ENOSPC) {
        return err;
    }
    wait_begin(&w, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
    wait_add(&b->rooms[queue], &w, 0);
    while ((err = virtqueue_add(b->queues[queue], segments, out, in, r)) == -ENOSPC) {
        wait_sleep_surely(&w);
    }
    wait_end(&w);
    return err;
}

static int run(struct blk *b, uint32_t type, uint64_t sector, const struct block_segment *data,
               unsigned data_count)
{
    struct request *r = kmalloc(sizeof(*r), GFP_KERNEL);
    struct virtio_segment segments[BLOCK_SEGMENTS_MAX + 2];
    const unsigned queue =
        this_cpu()->index % b->queue_count; /* moving on meanwhile does no harm */
    unsigned count = 0;
    unsigned out;
    struct waiter w;
    int err;

    assert(data_count <= BLOCK_SEGMENTS_MAX);
    if (!r) {
        return -ENOMEM;
    }
    r->header.type = type;
    r->header.reserved = 0;
    r->header.sector = sector;
    r->status = 0xff;
    atomic_init(&r->is_done, false);
    wait_queue_init(&r->done);
    segments[count++] = (struct virtio_segment){ &r->header, sizeof(r->header) };
    for (unsigned i = 0; i < data_count; i++) {
        segments[count++] = (struct virtio_segment){ data[i].at, data[i].size };
    }
    out = type == REQUEST_OUT ? count : 1;
    segments[count++] = (struct virtio_segment){ &r->status, 1 };

    wait_begin(&w, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
    wait_add(&r->done, &w, 0);
    err = add_waiting(b, queue, segments, out, count - out, r);
    if (err == 0) {
        virtqueue_kick(b->queues[queue]);
        /* acquire: pairs with the release in ready(). */
        while (!atomic_load_explicit(&r->is_done, memory_order_acquire)) {
            wait_sleep_surely(&w);
        }
    }
    wait_end(&w);
    if (err == 0 && r->status != 0) {
        log_warn("%s: request %u at sector %lu failed with status %u", b->name, type, sector,
                 r->status);
        err = -EIO;
    }
    kfree(r);
    return err;
}

static int transfer(struct block_device *d, uint32_t type, uint64_t sector, void *buf, size_t count)
{
    struct blk *b = d->private;
    uint8_t *at = buf;

    if (!range_fits(sector, count, d->sectors)) {
        return -EIO;
    }
    while (count > 0) {
        size_t n = min_of(count, (size_t)REQUEST_BYTES_MAX / 512);
        const struct block_segment segment = { at, (uint32_t)(n * 512) };
        int err = run(b, type, sector, &segment, 1);

        if (err < 0) {
            return err;
        }
        sector += n;
        at += n * 512;
        count -= n;
    }
    return 0;
}

static int blk_read(struct block_device *d, uint64_t sector, void *buf, size_t count)
{
    return transfer(d, REQUEST_IN, sector, buf, count);
}

static int blk_write(struct block_device *d, uint64_t sector, const void *buf, size_t count)
{
    if (d->is_read_only) {
        return -EROFS;
    }
    /* Only ever read by the device: the descriptor is not marked writable. */
    return transfer(d, REQUEST_OUT, sector, (void *)(uintptr_t)buf, count);
}

static int blk_move(struct block_device *d, bool is_write, uint64_t sector,
                    const struct block_segment *segments, unsigned count)
{
    uint64_t size = 0;

    for (unsigned i = 0; i < count; i++) {
        size += segments[i].size;
    }
    assert(size > 0 && size % 512 == 0 && size <= REQUEST_BYTES_MAX);
    if (!range_fits(sector, size / 512, d->sectors)) {
        return -EIO;
    }
    if (is_write && d->is_read_only) {
        return -EROFS;
    }
    return run(d->private, is_write ? REQUEST_OUT : REQUEST_IN, sector, segments, count);
}

static int blk_flush(struct block_device *d)
{
    struct blk *b = d->private;

    return b->features & F_FLUSH ? run(b, REQUEST_FLUSH, 0, NULL, 0) : 0;
}

static unsigned queue_count(struct virtio_device *d)
{
    unsigned offered = 1;

    if ((d->features & F_MQ) != 0) {
        offered = virtio_config8(d, CONFIG_QUEUES) | (unsigned)virtio_config8(d, CONFIG_QUEUES + 1)
                                                         << 8;
    }
    return max_of(1u, min_of(offered, min_of(cpu_count, QUEUES_MAX)));
}

static int probe(struct virtio_device *d)
{
    static unsigned found;
    struct blk *b;
    int err = virtio_negotiate(d, F_READ_ONLY | F_FLUSH | F_MQ);

    if (err < 0) {
        return err;
    }
    if (found >= 26) {
        return -ENOSPC; /* past vdz */
    }
    b = kmalloc(sizeof(*b), GFP_KERNEL);
    if (!b) {
        return -ENOMEM;
    }
    *b = (struct blk){ .features = d->features };
    (void)fmt_snprintf(b->name, sizeof(b->name), "vd%c", (int)('a' + found));
    d->private = b;
    b->queue_count = queue_count(d);
    for (unsigned i = 0; err == 0 && i < b->queue_count; i++) {
        wait_queue_init(&b->rooms[i]);
        err = virtqueue_create(d, i, VIRTQUEUE_SIZE_MAX, ready, &b->queues[i]);
    }
    if (err == 0) {
        err = virtio_start(d);
    }
    if (err < 0) {
        return err; /* the queue may be known to the device: b stays */
    }
    found++;
    b->device = (struct block_device){
        .name = b->name,
        .sectors = virtio_config64(d, 0),
        .is_read_only = (d->features & F_READ_ONLY) != 0,
        .read = blk_read,
        .write = blk_write,
        .move = blk_move,
        .flush = blk_flush,
        .private = b,
    };
    block_device_register(&b->device);
    return 0;
}

const struct virtio_driver virtio_blk_driver = { .id = 2, .name = "virtio-blk", .probe = probe };

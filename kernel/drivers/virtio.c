/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio-mmio transport and its split rings; see the header. */

#include <stdatomic.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <drivers/virtio.h>
#include <mm/page.h>
#include <mm/slab.h>

/* Registers, Virtio 1.1 section 4.2.2. */
enum {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE_ID = 0x008,
    REG_DEVICE_FEATURES = 0x010,
    REG_DEVICE_FEATURES_SEL = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SEL = 0x024,
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM_MAX = 0x034,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_INTERRUPT_STATUS = 0x060,
    REG_INTERRUPT_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC = 0x080,
    REG_QUEUE_DRIVER = 0x090,
    REG_QUEUE_DEVICE = 0x0a0,
    REG_CONFIG_GENERATION = 0x0fc,
    REG_CONFIG = 0x100,
};

enum {
    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64,
    STATUS_FAILED = 128,
};

#define MAGIC 0x74726976u /* "virt" */

enum {
    DESC_NEXT = 1,
    DESC_WRITE = 2,
};

struct vring_desc {
    uint64_t addr;
    uint32_t size;
    uint16_t flags;
    uint16_t next;
};

static_assert(sizeof(struct vring_desc) == 16, "Virtio 1.1, 2.6.5");

#define NO_EVENT_FLAG 1u /* in avail->flags without the event index: no interrupts */

static uint32_t reg_read(const struct virtio_device *d, unsigned offset)
{
    return *(const volatile uint32_t *)(d->regs + offset);
}

static void reg_write(struct virtio_device *d, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(d->regs + offset) = value;
}

static void reg_write_address(struct virtio_device *d, unsigned offset, paddr_t pa)
{
    reg_write(d, offset, (uint32_t)pa);
    reg_write(d, offset + 4, (uint32_t)(pa >> 32));
}

uint8_t virtio_config8(struct virtio_device *d, unsigned offset)
{
    return *(const volatile uint8_t *)(d->regs + REG_CONFIG + offset);
}

uint32_t virtio_config32(struct virtio_device *d, unsigned offset)
{
    return reg_read(d, REG_CONFIG + offset);
}

void virtio_config32_set(struct virtio_device *d, unsigned offset, uint32_t value)
{
    reg_write(d, REG_CONFIG + offset, value);
}

uint64_t virtio_config64(struct virtio_device *d, unsigned offset)
{
    uint32_t generation;
    uint64_t value;

    do {
        generation = reg_read(d, REG_CONFIG_GENERATION);
        value = reg_read(d, REG_CONFIG + offset) | (uint64_t)reg_read(d, REG_CONFIG + offset + 4)
                                                       << 32;
    } while (generation != reg_read(d, REG_CONFIG_GENERATION));
    return value;
}

int virtio_negotiate(struct virtio_device *d, uint64_t wanted)
{
    uint64_t offered;

    reg_write(d, REG_STATUS, 0);
    reg_write(d, REG_STATUS, STATUS_ACKNOWLEDGE);
    reg_write(d, REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    reg_write(d, REG_DEVICE_FEATURES_SEL, 0);
    offered = reg_read(d, REG_DEVICE_FEATURES);
    reg_write(d, REG_DEVICE_FEATURES_SEL, 1);
    offered |= (uint64_t)reg_read(d, REG_DEVICE_FEATURES) << 32;
    d->features = offered & (wanted | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_EVENT_IDX);
    if (!(d->features & VIRTIO_F_VERSION_1)) {
        log_error("virtio: device at 0x%lx is older than version 1", d->base);
        return -ENODEV;
    }
    reg_write(d, REG_DRIVER_FEATURES_SEL, 0);
    reg_write(d, REG_DRIVER_FEATURES, (uint32_t)d->features);
    reg_write(d, REG_DRIVER_FEATURES_SEL, 1);
    reg_write(d, REG_DRIVER_FEATURES, (uint32_t)(d->features >> 32));
    reg_write(d, REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    if (!(reg_read(d, REG_STATUS) & STATUS_FEATURES_OK)) {
        log_error("virtio: device at 0x%lx refuses features 0x%lx", d->base, d->features);
        return -ENODEV;
    }
    return 0;
}

/* --- queues
 * ------------------------------------------------------------------------------------------ */

static uint16_t *used_event(const struct virtqueue *q)
{
    return &q->avail[2 + q->size];
}

static const volatile uint16_t *avail_event(const struct virtqueue *q)
{
    return (const volatile uint16_t *)(q->used + 4 + (size_t)8 * q->size);
}

/* acquire: pairs with the device's release of its index; entries below it are complete. */
static uint16_t used_index(const struct virtqueue *q)
{
    return atomic_load_explicit((_Atomic uint16_t *)(q->used + 2), memory_order_acquire);
}

int virtqueue_create(struct virtio_device *d, unsigned index, unsigned size,
                     void (*ready)(struct virtqueue *q), struct virtqueue **out)
{
    struct virtqueue *q;
    struct page *page;
    uint32_t max;
    paddr_t pa;

    assert(index < VIRTIO_QUEUES_MAX && size <= VIRTQUEUE_SIZE_MAX && is_power_of_two(size));
    reg_write(d, REG_QUEUE_SEL, index);
    max = reg_read(d, REG_QUEUE_NUM_MAX);
    if (max == 0) {
        return -ENOENT;
    }
    while (size > max) {
        size /= 2;
    }
    q = kmalloc(sizeof(*q), GFP_KERNEL);
    if (!q) {
        return -ENOMEM;
    }
    page = page_alloc(0, GFP_ZERO);
    if (!page) {
        kfree(q);
        return -ENOMEM;
    }
    /* Tokens and lengths count for as many as the queue is long. */
    memset(q, 0, offsetof(struct virtqueue, tokens));
    memset(q->tokens, 0, size * sizeof(q->tokens[0]));
    memset(q->writable, 0, size * sizeof(q->writable[0]));
    q->device = d;
    q->index = (uint16_t)index;
    q->size = (uint16_t)size;
    q->free_count = (uint16_t)size;
    q->ready = ready;
    q->desc = page_address(page);
    spin_init(&q->lock, RANK_DEVICE);
    q->avail = (uint16_t *)(q->desc + size);
    q->used = (uint8_t *)q->desc + align_up(16u * size + 6u + 2u * size, 4u);
    for (unsigned i = 0; i < size; i++) {
        q->desc[i].next = (uint16_t)(i + 1);
    }
    pa = page_to_phys(page);
    reg_write(d, REG_QUEUE_NUM, size);
    reg_write_address(d, REG_QUEUE_DESC, pa);
    reg_write_address(d, REG_QUEUE_DRIVER,
                      pa + (uint64_t)((uint8_t *)q->avail - (uint8_t *)q->desc));
    reg_write_address(d, REG_QUEUE_DEVICE, pa + (uint64_t)(q->used - (uint8_t *)q->desc));
    reg_write(d, REG_QUEUE_READY, 1);
    d->queues[index] = q;
    d->queue_count = max_of(d->queue_count, index + 1);
    *out = q;
    return 0;
}

static void break_queue(struct virtqueue *q, const char *why)
{
    if (!q->is_broken) {
        q->is_broken = true;
        log_error("virtio: device at 0x%lx, queue %u: %s; not used any more", q->device->base,
                  q->index, why);
    }
}

int virtqueue_add(struct virtqueue *q, const struct virtio_segment *segments, unsigned out_count,
                  unsigned in_count, void *token)
{
    unsigned count = out_count + in_count;
    uint64_t flags = spin_lock_irqsave(&q->lock);
    uint16_t head = q->free_head;
    uint16_t at = head;
    uint32_t writable = 0;

    assert(count > 0 && token);
    if (q->is_broken || count > q->free_count) {
        spin_unlock_irqrestore(&q->lock, flags);
        return q->is_broken ? -EIO : -ENOSPC;
    }
    for (unsigned i = 0; i < count; i++) {
        struct vring_desc *desc = &q->desc[at];
        bool is_in = i >= out_count;

        desc->addr = virt_to_phys(segments[i].buf);
        desc->size = segments[i].size;
        desc->flags = (uint16_t)((i + 1 < count ? DESC_NEXT : 0) | (is_in ? DESC_WRITE : 0));
        writable += is_in ? segments[i].size : 0;
        at = desc->next;
    }
    q->free_head = at;
    q->free_count = (uint16_t)(q->free_count - count);
    q->tokens[head] = token;
    q->writable[head] = writable;
    q->avail[2 + (q->avail_next & (q->size - 1u))] = head;
    q->avail_next++;
    /* release: the descriptors and the ring entry are complete before the device sees the index. */
    atomic_store_explicit((_Atomic uint16_t *)&q->avail[1], q->avail_next, memory_order_release);
    spin_unlock_irqrestore(&q->lock, flags);
    return 0;
}

int virtqueue_post_all(struct virtqueue *q, uint8_t *buffers, uint32_t size)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);
    paddr_t pa = virt_to_phys(buffers);
    unsigned count = q->is_broken ? 0 : q->free_count;

    assert(q->free_count == q->size && q->avail_next == 0); /* not used yet: all in order */
    for (unsigned i = 0; i < count; i++) {
        q->desc[i].addr = pa + (uint64_t)i * size;
        q->desc[i].size = size;
        q->desc[i].flags = DESC_WRITE;
        q->tokens[i] = buffers + (size_t)i * size;
        q->writable[i] = size;
        q->avail[2 + i] = (uint16_t)i;
    }
    q->free_head = (uint16_t)count;
    q->free_count = 0;
    q->avail_next = (uint16_t)count;
    /* release: as in virtqueue_add(). */
    atomic_store_explicit((_Atomic uint16_t *)&q->avail[1], q->avail_next, memory_order_release);
    spin_unlock_irqrestore(&q->lock, flags);
    return count > 0 ? 0 : -EIO;
}

void virtqueue_notify(struct virtqueue *q)
{
    reg_write(q->device, REG_QUEUE_NOTIFY, q->index);
}

void virtqueue_kick(struct virtqueue *q)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);
    uint16_t next = q->avail_next;
    uint16_t told = q->avail_told;
    bool wanted;

    q->avail_told = next;
    spin_unlock_irqrestore(&q->lock, flags);
    /* Our index before the device's wish is read: the device does it the other way round. */
    atomic_thread_fence(memory_order_seq_cst);
    if (q->device->features & VIRTIO_F_RING_EVENT_IDX) {
        /* vring_need_event() of the specification, section 2.6.7.2. */
        wanted = (uint16_t)(next - *avail_event(q) - 1) < (uint16_t)(next - told);
    } else {
        wanted = !(*(volatile uint16_t *)q->used & 1);
    }
    if (wanted && next != told) {
        reg_write(q->device, REG_QUEUE_NOTIFY, q->index);
    }
}

/* Give the chain at `head` back to the free list. False if its links are not ours (never: we wrote
 * them). */
static void free_chain(struct virtqueue *q, uint16_t head)
{
    uint16_t last = head;
    uint16_t count = 1;

    while (q->desc[last].flags & DESC_NEXT) {
        last = q->desc[last].next;
        count++;
        assert(count <= q->size && last < q->size);
    }
    q->desc[last].next = q->free_head;
    q->free_head = head;
    q->free_count = (uint16_t)(q->free_count + count);
}

void *virtqueue_take(struct virtqueue *q, uint32_t *written)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);
    void *token = NULL;

    if (!q->is_broken && used_index(q) != q->used_next) {
        const uint8_t *entry = q->used + 4 + (size_t)8 * (q->used_next & (q->size - 1u));
        uint32_t id = load_le32(entry);
        uint32_t size = load_le32(entry + 4);

        if (id >= q->size || !q->tokens[id]) {
            break_queue(q, "completes a request that was not made");
        } else {
            token = q->tokens[id];
            q->tokens[id] = NULL;
            /* A device may claim to have written more than it was offered. */
            *written = min_of(size, q->writable[id]);
            free_chain(q, (uint16_t)id);
            q->used_next++;
            if ((q->device->features & VIRTIO_F_RING_EVENT_IDX) && !q->is_silent) {
                /* The index moves with us, or the completion after this one is silent. A taker
                 * that goes on until nothing is left reads the device's index after the fence. */
                atomic_store_explicit((_Atomic uint16_t *)used_event(q), q->used_next,
                                      memory_order_relaxed);
                atomic_thread_fence(memory_order_seq_cst);
            }
        }
    }
    spin_unlock_irqrestore(&q->lock, flags);
    return token;
}

bool virtqueue_has_used(const struct virtqueue *q)
{
    return !q->is_broken && used_index(q) != q->used_next;
}

bool virtqueue_interrupts(struct virtqueue *q, bool enable)
{
    uint64_t flags = spin_lock_irqsave(&q->lock);
    bool pending;

    q->is_silent = !enable;
    if (q->device->features & VIRTIO_F_RING_EVENT_IDX) {
        /* An event index just behind us is half the number space away from any completion. */
        uint16_t at = (uint16_t)(enable ? q->used_next : q->used_next - 1);

        atomic_store_explicit((_Atomic uint16_t *)used_event(q), at, memory_order_relaxed);
    } else {
        q->avail[0] = (uint16_t)(enable ? 0 : NO_EVENT_FLAG);
    }
    /* Our wish before the device's index is read; the device does it the other way round. */
    atomic_thread_fence(memory_order_seq_cst);
    pending = !q->is_broken && used_index(q) != q->used_next;
    spin_unlock_irqrestore(&q->lock, flags);
    return pending;
}

/* --- devices
 * ------------------------------------------------------------------------------------------- */

static void interrupt(void *arg)
{
    struct virtio_device *d = arg;
    uint32_t status = reg_read(d, REG_INTERRUPT_STATUS);

    reg_write(d, REG_INTERRUPT_ACK, status);
    if (status & 2 && d->config_changed) {
        d->config_changed(d);
    }
    for (unsigned i = 0; i < d->queue_count; i++) {
        if (d->queues[i] && d->queues[i]->ready) {
            d->queues[i]->ready(d->queues[i]);
        }
    }
}

int virtio_start(struct virtio_device *d)
{
    int err = irq_request(d->irq, interrupt, d);

    if (err == 0) {
        reg_write(d, REG_STATUS,
                  STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
    }
    return err;
}

static const struct virtio_driver *const drivers[] = {
    &virtio_console_driver, &virtio_blk_driver, &virtio_rng_driver,
    &virtio_balloon_driver, &virtio_9p_driver,  &virtio_vsock_driver,
};

static void probe(const struct boot_virtio *found)
{
    struct virtio_device probe_only = { .base = found->base, .irq = found->irq };
    struct virtio_device *d;
    int err;

    if (found->size < REG_CONFIG + 8 || pt_direct_map(found->base, found->size, true) < 0) {
        log_error("virtio: cannot map the device at 0x%lx", found->base);
        return;
    }
    probe_only.regs = phys_to_virt(found->base);
    if (reg_read(&probe_only, REG_MAGIC) != MAGIC || reg_read(&probe_only, REG_VERSION) != 2) {
        log_warn("virtio: nothing of version 2 at 0x%lx", found->base);
        return;
    }
    probe_only.id = reg_read(&probe_only, REG_DEVICE_ID);
    if (probe_only.id == 0) {
        return; /* an empty slot */
    }
    for (unsigned i = 0; i < array_size(drivers); i++) {
        if (drivers[i]->id != probe_only.id) {
            continue;
        }
        d = kmalloc(sizeof(*d), GFP_KERNEL);
        if (!d) {
            log_error("virtio: no memory for %s", drivers[i]->name);
            return;
        }
        *d = probe_only;
        err = drivers[i]->probe(d);
        if (err < 0) {
            /* The device may hold addresses of queues: after FAILED it must not use them, but is
             * not trusted to; they stay allocated. */
            log_error("virtio: %s at 0x%lx does not start (error %d)", drivers[i]->name, d->base,
                      -err);
            reg_write(d, REG_STATUS, STATUS_FAILED);
        }
        return;
    }
    log_info("virtio: no driver for device type %u at 0x%lx", probe_only.id, found->base);
}

void virtio_probe_all(void)
{
    for (unsigned i = 0; i < boot_info.virtio_count; i++) {
        probe(&boot_info.virtio[i]);
    }
}

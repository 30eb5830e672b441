/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over MMIO. Section numbers are those of VIRTIO 1.1. */

#include "virtio_mmio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/checked.h>

#include "abi/snapshot.h"

#define MMIO_MAGIC     0x74726976u /* "virt" */
#define MMIO_VERSION   2u
#define MMIO_VENDOR_ID 0x50555244u /* "DRUP" */

#define TRANSPORT_FEATURES                                                                         \
    ((UINT64_C(1) << VIRTIO_F_VERSION_1) | (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX) |              \
     (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC))

/* The order in which a driver sets the status bits (3.1.1). */
static const uint32_t status_steps[] = {
    VIRTIO_CONFIG_S_ACKNOWLEDGE,
    VIRTIO_CONFIG_S_DRIVER,
    VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_DRIVER_OK,
};

static void message(struct virtio_device *dev, enum device_log_level level, const char *text)
{
    const struct device_host *host = dev->setup.host;

    host->log(host->ctx, level, dev->setup.ops->name, text);
}

/* The driver used a register wrongly; the access has no effect. */
static void complain(struct virtio_device *dev, const char *text)
{
    if (!dev->has_complained) {
        dev->has_complained = true;
        message(dev, DEVICE_LOG_WARN, text);
    }
}

static void raise_interrupt(struct virtio_device *dev, uint32_t cause)
{
    const struct device_host *host = dev->setup.host;

    /* release: pairs with the acquire load in mmio_read(); rings and config are written before. */
    __atomic_fetch_or(&dev->interrupt_status, cause, __ATOMIC_RELEASE);
    host->irq_raise(host->ctx, dev->setup.irq);
}

bool virtio_device_is_live(const struct virtio_device *dev)
{
    return (dev->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET |
                           VIRTIO_CONFIG_S_FAILED)) == VIRTIO_CONFIG_S_DRIVER_OK;
}

bool virtio_device_has_feature(const struct virtio_device *dev, unsigned bit)
{
    assert(bit < 64);
    return (dev->features & (UINT64_C(1) << bit)) != 0;
}

void virtio_device_fail(struct virtio_device *dev, const char *why)
{
    if ((dev->status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0) {
        return;
    }
    dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    message(dev, DEVICE_LOG_ERROR, why);
    if ((dev->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
        dev->config_generation++;
        raise_interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
    }
}

void virtio_config_changed(struct virtio_device *dev)
{
    dev->config_generation++;
    if (virtio_device_is_live(dev)) {
        raise_interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
    }
}

void virtio_queue_publish(struct virtio_device *dev, unsigned queue)
{
    assert(queue < dev->setup.queue_count);
    if (vq_publish(&dev->setup.queues[queue])) {
        raise_interrupt(dev, VIRTIO_MMIO_INT_VRING);
    }
}

void virtio_queue_defer(struct virtio_device *dev, unsigned queue)
{
    const uint64_t one = 1;

    assert(queue < dev->setup.queue_count);
    dev->deferred |= 1u << queue;
    /* Can only fail when the counter is full, and then the loop is woken anyway. */
    (void)!write(dev->defer_fd, &one, sizeof(one));
}

void virtio_device_lock(struct virtio_device *dev)
{
    const int err = pthread_mutex_lock(&dev->lock);

    assert(err == 0);
}

/* A queue that broke while the lock was held takes its device down: looked at in this one place. */
static void fail_if_broken(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->setup.queue_count; i++) {
        if (dev->setup.queues[i].is_broken) {
            virtio_device_fail(dev, "the driver broke the ring protocol; device stopped");
            return;
        }
    }
}

void virtio_device_unlock(struct virtio_device *dev)
{
    int err;

    fail_if_broken(dev);
    err = pthread_mutex_unlock(&dev->lock);
    assert(err == 0);
}

static void kick_locked(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    if (virtio_device_is_live(dev) && dev->setup.queues[queue].is_ready) {
        dev->setup.ops->kick(dev, queue, thread);
    }
}

void virtio_mmio_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    if (queue >= dev->setup.queue_count) {
        return; /* 4.2.2: a notification for a queue that doesn't exist means nothing */
    }
    virtio_device_lock(dev);
    kick_locked(dev, queue, thread);
    virtio_device_unlock(dev);
}

unsigned virtio_mmio_queue_count(const struct virtio_device *dev)
{
    return dev->setup.queue_count;
}

/* Loop thread: run the queues that asked for it. */
static void on_deferred(void *device, int fd, uint32_t events)
{
    struct virtio_device *dev = device;
    uint64_t count;
    uint32_t todo;

    (void)events;
    (void)!read(fd, &count, sizeof(count)); /* EAGAIN: somebody was faster; the mask tells */
    virtio_device_lock(dev);
    todo = dev->deferred;
    dev->deferred = 0;
    for (unsigned i = 0; i < dev->setup.queue_count; i++) {
        if ((todo & (1u << i)) != 0) {
            kick_locked(dev, i, VIRTIO_ON_LOOP);
        }
    }
    virtio_device_unlock(dev);
}

static void clear_queues(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->setup.queue_count; i++) {
        vq_reset(&dev->setup.queues[i], dev->setup.host->gmem, dev->setup.queue_sizes[i]);
    }
}

/* 2.1.1 and 4.2.2: writing 0 to Status takes the device back to its beginning. */
static void reset(struct virtio_device *dev)
{
    if (dev->setup.ops->reset != NULL && (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
        dev->setup.ops->reset(dev);
    }
    clear_queues(dev);
    dev->status = 0;
    dev->features = 0;
    dev->device_features_select = 0;
    dev->driver_features_select = 0;
    dev->queue_select = 0;
    dev->deferred = 0;
    dev->has_complained = false;
    __atomic_store_n(&dev->interrupt_status, 0, __ATOMIC_RELEASE);
}

static bool features_are_acceptable(const struct virtio_device *dev)
{
    return (dev->features & ~dev->features_offered) == 0 &&
           virtio_device_has_feature(dev, VIRTIO_F_VERSION_1);
}

/* One status bit that was not set before; all steps ahead of it are done. */
static void take_step(struct virtio_device *dev, uint32_t step)
{
    if (step == VIRTIO_CONFIG_S_FEATURES_OK && !features_are_acceptable(dev)) {
        complain(dev, "the driver's choice of features is not acceptable");
        return; /* the driver reads the status back and sees the bit clear (2.2.2) */
    }
    dev->status |= step;
    if (step == VIRTIO_CONFIG_S_DRIVER_OK && virtio_device_is_live(dev) &&
        dev->setup.ops->activate != NULL) {
        dev->setup.ops->activate(dev);
    }
}

static void status_write(struct virtio_device *dev, uint32_t value)
{
    const uint32_t kept = dev->status & ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET;

    if (value == 0) {
        reset(dev);
        return;
    }
    if ((value & kept) != kept) {
        complain(dev, "the driver cleared a status bit without a reset");
        return;
    }
    for (size_t i = 0; i < array_size(status_steps); i++) {
        const uint32_t step = status_steps[i];

        if ((value & step) != 0 && (dev->status & step) == 0) {
            take_step(dev, step);
        }
        if ((dev->status & step) == 0) {
            if ((value & ~dev->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
                complain(dev, "the driver skipped a step of its initialisation");
            }
            break; /* nothing behind a missing step counts */
        }
    }
    if ((value & ~dev->status & VIRTIO_CONFIG_S_FAILED) != 0) {
        dev->status |= VIRTIO_CONFIG_S_FAILED;
        message(dev, DEVICE_LOG_WARN, "the driver gave up on the device");
    }
}

/* Is the driver between two steps of its initialisation, where it may do what it does? */
static bool is_between(struct virtio_device *dev, uint32_t done, uint32_t not_done)
{
    if ((dev->status & done) == done &&
        (dev->status & (not_done | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)) == 0) {
        return true;
    }
    complain(dev, "register written in a wrong state of initialisation");
    return false;
}

static void driver_features_write(struct virtio_device *dev, uint32_t value)
{
    const unsigned shift = dev->driver_features_select * 32;

    if (dev->driver_features_select > 1) {
        return; /* no features there, and none were offered */
    }
    if (is_between(dev, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_FEATURES_OK)) {
        dev->features &= ~((uint64_t)UINT32_MAX << shift);
        dev->features |= (uint64_t)value << shift;
    }
}

/* The selected queue, or NULL when there is none of that number. */
static struct virtqueue *selected(const struct virtio_device *dev)
{
    return dev->queue_select < dev->setup.queue_count ? &dev->setup.queues[dev->queue_select]
                                                      : NULL;
}

static void queue_ready_write(struct virtio_device *dev, struct virtqueue *vq, uint32_t value)
{
    if (value == 0) {
        vq->is_ready = false; /* not live yet: no chain has been taken */
        return;
    }
    if (vq->is_ready) {
        return;
    }
    if (vq_start(vq, dev->features) < 0) {
        virtio_device_fail(dev, "queue size or addresses refused; device stopped");
    }
}

static void set_low(gpa_t *gpa, uint32_t value)
{
    gpa->raw = (gpa->raw & ~(uint64_t)UINT32_MAX) | value;
}

static void set_high(gpa_t *gpa, uint32_t value)
{
    gpa->raw = (gpa->raw & UINT32_MAX) | (uint64_t)value << 32;
}

static void queue_write(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
    struct virtqueue *vq = selected(dev);

    if (vq == NULL || !is_between(dev, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK)) {
        return;
    }
    if (offset == VIRTIO_MMIO_QUEUE_READY) {
        queue_ready_write(dev, vq, value);
        return;
    }
    if (vq->is_ready) {
        complain(dev, "queue changed while ready");
        return;
    }
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        vq->size = value <= vq->size_max ? (uint16_t)value : 0; /* 0 is refused by vq_start() */
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
        set_low(&vq->desc, value);
        break;
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_high(&vq->desc, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
        set_low(&vq->avail, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_high(&vq->avail, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
        set_low(&vq->used, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_high(&vq->used, value);
        break;
    default:
        break; /* not a register */
    }
}

static void register_write(struct virtio_device *dev, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        dev->device_features_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        driver_features_write(dev, value);
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        dev->driver_features_select = value;
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        dev->queue_select = value;
        break;
    case VIRTIO_MMIO_QUEUE_NOTIFY:
        if (value < dev->setup.queue_count) {
            kick_locked(dev, value, VIRTIO_ON_VCPU);
        }
        break;
    case VIRTIO_MMIO_STATUS:
        status_write(dev, value);
        break;
    default:
        queue_write(dev, offset, value);
        break;
    }
}

static uint32_t register_read(const struct virtio_device *dev, uint64_t offset)
{
    const struct virtqueue *vq = selected(dev);

    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MMIO_MAGIC;
    case VIRTIO_MMIO_VERSION:
        return MMIO_VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return dev->setup.ops->device_id;
    case VIRTIO_MMIO_VENDOR_ID:
        return MMIO_VENDOR_ID;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return dev->device_features_select > 1
                   ? 0
                   : (uint32_t)(dev->features_offered >> (dev->device_features_select * 32));
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return vq != NULL ? vq->size_max : 0; /* 0: no such queue (4.2.2) */
    case VIRTIO_MMIO_QUEUE_READY:
        return vq != NULL && vq->is_ready;
    case VIRTIO_MMIO_STATUS:
        return dev->status;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return UINT32_MAX; /* no shared memory regions */
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return dev->config_generation;
    default:
        return 0;
    }
}

static uint64_t config_read(const struct virtio_device *dev, uint64_t offset, unsigned size)
{
    uint8_t bytes[8] = { 0 };

    if (range_fits(offset, size, dev->setup.config_size)) {
        memcpy(bytes, (const uint8_t *)dev->setup.config + offset, size);
    }
    return load_le64(bytes);
}

/* Registers are read and written as aligned 32-bit words (4.2.2.2); anything else reads as 0. */
static bool is_register_access(uint64_t offset, unsigned size)
{
    return size == 4 && is_aligned(offset, 4u);
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
    struct virtio_device *dev = device;
    uint64_t value = 0;

    assert(size <= 8);
    if (offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
        /* acquire: pairs with the release in raise_interrupt() */
        return __atomic_load_n(&dev->interrupt_status, __ATOMIC_ACQUIRE);
    }
    virtio_device_lock(dev);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        value = config_read(dev, offset - VIRTIO_MMIO_CONFIG, size);
    } else if (is_register_access(offset, size)) {
        value = register_read(dev, offset);
    }
    virtio_device_unlock(dev);
    return value;
}

static void mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_device *dev = device;

    assert(size <= 8);
    if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
        __atomic_fetch_and(&dev->interrupt_status, ~(uint32_t)value, __ATOMIC_ACQ_REL);
        return;
    }
    virtio_device_lock(dev);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        if (dev->setup.ops->config_write != NULL &&
            range_fits(offset - VIRTIO_MMIO_CONFIG, size, dev->setup.config_size)) {
            dev->setup.ops->config_write(dev, offset - VIRTIO_MMIO_CONFIG, size, value);
        }
    } else if (is_register_access(offset, size)) {
        register_write(dev, offset, (uint32_t)value);
    }
    virtio_device_unlock(dev);
}

/* ---- Snapshots ---- */

#define STATUS_BITS                                                                                \
    ((uint32_t)VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |                              \
     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET |       \
     VIRTIO_CONFIG_S_FAILED)

size_t virtio_transport_size(const struct virtio_device *dev)
{
    return sizeof(struct snapshot_virtio) + dev->setup.queue_count * sizeof(struct snapshot_queue);
}

void virtio_transport_save(struct virtio_device *dev, struct snapshot_virtio *out)
{
    virtio_device_lock(dev);
    *out = (struct snapshot_virtio){
        .device_id = dev->setup.ops->device_id,
        .status = dev->status,
        .features = dev->features,
        .device_features_select = dev->device_features_select,
        .driver_features_select = dev->driver_features_select,
        .queue_select = dev->queue_select,
        .config_generation = dev->config_generation,
        .interrupt_status = __atomic_load_n(&dev->interrupt_status, __ATOMIC_ACQUIRE),
        .queue_count = dev->setup.queue_count,
    };
    for (unsigned i = 0; i < dev->setup.queue_count; i++) {
        vq_save(&dev->setup.queues[i], &out->queues[i]);
    }
    virtio_device_unlock(dev);
}

/* Could a driver have brought this device here? */
static const char *refuse_transport(const struct virtio_device *dev,
                                    const struct snapshot_virtio *in, size_t size)
{
    if (size < sizeof(*in) || in->device_id != dev->setup.ops->device_id) {
        return "another kind of device";
    }
    /* Fewer is well: those of an older monitor. The driver does not know of the others. */
    if (in->queue_count > dev->setup.queue_count ||
        size != sizeof(*in) + in->queue_count * sizeof(in->queues[0])) {
        return "another number of queues";
    }
    if ((in->features & ~dev->features_offered) != 0) {
        return "the driver uses features that this device does not have";
    }
    if ((in->status & ~STATUS_BITS) != 0 ||
        ((in->status & VIRTIO_CONFIG_S_FEATURES_OK) != 0 &&
         (in->features & (UINT64_C(1) << VIRTIO_F_VERSION_1)) == 0)) {
        return "a status that no device can have";
    }
    return NULL;
}

int virtio_transport_load(struct virtio_device *dev, const struct snapshot_virtio *in, size_t size,
                          const char **why)
{
    int r = 0;

    *why = refuse_transport(dev, in, size);
    if (*why != NULL) {
        return -EINVAL;
    }
    virtio_device_lock(dev);
    dev->status = in->status;
    dev->features = in->features;
    dev->device_features_select = in->device_features_select;
    dev->driver_features_select = in->driver_features_select;
    dev->queue_select = in->queue_select;
    dev->config_generation = in->config_generation;
    __atomic_store_n(&dev->interrupt_status, in->interrupt_status, __ATOMIC_RELEASE);
    for (unsigned i = 0; r == 0 && i < in->queue_count; i++) {
        r = vq_load(&dev->setup.queues[i], dev->features, &in->queues[i]);
    }
    virtio_device_unlock(dev);
    if (r < 0) {
        *why = "a queue outside guest memory";
    }
    return r;
}

void virtio_device_wake(struct virtio_device *dev)
{
    virtio_device_lock(dev);
    if (virtio_device_is_live(dev)) {
        if (dev->setup.ops->loaded != NULL) {
            dev->setup.ops->loaded(dev);
        }
        for (unsigned i = 0; i < dev->setup.queue_count; i++) {
            if (dev->setup.queues[i].is_ready) {
                virtio_queue_defer(dev, i);
            }
        }
    }
    virtio_device_unlock(dev);
}

struct io_window virtio_mmio_window(struct virtio_device *dev, uint64_t base)
{
    return (struct io_window){
        .base = base,
        .size = VIRTIO_MMIO_WINDOW_SIZE,
        .device = dev,
        .read = mmio_read,
        .write = mmio_write,
    };
}

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_setup *setup)
{
    int err;

    assert(setup->queue_count <= VIRTIO_QUEUES_MAX);
    *dev = (struct virtio_device){
        .setup = *setup,
        .features_offered = setup->features | TRANSPORT_FEATURES,
    };
    clear_queues(dev);
    err = pthread_mutex_init(&dev->lock, NULL);
    if (err != 0) {
        return -err;
    }
    dev->defer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (dev->defer_fd < 0) {
        err = -errno;
        goto destroy_lock;
    }
    err = setup->host->watch(setup->host->ctx, dev->defer_fd, EPOLLIN, on_deferred, dev);
    if (err < 0) {
        goto close_defer_fd;
    }
    return 0;

close_defer_fd:
    (void)close(dev->defer_fd);
destroy_lock:
    (void)pthread_mutex_destroy(&dev->lock);
    return err;
}

void virtio_device_deinit(struct virtio_device *dev)
{
    const struct device_host *host = dev->setup.host;

    (void)host->watch(host->ctx, dev->defer_fd, 0, on_deferred, dev);
    (void)close(dev->defer_fd);
    (void)pthread_mutex_destroy(&dev->lock);
}

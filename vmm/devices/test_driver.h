/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of a virtio device, for tests: guest memory, a fake machine around the device, and
 * a driver that sets up queues and posts chains. The ring is built from raw descriptors, so that
 * tests can break it in every way. Guest memory is touched here by plain stores, as a guest would.
 */
#pragma once

#include <test.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

#include "virtio_mmio.h"

#define TEST_RAM_SIZE  (1u << 20)
#define TEST_ROM_GPA   0x40000000u
#define TEST_ROM_SIZE  0x1000u
#define TEST_DATA_GPA  0x80000u /* half of the RAM is free for buffers */
#define TEST_QUEUE_GPA 0x10000u /* 0x2000 for each queue */
#define TEST_WATCHES   16
#define TEST_IRQ       5

struct test_watch {
    int fd;
    uint32_t events;
    device_fd_fn fn;
    void *device;
};

/* A fake machine. Its loop runs when the test says so, on the thread that says so. */
struct test_machine {
    _Alignas(4096) uint8_t ram[TEST_RAM_SIZE];
    _Alignas(4096) uint8_t rom[TEST_ROM_SIZE];
    struct gmem gmem;
    struct device_host host;
    pthread_mutex_t lock; /* guards the rest */
    unsigned irq_count;
    unsigned error_count;
    unsigned warn_count;
    int watch_error; /* what watch() answers, if not 0 */
    struct test_watch watches[TEST_WATCHES];
};

static inline void test_irq_raise(void *ctx, unsigned irq)
{
    struct test_machine *m = ctx;

    assert_int_equal(irq, TEST_IRQ);
    __atomic_fetch_add(&m->irq_count, 1, __ATOMIC_SEQ_CST);
}

static inline int test_watch_fd(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    struct test_machine *m = ctx;
    struct test_watch *place = NULL;

    if (m->watch_error != 0) {
        return m->watch_error;
    }
    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < TEST_WATCHES; i++) {
        struct test_watch *w = &m->watches[i];

        if (w->events != 0 && w->fd == fd) {
            place = w;
            break;
        }
        if (w->events == 0 && place == NULL) {
            place = w;
        }
    }
    if (place != NULL) {
        *place = (struct test_watch){ .fd = fd, .events = events, .fn = fn, .device = device };
    }
    pthread_mutex_unlock(&m->lock);
    return place != NULL ? 0 : -ENOSPC;
}

static inline void test_log(void *ctx, enum device_log_level level, const char *device,
                            const char *text)
{
    struct test_machine *m = ctx;

    assert_non_null(device);
    assert_non_null(text);
    if (level == DEVICE_LOG_ERROR) {
        __atomic_fetch_add(&m->error_count, 1, __ATOMIC_SEQ_CST);
    } else if (level == DEVICE_LOG_WARN) {
        __atomic_fetch_add(&m->warn_count, 1, __ATOMIC_SEQ_CST);
    }
}

static inline void test_machine_end(void *ctx, unsigned kind, unsigned status)
{
    (void)ctx;
    (void)kind;
    (void)status;
}

static inline void test_machine_init(struct test_machine *m)
{
    memset(m, 0, sizeof(*m));
    pthread_mutex_init(&m->lock, NULL);
    m->gmem.regions[0] = (struct gmem_region){ .gpa = 0, .size = TEST_RAM_SIZE, .hva = m->ram };
    m->gmem.regions[1] = (struct gmem_region){
        .gpa = TEST_ROM_GPA, .size = TEST_ROM_SIZE, .hva = m->rom, .is_read_only = true
    };
    m->gmem.region_count = 2;
    m->host = (struct device_host){
        .ctx = m,
        .gmem = &m->gmem,
        .irq_raise = test_irq_raise,
        .watch = test_watch_fd,
        .log = test_log,
        .machine_end = test_machine_end,
    };
}

/* One round of the loop: wait up to timeout_ms for any event, call back. True if there was one. */
static inline bool test_loop_run(struct test_machine *m, int timeout_ms)
{
    struct pollfd fds[TEST_WATCHES];
    struct test_watch watches[TEST_WATCHES];
    nfds_t count = 0;
    bool had_event = false;

    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < TEST_WATCHES; i++) {
        if (m->watches[i].events != 0) {
            watches[count] = m->watches[i];
            /* The bits of epoll and poll are the same. */
            fds[count] =
                (struct pollfd){ .fd = watches[count].fd, .events = (short)watches[count].events };
            count++;
        }
    }
    pthread_mutex_unlock(&m->lock);
    if (poll(fds, count, timeout_ms) <= 0) {
        return false;
    }
    for (nfds_t i = 0; i < count; i++) {
        if (fds[i].revents != 0) {
            watches[i].fn(watches[i].device, fds[i].fd, (uint32_t)(uint16_t)fds[i].revents);
            had_event = true;
        }
    }
    return had_event;
}

/* Run the loop until nothing is ready any more; at most `rounds`. */
static inline unsigned test_loop_settle(struct test_machine *m, unsigned rounds)
{
    unsigned n = 0;

    while (n < rounds && test_loop_run(m, 0)) {
        n++;
    }
    return n;
}

static inline unsigned test_watch_count(struct test_machine *m)
{
    unsigned count = 0;

    for (unsigned i = 0; i < TEST_WATCHES; i++) {
        count += m->watches[i].events != 0;
    }
    return count;
}

/* The driver's side of a device. */
struct test_queue {
    unsigned index;
    uint16_t size;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t free_desc;  /* next descriptor to use; the ring is never full in tests */
    uint16_t avail_next; /* not yet published */
    uint16_t used_seen;
};

struct test_driver {
    struct test_machine *m;
    struct virtio_device *dev;
    struct io_window window;
    uint64_t features;
};

static inline uint32_t reg_read(struct test_driver *d, uint64_t offset)
{
    return (uint32_t)d->window.read(d->window.device, offset, 4);
}

static inline void reg_write(struct test_driver *d, uint64_t offset, uint32_t value)
{
    d->window.write(d->window.device, offset, 4, value);
}

static inline uint64_t test_offered(struct test_driver *d)
{
    uint64_t features;

    reg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    features = (uint64_t)reg_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
    reg_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    return features | reg_read(d, VIRTIO_MMIO_DEVICE_FEATURES);
}

/* Steps 1 to 6 of 3.1.1, with all that is in `features`. */
static inline void test_negotiate(struct test_driver *d, uint64_t features)
{
    d->features = features;
    reg_write(d, VIRTIO_MMIO_STATUS, 0);
    reg_write(d, VIRTIO_MMIO_STATUS, 1);
    reg_write(d, VIRTIO_MMIO_STATUS, 3);
    reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
    reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    reg_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
    reg_write(d, VIRTIO_MMIO_STATUS, 11);
}

static inline void test_driver_attach(struct test_driver *d, struct test_machine *m,
                                      struct virtio_device *dev)
{
    *d = (struct test_driver){ .m = m, .dev = dev, .window = virtio_mmio_window(dev, 0xd0000000) };
}

static inline void test_write_gpa(struct test_driver *d, uint64_t low_register, uint64_t gpa)
{
    reg_write(d, low_register, (uint32_t)gpa);
    reg_write(d, low_register + 4, (uint32_t)(gpa >> 32));
}

/* Lay queue `index` out in guest memory and make it ready. */
static inline void test_queue_init(struct test_driver *d, struct test_queue *q, unsigned index)
{
    const uint64_t base = TEST_QUEUE_GPA + 0x2000u * index;

    reg_write(d, VIRTIO_MMIO_QUEUE_SEL, index);
    *q = (struct test_queue){ .index = index,
                              .size = (uint16_t)reg_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX) };
    assert_in_range(q->size, 1, VQ_SIZE_MAX);
    memset(d->m->ram + base, 0, 0x2000);
    q->desc = (void *)(d->m->ram + base);
    q->avail = (void *)(d->m->ram + base + 0x1000);
    q->used = (void *)(d->m->ram + base + 0x1800);
    reg_write(d, VIRTIO_MMIO_QUEUE_NUM, q->size);
    test_write_gpa(d, VIRTIO_MMIO_QUEUE_DESC_LOW, base);
    test_write_gpa(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, base + 0x1000);
    test_write_gpa(d, VIRTIO_MMIO_QUEUE_USED_LOW, base + 0x1800);
    reg_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(reg_read(d, VIRTIO_MMIO_QUEUE_READY), 1);
}

static inline void test_driver_ok(struct test_driver *d)
{
    reg_write(d, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(reg_read(d, VIRTIO_MMIO_STATUS), 15);
}

static inline struct vring_desc test_desc(uint64_t addr, uint32_t len, uint16_t flags)
{
    return (struct vring_desc){ .addr = addr, .len = len, .flags = flags };
}

/* Make descriptor `head` available, whatever it is, without showing it yet. */
static inline void test_avail_head(struct test_queue *q, uint16_t head)
{
    q->avail->ring[q->avail_next++ & (q->size - 1u)] = head;
}

/* Link `count` descriptors into a chain and make it available. Returns the head. */
static inline uint16_t test_chain(struct test_queue *q, const struct vring_desc *descs,
                                  unsigned count)
{
    const uint16_t head = q->free_desc % q->size;

    for (unsigned i = 0; i < count; i++) {
        const uint16_t at = q->free_desc++ % q->size;

        q->desc[at] = descs[i];
        if (i + 1 < count) {
            q->desc[at].flags |= VRING_DESC_F_NEXT;
            q->desc[at].next = q->free_desc % q->size;
        }
    }
    test_avail_head(q, head);
    return head;
}

static inline uint16_t test_post(struct test_queue *q, uint64_t addr, uint32_t len, uint16_t flags)
{
    const struct vring_desc desc = test_desc(addr, len, flags);

    return test_chain(q, &desc, 1);
}

static inline void test_publish(struct test_queue *q)
{
    __atomic_store_n(&q->avail->idx, q->avail_next, __ATOMIC_SEQ_CST);
}

static inline void test_kick(struct test_driver *d, struct test_queue *q)
{
    test_publish(q);
    reg_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
}

/* The next used element; false when there is none. */
static inline bool test_used(struct test_queue *q, struct vring_used_elem *element)
{
    if (__atomic_load_n(&q->used->idx, __ATOMIC_SEQ_CST) == q->used_seen) {
        return false;
    }
    *element = q->used->ring[q->used_seen++ & (q->size - 1u)];
    return true;
}

static inline bool test_needs_reset(struct test_driver *d)
{
    return (reg_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The transport with a device that only counts: steps, negotiation, queues, failures, deferral. */

#include "test_driver.h"

#include <stdlib.h>

#include <base/bytes.h>

#define F_VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define F_OWN       (UINT64_C(1) << 5)
#define F_FOREIGN   (UINT64_C(1) << 6)
#define CONFIG_SIZE 10u

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): page-aligned memory stands last */
struct fixture {
    struct virtio_device dev; /* first, so that the operations find the rest */
    struct virtqueue queues[2];
    uint8_t config[CONFIG_SIZE];
    unsigned activations;
    unsigned kicks[2];
    unsigned loop_kicks;
    unsigned resets;
    bool must_defer;
    struct test_machine m;
    struct test_driver d;
};

static void count_activate(struct virtio_device *dev)
{
    container_of(dev, struct fixture, dev)->activations++;
}

static void count_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct fixture *f = container_of(dev, struct fixture, dev);
    struct vq_chain chain;

    f->kicks[queue]++;
    if (thread == VIRTIO_ON_LOOP) {
        f->loop_kicks++;
    } else if (f->must_defer) {
        virtio_queue_defer(dev, queue);
        return;
    }
    while (vq_take(&f->queues[queue], &chain) == 1) {
        vq_complete(&f->queues[queue], chain.head, 0);
    }
    virtio_queue_publish(dev, queue);
}

static void count_reset(struct virtio_device *dev)
{
    container_of(dev, struct fixture, dev)->resets++;
}

static void take_config(struct virtio_device *dev, uint64_t offset, unsigned size, uint64_t value)
{
    struct fixture *f = container_of(dev, struct fixture, dev);

    store_le64(f->config, value);
    f->config[8] = (uint8_t)offset;
    f->config[9] = (uint8_t)size;
}

static const struct virtio_device_ops ops = {
    .name = "virtio-count",
    .device_id = 77,
    .activate = count_activate,
    .kick = count_kick,
    .reset = count_reset,
    .config_write = take_config,
};

static struct fixture *start(void)
{
    static const uint16_t sizes[] = { 8, 16 };
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096u));

    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    test_machine_init(&f->m);
    assert_int_equal(virtio_device_init(&f->dev,
                                        &(struct virtio_device_setup){
                                            .ops = &ops,
                                            .host = &f->m.host,
                                            .irq = TEST_IRQ,
                                            .features = F_OWN,
                                            .config = f->config,
                                            .config_size = CONFIG_SIZE,
                                            .queues = f->queues,
                                            .queue_sizes = sizes,
                                            .queue_count = 2,
                                        }),
                     0);
    test_driver_attach(&f->d, &f->m, &f->dev);
    return f;
}

static void stop(struct fixture *f)
{
    virtio_device_deinit(&f->dev);
    assert_int_equal(test_watch_count(&f->m), 0);
    free(f);
}

static void status_steps(void **state)
{
    /* Write `writes` in turn, then expect this status. */
    static const struct {
        uint32_t writes[5];
        uint32_t expected;
    } cases[] = {
        { { 1, 3, 11, 15 }, 15 },
        { { 3, 11, 15 }, 15 }, /* two steps at once are harmless */
        { { 2 }, 0 },
        { { 4 }, 0 },
        { { 1, 5 }, 1 },
        { { 1, 9 }, 1 },
        { { 1, 3, 7 }, 3 }, /* no DRIVER_OK without FEATURES_OK */
        { { 1, 3, 11, 3 }, 11 },
        { { 1, 3, 2 }, 3 }, /* bits don't go away */
        { { 1, 3, 11, 15, 0 }, 0 },
        { { 1, 3, 0x83 }, 0x83 },
        { { 1, 0x41 }, 1 },
        { { 0xffffff30 }, 0 }, /* not the driver's to set */
    };
    struct fixture *f = start();

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        reg_write(&f->d, VIRTIO_MMIO_STATUS, 0);
        for (unsigned n = 0; n < 5; n++) {
            if (n > 0 && cases[i].writes[n] == 0 && cases[i].expected != 0) {
                break;
            }
            reg_write(&f->d, VIRTIO_MMIO_STATUS, cases[i].writes[n]);
            if ((cases[i].writes[n] & 15) == 3) {
                reg_write(&f->d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
                reg_write(&f->d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(F_VERSION_1 >> 32));
            }
        }
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_STATUS), cases[i].expected);
    }
    assert_int_equal(f->activations, 3);
    stop(f);
}

static void feature_negotiation(void **state)
{
    static const struct {
        uint64_t features;
        bool is_accepted;
    } cases[] = {
        { F_VERSION_1, true }, { F_VERSION_1 | F_OWN, true },
        { F_OWN, false }, /* legacy drivers are refused */
        { 0, false },          { F_VERSION_1 | F_FOREIGN, false },
        { UINT64_MAX, false },
    };
    struct fixture *f = start();

    (void)state;
    assert_int_equal(test_offered(&f->d), F_VERSION_1 | F_OWN |
                                              UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
                                              UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
    reg_write(&f->d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    for (unsigned i = 0; i < array_size(cases); i++) {
        test_negotiate(&f->d, cases[i].features);
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_STATUS), cases[i].is_accepted ? 11 : 3);
    }
    /* Final once accepted. */
    test_negotiate(&f->d, F_VERSION_1);
    reg_write(&f->d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg_write(&f->d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)F_OWN);
    assert_int_equal(f->dev.features, F_VERSION_1);
    stop(f);
}

static void odd_accesses(void **state)
{
    struct fixture *f = start();
    const struct io_window w = virtio_mmio_window(&f->dev, 0);

    (void)state;
    for (uint64_t offset = 0; offset < VIRTIO_MMIO_WINDOW_SIZE; offset++) {
        for (unsigned size = 1; size <= 8 && offset + size <= VIRTIO_MMIO_WINDOW_SIZE; size *= 2) {
            (void)w.read(w.device, offset, size);
            w.write(w.device, offset, size, UINT64_MAX);
        }
    }
    reg_write(&f->d, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_MAGIC_VALUE, 4), 0x74726976);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_MAGIC_VALUE, 2), 0);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_MAGIC_VALUE, 8), 0);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_MAGIC_VALUE + 2, 4), 0);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_SHM_LEN_LOW, 4), UINT32_MAX);
    /* Configuration space takes every size inside its own. */
    w.write(w.device, VIRTIO_MMIO_CONFIG + 2, 8, 0x1122334455667788);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_CONFIG, 8), 0x1122334455667788);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_CONFIG + 1, 1), 0x77);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_CONFIG + 8, 2), 0x0802);
    w.write(w.device, VIRTIO_MMIO_CONFIG + 3, 8, 0);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_CONFIG, 8), 0x1122334455667788);
    assert_int_equal(w.read(w.device, VIRTIO_MMIO_CONFIG + 3, 8), 0);
    stop(f);
}

static void queue_registers(void **state)
{
    struct fixture *f = start();
    struct test_queue q;

    (void)state;
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_SEL, 0);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_NUM_MAX), 8);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_SEL, 1);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_NUM_MAX), 16);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_READY, 1); /* too early */
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_READY), 0);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_SEL, 2);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_READY), 0);

    test_negotiate(&f->d, F_VERSION_1);
    test_queue_init(&f->d, &q, 0);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_NUM, 4); /* while ready */
    assert_int_equal(f->queues[0].size, 8);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_READY), 0);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_READY, 1);
    test_driver_ok(&f->d);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_READY, 0); /* too late */
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_READY), 1);

    /* Queue 1 was never made ready: a kick means nothing. Nor does one for a queue that isn't. */
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    virtio_mmio_kick(&f->dev, UINT32_MAX, VIRTIO_ON_LOOP);
    assert_int_equal(f->kicks[0] + f->kicks[1], 0);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    virtio_mmio_kick(&f->dev, 0, VIRTIO_ON_LOOP);
    assert_int_equal(f->kicks[0], 2);

    /* A size that the device doesn't have stops it. */
    test_negotiate(&f->d, F_VERSION_1);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_SEL, 0);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_NUM, 0x10008);
    reg_write(&f->d, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_true(test_needs_reset(&f->d));
    assert_int_equal(f->m.irq_count, 0); /* no interrupt before DRIVER_OK (2.1.2) */
    stop(f);
}

static void broken_ring(void **state)
{
    struct fixture *f = start();
    struct test_queue q;
    struct vring_used_elem used;
    uint32_t generation;

    (void)state;
    for (unsigned round = 1; round <= 2; round++) {
        test_negotiate(&f->d, F_VERSION_1);
        test_queue_init(&f->d, &q, 0);
        test_driver_ok(&f->d);
        generation = reg_read(&f->d, VIRTIO_MMIO_CONFIG_GENERATION);
        q.avail->idx = 100;
        reg_write(&f->d, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_STATUS), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
        assert_int_not_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG_GENERATION), generation);
        assert_int_equal(f->m.irq_count, round);
        assert_int_equal(f->m.error_count, round); /* one message */
        /* Deaf from here on. */
        q.avail->idx = 0;
        for (unsigned n = 0; n < 10; n++) {
            (void)test_post(&q, TEST_DATA_GPA, 1, 0);
            test_kick(&f->d, &q);
        }
        assert_int_equal(f->kicks[0], round);
        assert_int_equal(f->m.error_count, round);
        assert_false(test_used(&q, &used));
    }
    /* A reset heals it. */
    test_negotiate(&f->d, F_VERSION_1);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_int_equal(f->resets, 2);
    test_queue_init(&f->d, &q, 0);
    test_driver_ok(&f->d);
    (void)test_post(&q, TEST_DATA_GPA, 1, 0);
    test_kick(&f->d, &q);
    assert_true(test_used(&q, &used));
    stop(f);
}

static void deferred_work(void **state)
{
    struct fixture *f = start();
    struct test_queue q;
    struct vring_used_elem used;

    (void)state;
    f->must_defer = true;
    test_negotiate(&f->d, F_VERSION_1);
    test_queue_init(&f->d, &q, 0);
    test_driver_ok(&f->d);
    (void)test_post(&q, TEST_DATA_GPA, 1, 0);
    test_kick(&f->d, &q);
    test_kick(&f->d, &q);
    assert_false(test_used(&q, &used));
    assert_true(test_loop_run(&f->m, 0));
    assert_int_equal(f->loop_kicks, 1); /* both kicks in one run */
    assert_true(test_used(&q, &used));
    assert_false(test_loop_run(&f->m, 0));

    /* What was deferred before a reset is forgotten by it. */
    test_kick(&f->d, &q);
    reg_write(&f->d, VIRTIO_MMIO_STATUS, 0);
    (void)test_loop_settle(&f->m, 5);
    assert_int_equal(f->loop_kicks, 1);
    stop(f);
}

static void init_fails_clean(void **state)
{
    struct fixture *f = start();
    const struct virtio_device_setup setup = f->dev.setup;

    (void)state;
    virtio_device_deinit(&f->dev);
    f->m.watch_error = -ENOSPC;
    assert_int_equal(virtio_device_init(&f->dev, &setup), -ENOSPC);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_steps),     cmocka_unit_test(feature_negotiation),
        cmocka_unit_test(odd_accesses),     cmocka_unit_test(queue_registers),
        cmocka_unit_test(broken_ring),      cmocka_unit_test(deferred_work),
        cmocka_unit_test(init_fails_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

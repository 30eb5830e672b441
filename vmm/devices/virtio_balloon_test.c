/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that the driver names are gone, those that it may not name are not; figures arrive. */
#include "test_driver.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include <base/bytes.h>

#include "virtio_balloon.h"

#define F(bit)   (UINT64_C(1) << (bit))
#define F_BASE   F(VIRTIO_F_VERSION_1)
#define PFNS_GPA TEST_DATA_GPA
#define PAGE_GPA (TEST_DATA_GPA + 0x10000u)
#define PAGE     4096u

struct fixture {
    struct test_machine m;
    struct test_driver d;
    struct test_queue queues[4];
    struct virtio_balloon *b;
};

static struct fixture *start(const struct drupe_balloon *config, uint64_t features, unsigned queues)
{
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096u));
    struct virtio_balloon_setup setup = { .irq = TEST_IRQ, .config = *config };

    assert_non_null(f);
    test_machine_init(&f->m);
    setup.host = &f->m.host;
    assert_int_equal(virtio_balloon_create(&setup, &f->b), 0);
    test_driver_attach(&f->d, &f->m, virtio_balloon_device(f->b));
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BALLOON);
    test_negotiate(&f->d, F_BASE | features);
    for (unsigned i = 0; i < queues; i++) {
        test_queue_init(&f->d, &f->queues[i], i);
    }
    test_driver_ok(&f->d);
    return f;
}

static void stop(struct fixture *f)
{
    virtio_balloon_destroy(f->b);
    assert_int_equal(test_watch_count(&f->m), 0);
    free(f);
}

/* The work is done on the loop. */
static void kick(struct fixture *f, unsigned queue)
{
    test_kick(&f->d, &f->queues[queue]);
    (void)test_loop_settle(&f->m, 8);
}

/* Give `count` page numbers to a queue. */
static void give(struct fixture *f, unsigned queue, const uint32_t *pfns, uint32_t count)
{
    struct vring_used_elem used = { 0 };

    for (uint32_t i = 0; i < count; i++) {
        store_le32(f->m.ram + PFNS_GPA + (size_t)i * 4, pfns[i]);
    }
    (void)test_post(&f->queues[queue], PFNS_GPA, count * 4, 0);
    kick(f, queue);
    assert_true(test_used(&f->queues[queue], &used));
    assert_int_equal(used.len, 0);
}

static void inflates(void **state)
{
    const struct drupe_balloon config = { .is_present = true, .target_mib = 3 };
    const uint32_t first = PAGE_GPA / PAGE;
    /* Neighbours, one by itself, what is no RAM, what is read-only, what is far beyond. */
    const uint32_t pfns[] = {
        first, first + 1, first + 3, TEST_RAM_SIZE / PAGE, TEST_ROM_GPA / PAGE, UINT32_MAX
    };
    struct fixture *f = start(&config, 0, 2);

    (void)state;
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), 3 * 256);
    memset(f->m.ram + PAGE_GPA, 0x55, 5 * (size_t)PAGE);
    memset(f->m.rom, 0x66, PAGE);
    give(f, 0, pfns, array_size(pfns));
    for (unsigned page = 0; page < 5; page++) {
        bool is_given = page == 0 || page == 1 || page == 3;

        assert_int_equal(f->m.ram[PAGE_GPA + page * PAGE], is_given ? 0 : 0x55);
        assert_int_equal(f->m.ram[PAGE_GPA + page * PAGE + PAGE - 1], is_given ? 0 : 0x55);
    }
    assert_int_equal(f->m.rom[0], 0x66);
    reg_write(&f->d, VIRTIO_MMIO_CONFIG + 4, 3);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 3);
    reg_write(&f->d, VIRTIO_MMIO_CONFIG, 9); /* the target is not the driver's */
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), 3 * 256);
    give(f, 1, pfns, 1);
    stop(f);
}

static void target_changes(void **state)
{
    const struct drupe_balloon config = { .is_present = true };
    struct fixture *f = start(&config, 0, 2);
    struct drupe_balloon_stats stats;

    (void)state;
    virtio_balloon_set_target(f->b, 2);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), 512);
    assert_true((reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG) != 0);
    assert_int_equal(virtio_balloon_set_interval(f->b, 1), -ENOTSUP);
    assert_int_equal(virtio_balloon_stats(f->b, &stats), -ENOTSUP);
    stop(f);
}

static void put_stat(struct fixture *f, unsigned i, uint16_t tag, uint64_t value)
{
    store_le16(f->m.ram + PFNS_GPA + (size_t)i * 10, tag);
    store_le64(f->m.ram + PFNS_GPA + (size_t)i * 10 + 2, value);
}

static void statistics(void **state)
{
    const struct drupe_balloon config = { .is_present = true, .stats_interval_s = 1 };
    struct fixture *f = start(&config, F(VIRTIO_BALLOON_F_STATS_VQ), 3);
    struct drupe_balloon_stats stats;
    struct vring_used_elem used = { 0 };

    (void)state;
    put_stat(f, 0, VIRTIO_BALLOON_S_MEMFREE, 12345);
    put_stat(f, 1, 999, 1);
    put_stat(f, 2, VIRTIO_BALLOON_S_MEMTOT, UINT64_MAX);
    (void)test_post(&f->queues[2], PFNS_GPA, 30 + 7, 0); /* and a part of one */
    kick(f, 2);
    assert_false(test_used(&f->queues[2], &used)); /* it stays */
    assert_int_equal(virtio_balloon_stats(f->b, &stats), 0);
    assert_int_equal(stats.reported,
                     1u << VIRTIO_BALLOON_S_MEMFREE | 1u << VIRTIO_BALLOON_S_MEMTOT);
    assert_true(stats.values[VIRTIO_BALLOON_S_MEMFREE] == 12345);
    for (unsigned i = 0; i < 500 && !test_used(&f->queues[2], &used); i++) {
        (void)test_loop_run(&f->m, 10);
    }
    /* A driver that leaves two buffers gets one back at once. */
    (void)test_post(&f->queues[2], PFNS_GPA, 10, 0);
    (void)test_post(&f->queues[2], PFNS_GPA, 10, 0);
    kick(f, 2);
    assert_true(test_used(&f->queues[2], &used));
    assert_false(test_used(&f->queues[2], &used));
    assert_int_equal(virtio_balloon_set_interval(f->b, 5), 0);
    test_negotiate(&f->d, F_BASE); /* a reset forgets the buffer */
    stop(f);
}

static void reporting(void **state)
{
    const struct drupe_balloon config = { .is_present = true, .has_reporting = true };
    struct fixture *f = start(&config, F(VIRTIO_BALLOON_F_REPORTING), 3);
    struct vring_used_elem used = { 0 };

    (void)state;
    memset(f->m.ram + PAGE_GPA, 0x55, 3 * (size_t)PAGE);
    (void)test_post(&f->queues[2], PAGE_GPA, 2 * PAGE, VRING_DESC_F_WRITE);
    (void)test_post(&f->queues[2], PAGE_GPA + 2 * PAGE + 16, PAGE, VRING_DESC_F_WRITE);
    kick(f, 2);
    assert_true(test_used(&f->queues[2], &used));
    assert_int_equal(f->m.ram[PAGE_GPA], 0);
    assert_int_equal(f->m.ram[PAGE_GPA + 2 * PAGE - 1], 0);
    assert_int_equal(f->m.ram[PAGE_GPA + 2 * PAGE + 16], 0x55);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inflates),
        cmocka_unit_test(target_changes),
        cmocka_unit_test(statistics),
        cmocka_unit_test(reporting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

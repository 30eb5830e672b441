/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes reach every shape of buffer, and nothing beyond what used.len says. */

#include "test_driver.h"

#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "virtio_rng.h"

#define F_VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)

static bool is_all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static void fills_buffers(void **state)
{
    static const struct {
        uint32_t sizes[2];
        uint16_t flags[2];
        uint32_t expected;
    } cases[] = {
        { { 64, 0 }, { VRING_DESC_F_WRITE, VRING_DESC_F_WRITE }, 64 },
        { { 16, 48 }, { VRING_DESC_F_WRITE, VRING_DESC_F_WRITE }, 64 },
        { { 16, 48 }, { 0, VRING_DESC_F_WRITE }, 48 },
        { { 16, 48 }, { 0, 0 }, 0 },
        { { 0x20000, 0x20000 }, { VRING_DESC_F_WRITE, VRING_DESC_F_WRITE }, 256 },
    };
    struct test_machine *m = aligned_alloc(4096, align_up(sizeof(*m), 4096u));
    struct virtio_rng *rng = NULL;
    struct test_driver d;
    struct test_queue q;

    (void)state;
    assert_non_null(m);
    test_machine_init(m);
    assert_int_equal(virtio_rng_create(&m->host, TEST_IRQ, &rng), 0);
    test_driver_attach(&d, m, virtio_rng_device(rng));
    assert_int_equal(reg_read(&d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
    test_negotiate(&d, F_VERSION_1);
    test_queue_init(&d, &q, 0);
    test_driver_ok(&d);
    for (unsigned i = 0; i < array_size(cases); i++) {
        const uint64_t at = TEST_DATA_GPA;
        const struct vring_desc descs[] = {
            test_desc(at, cases[i].sizes[0], cases[i].flags[0]),
            test_desc(at + cases[i].sizes[0], cases[i].sizes[1], cases[i].flags[1]),
        };
        struct vring_used_elem used = { 0 };

        memset(m->ram + at, 0, 0x40000);
        (void)test_chain(&q, descs, 2);
        test_kick(&d, &q);
        assert_true(test_used(&q, &used));
        assert_int_equal(used.len, cases[i].expected);
        assert_int_equal(is_all_zero(m->ram + at, 0x400), cases[i].expected == 0);
        assert_true(is_all_zero(m->ram + at + 0x400, 0x40000 - 0x400));
    }
    virtio_rng_destroy(rng);
    assert_int_equal(test_watch_count(m), 0);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The 9P device under a driver: messages through the queue, broken chains, reset and rest while the
 * worker is busy. */
#include "test_driver.h"

#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/bytes.h>

#include "virtio_9p.h"

#define F_VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define F_TAG       UINT64_C(1)
#define REPLY_SIZE  4096u

struct fixture {
    struct test_machine *m;
    struct virtio_9p *v;
    struct test_driver d;
    struct test_queue q;
    int root;
};

static void bring_up(struct fixture *f)
{
    test_negotiate(&f->d, F_VERSION_1 | F_TAG);
    test_queue_init(&f->d, &f->q, 0);
    test_driver_ok(&f->d);
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->m = aligned_alloc(4096, align_up(sizeof(*f->m), 4096u));
    assert_non_null(f->m);
    test_machine_init(f->m);
    f->root = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->root >= 0);
    const struct p9_share_setup share = { "folder", f->root, true };
    const struct virtio_9p_setup setup = {
        .host = &f->m->host, .irq = TEST_IRQ, .shares = &share, .share_count = 1, .proc_fd = -1
    };

    assert_int_equal(virtio_9p_create(&setup, &f->v), 0);
    test_driver_attach(&f->d, f->m, virtio_9p_device(f->v));
    bring_up(f);
    *state = f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;

    virtio_9p_destroy(f->v);
    (void)close(f->root);
    free(f->m);
    free(f);
    return 0;
}

static size_t put_version(uint8_t *at)
{
    struct p9_out out = { .bytes = at, .limit = 64 };

    p9_put32(&out, 0);
    p9_put8(&out, P9_TVERSION);
    p9_put16(&out, UINT16_MAX);
    p9_put32(&out, 65536);
    p9_put_text(&out, "9P2000.L", 8);
    store_le32(at, (uint32_t)out.size);
    return out.size;
}

static void post(struct fixture *f, unsigned slot, uint32_t reply_size)
{
    const uint64_t at = TEST_DATA_GPA + slot * 0x2000u;
    const size_t size = put_version(f->m->ram + at);
    const struct vring_desc descs[] = {
        test_desc(at, (uint32_t)size, 0),
        test_desc(at + 0x1000, reply_size, VRING_DESC_F_WRITE),
    };

    (void)test_chain(&f->q, descs, 2);
}

/* The worker is a thread: wait for the next answer. */
static void wait_used(struct fixture *f, struct vring_used_elem *used)
{
    while (!test_used(&f->q, used)) {
        (void)poll(NULL, 0, 1);
    }
}

static void test_config(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_9P);
    assert_int_equal(f->d.window.read(f->d.window.device, VIRTIO_MMIO_CONFIG, 2), 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(f->d.window.read(f->d.window.device, VIRTIO_MMIO_CONFIG + 2 + i, 1),
                         "folder"[i]);
    }
}

static void test_messages(void **state)
{
    struct fixture *f = *state;
    struct vring_used_elem used;

    for (unsigned i = 0; i < 20; i++) {
        post(f, i % 8, REPLY_SIZE);
        test_kick(&f->d, &f->q);
        wait_used(f, &used);
        assert_int_equal(used.len, P9_HEADER_SIZE + 4 + 2 + 8);
        assert_int_equal(f->m->ram[TEST_DATA_GPA + (i % 8) * 0x2000u + 0x1000 + 4],
                         P9_TVERSION + 1);
    }
    assert_false(test_needs_reset(&f->d));
}

static void test_room_for_an_error_only(void **state)
{
    struct fixture *f = *state;
    struct vring_used_elem used;

    post(f, 0, P9_ERROR_SIZE);
    test_kick(&f->d, &f->q);
    wait_used(f, &used);
    assert_int_equal(used.len, P9_ERROR_SIZE);
    assert_int_equal(f->m->ram[TEST_DATA_GPA + 0x1000 + 4], P9_RLERROR);
}

static void test_broken_chains(void **state)
{
    static const struct {
        uint32_t readable;
        uint32_t writable;
    } cases[] = { { 6, REPLY_SIZE }, { 64, P9_ERROR_SIZE - 1 }, { 64, 0 }, { 0, 64 } };
    struct fixture *f = *state;
    struct vring_used_elem used;

    for (size_t i = 0; i < array_size(cases); i++) {
        struct vring_desc descs[2];
        unsigned count = 0;

        if (cases[i].readable > 0) {
            descs[count++] = test_desc(TEST_DATA_GPA, cases[i].readable, 0);
        }
        if (cases[i].writable > 0) {
            descs[count++] =
                test_desc(TEST_DATA_GPA + 0x1000, cases[i].writable, VRING_DESC_F_WRITE);
        }
        (void)test_chain(&f->q, descs, count);
        test_kick(&f->d, &f->q);
        wait_used(f, &used);
        assert_int_equal(used.len, 0);
        virtio_9p_quiesce(f->v);
        assert_true(test_needs_reset(&f->d));
        bring_up(f);
    }
}

/* Resets and rests come while the worker serves; under ASan and TSan. */
static void test_reset_and_rest(void **state)
{
    struct fixture *f = *state;

    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 8; i++) {
            post(f, i, REPLY_SIZE);
        }
        test_kick(&f->d, &f->q);
        if (round % 3 == 0) {
            struct vring_used_elem used;

            virtio_9p_quiesce(f->v);
            for (unsigned i = 0; i < 8; i++) {
                assert_true(test_used(&f->q, &used));
            }
        }
        bring_up(f); /* begins with a reset */
    }
    post(f, 0, REPLY_SIZE);
    test_kick(&f->d, &f->q);
    struct vring_used_elem used;

    wait_used(f, &used);
    assert_false(test_needs_reset(&f->d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_config, start, stop),
        cmocka_unit_test_setup_teardown(test_messages, start, stop),
        cmocka_unit_test_setup_teardown(test_room_for_an_error_only, start, stop),
        cmocka_unit_test_setup_teardown(test_broken_chains, start, stop),
        cmocka_unit_test_setup_teardown(test_reset_and_rest, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

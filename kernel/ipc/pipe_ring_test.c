/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include <host/host.h>
#include <ipc/pipe_ring.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <syscall/uio.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t free_frames(void)
{
    struct page_stats s;

    page_stats(&s);
    return s.free;
}

static ssize_t put(struct pipe_ring *r, const void *from, size_t size)
{
    struct uio u;

    uio_init_kernel(&u, (void *)from, size);
    return pipe_ring_write(r, &u);
}

static ssize_t get(struct pipe_ring *r, void *to, size_t size)
{
    struct uio u;

    uio_init_kernel(&u, to, size);
    return pipe_ring_read(r, &u);
}

static void bytes_come_out_as_they_went_in(void **state)
{
    static unsigned char out[MIB];
    struct pipe_ring r;
    uint64_t in_count = 0;
    uint64_t out_count = 0;

    (void)state;
    srand(1);
    assert_int_equal(pipe_ring_init(&r, 16), 0);
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)rand() % 9000;

        if (rand() % 2) {
            unsigned char in[9000];
            ssize_t n;

            for (size_t k = 0; k < size; k++) {
                in[k] = (unsigned char)((in_count + k) * 7 + ((in_count + k) >> 8));
            }
            n = put(&r, in, size);
            assert_true(n >= 0 && (size_t)n <= size);
            in_count += (uint64_t)n;
        } else {
            ssize_t n = get(&r, out, size);

            assert_true(n >= 0);
            for (size_t k = 0; k < (size_t)n; k++) {
                assert_int_equal(out[k],
                                 (unsigned char)((out_count + k) * 7 + ((out_count + k) >> 8)));
            }
            out_count += (uint64_t)n;
        }
        assert_int_equal(pipe_ring_used(&r), in_count - out_count);
        assert_true(pipe_ring_used(&r) <= 16 * PAGE_SIZE);
    }
    pipe_ring_deinit(&r);
}

static void fills_to_its_capacity_and_no_further(void **state)
{
    static unsigned char data[17 * 4096];
    struct pipe_ring r;

    (void)state;
    assert_int_equal(pipe_ring_init(&r, 16), 0);
    assert_int_equal(put(&r, data, sizeof(data)), 16 * 4096);
    assert_int_equal(pipe_ring_free(&r), 0);
    assert_int_equal(put(&r, data, 1), 0);
    assert_int_equal(get(&r, data, 1), 1);
    assert_int_equal(put(&r, data, 2), 1);
    assert_int_equal(get(&r, data, sizeof(data)), 16 * 4096);
    assert_int_equal(get(&r, data, 1), 0);
    pipe_ring_deinit(&r);
}

static void pages_come_when_written_and_go_when_read(void **state)
{
    static unsigned char data[16 * 4096];
    struct pipe_ring r;

    (void)state;
    assert_int_equal(pipe_ring_init(&r, 16), 0);
    uint64_t before = free_frames();

    assert_int_equal(put(&r, data, 1), 1);
    assert_int_equal(before - free_frames(), 1);
    assert_int_equal(put(&r, data, sizeof(data)), sizeof(data) - 1);
    assert_int_equal(before - free_frames(), 16);
    assert_int_equal(get(&r, data, sizeof(data)), sizeof(data));
    assert_true(before - free_frames() <= 1); /* one is kept for the next byte */
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(put(&r, data, 1), 1);
        assert_int_equal(get(&r, data, 1), 1);
    }
    assert_true(before - free_frames() <= 1);
    pipe_ring_deinit(&r);
    assert_int_equal(free_frames(), before);
}

static void resizing_keeps_the_contents(void **state)
{
    static unsigned char data[16 * 4096];
    static unsigned char out[16 * 4096];
    struct pipe_ring r;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 31 + (i >> 12));
    }
    assert_int_equal(pipe_ring_init(&r, 16), 0);
    assert_int_equal(put(&r, data, 10000), 10000);
    assert_int_equal(get(&r, out, 5000), 5000);
    assert_int_equal(pipe_ring_resize(&r, 1), -EBUSY);
    assert_int_equal(pipe_ring_resize(&r, 2), 0);
    assert_int_equal(pipe_ring_used(&r), 5000);
    assert_int_equal(pipe_ring_resize(&r, 64), 0);
    assert_int_equal(put(&r, data + 10000, sizeof(data) - 10000), sizeof(data) - 10000);
    assert_int_equal(get(&r, out + 5000, sizeof(out)), sizeof(out) - 5000);
    assert_memory_equal(out, data, sizeof(data));
    assert_int_equal(pipe_ring_resize(&r, 1), 0);
    pipe_ring_deinit(&r);
}

/* First and last bytes of a full ring share a page when it does not begin at a page's start. */
static void a_full_unaligned_ring_can_grow(void **state)
{
    static unsigned char data[(size_t)16 * 4096 + 100];
    static unsigned char out[sizeof(data)];
    struct pipe_ring r;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 13 + (i >> 10));
    }
    assert_int_equal(pipe_ring_init(&r, 16), 0);
    assert_int_equal(put(&r, data, (size_t)16 * 4096), (size_t)16 * 4096);
    assert_int_equal(get(&r, out, 100), 100);
    assert_int_equal(put(&r, data + (size_t)16 * 4096, 100), 100);
    assert_int_equal(pipe_ring_resize(&r, 16), -EBUSY);
    assert_int_equal(pipe_ring_resize(&r, 32), 0);
    assert_int_equal(get(&r, out + 100, sizeof(out)), (size_t)16 * 4096);
    assert_memory_equal(out, data, sizeof(data));
    pipe_ring_deinit(&r);
}

static void a_fault_leaves_the_ring_whole(void **state)
{
    struct pipe_ring r;
    struct uio u;
    char byte;

    (void)state;
    assert_int_equal(pipe_ring_init(&r, 16), 0);
    uio_init_user(&u, (void *)USER_MAX, 10); /* not the program's */
    assert_int_equal(pipe_ring_write(&r, &u), -EFAULT);
    assert_int_equal(pipe_ring_used(&r), 0);
    assert_int_equal(put(&r, "x", 1), 1);
    uio_init_user(&u, (void *)USER_MAX, 10);
    assert_int_equal(pipe_ring_read(&r, &u), -EFAULT);
    assert_int_equal(get(&r, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    pipe_ring_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(fills_to_its_capacity_and_no_further),
        cmocka_unit_test(pages_come_when_written_and_go_when_read),
        cmocka_unit_test(resizing_keeps_the_contents),
        cmocka_unit_test(a_full_unaligned_ring_can_grow),
        cmocka_unit_test(a_fault_leaves_the_ring_whole),
    };

    host_machine_create(16 * MIB, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <string.h>
#include <sys/mman.h>

#include <host/host.h>
#include <mm/mm.h>
#include <mm/slab.h>
#include <syscall/uaccess.h>
#include <syscall/uio.h>

static int machine(void **state)
{
    (void)state;
    host_machine_create(UINT64_C(4) << 20, true);
    return 0;
}

static int no_bad_range(void **state)
{
    (void)state;
    host_bad_start = 0;
    host_bad_end = 0;
    return 0;
}

static void vector_in_and_out(void **state)
{
    char a[3] = "abc";
    char b[1] = "d";
    char c[5] = "efghi";
    struct user_iovec vector[] = {
        { (uintptr_t)a, 3 }, { 0, 0 }, { (uintptr_t)b, 1 }, { (uintptr_t)c, 5 }
    };
    struct user_iovec *heap;
    struct uio u;
    char got[16] = { 0 };

    (void)state;
    assert_int_equal(uio_import(&u, vector, 4, &heap), 0);
    assert_int_equal(u.remaining, 9);
    assert_int_equal(uio_copy_in(&u, got, 2), 2);
    assert_int_equal(uio_copy_in(&u, got + 2, 16), 7);
    assert_int_equal(uio_copy_in(&u, got, 16), 0);
    assert_string_equal(got, "abcdefghi");
    kfree(heap);

    assert_int_equal(uio_import(&u, vector, 4, &heap), 0);
    assert_int_equal(uio_copy_out(&u, "12345", 5), 5);
    assert_int_equal(uio_zero_out(&u, 100), 4);
    assert_memory_equal(a, "123", 3);
    assert_memory_equal(b, "4", 1);
    assert_memory_equal(c, "5\0\0\0\0", 5);
    kfree(heap);
}

static void kernel_buffer(void **state)
{
    char buf[4] = "wxyz";
    char got[4];
    struct uio u;

    (void)state;
    uio_init_kernel(&u, buf, sizeof(buf));
    assert_int_equal(uio_copy_in(&u, got, 3), 3);
    assert_memory_equal(got, "wxy", 3);
    assert_int_equal(uio_copy_out(&u, "12", 2), 1);
    assert_memory_equal(buf, "wxy1", 4);
}

static void a_fault_ends_it(void **state)
{
    char buf[10] = { 0 };
    struct uio u;

    (void)state;
    host_bad_start = (uintptr_t)buf + 4;
    host_bad_end = (uintptr_t)buf + 10;
    uio_init_user(&u, buf, sizeof(buf));
    assert_int_equal(uio_copy_out(&u, "0123456789", 10), 4);
    assert_int_equal(uio_copy_out(&u, "0123456789", 10), -EFAULT);
    assert_int_equal(u.remaining, 6);
}

static void refused_vectors(void **state)
{
    static const struct {
        struct user_iovec v[2];
        uint64_t count;
        int err;
    } table[] = {
        { { { 4096, 1 }, { 4096, 1 } }, 1025, -EINVAL },
        { { { 4096, 1 }, { 4096, UINT64_MAX } }, 2, -EINVAL },
        { { { 4096, 1 }, { UINT64_C(1) << 63, 1 } }, 2, -EFAULT },
        { { { USER_MAX - 1, 2 }, { 0, 0 } }, 1, -EFAULT },
    };
    struct user_iovec *heap;
    struct uio u;

    (void)state;
    for (size_t i = 0; i < array_size(table); i++) {
        assert_int_equal(uio_import(&u, table[i].v, table[i].count, &heap), table[i].err);
        assert_null(heap);
    }
    host_bad_start = (uintptr_t)table;
    host_bad_end = host_bad_start + sizeof(table);
    assert_int_equal(uio_import(&u, table, 2, &heap), -EFAULT);
    assert_int_equal(uio_import(&u, table, 1, &heap), -EFAULT);
}

static void long_transfers_are_cut(void **state)
{
    struct user_iovec v[2] = { { 4096, 0x70000000 }, { 4096, 0x70000000 } };
    struct user_iovec *heap;
    struct uio u;

    (void)state;
    assert_int_equal(uio_import(&u, v, 2, &heap), 0);
    assert_int_equal(u.remaining, UIO_MAX_BYTES);
    kfree(heap);
}

static void kernel_addresses_are_refused(void **state)
{
    char buf[8];
    const void *kernel = (const void *)UINT64_C(0xffff888000000000); /* NOLINT */

    (void)state;
    assert_int_equal(copy_from_user(buf, kernel, 1), -EFAULT);
    assert_int_equal(copy_from_user(buf, (const void *)(USER_MAX - 4), 8), -EFAULT); /* NOLINT */
    assert_int_equal(copy_from_user(buf, buf, SIZE_MAX), -EFAULT);
    assert_int_equal(strncpy_from_user(buf, kernel, 8), -EFAULT);
    assert_int_equal(copy_to_user_partial((void *)kernel, buf, 8), 8);
}

static void strings(void **state)
{
    char to[4];

    (void)state;
    assert_int_equal(strncpy_from_user(to, "abc", 4), 3);
    assert_int_equal(strncpy_from_user(to, "abcd", 4), -ENAMETOOLONG);
    assert_int_equal(strncpy_from_user(to, "", 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_in_and_out),
        cmocka_unit_test(kernel_buffer),
        cmocka_unit_test_teardown(a_fault_ends_it, no_bad_range),
        cmocka_unit_test_teardown(refused_vectors, no_bad_range),
        cmocka_unit_test(long_transfers_are_cut),
        cmocka_unit_test(kernel_addresses_are_refused),
        cmocka_unit_test(strings),
    };

    return cmocka_run_group_tests(tests, machine, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Every edge of the range check, and what read-only and unaligned accesses answer. */

#include <test.h>

#include <errno.h>
#include <string.h>

#include "gmem.h"

#define LOW_SIZE  64u
#define ROM_GPA   0x1000u
#define ROM_SIZE  32u
#define HIGH_GPA  (UINT64_MAX - 15)
#define HIGH_SIZE 16u

struct fixture {
    _Alignas(16) uint8_t low[LOW_SIZE];
    _Alignas(16) uint8_t rom[ROM_SIZE];
    _Alignas(16) uint8_t high[HIGH_SIZE];
    struct gmem g;
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->g.regions[0] = (struct gmem_region){ .gpa = 0, .size = LOW_SIZE, .hva = f->low };
    f->g.regions[1] = (struct gmem_region){
        .gpa = ROM_GPA, .size = ROM_SIZE, .hva = f->rom, .is_read_only = true
    };
    f->g.regions[2] = (struct gmem_region){ .gpa = HIGH_GPA, .size = HIGH_SIZE, .hva = f->high };
    f->g.region_count = 3;
}

static void ranges(void **state)
{
    static const struct {
        uint64_t gpa;
        uint64_t size;
        bool is_readable;
        bool is_writable;
    } cases[] = {
        { 0, 1, true, true },
        { 0, LOW_SIZE, true, true },
        { 0, LOW_SIZE + 1, false, false },
        { LOW_SIZE - 1, 1, true, true },
        { LOW_SIZE - 1, 2, false, false },
        { LOW_SIZE, 1, false, false },
        { LOW_SIZE, 0, true, true },
        { 1, UINT64_MAX, false, false },
        { ROM_GPA - 1, 1, false, false },
        { ROM_GPA, ROM_SIZE, true, false },
        { ROM_GPA + ROM_SIZE - 1, 1, true, false },
        { ROM_GPA + ROM_SIZE, 1, false, false },
        { HIGH_GPA, HIGH_SIZE, true, true },
        { HIGH_GPA, HIGH_SIZE + 1, false, false },
        { UINT64_MAX, 1, true, true },
        { UINT64_MAX, 2, false, false },
        { UINT64_MAX, UINT64_MAX, false, false },
    };
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < array_size(cases); i++) {
        gpa_t at = { cases[i].gpa };
        uint64_t size = cases[i].size;

        assert_int_equal(gmem_contains(&f.g, at, size), cases[i].is_readable);
        assert_int_equal(gmem_is_writable(&f.g, at, size), cases[i].is_writable);
        assert_int_equal(gmem_lend(&f.g, at, size, false) != NULL, cases[i].is_readable);
        assert_int_equal(gmem_lend(&f.g, at, size, true) != NULL, cases[i].is_writable);
    }
}

static void copies(void **state)
{
    struct fixture f;
    uint8_t out[8] = { 0 };

    (void)state;
    fixture_init(&f);
    assert_int_equal(gmem_write(&f.g, (gpa_t){ 56 }, "12345678", 8), 0);
    assert_memory_equal(f.low + 56, "12345678", 8);
    assert_int_equal(gmem_read(&f.g, (gpa_t){ 56 }, out, 8), 0);
    assert_memory_equal(out, "12345678", 8);

    /* Refused, and nothing touched. */
    assert_int_equal(gmem_write(&f.g, (gpa_t){ 57 }, "abcdefgh", 8), -EFAULT);
    assert_memory_equal(f.low + 56, "12345678", 8);
    assert_int_equal(gmem_read(&f.g, (gpa_t){ 57 }, out, 8), -EFAULT);
    assert_memory_equal(out, "12345678", 8);
    assert_int_equal(gmem_write(&f.g, (gpa_t){ ROM_GPA }, "x", 1), -EFAULT);
    assert_int_equal(f.rom[0], 0);
    assert_int_equal(gmem_read(&f.g, (gpa_t){ ROM_GPA }, out, 8), 0);
}

static void single_accesses(void **state)
{
    struct fixture f;
    uint16_t value = 7;

    (void)state;
    fixture_init(&f);
    assert_int_equal(gmem_store_release16(&f.g, (gpa_t){ 62 }, 0x1234), 0);
    assert_int_equal(gmem_load_acquire16(&f.g, (gpa_t){ 62 }, &value), 0);
    assert_int_equal(value, 0x1234);
    assert_int_equal(gmem_load_acquire16(&f.g, (gpa_t){ 61 }, &value), -EFAULT);
    assert_int_equal(gmem_load_acquire16(&f.g, (gpa_t){ 64 }, &value), -EFAULT);
    assert_int_equal(gmem_store_release16(&f.g, (gpa_t){ 61 }, 1), -EFAULT);
    assert_int_equal(gmem_store_release16(&f.g, (gpa_t){ ROM_GPA }, 1), -EFAULT);
    assert_int_equal(value, 0x1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(copies),
        cmocka_unit_test(single_accesses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The copy port does what a good request says, and no more than the good part of a bad one. */

#include <test.h>

#include <stdlib.h>
#include <string.h>

#include "abi/boot.h"
#include "devices/copy_port.h"
#include "devices/gmem.h"

#define PAGE  UINT64_C(4096)
#define RAM   (16 * PAGE)
#define IMAGE UINT64_C(0x100000)

static uint8_t ram[RAM];
static uint8_t image[PAGE];
static const struct gmem memory = {
    .regions = { { .gpa = 0, .size = RAM, .hva = ram },
                 { .gpa = IMAGE, .size = PAGE, .hva = image, .is_read_only = true } },
    .region_count = 2,
};
static struct device_host host = { .gmem = &memory };

/* Send the request in page 1; how many entries were done. */
static uint32_t request(const struct boot_copy *r)
{
    struct boot_copy *at = (struct boot_copy *)(ram + PAGE);

    memcpy(at, r, sizeof(*r));
    at->done = 99;
    copy_port_write(&host, 0, 4, 1);
    return at->done;
}

static void fill(void)
{
    for (size_t i = 0; i < RAM; i++) {
        ram[i] = (uint8_t)(i / PAGE);
    }
    memset(image, 0xee, sizeof(image));
}

static void copies_and_clears(void **state)
{
    struct boot_copy r = {
        .count = 3,
        .entries = { { 2 * PAGE, 5 * PAGE }, { BOOT_COPY_ZEROS, 6 * PAGE }, { IMAGE, 7 * PAGE } }
    };

    (void)state;
    fill();
    assert_int_equal(request(&r), 3);
    assert_int_equal(ram[5 * PAGE], 2);
    assert_int_equal(ram[6 * PAGE - 1], 2);
    assert_int_equal(ram[6 * PAGE], 0);
    assert_int_equal(ram[7 * PAGE + 100], 0xee);
    assert_int_equal(ram[8 * PAGE], 8);
}

static void stops_at_the_first_bad_entry(void **state)
{
    static const struct boot_copy_entry bad[] = {
        { 2 * PAGE + 1, 5 * PAGE }, { 2 * PAGE, 5 * PAGE + 8 },
        { RAM, 5 * PAGE },          { UINT64_MAX - 4095, 5 * PAGE },
        { 2 * PAGE, RAM },          { 2 * PAGE, IMAGE },
        { BOOT_COPY_ZEROS, IMAGE }, { 2 * PAGE, UINT64_MAX & ~UINT64_C(4095) },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct boot_copy r = {
            .count = 3, .entries = { { 2 * PAGE, 5 * PAGE }, bad[i], { 3 * PAGE, 6 * PAGE } }
        };

        fill();
        assert_int_equal(request(&r), 1);
        assert_int_equal(ram[5 * PAGE], 2);
        assert_int_equal(ram[6 * PAGE], 6);
        assert_int_equal(image[0], 0xee);
    }
}

static void refuses_what_is_no_request(void **state)
{
    struct boot_copy r = { .count = BOOT_COPY_MAX + 1, .entries = { { 2 * PAGE, 5 * PAGE } } };

    (void)state;
    fill();
    assert_int_equal(request(&r), 0);
    r.count = 0;
    assert_int_equal(request(&r), 0);
    assert_int_equal(ram[5 * PAGE], 5);
    copy_port_write(&host, 0, 4, RAM / PAGE);     /* no RAM there */
    copy_port_write(&host, 0, 4, UINT32_MAX);     /* nor there */
    copy_port_write(&host, 0, 4, RAM / PAGE - 1); /* a page of 15s is a count beyond the limit */
    copy_port_write(&host, 0, 2, 1);
    assert_int_equal(ram[5 * PAGE], 5);
    assert_true(copy_port_read(&host, 0, 4) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_and_clears),
        cmocka_unit_test(stops_at_the_first_bad_entry),
        cmocka_unit_test(refuses_what_is_no_request),
    };

    return cmocka_run_group_tests_name("vmm/copy_port", tests, NULL, NULL);
}

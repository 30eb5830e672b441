/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include <core/boot.h>
#include <host/host.h>
#include <mm/page.h>

#define MIB (UINT64_C(1) << 20)

static bool is_zero(const struct page *p, unsigned order)
{
    const unsigned char *byte = page_address(p);

    for (size_t i = 0; i < PAGE_SIZE << order; i++) {
        if (byte[i] != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t free_frames(void)
{
    struct page_stats s;

    page_stats(&s);
    return s.free;
}

/* Every frame can be had once, none twice, and all come back. */
static void all_frames(uint64_t size, bool ram_is_zero)
{
    enum {
        MAX = 32768
    };
    static struct page *got[MAX];
    unsigned count = 0;

    host_machine_create(size, ram_is_zero);
    uint64_t before = free_frames();

    while (count < MAX) {
        struct page *p = page_alloc(0, GFP_ATOMIC | (count % 3 == 0 ? GFP_ZERO : 0));

        if (!p) {
            break;
        }
        assert_true(count % 3 != 0 || is_zero(p, 0));
        memset(page_address(p), 0x77, PAGE_SIZE);
        assert_ptr_equal(page_of_phys(page_to_phys(p)), p);
        got[count++] = p;
    }
    assert_true(count > size / PAGE_SIZE * 9 / 10);
    assert_true(free_frames() <= before - count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(*(unsigned char *)page_address(got[i]), 0x77); /* nobody else had it */
        page_put(got[i]);
    }
    assert_int_equal(free_frames(), before);
}

static void every_frame_once(void **state)
{
    (void)state;
    all_frames(4 * MIB, true);
    all_frames(4 * MIB, false);
    all_frames(3 * MIB + 0x5000, true);
    all_frames(64 * MIB, true);
}

static void boot_carves_one_chunk(void **state)
{
    (void)state;
    host_machine_create(1024 * MIB, true);
    /* The structure of the last frame was not touched: still what RAM held. */
    assert_null(page_of_phys(512 * MIB));
    assert_true(free_frames() > 1000 * MIB / PAGE_SIZE);
}

static void orders_and_merging(void **state)
{
    struct page *p[PAGE_ORDER_MAX + 1];

    (void)state;
    host_machine_create(64 * MIB, false);
    uint64_t before = free_frames();

    for (unsigned round = 0; round < 50; round++) {
        for (unsigned order = 0; order <= PAGE_ORDER_MAX; order++) {
            p[order] = page_alloc(order, GFP_ZERO);
            assert_non_null(p[order]);
            assert_true(is_aligned(page_to_phys(p[order]), PAGE_SIZE << order));
            assert_true(is_zero(p[order], order));
            memset(page_address(p[order]), 1, PAGE_SIZE << order);
        }
        for (unsigned order = 0; order <= PAGE_ORDER_MAX; order++) {
            page_put(p[order]);
        }
    }
    assert_int_equal(free_frames(), before);
}

static void random_mix_against_a_map(void **state)
{
    enum {
        SLOTS = 300
    };
    static struct page *slot[SLOTS];
    static unsigned order[SLOTS];
    unsigned seed = 12345;

    (void)state;
    host_machine_create(16 * MIB, true);
    uint64_t before = free_frames();

    for (unsigned n = 0; n < 20000; n++) {
        unsigned i = (unsigned)rand_r(&seed) % SLOTS;

        if (slot[i]) {
            unsigned char *bytes = page_address(slot[i]);

            assert_int_equal(bytes[0], (unsigned char)i);
            assert_int_equal(bytes[(PAGE_SIZE << order[i]) - 1], (unsigned char)i);
            page_put(slot[i]);
            slot[i] = NULL;
            continue;
        }
        unsigned gfp = (unsigned)rand_r(&seed) % 2 ? GFP_ZERO : GFP_KERNEL;

        order[i] = (unsigned)rand_r(&seed) % 8 == 0 ? (unsigned)rand_r(&seed) % 5 : 0;
        slot[i] = page_alloc(order[i], gfp);
        if (slot[i]) {
            assert_true(gfp != GFP_ZERO || is_zero(slot[i], order[i]));
            memset(page_address(slot[i]), (int)i, PAGE_SIZE << order[i]);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slot[i]) {
            page_put(slot[i]);
        }
    }
    assert_int_equal(free_frames(), before);
}

static void users_stop_above_the_reserve(void **state)
{
    struct page_stats s;
    unsigned more = 0;

    (void)state;
    host_machine_create(8 * MIB, true);
    while (page_alloc(0, GFP_USER)) {
    }
    page_stats(&s);
    assert_in_range(s.free, s.reserve / 2, s.reserve + 40);
    while (page_alloc(0, GFP_ATOMIC)) {
        more++;
    }
    assert_true(more >= s.reserve / 2);
    page_stats(&s);
    assert_int_equal(s.free, 0);
}

static void ragged_ram(void **state)
{
    struct page *p;

    (void)state;
    host_machine_create(32 * MIB, false);
    boot_info.ram[0] = (struct phys_range){ .start = 0, .size = 0x9f000 };
    boot_info.ram[1] = (struct phys_range){ .start = MIB, .size = 9 * MIB + 0x3000 };
    boot_info.ram[2] = (struct phys_range){ .start = 21 * MIB, .size = 5 * MIB };
    boot_info.ram_count = 3;
    boot_info.ramdisk = (struct phys_range){ .start = 5 * MIB + 5, .size = 100000 };
    page_init();
    uint64_t before = free_frames();

    while ((p = page_alloc(0, GFP_ATOMIC)) != NULL) {
        paddr_t pa = page_to_phys(p);
        bool is_ok = pa < 0x9f000 || (pa >= MIB && pa < 10 * MIB + 0x3000) ||
                     (pa >= 21 * MIB && pa < 26 * MIB);

        assert_true(is_ok);
        assert_false(pa >= 5 * MIB && pa < 5 * MIB + 100005);
        memset(page_address(p), 0, PAGE_SIZE);
    }
    assert_int_equal(page_of_phys(15 * MIB) == NULL, 1);
    assert_true(before > 14 * MIB / PAGE_SIZE);
    page_release_range(boot_info.ramdisk.start, boot_info.ramdisk.size);
    assert_int_equal(free_frames(), 25); /* 5 bytes + 100000 touch that many frames */
}

static void failure_can_be_injected(void **state)
{
    (void)state;
    host_machine_create(8 * MIB, true);
    host_fail_page_alloc = 2;
    assert_non_null(page_alloc(0, GFP_KERNEL));
    assert_null(page_alloc(0, GFP_KERNEL));
    assert_non_null(page_alloc(0, GFP_KERNEL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_once),
        cmocka_unit_test(boot_carves_one_chunk),
        cmocka_unit_test(orders_and_merging),
        cmocka_unit_test(random_mix_against_a_map),
        cmocka_unit_test(users_stop_above_the_reserve),
        cmocka_unit_test(ragged_ram),
        cmocka_unit_test(failure_can_be_injected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

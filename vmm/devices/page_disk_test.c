/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of compressed pages, against a plain array. */
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "page_disk.h"

#define PAGE  ((size_t)PAGE_DISK_PAGE_SIZE)
#define PAGES 64u

static uint32_t random_state = 12345;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void fill_noise(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)next_random();
    }
}

static struct page_disk *new_disk(uint64_t pages, uint64_t memory_max)
{
    struct page_disk *d = NULL;

    assert_int_equal(page_disk_create(pages * PAGE, memory_max, &d), 0);
    return d;
}

static void test_limits(void **state)
{
    struct page_disk *d = NULL;

    (void)state;
    assert_int_equal(page_disk_create(0, 1, &d), -EINVAL);
    assert_int_equal(page_disk_create(PAGE + 512, 1, &d), -EINVAL);
    assert_int_equal(page_disk_create(PAGE_DISK_SIZE_MAX + PAGE, 1, &d), -EINVAL);
    /* The largest one costs nothing while it is empty. */
    d = new_disk(PAGE_DISK_SIZE_MAX / PAGE, 1 << 20);
    assert_int_equal(page_disk_size(d), PAGE_DISK_SIZE_MAX);
    page_disk_destroy(d);
}

static void test_sharing(void **state)
{
    struct page_disk *d = new_disk(PAGES, 1 << 20);
    struct page_disk_stats s;
    uint8_t noise[PAGE];
    uint8_t zeros[PAGE] = { 0 };
    uint8_t text[PAGE];

    (void)state;
    fill_noise(noise, sizeof(noise));
    memset(text, 'x', sizeof(text));
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(page_disk_write(d, i * PAGE, noise, PAGE), 0);
        assert_int_equal(page_disk_write(d, (10 + i) * PAGE, text, PAGE), 0);
        assert_int_equal(page_disk_write(d, (20 + i) * PAGE, zeros, PAGE), 0);
    }
    page_disk_stats(d, &s);
    assert_int_equal(s.used_pages, 20);
    assert_int_equal(s.stored_pages, 2);
    assert_true(s.stored_bytes > PAGE && s.stored_bytes < PAGE + 64);
    /* One of the ten changes: the other nine keep theirs. */
    assert_int_equal(page_disk_write(d, 5 * PAGE + 7, "y", 1), 0);
    page_disk_stats(d, &s);
    assert_int_equal(s.stored_pages, 3);
    assert_int_equal(page_disk_clear(d, 0, 30 * PAGE), 0);
    page_disk_stats(d, &s);
    assert_int_equal(s.used_pages, 0);
    assert_int_equal(s.stored_pages, 0);
    assert_int_equal(s.stored_bytes, 0);
    page_disk_destroy(d);
}

static void test_memory_limit(void **state)
{
    struct page_disk *d = new_disk(PAGES, 3 * PAGE);
    uint8_t noise[PAGE];
    uint8_t got[PAGE];

    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        fill_noise(noise, sizeof(noise));
        assert_int_equal(page_disk_write(d, i * PAGE, noise, PAGE), 0);
    }
    assert_int_equal(page_disk_write(d, 10 * PAGE, noise, PAGE), 0); /* it has that one */
    noise[0] ^= 1;
    assert_int_equal(page_disk_write(d, 2 * PAGE, noise, PAGE), -ENOSPC);
    page_disk_read(d, 2 * PAGE, got, PAGE);
    noise[0] ^= 1;
    assert_memory_equal(got, noise, PAGE); /* as it was */
    assert_int_equal(page_disk_clear(d, 0, PAGE), 0);
    fill_noise(noise, sizeof(noise));
    assert_int_equal(page_disk_write(d, 11 * PAGE, noise, PAGE), 0);
    page_disk_destroy(d);
}

/* Any sequence of reads, writes and clears of any place and size. */
static void test_model(void **state)
{
    static uint8_t model[PAGES * PAGE];
    static uint8_t got[PAGES * PAGE];
    static uint8_t noise[8][PAGE];
    struct page_disk *d = new_disk(PAGES, PAGES * PAGE);
    struct page_disk_stats s;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        fill_noise(noise[i], i < 4 ? PAGE : PAGE / 8);
    }
    for (unsigned round = 0; round < 4000; round++) {
        uint64_t offset = next_random() % sizeof(model);
        uint64_t size = next_random() % (3 * PAGE) + 1;

        if (round % 2 == 0) {
            offset &= ~(uint64_t)(PAGE - 1);
            size = PAGE;
        }
        size = size < sizeof(model) - offset ? size : sizeof(model) - offset;
        switch (next_random() % 4) {
        case 0:
            assert_int_equal(page_disk_clear(d, offset, size), 0);
            memset(model + offset, 0, size);
            break;
        case 1:
            page_disk_read(d, offset, got, size);
            assert_memory_equal(got, model + offset, size);
            break;
        default: {
            const uint8_t *from = noise[next_random() % 8];
            size_t part = size < PAGE ? size : PAGE;

            assert_int_equal(page_disk_write(d, offset, from, part), 0);
            memcpy(model + offset, from, part);
            break;
        }
        }
    }
    page_disk_read(d, 0, got, sizeof(got));
    assert_memory_equal(got, model, sizeof(model));
    assert_int_equal(page_disk_clear(d, 0, sizeof(model)), 0);
    page_disk_stats(d, &s);
    assert_int_equal(s.stored_bytes, 0);
    page_disk_destroy(d);
}

/* More blocks than the table began with. */
static void test_growth(void **state)
{
    enum {
        MANY = 5000
    };
    struct page_disk *d = new_disk(MANY, (uint64_t)MANY * PAGE);
    uint8_t page[PAGE] = { 0 };
    struct page_disk_stats s;

    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        memcpy(page, &(uint32_t){ i + 1 }, sizeof(uint32_t));
        assert_int_equal(page_disk_write(d, (uint64_t)i * PAGE, page, PAGE), 0);
    }
    page_disk_stats(d, &s);
    assert_int_equal(s.stored_pages, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t first = 0;

        page_disk_read(d, (uint64_t)i * PAGE, &first, sizeof(first));
        assert_int_equal(first, i + 1);
    }
    page_disk_destroy(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_memory_limit), cmocka_unit_test(test_model),
        cmocka_unit_test(test_growth),
    };

    return cmocka_run_group_tests_name("page_disk", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include <host/host.h>
#include <mm/slab.h>

#define MIB (UINT64_C(1) << 20)

struct odd {
    char bytes[136];
};

static struct slab_cache odd_cache = SLAB_CACHE("odd", struct odd);

static uint64_t free_frames(void)
{
    struct page_stats s;

    page_stats(&s);
    return s.free;
}

static void objects_do_not_overlap(void **state)
{
    enum {
        COUNT = 1000
    };
    static struct odd *got[COUNT];
    unsigned seed = 7;

    (void)state;
    for (unsigned n = 0; n < 20000; n++) {
        unsigned i = (unsigned)rand_r(&seed) % COUNT;

        if (got[i]) {
            for (size_t b = 0; b < sizeof(got[i]->bytes); b++) {
                assert_int_equal(got[i]->bytes[b], (char)i);
            }
            slab_free(&odd_cache, got[i]);
            got[i] = NULL;
        } else {
            got[i] = slab_alloc(&odd_cache, GFP_KERNEL);
            assert_non_null(got[i]);
            memset(got[i], (int)i, sizeof(*got[i]));
        }
    }
    for (unsigned i = 0; i < COUNT; i++) {
        slab_free(&odd_cache, got[i]);
    }
    assert_true(odd_cache.slabs_count <= MAGAZINE_SIZE + 1); /* each may be of another slab */
}

static void sizes(void **state)
{
    static const size_t size[] = {
        1, 8, 16, 17, 100, 256, 257, 2047, 2048, 2049, 4096, 4097, 65536
    };

    (void)state;
    for (size_t i = 0; i < array_size(size); i++) {
        char *p = kmalloc(size[i], GFP_ZERO);
        char *q = kmalloc(size[i], GFP_KERNEL);

        assert_non_null(p);
        assert_non_null(q);
        assert_true(is_aligned((uintptr_t)p, 8));
        for (size_t b = 0; b < size[i]; b++) {
            assert_int_equal(p[b], 0);
        }
        memset(p, 1, size[i]);
        memset(q, 2, size[i]);
        assert_int_equal(p[size[i] - 1], 1);
        kfree(p);
        assert_int_equal(q[0], 2);
        kfree(q);
    }
    kfree(NULL);
}

static void refusals(void **state)
{
    (void)state;
    assert_null(kmalloc(UINT64_C(1) << 40, GFP_KERNEL)); /* NOLINT(clang-analyzer-unix.Malloc) */
    assert_null(kmalloc_array(SIZE_MAX / 2, 3, GFP_KERNEL));
}

static void memory_runs_out_and_comes_back(void **state)
{
    enum {
        COUNT = 6000
    };

    static void *got[COUNT];
    unsigned count = 0;
    uint64_t before = free_frames();

    (void)state;
    while (count < COUNT && (got[count] = kmalloc(1024, GFP_KERNEL)) != NULL) {
        count++;
    }
    assert_in_range(count, 2000, COUNT - 1);
    while (count > 0) {
        kfree(got[--count]);
    }
    assert_true(free_frames() + 8 >= before);
}

static void strings(void **state)
{
    char *copy = kstrdup("hello", GFP_KERNEL);

    (void)state;
    assert_string_equal(copy, "hello");
    kfree(copy);
}

static int machine(void **state)
{
    (void)state;
    host_machine_create(4 * MIB, true);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_do_not_overlap),
        cmocka_unit_test(sizes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(memory_runs_out_and_comes_back),
        cmocka_unit_test(strings),
    };

    return cmocka_run_group_tests(tests, machine, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <stdlib.h>

#include <host/host.h>
#include <mm/mapping.h>

static int machine(void **state)
{
    (void)state;
    host_machine_create(UINT64_C(64) << 20, true);
    return 0;
}

static const struct mapping_ops no_ops = { .get = NULL };

static struct page *put_at(struct mapping *m, uint64_t index)
{
    struct page *p = page_alloc(0, GFP_KERNEL);

    assert_non_null(p);
    assert_int_equal(mapping_insert(m, index, p), 0);
    page_put(p); /* the cache's reference is left */
    return p;
}

static void far_and_near(void **state)
{
    static const uint64_t index[] = {
        5, 0, 63, 64, 4095, 4096, 1u << 20, UINT64_C(1) << 40, (UINT64_C(1) << 54) - 1, 6
    };
    struct mapping m;

    (void)state;
    mapping_init(&m, &no_ops, NULL);
    for (size_t i = 0; i < array_size(index); i++) {
        struct page *p = put_at(&m, index[i]);
        struct page *found = mapping_lookup(&m, index[i]);

        assert_ptr_equal(found, p);
        assert_int_equal(found->refcount, 2);
        page_put(found);
    }
    assert_int_equal(m.page_count, array_size(index));
    assert_null(mapping_lookup(&m, 1));
    assert_null(mapping_lookup(&m, UINT64_MAX));
    assert_int_equal(mapping_next(&m, 0), 0);
    assert_int_equal(mapping_next(&m, 7), 63);
    assert_int_equal(mapping_next(&m, 4097), 1u << 20);
    assert_int_equal(mapping_next(&m, (UINT64_C(1) << 40) + 1), (UINT64_C(1) << 54) - 1);
    assert_int_equal(mapping_next(&m, UINT64_C(1) << 54), UINT64_MAX);
    mapping_drop(&m, 1, 64);
    assert_int_equal(mapping_next(&m, 1), 4095);
    mapping_drop(&m, 0, UINT64_MAX);
    assert_int_equal(m.page_count, 0);
    assert_null(m.pages.root);
}

static void refusals(void **state)
{
    struct mapping m;
    struct page *p = page_alloc(0, GFP_KERNEL);

    (void)state;
    mapping_init(&m, &no_ops, NULL);
    put_at(&m, 9);
    assert_int_equal(mapping_insert(&m, 9, p), -EEXIST);
    assert_int_equal(mapping_insert(&m, UINT64_C(1) << 54, p), -EFBIG);
    assert_int_equal(p->refcount, 1);
    page_put(p);
    mapping_drop(&m, 0, UINT64_MAX);
}

static void against_a_map(void **state)
{
    enum {
        SPAN = 5000
    };

    static bool is_there[SPAN];
    struct mapping m;
    unsigned seed = 99;

    (void)state;
    mapping_init(&m, &no_ops, NULL);
    for (unsigned step = 0; step < 30000; step++) {
        uint64_t i = (uint64_t)rand_r(&seed) % SPAN;

        if (rand_r(&seed) % 3 == 0) {
            uint64_t n = (uint64_t)rand_r(&seed) % 20;

            mapping_drop(&m, i, n);
            for (uint64_t k = i; k < i + n && k < SPAN; k++) {
                is_there[k] = false;
            }
        } else if (!is_there[i]) {
            put_at(&m, i);
            is_there[i] = true;
        }
        if (step % 100 == 0) {
            uint64_t next = mapping_next(&m, i);
            uint64_t want = i;

            while (want < SPAN && !is_there[want]) {
                want++;
            }
            assert_int_equal(next, want == SPAN ? UINT64_MAX : want);
        }
    }
    mapping_drop(&m, 0, UINT64_MAX);
    assert_null(m.pages.root);
}

static void shared_anonymous(void **state)
{
    struct mapping *m = mapping_create_anon();
    struct frame a;
    struct frame b;

    (void)state;
    assert_int_equal(m->ops->get(m, 3, MAPPING_RESIDENT, &a), -EAGAIN);
    assert_int_equal(m->ops->get(m, 3, MAPPING_READ, &a), 0);
    assert_int_equal(m->ops->get(m, 3, MAPPING_WRITE, &b), 0);
    assert_ptr_equal(a.page, b.page);
    page_put(a.page);
    page_put(b.page);
    mapping_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_and_near),
        cmocka_unit_test(refusals),
        cmocka_unit_test(against_a_map),
        cmocka_unit_test(shared_anonymous),
    };

    return cmocka_run_group_tests(tests, machine, NULL);
}

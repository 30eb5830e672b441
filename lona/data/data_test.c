/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps, sets and vectors against a plain array as the model, with a collection at every allocation,
 * and the collector over the graphs that this makes.
 */
#include <stdio.h>
#include <string.h>

#include <test.h>

#include "data/data.h"
#include "gc/memory.h"
#include "native.h"
#include "number/number.h"
#include "process/table.h"
#include "vm.h"

struct fixture {
    struct vm *vm;
    struct process *p;
    uint64_t random;
};

static int setup(void **state)
{
    static struct fixture f;
    const char *error;
    struct vm_options o = {
        .platform = platform_posix(), .workers = 1, .without_library = true, .seed = 7
    };
    const struct spawn_options so = { .priority = 100, .name = TERM_NIL };
    term_t kind;

    f.vm = vm_create(&o, &error);
    assert_non_null(f.vm);
    f.p = process_make(&f.vm->outside, f.vm->body_loop, &so, NULL, &kind);
    assert_non_null(f.p);
    f.random = 88172645463325252u;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    process_drop(&f->vm->outside, f->p);
    vm_destroy(f->vm);
    return 0;
}

static uint64_t next(struct fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

enum {
    KEYS = 300
};

/* Key i as a term: integers, strings, tuples, so that hashing and equality of boxed keys are used
 * too. */
static term_t make_key(struct process *p, size_t i)
{
    char text[32];
    term_t *e;
    term_t t;

    switch (i % 3) {
    case 0:
        return term_small((int64_t)i * 7919);
    case 1:
        (void)snprintf(text, sizeof(text), "key-%zu", i);
        return heap_string(p, text, strlen(text));
    default:
        assert_true(heap_reserve(p, TUPLE_WORDS(2)));
        t = heap_tuple(p, 2, &e);
        e[0] = term_small((int64_t)i);
        e[1] = TERM_NIL;
        return t;
    }
}

static void maps_agree_with_a_model(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;
    int64_t model[KEYS];
    size_t count = 0;
    term_t m = map_empty(f->vm);
    term_t s = set_empty(f->vm);
    term_t k = TERM_NIL;
    struct root roots[3];

    for (size_t i = 0; i < KEYS; i++) {
        model[i] = -1;
    }
    root_push(p, &roots[0], &m);
    root_push(p, &roots[1], &s);
    root_push(p, &roots[2], &k);
    f->vm->gc_stress = true;
    for (int step = 0; step < 4000; step++) {
        size_t i = next(f) % KEYS;
        int64_t v = (int64_t)(next(f) % 1000000);
        term_t value = term_small(v);

        k = make_key(p, i);
        if (next(f) % 3 != 0) {
            m = map_put(p, &m, &k, &value);
            s = set_add(p, &s, &k);
            count += model[i] < 0;
            model[i] = v;
        } else {
            m = map_remove(p, &m, &k);
            s = set_remove(p, &s, &k);
            count -= model[i] >= 0;
            model[i] = -1;
        }
        assert_int_equal(map_count(m), count);
        assert_int_equal(set_count(s), count);
        if (step % 97 == 0) {
            size_t seen = 0;
            struct map_cursor c;

            for (size_t j = 0; j < KEYS; j++) {
                k = make_key(p, j);
                term_t got = map_get(p, m, k);

                assert_int_equal(got, model[j] < 0 ? TERM_HOLE : term_small(model[j]));
                assert_int_equal(set_get(p, s, k) != TERM_HOLE, model[j] >= 0);
            }
            for (map_first(&c, m); !c.done; map_next(&c)) {
                seen++;
            }
            assert_int_equal(seen, count);
            heap_verify(p);
        }
    }
    /* The same entries in another order make an equal map with an equal hash. */
    term_t other = map_empty(f->vm);
    struct root r;

    root_push(p, &r, &other);
    for (size_t i = KEYS; i-- > 0;) {
        if (model[i] >= 0) {
            term_t value = term_small(model[i]);

            k = make_key(p, i);
            other = map_put(p, &other, &k, &value);
        }
    }
    assert_true(term_equal(p, m, other));
    assert_int_equal(term_hash(f->vm, m), term_hash(f->vm, other));
    f->vm->gc_stress = false;
    for (int i = 0; i < 4; i++) {
        p->roots = NULL;
    }
}

static void vectors_grow(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;
    term_t v = vector_empty(f->vm);
    struct root r;

    root_push(p, &r, &v);
    for (size_t i = 0; i < 40000; i++) {
        term_t x = term_small((int64_t)i);

        f->vm->gc_stress = i < 1200;
        v = vector_append(p, &v, &x);
        assert_int_equal(vector_count(v), i + 1);
    }
    for (size_t i = 0; i < 40000; i++) {
        assert_int_equal(vector_get(v, i), term_small((int64_t)i));
    }
    assert_true(heap_collect(p, true));
    heap_verify(p);
    assert_int_equal(vector_get(v, 39999), term_small(39999));
    root_pop(p, &r);
}

/* Long lists, deep nesting and sharing survive collections and deep copies. */
static void graphs_are_copied(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;
    term_t list = TERM_EMPTY;
    term_t deep = TERM_NIL;
    struct root roots[2];

    root_push(p, &roots[0], &list);
    root_push(p, &roots[1], &deep);
    for (int64_t i = 0; i < 100000; i++) {
        assert_true(heap_reserve(p, PAIR_WORDS));
        list = heap_pair(p, term_small(i), list);
        if (i % 10 == 0) {
            term_t *e;

            assert_true(heap_reserve(p, TUPLE_WORDS(2)));
            term_t t = heap_tuple(p, 2, &e);

            e[0] = deep;
            e[1] = deep; /* 2^10000 paths: only sharing makes this finite */
            deep = i % 1000 == 0 ? TERM_NIL : t;
        }
    }
    for (int round = 0; round < 3; round++) {
        assert_true(heap_collect(p, round == 1));
        heap_verify(p);
        assert_int_equal(list_length(list), 100000);
    }
    term_t kind;
    term_t copy = realm_copy_for(p, list, &kind);

    assert_int_not_equal(copy, TERM_ERROR);
    assert_true(term_equal(p, copy, list));
    heap_verify(p);
    copy = realm_copy_for(p, deep, &kind);
    assert_int_not_equal(copy, TERM_ERROR);
    root_pop(p, &roots[1]);
    root_pop(p, &roots[0]);
    assert_true(heap_collect(p, true));
}

static void binaries_are_counted(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;
    size_t before = f->vm->shared_binary_bytes;
    uint8_t *bytes;
    term_t b = heap_binary_new(p, 1 << 20, &bytes);
    struct root r;

    memset(bytes, 7, 1 << 20);
    root_push(p, &r, &b);
    term_t slice = heap_binary_slice(p, &b, 100, 1000);

    b = slice;
    assert_true(heap_collect(p, true));
    assert_int_equal(binary_view(b).size, 1000);
    assert_int_equal(binary_view(b).data[999], 7);
    assert_true(f->vm->shared_binary_bytes > before);
    b = TERM_NIL;
    assert_true(heap_collect(p, true));
    assert_int_equal(f->vm->shared_binary_bytes, before);
    root_pop(p, &r);
}

/* (a op b) against values worked out with 128-bit arithmetic, and identities on large numbers. */
static void integers_are_exact(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;
    term_t s[4] = { TERM_NIL, TERM_NIL, TERM_NIL, TERM_NIL };
    struct root roots[4];

    for (int i = 0; i < 4; i++) {
        root_push(p, &roots[i], &s[i]);
    }
    f->vm->gc_stress = true;
    for (int i = 0; i < 2000; i++) {
        int64_t x = (int64_t)next(f) >> (next(f) % 64);
        int64_t y = (int64_t)next(f) >> (next(f) % 64);

        s[0] = integer_from_i64(p, x);
        s[1] = integer_from_i64(p, y);
        int64_t back;

        assert_true(integer_to_i64(s[0], &back) && back == x);
        /* (x + y) - y = x; (x * y) quot y = x; x = quot * y + rem */
        s[2] = number_add(p, &s[0], &s[1]);
        s[2] = number_sub(p, &s[2], &s[1]);
        assert_true(term_equal(p, s[2], s[0]));
        if (y != 0) {
            s[2] = number_mul(p, &s[0], &s[1]);
            s[2] = number_mul(p, &s[2], &s[1]);
            s[3] = number_quot(p, &s[2], &s[1]);
            s[3] = number_quot(p, &s[3], &s[1]);
            assert_true(term_equal(p, s[3], s[0]));
            s[2] = number_quot(p, &s[0], &s[1]);
            s[3] = number_rem(p, &s[0], &s[1]);
            s[2] = number_mul(p, &s[2], &s[1]);
            s[2] = number_add(p, &s[2], &s[3]);
            assert_true(term_equal(p, s[2], s[0]));
            s[2] = number_div(p, &s[0], &s[1]);
            s[2] = number_mul(p, &s[2], &s[1]);
            assert_true(term_equal(p, s[2], s[0]));
            assert_int_equal(term_hash(f->vm, s[2]), term_hash(f->vm, s[0]));
        }
        assert_int_equal(number_compare(s[0], s[1]), (x > y) - (x < y));
    }
    f->vm->gc_stress = false;
    p->roots = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(maps_agree_with_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(vectors_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(graphs_are_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(binaries_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(integers_are_exact, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

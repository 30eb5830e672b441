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
#include "reader/reader.h"
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

/* (make x) nested `levels` deep in lists, tuples, vectors, maps or sets. */
static term_t nest(struct process *p, unsigned kind, unsigned levels, term_t x)
{
    for (unsigned i = 0; i < levels; i++) {
        term_t pair[2] = { x, term_small(1) };
        term_t *e;

        assert_true(heap_reserve(p, 8));
        switch (kind) {
        case 0:
            x = heap_pair(p, x, TERM_EMPTY);
            break;
        case 1:
            x = heap_tuple(p, 1, &e);
            e[0] = pair[0];
            break;
        case 2:
            x = vector_from_array(p, pair, 1);
            break;
        case 3:
            x = map_from_array(p, pair, 1);
            break;
        default:
            x = set_from_array(p, pair, 1);
            break;
        }
        assert_int_not_equal(x, TERM_ERROR);
    }
    return x;
}

static void depth_is_no_limit(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;

    heap_inhibit_gc(p);
    for (unsigned kind = 0; kind < 5; kind++) {
        term_t a = nest(p, kind, 100000, term_small(7));
        term_t b = nest(p, kind, 100000, term_small(7));
        term_t other = nest(p, kind, 100000, term_small(8));

        assert_true(term_equal(p, a, b));
        assert_false(term_equal(p, a, other));
        assert_int_equal(term_hash(f->vm, a), term_hash(f->vm, b));
        assert_int_equal(term_compare(f->vm, a, b), -2);
    }
    heap_permit_gc(p);
}

/* Keys that differ below what is hashed collide: found, replaced, removed, compared all the same.
 */
static void colliding_keys_are_kept_apart(void **state)
{
    enum {
        COUNT = 40
    };
    struct fixture *f = *state;
    struct process *p = f->p;
    term_t m = map_empty(f->vm);
    term_t s = set_empty(f->vm);
    term_t back = map_empty(f->vm);
    term_t keys[COUNT];

    heap_inhibit_gc(p);
    for (unsigned i = 0; i < COUNT; i++) {
        term_t v = term_small(i);

        keys[i] = nest(p, i % 2, 60, v);
        m = map_put(p, &m, &keys[i], &v);
        m = map_put(p, &m, &keys[i], &v);
        s = set_add(p, &s, &keys[i]);
        assert_int_equal(map_count(m), i + 1);
        assert_int_equal(set_count(s), i + 1);
    }
    for (unsigned i = COUNT; i-- > 0;) {
        term_t v = term_small(i);
        term_t key = nest(p, i % 2, 60, v);

        assert_int_equal(map_get(p, m, key), v);
        assert_int_not_equal(set_get(p, s, key), TERM_HOLE);
        back = map_put(p, &back, &key, &v);
    }
    assert_true(term_equal(p, m, back));
    assert_int_equal(map_get(p, m, nest(p, 0, 60, term_small(COUNT))), TERM_HOLE);
    for (unsigned i = 0; i < COUNT; i++) {
        m = map_remove(p, &m, &keys[i]);
        assert_int_equal(map_count(m), COUNT - 1 - i);
        assert_int_equal(map_get(p, m, keys[i]), TERM_HOLE);
    }
    heap_permit_gc(p);
}

static term_t read_term(struct process *p, const char *text)
{
    struct reader *r = reader_create(p, text, strlen(text), "t");
    term_t t;

    assert_non_null(r);
    assert_int_equal(reader_next(r, &t), READ_FORM);
    reader_destroy(r);
    return t;
}

static void equality_hash_and_order(void **state)
{
    static const struct {
        const char *a, *b;
        int order; /* -2: none */
        bool equal;
    } cases[] = {
        { "1", "2", -1, false },
        { "2", "1", 1, false },
        { "1", "1u8", 0, true },
        { "255u8", "255i64", 0, true },
        { "1", "1.0", 0, false },
        { "18446744073709551615u64", "18446744073709551615", 0, true },
        { "123456789012345678901", "123456789012345678901", 0, true },
        { "123456789012345678901", "-123456789012345678901", 1, false },
        { "1/2", "2/4", 0, true },
        { "1/2", "1/3", 1, false },
        { "1.5", "1.5f32", 0, true },
        { "0.0", "-0.0", 0, true },
        { "##NaN", "##NaN", -2, false },
        { "##NaN", "1", -2, false },
        { "\\a", "\\b", -1, false },
        { "\\a", "\\a", 0, true },
        { ":a", ":b", -1, false },
        { ":ab", ":a", 1, false },
        { "a", "b", -1, false },
        { "^:m a", "a", 0, true },
        { "a", "^:m b", -1, false },
        { "^:m a", "5", -2, false },
        { "\"a\"", "\"b\"", -1, false },
        { "\"abcdefghijklmnop\"", "\"abcdefghijklmnop\"", 0, true },
        { "\"a\"", "\"ab\"", -1, false },
        { "true", "false", 1, false },
        { "nil", "nil", 0, true },
        { "nil", "false", -2, false },
        { "(1 2)", "(1 2)", 0, true },
        { "(1 2)", "(1 3)", -1, false },
        { "(1 2)", "(1)", 1, false },
        { "()", "(1)", -1, false },
        { "(1)", "5", -2, false },
        { "[1 2]", "[1 2]", 0, true },
        { "[1 2]", "[1 3]", -1, false },
        { "[1]", "[1 0]", -1, false },
        { "{1 2}", "{1 2}", 0, true },
        { "{2}", "{1 2}", 1, false },
        { "[1]", "{1}", -2, false },
        { "[:a 1]", "[5 1]", -2, false },
        { "%{:a 1}", "%{:a 1}", -2, true },
        { "%{:a 1}", "%{:a 2}", -2, false },
        { "%{:a 1}", "%{:b 1}", -2, false },
        { "%{:a 1}", "%{:a 1 :b 2}", -2, false },
        { "%{[1] 1 [2] 2}", "%{[2] 2 [1] 1}", -2, true },
        { "%{[1] 1}", "%{{1} 1}", -2, false },
        { "#{1 2}", "#{2 1}", -2, true },
        { "#{[1] (2)}", "#{(2) [1]}", -2, true },
        { "#{[1] (2)}", "#{(3) [1]}", -2, false },
        { "#{1 2}", "%{1 2}", -2, false },
        { "#bytes[1 2]", "#bytes[1 2]", -2, true },
        { "#bytes[1 2]", "#bytes[1 3]", -2, false },
        { "\"a\"", ":a", -2, false },
        { "((1 (2)) ((3)))", "((1 (2)) ((3)))", 0, true },
        { "((1 (2)) ((3)))", "((1 (2)) ((4)))", -1, false },
    };
    struct fixture *f = *state;
    struct process *p = f->p;

    heap_inhibit_gc(p);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        term_t a = read_term(p, cases[i].a);
        term_t b = read_term(p, cases[i].b);
        int order = cases[i].order;

        if (term_equal(p, a, b) != cases[i].equal || term_equal(p, b, a) != cases[i].equal ||
            term_equal(NULL, a, b) != cases[i].equal) {
            fail_msg("%s = %s", cases[i].a, cases[i].b);
        }
        if (cases[i].equal && term_hash(f->vm, a) != term_hash(f->vm, b)) {
            fail_msg("hashes of %s and %s", cases[i].a, cases[i].b);
        }
        if (term_compare(f->vm, a, b) != order ||
            term_compare(f->vm, b, a) != (order == -2 ? -2 : -order)) {
            fail_msg("order of %s and %s: %d", cases[i].a, cases[i].b, term_compare(f->vm, a, b));
        }
    }
    /* More than fits the list on the stack. */
    static const char item[] = "(1 [2] 3)";
    char wide[4096] = "(";
    size_t n = 1;

    for (int i = 0; i < 200; i++, n += sizeof(item) - 1) {
        memcpy(wide + n, item, sizeof(item));
    }
    memcpy(wide + n, ")", 2);
    assert_true(term_equal(p, read_term(p, wide), read_term(p, wide)));
    wide[0] = '[';
    wide[strlen(wide) - 1] = ']';
    assert_true(term_equal(p, read_term(p, wide), read_term(p, wide)));
    heap_permit_gc(p);
}

/* A value in which each level holds the one below twice: as a tree it would be endless. */
static term_t doubled(struct process *p, unsigned kind, unsigned levels)
{
    term_t x = term_small(1);

    for (unsigned i = 0; i < levels; i++) {
        term_t pair[4] = { term_small(0), x, term_small(1), x };
        term_t *e;

        assert_true(heap_reserve(p, 8));
        switch (kind) {
        case 0:
            x = heap_pair(p, x, heap_pair(p, x, TERM_EMPTY));
            break;
        case 1:
            x = heap_tuple(p, 2, &e);
            e[0] = pair[1];
            e[1] = pair[1];
            break;
        case 2:
            pair[0] = x;
            x = vector_from_array(p, pair, 2);
            break;
        default:
            x = map_from_array(p, pair, 2);
            break;
        }
        assert_int_not_equal(x, TERM_ERROR);
    }
    return x;
}

static void shared_parts_are_walked_once(void **state)
{
    struct fixture *f = *state;
    struct process *p = f->p;

    heap_inhibit_gc(p);
    for (unsigned kind = 0; kind < 4; kind++) {
        term_t a = doubled(p, kind, 3000);
        term_t b = doubled(p, kind, 3000);

        assert_true(term_equal(p, a, b));
        assert_int_equal(term_hash(f->vm, a), term_hash(f->vm, b));
        assert_false(term_equal(p, a, doubled(p, kind, 2999)));
    }
    heap_permit_gc(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(maps_agree_with_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(vectors_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(graphs_are_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(binaries_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(integers_are_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_is_no_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(colliding_keys_are_kept_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(equality_hash_and_order, setup, teardown),
        cmocka_unit_test_setup_teardown(shared_parts_are_walked_once, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Text to terms and back: what reads, what is refused and where, how it prints. */
#include <string.h>

#include <test.h>

#include "data/data.h"
#include "native.h"
#include "process/table.h"
#include "reader/printer.h"
#include "reader/reader.h"
#include "vm.h"
#include "vm_state.h"

struct fixture {
    struct vm *vm;
    struct process *p;
};

static void open_fixture(struct fixture *f)
{
    const struct vm_options vm_options = {
        .platform = platform_posix(), .workers = 1, .without_library = true, .seed = 7
    };
    const struct spawn_options o = { .priority = 100, .name = TERM_NIL };
    const char *error;
    term_t reason;

    f->vm = vm_create(&vm_options, &error);
    assert_non_null(f->vm);
    f->p = process_make(&f->vm->outside, term_native(0), &o, NULL, &reason);
    assert_non_null(f->p);
    heap_inhibit_gc(f->p);
}

static void close_fixture(struct fixture *f)
{
    heap_permit_gc(f->p);
    process_drop(&f->vm->outside, f->p);
    vm_destroy(f->vm);
}

struct text {
    char bytes[4096];
    size_t size;
};

static void collect(void *arg, const char *bytes, size_t n)
{
    struct text *t = arg;

    assert_true(t->size + n < sizeof(t->bytes));
    memcpy(t->bytes + t->size, bytes, n);
    t->size += n;
    t->bytes[t->size] = '\0';
}

static void assert_prints(struct fixture *f, term_t t, const char *expected)
{
    struct text out = { .size = 0 };

    term_print(f->vm, t, NULL, collect, &out);
    assert_string_equal(out.bytes, expected);
}

/* ---- what reads, and how it prints ---- */

static const struct {
    const char *text;
    const char *printed;
} readable[] = {
    { "nil", "nil" },
    { "-250", "-250" },
    { "+7", "7" },
    { "1_024", "1024" },
    { "0x2A", "42" },
    { "0o17", "15" },
    { "0b110", "6" },
    { "36rZz", "1295" },
    { "42N", "42" },
    { "200u8", "200u8" },
    { "-128i8", "-128i8" },
    { "0x80u8", "128u8" },
    { "18446744073709551615u64", "18446744073709551615u64" },
    { "123456789012345678901", "123456789012345678901N" },
    { "576460752303423488", "576460752303423488N" },
    { "9/12", "3/4" },
    { "-8/4", "-2" },
    { "1e3", "1000.0" },
    { "0.5f32", "0.5f32" },
    { "2.5f64", "2.5" },
    { "-0.0", "-0.0" },
    { "##Inf ", "##Inf" },
    { "##-Inf", "##-Inf" },
    { "##NaN", "##NaN" },
    { "\"a\\tb\\u0041\\\"\\\\\"", "\"a\\tbA\\\"\\\\\"" },
    { "\"\\u0001\"", "\"\\u0001\"" },
    { "\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\"" },
    { "\\a", "\\a" },
    { "\\space", "\\space" },
    { "\\u0058", "\\X" },
    { "\\(", "\\(" },
    { ":a/b", ":a/b" },
    { "x'", "x'" },
    { "a:b", "a:b" },
    { "/", "/" },
    { "lona.core//", "lona.core//" },
    { "-", "-" },
    { "(1 [2 {3}] %{:a #{4}})", "(1 [2 {3}] %{:a #{4}})" },
    { ",,5,,", "5" },
    { "; c\n 6", "6" },
    { "[1 #_ 2 3]", "[1 3]" },
    { "[1 #_ #_ 2 3 4]", "[1 4]" },
    { "'x", "(quote x)" },
    { "#'x", "(var x)" },
    { "^:k [1]", "[1]" },
    { "#bytes[1 0xFF]", "#bytes[0x01 0xFF]" },
    { "#bytes\"\xC3\xA9\"", "#bytes[0xC3 0xA9]" },
    { "#bytes/latin1\"\xC3\xA9\"", "#bytes[0xE9]" },
    { "#bytes[a & r]", "(lona.core/bytes* a & r)" },
    { "#bits[n:16/le & r]", "(lona.core/bits* [n 16 [:le]] & r)" },
    { "`a", "(quote lona.core/a)" },
    { "`(a ~b)", "(lona.core/concat* (quote (lona.core/a)) (lona.core/list b))" },
    { "`(~@b)", "(lona.core/concat* b)" },
    { "`[1 2]", "(quote [1 2])" },
    { "`def", "(quote def)" },
    { "`5", "5" },
};

static void test_readable(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f);
    for (size_t i = 0; i < array_size(readable); i++) {
        struct reader *r = reader_create(f.p, readable[i].text, strlen(readable[i].text), NULL);
        term_t t;

        assert_non_null(r);
        assert_int_equal(reader_next(r, &t), READ_FORM);
        assert_prints(&f, t, readable[i].printed);
        assert_int_equal(reader_next(r, &t), READ_END);
        reader_destroy(r);
    }
    close_fixture(&f);
}

/* ---- what is refused, and where ---- */

static const struct {
    const char *text;
    const char *kind;
    int line;
    int column;
    bool incomplete;
} refused[] = {
    { "(1 2", ":unexpected-eof", 1, 1, true },
    { "\n  [1", ":unexpected-eof", 2, 3, true },
    { "\"ab", ":unexpected-eof", 1, 1, true },
    { "'", ":unexpected-eof", 1, 1, true },
    { "#", ":unexpected-eof", 1, 1, true },
    { "]", ":unmatched-delimiter", 1, 1, false },
    { "[1 2)", ":unmatched-delimiter", 1, 5, false },
    { "(')", ":unmatched-delimiter", 1, 3, false },
    { "\"\\q\"", ":invalid-escape", 1, 2, false },
    { "\"\\ud800x\"", ":invalid-escape", 1, 2, false },
    { "0r0", ":invalid-radix", 1, 1, false },
    { "37r1", ":invalid-radix", 1, 1, false },
    { "12abc", ":invalid-number", 1, 1, false },
    { "1_", ":invalid-number", 1, 1, false },
    { "1.", ":invalid-number", 1, 1, false },
    { "300u8", ":invalid-number", 1, 1, false },
    { "-1u8", ":invalid-number", 1, 1, false },
    { "1e999", ":invalid-number", 1, 1, false },
    { "1/0", ":division-by-zero", 1, 1, false },
    { ":", ":invalid-keyword", 1, 1, false },
    { ":1", ":invalid-keyword", 1, 1, false },
    { "\\newlines", ":invalid-char", 1, 1, false },
    { "\\ud800", ":invalid-char", 1, 1, false },
    { "@", ":unexpected-char", 1, 1, false },
    { "a@b", ":unexpected-char", 1, 2, false },
    { "%", ":unexpected-char", 1, 1, false },
    { "##Foo", ":unexpected-char", 1, 1, false },
    { "%{:a}", ":odd-map-elements", 1, 1, false },
    { "^5 x", ":invalid-metadata", 1, 1, false },
    { "^:a 5", ":invalid-metadata", 1, 1, false },
    { "#(f #(g %))", ":nested-anon-fn", 1, 5, false },
    { "#(f % %1)", ":mixed-placeholders", 1, 1, false },
    { "#bytes/ascii\"\xC3\xA9\"", ":invalid-encoding", 1, 1, false },
    { "#bits[n:8/what]", ":syntax-error", 1, 11, false },
    { "~x", ":unquote-outside-quote", 1, 1, false },
    { "`~~x", ":unquote-outside-quote", 1, 3, false },
    { "`~@x", ":splice-not-in-collection", 1, 1, false },
    { "\xFF", ":invalid-utf8", 1, 1, false },
    { "\"\xC0\x80\"", ":invalid-utf8", 1, 2, false },
    { "\xED\xA0\x80", ":invalid-utf8", 1, 1, false },
    { "\xC3\xA9 \x80", ":invalid-utf8", 1, 3, false },
};

static int64_t info_number(struct fixture *f, term_t key)
{
    term_t t = map_get(f->p, tuple_get(f->p->reason, 2), key);

    assert_true(term_is_small(t));
    return small_value(t);
}

static void test_refused(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f);
    for (size_t i = 0; i < array_size(refused); i++) {
        struct reader *r = reader_create(f.p, refused[i].text, strlen(refused[i].text), "f.lona");
        term_t t;
        enum read_result result;

        do {
            result = reader_next(r, &t);
        } while (result == READ_FORM);
        assert_int_equal(result, READ_ERROR);
        assert_prints(&f, tuple_get(f.p->reason, 1), refused[i].kind);
        assert_int_equal(info_number(&f, KW(line)), refused[i].line);
        assert_int_equal(info_number(&f, KW(column)), refused[i].column);
        assert_int_equal(reader_is_incomplete(r), refused[i].incomplete);
        reader_destroy(r);
    }
    close_fixture(&f);
}

/* ---- positions ---- */

static void assert_place(struct place at, unsigned line, unsigned column)
{
    assert_int_equal(at.line, line);
    assert_int_equal(at.column, column);
}

static void test_places(void **state)
{
    static const char text[] = "; first\n (a [b\n  c] {d})";
    struct fixture f;
    term_t t;

    (void)state;
    open_fixture(&f);
    struct reader *r = reader_create(f.p, text, sizeof(text) - 1, NULL);

    assert_int_equal(reader_next(r, &t), READ_FORM);
    term_t tuple = pair_head(pair_rest(t));
    term_t vector = pair_head(pair_rest(pair_rest(t)));

    assert_place(reader_place(r), 2, 2);
    assert_place(reader_place_of(r, t), 2, 2);
    assert_place(reader_place_of_slot(r, term_ptr(t)), 2, 3);
    assert_place(reader_place_of(r, tuple), 2, 5);
    assert_place(reader_place_of_slot(r, term_ptr(tuple) + 1), 2, 6);
    assert_place(reader_place_of_slot(r, term_ptr(tuple) + 2), 3, 3);
    assert_place(reader_place_of_slot(r, term_ptr(vector) + 1), 3, 7);
    assert_place(reader_place_of(r, TERM_NIL), 0, 0);
    reader_destroy(r);
    close_fixture(&f);
}

static void test_resume(void **state)
{
    static const char text[] = "1\n 2 (";
    struct fixture f;
    term_t t;

    (void)state;
    open_fixture(&f);
    struct reader *r = reader_create(f.p, text, sizeof(text) - 1, NULL);

    assert_int_equal(reader_next(r, &t), READ_FORM);
    size_t offset = reader_offset(r);
    struct place here = reader_here(r);

    reader_destroy(r);
    r = reader_create(f.p, text, sizeof(text) - 1, "x");
    reader_start_at(r, offset, here);
    assert_int_equal(reader_next(r, &t), READ_FORM);
    assert_int_equal(small_value(t), 2);
    assert_place(reader_place(r), 2, 2);
    assert_string_equal(reader_file(r), "x");
    assert_int_equal(reader_next(r, &t), READ_ERROR);
    reader_destroy(r);
    close_fixture(&f);
}

/* ---- depth and length ---- */

static void test_depth(void **state)
{
    static const char *const nests[] = { "(", "[", "{", "'", "#_", "^:a ", "%{:a ", "#{" };
    static char text[40001];
    struct fixture f;
    term_t t;

    (void)state;
    open_fixture(&f);
    for (size_t i = 0; i < array_size(nests); i++) {
        size_t n = 0;

        while (n + strlen(nests[i]) < 8000) {
            memcpy(text + n, nests[i], strlen(nests[i]));
            n += strlen(nests[i]);
        }
        struct reader *r = reader_create(f.p, text, n, NULL);

        assert_int_equal(reader_next(r, &t), READ_ERROR);
        assert_true(tuple_get(f.p->reason, 1) == KW(too_deep));
        reader_destroy(r);
    }
    close_fixture(&f);
}

static void test_print_limits(void **state)
{
    struct fixture f;
    struct text out = { .size = 0 };
    const struct print_options options = { .depth_max = 2, .list_max = 3 };
    const char text[] = "(1 (2 (3)) 4 5 6)";
    term_t t;

    (void)state;
    open_fixture(&f);
    struct reader *r = reader_create(f.p, text, sizeof(text) - 1, NULL);

    assert_int_equal(reader_next(r, &t), READ_FORM);
    term_print(f.vm, t, &options, collect, &out);
    assert_string_equal(out.bytes, "(1 (2 ...) 4 ...)");
    reader_destroy(r);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readable), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_places),   cmocka_unit_test(test_resume),
        cmocka_unit_test(test_depth),    cmocka_unit_test(test_print_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

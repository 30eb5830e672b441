/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored terms and code: what is written reads back equal, and no shortened or damaged form is
 * taken for more than it is. Code that was stored, read, linked and run does what it did; its text
 * names each instruction.
 */
#include <stdlib.h>
#include <string.h>

#include <test.h>

#include "compiler/compiler.h"
#include "data/data.h"
#include "interp/stored.h"
#include "native.h"
#include "reader/printer.h"
#include "vm.h"
#include "vm_state.h"

/* Evaluated terms; sharp corners of each kind. */
static const char *const terms[] = {
    "nil",
    "true",
    "()",
    "0",
    "-576460752303423488",
    "576460752303423487",
    "123456789012345678901234567890",
    "-123456789012345678901234567890",
    "3/4",
    "-123456789012345678901234567890/7",
    "255u8",
    "-1i64",
    "18446744073709551615u64",
    "1.5",
    "##-Inf",
    "1.5f32",
    "\\a",
    "\\u00E9",
    "\"\"",
    "\"h\\u00e9\"",
    ":k",
    ":a/b",
    "'s",
    "'a/s",
    "'(1 (2) [3])",
    "[1 [2 {3}]]",
    "{1 2 3}",
    "%{:a 1 \"b\" [2] 3 %{}}",
    "#{1 :a \"x\"}",
    "#bytes[1 2 3]",
    "#bytes\"0123456789012345678901234567890123456789012345678901234567890123456789\"",
    "(with-meta [1 2] %{:m 1})",
    "(with-meta \"s\" %{:m 1})",
    "'^:m s",
    "+",
    "#'lona.core/+",
    "*ns*",
    "(paddr 4096u64)",
    "(vaddr 18446744073709551615u64)",
};

/* What can't be stored. */
static const char *const unstorable[] = { "(bytebuf-alloc 4)", "((fn* [x] (fn* [] x)) 1)",
                                          "[(bytebuf-alloc 4)]" };

static const char *const forms[] = {
    "((fn* f [n acc] (match n 0 acc _ (f (- n 1) (+ acc n)))) 10 0)",
    "((fn* [a & r] [a r \"text\" :k 'sym \\c 2.5 1/3 12345678901234567890123]) 1 2 3)",
    "(match [1 {2 %{:k 3}} '(4 5) #{6}] [a {b %{:k c}} (d & e) #{g}] [a b c d e g])",
    "(match 7 1 :a 2 :b 3 :c 4 :d 5 :e n when (> n 6) [:big n] _ :other)",
    "(do (send (self) [:m 1]) (receive [:x _] 0 [:m n] (+ n 1) :after 5 :none))",
    "(match #bytes[1 2 3 4] #bits[a:4 b:12 & r] [a b r])",
    "[(quot 7 2) (rem 7 2) (mod -7 2) (* 3 4) (not nil) (< 1 2) (<= 1 2) (> 1 2) (>= 1 2) (= 1 2)]",
    "(do (def x 5) (def f (fn* [y] (+ x y))) (f 1))",
    "(match 1 a {a [a a] %{a a} #{a}})",
};

struct task {
    const char *text;
    bool is_form; /* else a term to be stored */
    bool storable;
    unsigned step;
    char printed[512]; /* what running the form printed first, then what running the stored one did
                        */
    size_t size;
    char *listing;
};

static void put(void *arg, const char *text, size_t n)
{
    struct task *t = arg;

    n = n < sizeof(t->printed) - t->size - 1 ? n : sizeof(t->printed) - t->size - 1;
    memcpy(t->printed + t->size, text, n);
    t->size += n;
    t->printed[t->size] = '\0';
}

static void keep_listing(void *arg, const char *text, size_t n)
{
    struct task *t = arg;
    size_t have = strlen(t->listing);

    t->listing = realloc(t->listing, have + n + 1);
    assert_non_null(t->listing);
    memcpy(t->listing + have, text, n);
    t->listing[have + n] = '\0';
}

static void compile(struct process *p, const char *text, struct code_unit *u)
{
    const struct compile_source source = { .file = "t", .place = { 1, 1 } };
    struct reader *r = reader_create(p, text, strlen(text), "t");
    term_t form;

    assert_non_null(r);
    assert_int_equal(reader_next(r, &form), READ_FORM);
    code_unit_init(u, process_vm(p));
    if (!compile_form(p, &source, form, u)) {
        fail_msg("does not compile: %s", text);
    }
    reader_destroy(r);
}

/* Every prefix is refused, or (a term in front of the cut) is shorter; no damaged byte does harm.
 */
static void damage_term(struct process *p, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);

    assert_non_null(copy);
    for (size_t cut = 0; cut < size; cut++) {
        size_t offset = 0;

        memcpy(copy, data, cut); /* an exact block, so that reading on is noticed */
        assert_int_equal(term_decode(p, copy, cut, &offset), TERM_ERROR);
        p->reason = TERM_NIL;
    }
    for (size_t i = 0; i < size; i++) {
        for (unsigned flip = 1; flip < 256; flip *= 2) {
            size_t offset = 0;

            memcpy(copy, data, size);
            copy[i] ^= (uint8_t)flip;
            if (term_decode(p, copy, size, &offset) != TERM_ERROR) {
                assert_true(offset <= size);
            }
            p->reason = TERM_NIL;
        }
    }
    free(copy);
}

static void check_term(struct process *p, struct task *t, term_t value)
{
    struct byte_sink s;
    size_t offset = 0;

    byte_sink_init(&s, process_vm(p));
    if (term_encode(&s, process_vm(p), value) != t->storable) {
        fail_msg("%s %s", t->text, t->storable ? "can't be stored" : "was stored");
    }
    if (t->storable) {
        term_t back = term_decode(p, s.data, s.size, &offset);

        assert_int_not_equal(back, TERM_ERROR);
        assert_int_equal(offset, s.size);
        if (!term_equal(p, value, back)) {
            fail_msg("reads back otherwise: %s", t->text);
        }
        assert_int_equal(term_hash(process_vm(p), value), term_hash(process_vm(p), back));
        damage_term(p, s.data, s.size);
    }
    byte_sink_deinit(&s);
}

/* Read the stored unit; TERM_ERROR is a failure of the test unless it may be damaged. */
static term_t read_back(struct process *p, const uint8_t *data, size_t size, bool damaged)
{
    struct code_unit u;
    size_t offset = 0;
    term_t fun = TERM_ERROR;

    code_unit_init(&u, process_vm(p));
    if (code_decode(p, data, size, &offset, &u)) {
        fun = code_link(p, &u);
    }
    code_unit_deinit(&u);
    if (!damaged) {
        assert_int_equal(offset, size);
        assert_int_not_equal(fun, TERM_ERROR);
    }
    p->reason = fun == TERM_ERROR ? TERM_NIL : p->reason;
    return fun;
}

static void damage_unit(struct process *p, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);
    struct stored_head head;

    assert_non_null(copy);
    for (size_t cut = 0; cut < size; cut++) {
        memcpy(copy, data, cut);
        assert_int_equal(read_back(p, copy, cut, true), TERM_ERROR);
    }
    for (size_t i = 0; i < size; i++) {
        memcpy(copy, data, size);
        copy[i] ^= 0x20;
        assert_int_equal(read_back(p, copy, size, true), TERM_ERROR); /* the sum is wrong */
        memcpy(&head, copy, sizeof(head));
        if (i >= sizeof(head)) { /* past the sum: any answer but harm */
            head.checksum = stored_checksum(copy + sizeof(head), size - sizeof(head));
            memcpy(copy, &head, sizeof(head));
            (void)read_back(p, copy, size, true);
        }
    }
    free(copy);
}

/* Steps of a form: run it; store, read and run it. Of a term: evaluate it, store it. */
static term_t body(void *arg, struct process *p, term_t last, bool *again)
{
    struct task *t = arg;
    struct code_unit u;
    struct byte_sink s;
    term_t fun = TERM_NIL;

    heap_inhibit_gc(p);
    if (t->step++ == 0) {
        compile(p, t->text, &u);
        fun = code_link(p, &u);
        code_unit_deinit(&u);
        assert_int_not_equal(fun, TERM_ERROR);
        *again = true;
    } else if (!t->is_form) {
        check_term(p, t, last);
    } else if (t->step == 2) {
        term_print(process_vm(p), last, NULL, put, t);
        put(t, "|", 1);
        compile(p, t->text, &u);
        byte_sink_init(&s, process_vm(p));
        code_encode(&s, &u);
        assert_false(s.failed);
        code_unit_deinit(&u);
        damage_unit(p, s.data, s.size);
        fun = read_back(p, s.data, s.size, false);
        byte_sink_deinit(&s);
        fun_disassemble(process_vm(p), term_fun(fun), keep_listing, t);
        *again = true;
    } else {
        term_print(process_vm(p), last, NULL, put, t);
    }
    heap_permit_gc(p);
    return *again ? native_apply(p, fun, TERM_EMPTY) : TERM_NIL;
}

static struct vm *make_vm(void)
{
    const struct vm_options o = {
        .platform = platform_posix(), .workers = 1, .without_library = true, .seed = 7
    };
    const char *error;
    struct vm *vm = vm_create(&o, &error);

    assert_non_null(vm);
    return vm;
}

static void terms_read_back(void **state)
{
    struct vm *vm = make_vm();

    (void)state;
    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
        struct task t = { .text = terms[i], .storable = true };

        if (vm_call_body(vm, body, &t, NULL, NULL) != 0) {
            fail_msg("fails: %s", terms[i]);
        }
    }
    for (size_t i = 0; i < sizeof(unstorable) / sizeof(unstorable[0]); i++) {
        struct task t = { .text = unstorable[i] };

        assert_int_equal(vm_call_body(vm, body, &t, NULL, NULL), 0);
    }
    vm_destroy(vm);
}

static void code_reads_back(void **state)
{
    static const char *const names[] = { "CLOSURE", "TAIL",      "CONST",  "SWITCH",
                                         "guard ",  "RECV_PEEK", "RETURN", "TUPLE",
                                         "MAP",     "J_NOT_",    "->",     "NATIVE",
                                         "VAR",     "LOAD",      "w",      "{" };
    struct vm *vm = make_vm();
    char *all = calloc(1, 1);

    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct task t = { .text = forms[i], .is_form = true, .listing = all };

        if (vm_call_body(vm, body, &t, NULL, NULL) != 0) {
            fail_msg("fails: %s", forms[i]);
        }
        all = t.listing;
        size_t half = (t.size - 1) / 2;

        if (t.size % 2 == 0 || t.printed[half] != '|' ||
            memcmp(t.printed, t.printed + half + 1, half) != 0) {
            fail_msg("%s: %s", forms[i], t.printed);
        }
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strstr(all, names[i]) == NULL) {
            fail_msg("no %s in the listing", names[i]);
        }
    }
    free(all);
    vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_read_back),
        cmocka_unit_test(code_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

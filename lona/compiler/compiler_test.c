/* SPDX-License-Identifier: Apache-2.0 */
/* Forms compiled, linked (and so verified) and run, in a VM without library. */
#include <string.h>

#include <test.h>

#include "compiler/compiler.h"
#include "data/data.h"
#include "native.h"
#include "reader/printer.h"
#include "vm.h"
#include "vm_state.h"

struct run {
    const char *text;
    size_t offset;
    char printed[1024];
    size_t size;
};

static void collect(void *arg, const char *bytes, size_t n)
{
    struct run *r = arg;

    assert_true(r->size + n < sizeof(r->printed));
    memcpy(r->printed + r->size, bytes, n);
    r->size += n;
    r->printed[r->size] = '\0';
}

/* One form a round. */
static term_t body(void *arg, struct process *p, term_t last, bool *again)
{
    struct run *run = arg;
    struct code_unit u;
    term_t form;
    term_t fun = last;

    heap_inhibit_gc(p);
    struct reader *r = reader_create(p, run->text, strlen(run->text), "t");

    assert_non_null(r);
    reader_start_at(r, run->offset, (struct place){ 1, 1 });
    if (reader_next(r, &form) == READ_FORM) {
        const struct compile_source source = { .reader = r, .file = "t", .place = { 1, 1 } };

        run->offset = reader_offset(r);
        code_unit_init(&u, process_vm(p));
        fun = compile_form(p, &source, form, &u) ? code_link(p, &u) : TERM_ERROR;
        code_unit_deinit(&u);
        *again = true;
    }
    reader_destroy(r);
    heap_permit_gc(p);
    return !*again || fun == TERM_ERROR ? fun : native_apply(p, fun, TERM_EMPTY);
}

static void print(void *arg, struct process *p, term_t value, bool is_error)
{
    bool is_tuple = is_error && term_is_tuple(value) && tuple_count(value) == 3;

    term_print(process_vm(p), is_tuple ? tuple_get(value, 1) : value, NULL, collect, arg);
}

static const struct {
    const char *text;
    const char *printed; /* of the last value, or the kind of the error */
} cases[] = {
    /* patterns: literals, groups, switches */
    { "(match 3 1 :a 2 :b 3 :c 4 :d 5 :e)", ":c" },
    { "(match 3u8 1 :a 2 :b 3 :c 4 :d 5 :e)", ":c" },
    { "(match :z :a 1 :b 2 :c 3 :d 4 _ 5)", "5" },
    { "(match 9 1 :a 2 :b 3 :c 4 :d 5 :e)", ":badmatch" },
    { "(match \"b\" \"a\" 1 \"b\" 2)", "2" },
    { "(match ##NaN ##NaN 1 _ 2)", "2" },
    { "(match [1 [2 3]] [1 [4 _]] :a [1 [2 x]] x)", "3" },
    { "(match '(1 2 3) () 0 (a) 1 (a b & c) [b c])", "[2 (3)]" },
    { "(match {1 2 3} {a & r} [a r])", "[1 (2 3)]" },
    { "(match [1] [a b & r] :long [a & r] [a r])", "[1 ()]" },
    { "(match %{:a 1 'b 2} %{:a 2} :no %{:a 1 'b x} x)", "2" },
    { "(match 5 %{} :map _ :other)", ":other" },
    { "(match #{1 2 3} #{1 4 x} :no #{2 3 x} x)", "1" },
    { "(match #bytes[1 2 3] #bytes[1 9 _] :no #bytes[1 x & r] [x r])", "[2 #bytes[0x03]]" },
    { "(match #bytes[0x12 0x34] #bits[a:4 b:12] [a b])", "[1 564]" },
    { "(match #bytes[0xFF 1] #bits[a:8/signed b:8] [a b])", "[-1 1]" },
    { "(match (self) (pid r _) r)", "0" },
    { "((fn* [a b] (match [a b] [1 x] x [x 1] (+ x 10))) 5 1)", "15" },
    { "((fn* [a b] (match [a b] [1 x] x [x 1] (+ x 10))) 5 2)", ":badmatch" },
    { "(match 1)", ":badmatch" },
    /* bytes and bits, narrow and wide */
    { "(match #bytes[1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16] #bits[a:100 b:28] [a b])",
      "[4990673643343740511851688128N 219025168]" },
    { "(match #bytes[0xFF 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16] #bits[a:72/signed b:56] [a b])",
      "[-18301780041081092087N 2826896153644816]" },
    { "(match #bytes[1 2 3 4 5 6 7 8 9 0xFF] #bits[a:80/le] a)", "1204370052266118667764225N" },
    { "(match #bytes[1 2 3 4 5 6 7 8 9 0xFF] #bits[a:80/le/signed] a)",
      "-4555767348510506941951N" },
    { "(match #bytes[0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF "
      "0xFF] #bits[a:128/signed] a)",
      "-1" },
    { "(match 12345678901234567890123 n #bits[n:80])",
      "#bytes[0x02 0x9D 0x42 0xB6 0x4E 0x76 0x71 0x42 0x44 0xCB]" },
    { "(match -12345678901234567890123 n #bits[n:80])",
      "#bytes[0xFD 0x62 0xBD 0x49 0xB1 0x89 0x8E 0xBD 0xBB 0x35]" },
    { "(match -1 n #bits[n:72/le])", "#bytes[0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF]" },
    { "(match 12345678901234567890123 n #bits[n:80/le])",
      "#bytes[0xCB 0x44 0x42 0x71 0x76 0x4E 0xB6 0x42 0x9D 0x02]" },
    { "(match 200u8 n #bits[n:80])", "#bytes[0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xC8]" },
    { "(match -2i8 n #bits[n:72])", "#bytes[0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFF 0xFE]" },
    { "(match 5 n #bits[n:3 0:5])", "#bytes[0xA0]" },
    { "(match #bytes[1 2 3] b #bits[b:2/binary])", ":badarg" },
    { "(match #bytes[1 2 3] b #bits[b:9/binary])", ":badarg" },
    { "(match #bytes[1 2 3] b #bits[1:8 & b])", "#bytes[0x01 0x01 0x02 0x03]" },
    { "(match 5 b #bits[1:8 & b])", ":badarg" },
    { "(match :a n #bits[n:8])", ":badarg" },
    { "(match #bytes[3 1 2 3 9] #bits[n:8 body:n/binary & r] [n body r])", ":badmatch" },
    { "(match #bytes[9 1 2 3] #bits[n:8 body:n/binary & r] [n body r] _ :short)", ":short" },
    { "(match #bytes[1 2] #bits[a:12 & r] [a r] _ :odd)", ":odd" },
    { "(match #bytes[0x12 0x34] #bits[a:4 b:8/binary c:4] [a b c])", "[1 #bytes[0x23] 4]" },
    { "(match #bytes[1] #bits[a:0 b:8] [a b])", "[0 1]" },
    { "(match 5 #bits[a:8] a _ :none)", ":none" },
    { "(match #bytes[1 2] #bits[a:8] a _ :rest)", ":rest" },
    { "(match #bytes[0x80] #bits[a:1/signed b:7] [a b])", "[-1 0]" },
    { "(match 300 n #bytes[n])", ":badarg" },
    { "(match :a n #bytes[n])", ":badarg" },
    { "(match 5 r #bytes[1 & r])", ":type-error" },
    { "(match #bytes[5 6] r #bytes[1 2 & r])", "#bytes[0x01 0x02 0x05 0x06]" },
    { "(match 5 #bytes[a] a _ :none)", ":none" },
    { "(match #bytes[1] #bytes[a b & r] a _ :short)", ":short" },
    { "(match 5 (pid a b) a _ :none)", ":none" },
    { "(match #{1 2} #{1 2} :same _ :other)", ":same" },
    { "(match #{1 2} #{1 3} :same _ :other)", ":other" },
    { "(match #{1 2 3} #{1 2} :same _ :other)", ":other" },
    { "(match 5 #{1} :same _ :other)", ":other" },
    { "(match #{[1]} #{[x]} x)", "1" },
    { "(match %{'a 1} %{'a x} x)", "1" },
    { "(match %{[1] 1} %{[1] x} x)", "1" },
    { "(match 5 (quote (1 2)) 1 '(1 2) 2 _ 3)", "3" },
    { "(match '(1 2) '(1 2) :lit)", ":lit" },
    { "(match #bits[1:4 2:4] #bytes[x] x)", "18" },
    { "(match 8 n (match #bytes[1 2] #bits[a:n b:n] [a b]))", "[1 2]" },
    { "(match -8 n (match #bytes[1 2] #bits[a:n] a _ :none))", ":none" },
    { "(match 1 [& a b] 2)", ":syntax-error" },
    { "(match 1 & 2)", ":syntax-error" },
    { "(match 1 a/b 2)", ":syntax-error" },
    { "(match 1 #{x/y} 2)", ":syntax-error" },
    { "(match %{1 2} %{(f) 2} 1)", ":syntax-error" },
    { "(match 1 2 when)", ":syntax-error" },
    /* guards */
    { "(match 7 n when (< n 5) :a n when (match n 7 (= n 7)) :b)", ":b" },
    { "(match 'x n when (< n 5) :a _ :failed)", ":failed" },
    { "(match 1 n when (match (+ n 'a) _ true) 1 _ 2)", "2" },
    { "(match 1 n when (send (self) n) n)", ":syntax-error" },
    { "(match 1 n when (fn* [] 1) n)", ":syntax-error" },
    /* functions, captures, tail calls */
    { "((fn* f [n] (match n 0 :end _ (f (- n 1)))) 100000)", ":end" },
    { "((((fn* [a] (fn* [b] (fn* [c] [a b c]))) 1) 2) 3)", "[1 2 3]" },
    { "((fn* f [x] (match x 0 [] _ ((fn* [] (f 0))))) 5)", "[]" },
    { "((fn* [a & r] [a r]) 1 2 3)", "[1 [2 3]]" },
    { "((fn* [a] a))", ":arity-mismatch" },
    { "(+ 'a 1)", ":type-error" },
    { "(fn* [a/b] 1)", ":syntax-error" },
    { "(fn* [& a b] 1)", ":syntax-error" },
    { "(fn* 5)", ":syntax-error" },
    /* vars and macros */
    { "(def x 5) (def ^:macro m (fn* [a] (list '+ a 'x))) (m 2)", "7" },
    { "(def y) y", ":undef" },
    { "(def other/z 1)", ":syntax-error" },
    { "(def a b c d)", ":syntax-error" },
    { "nothing", ":undefined" },
    { "(nothing)", ":undefined" },
    { "(var nothing)", ":undefined" },
    { "(def ^:macro again (fn* [] '(again))) (again)", ":macro-timeout" },
    { "(def ^:macro bad (fn* [] (/ 1 0))) (bad)", ":division-by-zero" },
    /* literals */
    { "[1 {(+ 1 1)} %{(+ 1 2) :a} #{(+ 2 2)}]", "[1 {2} %{3 :a} #{4}]" },
    { "(match 5 n #bytes[n & #bytes[1]])", "#bytes[0x05 0x01]" },
    { "(match 5 n #bits[n:4 n:4])", "#bytes[0x55]" },
    { "#bits[5:3]", ":badarg" },
    { "(match [1 1] [x x] 1)", ":syntax-error" },
    { "(match 1 2)", ":syntax-error" },
    { "(quote)", ":syntax-error" },
    { "(do)", "nil" },
    /* receive */
    { "(send (self) 1) (send (self) 2) (receive 2 :two :after 0 :none)", ":two" },
    { "(receive x x :after 0 :none)", ":none" },
    { "(receive :after 1 :late)", ":late" },
    { "(receive :after :soon 1)", ":badarg" },
    { "(receive)", ":syntax-error" },
};

static void test_cases(void **state)
{
    const struct vm_options options = {
        .platform = platform_posix(), .workers = 1, .without_library = true, .seed = 7
    };
    const char *error;
    struct vm *vm = vm_create(&options, &error);

    (void)state;
    assert_non_null(vm);
    for (size_t i = 0; i < array_size(cases); i++) {
        struct run r = { .text = cases[i].text };

        assert_true(vm_call_body(vm, body, &r, print, &r) >= 0);
        if (strcmp(r.printed, cases[i].printed) != 0) {
            print_message("%s\n", cases[i].text);
        }
        assert_string_equal(r.printed, cases[i].printed);
    }
    vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

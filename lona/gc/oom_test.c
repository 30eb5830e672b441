/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests for memory are refused now and then. Each process that this hits ends with :oom and
 * nobody else does; what the others compute is right; all memory comes back, and the VM goes on.
 */
#include <string.h>

#include <test.h>

#include <drupe/lona.h>

#include "embed/value.h"
#include "vm_state.h"

enum {
    ROUNDS = 25
};

/*
 * Forty processes build, send each other and collect lists, tuples, maps, strings, binaries and
 * deep stacks, and check the result. The value: how many were right, times 1000, plus how many ran
 * out.
 */
static const char definitions[] =
    "(def build (fn* build [n l] (match n 0 l _ (build (- n 1) (prepend l [n (str n) %{n l}])))))"
    "(def deep (fn* deep [n] (match n 0 0 _ (+ 1 (deep (- n 1))))))"
    "(def sum (fn* sum [l n] (match l ([i _ _] & more) (sum more (+ n i)) () n)))"
    "(def echo (fn* echo [] (receive [from x] (do (send from x) (echo)) :stop 1)))"
    "(def work (fn* [] (match (spawn-link echo) p (match (build 300 ()) l"
    "  (match (string->binary (str 100000000000000000000000000000000000000000000000000000000"
    "     100000000000000000000000000000000000000000000000000000000)) b"
    "   (do (send p [(self) [l b]]) (receive [l2 b2] (match [(= l l2) (= b b2) (deep 2000) (sum l2 "
    "0)]"
    "     [true true 2000 45150] (do (send p :stop) (exit :right)) x (exit [:wrong x])))))))))"
    "(def start (fn* start [n] (match n 0 nil _ (do (spawn-monitor work) (start (- n 1))))))"
    "(def gather (fn* gather [n acc] (match n 0 acc _ (receive [:DOWN _ _ why]"
    "  (match why :right (gather (- n 1) (+ acc 1000)) [:error :oom] (gather (- n 1) (+ acc 1))"
    "    [:error :oom _] (gather (- n 1) (+ acc 1)) [:error :stack-overflow _] (gather (- n 1) (+ "
    "acc 1))"
    "    :oom (gather (- n 1) (+ acc 1)) x (exit [:other x]))))))";

static const char round_text[] = "(do (start 40) (gather 40 0))";

static void settle(struct vm *vm)
{
    while (atomic_load_explicit(&vm->processes.alive, memory_order_acquire) != 0) {
        vm->platform.yield_cpu(vm->platform.self);
    }
}

static void only_who_runs_out_ends(void **state)
{
    const struct lona_options o = { .workers = 2, .seed = 11 };
    lona_vm *vm = NULL;
    int64_t right = 0;
    int64_t out = 0;
    unsigned callers_out = 0;

    (void)state;
    assert_int_equal(lona_create(&o, &vm, NULL), LONA_OK);
    assert_int_equal(lona_eval(vm, definitions, strlen(definitions), "t", NULL, NULL), LONA_OK);
    for (unsigned round = 0; round < ROUNDS; round++) {
        lona_value *v = NULL;
        char *error = NULL;
        int64_t n = 0;

        atomic_store(&vm->vm->pool.fail_one_in, 300 + 20 * round);
        enum lona_result r = lona_eval(vm, round_text, strlen(round_text), "t", &v, &error);

        atomic_store(&vm->vm->pool.fail_one_in, 0);
        if (r == LONA_OK && lona_value_integer(v, &n)) {
            assert_int_equal(n / 1000 + n % 1000, 40);
            right += n / 1000;
            out += n % 1000;
        } else if (error != NULL && strstr(error, "oom") == NULL &&
                   strstr(error, "stack-overflow") == NULL) {
            fail_msg("%s", error);
        } else {
            callers_out++;
        }
        lona_value_free(v);
        lona_free_text(error);
        settle(vm->vm);
    }
    /* It did hurt some, and most got through. */
    assert_true(out > 0);
    assert_true(right > out);
    assert_true(callers_out < ROUNDS / 2);
    assert_int_equal(lona_eval(vm, round_text, strlen(round_text), "t", NULL, NULL), LONA_OK);
    settle(vm->vm);
    assert_int_equal(vm->vm->shared_binary_bytes, 0);
    lona_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(only_who_runs_out_ends) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

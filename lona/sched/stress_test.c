/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes on several workers, written in the bare language (no library), so that this runs under
 * TSan: nothing lost, nothing twice, order kept, memory given back.
 */
#include <stdlib.h>
#include <string.h>

#include <test.h>

#include <drupe/lona.h>

#include "embed/value.h"

static int64_t eval(lona_vm *vm, const char *text)
{
    lona_value *v = NULL;
    char *error = NULL;
    int64_t n = 0;

    if (lona_eval(vm, text, strlen(text), "test", &v, &error) != LONA_OK) {
        fail_msg("%s: %s", text, error == NULL ? "?" : error);
    }
    if (!lona_value_integer(v, &n)) {
        char *got = lona_value_text(vm, v);

        fail_msg("no integer: %s", got);
    }
    lona_value_free(v);
    return n;
}

static lona_vm *vm_new(unsigned workers)
{
    const struct lona_options o = { .workers = workers, .seed = 11 };
    lona_vm *vm = NULL;

    assert_int_equal(lona_create(&o, &vm, NULL), LONA_OK);
    return vm;
}

/* n processes in a ring pass a counter round; the last holder tells. */
static const char ring[] =
    "(def node (fn* node [next] (receive [:pass n] (do (send next [:pass (+ n 1)]) (node next))"
    "                                    [:stop] (send next [:stop]))))"
    "(def build (fn* build [n next] (match n 0 next _ (build (- n 1) (spawn (fn* [] (node "
    "next)))))))"
    "(def drain (fn* drain [last] (receive [:pass n] n)))"
    "(def go (fn* go [first left sum] (match left 0 (do (send first [:stop]) (receive [:stop] sum))"
    "   _ (do (send first [:pass 0]) (go first (- left 1) (+ sum (drain 0)))))))"
    "(go (build 200 (self)) 50 0)";

/* Every child is monitored; its DOWN comes once, after the message that it sent before. */
static const char downs[] =
    "(def collect (fn* collect [left acc] (match left 0 acc _"
    "  (receive [:hi p n] (receive [:DOWN r q why] when (= q p)"
    "     (match (= why [:bye n]) true (collect (- left 1) (+ acc n)) _ (exit [:wrong why])))))))"
    "(def start (fn* start [i me] (match i 0 nil _"
    "  (do (spawn-monitor (fn* [] (do (send me [:hi (self) i]) (exit [:bye i])))) (start (- i 1) "
    "me)))))"
    "(do (start 1500 (self)) (collect 1500 0))";

/* Linked pairs: one is killed, the other dies of it; watchers of the second see :killed. */
static const char links[] =
    "(def wait (fn* wait [left n] (match left 0 n _ (receive [:DOWN r q why] "
    "   (wait (- left 1) (match why :killed (+ n 1) _ n))))))"
    "(def start (fn* start [i me] (match i 0 nil _ (do"
    "  (spawn-monitor (fn* [] (do (spawn-link (fn* [] (exit (self) :kill))) (receive :never 1))))"
    "  (start (- i 1) me)))))"
    "(do (start 400 (self)) (wait 400 0))";

/* Several senders to one receiver: each one's numbers arrive in order. */
static const char order[] =
    "(def send-all (fn* send-all [to id i n] (match (= i n) true nil _ (do (send to [id i]) "
    "(send-all to id (+ i 1) n)))))"
    "(def check (fn* check [left a b c d] (match left 0 (+ a b c d) _ (receive"
    "   [0 n] when (= n a) (check (- left 1) (+ a 1) b c d)"
    "   [1 n] when (= n b) (check (- left 1) a (+ b 1) c d)"
    "   [2 n] when (= n c) (check (- left 1) a b (+ c 1) d)"
    "   [3 n] when (= n d) (check (- left 1) a b c (+ d 1))"
    "   x (exit [:out-of-order x a b c d])))))"
    "(def go (fn* go [me id] (match id 4 nil _ (do (spawn (fn* [] (send-all me id 0 1000))) (go me "
    "(+ id 1))))))"
    "(do (go (self) 0) (check 4000 0 0 0 0))";

/* Timers against messages: each wait ends once. */
static const char timers[] = "(def one (fn* one [me i] (spawn (fn* [] (receive :go (send me 1) "
                             ":after (rem i 7) (send me 1000))))))"
                             "(def start (fn* start [i me] (match i 0 nil _ (do (match (rem i 2) 0 "
                             "(send (one me i) :go) _ (one me i)) (start (- i 1) me)))))"
                             "(def sum (fn* sum [left n] (match left 0 n _ (receive x (sum (- left "
                             "1) (+ n (match x 1 1 _ 1)))))))"
                             "(do (start 600 (self)) (sum 600 0))";

/* Big and shared data between heaps while both collect. */
static const char data[] = "(def make (fn* make [n l] (match n 0 l _ (make (- n 1) (prepend l [n "
                           "(str n) #bytes[1 2 3]])))))"
                           "(def echo (fn* echo [] (receive [from x] (do (send from x) (echo)))))"
                           "(def go (fn* go [p left x n] (match left 0 n _ (do (send p [(self) x]) "
                           "(receive y (go p (- left 1) y (+ n (count y))))))))"
                           "(go (spawn echo) 40 (make 500 ()) 0)";

static void programs_agree(void **state)
{
    static const struct {
        const char *text;
        int64_t expected;
    } cases[] = {
        { ring, INT64_C(50) * 200 },
        { downs, INT64_C(1500) * 1501 / 2 },
        { links, 400 },
        { order, 4000 },
        { timers, 600 },
        { data, INT64_C(40) * 500 },
    };

    (void)state;
    for (unsigned workers = 1; workers <= 4; workers++) {
        lona_vm *vm = vm_new(workers);

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            assert_int_equal(eval(vm, cases[i].text), cases[i].expected);
        }
        lona_destroy(vm);
    }
}

/* When all is over, as many processes live as at the start, and no shared bytes are left. */
static void nothing_is_left(void **state)
{
    static const char storm[] =
        "(def big (fn* big [] (string->binary (str 1000000000000000000000000000000000000000000000 "
        "1000000000000000000000000000000000000000000000))))"
        "(def member (fn* member [] (receive [:data b] (member) [:link p] (do (link p) (member)) "
        ":stop :ok)))"
        "(def kill-some (fn* kill-some [n prev] (match n 0 :done _ (match (spawn member) p (do "
        "(send p [:data (big)])"
        "   (match prev nil nil _ (send p [:link prev])) (send p [:data (big)])"
        "   (match (rem n 3) 0 (exit p :kill) 1 (send p :stop) _ (exit p [:reason (big)]))"
        "   (kill-some (- n 1) (match (rem n 5) 0 nil _ p)))))))"
        "(def settle (fn* settle [tries] (match (process-count) 1 1 n (match tries 0 n _ (do "
        "(sleep 10) (settle (- tries 1)))))))"
        "(do (kill-some 3000 nil) (settle 300))";
    (void)state;
    lona_vm *vm = vm_new(3);

    assert_int_equal(eval(vm, storm), 1);
    /* A call returns before its process's memory is gone. */
    for (int i = 0; i < 200 && vm->vm->shared_binary_bytes != 0; i++) {
        assert_int_equal(eval(vm, "(do (sleep 5) 1)"), 1);
    }
    assert_int_equal(vm->vm->shared_binary_bytes, 0);
    lona_destroy(vm);
}

static void the_c_side_talks_to_processes(void **state)
{
    (void)state;
    lona_vm *vm = vm_new(2);
    lona_mailbox *box = NULL;
    lona_value *pid = NULL;
    lona_value *message = NULL;
    lona_value *answer = NULL;

    assert_int_equal(lona_mailbox_create(vm, &box), LONA_OK);
    assert_int_equal(lona_mailbox_value(box, &pid), LONA_OK);
    assert_int_equal(
        eval(vm, "(do (def start (fn* echo [] (receive [from x] (do (send from [:got x]) (echo)))))"
                 " (register 'echo (spawn start)) 1)"),
        1);
    assert_int_equal(lona_value_read(vm, "[1 {2 3} \"x\"]", 13, &message, NULL), LONA_OK);
    assert_int_equal(lona_receive(box, 1000000, &answer), LONA_TIMEOUT);
    /* The box as an address inside a message needs code; send from Lonala to it instead. */
    assert_int_equal(lona_send(vm, pid, message), LONA_OK);
    assert_int_equal(lona_receive(box, UINT64_MAX, &answer), LONA_OK);
    char *text = lona_value_text(vm, answer);

    assert_string_equal(text, "[1 {2 3} \"x\"]");
    lona_free_text(text);
    assert_int_equal(lona_send_named(vm, "nobody", message), LONA_NO_PROCESS);
    assert_int_equal(lona_send_named(vm, "echo", message), LONA_OK);
    assert_int_equal(lona_send(vm, message, message), LONA_BAD_ARGUMENT);
    lona_value_free(answer);
    lona_value_free(message);
    lona_value_free(pid);
    lona_mailbox_destroy(box);
    lona_destroy(vm);
}

static void errors_are_texts(void **state)
{
    static const struct {
        const char *text;
        const char *starts;
    } cases[] = {
        { "(/ 1 0)", ":division-by-zero" }, { "(nothing)", ":undefined" },
        { "(1 2", ":unexpected-eof" },      { "(exit [:a 1])", "exit: [:a 1]" },
        { "(5 1)", ":not-callable" },       { "((fn* [a] a))", ":arity-mismatch" },
    };

    (void)state;
    lona_vm *vm = vm_new(1);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *error = NULL;

        assert_int_equal(lona_eval(vm, cases[i].text, strlen(cases[i].text), "t", NULL, &error),
                         LONA_ERROR);
        assert_int_equal(strncmp(error, cases[i].starts, strlen(cases[i].starts)), 0);
        lona_free_text(error);
    }
    lona_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_agree),
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(the_c_side_talks_to_processes),
        cmocka_unit_test(errors_are_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

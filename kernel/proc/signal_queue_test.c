/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <host/host.h>
#include <proc/posix_timer.h>
#include <proc/process.h>
#include <proc/signal_internal.h>
#include <sched/task.h>

#define MIB (UINT64_C(1) << 20)

void posix_timer_taken(struct posix_timer *t, struct siginfo *info)
{
    (void)t;
    info->overrun = 7;
}

static struct process process_with_limit(uint64_t limit)
{
    struct process p = { .ref = { 1 } };

    p.limits[RLIMIT_SIGPENDING].soft = limit;
    return p;
}

static struct siginfo queued(int value)
{
    struct siginfo info = { .code = SI_QUEUE };

    info.value = (uint64_t)value;
    return info;
}

static void faults_first_then_the_lowest(void **state)
{
    static const struct {
        uint64_t set;
        int signo;
    } cases[] = {
        { 0, 0 },
        { signal_bit(SIGTERM), SIGTERM },
        { signal_bit(SIGTERM) | signal_bit(SIGHUP), SIGHUP },
        { signal_bit(SIGHUP) | signal_bit(SIGSEGV), SIGSEGV },
        { signal_bit(SIGSEGV) | signal_bit(SIGILL) | signal_bit(SIGHUP), SIGILL },
        { signal_bit(64), 64 },
        { signal_bit(64) | signal_bit(SIGRTMIN), SIGRTMIN },
        { UINT64_MAX, SIGILL },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        assert_int_equal(signal_choose(cases[i].set), cases[i].signo);
    }
}

static void standard_signals_coalesce(void **state)
{
    struct process p = process_with_limit(100);
    struct signal_queue q = { .entries = LIST_INIT(q.entries) };
    struct siginfo first = { .code = SI_USER, .pid = 1 };
    struct siginfo second = { .code = SI_USER, .pid = 2 };
    struct siginfo got;

    (void)state;
    assert_int_equal(signal_queue_add(&p, &q, SIGUSR1, &first), 0);
    assert_int_equal(signal_queue_add(&p, &q, SIGUSR1, &second), 0);
    assert_int_equal(p.queued_signals, 1);
    signal_queue_take(&q, SIGUSR1, &got);
    assert_int_equal(got.signo, SIGUSR1);
    assert_int_equal(got.pid, 1);
    assert_int_equal(q.set, 0);
    assert_int_equal(p.queued_signals, 0);
}

static void realtime_signals_queue_in_order(void **state)
{
    struct process p = process_with_limit(100);
    struct signal_queue q = { .entries = LIST_INIT(q.entries) };
    struct siginfo got;

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct siginfo info = queued(i);

        assert_int_equal(signal_queue_add(&p, &q, 40, &info), 0);
        assert_int_equal(signal_queue_add(&p, &q, 41, &info), 0);
    }
    for (int i = 0; i < 5; i++) {
        assert_true(q.set & signal_bit(40));
        signal_queue_take(&q, 40, &got);
        assert_int_equal(got.value, i);
        assert_int_equal(got.code, SI_QUEUE);
    }
    assert_int_equal(q.set, signal_bit(41));
    signal_queue_flush(&q);
    assert_int_equal(q.set, 0);
    assert_int_equal(p.queued_signals, 0);
}

static void the_limit_refuses_only_who_asked_for_queueing(void **state)
{
    struct process p = process_with_limit(1);
    struct signal_queue q = { .entries = LIST_INIT(q.entries) };
    struct siginfo info = queued(1);
    struct siginfo user = { .code = SI_USER, .pid = 9 };
    struct siginfo got;

    (void)state;
    assert_int_equal(signal_queue_add(&p, &q, 40, &info), 0);
    assert_int_equal(signal_queue_add(&p, &q, 40, &info), -EAGAIN);
    assert_int_equal(signal_queue_add(&p, &q, SIGTERM, &user), 0); /* pends without its info */
    signal_queue_take(&q, SIGTERM, &got);
    assert_int_equal(got.pid, 0);
    assert_int_equal(got.code, SI_USER);
    signal_queue_remove(&q, signal_bit(40));
    assert_int_equal(q.set, 0);
}

static void removing_spares_the_others(void **state)
{
    struct process p = process_with_limit(100);
    struct signal_queue q = { .entries = LIST_INIT(q.entries) };
    struct siginfo got;

    (void)state;
    assert_int_equal(signal_queue_add(&p, &q, SIGTSTP, NULL), 0);
    assert_int_equal(signal_queue_add(&p, &q, SIGINT, NULL), 0);
    assert_int_equal(signal_queue_add(&p, &q, SIGTTIN, NULL), 0);
    signal_queue_remove(&q, SIGNALS_STOP);
    assert_int_equal(q.set, signal_bit(SIGINT));
    signal_queue_take(&q, SIGINT, &got);
    assert_int_equal(got.code, SI_KERNEL);
}

static void a_timers_entry_is_never_freed(void **state)
{
    struct process p = process_with_limit(0);
    struct signal_queue q = { .entries = LIST_INIT(q.entries) };
    struct signal_entry e = { .timer = (struct posix_timer *)&e, .owner = &p };
    struct siginfo got;

    (void)state;
    e.info = (struct siginfo){ .signo = SIGALRM, .code = SI_TIMER };
    list_push_back(&q.entries, &e.link);
    q.set = signal_bit(SIGALRM);
    signal_queue_take(&q, SIGALRM, &got);
    assert_int_equal(got.overrun, 7);
    assert_false(list_is_linked(&e.link));
    assert_int_equal(q.set, 0);
}

static void dispositions_are_copied_when_written(void **state)
{
    struct process parent = process_with_limit(0);
    struct process child = process_with_limit(0);
    struct sigaction handler = { .handler = 0x1000 };
    struct sigaction ignore = { .handler = SIG_IGN };

    (void)state;
    parent.actions = sigaction_default_table();
    assert_int_equal(sigaction_set_locked(&parent, SIGINT, &handler), 0);
    assert_int_equal(sigaction_set_locked(&parent, SIGHUP, &ignore), 0);
    child.actions = parent.actions; /* fork */
    ref_get(&child.actions->ref);
    assert_int_equal(sigaction_set_locked(&child, SIGTERM, &handler), 0);
    assert_ptr_not_equal(child.actions, parent.actions);
    assert_int_equal(parent.actions->caught, signal_bit(SIGINT));
    assert_int_equal(child.actions->caught, signal_bit(SIGINT) | signal_bit(SIGTERM));
    spin_init(&child.signal_lock, RANK_SIGNAL);
    sigaction_reset_caught(&child); /* exec: ignored stays */
    assert_int_equal(child.actions->caught, 0);
    assert_int_equal(child.actions->ignored, signal_bit(SIGHUP));
    assert_int_equal(sigaction_get(child.actions, SIGINT).handler, SIG_DFL);
    assert_int_equal(sigaction_get(parent.actions, SIGINT).handler, 0x1000);
    sigaction_table_put(child.actions);
    sigaction_table_put(parent.actions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_first_then_the_lowest),
        cmocka_unit_test(standard_signals_coalesce),
        cmocka_unit_test(realtime_signals_queue_in_order),
        cmocka_unit_test(the_limit_refuses_only_who_asked_for_queueing),
        cmocka_unit_test(removing_spares_the_others),
        cmocka_unit_test(a_timers_entry_is_never_freed),
        cmocka_unit_test(dispositions_are_copied_when_written),
    };

    host_machine_create(16 * MIB, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

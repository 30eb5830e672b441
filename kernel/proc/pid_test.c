/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <string.h>

#include <host/host.h>
#include <proc/pid.h>
#include <proc/process.h>
#include <sched/task.h>

#define MIB (UINT64_C(1) << 20)

static void numbers_rise_and_are_not_reused_soon(void **state)
{
    (void)state;
    pid_t first = pid_alloc();
    pid_t second = pid_alloc();

    assert_int_equal(second, first + 1);
    pid_drop(first);
    assert_int_equal(pid_alloc(), second + 1);
    pid_drop(second);
    pid_drop(second + 1);
}

static void a_group_keeps_its_number(void **state)
{
    (void)state;
    static bool seen[PID_MAX];
    pid_t n = pid_alloc();
    int count = 0;

    while (n < PID_RESERVED) { /* numbers below are given once only */
        pid_drop(n);
        n = pid_alloc();
    }

    memset(seen, 0, sizeof(seen));
    pid_hold(n); /* a group member */
    pid_drop(n); /* the task is gone */
    for (;;) {
        pid_t m = pid_alloc();

        if (m < 0) {
            assert_int_equal(m, -EAGAIN);
            break;
        }
        assert_true(m > 0 && m < PID_MAX && m != n);
        assert_false(seen[m]);
        seen[m] = true;
        count++;
    }
    assert_true(count > PID_MAX - PID_RESERVED - 2);
    pid_drop(n);
    assert_int_equal(pid_alloc(), n); /* the only free one */
    seen[n] = true;
    for (pid_t m = 1; m < PID_MAX; m++) {
        if (seen[m]) {
            pid_drop(m);
        }
    }
}

static void lookups_give_references(void **state)
{
    struct task t = { .ref = { 1 } };
    struct process p = { .ref = { 1 } };
    pid_t n = pid_alloc();

    (void)state;
    assert_null(task_find(n));
    assert_null(process_find(n));
    pid_set_task(n, &t);
    assert_ptr_equal(task_find(n), &t);
    assert_int_equal(t.ref.count, 2);
    assert_null(process_find(n)); /* a thread's number names no process */
    pid_set_process(n, &p);
    assert_ptr_equal(process_find(n), &p);
    assert_int_equal(pid_next(n), n);
    t.ref.count = 0; /* dying: still in the table, no longer to be had */
    assert_null(task_find(n));
    pid_set_task(n, NULL);
    pid_set_process(n, NULL);
    pid_drop(n);
    assert_null(process_find(n));
    assert_int_not_equal(pid_next(n), n);
}

static void refuses_numbers_out_of_range(void **state)
{
    static const pid_t bad[] = { INT32_MIN, -1, 0, PID_MAX, PID_MAX + 1, INT32_MAX };

    (void)state;
    for (size_t i = 0; i < array_size(bad); i++) {
        assert_null(task_find(bad[i]));
        assert_null(process_find(bad[i]));
    }
    assert_int_equal(pid_next(PID_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_rise_and_are_not_reused_soon),
        cmocka_unit_test(a_group_keeps_its_number),
        cmocka_unit_test(lookups_give_references),
        cmocka_unit_test(refuses_numbers_out_of_range),
    };

    host_machine_create(16 * MIB, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

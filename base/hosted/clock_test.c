/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <base/clock.h>

static void test_clocks(void **state)
{
    uint64_t before = clock_ns();

    (void)state;
    assert_true(before > 0);
    assert_true(clock_ns() >= before);
    assert_true(clock_ns_of(CLOCK_REALTIME) > UINT64_C(1600000000) * NS_PER_S);
    assert_int_equal(clock_ns_of((clockid_t)1000), 0); /* no such clock */
}

static void test_timespecs(void **state)
{
    static const struct {
        uint64_t ns;
        time_t s;
        long rest;
    } cases[] = {
        { 0, 0, 0 }, { 999999999, 0, 999999999 }, { NS_PER_S, 1, 0 }, { 3 * NS_PER_S + 7, 3, 7 }
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const struct timespec t = clock_timespec(cases[i].ns);

        assert_int_equal(t.tv_sec, cases[i].s);
        assert_int_equal(t.tv_nsec, cases[i].rest);
    }
}

static void test_time_left_for_poll(void **state)
{
    (void)state;
    assert_int_equal(clock_poll_ms(CLOCK_NEVER), -1);
    assert_int_equal(clock_poll_ms(0), 0);
    assert_int_equal(clock_poll_ms(clock_ns()), 0);
    /* The end of the range, and beyond what poll() takes. */
    assert_int_equal(clock_poll_ms(CLOCK_NEVER - 1), INT32_MAX);
    assert_int_equal(clock_poll_ms(clock_ns() + UINT64_C(1000000) * UINT64_C(3600) * NS_PER_S),
                     INT32_MAX);
    /* Rounded up: never more than what was asked, and not 0 before the time. */
    assert_true(clock_poll_ms(clock_ns() + 3600 * NS_PER_S) > 0);
    assert_true(clock_poll_ms(clock_ns() + 3600 * NS_PER_S) <= 3600 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_timespecs),
        cmocka_unit_test(test_time_left_for_poll),
    };

    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}

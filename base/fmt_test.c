/* SPDX-License-Identifier: Apache-2.0 */
/* fmt must print what printf(3) prints: the oracle is the host's libc. */

#include <test.h>

#include <stdio.h>
#include <string.h>

#include <base/fmt.h>

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[128];                                                                            \
        char theirs[128];                                                                          \
        size_t n = fmt_snprintf(ours, sizeof(ours), __VA_ARGS__);                                  \
        int m = snprintf(theirs, sizeof(theirs), __VA_ARGS__);                                     \
        assert_string_equal(ours, theirs);                                                         \
        assert_int_equal((int)n, m);                                                               \
    } while (0)

static void numbers(void **state)
{
    (void)state;
    SAME("%d %d %d", 0, -1, 2147483647);
    SAME("%ld %lu", (long)INT64_MIN, (unsigned long)UINT64_MAX);
    SAME("%5d|%-5d|%05d|%+d|% d", 42, 42, 42, 42, 42);
    SAME("%x %X %#x %#o %o", 255, 255, 255, 8, 8);
    SAME("%.3d|%8.3d|%-8.3d|%.0d", 7, 7, 7, 0);
    SAME("%hhu %hu %hhd", 300, 70000, 200);
    SAME("%zu %llx %jd", (size_t)12, 0x123456789abcdefULL, (intmax_t)-5);
    SAME("%*d|%-*d|%.*d", 6, 1, 6, 1, 4, 1);
}

static void strings(void **state)
{
    (void)state;
    SAME("%s|%10s|%-10s|%.2s", "abc", "abc", "abc", "abc");
    SAME("%c%c%%", 'a', 'b');
    SAME("%.*s", 3, "abcdef");
    SAME("%p", (void *)0x1234);
}

static void cut_text_is_terminated(void **state)
{
    char buf[4] = "zzz";

    (void)state;
    assert_int_equal(fmt_snprintf(buf, sizeof(buf), "%s", "abcdef"), 6);
    assert_string_equal(buf, "abc");
    assert_int_equal(fmt_snprintf(buf, 0, "%d", 12345), 5);
    assert_string_equal(buf, "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings),
        cmocka_unit_test(cut_text_is_terminated),
    };

    return cmocka_run_group_tests_name("base/fmt", tests, NULL, NULL);
}

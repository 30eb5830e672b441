/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <test.h>

#include "reader/format.h"

struct text {
    char bytes[1024];
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

static const struct {
    const char *in;
    const char *out;
} cases[] = {
    { "", "" },
    { "a", "a\n" },
    { "\n\n a \n\n\n b\n\n", "a\n\nb\n" },
    { "(def x\n1)", "(def x\n  1)\n" },
    { "(let [a 1\nb 2]\n(+ a\nb))", "(let [a 1\n      b 2]\n  (+ a\n    b))\n" },
    { "((f)\nx)", "((f)\n x)\n" },
    { "%{:a\n1}", "%{:a\n  1}\n" },
    { "; ( \n(a ; x )  \nb)", "; (\n(a ; x )\n  b)\n" },
    { "(a \"x  \n  y(\" \nb)", "(a \"x  \n  y(\"\n  b)\n" },
    { "[\\( \\\"\n1]", "[\\( \\\"\n 1]\n" },
    { "\"a\\\"b\n\"", "\"a\\\"b\n\"\n" },
    { "(\xC3\xA9 [\n1])", "(\xC3\xA9 [\n    1])\n" },
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct text once = { .size = 0 };
        struct text twice = { .size = 0 };

        assert_true(format_text(cases[i].in, strlen(cases[i].in), collect, &once));
        assert_string_equal(once.bytes, cases[i].out);
        assert_true(format_text(once.bytes, once.size, collect, &twice));
        assert_string_equal(twice.bytes, once.bytes);
    }
}

static void test_refused(void **state)
{
    static const char *const texts[] = { "(", ")", "(]", "\"a", "[(])" };

    (void)state;
    for (size_t i = 0; i < array_size(texts); i++) {
        struct text t = { .size = 0 };

        assert_false(format_text(texts[i], strlen(texts[i]), collect, &t));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

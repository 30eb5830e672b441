/* SPDX-License-Identifier: Apache-2.0 */

#include <test.h>

#include <string.h>

#include "cli.h"
#include "files.h"
#include "options.h"

struct values {
    bool is_loud;
    const char *file;
    uint64_t count;
    uint64_t memory_mib;
    struct strings env;
};

static int parse(struct values *v, const char *const *argv, struct operands *out, char *error,
                 size_t error_size)
{
    const struct option_spec specs[] = {
        { .name = "loud", .letter = 'l', .kind = OPTION_FLAG, .out = &v->is_loud },
        { .name = "file", .letter = 'f', .kind = OPTION_TEXT, .out = &v->file },
        { .name = "count",
          .letter = 'c',
          .kind = OPTION_NUMBER,
          .out = &v->count,
          .min = 1,
          .max = 32 },
        MIB_OPTION("memory", 'm', &v->memory_mib, 4, 16384),
        { .name = "env", .letter = 'e', .kind = OPTION_LIST, .out = &v->env },
    };
    int argc = 0;

    while (argv[argc]) {
        argc++;
    }
    return options_parse(specs, array_size(specs), argc, (char **)(uintptr_t)argv, out, error,
                         error_size);
}

static void values_are_set(void **state)
{
    const char *const argv[] = { "run",   "--loud", "--file=a=b", "-c",     "4", "-eX=1",
                                 "--env", "Y",      "prog",       "--loud", NULL };
    struct values v = { 0 };
    struct operands o;
    char error[256];

    (void)state;
    assert_int_equal(parse(&v, argv, &o, error, sizeof(error)), 0);
    assert_true(v.is_loud);
    assert_string_equal(v.file, "a=b");
    assert_int_equal(v.count, 4);
    assert_int_equal(v.env.count, 2);
    assert_string_equal(v.env.items[1], "Y");
    assert_int_equal(o.first, 8);
    assert_false(o.is_after_dashes);
    strings_free(&v.env);
}

static void letters_together(void **state)
{
    const char *const argv[] = { "run", "-lc", "4", "-lf", "x", "-lc7", NULL };
    struct values v = { 0 };
    struct operands o;
    char error[256];

    (void)state;
    assert_int_equal(parse(&v, argv, &o, error, sizeof(error)), 0);
    assert_true(v.is_loud);
    assert_string_equal(v.file, "x");
    assert_int_equal(v.count, 7);
    assert_int_equal(o.first, 6);
}

static void dashes_and_help(void **state)
{
    const char *const dashed[] = { "run", "--", "-x", NULL };
    const char *const empty[] = { "run", NULL };
    const char *const help[] = { "run", "--help", "--nonsense", NULL };
    const char *const single[] = { "run", "-", NULL };
    struct values v = { 0 };
    struct operands o;
    char error[256];

    (void)state;
    assert_int_equal(parse(&v, dashed, &o, error, sizeof(error)), 0);
    assert_int_equal(o.first, 2);
    assert_true(o.is_after_dashes);
    assert_int_equal(parse(&v, empty, &o, error, sizeof(error)), 0);
    assert_int_equal(o.first, 1);
    assert_int_equal(parse(&v, help, &o, error, sizeof(error)), 0);
    assert_true(o.wants_help);
    assert_int_equal(parse(&v, single, &o, error, sizeof(error)), 0);
    assert_int_equal(o.first, 1);
}

static const struct {
    const char *argv[4];
    const char *holds;
} bad[] = {
    { { "run", "--lud", NULL }, "did you mean --loud" },
    { { "run", "--wholly-other", NULL }, "unknown option" },
    { { "run", "-x", NULL }, "unknown option -x" },
    { { "run", "--loud=1", NULL }, "takes no value" },
    { { "run", "-lx", NULL }, "unknown option -x" },
    { { "run", "--file", NULL }, "needs a value" },
    { { "run", "-f", NULL }, "needs a value" },
    { { "run", "--file=", NULL }, "not empty" },
    { { "run", "--count", "0", NULL }, "from 1 to 32" },
    { { "run", "--count", "33", NULL }, "from 1 to 32" },
    { { "run", "--count", "-1", NULL }, "from 1 to 32" },
    { { "run", "--count", "4x", NULL }, "from 1 to 32" },
    { { "run", "--count", "", NULL }, "from 1 to 32" },
    { { "run", "--count", "99999999999999999999999", NULL }, "from 1 to 32" },
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(bad); i++) {
        struct values v = { 0 };
        struct operands o;
        char error[256] = "";

        assert_int_equal(parse(&v, bad[i].argv, &o, error, sizeof(error)), -1);
        if (!strstr(error, bad[i].holds)) {
            fail_msg("%s: \"%s\" lacks \"%s\"", bad[i].argv[1], error, bad[i].holds);
        }
        strings_free(&v.env);
    }
}

static void near_words(void **state)
{
    static const char *const words[] = { "build", "pack", "run", NULL };

    (void)state;
    assert_string_equal(nearest_word("bild", words), "build");
    assert_string_equal(nearest_word("pakc", words), "pack");
    assert_null(nearest_word("xyz", words));
    assert_null(nearest_word("a-word-longer-than-any-that-the-table-may-hold", words));
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t mib; /* 0: refused */
    } cases[] = {
        { "4", 4 },
        { "64m", 64 },
        { "64MB", 64 },
        { "64MiB", 64 },
        { "1G", 1024 },
        { "16gib", 16384 },
        { "17G", 0 },
        { "3", 0 },
        { "", 0 },
        { "M", 0 },
        { "1.5G", 0 },
        { "64K", 0 },
        { "64 M", 0 },
        { "-4", 0 },
        { "0x10", 0 },
        { "18446744073709551615G", 0 },
        { "99999999999999999999", 0 },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const char *const argv[] = { "run", "-m", cases[i].text, NULL };
        struct values v = { 0 };
        struct operands o;
        char error[256];
        int status = parse(&v, argv, &o, error, sizeof(error));

        assert_int_equal(status, cases[i].mib == 0 ? -1 : 0);
        assert_int_equal(v.memory_mib, cases[i].mib);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_set),   cmocka_unit_test(sizes),
        cmocka_unit_test(letters_together), cmocka_unit_test(dashes_and_help),
        cmocka_unit_test(refusals),         cmocka_unit_test(near_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/firecracker/json.h"

static void test_writing(void **state)
{
    static struct fc_json j;

    (void)state;
    fc_json_begin(&j);
    fc_json_close(&j);
    assert_string_equal(j.text, "{}");

    fc_json_begin(&j);
    fc_json_string(&j, "path", "a\"b\\c\n\x01/\xc3\xa9");
    fc_json_number(&j, "n", UINT64_MAX);
    fc_json_open(&j, "inner");
    fc_json_bool(&j, "yes", true);
    fc_json_bool(&j, "no", false);
    fc_json_close(&j);
    fc_json_string(&j, "last", "");
    fc_json_close(&j);
    assert_false(j.has_overflowed);
    assert_string_equal(j.text, "{\"path\":\"a\\\"b\\\\c\\u000a\\u0001/\xc3\xa9\","
                                "\"n\":18446744073709551615,\"inner\":{\"yes\":true,\"no\":false},"
                                "\"last\":\"\"}");
    assert_int_equal(j.length, strlen(j.text));
}

/* Too much is said, never written past the end; the next object begins afresh. */
static void test_overflow(void **state)
{
    static struct fc_json j;
    static char text[FC_JSON_SIZE_MAX];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    fc_json_begin(&j);
    fc_json_string(&j, "k", text);
    fc_json_close(&j);
    assert_true(j.has_overflowed);
    assert_true(j.length < sizeof(j.text));
    assert_int_equal(j.text[j.length], '\0');
    fc_json_begin(&j);
    assert_false(j.has_overflowed);
    assert_string_equal(j.text, "{");
}

static void test_reading(void **state)
{
    static const struct {
        const char *text;
        const char *value; /* NULL: none */
    } cases[] = {
        { "{\"k\":\"v\"}", "v" },
        { " {\t\"k\" :\r\n \"v\" } trailing", "v" },
        { "{\"a\":1,\"b\":[{\"k\":\"no\"},[\"x,}\"]],\"c\":{\"k\":\"no\"},\"k\":\"v\"}", "v" },
        { "{\"a\":\"\\\"k\\\":\\\"no\\\"\",\"k\":\"v\"}", "v" },
        { "{\"a\":null,\"k\":\"\"}", "" },
        { "{\"k\":\"a\\\"b\\\\c\\/\\b\\f\\n\\r\\t\"}", "a\"b\\c/\b\f\n\r\t" },
        { "{\"k\":\"\\u0041\\u00e9\\u0000\"}", "A??" },
        { "{\"k\":\"123456789\"}", "123456789" },
        { "{\"k\":\"0123456789abcdefXYZ\"}", "0123456789abcde" }, /* cut to the room */
        { "", NULL },
        { "{", NULL },
        { "{}", NULL },
        { "[\"k\",\"v\"]", NULL },
        { "{\"k\"}", NULL },
        { "{\"k\":", NULL },
        { "{\"k\":1}", NULL },
        { "{\"k\":\"v", NULL },
        { "{\"k\":\"v\\", NULL },
        { "{\"k\":\"\\x\"}", NULL },
        { "{\"k\":\"\\u12\"}", NULL },
        { "{\"k\":\"\\u12g4\"}", NULL },
        { "{\"a\":[1,2,\"k\":\"v\"}", NULL },
        { "{\"a\":]},\"k\":\"v\"}", NULL },
        { "{\"other\":\"v\"}", NULL },
        { "{\"a\":1 \"k\":\"v\"}", NULL },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        size_t length = strlen(cases[i].text);
        char *exact = malloc(length == 0 ? 1 : length); /* without a NUL: a byte too far is seen */
        char out[16] = "unset";
        bool is_found = false;

        assert_non_null(exact);
        memcpy(exact, cases[i].text, length);
        is_found = fc_json_find_string(exact, length, "k", out, sizeof(out));
        if (is_found != (cases[i].value != NULL)) {
            fail_msg("%s: %d", cases[i].text, is_found);
        }
        if (is_found) {
            assert_string_equal(out, cases[i].value);
        }
        free(exact);
    }
}

/* Deep nesting takes no stack, and a NUL in a text does not end it. */
static void test_hostile(void **state)
{
    static const char with_nul[] = "{\"k\":\"a\0b\"}";
    static char deep[100000];
    char out[8];

    (void)state;
    (void)snprintf(deep, sizeof(deep), "{\"a\":");
    memset(deep + 5, '[', sizeof(deep) - 5);
    assert_false(fc_json_find_string(deep, sizeof(deep), "k", out, sizeof(out)));
    assert_true(fc_json_find_string(with_nul, sizeof(with_nul) - 1, "k", out, sizeof(out)));
    assert_string_equal(out, "a?b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests_name("firecracker_json", tests, NULL, NULL);
}

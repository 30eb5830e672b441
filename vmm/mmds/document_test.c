/* SPDX-License-Identifier: Apache-2.0 */
/* What is JSON and what is not; values by path; both forms of writing. */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include "mmds/document.h"

static void checks_texts(void **state)
{
    static const struct {
        const char *text;
        bool is_json;
    } cases[] = {
        { "null", true },
        { " true ", true },
        { "-0.5e+10", true },
        { "\"\"", true },
        { "\"a\\u00e9\\n\\\"\"", true },
        { "[]", true },
        { "{}", true },
        { "[1, [2, {\"a\": []}], \"x\"]", true },
        { "{\"a\":{\"b\":{}},\"c\":[{}]}", true },
        { "", false },
        { " ", false },
        { "nul", false },
        { "nulll", false },
        { "01", false },
        { "1.", false },
        { "-", false },
        { "1e", false },
        { "+1", false },
        { "\"a", false },
        { "\"\\x\"", false },
        { "\"\\0 ", false },
        { "\"\ntrue", false },
        { "\"\\u12g4\"", false },
        { "\"\\u12", false },
        { "\"a\nb\"", false },
        { "[1,]", false },
        { "[,1]", false },
        { "[1 2]", false },
        { "[1", false },
        { "[1}", false },
        { "{\"a\"}", false },
        { "{\"a\":}", false },
        { "{\"a\":1,}", false },
        { "{a:1}", false },
        { "{1:1}", false },
        { "{\"a\":1 \"b\":2}", false },
        { "1 2", false },
        { "]", false },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const size_t size = strlen(cases[i].text);
        char *exact = malloc(size + 1); /* so that a read beyond it is found */

        assert_non_null(exact);
        memcpy(exact, cases[i].text, size);
        if (document_check(exact, size) != cases[i].is_json) {
            fail_msg("'%s'", cases[i].text);
        }
        free(exact);
    }
}

static void checks_depth(void **state)
{
    char text[2 * DOCUMENT_DEPTH_MAX + 4];

    (void)state;
    memset(text, '[', DOCUMENT_DEPTH_MAX);
    memset(text + DOCUMENT_DEPTH_MAX, ']', DOCUMENT_DEPTH_MAX);
    assert_true(document_check(text, (size_t)2 * DOCUMENT_DEPTH_MAX));
    /* An empty one at the bottom holds nothing and so has no depth of its own. */
    memset(text, '[', DOCUMENT_DEPTH_MAX + 2);
    memset(text + DOCUMENT_DEPTH_MAX + 2, ']', DOCUMENT_DEPTH_MAX + 2);
    assert_false(document_check(text, (size_t)2 * DOCUMENT_DEPTH_MAX + 4));
}

static const char sample[] =
    " {\"latest\" : {\"meta-data\":{\"ami-id\":\"ami-1\",\"empty\":\"\", \"n\":12 ,\"list\":[10,"
    "\"b\",{\"c\":true}],\"esc\\u00e9\\/x\":\"q\\\"\\\\\\n\\u20ac\\ud83d\\ude00\\ud800\"},"
    "\"user~data\":\"1\"},\"x\":null} ";

static void finds_values(void **state)
{
    static const struct {
        const char *path;
        const char *json; /* NULL: nothing there */
        const char *text; /* NULL: no text form */
    } cases[] = {
        { "/latest/meta-data/ami-id", "\"ami-1\"", "ami-1" },
        { "/latest/meta-data/ami-id/", "\"ami-1\"", "ami-1" },
        { "//latest///meta-data//ami-id", "\"ami-1\"", "ami-1" },
        { "/latest/meta-data/empty", "\"\"", "" },
        { "/latest/meta-data/n", "12", NULL },
        { "/latest/meta-data/list", "[10,\"b\",{\"c\":true}]", NULL },
        { "/latest/meta-data/list/0", "10", NULL },
        { "/latest/meta-data/list/1", "\"b\"", "b" },
        { "/latest/meta-data/list/2", "{\"c\":true}", "c" },
        { "/latest/meta-data/list/2/c", "true", NULL },
        { "/latest/meta-data/list/3", NULL, NULL },
        { "/latest/meta-data/list/00", NULL, NULL },
        { "/latest/meta-data/list/x", NULL, NULL },
        { "/latest/meta-data/list/99999999999999999999999", NULL, NULL },
        { "/latest/meta-data/esc\xc3\xa9~1x", "\"q\\\"\\\\\\n\\u20ac\\ud83d\\ude00\\ud800\"",
          "q\"\\\n\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd" },
        { "/latest/meta-data", NULL, "ami-id\nempty\nn\nlist\nesc\xc3\xa9/x" },
        { "/latest", NULL, "meta-data/\nuser~data" },
        { "/latest/user~0data", "\"1\"", "1" },
        { "/latest/user~data", "\"1\"", "1" },
        { "/", NULL, "latest/\nx" },
        { "", NULL, "latest/\nx" },
        { "/x", "null", NULL },
        { "/x/y", NULL, NULL },
        { "/lates", NULL, NULL },
        { "/latestt", NULL, NULL },
        { "/latest/meta-data/ami-id/x", NULL, NULL },
    };
    const struct json_piece root = document_root(sample, sizeof(sample) - 1);

    (void)state;
    assert_true(document_check(sample, sizeof(sample) - 1));
    assert_int_equal(root.at - sample, 1);
    assert_int_equal(root.size, sizeof(sample) - 3);
    for (size_t i = 0; i < array_size(cases); i++) {
        struct json_piece v = document_find(root, cases[i].path, strlen(cases[i].path));
        char *out = NULL;
        size_t n = 0;

        if (v.at == NULL) {
            if (cases[i].json != NULL || cases[i].text != NULL) {
                fail_msg("%s is not found", cases[i].path);
            }
            continue;
        }
        out = malloc(v.size);
        assert_non_null(out);
        n = document_write(v, DOCUMENT_JSON, out);
        if (cases[i].json != NULL) {
            assert_int_equal(n, strlen(cases[i].json));
            assert_memory_equal(out, cases[i].json, n);
        }
        n = document_write(v, DOCUMENT_TEXT, out);
        if (cases[i].text == NULL) {
            assert_true(n == SIZE_MAX);
        } else if (n != strlen(cases[i].text) || memcmp(out, cases[i].text, n) != 0) {
            fail_msg("%s is '%.*s'", cases[i].path, (int)n, out);
        }
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_texts),
        cmocka_unit_test(checks_depth),
        cmocka_unit_test(finds_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

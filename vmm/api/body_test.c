/* SPDX-License-Identifier: Apache-2.0 */
/* Objects read through a table, merge patches, and the configuration behind a snapshot's state. */
#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"

static json_t *parse(const char *text)
{
    struct body_detail d;
    json_t *value = body_parse(text, strlen(text), &d);

    assert_non_null(value);
    return value;
}

static void test_read(void **state)
{
    static const char *const colours[] = { "red", "green", NULL };

    static const struct {
        const char *text;
        const char *detail; /* NULL: taken */
    } cases[] = {
        { "{\"n\":255,\"s\":\"x\"}", NULL },
        { "{\"n\":0,\"s\":null,\"c\":\"green\",\"f\":true}", NULL },
        { "{}", "missing field `n`" },
        { "{\"n\":null}", "invalid type: null, expected u8" },
        { "{\"n\":256}", "invalid value: integer `256`, expected u8" },
        { "{\"n\":-1}", "invalid value: integer `-1`, expected u8" },
        { "{\"n\":1.0}", "invalid type: floating point" },
        { "{\"n\":1,\"f\":null}", "invalid type: null, expected a boolean" },
        { "{\"n\":1,\"c\":\"blue\"}", "unknown variant `blue`, expected one of `red`, `green`" },
        { "{\"n\":1,\"x\":1}", "unknown field `x`, expected one of `n`, `s`, `c`, `f`" },
        { "[]", "invalid type" },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct body_detail d = { "" };
        uint64_t n = 77;
        const char *s = "default";
        unsigned c = 0;
        bool f = false;
        const struct body_field fields[] = {
            FIELD("n", BODY_NUMBER, BODY_REQUIRED, &n, .max = UINT8_MAX),
            FIELD("s", BODY_TEXT, BODY_OPTIONAL, &s),
            FIELD("c", BODY_CHOICE, BODY_DEFAULT, &c, .choices = colours),
            FIELD("f", BODY_FLAG, BODY_DEFAULT, &f),
        };
        json_t *object = parse(cases[i].text);
        bool is_taken = body_read(object, fields, array_size(fields), BODY_UNKNOWN_REFUSED, &d);

        assert_int_equal(is_taken, cases[i].detail == NULL);
        if (!is_taken && cases[i].detail != NULL) {
            assert_int_equal(n, 77); /* nothing is written before all has passed */
            if (strncmp(d.text, cases[i].detail, strlen(cases[i].detail)) != 0) {
                fail_msg("%s: %s", cases[i].text, d.text);
            }
        }
        json_decref(object);
    }
}

static void test_parse(void **state)
{
    static const char *const bad[] = { "", "{", "{\"a\":1,\"a\":2}", "{\"a\":1} x", "nul" };
    struct body_detail d;

    (void)state;
    for (size_t i = 0; i < array_size(bad); i++) {
        d.text[0] = '\0';
        assert_null(body_parse(bad[i], strlen(bad[i]), &d));
        assert_true(d.text[0] != '\0');
    }
}

/* The examples of RFC 7396, appendix A. */
static void test_merge(void **state)
{
    static const char *const cases[][3] = {
        { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
        { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
        { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
        { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
        { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
        { "{\"a\":\"foo\"}", "null", "null" },
        { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
        { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
        { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
        { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        json_t *target = parse(cases[i][0]);
        json_t *patch = parse(cases[i][1]);
        json_t *wanted = parse(cases[i][2]);

        assert_true(body_merge_patch(&target, patch));
        assert_true(json_equal(target, wanted));
        json_decref(target);
        json_decref(patch);
        json_decref(wanted);
    }
}

static void test_snapshot_file(void **state)
{
    int fd = memfd_create("state", MFD_CLOEXEC);
    json_t *config = parse("{\"drives\":[]}");
    json_t *back = NULL;
    int copy = -1;
    char bytes[8] = "";

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(snapshot_split(fd, &back, &copy), -EBADMSG);
    assert_int_equal(write(fd, "machine", 7), 7);
    assert_int_equal(snapshot_split(fd, &back, &copy), -EBADMSG);
    assert_int_equal(snapshot_append_config(fd, config), 0);
    assert_int_equal(snapshot_split(fd, &back, &copy), 0);
    assert_true(json_equal(config, back));
    assert_int_equal(read(copy, bytes, sizeof(bytes)), 7);
    assert_memory_equal(bytes, "machine", 7);
    json_decref(back);
    (void)close(copy);
    /* Sizes that point out of the file. */
    for (unsigned i = 0; i < 8; i++) {
        uint8_t byte = 0xff;
        uint8_t old = 0;
        off_t at = lseek(fd, 0, SEEK_END) - 16 + (off_t)i;

        back = NULL;
        assert_int_equal(pread(fd, &old, 1, at), 1);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(snapshot_split(fd, &back, &copy), -EBADMSG);
        assert_int_equal(pwrite(fd, &old, 1, at), 1);
    }
    json_decref(config);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_snapshot_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

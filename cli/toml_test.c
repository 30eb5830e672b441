/* SPDX-License-Identifier: Apache-2.0 */

#include <test.h>

#include <math.h>
#include <string.h>

#include "files.h"
#include "toml.h"

/* The tree as text: keys in order, strings in quotes, so that whole documents can be compared. */
static void print_value(const struct toml_value *v, struct buffer *out)
{
    switch (v->type) {
    case TOML_STRING:
        buffer_format(out, "\"%s\"", v->text.data);
        return;
    case TOML_DATETIME:
        buffer_format(out, "@%s", v->text.data);
        return;
    case TOML_INTEGER:
        buffer_format(out, "%lld", (long long)v->integer);
        return;
    case TOML_FLOAT:
        buffer_format(out, "%g", v->floating);
        return;
    case TOML_BOOLEAN:
        buffer_add_text(out, v->boolean ? "true" : "false");
        return;
    case TOML_ARRAY:
        buffer_add_text(out, "[");
        for (size_t i = 0; i < v->array->count; i++) {
            buffer_add_text(out, i ? "," : "");
            print_value(&v->array->values[i], out);
        }
        buffer_add_text(out, "]");
        return;
    case TOML_TABLE:
        buffer_add_text(out, "{");
        for (const struct toml_entry *e = v->table->first; e; e = e->next) {
            buffer_format(out, "%s%s=", e == v->table->first ? "" : ",", e->key.data);
            print_value(&e->value, out);
        }
        buffer_add_text(out, "}");
        return;
    }
}

static const struct {
    const char *text;
    const char *tree;
} good[] = {
    { "", "{}" },
    { "# only a comment", "{}" },
    { "\xef\xbb\xbf"
      "a=1",
      "{a=1}" },
    { "a = 1\r\nb = 2 # x\n", "{a=1,b=2}" },
    { "a = \"\\t\\\"\\u00e4\\U0001F600\"", "{a=\"\t\"\xc3\xa4\xf0\x9f\x98\x80\"}" },
    { "a = 'C:\\x'", "{a=\"C:\\x\"}" },
    { "a = \"\"\"\none\n two\\\n   three\"\"\"", "{a=\"one\n twothree\"}" },
    { "a = '''\n'x''y'''''", "{a=\"'x''y''\"}" },
    { "a = \"\"", "{a=\"\"}" },
    { "a = 0xDEAD_beef\nb = 0o17\nc = 0b101\nd = 1_000\ne = -17\nf = +0",
      "{a=3735928559,b=15,c=5,d=1000,e=-17,f=0}" },
    { "a = 9223372036854775807\nb = -9223372036854775808",
      "{a=9223372036854775807,b=-9223372036854775808}" },
    { "a = 1.5\nb = 1e3\nc = -2.5E-1\nd = 6.626e-34\ne = 1_0.2_5",
      "{a=1.5,b=1000,c=-0.25,d=6.626e-34,e=10.25}" },
    { "a = inf\nb = -inf", "{a=inf,b=-inf}" },
    { "a = true\nb = false", "{a=true,b=false}" },
    { "a = 1979-05-27T07:32:00Z\nb = 1979-05-27 07:32:00.5-07:00\nc = 2000-02-29\nd = 07:32:00",
      "{a=@1979-05-27T07:32:00Z,b=@1979-05-27 07:32:00.5-07:00,c=@2000-02-29,d=@07:32:00}" },
    { "a = [1, 2, # x\n 3,\n]", "{a=[1,2,3]}" },
    { "a = [[1], ['x']]", "{a=[[1],[\"x\"]]}" },
    { "a = { b = 1, c.d = 2 }", "{a={b=1,c={d=2}}}" },
    { "a.b.c = 1\na.b.d = 2", "{a={b={c=1,d=2}}}" },
    { "\"a b\".'c' = 1", "{a b={c=1}}" },
    { "3.14 = 1", "{3={14=1}}" },
    { "[a]\nx=1\n[a.b]\ny=2\n[c]\n", "{a={x=1,b={y=2}},c={}}" },
    { "[a.b]\ny=2\n[a]\nx=1", "{a={b={y=2},x=1}}" },
    { "[[p]]\nn=1\n[[p]]\nn=2\n[p.q]\nr=3", "{p=[{n=1},{n=2,q={r=3}}]}" },
    { "[f]\na.b=1\n[f.a.c]\nd=1", "{f={a={b=1,c={d=1}}}}" },
};

static void good_documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(good); i++) {
        struct toml_error error;
        struct buffer out = { 0 };
        struct toml_document *doc = toml_parse(good[i].text, strlen(good[i].text), &error);

        if (!doc) {
            fail_msg("%s: %u:%u: %s", good[i].text, error.line, error.column, error.text);
        }
        const struct toml_value root = { .type = TOML_TABLE,
                                         .table = (struct toml_table *)(uintptr_t)toml_root(doc) };

        print_value(&root, &out);
        assert_string_equal(out.data, good[i].tree);
        buffer_free(&out);
        toml_free(doc);
    }
}

static const struct {
    const char *text;
    uint32_t line;
    uint32_t column;
} bad[] = {
    { "a", 1, 2 },
    { "a =", 1, 4 },
    { "= 1", 1, 1 },
    { "a = 1 b = 2", 1, 7 },
    { "a = 1\na = 2", 2, 1 },
    { "a = 01", 1, 5 },
    { "a = 1__0", 1, 5 },
    { "a = _1", 1, 5 },
    { "a = 1_", 1, 5 },
    { "a = 0x_1", 1, 5 },
    { "a = 0xg", 1, 5 },
    { "a = 0b2", 1, 5 },
    { "a = -0x1", 1, 5 },
    { "a = 9223372036854775808", 1, 5 },
    { "a = .5", 1, 5 },
    { "a = 5.", 1, 5 },
    { "a = 1e", 1, 5 },
    { "a = 00.5", 1, 5 },
    { "a = word", 1, 5 },
    { "a = True", 1, 5 },
    { "a = 2001-02-29", 1, 5 },
    { "a = 2000-13-01", 1, 5 },
    { "a = 25:00:00", 1, 5 },
    { "a = 1979-05-27T07:32", 1, 5 },
    { "a = \"x", 1, 7 },
    { "a = \"x\ny\"", 1, 7 },
    { "a = \"\\q\"", 1, 7 },
    { "a = \"\\ud800\"", 1, 12 },
    { "a = \"\\u12\"", 1, 10 },
    { "a = \"\x01\"", 1, 6 },
    { "a = \"\xff\"", 1, 6 },
    { "a = \"\xc0\x80\"", 1, 6 },
    { "a = \"\xed\xa0\x80\"", 1, 6 },
    { "a = \"\"\"x", 1, 9 },
    { "a = \"\"\"x\"\"\"\"\"\"", 1, 15 },
    { "# \x01", 1, 3 },
    { "a = [1 2]", 1, 8 },
    { "a = [1,", 1, 8 },
    { "a = {b=1,}", 1, 10 },
    { "a = {b=1\n}", 1, 9 },
    { "a = {b=1, b=2}", 1, 11 },
    { "a = {b=1}\na.c=2", 2, 1 },
    { "a = {b=1}\n[a.c]", 2, 2 },
    { "[a]\n[a]", 2, 2 },
    { "[a", 1, 3 },
    { "[a]]", 1, 4 },
    { "[[a]", 1, 4 },
    { "[]", 1, 2 },
    { "a=1\n[a]", 2, 2 },
    { "a=1\n[a.b]", 2, 2 },
    { "a=[1]\n[[a]]", 2, 3 },
    { "[a]\n[[a]]", 2, 3 },
    { "[[a]]\n[a]", 2, 2 },
    { "a.b=1\n[a]", 2, 2 },
    { "[a.b]\nx=1\n[a]\nb.y=2", 4, 1 },
    { "a.b=1\na.b.c=2", 2, 3 },
    { "a = 1\rb = 2", 1, 6 },
    { "\"\"\"a\"\"\" = 1", 1, 3 },
};

static void bad_documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(bad); i++) {
        struct toml_error error;
        struct toml_document *doc = toml_parse(bad[i].text, strlen(bad[i].text), &error);

        if (doc) {
            fail_msg("accepted: %s", bad[i].text);
        }
        if (error.line != bad[i].line || error.column != bad[i].column) {
            fail_msg("%s: error at %u:%u (%s), expected at %u:%u", bad[i].text, error.line,
                     error.column, error.text, bad[i].line, bad[i].column);
        }
        assert_true(strlen(error.text) > 5);
    }
}

static void limits(void **state)
{
    struct toml_error error;
    struct buffer text = { 0 };

    (void)state;
    buffer_add_text(&text, "a = ");
    for (unsigned i = 0; i < TOML_DEPTH_MAX + 2; i++) {
        buffer_add_text(&text, "[");
    }
    for (unsigned i = 0; i < TOML_DEPTH_MAX + 2; i++) {
        buffer_add_text(&text, "]");
    }
    assert_null(toml_parse(text.data, text.size, &error));
    assert_non_null(strstr(error.text, "nested"));

    text.size = 0;
    for (unsigned i = 0; i <= TOML_KEYS_MAX; i++) {
        buffer_format(&text, "k%u = 1\n", i);
    }
    assert_null(toml_parse(text.data, text.size, &error));
    assert_int_equal(error.line, TOML_KEYS_MAX + 1);

    text.size = 0;
    while (text.size <= TOML_SIZE_MAX) {
        buffer_add_text(&text, "# many bytes\n");
    }
    assert_null(toml_parse(text.data, text.size, &error));
    buffer_free(&text);
}

/* Every prefix of a document is refused or accepted, never read past its end (ASan watches). */
static void prefixes(void **state)
{
    static const char text[] =
        "a = \"\\u00e4\"\nb = [1, {c = 2.5e3}]\n[d.\"e\"]\nf = 1979-05-27 07:32:00Z\n"
        "g = '''x'''\nh = \"\"\"y\\\n z\"\"\"\n[[i]]\n";

    (void)state;
    for (size_t size = 0; size < sizeof(text); size++) {
        struct toml_error error;
        char *copy = text_copy_sized(text, size);
        char *exact = alloc_resized(copy, size, 1);

        toml_free(toml_parse(exact, size, &error));
        cleanup_free(&exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_documents),
        cmocka_unit_test(bad_documents),
        cmocka_unit_test(limits),
        cmocka_unit_test(prefixes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in one piece, byte by byte, and what is refused. */
#include <test.h>

#include <string.h>

#include "http.h"

#define LIMIT 64u

struct good {
    const char *text;
    enum http_method method;
    const char *path;
    const char *body;
};

static const struct good good[] = {
    { "GET / HTTP/1.1\r\n\r\n", HTTP_GET, "/", NULL },
    { "GET /vm/config HTTP/1.0\r\nHost: x\r\n\r\n", HTTP_GET, "/vm/config", NULL },
    { "DELETE http://localhost/drives/a HTTP/1.1\r\n\r\n", HTTP_DELETE, "/drives/a", NULL },
    { "PUT /x HTTP/1.1\r\ncontent-LENGTH:  2 \r\nContent-Type: text/strange\r\n\r\n{}", HTTP_PUT,
      "/x", "{}" },
    { "PATCH /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", HTTP_PATCH, "/x", NULL },
    { "GET / HTTP/1.1\r\nAccept-Encoding: gzip, identity;q=0.5\r\nAccept: */*\r\n\r\n", HTTP_GET,
      "/", NULL },
};

static void check(const struct good *g, size_t piece)
{
    struct http_parser p;
    struct http_request r;
    size_t size = strlen(g->text);
    size_t at = 0;
    enum http_event event = HTTP_NEED_MORE;

    http_init(&p, LIMIT);
    while (at < size) {
        size_t used = 0;

        assert_int_equal(event, HTTP_NEED_MORE);
        event = http_parse(&p, g->text + at, min_of(piece, size - at), &used);
        at += used;
    }
    assert_int_equal(event, HTTP_REQUEST);
    http_take(&p, &r);
    assert_int_equal(r.method, g->method);
    assert_string_equal(r.path, g->path);
    assert_int_equal(r.body == NULL, g->body == NULL);
    if (g->body != NULL) {
        assert_string_equal(r.body, g->body);
        assert_int_equal(r.body_size, strlen(g->body));
    }
    http_request_deinit(&r);
    http_deinit(&p);
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(good); i++) {
        check(&good[i], 1);
        check(&good[i], 7);
        check(&good[i], 10000);
    }
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "\r\n",
        "GET\r\n",
        "GET /\r\n",
        "POST / HTTP/1.1\r\n",
        "get / HTTP/1.1\r\n",
        "GET  HTTP/1.1\r\n",
        "GET x HTTP/1.1\r\n",
        "GET http://host HTTP/1.1\r\n",
        "GET / HTTP/2\r\n",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\r\nno colon\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1x\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        "GET / HTTP/1.1\r\nAccept-Encoding: identity;q=0\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 65\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < array_size(bad); i++) {
        struct http_parser p;
        size_t used = 0;

        http_init(&p, LIMIT);
        if (http_parse(&p, bad[i], strlen(bad[i]), &used) != HTTP_BAD) {
            fail_msg("taken: %s", bad[i]);
        }
        assert_true(p.error[0] != '\0');
        http_deinit(&p);
    }
}

static void test_long_line(void **state)
{
    struct http_parser p;
    char text[HTTP_LINE_SIZE_MAX + 8];
    size_t used = 0;

    (void)state;
    memset(text, 'x', sizeof(text));
    http_init(&p, LIMIT);
    assert_int_equal(http_parse(&p, text, sizeof(text), &used), HTTP_BAD);
    http_deinit(&p);
}

/* The body that was refused is not taken for requests; what follows it is one. */
static void test_skip(void **state)
{
    static const char first[] = "PUT / HTTP/1.1\r\nContent-Length: 70\r\n\r\n";
    static const char second[] = "GET /after HTTP/1.1\r\n\r\n";
    struct http_parser p;
    struct http_request r;
    char body[70];
    size_t used = 0;

    (void)state;
    memset(body, '\n', sizeof(body));
    http_init(&p, LIMIT);
    assert_int_equal(http_parse(&p, first, sizeof(first) - 1, &used), HTTP_BAD);
    http_restart(&p);
    assert_int_equal(http_parse(&p, body, 30, &used), HTTP_NEED_MORE);
    assert_int_equal(http_parse(&p, body, 40, &used), HTTP_NEED_MORE);
    assert_int_equal(http_parse(&p, second, sizeof(second) - 1, &used), HTTP_REQUEST);
    http_take(&p, &r);
    assert_string_equal(r.path, "/after");
    http_request_deinit(&r);
    http_deinit(&p);
}

static void test_continue(void **state)
{
    static const char head[] =
        "PUT / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    struct http_parser p;
    struct http_request r;
    size_t used = 0;

    (void)state;
    http_init(&p, LIMIT);
    assert_int_equal(http_parse(&p, head, sizeof(head) - 1, &used), HTTP_CONTINUE);
    assert_int_equal(http_parse(&p, "ab", 2, &used), HTTP_REQUEST);
    http_take(&p, &r);
    assert_string_equal(r.body, "ab");
    http_request_deinit(&r);
    http_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long_line), cmocka_unit_test(test_skip),
        cmocka_unit_test(test_continue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

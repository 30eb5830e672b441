/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a Firecracker that may be none, over a socket pair. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/clock.h>

#include "backends/firecracker/http.h"

#define SOON_NS UINT64_C(50000000)

static struct fc_http http;

/* What is answered when the server has said `answer`, and then nothing or (`closes`) its end. */
static drupe_vm_err_t ask(const char *answer, size_t size, bool closes, struct drupe_error *err)
{
    const struct fc_request request = { .method = "PUT",
                                        .path = "/machine-config",
                                        .body = "{}",
                                        .until_ns = clock_ns() + SOON_NS,
                                        .code = DRUPE_PAUSE_FAILED };
    drupe_vm_err_t r = DRUPE_OK;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(write(ends[1], answer, size), size);
    if (closes) {
        assert_int_equal(shutdown(ends[1], SHUT_WR), 0);
    }
    http.fd = ends[0];
    http.is_spent = false;
    memset(err, 0, sizeof(*err));
    r = fc_http_do(&http, &request, err);
    fc_http_close(&http);
    (void)close(ends[1]);
    return r;
}

static void test_answers(void **state)
{
    static const struct {
        const char *answer;
        const char *body; /* NULL: refused */
        const char *text; /* of the refusal */
    } cases[] = {
        { "HTTP/1.1 204 \r\n\r\n", "", NULL },
        { "HTTP/1.1 204 No Content\r\nServer: Firecracker API\r\n\r\n", "", NULL },
        { "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", "{}", NULL },
        { "HTTP/1.0 200 OK\r\ncontent-LENGTH:\t 2 \r\nX: y\r\n\r\n{}", "{}", NULL },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n\r\n", "", NULL },
        { "HTTP/1.1 400 \r\nContent-Length: 23\r\n\r\n{\"fault_message\":\"no!\"}", NULL,
          "answered 400: no!" },
        { "HTTP/1.1 404 \r\nContent-Length: 15\r\n\r\n{\"error\":\"gone\"}", NULL,
          "not Firecracker's" }, /* one byte more than it said */
        { "HTTP/1.1 404 \r\nContent-Length: 16\r\n\r\n{\"error\":\"gone\"}", NULL,
          "answered 404: gone" },
        { "HTTP/1.1 500 \r\nContent-Length: 4\r\n\r\nwhat", NULL, "answered 500" },
        { "HTTP/1.1 301 \r\nContent-Length: 0\r\n\r\n", NULL, "answered 301" },
        { "HTTP/1.1 200 \r\n\r\n", NULL, "not Firecracker's" }, /* no length */
        { "HTTP/1.1 200 \r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", NULL,
          "not Firecracker's" },
        { "HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/1.1 200 \r\nContent-Length: \r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/1.1 200 \r\nContent-Length: 2x\r\n\r\n{}", NULL, "not Firecracker's" },
        { "HTTP/1.1 200 \r\nContent-Length: 65536\r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/1.1 200 \r\nContent-Length: 99999999999999999999999\r\n\r\n", NULL,
          "not Firecracker's" },
        { "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL,
          "not Firecracker's" },
        { "HTTP/1.1 200 \r\nno colon\r\nContent-Length: 0\r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/1.1 099 \r\nContent-Length: 0\r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/1.1 600 \r\nContent-Length: 0\r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/1.1 2x0 \r\nContent-Length: 0\r\n\r\n", NULL, "not Firecracker's" },
        { "HTTP/2 200 \r\nContent-Length: 0\r\n\r\n", NULL, "not Firecracker's" },
        { "SSH-2.0-OpenSSH", NULL, "not Firecracker's" },
        { "\r\n\r\n", NULL, "not Firecracker's" },
        { "", NULL, "no answer" },
        { "HTTP/1.1 20", NULL, "no answer" },
        { "HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n{}", NULL, "no answer" },
    };

    (void)state;
    for (size_t i = 0; i < 2 * array_size(cases); i++) {
        const bool closes = i >= array_size(cases);
        const size_t n = i % array_size(cases);
        struct drupe_error err;
        drupe_vm_err_t r = ask(cases[n].answer, strlen(cases[n].answer), closes, &err);

        if (cases[n].body != NULL) {
            assert_int_equal(r, DRUPE_OK);
            assert_int_equal(http.body_size, strlen(cases[n].body));
            assert_memory_equal(http.body, cases[n].body, http.body_size);
            continue;
        }
        assert_int_equal(r, DRUPE_PAUSE_FAILED);
        if (strstr(err.text, cases[n].text) == NULL) {
            fail_msg("%s: \"%s\"", cases[n].answer, err.text);
        }
    }
}

/* A head without an end, and interim answers without an end. */
static void test_endless(void **state)
{
    static char text[FC_ANSWER_SIZE_MAX];
    static const char interim[] = "HTTP/1.1 100 \r\n\r\n";
    struct drupe_error err;
    size_t size = 0;

    (void)state;
    (void)snprintf(text, sizeof(text), "HTTP/1.1 200 \r\nX: ");
    memset(text + 18, 'x', sizeof(text) - 18);
    assert_int_equal(ask(text, 20000, false, &err), DRUPE_PAUSE_FAILED);
    assert_non_null(strstr(err.text, "not Firecracker's"));
    for (unsigned i = 0; i < 8; i++) {
        memcpy(text + size, interim, sizeof(interim) - 1);
        size += sizeof(interim) - 1;
    }
    assert_int_equal(ask(text, size, false, &err), DRUPE_PAUSE_FAILED);
    assert_non_null(strstr(err.text, "not Firecracker's"));
}

/* After a lost answer the connection is not used again: the next one could be the old one. */
static void test_spent(void **state)
{
    const struct fc_request request = {
        .method = "GET", .path = "/", .until_ns = clock_ns() + SOON_NS, .code = DRUPE_RESUME_FAILED
    };
    static const char answer[] = "HTTP/1.1 204 \r\n\r\n";
    struct drupe_error err;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    http.fd = ends[0];
    http.is_spent = false;
    assert_int_equal(fc_http_do(&http, &request, &err), DRUPE_RESUME_FAILED);
    assert_int_equal(write(ends[1], answer, sizeof(answer) - 1), sizeof(answer) - 1);
    assert_int_equal(fc_http_do(&http, &request, &err), DRUPE_RESUME_FAILED);
    fc_http_close(&http);
    assert_int_equal(fc_http_do(&http, &request, &err), DRUPE_RESUME_FAILED);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_spent),
    };

    return cmocka_run_group_tests_name("firecracker_http", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and what they are answered with. */
#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>

#include "drupe/vm.h"
#include "mmds/service.h"

#define DOCUMENT                                                                                   \
    "{\"latest\":{\"meta-data\":{\"ami-id\":\"ami-1\",\"n\":1},\"user-data\":\"x\"},\"s\":\"\"}"
#define NOW       (UINT64_C(1000) * NS_PER_S)
#define TTL       "X-metadata-token-ttl-seconds: "
#define END       "\r\n\r\n"
#define GET(path) "GET " path " HTTP/1.1" END

static struct mmds_service *make(bool is_token_needed, bool is_always_text)
{
    const struct drupe_metadata setup = { .is_token_needed = is_token_needed,
                                          .is_always_text = is_always_text,
                                          .document = DOCUMENT,
                                          .document_size = sizeof(DOCUMENT) - 1 };
    struct mmds_service *s = NULL;

    assert_int_equal(mmds_service_create(&setup, &s), 0);
    assert_int_equal(mmds_service_address(s), 0xa9fea9fe);
    return s;
}

/* The whole answer as a string of the caller's. */
static char *ask(struct mmds_service *s, const char *request, uint64_t now_ns)
{
    struct mmds_response r = { 0 };
    const size_t size = strlen(request);
    char *text = NULL;

    assert_int_equal(mmds_service_answer(s, request, size, false, now_ns, &r), size);
    text = malloc(r.size + 1);
    assert_non_null(text);
    memcpy(text, r.bytes, r.size);
    text[r.size] = '\0';
    free(r.bytes);
    return text;
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, END);

    assert_non_null(end);
    return end + 4;
}

static void answers(void **state)
{
    static const struct {
        const char *request;
        const char *status;
        const char *body; /* NULL: whatever */
        const char *header;
    } cases[] = {
        { GET("/latest/meta-data/ami-id"), "200 OK", "ami-1", "Content-Type: text/plain\r\n" },
        { "GET /latest/meta-data/ami-id HTTP/1.1\r\naccept:  application/json" END, "200 OK",
          "\"ami-1\"", "Content-Type: application/json\r\n" },
        { "GET /latest/meta-data HTTP/1.1\r\nAccept: application/json" END, "200 OK",
          "{\"ami-id\":\"ami-1\",\"n\":1}", "Content-Length: 24\r\n" },
        { GET("/latest/meta-data/"), "200 OK", "ami-id\nn", "Connection: keep-alive\r\n" },
        { "GET /latest HTTP/1.1\r\nConnection: close" END, "200 OK", "meta-data/\nuser-data",
          "Connection: close\r\n" },
        { "GET / HTTP/1.0" END, "200 OK", "latest/\ns", "Connection: close\r\n" },
        { GET("http://169.254.169.254/latest/user-data"), "200 OK", "x", NULL },
        { GET("/s"), "200 OK", "", "Content-Length: 0\r\n" },
        { GET("/latest/meta-data/n"), "501 Not Implemented",
          "Cannot retrieve value. The value has an unsupported type.", NULL },
        { GET("/nothing"), "404 Not Found", "Resource not found: /nothing.", NULL },
        { GET("/latest?x=1"), "404 Not Found", NULL, NULL },
        { "POST / HTTP/1.1" END, "405 Method Not Allowed", "Not allowed HTTP method.",
          "Allow: GET, PUT\r\n" },
        { "DELETE / HTTP/1.1\r\nContent-Length: 3" END "abc", "405 Method Not Allowed", NULL,
          NULL },
        { "PUT /latest/api/token HTTP/1.1" END, "400 Bad Request", NULL, NULL },
        { "PUT /latest/api/token HTTP/1.1\r\n" TTL "0" END, "400 Bad Request", NULL, NULL },
        { "PUT /latest/api/token HTTP/1.1\r\n" TTL "21601" END, "400 Bad Request",
          "Invalid time to live value provided for token: 21601. Please provide a value between 1 "
          "and 21600.",
          NULL },
        { "PUT /latest/api/token HTTP/1.1\r\n" TTL "1s" END, "400 Bad Request", NULL, NULL },
        { "PUT /latest/api/token HTTP/1.1\r\nX-Forwarded-For: a\r\n" TTL "60" END,
          "400 Bad Request", NULL, NULL },
        { "PUT /latest HTTP/1.1\r\n" TTL "60" END, "404 Not Found", "Resource not found: /latest.",
          NULL },
        { "PUT /latest/api/token HTTP/1.1\r\n" TTL "21600\r\nContent-Length: 0" END, "200 OK", NULL,
          TTL "21600\r\n" },
        { "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds:1" END, "200 OK",
          NULL, "X-aws-ec2-metadata-token-ttl-seconds: 1\r\n" },
        { "rubbish" END, "400 Bad Request", NULL, "Connection: close\r\n" },
        { "GET / HTTP/2" END, "400 Bad Request", NULL, NULL },
        { "GET x HTTP/1.1" END, "400 Bad Request", NULL, NULL },
        { "GET  / HTTP/1.1" END, "400 Bad Request", NULL, NULL },
        { "GET http://host HTTP/1.1" END, "400 Bad Request", NULL, NULL },
        { "GET / HTTP/1.1\r\nTransfer-Encoding: chunked" END, "400 Bad Request", NULL, NULL },
        { "GET / HTTP/1.1\r\nContent-Length: -1" END, "400 Bad Request", NULL, NULL },
        { END, "400 Bad Request", NULL, NULL },
    };
    struct mmds_service *s = make(false, false);

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        char *text = ask(s, cases[i].request, NOW);

        if (strncmp(text + 9, cases[i].status, strlen(cases[i].status)) != 0 ||
            (cases[i].body != NULL && strcmp(body_of(text), cases[i].body) != 0) ||
            (cases[i].header != NULL && strstr(text, cases[i].header) == NULL)) {
            fail_msg("'%s' was answered with\n%s", cases[i].request, text);
        }
        free(text);
    }
    mmds_service_destroy(s);
}

/* A request in pieces is none yet; one that cannot become whole is refused. */
static void waits_for_the_rest(void **state)
{
    static const char request[] =
        "PUT /latest/api/token HTTP/1.1\r\nContent-Length: 4\r\n" TTL "60" END "abcdGET";
    const size_t whole = sizeof(request) - 1 - 3;
    struct mmds_service *s = make(false, false);
    struct mmds_response r;

    (void)state;
    for (size_t i = 0; i < whole; i++) {
        assert_int_equal(mmds_service_answer(s, request, i, false, NOW, &r), 0);
        assert_null(r.bytes);
    }
    assert_int_equal(mmds_service_answer(s, request, sizeof(request) - 1, false, NOW, &r), whole);
    free(r.bytes);
    for (size_t i = 1; i < whole; i++) {
        assert_int_equal(mmds_service_answer(s, request, i, true, NOW, &r), i);
        assert_memory_equal(r.bytes, "HTTP/1.1 413 ", 13);
        assert_true(r.is_last);
        free(r.bytes);
    }
    mmds_service_destroy(s);
}

static void asks_for_tokens(void **state)
{
    struct mmds_service *s = make(true, false);
    struct mmds_service *other = make(true, false);
    char token[33] = "";
    char request[256];
    char *text = ask(s, GET("/s"), NOW);

    (void)state;
    assert_memory_equal(text + 9, "401 ", 4);
    assert_non_null(strstr(text, "No MMDS token provided."));
    free(text);
    text = ask(s, "PUT /latest/api/token HTTP/1.1\r\n" TTL "60" END, NOW);
    assert_int_equal(strlen(body_of(text)), 32);
    memcpy(token, body_of(text), 32);
    free(text);
    for (unsigned i = 0; i < 7; i++) {
        static const char *const answers[] = { "200 ", "200 ", "401 ", "401 ",
                                               "401 ", "401 ", "401 " };
        const uint64_t now = i == 2 ? NOW + 60 * NS_PER_S : NOW + 59 * NS_PER_S;

        token[7] = (char)(token[7] ^ (i == 3));   /* another end */
        token[30] = (char)(token[30] ^ (i == 4)); /* another code */
        (void)snprintf(request, sizeof(request), "GET /latest/user-data HTTP/1.1\r\n%s: %.*s" END,
                       i == 1 ? "X-aws-ec2-metadata-token" : "X-metadata-token", i == 5 ? 31 : 32,
                       token);
        text = ask(i == 6 ? other : s, request, now);
        if (memcmp(text + 9, answers[i], 4) != 0) {
            fail_msg("case %u: %s", i, text);
        }
        free(text);
        token[7] = (char)(token[7] ^ (i == 3));
        token[30] = (char)(token[30] ^ (i == 4));
    }
    mmds_service_destroy(s);
    mmds_service_destroy(other);
}

static void replaces_its_document(void **state)
{
    const struct drupe_metadata bad = { .document = "{", .document_size = 1 };
    const struct drupe_metadata none = { .address = 0xa9fe0101 };
    struct mmds_service *s = make(false, true);
    char *text = ask(s, "GET /latest HTTP/1.1\r\nAccept: application/json" END, NOW);

    (void)state;
    assert_string_equal(body_of(text), "meta-data/\nuser-data");
    free(text);
    assert_int_equal(mmds_service_set(s, "{\"a\":", 5), -EINVAL);
    assert_int_equal(mmds_service_set(s, "{\"a\":\"b\"}", 9), 0);
    text = ask(s, GET("/"), NOW);
    assert_string_equal(body_of(text), "a");
    free(text);
    mmds_service_destroy(s);
    assert_int_equal(mmds_service_create(&bad, &s), -EINVAL);
    assert_int_equal(mmds_service_create(&none, &s), 0);
    assert_int_equal(mmds_service_address(s), 0xa9fe0101);
    text = ask(s, GET("/"), NOW);
    assert_memory_equal(text + 9, "404 ", 4);
    free(text);
    mmds_service_destroy(s);
    mmds_service_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(waits_for_the_rest),
        cmocka_unit_test(asks_for_tokens),
        cmocka_unit_test(replaces_its_document),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

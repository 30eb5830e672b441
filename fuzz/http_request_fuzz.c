/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API's HTTP parser, fed in pieces: the first byte says how large they are. Whatever comes, a
 * request that is handed out has a path and a body as announced.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <base/assert.h>
#include <base/compiler.h>

#include "http.h"

#define BODY_SIZE_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(const struct http_request *r)
{
    assert(r->path[0] == '/');
    assert(strnlen(r->path, sizeof(r->path)) < sizeof(r->path));
    assert(r->body_size <= BODY_SIZE_MAX);
    assert((r->body == NULL) == (r->body_size == 0));
    assert(r->body == NULL || r->body[r->body_size] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct http_parser p;
    size_t piece = size == 0 ? 1 : (size_t)bytes[0] + 1;
    size_t at = size == 0 ? 0 : 1;

    http_init(&p, BODY_SIZE_MAX);
    while (at < size) {
        size_t used = 0;
        size_t n = min_of(piece, size - at);
        enum http_event event = http_parse(&p, (const char *)bytes + at, n, &used);

        assert(used <= n);
        assert(used > 0 || event != HTTP_NEED_MORE);
        at += used;
        if (event == HTTP_REQUEST) {
            struct http_request r;

            http_take(&p, &r);
            check(&r);
            http_request_deinit(&r);
        } else if (event == HTTP_BAD) {
            assert(p.error[0] != '\0');
            assert(strchr(p.error, '"') == NULL);
            http_restart(&p);
        }
    }
    http_deinit(&p);
    return 0;
}

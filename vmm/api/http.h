/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 request parser that is fed bytes as they come. No I/O. Everything it reads is
 * hostile; memory is bounded by one line and one body.
 *
 * A request target may be absolute or in origin form; a body needs Content-Length. Lines end in
 * CRLF and have at most HTTP_LINE_SIZE_MAX bytes with it.
 */
#pragma once

#include <base/compiler.h>

#define HTTP_LINE_SIZE_MAX     1024u
#define HTTP_BODY_SIZE_DEFAULT 51200u

enum http_method {
    HTTP_GET,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
};

struct http_request {
    enum http_method method;
    char path[HTTP_LINE_SIZE_MAX]; /* begins with '/'; scheme and host are gone */
    char *body;                    /* NULL: none; else body_size bytes and a NUL; owned */
    size_t body_size;
};

enum http_event {
    HTTP_NEED_MORE, /* all bytes are used up */
    HTTP_REQUEST,   /* one is complete: http_take() it before going on */
    HTTP_CONTINUE,  /* the client waits for "100 Continue" before it sends the body */
    HTTP_BAD,       /* http_parser.error says why; http_restart() to go on */
};

enum http_state {
    HTTP_IN_REQUEST_LINE,
    HTTP_IN_HEADERS,
    HTTP_IN_BODY,
    HTTP_DONE,
};

struct http_parser {
    size_t body_size_max;
    enum http_state state;
    char line[HTTP_LINE_SIZE_MAX];
    size_t line_size;
    struct http_request request;
    uint64_t content_length;
    size_t body_used;
    uint64_t skip; /* bytes of a refused body that are still to come */
    bool wants_continue;
    char error[HTTP_LINE_SIZE_MAX];
};

void http_init(struct http_parser *p, size_t body_size_max);
void http_deinit(struct http_parser *p);

/*
 * Look at up to `size` bytes; *used says how many were taken. Call again with the rest until
 * HTTP_NEED_MORE.
 */
enum http_event http_parse(struct http_parser *p, const char *bytes, size_t size, size_t *used);

/* After HTTP_REQUEST: the request becomes the caller's (http_request_deinit), the parser is ready
 * for the next one. */
void http_take(struct http_parser *p, struct http_request *out);
void http_request_deinit(struct http_request *r);

/* After HTTP_BAD: forget the request; a body that was announced and refused is skipped. */
void http_restart(struct http_parser *p);

const char *http_method_name(enum http_method method);

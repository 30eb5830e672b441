/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <base/assert.h>
#include <base/checked.h>
#include <base/fmt.h>

static const char *const method_names[] = {
    [HTTP_GET] = "GET",
    [HTTP_PUT] = "PUT",
    [HTTP_PATCH] = "PATCH",
    [HTTP_DELETE] = "DELETE",
};

const char *http_method_name(enum http_method method)
{
    return method_names[method];
}

void http_init(struct http_parser *p, size_t body_size_max)
{
    memset(p, 0, sizeof(*p));
    p->body_size_max = body_size_max;
}

void http_request_deinit(struct http_request *r)
{
    free(r->body);
    r->body = NULL;
    r->body_size = 0;
}

void http_deinit(struct http_parser *p)
{
    http_request_deinit(&p->request);
}

void http_restart(struct http_parser *p)
{
    http_request_deinit(&p->request);
    p->state = HTTP_IN_REQUEST_LINE;
    p->line_size = 0;
    p->content_length = 0;
    p->body_used = 0;
    p->wants_continue = false;
}

void http_take(struct http_parser *p, struct http_request *out)
{
    assert(p->state == HTTP_DONE);
    *out = p->request;
    p->request.body = NULL;
    http_restart(p);
}

static enum http_event bad(struct http_parser *p, const char *reason)
{
    (void)fmt_snprintf(p->error, sizeof(p->error), "%s", reason);
    return HTTP_BAD;
}

/* Names and values go into the error's JSON text: what would break it is not repeated. */
static enum http_event bad_header(struct http_parser *p, const char *what, const char *key,
                                  const char *value)
{
    for (const char *c = key; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\') {
            return bad(p, "Invalid header. Reason: Header contains invalid characters.");
        }
    }
    (void)fmt_snprintf(p->error, sizeof(p->error), "Invalid header. Reason: %s Key:%s%s%s", what,
                       key, value[0] == '\0' ? "" : "; Value:", value);
    for (char *c = p->error; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\') {
            *c = '?';
        }
    }
    return HTTP_BAD;
}

/* ---- Request line ---- */

static bool parse_method(const char *text, enum http_method *out)
{
    for (unsigned i = 0; i < array_size(method_names); i++) {
        if (strcmp(text, method_names[i]) == 0) {
            *out = (enum http_method)i;
            return true;
        }
    }
    return false;
}

/* The path of a request target: what follows "http://host", or all of it. NULL: neither form. */
static const char *target_path(const char *target)
{
    static const char scheme[] = "http://";

    if (target[0] == '/') {
        return target;
    }
    if (strncmp(target, scheme, sizeof(scheme) - 1) != 0) {
        return NULL;
    }
    return strchr(target + sizeof(scheme) - 1, '/');
}

static enum http_event parse_request_line(struct http_parser *p)
{
    char *target = strchr(p->line, ' ');
    char *version = target == NULL ? NULL : strchr(target + 1, ' ');
    const char *path = NULL;

    if (version == NULL) {
        return bad(p, "Invalid HTTP Request.");
    }
    *target++ = '\0';
    *version++ = '\0';
    if (!parse_method(p->line, &p->request.method)) {
        return bad(p, "Invalid HTTP Method: Unsupported HTTP method.");
    }
    if (target[0] == '\0') {
        return bad(p, "Invalid URI: Empty URI not allowed.");
    }
    path = target_path(target);
    if (path == NULL) {
        return bad(p, "Invalid URI: Neither a path nor an absolute URI.");
    }
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) {
        return bad(p, "Invalid HTTP Version: Unsupported HTTP version.");
    }
    memcpy(p->request.path, path, strlen(path) + 1);
    p->state = HTTP_IN_HEADERS;
    return HTTP_NEED_MORE;
}

/* ---- Headers ---- */

static bool parse_decimal(const char *text, uint64_t *out)
{
    uint64_t value = 0;

    if (text[0] == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || !checked_mul(value, UINT64_C(10), &value) ||
            !checked_add(value, (uint64_t)(*text - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

static enum http_event take_length(struct http_parser *p, const char *key, const char *value)
{
    if (!parse_decimal(value, &p->content_length) || p->content_length > UINT32_MAX) {
        return bad_header(p, "Invalid value.", key, value);
    }
    return HTTP_NEED_MORE;
}

/* What the client sends or accepts does not change what we do: bodies are JSON, whatever curl says
 * of them, and so are answers. */
static enum http_event take_any(struct http_parser *p, const char *key, const char *value)
{
    (void)p;
    (void)key;
    (void)value;
    return HTTP_NEED_MORE;
}

static enum http_event take_expect(struct http_parser *p, const char *key, const char *value)
{
    (void)key;
    p->wants_continue = strcasecmp(value, "100-continue") == 0;
    return HTTP_NEED_MORE;
}

static enum http_event take_transfer(struct http_parser *p, const char *key, const char *value)
{
    return strcasecmp(value, "identity") == 0 ? HTTP_NEED_MORE
                                              : bad_header(p, "Unsupported feature.", key, value);
}

static enum http_event take_encoding(struct http_parser *p, const char *key, const char *value)
{
    if (strstr(value, "identity;q=0") != NULL || strstr(value, "*;q=0") != NULL) {
        const char *tail = strstr(value, ";q=0") + 4;

        /* "q=0.5" is a preference, "q=0" and "q=0.0" a refusal. */
        if (strspn(tail, ".0") == strcspn(tail, ", ")) {
            return bad_header(p, "Invalid value.", key, value);
        }
    }
    return HTTP_NEED_MORE;
}

static const struct {
    const char *name;
    enum http_event (*take)(struct http_parser *p, const char *key, const char *value);
} headers[] = {
    { "Content-Length", take_length },
    { "Content-Type", take_any },
    { "Accept", take_any },
    { "Expect", take_expect },
    { "Transfer-Encoding", take_transfer },
    { "Accept-Encoding", take_encoding },
};

static char *trim(char *text)
{
    size_t size = 0;

    text += strspn(text, " \t");
    size = strlen(text);
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t')) {
        text[--size] = '\0';
    }
    return text;
}

static enum http_event parse_header(struct http_parser *p)
{
    char *colon = strchr(p->line, ':');

    if (colon == NULL) {
        return bad_header(p, "Header is incorrectly formatted.", p->line, "");
    }
    *colon = '\0';
    const char *key = trim(p->line);
    const char *value = trim(colon + 1);

    for (size_t i = 0; i < array_size(headers); i++) {
        if (strcasecmp(key, headers[i].name) == 0) {
            return headers[i].take(p, key, value);
        }
    }
    return HTTP_NEED_MORE;
}

/* The empty line. */
static enum http_event end_headers(struct http_parser *p)
{
    if (p->content_length > p->body_size_max) {
        p->skip = p->wants_continue ? 0 : p->content_length; /* an asker does not send it now */
        (void)fmt_snprintf(p->error, sizeof(p->error),
                           "Request payload with size %llu is larger than the limit of %zu allowed "
                           "by server.",
                           (unsigned long long)p->content_length, p->body_size_max);
        return HTTP_BAD;
    }
    if (p->content_length == 0) {
        p->state = HTTP_DONE;
        return HTTP_REQUEST;
    }
    p->request.body = malloc((size_t)p->content_length + 1);
    if (p->request.body == NULL) {
        p->skip = p->content_length;
        return bad(p, "Out of memory.");
    }
    p->request.body_size = (size_t)p->content_length;
    p->request.body[p->request.body_size] = '\0';
    p->state = HTTP_IN_BODY;
    return p->wants_continue ? HTTP_CONTINUE : HTTP_NEED_MORE;
}

/* ---- Bytes ---- */

static enum http_event end_line(struct http_parser *p)
{
    assert(p->line_size >= 2);
    p->line_size -= 2;
    p->line[p->line_size] = '\0';
    if (memchr(p->line, '\0', p->line_size) != NULL) {
        return bad(p, "Invalid HTTP Request.");
    }
    if (p->state == HTTP_IN_REQUEST_LINE) {
        return parse_request_line(p);
    }
    return p->line_size == 0 ? end_headers(p) : parse_header(p);
}

/* Gather one line. *used is what was taken of it. */
static enum http_event take_line(struct http_parser *p, const char *bytes, size_t size,
                                 size_t *used)
{
    const char *end = memchr(bytes, '\n', size);
    size_t n = end == NULL ? size : (size_t)(end - bytes) + 1;
    enum http_event event = HTTP_NEED_MORE;

    if (n > sizeof(p->line) - p->line_size) {
        *used = n;
        return bad(p, p->state == HTTP_IN_REQUEST_LINE
                          ? "Invalid HTTP Request."
                          : "Invalid header. Reason: Header is too long.");
    }
    memcpy(p->line + p->line_size, bytes, n);
    p->line_size += n;
    *used = n;
    if (end == NULL) {
        return p->line_size == sizeof(p->line) ? bad(p, "Invalid HTTP Request.") : HTTP_NEED_MORE;
    }
    if (p->line_size < 2 || p->line[p->line_size - 2] != '\r') {
        return bad(p, "Invalid HTTP Request.");
    }
    event = end_line(p);
    p->line_size = 0;
    return event;
}

static enum http_event take_body(struct http_parser *p, const char *bytes, size_t size,
                                 size_t *used)
{
    size_t n = min_of(size, p->request.body_size - p->body_used);

    memcpy(p->request.body + p->body_used, bytes, n);
    p->body_used += n;
    *used = n;
    if (p->body_used < p->request.body_size) {
        return HTTP_NEED_MORE;
    }
    p->state = HTTP_DONE;
    return HTTP_REQUEST;
}

enum http_event http_parse(struct http_parser *p, const char *bytes, size_t size, size_t *used)
{
    enum http_event event = HTTP_NEED_MORE;
    size_t at = (size_t)min_of(p->skip, (uint64_t)size);

    assert(p->state != HTTP_DONE);
    p->skip -= at;
    while (event == HTTP_NEED_MORE && at < size) {
        size_t n = 0;

        event = p->state == HTTP_IN_BODY ? take_body(p, bytes + at, size - at, &n)
                                         : take_line(p, bytes + at, size - at, &n);
        assert(n > 0);
        at += n;
    }
    *used = at;
    return event;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests are read as far as the service needs: method, path, a few headers. Status codes and
 * texts are those that clients of Firecracker's service know.
 */
#include "mmds/service.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include <base/assert.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "drupe/vm.h"
#include "mmds/document.h"
#include "mmds/token.h"

#define TOKEN_PATH     "/latest/api/token"
#define TTL_HEADER     "X-metadata-token-ttl-seconds"
#define TTL_HEADER_AWS "X-aws-ec2-metadata-token-ttl-seconds"
#define SHOWN_MAX      2048 /* of a path in an answer */

struct mmds_service {
    uint32_t address;
    bool is_token_needed;
    bool is_always_text;
    uint8_t key[TOKEN_KEY_SIZE];
    pthread_mutex_t lock; /* guards the document */
    char *text;
    size_t size;
};

/* ---- Life ---- */

static int copy_document(const char *text, size_t size, char **out)
{
    if (!document_check(text, size)) {
        return -EINVAL;
    }
    *out = malloc(size);
    if (*out == NULL) {
        return -ENOMEM;
    }
    memcpy(*out, text, size);
    return 0;
}

int mmds_service_create(const struct drupe_metadata *setup, struct mmds_service **out)
{
    static const char nothing[] = "null";
    const bool is_given = setup->document != NULL;
    const size_t size = is_given ? setup->document_size : sizeof(nothing) - 1;
    struct mmds_service *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL) {
        return -ENOMEM;
    }
    s->address = setup->address == 0 ? MMDS_ADDRESS_DEFAULT : setup->address;
    s->is_token_needed = setup->is_token_needed;
    s->is_always_text = setup->is_always_text;
    s->size = size;
    r = copy_document(is_given ? setup->document : nothing, size, &s->text);
    if (r == 0 && getrandom(s->key, sizeof(s->key), 0) != (ssize_t)sizeof(s->key)) {
        r = -errno;
    }
    if (r == 0) {
        r = -pthread_mutex_init(&s->lock, NULL);
    }
    if (r < 0) {
        free(s->text);
        free(s);
        return r;
    }
    *out = s;
    return 0;
}

void mmds_service_destroy(struct mmds_service *s)
{
    if (s == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&s->lock);
    free(s->text);
    explicit_bzero(s->key, sizeof(s->key));
    free(s);
}

uint32_t mmds_service_address(const struct mmds_service *s)
{
    return s->address;
}

int mmds_service_set(struct mmds_service *s, const char *text, size_t size)
{
    char *copy = NULL;
    int r = copy_document(text, size, &copy);

    if (r < 0) {
        return r;
    }
    (void)pthread_mutex_lock(&s->lock);
    char *old = s->text;

    s->text = copy;
    s->size = size;
    (void)pthread_mutex_unlock(&s->lock);
    free(old);
    return 0;
}

/* ---- Requests ---- */

struct text {
    const char *at; /* NULL: not there */
    size_t size;
};

struct request {
    struct text method;
    struct text path;
    struct text token;
    struct text ttl;
    const char *ttl_name; /* as the client spelt it: which of two */
    bool wants_json;
    bool is_forwarded;
    bool is_last;
    bool has_bad_body;
    size_t body_size;
};

static bool is_text(struct text t, const char *word)
{
    return t.size == strlen(word) && memcmp(t.at, word, t.size) == 0;
}

static bool is_name(struct text t, const char *word)
{
    return t.size == strlen(word) && strncasecmp(t.at, word, t.size) == 0;
}

static bool has_word(struct text t, const char *word)
{
    const size_t size = strlen(word);

    for (size_t i = 0; i + size <= t.size; i++) {
        if (strncasecmp(t.at + i, word, size) == 0) {
            return true;
        }
    }
    return false;
}

/* Decimal digits up to `max`; false for anything else. */
static bool parse_number(struct text t, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;

    for (size_t i = 0; i < t.size; i++) {
        if (t.at[i] < '0' || t.at[i] > '9') {
            return false;
        }
        n = n * 10 + (uint64_t)(t.at[i] - '0');
        if (n > max) {
            return false;
        }
    }
    *out = n;
    return t.size > 0;
}

/* The text up to `end` or, without one, all; what it held and the end are taken off *from. */
static struct text cut(struct text *from, const char *end)
{
    const size_t end_size = strlen(end);
    struct text head = *from;
    const char *found = memmem(from->at, from->size, end, end_size);

    if (found == NULL) {
        from->at += from->size;
        from->size = 0;
        return head;
    }
    head.size = (size_t)(found - from->at);
    from->at += head.size + end_size;
    from->size -= head.size + end_size;
    return head;
}

static struct text trim(struct text t)
{
    while (t.size > 0 && (t.at[0] == ' ' || t.at[0] == '\t')) {
        t.at++;
        t.size--;
    }
    while (t.size > 0 && (t.at[t.size - 1] == ' ' || t.at[t.size - 1] == '\t')) {
        t.size--;
    }
    return t;
}

static void take_header(struct request *r, struct text name, struct text value)
{
    uint64_t n = 0;

    if (is_name(name, "Accept")) {
        r->wants_json = has_word(value, "application/json");
    } else if (is_name(name, "Content-Length")) {
        r->has_bad_body = r->has_bad_body || !parse_number(value, UINT32_MAX, &n);
        r->body_size = (size_t)n;
    } else if (is_name(name, "Transfer-Encoding")) {
        r->has_bad_body = true;
    } else if (is_name(name, "Connection")) {
        r->is_last = has_word(value, "close");
    } else if (is_name(name, "X-metadata-token") || is_name(name, "X-aws-ec2-metadata-token")) {
        r->token = value;
    } else if (is_name(name, TTL_HEADER) || is_name(name, TTL_HEADER_AWS)) {
        r->ttl = value;
        r->ttl_name = is_name(name, TTL_HEADER) ? TTL_HEADER : TTL_HEADER_AWS;
    } else if (is_name(name, "X-Forwarded-For")) {
        r->is_forwarded = true;
    }
}

/* "http://host/path" is "/path". */
static struct text strip_authority(struct text target)
{
    static const char scheme[] = "http://";
    const size_t size = sizeof(scheme) - 1;
    const char *slash;

    if (target.size < size || strncasecmp(target.at, scheme, size) != 0) {
        return target;
    }
    slash = memchr(target.at + size, '/', target.size - size);
    if (slash == NULL) {
        return (struct text){ target.at, 0 };
    }
    return (struct text){ slash, target.size - (size_t)(slash - target.at) };
}

/* The head of a request, without its last empty line. False: it is none. */
static bool parse_request(struct text head, struct request *r)
{
    struct text line = cut(&head, "\r\n");
    struct text version;

    memset(r, 0, sizeof(*r));
    r->method = cut(&line, " ");
    r->path = strip_authority(cut(&line, " "));
    version = line;
    if (r->method.size == 0 || r->path.size == 0 || r->path.at[0] != '/' ||
        (!is_text(version, "HTTP/1.1") && !is_text(version, "HTTP/1.0"))) {
        return false;
    }
    r->is_last = is_text(version, "HTTP/1.0");
    while (head.size > 0) {
        struct text value = cut(&head, "\r\n");
        struct text name = cut(&value, ":");

        take_header(r, name, trim(value));
    }
    return true;
}

/* ---- Answers ---- */

struct answer {
    unsigned status;
    const char *type;
    const char *header_name; /* one more header; NULL: none */
    char header_value[24];
    size_t size;
    char *body; /* behind room for the head */
};

static void say(struct answer *a, unsigned status, const char *format, ...) PRINTF_LIKE(3, 4);

/* In a body's room of MMDS_RESPONSE_HEAD_MAX at least. */
static void say(struct answer *a, unsigned status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    a->size = fmt_vsnprintf(a->body, MMDS_RESPONSE_HEAD_MAX, format, args);
    va_end(args);
    assert(a->size < MMDS_RESPONSE_HEAD_MAX);
    a->status = status;
    a->type = "text/plain";
}

static void say_missing(struct answer *a, const struct request *r)
{
    say(a, 404, "Resource not found: %.*s.", (int)min_of(r->path.size, (size_t)SHOWN_MAX),
        r->path.at);
}

static void put_token(struct mmds_service *s, const struct request *r, uint64_t now_ns,
                      struct answer *a)
{
    uint64_t ttl_s = 0;

    if (r->is_forwarded) {
        say(a, 400, "Invalid header. Reason: Unsupported header X-Forwarded-For.");
    } else if (!is_text(r->path, TOKEN_PATH)) {
        say_missing(a, r);
    } else if (r->ttl.at == NULL) {
        say(a, 400,
            "Token time to live value not found. Use `" TTL_HEADER "` or `" TTL_HEADER_AWS
            "` header to specify the token's lifetime.");
    } else if (!parse_number(r->ttl, MMDS_TOKEN_TTL_S_MAX, &ttl_s) || ttl_s == 0) {
        say(a, 400,
            "Invalid time to live value provided for token: %.*s. Please provide a value between "
            "1 and %u.",
            (int)min_of(r->ttl.size, (size_t)SHOWN_MAX), r->ttl.at, MMDS_TOKEN_TTL_S_MAX);
    } else {
        char token[TOKEN_TEXT_SIZE];

        token_make(s->key, now_ns + ttl_s * NS_PER_S, token);
        say(a, 200, "%.*s", (int)sizeof(token), token);
        a->header_name = r->ttl_name;
        (void)fmt_snprintf(a->header_value, sizeof(a->header_value), "%llu",
                           (unsigned long long)ttl_s);
    }
}

/* With the lock held. The body has room for the whole document. */
static void get_value_locked(const struct mmds_service *s, const struct request *r,
                             struct answer *a)
{
    const enum document_form form =
        r->wants_json && !s->is_always_text ? DOCUMENT_JSON : DOCUMENT_TEXT;
    const struct json_piece value =
        document_find(document_root(s->text, s->size), r->path.at, r->path.size);

    if (value.at == NULL || (value.size == 4 && memcmp(value.at, "null", 4) == 0 &&
                             value.at == document_root(s->text, s->size).at)) {
        say_missing(a, r);
        return;
    }
    a->size = document_write(value, form, a->body);
    if (a->size == SIZE_MAX) {
        say(a, 501, "Cannot retrieve value. The value has an unsupported type.");
        return;
    }
    a->status = 200;
    a->type = form == DOCUMENT_JSON ? "application/json" : "text/plain";
}

static bool check_token(const struct mmds_service *s, const struct request *r, uint64_t now_ns,
                        struct mmds_response *out)
{
    out->lacked_token = r->token.at == NULL;
    out->had_invalid_token =
        r->token.at != NULL && !token_check(s->key, now_ns, r->token.at, r->token.size);
    return !s->is_token_needed || (!out->lacked_token && !out->had_invalid_token);
}

static void get_locked(const struct mmds_service *s, const struct request *r, uint64_t now_ns,
                       struct answer *a, struct mmds_response *out)
{
    if (check_token(s, r, now_ns, out)) {
        get_value_locked(s, r, a);
    } else if (out->lacked_token) {
        say(a, 401,
            "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header "
            "to specify the session token.");
    } else {
        say(a, 401, "MMDS token not valid.");
    }
}

static void answer_locked(struct mmds_service *s, const struct request *r, uint64_t now_ns,
                          struct answer *a, struct mmds_response *out)
{
    if (is_text(r->method, "GET")) {
        get_locked(s, r, now_ns, a, out);
    } else if (is_text(r->method, "PUT")) {
        put_token(s, r, now_ns, a);
    } else {
        say(a, 405, "Not allowed HTTP method.");
        a->header_name = "Allow";
        (void)fmt_snprintf(a->header_value, sizeof(a->header_value), "GET, PUT");
    }
}

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Payload Too Large";
    default:
        return "Not Implemented";
    }
}

/* The head goes right in front of the body. */
static void finish(const struct answer *a, char *room, struct mmds_response *out)
{
    size_t n = fmt_snprintf(room, MMDS_RESPONSE_HEAD_MAX,
                            "HTTP/1.1 %u %s\r\nServer: Drupe MMDS\r\nConnection: %s\r\n%s%s%s%s"
                            "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                            a->status, reason_of(a->status), out->is_last ? "close" : "keep-alive",
                            a->header_name == NULL ? "" : a->header_name,
                            a->header_name == NULL ? "" : ": ",
                            a->header_name == NULL ? "" : a->header_value,
                            a->header_name == NULL ? "" : "\r\n", a->type, a->size);

    assert(n < MMDS_RESPONSE_HEAD_MAX);
    memmove(room + n, a->body, a->size);
    out->bytes = room;
    out->size = n + a->size;
}

long mmds_service_answer(struct mmds_service *s, const char *bytes, size_t size, bool is_full,
                         uint64_t now_ns, struct mmds_response *out)
{
    const char *end = memmem(bytes, size, "\r\n\r\n", 4);
    const size_t head_size = end == NULL ? size : (size_t)(end - bytes);
    struct request r = { 0 };
    struct answer a = { 0 };
    bool is_request = false;
    size_t used = size;

    memset(out, 0, sizeof(*out));
    if (end == NULL && !is_full) {
        return 0;
    }
    is_request = end != NULL && parse_request((struct text){ bytes, head_size }, &r);
    if (is_request && !r.has_bad_body) {
        if (r.body_size > size - head_size - 4 && !is_full) {
            return 0;
        }
        is_full = r.body_size > size - head_size - 4;
        used = min_of(head_size + 4 + r.body_size, size);
    }
    (void)pthread_mutex_lock(&s->lock);
    char *room = malloc(MMDS_RESPONSE_HEAD_MAX + max_of(s->size, (size_t)MMDS_RESPONSE_HEAD_MAX));

    if (room == NULL) {
        (void)pthread_mutex_unlock(&s->lock);
        return -ENOMEM;
    }
    a.body = room + MMDS_RESPONSE_HEAD_MAX;
    out->is_last = r.is_last;
    if (end == NULL || (is_request && is_full)) {
        out->is_last = true;
        say(&a, 413, "The request is too large.");
    } else if (!is_request || r.has_bad_body) {
        out->is_last = true;
        say(&a, 400, "Invalid request.");
    } else {
        answer_locked(s, &r, now_ns, &a, out);
    }
    (void)pthread_mutex_unlock(&s->lock);
    finish(&a, room, out);
    return (long)used;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>
#include <base/unix_socket.h>

#define READ_SIZE       4096u
#define HEAD_SIZE_MAX   256u
#define OUTPUT_SIZE_MAX (256u << 10) /* a client that asks and does not read is not read from */

/* One request that was parsed and waits for its turn. */
struct queued {
    struct queued *next;
    struct http_request request;
    struct passed_fds fds;
};

struct connection {
    int fd; /* -1: free */
    struct http_parser parser;
    struct passed_fds fds; /* arrived, for the request that is being parsed */
    struct queued *first;
    struct queued **last;
    char *output;
    size_t output_size;
    size_t output_at;
    bool has_ended; /* nothing more comes; close once the output is written */
};

struct server {
    int listen_fd;
    int spare_fd; /* given up for a moment when there is none left to accept with; -1: none */
    server_handler handler;
    void *ctx;
    size_t body_size_max;
    struct connection connections[SERVER_CONNECTIONS_MAX];
};

/* ---- Descriptors ---- */

static void fds_close(struct passed_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++) {
        if (fds->fds[i] >= 0) {
            (void)close(fds->fds[i]);
        }
    }
    fds->count = 0;
}

static void fds_receive(struct passed_fds *fds, const struct cmsghdr *header)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    for (size_t i = 0; i < count; i++) {
        int fd = -1;

        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
        if (fds->count < SERVER_FDS_MAX) {
            fds->fds[fds->count++] = fd;
        } else {
            (void)close(fd);
        }
    }
}

/* ---- Output ---- */

static bool output_add(struct connection *c, const char *bytes, size_t size)
{
    char *grown = NULL;

    if (c->output_at > 0) {
        memmove(c->output, c->output + c->output_at, c->output_size - c->output_at);
        c->output_size -= c->output_at;
        c->output_at = 0;
    }
    grown = realloc(c->output, c->output_size + size);
    if (grown == NULL) {
        c->has_ended = true;
        return false;
    }
    memcpy(grown + c->output_size, bytes, size);
    c->output = grown;
    c->output_size += size;
    return true;
}

static void output_reply(struct connection *c, const struct server_reply *reply)
{
    bool has_body = reply->status != 204 && reply->status != 100;
    char head[HEAD_SIZE_MAX];
    size_t size = fmt_snprintf(head, sizeof(head),
                               "HTTP/1.1 %u \r\nServer: Firecracker API\r\nConnection: %s\r\n%s",
                               reply->status, reply->status == 503 ? "close" : "keep-alive",
                               reply->is_deprecated ? "Deprecation: true\r\n" : "");

    if (has_body) {
        size += fmt_snprintf(head + size, sizeof(head) - size,
                             "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                             reply->body_size);
    }
    size += fmt_snprintf(head + size, sizeof(head) - size, "\r\n");
    assert(size < sizeof(head));
    if (output_add(c, head, size) && has_body && reply->body_size > 0) {
        (void)output_add(c, reply->body, reply->body_size);
    }
}

static void output_flush(struct connection *c)
{
    while (c->output_at < c->output_size) {
        ssize_t n = send(c->fd, c->output + c->output_at, c->output_size - c->output_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            c->has_ended = true;
            c->output_at = c->output_size;
            break;
        }
        c->output_at += (size_t)n;
    }
    c->output_at = 0;
    c->output_size = 0;
}

/* ---- Requests ---- */

static void queue_drop(struct connection *c)
{
    while (c->first != NULL) {
        struct queued *q = c->first;

        c->first = q->next;
        http_request_deinit(&q->request);
        fds_close(&q->fds);
        free(q);
    }
    c->last = &c->first;
}

static void queue_add(struct connection *c)
{
    struct queued *q = calloc(1, sizeof(*q));

    if (q == NULL) {
        c->has_ended = true;
        http_restart(&c->parser);
        return;
    }
    http_take(&c->parser, &q->request);
    q->fds = c->fds;
    c->fds.count = 0;
    *c->last = q;
    c->last = &q->next;
}

static void refuse_request(struct connection *c)
{
    char body[HTTP_LINE_SIZE_MAX + 96];
    struct server_reply reply = { .status = 400, .body = body };

    queue_drop(c);
    fds_close(&c->fds);
    reply.body_size =
        fmt_snprintf(body, sizeof(body),
                     "{ \"error\": \"%s\nAll previous unanswered requests will be dropped.\" }",
                     c->parser.error);
    assert(reply.body_size < sizeof(body));
    output_reply(c, &reply);
    http_restart(&c->parser);
}

/* All that came in one piece is parsed before any of it is carried out. */
static void parse_piece(struct connection *c, const char *bytes, size_t size)
{
    static const struct server_reply go_on = { .status = 100 };
    size_t at = 0;

    while (at < size) {
        size_t used = 0;
        enum http_event event = http_parse(&c->parser, bytes + at, size - at, &used);

        at += used;
        switch (event) {
        case HTTP_NEED_MORE:
            break;
        case HTTP_REQUEST:
            queue_add(c);
            break;
        case HTTP_CONTINUE:
            output_reply(c, &go_on);
            break;
        case HTTP_BAD:
            refuse_request(c);
            if (c->parser.skip == 0) {
                return; /* the rest of the piece belongs to what could not be understood */
            }
            break;
        }
    }
}

static void carry_out(struct server *s, struct connection *c)
{
    while (c->first != NULL) {
        struct queued *q = c->first;
        struct server_reply reply = { .status = 204 };

        s->handler(s->ctx, &q->request, &q->fds, &reply);
        output_reply(c, &reply);
        free(reply.body);
        c->first = q->next;
        if (c->first == NULL) {
            c->last = &c->first;
        }
        http_request_deinit(&q->request);
        fds_close(&q->fds);
        free(q);
        output_flush(c);
    }
}

static void receive(struct server *s, struct connection *c)
{
    char bytes[READ_SIZE];

    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * SERVER_FDS_MAX)];
    } control;
    struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); n >= 0 && h != NULL; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
            fds_receive(&c->fds, h);
        }
    }
    if (n <= 0) {
        c->has_ended = true;
        return;
    }
    parse_piece(c, bytes, (size_t)n);
    carry_out(s, c);
}

/* ---- Connections ---- */

static void connection_close(struct connection *c)
{
    (void)close(c->fd);
    c->fd = -1;
    queue_drop(c);
    fds_close(&c->fds);
    http_deinit(&c->parser);
    free(c->output);
    c->output = NULL;
}

static void connection_open(struct server *s, struct connection *c, int fd)
{
    memset(c, 0, sizeof(*c));
    c->fd = fd;
    c->last = &c->first;
    http_init(&c->parser, s->body_size_max);
}

static void refuse_client(struct server *s, int fd)
{
    static char full[] = "{ \"error\": \"Too many open connections\" }";
    const struct server_reply reply = { .status = 503,
                                        .body = full,
                                        .body_size = sizeof(full) - 1 };
    struct connection refused;

    connection_open(s, &refused, fd);
    output_reply(&refused, &reply);
    output_flush(&refused); /* an empty socket has room for it */
    connection_close(&refused);
}

static int spare(const struct server *s)
{
    return fcntl(s->listen_fd, F_DUPFD_CLOEXEC, 0);
}

/* A client that cannot be accepted would wake us for ever. */
static void refuse_without_descriptors(struct server *s)
{
    int fd = -1;

    if (s->spare_fd >= 0) {
        (void)close(s->spare_fd);
    }
    fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        refuse_client(s, fd);
    }
    s->spare_fd = spare(s);
}

static void accept_one(struct server *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            refuse_without_descriptors(s);
        }
        return;
    }
    for (unsigned i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        if (s->connections[i].fd < 0) {
            connection_open(s, &s->connections[i], fd);
            return;
        }
    }
    refuse_client(s, fd);
}

unsigned server_polls(const struct server *s, struct pollfd polls[SERVER_POLLS_MAX])
{
    unsigned n = 0;

    polls[n++] = (struct pollfd){ .fd = s->listen_fd, .events = POLLIN };
    for (unsigned i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        const struct connection *c = &s->connections[i];
        size_t waiting = c->output_size - c->output_at;
        short events = waiting > 0 ? POLLOUT : 0;

        if (waiting < OUTPUT_SIZE_MAX && !c->has_ended) {
            events = (short)(events | POLLIN);
        }
        polls[n++] = (struct pollfd){ .fd = c->fd, .events = events };
    }
    return n;
}

void server_run(struct server *s, const struct pollfd *polls, unsigned count)
{
    assert(count == SERVER_POLLS_MAX);
    for (unsigned i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];
        short events = polls[i + 1].revents;

        if (c->fd < 0 || events == 0) {
            continue;
        }
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && !c->has_ended) {
            receive(s, c);
        }
        output_flush(c);
        if (c->has_ended && (c->output_size == 0 || (events & (POLLHUP | POLLERR)) != 0)) {
            connection_close(c);
        }
    }
    /* Last, so that a connection that has just closed makes room. */
    if ((polls[0].revents & POLLIN) != 0) {
        accept_one(s);
    }
}

/* ---- Life ---- */

int server_create(const char *path, int listen_fd, size_t body_size_max, server_handler handler,
                  void *ctx, struct server **out)
{
    int fd = path == NULL ? listen_fd : unix_listen(path, SOCK_NONBLOCK);
    struct server *s = NULL;

    if (fd < 0) {
        return fd;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    s->listen_fd = fd;
    s->spare_fd = spare(s);
    s->handler = handler;
    s->ctx = ctx;
    s->body_size_max = body_size_max;
    for (unsigned i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        s->connections[i].fd = -1;
    }
    *out = s;
    return 0;
}

void server_destroy(struct server *s)
{
    for (unsigned i = 0; i < SERVER_CONNECTIONS_MAX; i++) {
        if (s->connections[i].fd >= 0) {
            output_flush(&s->connections[i]);
            connection_close(&s->connections[i]);
        }
    }
    if (s->spare_fd >= 0) {
        (void)close(s->spare_fd);
    }
    (void)close(s->listen_fd);
    free(s);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "api_client.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/unix_socket.h>

#include "cli.h"

#define FDS_MAX         8u
#define ANSWER_SIZE_MAX ((size_t)16 << 20)

static int send_request(int fd, const struct api_request *request)
{
    const char *body = request->body ? request->body : "";
    CLEANUP_FREE char *text =
        request->body
            ? text_format("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          request->method, request->path, strlen(body), body)
            : text_format("%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", request->method,
                          request->path);
    char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = { 0 };
    struct iovec vec = { text, strlen(text) };
    struct msghdr message = { .msg_iov = &vec, .msg_iovlen = 1 };

    if (request->fd_count > FDS_MAX) {
        return -EINVAL;
    }
    if (request->fd_count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(request->fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(request->fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), request->fds, request->fd_count * sizeof(int));
    }
    ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);

    if (n < 0) {
        return -errno;
    }
    return fd_write_all(fd, text + n, strlen(text) - (size_t)n);
}

/* Where the head ends (behind the empty line), or 0. */
static size_t head_size(const struct buffer *b)
{
    const char *end = b->data ? memmem(b->data, b->size, "\r\n\r\n", 4) : NULL;

    return end ? (size_t)(end - b->data) + 4 : 0;
}

/* Bytes of body that the head announces, or -1. */
static long long content_length(const char *head, size_t size)
{
    static const char field[] = "\r\nContent-Length:";
    CLEANUP_FREE char *text = text_copy_sized(head, size);
    const char *at = strcasestr(text, field);
    char *end = NULL;

    if (!at) {
        return 0;
    }
    long long length = strtoll(at + sizeof(field) - 1, &end, 10);

    return *end == '\r' && length >= 0 && (size_t)length <= ANSWER_SIZE_MAX ? length : -1;
}

/* 1: complete, 0: more to come, -EPROTO. */
static int parse(const struct buffer *b, struct api_answer *out)
{
    size_t head = head_size(b);

    if (head == 0) {
        return b->size > ANSWER_SIZE_MAX ? -EPROTO : 0;
    }
    if (strncmp(b->data, "HTTP/1.1 ", 9) != 0) {
        return -EPROTO;
    }
    long long length = content_length(b->data, head);
    long status = strtol(b->data + 9, NULL, 10); /* the head ends it */

    if (length < 0 || status < 100 || status > 999) {
        return -EPROTO;
    }
    out->status = (int)status;
    if (b->size - head < (size_t)length) {
        return 0;
    }
    buffer_add(&out->body, b->data + head, (size_t)length);
    return 1;
}

static int receive(int fd, int timeout_ms, struct api_answer *out)
{
    CLEANUP_BUFFER all = { 0 };
    uint64_t deadline =
        timeout_ms > 0 ? clock_ns() + (uint64_t)timeout_ms * NS_PER_MS : CLOCK_NEVER;
    int r = 0;

    while (r == 0) {
        struct pollfd p = { fd, POLLIN, 0 };
        char chunk[4096];

        if (poll(&p, 1, clock_poll_ms(deadline)) == 0) {
            return -ETIMEDOUT;
        }
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ECONNRESET;
        }
        buffer_add(&all, chunk, (size_t)n);
        r = parse(&all, out);
    }
    return r < 0 ? r : 0;
}

int api_call(const struct vm_record *r, const struct api_request *request, struct api_answer *out)
{
    CLEANUP_FREE char *path = vm_path(r, "api.sock");
    CLEANUP_FD fd = unix_connect(path, 0);
    int err = fd < 0 ? fd : send_request(fd, request);

    *out = (struct api_answer){ 0 };
    return err < 0 ? err : receive(fd, request->timeout_ms, out);
}

/* Firecracker's shape of an error, or the body itself. */
static char *fault_text(const struct api_answer *a)
{
    json_t *all =
        json_loadb(a->body.data ? a->body.data : "", a->body.size, JSON_REJECT_DUPLICATES, NULL);
    const char *text = json_string_value(json_object_get(all, "fault_message"));
    char *copy = text ? text_copy(text) : text_format("HTTP status %d", a->status);

    json_decref(all);
    return copy;
}

int api_do(const char *verb, const struct vm_record *r, const struct api_request *request,
           struct buffer *body)
{
    struct api_answer answer = { 0 };
    const char *who = r->name[0] ? r->name : r->id;
    int err = r->is_alive ? api_call(r, request, &answer) : -ECONNREFUSED;
    int status = 0;

    if (err == -ECONNREFUSED || err == -ENOENT || err == -ECONNRESET) {
        status = complain(STATUS_FAILED, "%s: %s: the machine has ended", verb, who);
    } else if (err < 0) {
        status =
            complain(STATUS_FAILED, "%s: %s: its control socket: %s", verb, who, strerror(-err));
    } else if (answer.status / 100 != 2) {
        CLEANUP_FREE char *text = fault_text(&answer);

        status = complain(STATUS_FAILED, "%s: %s: %s", verb, who, text);
    } else if (body) {
        *body = answer.body;
        answer.body = (struct buffer){ 0 };
    }
    buffer_free(&answer.body);
    return status;
}

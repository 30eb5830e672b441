/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/firecracker/http.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>
#include <base/unix_socket.h>

#include "backends/firecracker/json.h"
#include "error.h"

#define HEAD_SIZE_MAX    8192u
#define STATUS_LINE_SIZE 12u /* "HTTP/1.1 200" */
#define INTERIM_MAX      4u
#define REASON_SIZE      160u

int fc_http_open(struct fc_http *h, const char *socket_path)
{
    h->is_spent = false;
    h->fd = unix_connect(socket_path, SOCK_NONBLOCK);
    return h->fd < 0 ? h->fd : 0;
}

void fc_http_close(struct fc_http *h)
{
    if (h->fd >= 0) {
        (void)close(h->fd);
    }
    h->fd = -1;
}

/* ---- Bytes ---- */

static int wait_for(int fd, short events, uint64_t until_ns)
{
    for (;;) {
        struct pollfd p = { fd, events, 0 };
        int left_ms = clock_poll_ms(until_ns);
        int n = 0;

        if (left_ms == 0) {
            return -ETIMEDOUT;
        }
        n = poll(&p, 1, left_ms);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

static int send_all(int fd, const char *bytes, size_t size, uint64_t until_ns)
{
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            int r = wait_for(fd, POLLOUT, until_ns);

            if (r < 0) {
                return r;
            }
        } else if (n < 0 && errno != EINTR) {
            return -errno;
        } else if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* More of the answer; -ECONNRESET at its end, -EMSGSIZE when it is too long. */
static int receive_more(struct fc_http *h, uint64_t until_ns)
{
    size_t room = FC_ANSWER_SIZE_MAX - h->size;

    if (room == 0) {
        return -EMSGSIZE;
    }
    for (;;) {
        ssize_t n = recv(h->fd, h->answer + h->size, room, 0);

        if (n > 0) {
            h->size += (size_t)n;
            return 0;
        }
        if (n == 0) {
            return -ECONNRESET;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        int r = errno == EAGAIN ? wait_for(h->fd, POLLIN, until_ns) : 0;

        if (r < 0) {
            return r;
        }
    }
}

/* ---- The answer ---- */

struct head {
    unsigned status;
    size_t size; /* with its empty line */
    size_t body_size;
};

static int parse_length(const char *at, const char *end, size_t *out)
{
    size_t value = 0;
    const char *first = NULL;

    while (at < end && (*at == ' ' || *at == '\t')) {
        at++;
    }
    while (end > at && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    for (first = at; at < end; at++) {
        if (*at < '0' || *at > '9' || value > FC_ANSWER_SIZE_MAX) {
            return -EBADMSG;
        }
        value = value * 10 + (size_t)(*at - '0');
    }
    *out = value;
    return at == first ? -EBADMSG : 0;
}

static int parse_field(const char *line, const char *end, struct head *out, bool *has_length)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    size_t name = colon == NULL ? 0 : (size_t)(colon - line);

    if (colon == NULL) {
        return -EBADMSG;
    }
    if (name == 17 && strncasecmp(line, "Transfer-Encoding", name) == 0) {
        return -EBADMSG; /* Firecracker sends none */
    }
    if (name == 14 && strncasecmp(line, "Content-Length", name) == 0) {
        if (*has_length) {
            return -EBADMSG;
        }
        *has_length = true;
        return parse_length(colon + 1, end, &out->body_size);
    }
    return 0;
}

static int parse_status(const char *text, size_t size, unsigned *out)
{
    if (size < STATUS_LINE_SIZE || memcmp(text, "HTTP/1.", 7) != 0 || text[8] != ' ') {
        return -EBADMSG;
    }
    *out = 0;
    for (unsigned i = 9; i < STATUS_LINE_SIZE; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -EBADMSG;
        }
        *out = *out * 10 + (unsigned)(text[i] - '0');
    }
    return *out >= 100 && *out <= 599 ? 0 : -EBADMSG;
}

/* `out->size` bytes are there, up to and with the empty line. */
static int parse_head(const char *text, struct head *out)
{
    const char *end = text + out->size - 2;
    const char *line = text;
    bool has_length = false;
    int r = 0;

    out->body_size = 0;
    while (r == 0 && line < end) {
        const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);

        if (stop == NULL) {
            return -EBADMSG; /* cannot be: the empty line follows one */
        }
        r = line == text ? parse_status(text, (size_t)(stop - text), &out->status)
                         : parse_field(line, stop, out, &has_length);
        line = stop + 2;
    }
    /* Without a length only these end with their head. */
    if (r == 0 && !has_length && out->status != 204 && out->status != 100) {
        r = -EBADMSG;
    }
    return r;
}

static int receive_head(struct fc_http *h, uint64_t until_ns, struct head *out)
{
    for (;;) {
        const char *stop = memmem(h->answer, h->size, "\r\n\r\n", 4);

        if (stop != NULL) {
            out->size = (size_t)(stop - h->answer) + 4;
            return parse_head(h->answer, out);
        }
        /* What begins otherwise will not become an answer by waiting. */
        if (h->size > HEAD_SIZE_MAX || (h->size >= 7 && memcmp(h->answer, "HTTP/1.", 7) != 0)) {
            return -EBADMSG;
        }
        int r = receive_more(h, until_ns);

        if (r < 0) {
            return r;
        }
    }
}

static int receive(struct fc_http *h, uint64_t until_ns, unsigned *status)
{
    struct head head = { 0 };

    h->size = 0;
    for (unsigned i = 0; i < INTERIM_MAX; i++) {
        int r = receive_head(h, until_ns, &head);

        if (r == 0 && head.body_size > FC_ANSWER_SIZE_MAX - head.size) {
            r = -EMSGSIZE;
        }
        while (r == 0 && h->size < head.size + head.body_size) {
            r = receive_more(h, until_ns);
        }
        if (r < 0) {
            return r;
        }
        if (head.status != 100) {
            h->body = h->answer + head.size;
            h->body_size = head.body_size;
            *status = head.status;
            /* Nothing was asked that more could answer. */
            return h->size == head.size + head.body_size ? 0 : -EBADMSG;
        }
        memmove(h->answer, h->answer + head.size, h->size - head.size);
        h->size -= head.size;
    }
    return -EBADMSG;
}

static int exchange(struct fc_http *h, const struct fc_request *r, unsigned *status)
{
    char head[512];
    size_t body_size = r->body == NULL ? 0 : strlen(r->body);
    size_t n = r->body == NULL
                   ? fmt_snprintf(head, sizeof(head),
                                  "%s %s HTTP/1.1\r\nHost: localhost\r\n"
                                  "Accept: application/json\r\n\r\n",
                                  r->method, r->path)
                   : fmt_snprintf(head, sizeof(head),
                                  "%s %s HTTP/1.1\r\nHost: localhost\r\n"
                                  "Accept: application/json\r\nContent-Type: application/json\r\n"
                                  "Content-Length: %zu\r\n\r\n",
                                  r->method, r->path, body_size);
    int e = n >= sizeof(head) ? -ENAMETOOLONG : send_all(h->fd, head, n, r->until_ns);

    if (e == 0 && body_size > 0) {
        e = send_all(h->fd, r->body, body_size, r->until_ns);
    }
    return e < 0 ? e : receive(h, r->until_ns, status);
}

drupe_vm_err_t fc_http_do(struct fc_http *h, const struct fc_request *r, struct drupe_error *err)
{
    char reason[REASON_SIZE];
    unsigned status = 0;
    int e = h->fd < 0 || h->is_spent ? -ENOTCONN : exchange(h, r, &status);

    if (e == -EBADMSG || e == -EMSGSIZE) {
        h->is_spent = true;
        return error_set(err, r->code, 0, "%s %s: the answer is not Firecracker's", r->method,
                         r->path);
    }
    if (e < 0) {
        h->is_spent = true;
        return error_set(err, r->code, -e, "%s %s: Firecracker gives no answer", r->method,
                         r->path);
    }
    if (status >= 200 && status <= 299) {
        return DRUPE_OK;
    }
    if (!fc_json_find_string(h->body, h->body_size, "fault_message", reason, sizeof(reason)) &&
        !fc_json_find_string(h->body, h->body_size, "error", reason, sizeof(reason))) {
        reason[0] = '\0';
    }
    return error_set(err, r->code, 0, "%s %s: Firecracker answered %u%s%s", r->method, r->path,
                     status, reason[0] == '\0' ? "" : ": ", reason);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "api_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "file.h"

#define RETRY_NS       SIM_NS_PER_MS
#define RETRIES        500u
#define REQUEST_MAX    4096u
#define READ_SIZE      1500u
#define ANSWER_LIMIT   (15u * SIM_NS_PER_SEC) /* a request may wait for one that boots */
#define WAITING_CLIENT 64u

static bool are_breaks_allowed;

void api_allow_breaks(bool may_break)
{
    are_breaks_allowed = may_break;
}

/* ---- The monitor ---- */

static void *monitor_main(void *arg)
{
    struct api_monitor *m = arg;

    m->status = drupe_control_run(&m->options, &m->err);
    m->has_ended = true;
    return NULL;
}

void api_monitor_init(struct api_monitor *m, const char *path)
{
    memset(m, 0, sizeof(*m));
    drupe_control_options_init(&m->options);
    m->options.socket_path = path;
    m->options.kernel_path = "/images/kernel.elf";
}

void api_monitor_start(struct api_monitor *m)
{
    m->has_ended = false;
    m->task = sim_task_create("control", monitor_main, m);
}

void api_monitor_wait(struct api_monitor *m, int status)
{
    sim_check(sim_task_join(m->task, NULL), "the monitor's task is gone");
    if (m->options.socket_path != NULL) {
        (void)unlink(m->options.socket_path);
    }
    sim_check(status < 0 || m->status == status, "the monitor ended with %d, not %d: %s", m->status,
              status, m->err.text);
}

/* ---- Connections ---- */

bool api_connect(struct api_client *c, const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };

    memset(c, 0, sizeof(*c));
    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    for (unsigned i = 0; i < RETRIES; i++) {
        c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd >= 0 && connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) == 0) {
            return true;
        }
        if (c->fd >= 0) {
            (void)close(c->fd);
        }
        sim_sleep(RETRY_NS);
    }
    c->fd = -1;
    return false;
}

void api_hang_up(struct api_client *c)
{
    if (c->fd >= 0) {
        (void)close(c->fd);
        c->fd = -1;
    }
    sim_free(c->input);
    c->input = NULL;
    c->input_size = 0;
}

/* ---- Sending ---- */

size_t api_request(char *out, size_t size, const char *method, const char *path, const char *body)
{
    static const char *const extra[] = {
        "", "Accept: */*\r\n", "User-Agent: sim\r\nAccept-Encoding: gzip\r\n",
        "X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"
    };
    const char *more = extra[sim_random_below(sim_scenario_random(), array_size(extra))];
    int n = body == NULL ? snprintf(out, size, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                                    method, path, more)
                         : snprintf(out, size,
                                    "%s %s HTTP/1.1\r\n%sContent-Type: application/json\r\n"
                                    "Content-Length: %zu\r\n\r\n%s",
                                    method, path, more, strlen(body), body);

    sim_check(n > 0 && (size_t)n < size, "a request of %d bytes", n);
    return (size_t)n;
}

static ssize_t send_piece(struct api_client *c, const char *bytes, size_t size, const int *fds,
                          unsigned count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * WAITING_CLIENT)];
    } control;
    struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (count > 0) {
        memset(&control, 0, sizeof(control));
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                                           .cmsg_type = SCM_RIGHTS,
                                           .cmsg_len = CMSG_LEN(sizeof(int) * count) };
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
    }
    return sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

bool api_send_with(struct api_client *c, const char *bytes, size_t size, const int *fds,
                   unsigned count)
{
    struct sim_random *random = sim_scenario_random();
    uint32_t piece_max =
        sim_random_below(random, 3) == 0 ? 1 + sim_random_below(random, 40) : (uint32_t)size + 1;

    while (size > 0) {
        size_t piece = 1 + sim_random_below(random, piece_max);
        ssize_t r = send_piece(c, bytes, min_of(size, piece), fds, count);

        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r <= 0) {
            return false;
        }
        count = 0;
        bytes += r;
        size -= (size_t)r;
        if (piece_max < 40 && sim_random_below(random, 8) == 0) {
            sim_sleep(SIM_NS_PER_MS);
        }
    }
    return true;
}

bool api_send(struct api_client *c, const char *bytes, size_t size)
{
    return api_send_with(c, bytes, size, NULL, 0);
}

/* ---- Receiving ---- */

/* More bytes. False: there are none to come. */
static bool read_more(struct api_client *c)
{
    char bytes[READ_SIZE];
    ssize_t n = read(c->fd, bytes, sizeof(bytes));

    while (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        sim_sleep(errno == EAGAIN ? SIM_NS_PER_MS : 0);
        n = read(c->fd, bytes, sizeof(bytes));
    }
    if (n <= 0) {
        return false;
    }
    c->input = sim_grow(c->input, c->input_size + (size_t)n + 1);
    memcpy(c->input + c->input_size, bytes, (size_t)n);
    c->input_size += (size_t)n;
    c->input[c->input_size] = '\0';
    return true;
}

static void consume(struct api_client *c, size_t size)
{
    memmove(c->input, c->input + size, c->input_size - size + 1);
    c->input_size -= size;
}

static bool broke_off(const struct api_client *c, bool may_break)
{
    sim_check(may_break || are_breaks_allowed || c->input_size == 0,
              "an answer breaks off after '%.80s'", c->input);
    return false;
}

static size_t header_number(const char *head, const char *end, const char *name)
{
    const char *at = strstr(head, name);

    return at == NULL || at > end ? 0 : strtoul(at + strlen(name), NULL, 10);
}

bool api_receive(struct api_client *c, struct api_answer *out, bool may_break)
{
    char *end = NULL;
    size_t head_size = 0;

    while (c->input_size == 0 || (end = strstr(c->input, "\r\n\r\n")) == NULL) {
        sim_check(c->input_size < 4096, "a head without an end: '%.80s'", c->input);
        if (!read_more(c)) {
            return broke_off(c, may_break);
        }
    }
    sim_check(strncmp(c->input, "HTTP/1.1 ", 9) == 0 && strncmp(c->input + 12, " \r\n", 3) == 0,
              "no status line: '%.60s'", c->input);
    out->status = (unsigned)strtoul(c->input + 9, NULL, 10);
    out->size = header_number(c->input, end, "Content-Length: ");
    sim_check(out->size < sizeof(out->body), "a body of %zu bytes", out->size);
    sim_check(out->status != 204 || out->size == 0, "204 with a body");
    head_size = (size_t)(end - c->input) + 4;
    while (c->input_size < head_size + out->size) {
        if (!read_more(c)) {
            return broke_off(c, may_break);
        }
    }
    memcpy(out->body, c->input + head_size, out->size);
    out->body[out->size] = '\0';
    consume(c, head_size + out->size);
    return true;
}

bool api_ask(struct api_client *c, const char *method, const char *path, const char *body,
             struct api_answer *out)
{
    char text[REQUEST_MAX];
    size_t size = api_request(text, sizeof(text), method, path, body);
    bool has_answer = false;

    sim_op_begin(path, ANSWER_LIMIT);
    has_answer = api_send(c, text, size) && api_receive(c, out, false);
    sim_op_end();
    sim_outcome()->tries++;
    if (has_answer) {
        sim_trace("%s %s: %u", method, path, out->status);
        sim_outcome()->successes++;
        sim_check(out->status == 200 || out->status == 204 || out->status == 400 ||
                      out->status == 503,
                  "%s %s: status %u", method, path, out->status);
    }
    return has_answer;
}

void api_must(struct api_client *c, unsigned status, const char *method, const char *path,
              const char *body)
{
    struct api_answer a;

    sim_check(api_ask(c, method, path, body, &a), "%s %s: no answer", method, path);
    sim_check(a.status == status, "%s %s: %u, not %u: %s", method, path, a.status, status, a.body);
}

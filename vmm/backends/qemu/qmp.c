/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's machine protocol (QMP): one JSON object a line each way. We send commands without
 * arguments and look only at whether the answer is a return or an error; events between are passed
 * over. QEMU runs a hostile guest, so its lines are bounded and never believed further than that.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <base/fmt.h>

#include "backends/qemu/qemu.h"
#include "error.h"

#define ANSWER_TIMEOUT_MS INT64_C(10000)
#define COMMAND_SIZE_MAX  64u

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One line into q->line, cut when too long. 0 or -errno. */
static int read_line(struct qmp *q, int64_t deadline)
{
    q->line_size = 0;
    for (;;) {
        struct pollfd p = { q->fd, POLLIN, 0 };
        int64_t left = deadline - now_ms();
        char c = 0;
        ssize_t n = recv(q->fd, &c, 1, MSG_DONTWAIT);

        if (n == 0) {
            return -ECONNRESET;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (n < 0 && (left <= 0 || poll(&p, 1, (int)left) == 0)) {
            return -ETIMEDOUT;
        }
        if (n == 1 && c == '\n') {
            q->line[q->line_size] = '\0';
            return 0;
        }
        if (n == 1 && q->line_size + 1 < sizeof(q->line)) {
            q->line[q->line_size++] = c;
        }
    }
}

static bool begins(const struct qmp *q, const char *text)
{
    return strncmp(q->line, text, strlen(text)) == 0;
}

/* 0, -errno, or -EPROTO with QEMU's error in q->line. */
static int execute(struct qmp *q, const char *command, int64_t deadline)
{
    char text[COMMAND_SIZE_MAX];
    size_t size = fmt_snprintf(text, sizeof(text), "{\"execute\": \"%s\"}\n", command);
    int r = 0;

    if (send(q->fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) {
        return errno == 0 ? -EIO : -errno;
    }
    do {
        r = read_line(q, deadline);
    } while (r == 0 && !begins(q, "{\"return\"") && !begins(q, "{\"error\""));
    return r == 0 && begins(q, "{\"error\"") ? -EPROTO : r;
}

drupe_vm_err_t qmp_do(struct qmp *q, const char *command, drupe_vm_err_t code,
                      struct drupe_error *err)
{
    int64_t deadline = now_ms() + ANSWER_TIMEOUT_MS;
    int r = 0;

    /* The greeting comes first; no command is taken before this one. */
    if (!q->is_ready) {
        r = execute(q, "qmp_capabilities", deadline);
        q->is_ready = r == 0;
    }
    if (r == 0) {
        r = execute(q, command, deadline);
    }
    if (r == -EPROTO) {
        return error_set(err, code, 0, "QEMU refuses %s: %s", command, q->line);
    }
    return r == 0 ? DRUPE_OK : error_set(err, code, -r, "ask QEMU to %s", command);
}

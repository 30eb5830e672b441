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

#include <base/clock.h>
#include <base/fmt.h>

#include "backends/qemu/qemu.h"
#include "error.h"

#define ANSWER_TIMEOUT_MS 10000u
#define COMMAND_SIZE_MAX  64u

/* One line into q->line, cut when too long. 0 or -errno. */
static int read_line(struct qmp *q, uint64_t deadline_ns)
{
    q->line_size = 0;
    for (;;) {
        struct pollfd p = { q->fd, POLLIN, 0 };
        int left_ms = clock_poll_ms(deadline_ns);
        char c = 0;
        ssize_t n = recv(q->fd, &c, 1, MSG_DONTWAIT);

        if (n == 0) {
            return -ECONNRESET;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (n < 0 && (left_ms == 0 || poll(&p, 1, left_ms) == 0)) {
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
static int execute(struct qmp *q, const char *command, uint64_t deadline_ns)
{
    char text[COMMAND_SIZE_MAX];
    size_t size = fmt_snprintf(text, sizeof(text), "{\"execute\": \"%s\"}\n", command);
    int r = 0;

    if (send(q->fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) {
        return errno == 0 ? -EIO : -errno;
    }
    do {
        r = read_line(q, deadline_ns);
    } while (r == 0 && !begins(q, "{\"return\"") && !begins(q, "{\"error\""));
    return r == 0 && begins(q, "{\"error\"") ? -EPROTO : r;
}

drupe_vm_err_t qmp_do(struct qmp *q, const char *command, drupe_vm_err_t code,
                      struct drupe_error *err)
{
    uint64_t deadline_ns = clock_ns() + ANSWER_TIMEOUT_MS * NS_PER_MS;
    int r = 0;

    /* The greeting comes first; no command is taken before this one. */
    if (!q->is_ready) {
        r = execute(q, "qmp_capabilities", deadline_ns);
        q->is_ready = r == 0;
    }
    if (r == 0) {
        r = execute(q, command, deadline_ns);
    }
    if (r == -EPROTO) {
        return error_set(err, code, 0, "QEMU refuses %s: %s", command, q->line);
    }
    return r == 0 ? DRUPE_OK : error_set(err, code, -r, "ask QEMU to %s", command);
}

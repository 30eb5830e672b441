/* SPDX-License-Identifier: Apache-2.0 */
/* Reaching the agent: Firecracker's CONNECT line, then HELLO. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/bytes.h>
#include <base/clock.h>
#include <base/fmt.h>
#include <base/unix_socket.h>

#include "error.h"
#include "exec/channel.h"

#define BUILD_NAME    "libdrupe"
#define RETRY_NS_MIN  UINT64_C(1000000)
#define RETRY_NS_MAX  UINT64_C(20000000)
#define LINE_SIZE_MAX 32u

static bool wait_readable(int fd, uint64_t deadline_ns)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    for (;;) {
        int n = poll(&p, 1, clock_poll_ms(deadline_ns == 0 ? CLOCK_NEVER : deadline_ns));

        if (n >= 0 || errno != EINTR) {
            return n > 0;
        }
    }
}

/* One line, byte by byte: what follows it is the guest's. Length, or -ETIMEDOUT, -ECONNRESET. */
static int read_line(int fd, char line[LINE_SIZE_MAX], uint64_t deadline_ns)
{
    unsigned size = 0;

    while (size < LINE_SIZE_MAX - 1) {
        ssize_t n = 0;

        if (!wait_readable(fd, deadline_ns)) {
            return -ETIMEDOUT;
        }
        n = recv(fd, line + size, 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (n <= 0) {
            return -ECONNRESET;
        }
        if (line[size++] == '\n') {
            line[size] = '\0';
            return (int)size;
        }
    }
    return -EPROTO;
}

/* 0 and *fd, or -errno: -ECONNRESET: nobody listens in the guest. */
static int connect_once(const char *path, uint32_t port, uint64_t deadline_ns, int *fd)
{
    char line[LINE_SIZE_MAX];
    size_t size = fmt_snprintf(line, sizeof(line), "CONNECT %u\n", port);
    int r = 0;
    int s = unix_connect(path, SOCK_NONBLOCK);

    if (s < 0) {
        return s == -EAGAIN ? -ECONNRESET : s; /* its queue is full: as good as not there yet */
    }
    if (send(s, line, size, MSG_NOSIGNAL) != (ssize_t)size) {
        r = -ECONNRESET;
    } else {
        r = read_line(s, line, deadline_ns);
        r = r < 0 ? r : strncmp(line, "OK ", 3) == 0 ? 0 : -EPROTO;
    }
    if (r < 0) {
        (void)close(s);
        return r;
    }
    *fd = s;
    return 0;
}

static drupe_vm_err_t connect_failed(int r, const char *path, struct drupe_error *err)
{
    switch (r) {
    case -ENOENT:
    case -ENOTDIR:
        return error_set(err, DRUPE_NOT_FOUND, -r, "connect to %s", path);
    case -EACCES:
    case -EPERM:
        return error_set(err, DRUPE_NO_ACCESS, -r, "connect to %s", path);
    case -ECONNREFUSED:
        return error_set(err, DRUPE_NOT_RUNNING, -r, "connect to %s", path);
    case -ENAMETOOLONG:
        return error_field(err, "vsock_path", "%s is too long for a socket", path);
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
        return error_set(err, DRUPE_NO_MEMORY, -r, "connect to %s", path);
    case -ECONNRESET:
        return error_set(err, DRUPE_EXEC_FAILED, 0, "%s: nobody listens in the guest", path);
    case -ETIMEDOUT:
        return error_set(err, DRUPE_TIMEOUT, 0, "%s: the guest does not answer", path);
    default:
        return error_set(err, DRUPE_EXEC_FAILED, -r, "connect to %s", path);
    }
}

drupe_vm_err_t drupe_vsock_connect(const char *vsock_path, uint32_t port, uint32_t timeout_ms,
                                   int *fd, struct drupe_error *err)
{
    int r = connect_once(vsock_path, port, channel_deadline(timeout_ms), fd);

    return r == 0 ? DRUPE_OK : connect_failed(r, vsock_path, err);
}

/* ---- The agent ---- */

static bool has_hello(const drupe_agent_t *a, const void *ctx)
{
    (void)ctx;
    return a->has_hello;
}

static drupe_vm_err_t greet(drupe_agent_t *a, uint64_t deadline_ns, struct drupe_error *err)
{
    uint8_t hello[sizeof(struct agent_hello)];
    drupe_vm_err_t r = DRUPE_OK;

    store_be16(hello, AGENT_VERSION_MIN);
    store_be16(hello + 2, AGENT_VERSION_MAX);
    store_be32(hello + 4, 0);
    r = channel_send(a, AGENT_HELLO, 0, 0, hello, sizeof(hello), BUILD_NAME, strlen(BUILD_NAME),
                     err);
    return r == DRUPE_OK ? channel_wait(a, deadline_ns, has_hello, NULL, err) : r;
}

static drupe_agent_t *create(int fd)
{
    drupe_agent_t *a = calloc(1, sizeof(*a));
    pthread_condattr_t attr;

    if (a == NULL) {
        return NULL;
    }
    a->fd = fd;
    list_init(&a->streams);
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_mutex_init(&a->send_lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&a->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return a;
}

static drupe_vm_err_t open_until(int fd, uint64_t deadline_ns, drupe_agent_t **out,
                                 struct drupe_error *err)
{
    drupe_agent_t *a = create(fd);
    drupe_vm_err_t r = DRUPE_OK;

    if (a == NULL) {
        (void)close(fd);
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "connect to the agent");
    }
    r = greet(a, deadline_ns, err);
    if (r != DRUPE_OK) {
        drupe_agent_close(a);
        return r;
    }
    *out = a;
    return DRUPE_OK;
}

drupe_vm_err_t drupe_agent_open(int fd, uint32_t timeout_ms, drupe_agent_t **out,
                                struct drupe_error *err)
{
    return open_until(fd, channel_deadline(timeout_ms), out, err);
}

drupe_vm_err_t drupe_agent_connect(const char *vsock_path, uint32_t timeout_ms, drupe_agent_t **out,
                                   struct drupe_error *err)
{
    uint64_t deadline_ns = channel_deadline(timeout_ms);
    uint64_t pause_ns = RETRY_NS_MIN;

    for (;;) {
        int fd = -1;
        int r = connect_once(vsock_path, DRUPE_AGENT_PORT, deadline_ns, &fd);

        if (r == 0) {
            return open_until(fd, deadline_ns, out, err);
        }
        if (r != -ECONNRESET) {
            return connect_failed(r, vsock_path, err);
        }
        if (deadline_ns != 0 && clock_ns() >= deadline_ns) {
            return connect_failed(-ETIMEDOUT, vsock_path, err);
        }
        const struct timespec t = { .tv_nsec = (long)pause_ns };

        (void)nanosleep(&t, NULL);
        pause_ns = min_of(pause_ns * 2, RETRY_NS_MAX);
    }
}

void drupe_agent_close(drupe_agent_t *a)
{
    if (a == NULL) {
        return;
    }
    while (!list_is_empty(&a->streams)) {
        struct channel_stream *s = list_first(&a->streams, struct channel_stream, link);

        list_remove(&s->link); /* abandoned: the others were freed by their owners */
        free(s);
    }
    (void)close(a->fd);
    free(a->in);
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->lock);
    (void)pthread_mutex_destroy(&a->send_lock);
    free(a);
}

int drupe_agent_fd(const drupe_agent_t *agent)
{
    return agent->fd;
}

uint32_t drupe_agent_capabilities(const drupe_agent_t *agent)
{
    return agent->capabilities;
}

const char *drupe_agent_build(const drupe_agent_t *agent)
{
    return agent->build;
}

/* A pong that came after ours was asked for answers ours, too: they come in order. */
static bool has_pong(const drupe_agent_t *a, const void *ctx)
{
    const uint64_t *wanted = ctx;

    return a->pongs >= *wanted;
}

drupe_vm_err_t drupe_agent_ping(drupe_agent_t *agent, uint32_t timeout_ms, struct drupe_error *err)
{
    uint64_t deadline_ns = channel_deadline(timeout_ms);
    uint8_t payload[8];
    uint64_t wanted = 0;
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&agent->lock);
    wanted = ++agent->pings;
    (void)pthread_mutex_unlock(&agent->lock);
    store_be64(payload, wanted);
    r = channel_send(agent, AGENT_PING, 0, 0, payload, sizeof(payload), NULL, 0, err);
    return r == DRUPE_OK ? channel_wait(agent, deadline_ns, has_pong, &wanted, err) : r;
}

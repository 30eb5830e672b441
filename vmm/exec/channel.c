/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"

#define SEND_MS  10000u
#define IN_START 65536u

uint64_t channel_deadline(uint32_t timeout_ms)
{
    return timeout_ms == UINT32_MAX ? 0 : clock_ns() + timeout_ms * NS_PER_MS;
}

/* Milliseconds until the deadline for poll(2), rounded up; -1: none. */
static int left_ms(uint64_t deadline_ns)
{
    return clock_poll_ms(deadline_ns == 0 ? CLOCK_NEVER : deadline_ns);
}

/* Nothing works any more; the first reason stays. */
static void fail_locked(drupe_agent_t *a, drupe_vm_err_t code, const char *why)
{
    if (a->state == DRUPE_OK) {
        a->state = code;
        (void)fmt_snprintf(a->why, sizeof(a->why), "%s", why);
        (void)shutdown(a->fd, SHUT_RDWR); /* wakes who polls */
    }
    (void)pthread_cond_broadcast(&a->changed);
}

static void fail(drupe_agent_t *a, drupe_vm_err_t code, const char *why)
{
    (void)pthread_mutex_lock(&a->lock);
    fail_locked(a, code, why);
    (void)pthread_mutex_unlock(&a->lock);
}

void drupe_agent_interrupt(drupe_agent_t *agent)
{
    fail(agent, DRUPE_INTERRUPTED, "the connection was closed for a snapshot");
}

static drupe_vm_err_t state_error_locked(const drupe_agent_t *a, struct drupe_error *err)
{
    return error_set(err, a->state, 0, "agent: %s", a->why);
}

/* ---- Streams ---- */

static struct channel_stream *find_locked(drupe_agent_t *a, unsigned id)
{
    struct channel_stream *s = NULL;

    list_for_each_entry(s, &a->streams, link) {
        if (s->id == id) {
            return s;
        }
    }
    return NULL;
}

drupe_vm_err_t channel_stream_open(drupe_agent_t *a, struct channel_stream **out,
                                   struct drupe_error *err)
{
    struct channel_stream *s = calloc(1, sizeof(*s));
    drupe_vm_err_t r = DRUPE_OK;

    if (s == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "open a stream to the agent");
    }
    s->agent = a;
    s->window = AGENT_WINDOW_START;
    s->credit = AGENT_WINDOW_START;
    list_init(&s->received);
    (void)pthread_mutex_lock(&a->lock);
    if (a->state != DRUPE_OK) {
        r = state_error_locked(a, err);
    } else {
        do { /* ends: the agent bounds streams far below the numbers that there are */
            a->next_id = (uint16_t)(a->next_id + 1);
        } while (a->next_id == 0 || find_locked(a, a->next_id) != NULL);
        s->id = a->next_id;
        list_push_back(&a->streams, &s->link);
    }
    (void)pthread_mutex_unlock(&a->lock);
    if (r != DRUPE_OK) {
        free(s);
        return r;
    }
    *out = s;
    return DRUPE_OK;
}

static void drop_received(struct channel_stream *s)
{
    while (!list_is_empty(&s->received)) {
        struct received *f = list_first(&s->received, struct received, link);

        list_remove(&f->link);
        free(f);
    }
}

void channel_stream_close(struct channel_stream *s)
{
    drupe_agent_t *a = s->agent;
    bool is_over = false;

    (void)pthread_mutex_lock(&a->lock);
    drop_received(s);
    is_over = s->is_closed || a->state != DRUPE_OK;
    s->is_abandoned = true;
    if (is_over) {
        list_remove(&s->link);
    }
    (void)pthread_mutex_unlock(&a->lock);
    if (is_over) {
        free(s);
    }
}

/* ---- Sending ---- */

/* True: there is room again. */
static bool wait_writable(const drupe_agent_t *a, uint64_t deadline_ns)
{
    struct pollfd p = { .fd = a->fd, .events = POLLOUT };
    int n = 0;

    do {
        n = poll(&p, 1, left_ms(deadline_ns));
    } while (n < 0 && errno == EINTR);
    return n > 0 && (p.revents & POLLOUT) != 0;
}

static bool send_all(const drupe_agent_t *a, struct iovec *iov, size_t count, uint64_t deadline_ns)
{
    while (count > 0) {
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = count };
        ssize_t n = sendmsg(a->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno != EAGAIN || !wait_writable(a, deadline_ns))) {
            return false;
        }
        for (size_t done = n > 0 ? (size_t)n : 0; count > 0 && done >= iov->iov_len; count--) {
            done -= iov->iov_len;
            n = (ssize_t)done;
            iov++;
        }
        if (count > 0 && n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return true;
}

drupe_vm_err_t channel_send(drupe_agent_t *a, unsigned type, unsigned flags, unsigned stream,
                            const void *head, size_t head_size, const void *tail, size_t tail_size,
                            struct drupe_error *err)
{
    uint8_t header[AGENT_HEADER_SIZE];
    struct iovec iov[3] = { { .iov_base = header, .iov_len = sizeof(header) },
                            { .iov_base = (void *)(uintptr_t)head, .iov_len = head_size },
                            { .iov_base = (void *)(uintptr_t)tail, .iov_len = tail_size } };
    drupe_vm_err_t r = DRUPE_OK;
    bool is_sent = false;

    assert(head_size + tail_size <= AGENT_PAYLOAD_MAX);
    store_be32(header, (uint32_t)(AGENT_LENGTH_MIN + head_size + tail_size));
    header[4] = (uint8_t)type;
    header[5] = (uint8_t)flags;
    store_be16(header + 6, (uint16_t)stream);
    (void)pthread_mutex_lock(&a->send_lock);
    is_sent = send_all(a, iov, array_size(iov), channel_deadline(SEND_MS));
    (void)pthread_mutex_unlock(&a->send_lock);
    if (!is_sent) {
        /* Half a frame may be out: the connection is of no more use. */
        (void)pthread_mutex_lock(&a->lock);
        fail_locked(a, DRUPE_EXEC_FAILED, "the connection was lost");
        r = state_error_locked(a, err);
        (void)pthread_mutex_unlock(&a->lock);
    }
    return r;
}

void channel_grant(struct channel_stream *s, size_t size)
{
    uint8_t payload[4];

    store_be32(payload, (uint32_t)size);
    (void)pthread_mutex_lock(&s->agent->lock);
    s->window += size;
    (void)pthread_mutex_unlock(&s->agent->lock);
    (void)!channel_send(s->agent, AGENT_WINDOW, 0, s->id, payload, sizeof(payload), NULL, 0, NULL);
}

/* ---- Receiving ---- */

static bool closes_stream(unsigned type, unsigned flags)
{
    switch (type) {
    case AGENT_EXIT:
    case AGENT_OK:
    case AGENT_ERROR:
        return true;
    case AGENT_DATA:
    case AGENT_ENTRIES:
        return (flags & AGENT_END) != 0;
    default:
        return false;
    }
}

static bool costs_credit(unsigned type)
{
    return type == AGENT_STDOUT || type == AGENT_STDERR || type == AGENT_DATA;
}

static void add_credit_locked(drupe_agent_t *a, struct channel_stream *s, const uint8_t *payload,
                              size_t size)
{
    if (size != 4 || s->credit + load_be32(payload) > AGENT_WINDOW_MAX) {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent a wrong WINDOW");
        return;
    }
    s->credit += load_be32(payload);
}

static void queue_locked(drupe_agent_t *a, struct channel_stream *s, unsigned type, unsigned flags,
                         const uint8_t *payload, size_t size)
{
    struct received *f = NULL;

    /* An agent may send its one line of a refusal without looking; data it may not. */
    if (costs_credit(type) && size > s->window) {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent more than it was allowed");
        return;
    }
    s->window -= costs_credit(type) ? size : 0;
    f = malloc(sizeof(*f) + size);
    if (f == NULL) {
        fail_locked(a, DRUPE_NO_MEMORY, "no memory for what the agent sent");
        return;
    }
    f->type = (uint8_t)type;
    f->flags = (uint8_t)flags;
    f->size = size;
    memcpy(f->payload, payload, size);
    list_push_back(&s->received, &f->link);
    s->is_closed = closes_stream(type, flags);
}

static void on_stream_locked(drupe_agent_t *a, struct channel_stream *s, unsigned type,
                             unsigned flags, const uint8_t *payload, size_t size)
{
    if (s->is_closed) {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent on a closed stream");
    } else if (s->is_abandoned) {
        if (closes_stream(type, flags)) {
            list_remove(&s->link);
            free(s);
        } else if (costs_credit(type) && size > s->window) {
            fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent more than it was allowed");
        } else if (costs_credit(type)) {
            s->window -= size; /* the program was killed: it will not fill it up */
        }
    } else if (type == AGENT_WINDOW) {
        add_credit_locked(a, s, payload, size);
    } else if (type == AGENT_STDOUT || type == AGENT_STDERR || type == AGENT_ENTRIES ||
               type == AGENT_DATA || closes_stream(type, flags)) {
        queue_locked(a, s, type, flags, payload, size);
    } else {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent an unknown frame");
    }
}

static void on_hello_locked(drupe_agent_t *a, const uint8_t *payload, size_t size)
{
    size_t build = 0;

    if (a->has_hello || size < sizeof(struct agent_hello)) {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent a wrong HELLO");
        return;
    }
    if (load_be16(payload) > AGENT_VERSION_MAX || load_be16(payload + 2) < AGENT_VERSION_MIN) {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent speaks no version that we know");
        return;
    }
    a->capabilities = load_be32(payload + 4);
    build = min_of(size - sizeof(struct agent_hello), sizeof(a->build) - 1);
    for (size_t i = 0; i < build; i++) {
        uint8_t c = payload[sizeof(struct agent_hello) + i];

        a->build[i] = '?';
        if (c >= ' ' && c < 0x7f) {
            a->build[i] = (char)c;
        }
    }
    a->has_hello = true;
}

/* Stream 0: what concerns the connection. */
static void on_connection_locked(drupe_agent_t *a, unsigned type, const uint8_t *payload,
                                 size_t size)
{
    char text[128];

    switch (type) {
    case AGENT_HELLO:
        on_hello_locked(a, payload, size);
        break;
    case AGENT_PONG:
        if (size == 8 && load_be64(payload) <= a->pings) {
            a->pongs = max_of(a->pongs, load_be64(payload));
        }
        break;
    case AGENT_ERROR:
        (void)fmt_snprintf(text, sizeof(text), "the agent ended the connection: %.*s",
                           size > 4 ? (int)min_of(size - 4, (size_t)90) : 0,
                           size > 4 ? (const char *)payload + 4 : "");
        fail_locked(a, DRUPE_EXEC_FAILED, text);
        break;
    default:
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent an unknown frame");
        break;
    }
}

static void on_frame_locked(drupe_agent_t *a, const uint8_t *frame, size_t size)
{
    unsigned type = frame[4];
    unsigned stream = load_be16(frame + 6);
    const uint8_t *payload = frame + AGENT_HEADER_SIZE;
    struct channel_stream *s = NULL;

    size -= AGENT_HEADER_SIZE;
    if (stream == 0) {
        on_connection_locked(a, type, payload, size);
        return;
    }
    s = find_locked(a, stream);
    if (s != NULL) {
        on_stream_locked(a, s, type, frame[5], payload, size);
    } else {
        fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent on a stream that is not open");
    }
}

/* Hand out all frames that are complete. */
static void handle_locked(drupe_agent_t *a)
{
    size_t at = 0;

    while (a->state == DRUPE_OK && a->in_size - at >= AGENT_HEADER_SIZE) {
        size_t length = load_be32(a->in + at);

        if (length < AGENT_LENGTH_MIN || length > AGENT_LENGTH_MAX) {
            fail_locked(a, DRUPE_EXEC_FAILED, "the agent sent a frame of a wrong length");
            return;
        }
        if (a->in_size - at < 4 + length) {
            break;
        }
        on_frame_locked(a, a->in + at, 4 + length);
        at += 4 + length;
    }
    a->in_size -= at;
    memmove(a->in, a->in + at, a->in_size);
}

/* Room for the frame under way. False: no memory. */
static bool make_room(drupe_agent_t *a)
{
    size_t want = IN_START;
    uint8_t *more = NULL;

    if (a->in_size >= 4) {
        want = max_of(want, 4 + (size_t)min_of(load_be32(a->in), AGENT_LENGTH_MAX));
    }
    if (a->in_room >= want) {
        return true;
    }
    more = realloc(a->in, want);
    if (more == NULL) {
        return false;
    }
    a->in = more;
    a->in_room = want;
    return true;
}

/*
 * Read once, for everybody. Called with the lock held and is_reading set, which keeps `in` ours
 * while the lock is dropped.
 */
static void read_locked(drupe_agent_t *a, uint64_t deadline_ns)
{
    struct pollfd p = { .fd = a->fd, .events = POLLIN };
    const char *problem = NULL;
    ssize_t n = 0;

    (void)pthread_mutex_unlock(&a->lock);
    if (!make_room(a)) {
        problem = "no memory for what the agent sends";
    } else if (poll(&p, 1, left_ms(deadline_ns)) > 0) {
        n = recv(a->fd, a->in + a->in_size, a->in_room - a->in_size, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            problem = "the connection was lost";
        }
    }
    (void)pthread_mutex_lock(&a->lock);
    if (problem != NULL) {
        fail_locked(a, DRUPE_EXEC_FAILED, problem);
    } else if (n > 0) {
        a->in_size += (size_t)n;
        handle_locked(a);
    }
}

/* Sleep until somebody else has read something; false at the deadline. */
static bool sleep_locked(drupe_agent_t *a, uint64_t deadline_ns)
{
    const struct timespec until = clock_timespec(deadline_ns);

    if (deadline_ns == 0) {
        (void)pthread_cond_wait(&a->changed, &a->lock);
        return true;
    }
    return pthread_cond_timedwait(&a->changed, &a->lock, &until) != ETIMEDOUT;
}

drupe_vm_err_t channel_wait(drupe_agent_t *a, uint64_t deadline_ns,
                            bool (*done)(const drupe_agent_t *a, const void *ctx), const void *ctx,
                            struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;
    bool is_late = false;

    (void)pthread_mutex_lock(&a->lock);
    while (!done(a, ctx)) {
        if (a->state != DRUPE_OK) {
            r = state_error_locked(a, err);
            break;
        }
        if (is_late) {
            r = error_set(err, DRUPE_TIMEOUT, 0, "agent: no answer in time");
            break;
        }
        if (a->is_reading) {
            is_late = !sleep_locked(a, deadline_ns);
            continue;
        }
        a->is_reading = true;
        /* One look at the socket even when the time is up: what is there counts. */
        read_locked(a, deadline_ns);
        a->is_reading = false;
        (void)pthread_cond_broadcast(&a->changed);
        is_late = deadline_ns != 0 && clock_ns() >= deadline_ns;
    }
    (void)pthread_mutex_unlock(&a->lock);
    return r;
}

struct want {
    const struct channel_stream *stream;
    bool credit;
};

static bool has_come(const drupe_agent_t *a, const void *ctx)
{
    const struct want *w = ctx;

    (void)a;
    return !list_is_empty(&w->stream->received) || (w->credit && w->stream->credit > 0);
}

drupe_vm_err_t channel_receive(struct channel_stream *s, uint64_t deadline_ns, bool wants_credit,
                               struct received **out, struct drupe_error *err)
{
    const struct want w = { s, wants_credit };
    drupe_vm_err_t r = channel_wait(s->agent, deadline_ns, has_come, &w, err);

    if (r != DRUPE_OK) {
        return r;
    }
    *out = NULL;
    (void)pthread_mutex_lock(&s->agent->lock);
    if (!list_is_empty(&s->received)) {
        *out = list_first(&s->received, struct received, link);
        list_remove(&(*out)->link);
    }
    (void)pthread_mutex_unlock(&s->agent->lock);
    return DRUPE_OK;
}

/* ---- Errors of the agent ---- */

static drupe_vm_err_t code_of(uint32_t code, int *os_errno)
{
    *os_errno = 0;
    if (code > AGENT_ERROR_ERRNO && code < AGENT_ERROR_ERRNO + 200) {
        *os_errno = (int)(code - AGENT_ERROR_ERRNO);
        return *os_errno == ENOENT || *os_errno == ENOTDIR ? DRUPE_NOT_FOUND
               : *os_errno == EACCES || *os_errno == EPERM ? DRUPE_NO_ACCESS
                                                           : DRUPE_EXEC_FAILED;
    }
    switch (code) {
    case AGENT_ERROR_REQUEST:
        return DRUPE_CONFIG_INVALID;
    case AGENT_ERROR_BUSY:
        return DRUPE_BUSY;
    case AGENT_ERROR_NO_MEMORY:
        return DRUPE_NO_MEMORY;
    case AGENT_ERROR_UNSUPPORTED:
        return DRUPE_UNSUPPORTED;
    default:
        return DRUPE_EXEC_FAILED;
    }
}

drupe_vm_err_t channel_refused(const struct received *f, const char *what, struct drupe_error *err)
{
    int os_errno = 0;
    drupe_vm_err_t code =
        f->size < 4 ? DRUPE_EXEC_FAILED : code_of(load_be32(f->payload), &os_errno);

    if (f->type != AGENT_ERROR || f->size < 4) {
        return error_set(err, DRUPE_EXEC_FAILED, 0, "%s: the agent's answer makes no sense", what);
    }
    if (os_errno != 0) {
        return error_set(err, code, os_errno, "%s", what);
    }
    return error_set(err, code, 0, "%s: %.*s", what, (int)min_of(f->size - 4, (size_t)120),
                     (const char *)f->payload + 4);
}

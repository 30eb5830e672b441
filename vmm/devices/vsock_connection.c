/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "virtio_vsock.h"

#define GREETING_SIZE_MAX 32u
#define CREDIT_STEP       (VIRTIO_VSOCK_BUFFER_SIZE / 4)

struct vsock_connection *vsock_connection_create(int fd)
{
    struct vsock_connection *c = calloc(1, sizeof(*c));

    if (c != NULL) {
        list_init(&c->link);
        list_init(&c->ready);
        c->fd = fd;
        c->is_writable = true;
    }
    return c;
}

void vsock_connection_close(struct vsock_connection *c)
{
    if (c->fd >= 0) {
        (void)close(c->fd); /* leaves the epoll set with it: the socket was never duplicated */
    }
    c->fd = -1;
    c->is_readable = false;
    c->is_deaf = true;
}

void vsock_connection_destroy(struct vsock_connection *c)
{
    assert(!list_is_linked(&c->link));
    assert(!list_is_linked(&c->ready));
    vsock_connection_close(c);
    free(c->buffer);
    free(c);
}

/* ---- The greeting ---- */

static bool parse_port(const char *text, size_t size, uint32_t *port)
{
    uint64_t value = 0;

    if (size == 0 || size > 10) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *port = (uint32_t)value;
    return value < UINT32_MAX; /* the last one means "any" */
}

int vsock_connection_greeting(struct vsock_connection *c, uint32_t *port)
{
    static const char word[] = "CONNECT ";
    char line[GREETING_SIZE_MAX];
    const char *end = NULL;
    ssize_t n = recv(c->fd, line, sizeof(line), MSG_PEEK | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (n <= 0) {
        return -EPROTO;
    }
    end = memchr(line, '\n', (size_t)n);
    if (end == NULL) {
        return (size_t)n < sizeof(line) ? 0 : -EPROTO;
    }
    if ((size_t)(end - line) < sizeof(word) || memcmp(line, word, sizeof(word) - 1) != 0 ||
        !parse_port(line + sizeof(word) - 1, (size_t)(end - line) - (sizeof(word) - 1), port)) {
        return -EPROTO;
    }
    /* What follows the line is the guest's. */
    n = recv(c->fd, line, (size_t)(end - line) + 1, MSG_DONTWAIT);
    return n == end - line + 1 ? 1 : -EPROTO;
}

int vsock_connection_welcome(struct vsock_connection *c)
{
    char line[GREETING_SIZE_MAX];
    size_t size = fmt_snprintf(line, sizeof(line), "OK %u\n", c->host_port);

    if (send(c->fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size) {
        return -EPIPE; /* a fresh socket has room for a line */
    }
    return 0;
}

/* ---- Towards the guest ---- */

uint32_t vsock_connection_credit(const struct vsock_connection *c)
{
    uint32_t under_way = c->sent - c->peer_forwarded;

    return under_way < c->peer_buffer ? c->peer_buffer - under_way : 0;
}

bool vsock_connection_is_ready(const struct vsock_connection *c)
{
    return c->pending != 0 ||
           (c->state == VSOCK_ESTABLISHED && c->is_readable &&
            (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) == 0 && vsock_connection_credit(c) > 0);
}

static void note_end(struct vsock_connection *c)
{
    c->is_at_end = true;
    c->is_readable = false;
    c->host_shut |= VIRTIO_VSOCK_SHUTDOWN_SEND;
    if (c->is_hung_up) {
        c->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
    }
    c->pending |= VSOCK_PENDING_SHUTDOWN;
}

size_t vsock_connection_read(struct vsock_connection *c, struct iovec *iov, unsigned count)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = count };
    ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT);

    if (n > 0) {
        c->sent += (uint32_t)n;
        return (size_t)n;
    }
    if (n < 0 && errno == EINTR) {
        return 0; /* still readable: the next round tries again */
    }
    if (n < 0 && errno == EAGAIN) {
        c->is_readable = false;
        return 0;
    }
    c->is_hung_up = c->is_hung_up || n < 0; /* a reset: nothing works in either direction */
    note_end(c);
    return 0;
}

/* ---- Towards the host ---- */

bool vsock_connection_owes_credit(const struct vsock_connection *c)
{
    return c->forwarded - c->forwarded_told >= CREDIT_STEP;
}

static void note_deaf(struct vsock_connection *c)
{
    c->is_deaf = true;
    c->forwarded += c->count;
    c->count = 0;
    c->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
    c->pending |= VSOCK_PENDING_SHUTDOWN;
}

/* Bytes that the socket took; it may have become deaf or unwritable. */
static size_t give(struct vsock_connection *c, struct iovec *iov, unsigned count)
{
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = count };
    ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0) {
        c->forwarded += (uint32_t)n;
        return (size_t)n;
    }
    if (errno == EAGAIN || errno == EINTR) {
        c->is_writable = errno == EINTR;
        return 0;
    }
    note_deaf(c);
    return 0;
}

int vsock_connection_write(struct vsock_connection *c, struct iovec *iov, unsigned count,
                           size_t size, size_t *taken)
{
    *taken = 0;
    if (size > VIRTIO_VSOCK_BUFFER_SIZE - (c->received - c->forwarded)) {
        return -EPROTO;
    }
    c->received += (uint32_t)size;
    if (!c->is_deaf && c->count == 0 && c->is_writable) {
        *taken = give(c, iov, count);
    }
    if (c->is_deaf) {
        c->forwarded += (uint32_t)(size - *taken);
        *taken = size;
    }
    return 0;
}

uint8_t *vsock_connection_reserve(struct vsock_connection *c, size_t *size)
{
    uint32_t at = (c->head + c->count) % VIRTIO_VSOCK_BUFFER_SIZE;

    if (c->buffer == NULL) {
        c->buffer = malloc(VIRTIO_VSOCK_BUFFER_SIZE);
    }
    /* Credit was checked: what is kept is at most what was received and not forwarded. */
    assert(*size <= VIRTIO_VSOCK_BUFFER_SIZE - c->count);
    *size = min_of(*size, (size_t)(VIRTIO_VSOCK_BUFFER_SIZE - at));
    return c->buffer == NULL ? NULL : c->buffer + at;
}

void vsock_connection_keep(struct vsock_connection *c, size_t size)
{
    c->count += (uint32_t)size;
    assert(c->count <= VIRTIO_VSOCK_BUFFER_SIZE);
}

/* Once each: shutdown(2) makes an edge of its own. Fails only when the host is gone already. */
static void shut(struct vsock_connection *c, unsigned what, int how)
{
    if ((c->guest_shut & ~c->guest_shut_done & what) != 0) {
        c->guest_shut_done |= what;
        (void)shutdown(c->fd, how);
    }
}

void vsock_connection_flush(struct vsock_connection *c)
{
    while (c->count > 0 && c->is_writable && !c->is_deaf) {
        struct iovec iov = { .iov_base = c->buffer + c->head,
                             .iov_len = min_of(c->count, VIRTIO_VSOCK_BUFFER_SIZE - c->head) };
        size_t n = give(c, &iov, 1);

        if (!c->is_deaf) {
            c->head = (c->head + (uint32_t)n) % VIRTIO_VSOCK_BUFFER_SIZE;
            c->count -= (uint32_t)n;
        }
    }
    if (c->count > 0 || c->fd < 0) {
        return;
    }
    shut(c, VIRTIO_VSOCK_SHUTDOWN_SEND, SHUT_WR);
    shut(c, VIRTIO_VSOCK_SHUTDOWN_RCV, SHUT_RD);
}

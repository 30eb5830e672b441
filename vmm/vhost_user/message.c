/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>

static_assert(sizeof(struct vhost_user_header) == 12, "message layout");
static_assert(sizeof(struct vhost_user_ring_state) == 8, "message layout");
static_assert(sizeof(struct vhost_user_ring_addresses) == 40, "message layout");
static_assert(sizeof(struct vhost_user_region) == 32, "message layout");
static_assert(offsetof(struct vhost_user_regions, items) == 8, "message layout");
static_assert(offsetof(struct vhost_user_config, bytes) == 12, "message layout");

#define HEADER_SIZE sizeof(struct vhost_user_header)

/* What a request must look like. */
struct shape {
    bool is_known;
    uint16_t size_min;
    uint16_t size_max;
    uint8_t fds_max;
};

#define EXACTLY(n)                                                                                 \
    {                                                                                              \
        true, (n), (n), 0                                                                          \
    }
#define WORD_AND_FD                                                                                \
    {                                                                                              \
        true, 8, 8, 1                                                                              \
    }

static const struct shape shapes[VHOST_USER_REQUESTS] = {
    [VHOST_USER_GET_FEATURES] = EXACTLY(0),
    [VHOST_USER_SET_FEATURES] = EXACTLY(8),
    [VHOST_USER_SET_OWNER] = EXACTLY(0),
    [VHOST_USER_RESET_OWNER] = EXACTLY(0),
    [VHOST_USER_SET_MEM_TABLE] = { true, 8, sizeof(struct vhost_user_regions),
                                   VHOST_USER_REGIONS_MAX },
    [VHOST_USER_SET_VRING_NUM] = EXACTLY(sizeof(struct vhost_user_ring_state)),
    [VHOST_USER_SET_VRING_ADDR] = EXACTLY(sizeof(struct vhost_user_ring_addresses)),
    [VHOST_USER_SET_VRING_BASE] = EXACTLY(sizeof(struct vhost_user_ring_state)),
    [VHOST_USER_GET_VRING_BASE] = EXACTLY(sizeof(struct vhost_user_ring_state)),
    [VHOST_USER_SET_VRING_KICK] = WORD_AND_FD,
    [VHOST_USER_SET_VRING_CALL] = WORD_AND_FD,
    [VHOST_USER_SET_VRING_ERR] = WORD_AND_FD,
    [VHOST_USER_GET_PROTOCOL_FEATURES] = EXACTLY(0),
    [VHOST_USER_SET_PROTOCOL_FEATURES] = EXACTLY(8),
    [VHOST_USER_GET_QUEUE_NUM] = EXACTLY(0),
    [VHOST_USER_SET_VRING_ENABLE] = EXACTLY(sizeof(struct vhost_user_ring_state)),
    [VHOST_USER_GET_CONFIG] = { true, offsetof(struct vhost_user_config, bytes),
                                sizeof(struct vhost_user_config), 0 },
};

void vhost_user_message_init(struct vhost_user_message *m)
{
    memset(m, 0, sizeof(*m));
    for (unsigned i = 0; i < array_size(m->fds); i++) {
        m->fds[i] = -1;
    }
}

void vhost_user_message_clear(struct vhost_user_message *m)
{
    for (unsigned i = 0; i < array_size(m->fds); i++) {
        if (m->fds[i] >= 0) {
            (void)close(m->fds[i]);
        }
    }
    vhost_user_message_init(m);
}

int vhost_user_message_take_fd(struct vhost_user_message *m, unsigned i)
{
    int fd = -1;

    assert(i < array_size(m->fds));
    fd = m->fds[i];
    m->fds[i] = -1;
    return fd;
}

/* ---- Receiving ---- */

/* A header that says how much follows it, and that this much has room. */
static int check_header(const struct vhost_user_header *h)
{
    if (h->request >= VHOST_USER_REQUESTS || !shapes[h->request].is_known ||
        (h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
        (h->flags & VHOST_USER_REPLY) != 0 || h->size < shapes[h->request].size_min ||
        h->size > shapes[h->request].size_max) {
        return -EPROTO;
    }
    return 0;
}

/* What the payload itself says about sizes and descriptors. */
static int check_whole(const struct vhost_user_message *m)
{
    const union vhost_user_payload *p = &m->payload;
    unsigned fds = 0;

    switch (m->header.request) {
    case VHOST_USER_SET_MEM_TABLE:
        if (p->regions.count > VHOST_USER_REGIONS_MAX ||
            m->header.size != offsetof(struct vhost_user_regions, items) +
                                  p->regions.count * sizeof(struct vhost_user_region)) {
            return -EPROTO;
        }
        fds = p->regions.count;
        break;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        fds = (p->word & VHOST_USER_RING_NO_FD) != 0 ? 0 : 1;
        break;
    case VHOST_USER_GET_CONFIG:
        if (p->config.size > VHOST_USER_CONFIG_SIZE_MAX ||
            m->header.size != offsetof(struct vhost_user_config, bytes) + p->config.size) {
            return -EPROTO;
        }
        break;
    default:
        break;
    }
    return m->fd_count == fds ? 0 : -EPROTO;
}

/* Keep the descriptors of one control message; what has no room is closed. */
static int keep_fds(struct vhost_user_message *m, const struct cmsghdr *c)
{
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int r = 0;

    for (size_t i = 0; i < count; i++) {
        int fd = -1;

        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        if (m->fd_count == array_size(m->fds)) {
            (void)close(fd);
            r = -EPROTO;
        } else {
            m->fds[m->fd_count++] = fd;
        }
    }
    return r;
}

/* Up to `size` bytes; > 0, or -errno as vhost_user_receive(). */
static ssize_t receive_some(struct vhost_user_message *m, int socket, void *to, size_t size)
{
    union {
        struct cmsghdr header; /* aligns the bytes */
        uint8_t bytes[CMSG_SPACE(sizeof(m->fds))];
    } control;

    struct iovec iov = { .iov_base = to, .iov_len = size };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    ssize_t n = 0;
    int r = 0;

    do {
        n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && keep_fds(m, c) < 0) {
            r = -EPROTO;
        }
    }
    if ((msg.msg_flags & MSG_CTRUNC) != 0) {
        r = -EPROTO; /* more than any message has; the kernel closed the rest */
    }
    if (n == 0) {
        return -ECONNRESET;
    }
    return r < 0 ? r : n;
}

int vhost_user_receive(struct vhost_user_message *m, int socket)
{
    for (;;) {
        const bool has_header = m->used >= HEADER_SIZE;
        const size_t end = has_header ? HEADER_SIZE + m->header.size : HEADER_SIZE;
        uint8_t *to = has_header ? (uint8_t *)&m->payload + (m->used - HEADER_SIZE)
                                 : (uint8_t *)&m->header + m->used;
        ssize_t n = 0;

        assert(m->used <= end);
        if (has_header && m->used == end) {
            return check_whole(m) < 0 ? -EPROTO : 1;
        }
        n = receive_some(m, socket, to, end - m->used);
        if (n < 0) {
            return n == -EAGAIN ? 0 : (int)n;
        }
        m->used += (size_t)n;
        if (!has_header && m->used == HEADER_SIZE && check_header(&m->header) < 0) {
            return -EPROTO;
        }
    }
}

int vhost_user_reply(int socket, uint32_t request, const void *payload, uint32_t size)
{
    const struct vhost_user_header header = {
        .request = request,
        .flags = (uint32_t)VHOST_USER_VERSION | VHOST_USER_REPLY,
        .size = size,
    };
    uint8_t bytes[sizeof(header) + sizeof(union vhost_user_payload)];
    ssize_t n = 0;

    assert(size <= sizeof(union vhost_user_payload));
    memcpy(bytes, &header, sizeof(header));
    memcpy(bytes + sizeof(header), payload, size);
    n = send(socket, bytes, sizeof(header) + size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        return -errno;
    }
    return (size_t)n == sizeof(header) + size ? 0 : -EPIPE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vsock_broker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/fmt.h>
#include <base/unix_socket.h>

#define WAIT_MS 1000

/* One descriptor's room. */
union control {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

/* ---- The monitor's side ---- */

static int take_fd(struct msghdr *m)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(m);
    int fd = -1;

    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
        c->cmsg_len != CMSG_LEN(sizeof(fd))) {
        return -EPIPE;
    }
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

static int receive(int fd)
{
    int32_t error = 0;
    union control control;
    struct iovec iov = { &error, sizeof(error) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };

    if (recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != (ssize_t)sizeof(error)) {
        return -EPIPE;
    }
    return error < 0 ? error : take_fd(&m);
}

int vsock_broker_ask(int fd, uint32_t port)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    int ready = 0;

    if (send(fd, &port, sizeof(port), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(port)) {
        return -EPIPE;
    }
    do {
        ready = poll(&p, 1, WAIT_MS);
    } while (ready < 0 && errno == EINTR);
    return ready == 1 ? receive(fd) : -EPIPE;
}

/* ---- The broker's side ---- */

/* False when the monitor is gone. `connection` -errno: that is the answer. */
static bool answer(int fd, int connection)
{
    int32_t error = connection < 0 ? connection : 0;
    union control control;
    struct iovec iov = { &error, sizeof(error) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n = 0;

    if (connection >= 0) {
        memset(&control, 0, sizeof(control));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(connection));
        memcpy(CMSG_DATA(&control.header), &connection, sizeof(connection));
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
    }
    do {
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(error);
}

static int connect_to(const char *name, uint32_t port)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

    if (fmt_snprintf(path, sizeof(path), "%s_%u", name, port) >= sizeof(path)) {
        return -ECONNREFUSED;
    }
    /* Without waiting: a listener whose queue is full refuses with EAGAIN. */
    return unix_connect(path, SOCK_NONBLOCK);
}

void vsock_broker_serve(int fd, const char *name)
{
    bool is_served = true;

    while (is_served) {
        uint32_t asked[2]; /* room to see that a message is too long */
        const ssize_t n = recv(fd, asked, sizeof(asked), 0);
        int connection = -1;

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n != (ssize_t)sizeof(asked[0])) {
            return;
        }
        connection = connect_to(name, asked[0]);
        is_served = answer(fd, connection);
        if (connection >= 0) {
            (void)close(connection);
        }
    }
}

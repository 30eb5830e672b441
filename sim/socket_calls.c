/* SPDX-License-Identifier: Apache-2.0 */
/* The C library's calls that act on sockets alone. */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/assert.h>

#include "fault.h"
#include "wrap.h"

WRAP(int, socket)(int domain, int type, int protocol)
{
    (void)protocol;
    sim_step();
    if (domain != AF_UNIX || (type & 0xf) != SOCK_STREAM) {
        return (int)sim_result_of(-EAFNOSUPPORT);
    }
    return (int)sim_result_of(sim_fd_install(&sock_new(type)->file));
}

WRAP(int, socketpair)(int domain, int type, int protocol, int fds[2])
{
    struct socket *a = sock_new(type);
    struct socket *b = sock_new(type);

    (void)domain;
    (void)protocol;
    sim_step();
    sock_join(a, b);
    int first = sim_fd_install(&a->file);

    if (first < 0) {
        sim_file_put(&b->file);
        return (int)sim_result_of(first);
    }
    int second = sim_fd_install(&b->file);

    if (second < 0) {
        (void)close(first);
        return (int)sim_result_of(second);
    }
    fds[0] = first;
    fds[1] = second;
    return 0;
}

static int path_of(const struct sockaddr *address, socklen_t size, char *path, size_t path_size)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)address;
    size_t length = 0;

    if (size <= offsetof(struct sockaddr_un, sun_path) || address->sa_family != AF_UNIX) {
        return -EINVAL;
    }
    length = strnlen(un->sun_path, size - offsetof(struct sockaddr_un, sun_path));
    if (length == 0 || length >= path_size) {
        return -EINVAL;
    }
    memcpy(path, un->sun_path, length);
    path[length] = '\0';
    return 0;
}

static int do_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
    struct socket *s = sock_get(fd);
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;
    int r = s == NULL ? -ENOTSOCK : path_of(address, size, path, sizeof(path));

    if (r < 0) {
        return r;
    }
    r = disk_find(NULL, path, &n, &dir, &name);
    if (r != -ENOENT || dir == NULL) {
        return r == 0 ? -EADDRINUSE : r;
    }
    s->node = disk_node_new(S_IFSOCK | 0700);
    disk_set_name(dir, name, s->node);
    return 0;
}

WRAP(int, bind)(int fd, const struct sockaddr *address, socklen_t size)
{
    sim_step();
    return (int)sim_result_of(do_bind(fd, address, size));
}

WRAP(int, listen)(int fd, int backlog)
{
    struct socket *s = sock_get(fd);

    sim_step();
    if (s == NULL || s->node == NULL) {
        return (int)sim_result_of(s == NULL ? -ENOTSOCK : -EINVAL);
    }
    s->is_listening = true;
    s->backlog = (unsigned)max_of(1, min_of(backlog, (int)SOCK_BACKLOG_MAX));
    s->node->listener = s;
    return 0;
}

static int do_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
    struct socket *s = sock_get(fd);
    struct disk_node *n = NULL;
    int r = s == NULL ? -ENOTSOCK : path_of(address, size, path, sizeof(path));

    if (r == 0 && s->is_connected) {
        r = -EISCONN;
    }
    if (r == 0) {
        r = disk_find(NULL, path, &n, NULL, NULL);
    }
    if (r < 0) {
        return r;
    }
    struct socket *listener = n->listener;

    if (listener == NULL ||
        sim_fault_draw(OP_net_connect, SIM_KIND(NET_EXHAUSTED), NULL) != SIM_FAULT_NONE) {
        return listener == NULL ? -ECONNREFUSED : -EAGAIN;
    }
    if (listener->pending_count >= listener->backlog) {
        return -EAGAIN;
    }
    struct socket *other = sock_new(0);

    sock_join(s, other);
    listener->pending[listener->pending_count++] = other;
    listener->events++;
    sim_files_changed();
    return 0;
}

WRAP(int, connect)(int fd, const struct sockaddr *address, socklen_t size)
{
    sim_step();
    return (int)sim_result_of(do_connect(fd, address, size));
}

static int do_accept(int fd, int flags)
{
    struct socket *s = sock_get(fd);

    if (s == NULL || !s->is_listening) {
        return s == NULL ? -ENOTSOCK : -EINVAL;
    }
    while (s->pending_count == 0) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        if ((s->file.flags & O_NONBLOCK) != 0) {
            return -EAGAIN;
        }
        int r = poll(&p, 1, -1);

        s = sock_get(fd);
        if (s == NULL || r < 0) {
            return s == NULL ? -EBADF : -EINTR;
        }
    }
    struct socket *got = s->pending[0];
    int number = 0;

    got->file.refs++;
    number = sim_fd_install(&got->file);
    if (number < 0) {
        return number; /* it goes on waiting */
    }
    got->file.refs--;
    s->pending_count--;
    // NOLINTNEXTLINE(bugprone-sizeof-expression): pointers
    memmove(s->pending, s->pending + 1, s->pending_count * sizeof(s->pending[0]));
    got->file.flags = O_RDWR | ((flags & SOCK_NONBLOCK) != 0 ? O_NONBLOCK : 0);
    return number;
}

// NOLINTNEXTLINE(readability-non-const-parameter): the C library's type
WRAP(int, accept4)(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    (void)address;
    (void)size;
    sim_step();
    return (int)sim_result_of(do_accept(fd, flags));
}

// NOLINTNEXTLINE(readability-non-const-parameter): the C library's type
WRAP(int, accept)(int fd, struct sockaddr *address, socklen_t *size)
{
    return WRAPPED(accept4)(fd, address, size, 0);
}

WRAP(int, shutdown)(int fd, int how)
{
    struct socket *s = sock_get(fd);

    sim_step();
    if (s == NULL || !s->is_connected) {
        return (int)sim_result_of(s == NULL ? -ENOTSOCK : -ENOTCONN);
    }
    sock_shutdown(s, how);
    return 0;
}

/* ---- Bytes, and the files that go with them ---- */

static bool wants_to_wait(const struct socket *s, int flags, ssize_t r)
{
    return r == -EAGAIN && (flags & MSG_DONTWAIT) == 0 && (s->file.flags & O_NONBLOCK) == 0;
}

static ssize_t do_send(int fd, const void *from, size_t size, int flags, struct sock_passed *passed)
{
    struct socket *s = sock_get(fd);
    ssize_t r = 0;

    if (s == NULL) {
        return sim_fd_get(fd) == NULL ? -EBADF : -ENOTSOCK;
    }
    s->file.refs++; /* another task may close it meanwhile */
    r = sock_send(s, from, size, passed);
    while (wants_to_wait(s, flags, r)) {
        r = sim_file_wait(&s->file, OP_net_send) ? sock_send(s, from, size, passed) : -EINTR;
    }
    sim_file_put(&s->file);
    return r;
}

static ssize_t do_receive(int fd, void *to, size_t size, int flags, struct sock_passed *passed)
{
    struct socket *s = sock_get(fd);
    ssize_t r = 0;

    if (s == NULL) {
        return sim_fd_get(fd) == NULL ? -EBADF : -ENOTSOCK;
    }
    s->file.refs++;
    r = sock_receive(s, to, size, flags, passed);
    while (wants_to_wait(s, flags, r)) {
        r = sim_file_wait(&s->file, OP_net_receive) ? sock_receive(s, to, size, flags, passed)
                                                    : -EINTR;
    }
    sim_file_put(&s->file);
    return r;
}

WRAP(ssize_t, send)(int fd, const void *from, size_t size, int flags)
{
    sim_step();
    return sim_result_of(do_send(fd, from, size, flags, NULL));
}

WRAP(ssize_t, recv)(int fd, void *to, size_t size, int flags)
{
    sim_step();
    return sim_result_of(do_receive(fd, to, size, flags, NULL));
}

/* References to the files that a message names. 0 or -errno, with none taken. */
static int collect_files(const struct msghdr *m, struct sock_passed *out)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h != NULL;
         h = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, h)) {
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) {
            sock_passed_drop(out);
            return -EINVAL;
        }
        for (size_t i = 0; i < count; i++) {
            int fd = -1;

            memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
            struct sim_file *f = sim_fd_get(fd);

            if (f == NULL || out->count == SOCK_PASSED_MAX) {
                sock_passed_drop(out);
                return f == NULL ? -EBADF : -EINVAL;
            }
            f->refs++;
            out->files[out->count++] = f;
        }
    }
    return 0;
}

WRAP(ssize_t, sendmsg)(int fd, const struct msghdr *m, int flags)
{
    struct sock_passed passed = { 0 };
    ssize_t total = 0;

    sim_step();
    if (m->msg_controllen != 0) {
        int r = collect_files(m, &passed);

        if (r < 0) {
            return sim_result_of(r);
        }
    }
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        ssize_t n = do_send(fd, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len, flags, &passed);

        if (n < 0) {
            total = total > 0 ? total : n;
            break;
        }
        total += n;
        if ((size_t)n < m->msg_iov[i].iov_len) {
            break;
        }
    }
    sock_passed_drop(&passed);
    return sim_result_of(total);
}

/* Give the files numbers. What finds no room, in the message or in the table, is lost. */
static void deliver_files(struct msghdr *m, struct sock_passed *passed)
{
    struct cmsghdr *h = CMSG_FIRSTHDR(m);
    size_t room = h == NULL ? 0 : (m->msg_controllen - CMSG_LEN(0)) / sizeof(int);
    unsigned count = 0;

    while (count < passed->count && count < room) {
        int fd = sim_fd_install(passed->files[count]);

        if (fd < 0) {
            break; /* it is closed */
        }
        memcpy(CMSG_DATA(h) + count * sizeof(fd), &fd, sizeof(fd));
        count++;
    }
    if (count < passed->count) {
        m->msg_flags |= MSG_CTRUNC;
        for (unsigned i = count + (count < room ? 1 : 0); i < passed->count; i++) {
            sim_file_put(passed->files[i]);
        }
    }
    passed->count = 0;
    if (count == 0) {
        m->msg_controllen = 0;
        return;
    }
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(count * sizeof(int));
    m->msg_controllen = min_of(m->msg_controllen, CMSG_SPACE(count * sizeof(int)));
}

WRAP(ssize_t, recvmsg)(int fd, struct msghdr *m, int flags)
{
    struct sock_passed passed = { 0 };
    ssize_t n = 0;
    bool full = false;

    sim_step();
    if (m->msg_iovlen == 0) {
        m->msg_controllen = 0;
        return 0;
    }
    n = do_receive(fd, m->msg_iov[0].iov_base, m->msg_iov[0].iov_len, flags, &passed);
    full = n == (ssize_t)m->msg_iov[0].iov_len;
    for (size_t i = 1; full && i < m->msg_iovlen && passed.count == 0; i++) {
        ssize_t more = do_receive(fd, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len,
                                  flags | MSG_DONTWAIT, &passed);

        full = more == (ssize_t)m->msg_iov[i].iov_len;
        n += max_of(more, (ssize_t)0);
    }
    m->msg_flags = 0;
    if (passed.count > 0) {
        deliver_files(m, &passed);
    } else {
        m->msg_controllen = 0;
    }
    return sim_result_of(n);
}

WRAP(int, setsockopt)(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)level;
    (void)name;
    (void)value;
    (void)size;
    sim_step();
    return (int)sim_result_of(sock_get(fd) == NULL ? -ENOTSOCK : 0);
}

WRAP(int, getsockopt)(int fd, int level, int name, void *value, socklen_t *size)
{
    (void)level;
    sim_step();
    if (sock_get(fd) == NULL) {
        return (int)sim_result_of(-ENOTSOCK);
    }
    if (name != SO_ERROR || *size < sizeof(int)) {
        return (int)sim_result_of(-ENOPROTOOPT);
    }
    memset(value, 0, sizeof(int));
    *size = sizeof(int);
    return 0;
}

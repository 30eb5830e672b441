/* SPDX-License-Identifier: Apache-2.0 */
/* AF_UNIX: pairs of all types, names in the file system and abstract, descriptors and credentials
 * in messages, shutdown, ends, errors, poll states. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char buf[200000];

static void result(const char *what, long r)
{
    int err = errno;

    printf("%s: %ld", what, r);
    if (r < 0) {
        printf(" %s", strerror(err));
    }
    printf("\n");
}

static int events(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };

    poll(&p, 1, 0);
    return p.revents;
}

static socklen_t address(struct sockaddr_un *a, const char *name)
{
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, name, strlen(name + 1) + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name + 1) + 1);
}

static void pairs(void)
{
    static const struct {
        const char *name;
        int type;
    } types[] = { { "stream", SOCK_STREAM },
                  { "dgram", SOCK_DGRAM },
                  { "seqpacket", SOCK_SEQPACKET } };

    for (int i = 0; i < 3; i++) {
        int s[2];
        int n = 0;

        printf("-- %s\n", types[i].name);
        result("socketpair",
               socketpair(AF_UNIX, types[i].type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
        printf("cloexec %d nonblock %d poll %x\n", fcntl(s[0], F_GETFD),
               !!(fcntl(s[0], F_GETFL) & O_NONBLOCK), events(s[0]));
        result("empty", recv(s[0], buf, 10, 0));
        result("send", send(s[0], "hello", 5, 0));
        result("send", send(s[0], "world", 5, 0));
        ioctl(s[1], FIONREAD, &n);
        printf("FIONREAD %d poll %x\n", n, events(s[1]));
        result("peek", recv(s[1], buf, 3, MSG_PEEK));
        result("short", recv(s[1], buf, 3, 0));
        result("rest", recv(s[1], buf, 100, 0));
        result("more", recv(s[1], buf, 100, 0));
        result("trunc length", (send(s[0], "0123456789", 10, 0), recv(s[1], buf, 4, MSG_TRUNC)));
        while (recv(s[1], buf, sizeof(buf), 0) > 0) {
        }
        result("zero", send(s[0], "", 0, 0));
        result("zero received", recv(s[1], buf, 10, 0));
        result("shutdown", shutdown(s[0], SHUT_WR));
        result("send after", send(s[0], "x", 1, MSG_NOSIGNAL));
        printf("poll %x %x\n", events(s[0]), events(s[1]));
        result("receive after", recv(s[1], buf, 10, 0));
        result("other way", send(s[1], "back", 4, 0));
        result("received", recv(s[0], buf, 10, 0));
        close(s[0]);
        printf("poll of the one left %x\n", events(s[1]));
        result("send to closed", send(s[1], "x", 1, MSG_NOSIGNAL));
        result("receive from closed", recv(s[1], buf, 10, 0));
        close(s[1]);
    }
}

static void unread_data(void)
{
    int s[2];

    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    result("unread", send(s[0], "lost", 4, 0));
    close(s[1]);
    result("reset", recv(s[0], buf, 10, 0));
    result("then end", recv(s[0], buf, 10, 0));
    close(s[0]);
}

static void bulk(void)
{
    int s[2];
    int status;
    long total = 0;
    long bad = 0;
    ssize_t n;
    pid_t pid;

    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(s[1]);
        for (long i = 0; i < 20; i++) {
            for (size_t k = 0; k < sizeof(buf); k++) {
                buf[k] = (char)((i * (long)sizeof(buf) + (long)k) % 251);
            }
            if (send(s[0], buf, sizeof(buf), 0) != sizeof(buf)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(s[0]);
    while ((n = recv(s[1], buf, 12345, 0)) > 0) {
        for (ssize_t k = 0; k < n; k++) {
            bad += buf[k] != (char)((total + k) % 251);
        }
        total += n;
    }
    waitpid(pid, &status, 0);
    printf("bulk: %ld bytes, wrong %ld, sender %d\n", total, bad, WEXITSTATUS(status));
    close(s[1]);
}

static void send_fd(int s, int fd)
{
    char c = 'f';
    struct iovec v = { &c, 1 };
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
    };
    struct cmsghdr *cm = CMSG_FIRSTHDR(&m);

    cm->cmsg_level = SOL_SOCKET;
    cm->cmsg_type = SCM_RIGHTS;
    cm->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
    result("send descriptor", sendmsg(s, &m, 0));
}

static void receive(int s, size_t control_size, int flags)
{
    char data[8];
    struct iovec v = { data, sizeof(data) };
    char control[256];
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_size
    };

    result("recvmsg", recvmsg(s, &m, flags));
    printf("controllen %zu flags %x", (size_t)m.msg_controllen, m.msg_flags);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        printf(" [type %d len %zu", c->cmsg_type, (size_t)c->cmsg_len);
        if (c->cmsg_type == SCM_RIGHTS) {
            int fd;
            struct stat st;

            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
            fstat(fd, &st);
            printf(" fifo %d cloexec %d write %zd", S_ISFIFO(st.st_mode), fcntl(fd, F_GETFD),
                   write(fd, "via", 3));
            close(fd);
        } else if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred u;

            memcpy(&u, CMSG_DATA(c), sizeof(u));
            printf(" mine %d", u.pid == getpid() && u.uid == getuid() && u.gid == getgid());
        }
        printf("]");
    }
    printf("\n");
}

static void control_data(void)
{
    int s[2];
    int p[2];
    int on = 1;

    socketpair(AF_UNIX, SOCK_STREAM, 0, s);
    if (pipe(p) < 0) {
        return;
    }
    send_fd(s[0], p[1]);
    receive(s[1], 256, MSG_CMSG_CLOEXEC);
    result("through the pipe", read(p[0], buf, 10));
    send_fd(s[0], p[1]);
    receive(s[1], 0, 0);
    send_fd(s[0], -1);
    send_fd(s[0], p[1]);
    close(p[1]);
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    result("in flight it is open", read(p[0], buf, 10));
    close(s[1]);
    result("dropped with the queue", read(p[0], buf, 10));
    close(s[0]);
    close(p[0]);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
    send(s[0], "c", 1, 0);
    receive(s[1], 256, 0);
    close(s[0]);
    close(s[1]);
}

static void names(const char *name, const char *title)
{
    struct sockaddr_un a;
    struct sockaddr_un got;
    socklen_t size = address(&a, name);
    socklen_t room;
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    struct ucred u;

    printf("-- %s\n", title);
    result("connect to nothing", connect(c, (struct sockaddr *)&a, size));
    result("listen unbound", listen(l, 5));
    result("bind", bind(l, (struct sockaddr *)&a, size));
    result("bind again", bind(l, (struct sockaddr *)&a, size));
    result("bind the same", bind(other, (struct sockaddr *)&a, size));
    result("connect before listen", connect(c, (struct sockaddr *)&a, size));
    result("listen", listen(l, 1));
    fcntl(l, F_SETFL, O_NONBLOCK);
    result("accept nothing", accept(l, NULL, NULL));
    result("connect", connect(c, (struct sockaddr *)&a, size));
    result("connect again", connect(c, (struct sockaddr *)&a, size));
    printf("listener poll %x\n", events(l));
    result("send before accept", send(c, "early", 5, 0));
    room = sizeof(got);
    int s = accept(l, (struct sockaddr *)&got, &room);

    printf("accept %d size %u family %d\n", s >= 0, room, got.sun_family);
    result("early bytes", recv(s, buf, 100, 0));
    room = sizeof(got);
    memset(&got, 0, sizeof(got));
    printf("peer name: %d", getpeername(c, (struct sockaddr *)&got, &room));
    printf(" size %s same %d\n", room == size || room == size + 1 ? "fits" : "differs",
           memcmp(got.sun_path, a.sun_path, 5) == 0);
    room = sizeof(u);
    printf("peer credentials %d", getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &room));
    printf(" mine %d\n", u.pid == getpid() && u.uid == getuid());
    for (int i = 0; i < 4; i++) {
        int more = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

        result("backlog", connect(more, (struct sockaddr *)&a, size));
        /* left open on purpose: they wait to be accepted */
    }
    close(l);
    result("after the listener", connect(other, (struct sockaddr *)&a, size));
    result("old connection", send(s, "still", 5, 0));
    result("received", recv(c, buf, 10, 0));
    close(s);
    close(c);
    close(other);
}

static void datagrams(void)
{
    struct sockaddr_un a;
    struct sockaddr_un b;
    struct sockaddr_un from;
    socklen_t as = address(&a, "dgram.a");
    socklen_t bs = address(&b, "\0dgram.b");
    socklen_t size = sizeof(from);
    int x = socket(AF_UNIX, SOCK_DGRAM, 0);
    int y = socket(AF_UNIX, SOCK_DGRAM, 0);

    printf("-- named datagrams\n");
    result("bind", bind(x, (struct sockaddr *)&a, as));
    result("bind", bind(y, (struct sockaddr *)&b, bs));
    result("send without peer", send(x, "1", 1, 0));
    result("sendto", sendto(x, "one", 3, 0, (struct sockaddr *)&b, bs));
    result("recvfrom", recvfrom(y, buf, 10, 0, (struct sockaddr *)&from, &size));
    printf("from %s\n", from.sun_path);
    result("connect", connect(y, (struct sockaddr *)&a, as));
    result("send", send(y, "two", 3, 0));
    result("recv", recv(x, buf, 10, 0));
    result("wrong type", connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, as));
    close(x);
    result("to a closed one", send(y, "three", 5, 0));
    close(y);
    unlink("dgram.a");
}

static void refusals(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    printf("-- refusals\n");
    result("family", socket(77, SOCK_STREAM, 0));
    result("type", socket(AF_UNIX, 9, 0));
    result("protocol", socket(AF_UNIX, SOCK_STREAM, 5));
    result("pair of nothing", socketpair(77, SOCK_STREAM, 0, (int[2]){ 0, 0 }));
    result("no socket", listen(0, 1));
    result("no descriptor", listen(999, 1));
    result("receive unconnected", recv(s, buf, 1, 0));
    result("send unconnected", send(s, "x", 1, MSG_NOSIGNAL));
    result("peer of none", getpeername(s, (struct sockaddr *)&a, &(socklen_t){ sizeof(a) }));
    result("shutdown unconnected", shutdown(s, SHUT_RD));
    result("short address", bind(s, (struct sockaddr *)&a, 1));
    result("option", setsockopt(s, SOL_SOCKET, 9999, &a, 4));
    result("autobind", bind(s, (struct sockaddr *)&a, 2));
    socklen_t size = sizeof(a);

    getsockname(s, (struct sockaddr *)&a, &size);
    printf("name size %u abstract %d\n", size, a.sun_path[0] == '\0');
    close(s);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    pairs();
    unread_data();
    bulk();
    control_data();
    names("unix.sock", "path");
    unlink("unix.sock");
    names("\0abstract", "abstract");
    datagrams();
    refusals();
    return 0;
}

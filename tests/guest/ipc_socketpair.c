/* SPDX-License-Identifier: Apache-2.0 */
/* socketpair(2): both directions, end of file, EPIPE, readiness, shutdown. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void print_poll(const char *what, int fd)
{
    struct pollfd p = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
    int n = poll(&p, 1, 0);

    printf("%s: poll %d events 0x%x\n", what, n, (unsigned)p.revents);
}

static void check_directions(void)
{
    int s[2];
    char text[16] = "";
    ssize_t n;

    printf("pair %d\n", socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    print_poll("fresh", s[0]);
    printf("send %zd\n", send(s[0], "hello", 5, 0));
    printf("write %zd\n", write(s[1], "there", 5));
    print_poll("filled", s[1]);
    n = recv(s[1], text, sizeof(text), 0);
    printf("recv %zd %s\n", n, text);
    n = read(s[0], text, sizeof(text));
    printf("read %zd %s\n", n, text);
    n = recv(s[0], text, sizeof(text), 0);
    printf("empty %zd %s\n", n, strerror(errno));
    printf("shutdown %d\n", shutdown(s[0], SHUT_WR));
    print_poll("peer of shut", s[1]);
    printf("end %zd\n", recv(s[1], text, sizeof(text), 0));
    n = send(s[0], "x", 1, MSG_NOSIGNAL);
    printf("epipe %zd %s\n", n, strerror(errno));
    printf("other way %zd\n", send(s[1], "y", 1, 0));
    close(s[1]);
    print_poll("peer of closed", s[0]);
    printf("rest %zd\n", read(s[0], text, sizeof(text)));
    printf("end %zd\n", read(s[0], text, sizeof(text)));
    close(s[0]);
}

static void check_blocking(void)
{
    int s[2];
    char chunk[4096];
    size_t total = 0;
    ssize_t n;

    printf("pair %d\n", socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    if (fork() == 0) {
        close(s[0]);
        memset(chunk, 'z', sizeof(chunk));
        for (int i = 0; i < 300; i++) {
            if (write(s[1], chunk, sizeof(chunk)) != (ssize_t)sizeof(chunk)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(s[1]);
    while ((n = read(s[0], chunk, sizeof(chunk))) > 0) {
        total += (size_t)n;
    }
    printf("total %zu end %zd\n", total, n);
    int status = -1;

    wait(&status);
    printf("child %d\n", status);
    close(s[0]);
}

int main(void)
{
    int fds[2];
    int type = 0;
    ssize_t n;
    socklen_t size = sizeof(type);

    setvbuf(stdout, NULL, _IONBF, 0);
    check_directions();
    check_blocking();
    n = socketpair(99, SOCK_STREAM, 0, fds); /* no such family */
    printf("family %zd %s\n", n, strerror(errno));
    n = send(1, "x", 1, 0);
    printf("not a socket %zd %s\n", n, strerror(errno));
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    printf("type %d", getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &size));
    printf(" %d\n", type);
    signal(SIGPIPE, SIG_IGN);
    close(fds[1]);
    n = write(fds[0], "x", 1);
    printf("write %zd %s\n", n, strerror(errno));
    return 0;
}

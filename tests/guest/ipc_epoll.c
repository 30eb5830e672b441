/* SPDX-License-Identifier: Apache-2.0 */
/* epoll: levels and edges, oneshot, closed and duplicated descriptors, fork, nesting, refusals;
 * eventfd, timerfd and pidfd in it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static int ep;

static void add(int epfd, int op, int fd, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.u64 = (uint64_t)fd };

    if (epoll_ctl(epfd, op, fd, &e) < 0) {
        printf("ctl op %d: errno %d\n", op, errno);
    }
}

static void show(const char *what, int timeout)
{
    struct epoll_event e[8];
    int n = epoll_wait(ep, e, 8, timeout);

    printf("%s: %d", what, n);
    for (int i = 0; i < n; i++) {
        printf(" [%x]", e[i].events);
    }
    printf("\n");
}

static void put(int fd, const char *s)
{
    if (write(fd, s, strlen(s)) < 0) {
        printf("write errno %d\n", errno);
    }
}

static void get(int fd, size_t n)
{
    char buf[64];

    if (read(fd, buf, n) < 0) {
        printf("read errno %d\n", errno);
    }
}

static void edges(void)
{
    int p[2];

    if (pipe2(p, O_NONBLOCK) < 0) {
        return;
    }
    add(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET);
    show("edge, empty", 0);
    put(p[1], "abcd");
    show("edge, data", 0);
    show("edge, no news", 0);
    get(p[0], 1);
    show("edge, partly read", 0);
    put(p[1], "e");
    show("edge, more data", 0);
    get(p[0], 10);
    put(p[1], "f");
    show("edge, refilled", 0);
    get(p[0], 10);
    close(p[1]);
    show("edge, end after drain", 0);
    close(p[0]);
    show("closed", 0);

    if (pipe2(p, O_NONBLOCK) < 0) {
        return;
    }
    add(ep, EPOLL_CTL_ADD, p[1], EPOLLOUT | EPOLLET);
    show("edge out", 0);
    char fill[65536] = { 0 };

    printf("filled %zd\n", write(p[1], fill, sizeof(fill)));
    show("edge out, full", 0);
    printf("drained %zd\n", read(p[0], fill, sizeof(fill)));
    show("edge out, room again", 0);
    close(p[0]);
    show("edge out, reader gone", 0);
    close(p[1]);
}

static void levels(void)
{
    int p[2];

    if (pipe(p) < 0) {
        return;
    }
    add(ep, EPOLL_CTL_ADD, p[0], EPOLLIN);
    put(p[1], "ab");
    show("level", 0);
    show("level again", 0);
    get(p[0], 2);
    show("level, drained", 0);
    add(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT);
    put(p[1], "c");
    show("oneshot", 0);
    put(p[1], "d");
    show("oneshot, spent", 0);
    add(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT);
    show("oneshot, armed again", 0);
    add(ep, EPOLL_CTL_DEL, p[0], 0);
    show("deleted", 0);
    add(ep, EPOLL_CTL_ADD, p[0], EPOLLIN);
    add(ep, EPOLL_CTL_ADD, p[0], EPOLLIN);
    int copy = dup(p[0]);

    close(p[0]);
    show("closed but duplicated", 0);
    close(copy);
    show("all closed", 0);
    close(p[1]);
}

static void refusals(void)
{
    int file = open("/proc/self/exe", O_RDONLY);
    struct epoll_event e;

    add(ep, EPOLL_CTL_ADD, file, EPOLLIN);
    add(ep, EPOLL_CTL_ADD, 999, EPOLLIN);
    add(ep, EPOLL_CTL_ADD, ep, EPOLLIN);
    int p = eventfd(0, 0);

    add(ep, EPOLL_CTL_MOD, p, EPOLLIN);
    add(ep, EPOLL_CTL_DEL, p, EPOLLIN);
    add(file, EPOLL_CTL_ADD, p, EPOLLIN);
    close(p);
    printf("no room: %d", epoll_wait(ep, &e, 0, 0));
    printf(" errno %d\n", errno);
    printf("not an epoll: %d", epoll_wait(file, &e, 1, 0));
    printf(" errno %d\n", errno);
    printf("create flags: %d", epoll_create1(1));
    printf(" errno %d\n", errno);
    close(file);
}

static void nesting(void)
{
    int inner = epoll_create1(0);
    int other = epoll_create1(0);
    int chain[8];
    int p[2];

    if (pipe(p) < 0) {
        return;
    }
    add(inner, EPOLL_CTL_ADD, p[0], EPOLLIN);
    add(ep, EPOLL_CTL_ADD, inner, EPOLLIN);
    show("nested, quiet", 0);
    put(p[1], "x");
    show("nested", 100);
    add(inner, EPOLL_CTL_ADD, ep, EPOLLIN); /* a circle */
    struct pollfd pf = { .fd = ep, .events = POLLIN };

    printf("poll of an epoll: %d %x\n", poll(&pf, 1, 0), pf.revents);
    for (int i = 0; i < 8; i++) {
        chain[i] = epoll_create1(0);
    }
    add(other, EPOLL_CTL_ADD, chain[0], EPOLLIN);
    for (int i = 0; i < 7; i++) {
        printf("%d ", i);
        add(chain[i], EPOLL_CTL_ADD, chain[i + 1], EPOLLIN);
    }
    printf("\n");
    for (int i = 0; i < 8; i++) {
        close(chain[i]);
    }
    close(other);
    close(inner);
    show("inner closed", 0);
    close(p[0]);
    close(p[1]);
}

static void other_files(void)
{
    int e = eventfd(0, EFD_NONBLOCK);
    int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t n = 0;
    struct itimerspec spec = { .it_value = { 0, 20000000 }, .it_interval = { 0, 5000000 } };
    pid_t pid;

    add(ep, EPOLL_CTL_ADD, e, EPOLLIN | EPOLLET);
    show("eventfd 0", 0);
    eventfd_write(e, 3);
    eventfd_write(e, 4);
    show("eventfd", 0);
    show("eventfd no news", 0);
    printf("read %zd", read(e, &n, 8));
    printf(" value %lu", (unsigned long)n);
    printf(", again %zd", read(e, &n, 8));
    printf(" errno %d\n", errno);
    n = UINT64_MAX - 1;
    printf("fill %zd", write(e, &n, 8));
    n = 1;
    printf(" overflow %zd", write(e, &n, 8));
    printf(" errno %d\n", errno);
    close(e);
    e = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    printf("semaphore");
    while (read(e, &n, 8) == 8) {
        printf(" %lu", (unsigned long)n);
    }
    printf("\n");
    close(e);
    add(ep, EPOLL_CTL_ADD, t, EPOLLIN);
    printf("timer empty %zd", read(t, &n, 8));
    printf(" errno %d\n", errno);
    timerfd_settime(t, 0, &spec, NULL);
    show("timerfd", 1000);
    usleep(50000);
    printf("read %zd", read(t, &n, 8));
    printf(" expirations %s\n", n > 5 ? "many" : "few");
    timerfd_gettime(t, &spec);
    printf("interval %ld left %d\n", (long)spec.it_interval.tv_nsec, spec.it_value.tv_nsec > 0);
    close(t);
    show("timer closed", 20);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        usleep(50000);
        _exit(0);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    printf("cloexec %d\n", fcntl(pidfd, F_GETFD));
    add(ep, EPOLL_CTL_ADD, pidfd, EPOLLIN);
    show("pidfd, alive", 0);
    show("pidfd, ended", 1000);
    waitpid(pid, NULL, 0);
    printf("signal to it: %ld", syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
    printf(" errno %d\n", errno);
    close(pidfd);
}

static void across_fork(void)
{
    int p[2];
    pid_t pid;
    int status;

    if (pipe(p) < 0) {
        return;
    }
    add(ep, EPOLL_CTL_ADD, p[0], EPOLLIN);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct epoll_event e;

        _exit(epoll_wait(ep, &e, 1, 2000) == 1 && e.data.u64 == (uint64_t)p[0] ? 3 : 4);
    }
    usleep(50000);
    put(p[1], "x");
    waitpid(pid, &status, 0);
    printf("child waits on the parent's epoll: %d\n", WEXITSTATUS(status));
    show("and the parent sees it, too", 0);
    close(p[0]);
    close(p[1]);
}

int main(void)
{
    ep = epoll_create1(EPOLL_CLOEXEC);
    edges();
    levels();
    refusals();
    nesting();
    other_files();
    across_fork();
    return 0;
}

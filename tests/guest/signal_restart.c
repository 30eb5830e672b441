/* SPDX-License-Identifier: Apache-2.0 */
/* What a signal does to blocking calls: with and without SA_RESTART, and those never restarted. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t hits;
static int pipe_fd[2];

static void handler(int signo)
{
    (void)signo;
    hits++;
}

static long do_read(void)
{
    char c;

    return read(pipe_fd[0], &c, 1);
}

static long do_wait(void)
{
    return wait(NULL) > 0 ? 1 : -1;
}

static long do_nanosleep(void)
{
    struct timespec ts = { 2, 0 };
    struct timespec left = { 9, 0 };
    long r = nanosleep(&ts, &left);

    if (r < 0) {
        printf("[left %s] ", left.tv_sec <= 1 ? "less" : "not less");
    }
    return r;
}

static long do_poll(void)
{
    struct pollfd p = { .fd = pipe_fd[0], .events = POLLIN };

    return poll(&p, 1, 3000);
}

static long do_select(void)
{
    fd_set set;
    struct timeval tv = { 3, 0 };

    FD_ZERO(&set);
    FD_SET(pipe_fd[0], &set);
    return select(pipe_fd[0] + 1, &set, NULL, NULL, &tv);
}

static long do_epoll(void)
{
    struct epoll_event e = { .events = EPOLLIN };
    int ep = epoll_create1(0);
    long r;

    epoll_ctl(ep, EPOLL_CTL_ADD, pipe_fd[0], &e);
    r = epoll_wait(ep, &e, 1, 3000);
    int saved = errno;

    close(ep);
    errno = saved;
    return r;
}

static long do_futex(void)
{
    int word = 0;

    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &(struct timespec){ 1, 0 }, NULL, 0);
}

static long do_pause(void)
{
    return pause();
}

static long do_sigsuspend(void)
{
    sigset_t none;

    sigemptyset(&none);
    return sigsuspend(&none);
}

static long do_sigtimedwait(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return sigtimedwait(&set, NULL, &(struct timespec){ 3, 0 });
}

/* A helper signals us after 100 ms, and makes the call succeed after 300 ms. */
static void try_call(const char *name, long (*call)(void), int flags)
{
    struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };
    struct timespec start;
    struct timespec end;
    pid_t child;
    long r;
    int err;

    sigaction(SIGUSR1, &sa, NULL);
    hits = 0;
    if (pipe(pipe_fd) < 0) {
        return;
    }
    fflush(stdout);
    child = fork();
    if (child == 0) {
        usleep(100000);
        kill(getppid(), SIGUSR1);
        usleep(200000);
        if (write(pipe_fd[1], "x", 1) != 1) {
            _exit(1);
        }
        _exit(0);
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    r = call();
    err = errno;
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ms = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;

    printf("%s %s: %ld %s handler ran %d, after %s\n", name,
           flags & SA_RESTART ? "restart" : "plain", r, r < 0 ? strerror(err) : "", hits,
           ms < 250   ? "the signal"
           : ms < 700 ? "the event"
                      : "long");
    while (wait(NULL) > 0) {
    }
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

int main(void)
{
    static const struct {
        const char *name;
        long (*call)(void);
    } calls[] = {
        { "read", do_read },
        { "wait", do_wait },
        { "nanosleep", do_nanosleep },
        { "poll", do_poll },
        { "select", do_select },
        { "epoll_wait", do_epoll },
        { "futex", do_futex },
        { "pause", do_pause },
        { "sigsuspend", do_sigsuspend },
        { "sigtimedwait", do_sigtimedwait },
    };

    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        try_call(calls[i].name, calls[i].call, 0);
        try_call(calls[i].name, calls[i].call, SA_RESTART);
    }
    return 0;
}

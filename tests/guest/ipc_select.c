/* SPDX-License-Identifier: Apache-2.0 */
/* select and poll: all three sets written, limits, timeouts, masks, dead descriptors. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t hits;

static void handler(int signo)
{
    (void)signo;
    hits++;
}

static long ms_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

int main(void)
{
    int p[2];
    fd_set in;
    fd_set out;
    fd_set ex;
    struct timeval tv = { 0, 50000 };
    struct timespec start;
    int dead;

    if (pipe(p) < 0) {
        return 1;
    }
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&ex);
    FD_SET(p[0], &in);
    FD_SET(p[1], &out);
    FD_SET(p[0], &ex);
    printf("select %d", select(p[1] + 1, &in, &out, &ex, NULL));
    printf(" in %d out %d ex %d\n", FD_ISSET(p[0], &in), FD_ISSET(p[1], &out), FD_ISSET(p[0], &ex));
    FD_ZERO(&in);
    FD_ZERO(&ex);
    FD_SET(p[0], &in);
    FD_SET(p[0], &ex);
    clock_gettime(CLOCK_MONOTONIC, &start);
    printf("timeout %d", select(p[1] + 1, &in, NULL, &ex, &tv));
    printf(" in %d ex %d %s left %ld\n", FD_ISSET(p[0], &in), FD_ISSET(p[0], &ex),
           ms_since(&start) >= 49 && ms_since(&start) < 200 ? "on time" : "off", (long)tv.tv_usec);
    if (write(p[1], "x", 1) != 1) {
        return 1;
    }
    FD_SET(p[0], &in);
    FD_SET(p[0], &ex);
    tv = (struct timeval){ 5, 0 };
    printf("ready %d", select(p[1] + 1, &in, NULL, &ex, &tv));
    printf(" in %d ex %d left %d\n", FD_ISSET(p[0], &in), FD_ISSET(p[0], &ex), tv.tv_sec >= 4);
    dead = dup(p[0]); /* a number of our own: whoever started us may have left others open */
    close(dead);
    FD_SET(dead, &in);
    printf("dead descriptor %d", select(dead + 1, &in, NULL, NULL, &tv));
    printf(" errno %d\n", errno);
    printf("negative %d", select(-1, NULL, NULL, NULL, &tv));
    printf(" errno %d\n", errno);
    tv = (struct timeval){ 0, -1 };
    printf("bad time %d", select(0, NULL, NULL, NULL, &tv));
    printf(" errno %d\n", errno);

    struct pollfd fds[40];

    for (int i = 0; i < 40; i++) {
        fds[i] = (struct pollfd){ .fd = i < 20 ? p[0] : i < 30 ? -1 : 500 + i, .events = POLLIN };
    }
    printf("poll %d", poll(fds, 40, 1000));
    printf(" %x %x %x\n", fds[0].revents, fds[25].revents, fds[35].revents);
    clock_gettime(CLOCK_MONOTONIC, &start);
    printf("poll nothing %d %s\n", poll(NULL, 0, 50),
           ms_since(&start) >= 49 ? "slept" : "did not sleep");
    printf("too many %d", poll(fds, 1u << 30, 0));
    printf(" errno %d\n", errno);

    /* A signal that only the wait's mask lets through. */
    struct sigaction sa = { .sa_handler = handler };
    sigset_t blocked;
    sigset_t none;

    sigaction(SIGUSR1, &sa, NULL);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    printf("blocked: hits %d\n", hits);
    printf("ppoll %d", ppoll(NULL, 0, &(struct timespec){ 2, 0 }, &none));
    printf(" errno %d hits %d\n", errno, hits);
    sigprocmask(SIG_SETMASK, NULL, &none);
    printf("mask is back: %d\n", sigismember(&none, SIGUSR1));
    raise(SIGUSR1);
    sigemptyset(&none);
    printf("pselect %d", pselect(0, NULL, NULL, NULL, &(struct timespec){ 2, 0 }, &none));
    printf(" errno %d hits %d\n", errno, hits);
    raise(SIGUSR1);
    fds[0].fd = p[0];
    printf("ready and a signal: %d hits %d\n", ppoll(fds, 1, NULL, &none), hits);
    return 0;
}

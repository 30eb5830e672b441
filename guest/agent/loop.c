/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: descriptors, signals, deadlines. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define EVENTS_MAX   16
#define SIGNAL_COUNT 5

static int epoll_fd = -1;
static struct source signals = { .fd = -1 };
/* What epoll_wait() returned and is still to be handled: a source that goes is taken out. */
static struct epoll_event events[EVENTS_MAX];
static int event_count;

uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Of what epoll_wait() returned for it, keep what is still wanted. */
static void limit_pending(const struct source *s, uint32_t wanted)
{
    for (int i = 0; i < event_count; i++) {
        if (events[i].data.ptr == s) {
            events[i].events &= wanted | EPOLLERR | EPOLLHUP;
            if (wanted == 0) {
                events[i].data.ptr = NULL;
            }
        }
    }
}

void source_watch(struct source *s, uint32_t wanted)
{
    struct epoll_event e = { .events = wanted, .data.ptr = s };

    if (s->fd < 0 || (s->is_watched ? s->events : 0) == wanted) {
        return;
    }
    if (wanted == 0) {
        (void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, &e);
        s->is_watched = false;
    } else if (epoll_ctl(epoll_fd, s->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e) == 0) {
        s->is_watched = true;
    }
    s->events = wanted;
    limit_pending(s, wanted);
}

void source_close(struct source *s)
{
    if (s->fd < 0) {
        return;
    }
    if (s->is_shared) {
        source_watch(s, 0);
    } else { /* what is closed is watched no more: no need to say so */
        s->is_watched = false;
        limit_pending(s, 0);
    }
    (void)close(s->fd);
    s->fd = -1;
}

static void reap(void)
{
    int status = 0;
    pid_t pid = 0;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!streams_reaped(pid, status)) {
            (void)init_reaped(pid, status);
        }
    }
}

static void on_signal(struct source *s, uint32_t ready)
{
    struct signalfd_siginfo info[SIGNAL_COUNT]; /* each is pending once at most */
    ssize_t n = read(s->fd, info, sizeof(info));

    (void)ready;
    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(info[0]); i++) {
        if (info[i].ssi_signo == SIGCHLD) {
            reap();
        } else {
            init_signal((int)info[i].ssi_signo);
        }
    }
}

void loop_init(void)
{
    sigset_t blocked;
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGQUIT);
    /* Blocked and never taken, rather than ignored: programs then begin with its default. */
    blocked = set;
    (void)sigaddset(&blocked, SIGPIPE);
    (void)sigprocmask(SIG_BLOCK, &blocked, NULL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    signals.fn = on_signal;
    if (epoll_fd < 0 || signals.fd < 0) {
        _exit(AGENT_CODE_SETUP);
    }
    source_watch(&signals, EPOLLIN);
}

/* Milliseconds until `due`, rounded up; -1: for ever. */
static int wait_ms(uint64_t due, uint64_t now)
{
    uint64_t ms = due > now ? (due - now + 999999) / 1000000 : 0;

    return due == 0 ? -1 : (int)min_of(ms, (uint64_t)3600000);
}

void loop_run(void)
{
    for (;;) {
        uint64_t now = now_ns();
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, wait_ms(streams_due(now), now));

        event_count = n < 0 ? 0 : n;
        for (int i = 0; i < event_count; i++) {
            struct source *s = events[i].data.ptr;

            if (s != NULL && events[i].events != 0) {
                s->fn(s, events[i].events);
            }
        }
        event_count = 0;
        connections_flush();
    }
}

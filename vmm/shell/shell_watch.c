/* SPDX-License-Identifier: Apache-2.0 */
/* One thread that listens to all shells in use: their statistics and their ends. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "shell/shell_internal.h"

#define EVENTS_AT_ONCE 16

int shell_watch(struct shell *s)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

    return epoll_ctl(s->shells->epoll_fd, EPOLL_CTL_ADD, s->fd, &e) < 0 ? -errno : 0;
}

void shell_unwatch(struct shell *s)
{
    (void)pthread_mutex_lock(&s->shells->lock);
    while (!s->has_ended || s->is_reporting) {
        (void)pthread_cond_wait(&s->shells->changed, &s->shells->lock);
    }
    (void)pthread_mutex_unlock(&s->shells->lock);
}

/* ---- Its words, which a guest may have put into its mouth ---- */

static bool is_plausible(const struct drupe_vm_outcome *o)
{
    switch (o->kind) {
    case DRUPE_END_EXIT:
    case DRUPE_END_REBOOT:
        return o->status >= 0 && o->status <= UINT8_MAX;
    case DRUPE_END_PANIC:
    case DRUPE_END_BOOT_ERROR:
    case DRUPE_END_RESET:
    case DRUPE_END_MONITOR:
        return true;
    case DRUPE_END_NONE:
    case DRUPE_END_STOPPED: /* we would have stopped it */
        break;
    }
    return false;
}

static void make_plain(char *text, size_t size)
{
    text[size - 1] = '\0';
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

/* `a` NULL: it is gone without a word. */
static void judge(const struct shell *s, const struct shell_answer *a, struct drupe_vm_outcome *out)
{
    memset(out, 0, sizeof(*out));
    if (atomic_load(&s->is_killed)) {
        out->kind = DRUPE_END_STOPPED;
        (void)fmt_snprintf(out->text, sizeof(out->text), "stopped by request");
    } else if (a != NULL && is_plausible(&a->outcome)) {
        *out = a->outcome;
        make_plain(out->text, sizeof(out->text));
    } else {
        out->kind = DRUPE_END_MONITOR;
        (void)fmt_snprintf(out->text, sizeof(out->text), "%s",
                           a != NULL
                               ? "the jailed monitor reports an end that there is not"
                               : "the jailed monitor died; a forbidden system call ends it so");
    }
}

/* ---- The thread ---- */

static void report(struct shell *s, const struct shell_answer *a)
{
    struct drupe_shells *shells = s->shells;
    struct drupe_vm_outcome outcome;

    judge(s, a, &outcome);
    (void)epoll_ctl(shells->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    (void)pthread_mutex_lock(&shells->lock);
    s->is_reporting = true;
    s->has_ended = true;
    (void)pthread_cond_broadcast(&shells->changed);
    (void)pthread_mutex_unlock(&shells->lock);
    s->events.ended(s->events.ctx, &outcome);
    (void)pthread_mutex_lock(&shells->lock);
    s->is_reporting = false;
    (void)pthread_cond_broadcast(&shells->changed);
    (void)pthread_mutex_unlock(&shells->lock);
}

static void take_stats(struct shell *s, const struct drupe_vm_stats *stats)
{
    (void)pthread_mutex_lock(&s->shells->lock);
    s->stats = *stats;
    s->stats_told = s->stats_asked;
    (void)pthread_cond_broadcast(&s->shells->changed);
    (void)pthread_mutex_unlock(&s->shells->lock);
}

static void listen_to(struct shell *s)
{
    struct shell_answer a;
    ssize_t n = recv(s->fd, &a, sizeof(a), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n == (ssize_t)sizeof(a) && a.kind == SHELL_STATED) {
        take_stats(s, &a.stats);
    } else if (n == (ssize_t)sizeof(a) && a.kind == SHELL_ENDED) {
        report(s, &a);
    } else {
        /* Gone, or it says what it should not: then it is not to go on. */
        report(s, NULL);
    }
}

void *shell_watcher_main(void *set)
{
    struct drupe_shells *shells = set;
    struct epoll_event events[EVENTS_AT_ONCE];

    for (;;) {
        const int n = epoll_wait(shells->epoll_fd, events, EVENTS_AT_ONCE, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                return NULL; /* the set ends; nobody is watched any more */
            }
            listen_to(events[i].data.ptr);
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#define EVENTS_AT_ONCE 8
#define WAKE_KEY       UINT64_MAX

int loop_init(struct loop *l)
{
    struct epoll_event wake = { .events = EPOLLIN, .data.u64 = WAKE_KEY };
    pthread_condattr_t attr;

    memset(l, 0, sizeof(*l));
    for (unsigned i = 0; i < LOOP_WATCHES_MAX; i++) {
        l->watches[i].fd = -1;
    }
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || l->wake_fd < 0 ||
        epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &wake) < 0) {
        int r = -errno;

        if (l->epoll_fd >= 0) {
            (void)close(l->epoll_fd);
        }
        if (l->wake_fd >= 0) {
            (void)close(l->wake_fd);
        }
        return r;
    }
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return 0;
}

void loop_deinit(struct loop *l)
{
    (void)close(l->epoll_fd);
    (void)close(l->wake_fd);
    (void)pthread_cond_destroy(&l->changed);
    (void)pthread_mutex_destroy(&l->lock);
}

static void wake(struct loop *l)
{
    uint64_t one = 1;

    /* The only failure is a full counter, and then the loop is awake anyway. */
    (void)!write(l->wake_fd, &one, sizeof(one));
}

static struct loop_watch *find_locked(struct loop *l, int fd)
{
    for (unsigned i = 0; i < LOOP_WATCHES_MAX; i++) {
        if (l->watches[i].fd == fd) {
            return &l->watches[i];
        }
    }
    return NULL;
}

static int watch_locked(struct loop *l, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    struct loop_watch *w = find_locked(l, fd);
    struct epoll_event e = { .events = events };
    int op = EPOLL_CTL_MOD;

    if (events == 0) {
        if (w != NULL) {
            (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, &e);
            w->fd = -1;
            w->generation++;
        }
        return 0;
    }
    if (w == NULL) {
        w = find_locked(l, -1);
        op = EPOLL_CTL_ADD;
    }
    if (w == NULL) {
        return -ENOSPC;
    }
    e.data.u64 = ((uint64_t)w->generation << 32) | (uint64_t)(w - l->watches);
    if (epoll_ctl(l->epoll_fd, op, fd, &e) < 0) {
        return -errno;
    }
    w->fd = fd;
    w->fn = fn;
    w->device = device;
    return 0;
}

int loop_watch(struct loop *l, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    int r = -EBADF;

    if (fd >= 0) {
        (void)pthread_mutex_lock(&l->lock);
        r = watch_locked(l, fd, events, fn, device);
        (void)pthread_mutex_unlock(&l->lock);
    }
    return r;
}

void loop_set_deadline(struct loop *l, uint64_t delay_ns, loop_deadline_fn fn, void *ctx)
{
    (void)pthread_mutex_lock(&l->lock);
    l->deadline_ns = clock_ns() + delay_ns;
    l->deadline_fn = fn;
    l->deadline_ctx = ctx;
    (void)pthread_mutex_unlock(&l->lock);
    wake(l);
}

/* Milliseconds until the deadline for epoll_wait(), -1 without one. */
static int wait_ms(struct loop *l)
{
    uint64_t deadline_ns = 0;

    (void)pthread_mutex_lock(&l->lock);
    deadline_ns = l->deadline_ns == 0 ? CLOCK_NEVER : l->deadline_ns;
    (void)pthread_mutex_unlock(&l->lock);
    return clock_poll_ms(deadline_ns);
}

static void run_deadline(struct loop *l)
{
    loop_deadline_fn fn = NULL;
    void *ctx = NULL;

    (void)pthread_mutex_lock(&l->lock);
    if (l->deadline_ns != 0 && l->deadline_ns <= clock_ns()) {
        fn = l->deadline_fn;
        ctx = l->deadline_ctx;
        l->deadline_ns = 0;
    }
    (void)pthread_mutex_unlock(&l->lock);
    if (fn != NULL) {
        fn(ctx);
    }
}

static void dispatch(struct loop *l, const struct epoll_event *e)
{
    struct loop_watch copy = { .fd = -1 };
    uint32_t slot = (uint32_t)e->data.u64;

    if (e->data.u64 == WAKE_KEY) {
        uint64_t count = 0;

        (void)!read(l->wake_fd, &count, sizeof(count));
        return;
    }
    assert(slot < LOOP_WATCHES_MAX);
    (void)pthread_mutex_lock(&l->lock);
    if (l->watches[slot].generation == (uint32_t)(e->data.u64 >> 32)) {
        copy = l->watches[slot];
    }
    (void)pthread_mutex_unlock(&l->lock);
    if (copy.fd >= 0) {
        copy.fn(copy.device, copy.fd, e->events);
    }
}

/* ---- Standing still ---- */

static void park(struct loop *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->is_parked = true;
    (void)pthread_cond_broadcast(&l->changed);
    while (atomic_load(&l->is_pause_wanted) && !atomic_load(&l->is_stopping)) {
        (void)pthread_cond_wait(&l->changed, &l->lock);
    }
    l->is_parked = false;
    (void)pthread_mutex_unlock(&l->lock);
}

void loop_begin_paused(struct loop *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->paused_ns = clock_ns();
    atomic_store(&l->is_pause_wanted, true);
    (void)pthread_mutex_unlock(&l->lock);
}

int loop_pause(struct loop *l, uint64_t timeout_ns)
{
    const struct timespec until = clock_timespec(clock_ns() + timeout_ns);
    int r = 0;

    (void)pthread_mutex_lock(&l->lock);
    assert(!atomic_load(&l->is_pause_wanted));
    l->paused_ns = clock_ns();
    atomic_store(&l->is_pause_wanted, true);
    wake(l);
    while (r == 0 && !l->is_parked) {
        r = pthread_cond_timedwait(&l->changed, &l->lock, &until);
    }
    if (!l->is_parked) {
        atomic_store(&l->is_pause_wanted, false);
        (void)pthread_mutex_unlock(&l->lock);
        return -ETIMEDOUT;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return 0;
}

void loop_resume(struct loop *l)
{
    (void)pthread_mutex_lock(&l->lock);
    if (atomic_load(&l->is_pause_wanted)) {
        if (l->deadline_ns != 0) {
            l->deadline_ns += clock_ns() - l->paused_ns;
        }
        atomic_store(&l->is_pause_wanted, false);
        (void)pthread_cond_broadcast(&l->changed);
    }
    (void)pthread_mutex_unlock(&l->lock);
}

/* ---- Running ---- */

void loop_run(struct loop *l)
{
    struct epoll_event events[EVENTS_AT_ONCE];

    /* acquire: pairs with the release in loop_stop(). */
    while (!atomic_load_explicit(&l->is_stopping, memory_order_acquire)) {
        int n = 0;

        if (atomic_load(&l->is_pause_wanted)) {
            park(l);
            continue;
        }
        n = epoll_wait(l->epoll_fd, events, EVENTS_AT_ONCE, wait_ms(l));
        for (int i = 0; i < n; i++) {
            dispatch(l, &events[i]);
        }
        /* What came due while a pause was wanted comes due after it. */
        if (!atomic_load(&l->is_pause_wanted)) {
            run_deadline(l);
        }
    }
}

void loop_stop(struct loop *l)
{
    /* release: what the caller did before is seen by the loop thread when it leaves. */
    atomic_store_explicit(&l->is_stopping, true, memory_order_release);
    (void)pthread_mutex_lock(&l->lock);
    (void)pthread_cond_broadcast(&l->changed);
    (void)pthread_mutex_unlock(&l->lock);
    wake(l);
}

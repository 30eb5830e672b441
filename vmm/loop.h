/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of one VM: descriptors that devices watch, and one deadline. One thread runs it;
 * every other call is safe from any thread.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "devices/device.h"

#define LOOP_WATCHES_MAX 48u

typedef void (*loop_deadline_fn)(void *ctx);

struct loop_watch {
    int fd; /* -1: free */
    uint32_t generation;
    device_fd_fn fn;
    void *device;
};

struct loop {
    int epoll_fd;
    int wake_fd;
    atomic_bool is_stopping;
    atomic_bool is_pause_wanted;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* is_pause_wanted, is_parked, is_stopping; CLOCK_MONOTONIC */
    bool is_parked;         /* under lock: the thread stands still between two calls */
    uint64_t paused_ns;     /* under lock: since when */
    struct loop_watch watches[LOOP_WATCHES_MAX]; /* under lock */
    uint64_t deadline_ns;                        /* under lock; CLOCK_MONOTONIC, 0: none */
    loop_deadline_fn deadline_fn;                /* under lock */
    void *deadline_ctx;                          /* under lock */
};

/* 0 or -errno; then there is nothing to deinit. */
int loop_init(struct loop *l) MUST_CHECK;
void loop_deinit(struct loop *l);

/*
 * As device_host.watch. -EPERM: the descriptor is of a kind that is always ready (a regular file).
 * After watching ends, one call that was already under way may still arrive.
 */
int loop_watch(struct loop *l, int fd, uint32_t events, device_fd_fn fn, void *device);
/* Call fn once on the loop thread after `delay_ns`; replaces an earlier one. */
void loop_set_deadline(struct loop *l, uint64_t delay_ns, loop_deadline_fn fn, void *ctx);

/* Run until loop_stop(). */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/*
 * Hold the loop: when 0 is returned no callback runs, and none will until loop_resume(). Without a
 * thread in loop_run() yet it will stop there first. -ETIMEDOUT: a callback did not come back
 * within `timeout_ns`, and the loop goes on. The deadline's time stands still as well. Not from the
 * loop's own thread; one pause at a time.
 */
int loop_pause(struct loop *l, uint64_t timeout_ns) MUST_CHECK;
void loop_resume(struct loop *l);
/* Before the loop's thread exists: it begins paused. */
void loop_begin_paused(struct loop *l);

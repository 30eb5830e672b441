/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool from inside: pool.c hands VMs out, maker.c makes them, queue.c runs jobs on them.
 *
 * Every VM is a slot in one list and in one phase at a time; who takes a slot out of READY or makes
 * it BUSY owns its VM until he says otherwise, so no callback runs under the lock. The number of
 * slots never exceeds `max`: a slot is there before its VM is made and after it is destroyed.
 */
#pragma once

#include <pthread.h>

#include <base/compiler.h>
#include <base/list.h>

#include "drupe/pool.h"

enum slot_phase {
    SLOT_MAKING,
    SLOT_READY,
    SLOT_CHECKING, /* about to be handed out */
    SLOT_USED,
    SLOT_LEAVING, /* being reset or destroyed */
};

struct slot {
    struct list link;
    enum slot_phase phase;
    drupe_vm_t *vm;
    char owner[DRUPE_POOL_OWNER_SIZE_MAX + 1]; /* "": nobody had it */
};

struct job {
    struct list link;
    struct drupe_pool_job says;
    char owner[DRUPE_POOL_OWNER_SIZE_MAX + 1];
};

struct drupe_pool {
    struct drupe_pool_options options;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below; CLOCK_MONOTONIC */
    /* under lock */
    struct list slots; /* oldest first */
    unsigned slot_count;
    struct list jobs;
    unsigned warm; /* wanted */
    bool is_draining;
    bool is_ending;
    uint64_t make_again_ns; /* the makers rest after a failure until then */
    struct drupe_error last_failure;
    struct drupe_pool_stats stats; /* the counters; the rest is counted when asked */
    pthread_t threads[2 * DRUPE_POOL_CONCURRENCY_MAX];
    unsigned thread_count;
};

/* False when the time is up. deadline_ns UINT64_MAX: no limit. */
bool pool_wait_locked(struct drupe_pool *p, uint64_t deadline_ns);
unsigned pool_count_locked(const struct drupe_pool *p, enum slot_phase phase);
/* A new slot in phase MAKING; NULL: the maximum is reached, or out of memory. */
struct slot *pool_slot_add_locked(struct drupe_pool *p);
void pool_slot_remove_locked(struct drupe_pool *p, struct slot *s);
/* Destroy the slot's VM and the slot; the lock is dropped meanwhile. */
void pool_slot_destroy_locked(struct drupe_pool *p, struct slot *s);
/* Make the VM of a slot in phase MAKING; the lock is dropped meanwhile. On failure the slot is
 * gone. On success its phase is the caller's to set. */
drupe_vm_err_t pool_slot_make_locked(struct drupe_pool *p, struct slot *s, struct drupe_error *err);

/* drupe_pool_acquire(); a job gets a VM while the pool drains, too. */
drupe_vm_err_t pool_acquire(struct drupe_pool *p, const char *owner, uint32_t timeout_ms,
                            bool is_job, drupe_vm_t **out, struct drupe_error *err);

/* Threads of the pool. */
void *pool_maker_main(void *pool);
void *pool_worker_main(void *pool);

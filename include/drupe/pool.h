/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of VMs that stand ready: who acquires one gets it at once, and the pool makes the next
 * behind his back. VMs are checked before they are handed out, reset or destroyed when they come
 * back, and never pass from one owner to another without being made anew. Work can be queued: the
 * pool runs it on VMs of its own, so many at a time, and tries again when a VM fails under it.
 *
 * Where VMs come from is the caller's: `make` may start one, restore a template's clone, or take a
 * shell from elsewhere. The callbacks run on the pool's threads and on those that call acquire and
 * release; never with a lock held.
 *
 * Errors, arguments and threads as in vm.h.
 */
#pragma once

#include "drupe/vm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DRUPE_POOL_MAX             1024u
#define DRUPE_POOL_OWNER_SIZE_MAX  128u
#define DRUPE_POOL_CONCURRENCY_MAX 64u
#define DRUPE_POOL_RETRIES_MAX     100u

/* Zero it with drupe_pool_options_init(), then change what differs. */
struct drupe_pool_options {
    size_t struct_size;
    unsigned warm;               /* 2: VMs kept ready */
    unsigned max;                /* 10: VMs at once, ready or handed out; 1..DRUPE_POOL_MAX */
    uint32_t acquire_timeout_ms; /* 5 000: when acquire says DRUPE_POOL_TIMEOUT_DEFAULT */
    unsigned concurrency;        /* 4: jobs of the queue at once, and VMs made at once */
    unsigned retries;            /* 2: how often a job that failed is tried again */
    uint32_t retry_wait_ms;      /* 100: before the first new try; doubled for each next one */

    void *ctx; /* of the callbacks */
    /* Make a VM that is ready for use. Required. */
    drupe_vm_err_t (*make)(void *ctx, drupe_vm_t **out, struct drupe_error *err);
    /* Is it fit to be handed out? NULL: it is when it is RUNNING. */
    bool (*is_healthy)(void *ctx, drupe_vm_t *vm);
    /* Make a VM that came back as it was when new; DRUPE_OK: the same owner may have it again.
     * NULL: it is destroyed. */
    drupe_vm_err_t (*reset)(void *ctx, drupe_vm_t *vm, struct drupe_error *err);
};

#define DRUPE_POOL_TIMEOUT_DEFAULT UINT32_MAX

typedef struct drupe_pool drupe_pool_t;

DRUPE_API void drupe_pool_options_init(struct drupe_pool_options *options);

/* Begins to make `warm` VMs at once. CONFIG_INVALID, NO_MEMORY. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_pool_create(
    const struct drupe_pool_options *options, drupe_pool_t **out, struct drupe_error *err);

/* Wait until `count` VMs (at most `max`) stand ready; from now on so many are kept. POOL_TIMEOUT;
 * the error of the last VM that could not be made when that is why. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_pool_warm_up(drupe_pool_t *pool, unsigned count,
                                                             uint32_t timeout_ms,
                                                             struct drupe_error *err);

/*
 * A healthy VM for `owner` (1 to 128 bytes). One that this owner used before and that was reset
 * comes first, then a fresh one, then a new one if the maximum allows; otherwise wait for one to
 * come back. POOL_TIMEOUT after timeout_ms; with timeout_ms 0, POOL_EXHAUSTED at once; BAD_STATE
 * while the pool drains; what `make` said when no VM could be made. The VM is the caller's until
 * drupe_pool_release(), and stays the pool's to destroy.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_pool_acquire(drupe_pool_t *pool, const char *owner,
                                                             uint32_t timeout_ms, drupe_vm_t **out,
                                                             struct drupe_error *err);

/* Give it back. CONFIG_INVALID if it is not one that was handed out. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_pool_release(drupe_pool_t *pool, drupe_vm_t *vm,
                                                             struct drupe_error *err);

/* A piece of work. `run` is called with a VM of the owner's; what it returns decides: DRUPE_OK, or
 * an error that is tried again on another VM. `done` (may be NULL) is called once, with the last.
 */
struct drupe_pool_job {
    const char *owner;
    void *ctx;
    drupe_vm_err_t (*run)(void *ctx, drupe_vm_t *vm, struct drupe_error *err);
    void (*done)(void *ctx, drupe_vm_err_t result, const struct drupe_error *err, unsigned tries);
};

/* Queue it; jobs begin in the order in which they came. BAD_STATE while the pool drains. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_pool_submit(drupe_pool_t *pool,
                                                            const struct drupe_pool_job *job,
                                                            struct drupe_error *err);

struct drupe_pool_stats {
    unsigned ready;
    unsigned in_use;
    unsigned making;
    unsigned waiting; /* callers of acquire */
    unsigned queued;  /* jobs that have not begun */
    unsigned running; /* jobs */
    uint64_t made;
    uint64_t make_failures;
    uint64_t unhealthy; /* found when they were to be handed out */
    uint64_t reused;
    uint64_t destroyed;
};

DRUPE_API void drupe_pool_stats(drupe_pool_t *pool, struct drupe_pool_stats *out);

/* No more acquires and jobs; wait until the queue is empty and all VMs came back, then destroy
 * those that are ready. POOL_TIMEOUT leaves the pool draining: call again. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_pool_drain(drupe_pool_t *pool, uint32_t timeout_ms,
                                                           struct drupe_error *err);

/* Ends its threads and destroys all its VMs, also those that are handed out: nobody may use them
 * any more. Jobs that have not begun are done with INTERRUPTED. NULL is fine. */
DRUPE_API void drupe_pool_destroy(drupe_pool_t *pool);

#ifdef __cplusplus
}
#endif

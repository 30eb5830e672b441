/* SPDX-License-Identifier: Apache-2.0 */
/* A pool's life, and handing VMs out (drupe/pool.h). */
#include "drupe/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <base/assert.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "pool/pool_internal.h"

void drupe_pool_options_init(struct drupe_pool_options *options)
{
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
    options->warm = 2;
    options->max = 10;
    options->acquire_timeout_ms = 5000;
    options->concurrency = 4;
    options->retries = 2;
    options->retry_wait_ms = 100;
}

static drupe_vm_err_t check_options(const struct drupe_pool_options *o, struct drupe_error *err)
{
    if (o->struct_size != sizeof(*o)) {
        return error_field(err, "struct_size",
                           "the options were not made by "
                           "drupe_pool_options_init()");
    }
    if (o->make == NULL) {
        return error_field(err, "make", "a pool needs a way to make VMs");
    }
    if (o->max < 1 || o->max > DRUPE_POOL_MAX) {
        return error_field(err, "max", "max is %u; allowed are 1 to %u", o->max, DRUPE_POOL_MAX);
    }
    if (o->warm > o->max) {
        return error_field(err, "warm", "warm is %u and max %u", o->warm, o->max);
    }
    if (o->concurrency < 1 || o->concurrency > DRUPE_POOL_CONCURRENCY_MAX) {
        return error_field(err, "concurrency", "concurrency is %u; allowed are 1 to %u",
                           o->concurrency, DRUPE_POOL_CONCURRENCY_MAX);
    }
    if (o->retries > DRUPE_POOL_RETRIES_MAX) {
        return error_field(err, "retries", "retries is %u; at most %u", o->retries,
                           DRUPE_POOL_RETRIES_MAX);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_owner(const char *owner, struct drupe_error *err)
{
    size_t length = owner == NULL ? 0 : strnlen(owner, DRUPE_POOL_OWNER_SIZE_MAX + 1);

    if (length == 0 || length > DRUPE_POOL_OWNER_SIZE_MAX) {
        return error_field(err, "owner", "owner must have 1 to %u bytes",
                           DRUPE_POOL_OWNER_SIZE_MAX);
    }
    return DRUPE_OK;
}

/* ---- Life ---- */

static int start_threads(struct drupe_pool *p)
{
    sigset_t all;
    sigset_t before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; r == 0 && i < 2 * p->options.concurrency; i++) {
        r = pthread_create(&p->threads[i], NULL, i % 2 == 0 ? pool_maker_main : pool_worker_main,
                           p);
        p->thread_count += r == 0 ? 1 : 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

drupe_vm_err_t drupe_pool_create(const struct drupe_pool_options *options, drupe_pool_t **out,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = check_options(options, err);
    pthread_condattr_t attr;
    struct drupe_pool *p = NULL;
    int e = 0;

    if (r != DRUPE_OK) {
        return r;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make a pool");
    }
    p->options = *options;
    p->warm = options->warm;
    list_init(&p->slots);
    list_init(&p->jobs);
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&p->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    e = start_threads(p);
    if (e != 0) {
        drupe_pool_destroy(p);
        return error_set(err, DRUPE_NO_MEMORY, e, "start the pool's threads");
    }
    *out = p;
    return DRUPE_OK;
}

static void destroy_slots(struct drupe_pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    while (!list_is_empty(&p->slots)) {
        pool_slot_destroy_locked(p, list_first(&p->slots, struct slot, link));
    }
    (void)pthread_mutex_unlock(&p->lock);
}

static void drop_jobs(struct drupe_pool *p)
{
    while (!list_is_empty(&p->jobs)) {
        struct job *j = list_first(&p->jobs, struct job, link);
        struct drupe_error err;

        list_remove(&j->link);
        (void)error_set(&err, DRUPE_INTERRUPTED, 0, "the pool ended before the job began");
        if (j->says.done != NULL) {
            j->says.done(j->says.ctx, DRUPE_INTERRUPTED, &err, 0);
        }
        free(j);
    }
}

void drupe_pool_destroy(drupe_pool_t *pool)
{
    if (pool == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&pool->lock);
    pool->is_ending = true;
    pool->is_draining = true;
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    drop_jobs(pool); /* the threads are gone: nobody else looks */
    destroy_slots(pool);
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static uint64_t deadline_after(uint32_t timeout_ms)
{
    return timeout_ms == DRUPE_WAIT_FOREVER ? UINT64_MAX : clock_ns() + timeout_ms * NS_PER_MS;
}

drupe_vm_err_t drupe_pool_warm_up(drupe_pool_t *pool, unsigned count, uint32_t timeout_ms,
                                  struct drupe_error *err)
{
    uint64_t deadline_ns = deadline_after(timeout_ms);
    uint64_t failures = 0;
    drupe_vm_err_t r = DRUPE_OK;

    if (count > pool->options.max) {
        return error_field(err, "count", "%u VMs; the pool's maximum is %u", count,
                           pool->options.max);
    }
    (void)pthread_mutex_lock(&pool->lock);
    failures = pool->stats.make_failures;
    pool->warm = count;
    (void)pthread_cond_broadcast(&pool->changed);
    while (r == DRUPE_OK && pool_count_locked(pool, SLOT_READY) < count) {
        if (pool->is_draining) {
            r = error_set(err, DRUPE_BAD_STATE, 0, "warm up: the pool is draining");
        } else if (!pool_wait_locked(pool, deadline_ns) &&
                   pool_count_locked(pool, SLOT_READY) < count) {
            bool has_failed = pool->stats.make_failures > failures;

            if (has_failed && err != NULL) {
                *err = pool->last_failure;
            }
            r = has_failed ? pool->last_failure.code
                           : error_set(err, DRUPE_POOL_TIMEOUT, 0, "%u of %u VMs after %u ms",
                                       pool_count_locked(pool, SLOT_READY), count, timeout_ms);
        }
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return r;
}

/* ---- Handing out ---- */

/* The owner's own first, then one that nobody had. */
static struct slot *find_ready_locked(struct drupe_pool *p, const char *owner)
{
    struct slot *fresh = NULL;
    struct slot *s = NULL;

    list_for_each_entry(s, &p->slots, link) {
        if (s->phase == SLOT_READY && strcmp(s->owner, owner) == 0) {
            return s;
        }
        if (s->phase == SLOT_READY && s->owner[0] == '\0' && fresh == NULL) {
            fresh = s;
        }
    }
    return fresh;
}

/* Another owner's idle VM: it makes room for a new one. */
static struct slot *find_foreign_locked(struct drupe_pool *p)
{
    struct slot *s = NULL;

    list_for_each_entry(s, &p->slots, link) {
        if (s->phase == SLOT_READY && s->owner[0] != '\0') {
            return s;
        }
    }
    return NULL;
}

static bool is_healthy(const struct drupe_pool *p, drupe_vm_t *vm)
{
    return p->options.is_healthy == NULL ? drupe_vm_state(vm) == DRUPE_VM_RUNNING
                                         : p->options.is_healthy(p->options.ctx, vm);
}

/* Check a ready slot; true: it is USED by `owner`. Otherwise it is destroyed. */
static bool take_locked(struct drupe_pool *p, struct slot *s, const char *owner)
{
    bool is_fit = false;

    s->phase = SLOT_CHECKING;
    (void)pthread_mutex_unlock(&p->lock);
    is_fit = is_healthy(p, s->vm);
    (void)pthread_mutex_lock(&p->lock);
    if (!is_fit) {
        p->stats.unhealthy++;
        pool_slot_destroy_locked(p, s);
        return false;
    }
    p->stats.reused += s->owner[0] != '\0' ? 1 : 0;
    (void)fmt_snprintf(s->owner, sizeof(s->owner), "%s", owner);
    s->phase = SLOT_USED;
    (void)pthread_cond_broadcast(&p->changed); /* the makers fill up behind it */
    return true;
}

/*
 * One attempt: DRUPE_OK and *out, or *out NULL when there is nothing to be had now; the lock may
 * have been dropped, so the caller looks again before it waits (*has_moved).
 */
static drupe_vm_err_t try_locked(struct drupe_pool *p, const char *owner, struct slot **out,
                                 bool *has_moved, struct drupe_error *err)
{
    struct slot *s = find_ready_locked(p, owner);
    drupe_vm_err_t r = DRUPE_OK;

    *out = NULL;
    *has_moved = false;
    if (s != NULL) {
        *has_moved = true;
        *out = take_locked(p, s, owner) ? s : NULL;
        return DRUPE_OK;
    }
    if (p->slot_count >= p->options.max) {
        s = find_foreign_locked(p);
        if (s != NULL) {
            *has_moved = true;
            pool_slot_destroy_locked(p, s);
        }
        return DRUPE_OK;
    }
    /* One that is being made will be ready soon: wait for it rather than make yet another, unless
     * more wait than are being made. */
    if (pool_count_locked(p, SLOT_MAKING) >= p->stats.waiting + 1 ||
        clock_ns() < p->make_again_ns) {
        return DRUPE_OK;
    }
    s = pool_slot_add_locked(p);
    if (s == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "add a VM to the pool");
    }
    *has_moved = true;
    r = pool_slot_make_locked(p, s, err);
    if (r == DRUPE_OK) {
        s->phase = SLOT_READY;
        *out = take_locked(p, s, owner) ? s : NULL;
    }
    return r;
}

/* What has moved is looked at again at once, but not for ever: VMs may fail faster than time goes.
 */
static bool is_worth_another_look(bool has_moved, unsigned *looks, const struct drupe_pool *p)
{
    return has_moved && (*looks)++ < p->options.max;
}

static drupe_vm_err_t acquire_locked(struct drupe_pool *p, const char *owner, uint32_t timeout_ms,
                                     bool is_job, struct slot **out, struct drupe_error *err)
{
    uint64_t deadline_ns = clock_ns() + timeout_ms * NS_PER_MS;
    unsigned looks = 0;

    for (;;) {
        bool has_moved = false;
        drupe_vm_err_t r = DRUPE_OK;

        if (p->is_ending || (p->is_draining && !is_job)) {
            return error_set(err, DRUPE_BAD_STATE, 0, "acquire: the pool is draining");
        }
        r = try_locked(p, owner, out, &has_moved, err);
        if (r != DRUPE_OK || *out != NULL) {
            return r;
        }
        if (is_worth_another_look(has_moved, &looks, p)) {
            continue;
        }
        if (timeout_ms == 0) {
            return error_set(err, DRUPE_POOL_EXHAUSTED, 0, "all %u VMs of the pool are in use",
                             p->slot_count);
        }
        if (clock_ns() >= deadline_ns) {
            return error_set(err, DRUPE_POOL_TIMEOUT, 0, "no VM came free within %u ms",
                             timeout_ms);
        }
        p->stats.waiting++;
        (void)pool_wait_locked(
            p, min_of(deadline_ns, p->make_again_ns > clock_ns() ? p->make_again_ns : UINT64_MAX));
        p->stats.waiting--;
    }
}

drupe_vm_err_t pool_acquire(struct drupe_pool *p, const char *owner, uint32_t timeout_ms,
                            bool is_job, drupe_vm_t **out, struct drupe_error *err)
{
    struct slot *s = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&p->lock);
    r = acquire_locked(p, owner, timeout_ms, is_job, &s, err);
    if (r == DRUPE_OK) {
        assert(s != NULL);
        *out = s->vm;
    }
    (void)pthread_mutex_unlock(&p->lock);
    return r;
}

drupe_vm_err_t drupe_pool_acquire(drupe_pool_t *pool, const char *owner, uint32_t timeout_ms,
                                  drupe_vm_t **out, struct drupe_error *err)
{
    drupe_vm_err_t r = check_owner(owner, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (timeout_ms == DRUPE_POOL_TIMEOUT_DEFAULT) {
        timeout_ms = pool->options.acquire_timeout_ms;
    }
    return pool_acquire(pool, owner, timeout_ms, false, out, err);
}

static struct slot *find_used_locked(struct drupe_pool *p, const drupe_vm_t *vm)
{
    struct slot *s = NULL;

    list_for_each_entry(s, &p->slots, link) {
        if (s->vm == vm && s->phase == SLOT_USED) {
            return s;
        }
    }
    return NULL;
}

drupe_vm_err_t drupe_pool_release(drupe_pool_t *pool, drupe_vm_t *vm, struct drupe_error *err)
{
    struct slot *s = NULL;
    bool is_reset = false;

    (void)pthread_mutex_lock(&pool->lock);
    s = vm == NULL ? NULL : find_used_locked(pool, vm);
    if (s == NULL) {
        (void)pthread_mutex_unlock(&pool->lock);
        return error_field(err, "vm", "the VM is none that the pool handed out");
    }
    s->phase = SLOT_LEAVING;
    if (pool->options.reset != NULL && !pool->is_draining) {
        (void)pthread_mutex_unlock(&pool->lock);
        is_reset = pool->options.reset(pool->options.ctx, vm, NULL) == DRUPE_OK;
        (void)pthread_mutex_lock(&pool->lock);
    }
    if (is_reset && !pool->is_draining) {
        s->phase = SLOT_READY;
        (void)pthread_cond_broadcast(&pool->changed);
    } else {
        pool_slot_destroy_locked(pool, s);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return DRUPE_OK;
}

/* ---- The end, and figures ---- */

static bool is_idle_locked(const struct drupe_pool *p)
{
    return list_is_empty(&p->jobs) && p->stats.running == 0 && p->stats.waiting == 0 &&
           pool_count_locked(p, SLOT_READY) == p->slot_count;
}

static struct slot *find_any_ready_locked(struct drupe_pool *p)
{
    struct slot *s = NULL;

    list_for_each_entry(s, &p->slots, link) {
        if (s->phase == SLOT_READY) {
            return s;
        }
    }
    return NULL;
}

drupe_vm_err_t drupe_pool_drain(drupe_pool_t *pool, uint32_t timeout_ms, struct drupe_error *err)
{
    uint64_t deadline_ns = deadline_after(timeout_ms);
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&pool->lock);
    pool->is_draining = true;
    (void)pthread_cond_broadcast(&pool->changed);
    while (r == DRUPE_OK && !is_idle_locked(pool)) {
        if (!pool_wait_locked(pool, deadline_ns) && !is_idle_locked(pool)) {
            r = error_set(err, DRUPE_POOL_TIMEOUT, 0, "%u VMs are still in use",
                          pool_count_locked(pool, SLOT_USED));
        }
    }
    while (r == DRUPE_OK && pool->slot_count > 0) {
        struct slot *s = find_any_ready_locked(pool);

        if (s != NULL) {
            pool_slot_destroy_locked(pool, s);
        } else {
            (void)pool_wait_locked(pool, UINT64_MAX); /* another drain is at it */
        }
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return r;
}

void drupe_pool_stats(drupe_pool_t *pool, struct drupe_pool_stats *out)
{
    const struct job *j = NULL;

    (void)pthread_mutex_lock(&pool->lock);
    *out = pool->stats;
    out->ready = pool_count_locked(pool, SLOT_READY);
    out->in_use = pool_count_locked(pool, SLOT_USED) + pool_count_locked(pool, SLOT_CHECKING);
    out->making = pool_count_locked(pool, SLOT_MAKING);
    out->queued = 0;
    list_for_each_entry(j, &pool->jobs, link) {
        out->queued++;
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

/* ---- Jobs come in ---- */

drupe_vm_err_t drupe_pool_submit(drupe_pool_t *pool, const struct drupe_pool_job *job,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = check_owner(job->owner, err);
    struct job *j = NULL;

    if (r == DRUPE_OK && job->run == NULL) {
        r = error_field(err, "run", "a job needs something to run");
    }
    if (r != DRUPE_OK) {
        return r;
    }
    j = calloc(1, sizeof(*j));
    if (j == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "queue a job");
    }
    j->says = *job;
    (void)fmt_snprintf(j->owner, sizeof(j->owner), "%s", job->owner);
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->is_draining) {
        (void)pthread_mutex_unlock(&pool->lock);
        free(j);
        return error_set(err, DRUPE_BAD_STATE, 0, "submit: the pool is draining");
    }
    list_push_back(&pool->jobs, &j->link);
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->lock);
    return DRUPE_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The work queue: each worker takes the oldest job, gets a VM for it, and tries again when it
 * fails. */
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/clock.h>

#include "error.h"
#include "pool/pool_internal.h"

#define WAIT_MAX_MS 60000u

static drupe_vm_err_t try_once(struct drupe_pool *p, struct job *j, struct drupe_error *err)
{
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = pool_acquire(p, j->owner, p->options.acquire_timeout_ms, true, &vm, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = j->says.run(j->says.ctx, vm, err);
    drupe_vm_err_t released = drupe_pool_release(p, vm, NULL);

    assert(released == DRUPE_OK);
    return r;
}

static void rest(struct drupe_pool *p, unsigned tries)
{
    uint64_t wait_ms = p->options.retry_wait_ms;
    uint64_t until_ns = 0;

    for (unsigned i = 1; i < tries && wait_ms < WAIT_MAX_MS; i++) {
        wait_ms *= 2;
    }
    until_ns = clock_ns() + min_of(wait_ms, (uint64_t)WAIT_MAX_MS) * NS_PER_MS;
    (void)pthread_mutex_lock(&p->lock);
    while (!p->is_ending && clock_ns() < until_ns) {
        (void)pool_wait_locked(p, until_ns);
    }
    (void)pthread_mutex_unlock(&p->lock);
}

static bool is_ending(struct drupe_pool *p)
{
    bool r = false;

    (void)pthread_mutex_lock(&p->lock);
    r = p->is_ending;
    (void)pthread_mutex_unlock(&p->lock);
    return r;
}

static void run_job(struct drupe_pool *p, struct job *j)
{
    struct drupe_error err;
    drupe_vm_err_t r = DRUPE_OK;
    unsigned tries = 0;

    for (;;) {
        memset(&err, 0, sizeof(err));
        r = try_once(p, j, &err);
        tries++;
        if (r == DRUPE_OK || tries > p->options.retries || r == DRUPE_BAD_STATE || is_ending(p)) {
            break;
        }
        rest(p, tries);
    }
    if (r != DRUPE_OK) {
        err.code = r;
    }
    if (j->says.done != NULL) {
        j->says.done(j->says.ctx, r, r == DRUPE_OK ? NULL : &err, tries);
    }
    free(j);
}

void *pool_worker_main(void *pool)
{
    struct drupe_pool *p = pool;

    (void)pthread_mutex_lock(&p->lock);
    while (!p->is_ending) {
        struct job *j = NULL;

        if (list_is_empty(&p->jobs)) {
            (void)pool_wait_locked(p, UINT64_MAX);
            continue;
        }
        j = list_first(&p->jobs, struct job, link);
        list_remove(&j->link);
        p->stats.running++;
        (void)pthread_mutex_unlock(&p->lock);
        run_job(p, j);
        (void)pthread_mutex_lock(&p->lock);
        p->stats.running--;
        (void)pthread_cond_broadcast(&p->changed);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

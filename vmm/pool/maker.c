/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and their VMs: making them ahead of need, and letting them go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <base/assert.h>
#include <base/clock.h>

#include "error.h"
#include "pool/pool_internal.h"

#define REST_NS (200u * NS_PER_MS) /* after a VM that could not be made */

bool pool_wait_locked(struct drupe_pool *p, uint64_t deadline_ns)
{
    const struct timespec until = clock_timespec(deadline_ns);

    if (deadline_ns == UINT64_MAX) {
        (void)pthread_cond_wait(&p->changed, &p->lock);
        return true;
    }
    return pthread_cond_timedwait(&p->changed, &p->lock, &until) != ETIMEDOUT;
}

unsigned pool_count_locked(const struct drupe_pool *p, enum slot_phase phase)
{
    const struct slot *s = NULL;
    unsigned n = 0;

    list_for_each_entry(s, &p->slots, link) {
        n += s->phase == phase ? 1 : 0;
    }
    return n;
}

struct slot *pool_slot_add_locked(struct drupe_pool *p)
{
    struct slot *s = NULL;

    if (p->slot_count >= p->options.max) {
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->phase = SLOT_MAKING;
    list_push_back(&p->slots, &s->link);
    p->slot_count++;
    return s;
}

void pool_slot_remove_locked(struct drupe_pool *p, struct slot *s)
{
    assert(p->slot_count > 0);
    assert(s->vm == NULL);
    list_remove(&s->link);
    p->slot_count--;
    free(s);
    (void)pthread_cond_broadcast(&p->changed);
}

void pool_slot_destroy_locked(struct drupe_pool *p, struct slot *s)
{
    s->phase = SLOT_LEAVING;
    (void)pthread_mutex_unlock(&p->lock);
    drupe_vm_destroy(s->vm);
    (void)pthread_mutex_lock(&p->lock);
    s->vm = NULL;
    p->stats.destroyed++;
    pool_slot_remove_locked(p, s);
}

drupe_vm_err_t pool_slot_make_locked(struct drupe_pool *p, struct slot *s, struct drupe_error *err)
{
    struct drupe_error own;
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    assert(s->phase == SLOT_MAKING);
    memset(&own, 0, sizeof(own));
    (void)pthread_mutex_unlock(&p->lock);
    r = p->options.make(p->options.ctx, &vm, &own);
    (void)pthread_mutex_lock(&p->lock);
    if (r != DRUPE_OK) {
        p->stats.make_failures++;
        p->last_failure = own;
        p->last_failure.code = r;
        p->make_again_ns = clock_ns() + REST_NS;
        pool_slot_remove_locked(p, s);
        if (err != NULL) {
            *err = p->last_failure;
        }
        return r;
    }
    s->vm = vm;
    p->stats.made++;
    return DRUPE_OK;
}

/* Is one more wanted? What is being made counts as there. */
static bool is_wanting_locked(const struct drupe_pool *p)
{
    return !p->is_draining && p->slot_count < p->options.max &&
           pool_count_locked(p, SLOT_READY) + pool_count_locked(p, SLOT_MAKING) < p->warm;
}

void *pool_maker_main(void *pool)
{
    struct drupe_pool *p = pool;

    (void)pthread_mutex_lock(&p->lock);
    while (!p->is_ending) {
        struct slot *s = NULL;

        if (!is_wanting_locked(p)) {
            (void)pool_wait_locked(p, UINT64_MAX);
            continue;
        }
        if (clock_ns() < p->make_again_ns) {
            (void)pool_wait_locked(p, p->make_again_ns);
            continue;
        }
        s = pool_slot_add_locked(p);
        if (s == NULL) {
            p->make_again_ns = clock_ns() + REST_NS; /* no memory */
        } else if (pool_slot_make_locked(p, s, NULL) == DRUPE_OK) {
            s->phase = SLOT_READY;
            (void)pthread_cond_broadcast(&p->changed);
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

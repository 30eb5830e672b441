/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side's address: a process whose body moves each message into a queue of values, where a
 * thread of the embedding program takes it.
 */
#include "embed/value.h"
#include "native.h"
#include "process/mailbox.h"
#include "vm_call.h"

struct lona_mailbox {
    struct vm *vm;
    struct call call; /* the process's hold on us */
    struct lock lock;
    struct lona_value *first;
    struct lona_value **last;
    bool dropped; /* a message was lost for want of memory */
    struct platform_wake wake;
};

static void queue_value(struct lona_mailbox *box, struct lona_value *v)
{
    const struct platform *pf = &box->vm->platform;

    lock_acquire(pf, &box->lock);
    if (v == NULL) {
        box->dropped = true;
    } else {
        *box->last = v;
        box->last = &v->next;
    }
    lock_release(&box->lock);
    pf->wake_signal(pf->self, &box->wake);
}

static term_t take_messages(void *arg, struct process *p, term_t last, bool *again)
{
    (void)last;
    (void)again;
    struct lona_mailbox *box = arg;
    const struct message *m;

    mailbox_begin(p);
    while ((m = mailbox_peek(p)) != NULL) {
        queue_value(box, value_copy(p->worker, m->term));
        if (!mailbox_accept(p->worker, p)) {
            return TERM_ERROR;
        }
    }
    return TERM_WAIT;
}

enum lona_result lona_mailbox_create(lona_vm *handle, lona_mailbox **out)
{
    struct vm *vm = handle->vm;
    struct lona_mailbox *box = vm_alloc(vm, sizeof(*box));

    if (box == NULL) {
        return LONA_NO_MEMORY;
    }
    *box = (struct lona_mailbox){ .vm = vm };
    lock_init(&box->lock, LOCK_BOX);
    box->last = &box->first;
    box->call =
        (struct call){ .vm = vm, .body = take_messages, .body_arg = box, .is_service = true };
    if (!call_start(vm, &box->call, vm->body_loop)) {
        vm_free(vm, box, sizeof(*box));
        return LONA_NO_MEMORY;
    }
    *out = box;
    return LONA_OK;
}

void lona_mailbox_destroy(lona_mailbox *box)
{
    struct vm *vm = box->vm;

    call_stop(vm, &box->call);
    while (box->first != NULL) {
        struct lona_value *v = box->first;

        box->first = v->next;
        lona_value_free(v);
    }
    vm_free(vm, box, sizeof(*box));
}

enum lona_result lona_mailbox_value(lona_mailbox *box, lona_value **out)
{
    struct lona_value *v = value_pid(box->vm, box->call.pid);

    if (v == NULL) {
        return LONA_NO_MEMORY;
    }
    *out = v;
    return LONA_OK;
}

enum lona_result lona_receive(lona_mailbox *box, uint64_t timeout_ns, lona_value **out)
{
    const struct platform *pf = &box->vm->platform;
    uint64_t now = pf->mono_ns(pf->self);
    uint64_t until = timeout_ns > UINT64_MAX - now ? PLATFORM_FOREVER : now + timeout_ns;

    for (;;) {
        lock_acquire(pf, &box->lock);
        struct lona_value *v = box->first;
        bool dropped = box->dropped;

        if (v != NULL) {
            box->first = v->next;
            if (v->next == NULL) {
                box->last = &box->first;
            }
            v->next = NULL;
        }
        box->dropped = false;
        lock_release(&box->lock);
        if (v != NULL) {
            *out = v;
            return LONA_OK;
        }
        if (dropped) {
            return LONA_NO_MEMORY;
        }
        if (until != PLATFORM_FOREVER && pf->mono_ns(pf->self) >= until) {
            return LONA_TIMEOUT;
        }
        pf->wake_wait(pf->self, &box->wake, until);
    }
}

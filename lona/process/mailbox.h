/* SPDX-License-Identifier: Apache-2.0 */
/* The mailbox and the inbox of a process. Owner's side unless a function says otherwise. */
#pragma once

#include "sched/sched.h"
#include "vm_state.h"

/* ---- receive ---- */
void mailbox_begin(struct process *p);

/* The message at the save pointer, or NULL; slots may point into it until the next of these calls.
 */
static inline const struct message *mailbox_peek(struct process *p)
{
    const struct message *m = *p->save;

    p->flags = (uint8_t)(m != NULL ? p->flags | PROCESS_PEEKED : p->flags & ~PROCESS_PEEKED);
    return m;
}

/* After a peek that gave a message. */
static inline void mailbox_next(struct process *p)
{
    struct message *m = *p->save;

    assert_slow(m != NULL);
    __builtin_prefetch(m->next);
    p->save = &m->next;
    p->flags &= (uint8_t)~PROCESS_PEEKED;
}

/* False with p's error set when there is no memory to adopt it. */
bool mailbox_accept(struct worker *w, struct process *p) MUST_CHECK;

enum mailbox_state {
    MAILBOX_MORE,
    MAILBOX_TIMED_OUT,
    MAILBOX_KILLED,
    MAILBOX_EMPTY
};
/* At the end of the queue: collect the inbox and say how it goes on. */
enum mailbox_state mailbox_wait(struct worker *w, struct process *p);

/* ---- inbox ---- */

/*
 * Push a message for `to`. Any thread. False when the target is dead: the message is then still the
 * caller's. `self` is where a process that this wakes is made ready.
 */
bool inbox_push(struct vm *vm, struct worker *self, uint64_t to, struct message *m) MUST_CHECK;

/* Take what has arrived: messages to the mailbox, signals to their handlers. */
void inbox_drain(struct worker *w, struct process *p);

static inline bool inbox_is_empty(const struct process *p)
{
    return (atomic_load_explicit(&p->inbox, memory_order_relaxed) & INBOX_POINTER_MASK) == 0;
}

/* Go to sleep unless something has arrived. After true the process may already run elsewhere. */
bool inbox_park(struct process *p) MUST_CHECK;

/* Close for ever; what was in it, newest first. The record's generation goes up. */
struct message *inbox_close(struct process *p);

/* ---- messages ---- */
struct message *message_new(struct worker *w, enum message_kind kind, size_t words) MUST_CHECK;
void message_free(struct worker *w, struct message *m);

/* A signal from `from` (raw pid) with an id; no reason. Never NULL: without memory the VM stops. */
struct message *signal_new(struct worker *w, enum message_kind kind, uint64_t from, uint64_t id);
/* EXIT or DOWN with a reason that is deep-copied: data is pid box, ref box, the tuple that a
 * trapping receiver gets, the reason. */
struct message *signal_with_reason(struct worker *w, enum message_kind kind, uint64_t from,
                                   uint64_t id, term_t reason);

static inline uint64_t signal_from(const struct message *m)
{
    return m->data[1];
}

static inline uint64_t signal_id(const struct message *m)
{
    return m->data[3];
}

/* What a process does with one signal (process/signal.c). Takes the message. */
void signal_handle(struct worker *w, struct process *p, struct message *m);

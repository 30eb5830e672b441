/* SPDX-License-Identifier: Apache-2.0 */
/* The inbox word (see process.h for its bits and the argument) and the private queue behind it. */
#include "process/mailbox.h"

#include "gc/memory.h"
#include "native.h"
#include "process/table.h"

static struct message *inbox_pointer(uint64_t word)
{
    return (struct message *)(uintptr_t)((word & INBOX_POINTER_MASK) << 2); // NOLINT
}

static uint64_t inbox_word(uint64_t tag, const struct message *m)
{
    return tag | (uint64_t)(uintptr_t)m >> 2;
}

bool inbox_push(struct vm *vm, struct worker *self, uint64_t to, struct message *m)
{
    struct process *p = process_at(vm, (uint32_t)to);
    uint32_t generation = (uint32_t)(to >> 32);

    if (p == NULL || atomic_load_explicit(&p->generation, memory_order_relaxed) != generation) {
        return false;
    }
    uint64_t tag = inbox_tag(generation);
    uint64_t head = atomic_load_explicit(&p->inbox, memory_order_relaxed);

    sched_point(vm);
    do {
        if (head >> INBOX_TAG_SHIFT != tag >> INBOX_TAG_SHIFT) {
            return false; /* it has ended meanwhile */
        }
        m->next = inbox_pointer(head & ~INBOX_PARKED);
        /* release: the message is complete before it is seen (acquire in inbox_drain);
         * acquire: when this clears PARKED, what the process left in its record is seen */
    } while (!atomic_compare_exchange_weak_explicit(&p->inbox, &head, inbox_word(tag, m),
                                                    memory_order_acq_rel, memory_order_relaxed));
    sched_point(vm);
    if ((head & INBOX_PARKED) != 0) {
        sched_ready(vm, self, p);
    }
    return true;
}

bool inbox_park(struct process *p)
{
    uint64_t tag = inbox_tag(atomic_load_explicit(&p->generation, memory_order_relaxed));
    uint64_t expected = tag;

    /* release: the record is complete before someone else may make the process ready */
    return atomic_compare_exchange_strong_explicit(&p->inbox, &expected, tag | INBOX_PARKED,
                                                   memory_order_release, memory_order_relaxed);
}

struct message *inbox_close(struct process *p)
{
    uint32_t next = atomic_load_explicit(&p->generation, memory_order_relaxed) + 1;

    next +=
        (next & ((1u << (64 - INBOX_TAG_SHIFT)) - 1)) == 0; /* a zero tag is a purged record's */
    atomic_store_explicit(&p->generation, next, memory_order_relaxed);
    sched_point(process_vm(p));
    /* acquire: what was pushed is complete. From here on every push for the old pid fails. */
    return inbox_pointer(
        atomic_exchange_explicit(&p->inbox, inbox_tag(next), memory_order_acq_rel));
}

void inbox_drain(struct worker *w, struct process *p)
{
    uint64_t tag = inbox_tag(atomic_load_explicit(&p->generation, memory_order_relaxed));
    /* acquire: pairs with the release in inbox_push() */
    struct message *m =
        inbox_pointer(atomic_exchange_explicit(&p->inbox, tag, memory_order_acquire));
    struct message *in_order = NULL;

    while (m != NULL) {
        struct message *next = m->next;

        m->next = in_order;
        in_order = m;
        m = next;
    }
    while (in_order != NULL) {
        struct message *next = in_order->next;

        if (in_order->kind == MESSAGE_TERM) {
            in_order->next = NULL;
            *p->mailbox_tail = in_order;
            p->mailbox_tail = &in_order->next;
            p->mailbox_count++;
        } else {
            signal_handle(w, p, in_order);
        }
        in_order = next;
    }
}

/* ---- receive ---- */

void mailbox_begin(struct process *p)
{
    p->save = &p->mailbox;
    p->flags &= (uint8_t) ~(PROCESS_TIMED_OUT | PROCESS_PEEKED);
    p->wait_number++;
    if (p->timer != NULL) {
        timer_disarm_wait(p);
    }
}

/* Tell a (send-sync) that its message was taken: the message [:accepted ref]. */
static void acknowledge(struct worker *w, const struct message *m)
{
    struct message *ack = message_new(w, MESSAGE_TERM, TUPLE_WORDS(2) + REF_WORDS);

    if (ack == NULL) {
        return;
    }
    ack->data[0] = header_make(TAG_REF, 0);
    ack->data[1] = m->data[3];
    ack->data[2] = header_make(TAG_TUPLE, 2);
    ack->data[3] = KW(accepted);
    ack->data[4] = term_from_box(&ack->data[0]);
    ack->term = term_from_box(&ack->data[2]);
    if (!inbox_push(w->vm, w, m->data[1], ack)) {
        message_free(w, ack);
    }
}

bool mailbox_accept(struct worker *w, struct process *p)
{
    struct message *m = *p->save;

    assert(m != NULL);
    struct message *next = m->next;
    bool is_sync = (m->flags & MESSAGE_SYNC) != 0;

    if (!heap_adopt(p, m)) { /* it stays where it is until the process, which ends now, is gone */
        (void)raise_oom(p);
        return false;
    }
    *p->save = next;
    if (next == NULL) {
        p->mailbox_tail = p->save;
    }
    p->mailbox_count--;
    p->save = &p->mailbox;
    p->flags &= (uint8_t) ~(PROCESS_PEEKED | PROCESS_TIMED_OUT);
    if (p->timer != NULL) {
        timer_disarm_wait(p);
    }
    if (is_sync) {
        acknowledge(w, m);
    }
    return true;
}

enum mailbox_state mailbox_wait(struct worker *w, struct process *p)
{
    p->flags &= (uint8_t)~PROCESS_PEEKED;
    if (!inbox_is_empty(p)) {
        /* Draining appends behind the save pointer, which names the end of the queue. */
        inbox_drain(w, p);
    }
    if ((p->flags & PROCESS_KILLED) != 0) {
        return MAILBOX_KILLED;
    }
    if (*p->save != NULL) {
        return MAILBOX_MORE;
    }
    if ((p->flags & PROCESS_TIMED_OUT) != 0) {
        mailbox_begin(p);
        return MAILBOX_TIMED_OUT;
    }
    return MAILBOX_EMPTY;
}

/* ---- messages ---- */

struct message *message_new(struct worker *w, enum message_kind kind, size_t words)
{
    struct message *m =
        words > UINT32_MAX ? NULL : arena_alloc(&w->arena, sizeof(*m) + words * sizeof(term_t));

    if (m != NULL) {
        m->next = NULL;
        m->kind = (uint8_t)kind;
        m->flags = 0;
        m->words = (uint32_t)words;
        m->term = TERM_NIL;
    }
    return m;
}

void message_free(struct worker *w, struct message *m)
{
    if ((m->flags & MESSAGE_OWNERS) != 0) {
        copy_release_owners(w, m->data, m->words);
    }
    arena_free(&w->arena, m, sizeof(*m) + m->words * sizeof(term_t));
}

static struct message *signal_alloc(struct worker *w, enum message_kind kind, size_t words)
{
    struct message *m = message_new(w, kind, words);

    if (m == NULL) {
        /* Dropping an exit would leave others waiting for ever. */
        w->vm->platform.fatal(w->vm->platform.self, "out of memory for a signal");
        unreachable("fatal() returned");
    }
    return m;
}

static void signal_head(struct message *m, uint64_t from, uint64_t id)
{
    m->data[0] = header_make(TAG_PID, 0);
    m->data[1] = from;
    m->data[2] = header_make(TAG_REF, 0);
    m->data[3] = id;
}

struct message *signal_new(struct worker *w, enum message_kind kind, uint64_t from, uint64_t id)
{
    struct message *m = signal_alloc(w, kind, 4);

    signal_head(m, from, id);
    return m;
}

struct message *signal_with_reason(struct worker *w, enum message_kind kind, uint64_t from,
                                   uint64_t id, term_t reason)
{
    struct copy_plan plan;

    enum copy_result err = copy_prepare(w, reason, &plan);

    if (err != COPY_OK) {
        plan =
            (struct copy_plan){ .root = err == COPY_BADARG ? KW(badarg) : KW(oom), .linear = true };
    }
    size_t tuple = kind == MESSAGE_EXIT ? 3 : 4;
    struct message *m = message_new(w, kind, 4 + TUPLE_WORDS(tuple) + plan.words);

    if (m == NULL) { /* a long reason is worth less than the news */
        plan = (struct copy_plan){ .root = KW(oom), .linear = true };
        m = signal_alloc(w, kind, 4 + TUPLE_WORDS(tuple));
    }
    term_t *t = &m->data[4];

    signal_head(m, from, id);
    t[0] = header_make(TAG_TUPLE, tuple);
    t[1] = kind == MESSAGE_EXIT ? KW(EXIT) : KW(DOWN);
    t[tuple - 1] = term_from_box(&m->data[0]);
    if (kind == MESSAGE_DOWN) {
        t[2] = term_from_box(&m->data[2]);
    }
    t[tuple] = copy_place(w, &plan, t + 1 + tuple);
    m->flags = plan.has_owners ? MESSAGE_OWNERS : 0;
    m->term = term_from_box(t);
    return m;
}

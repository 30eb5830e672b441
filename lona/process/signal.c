/* SPDX-License-Identifier: Apache-2.0 */
/* What signals do to the process that receives them: section 7.8. */
#include "gc/memory.h"
#include "native.h"
#include "process/mailbox.h"
#include "process/signal.h"
#include "process/relations.h"
#include "sched/timer.h"

/* Keys of the tables are never 0 or 1. */
static uint64_t key_of(uint64_t id)
{
    return id + 2;
}

static void send_signal(struct worker *w, uint64_t to, struct message *m)
{
    if (!inbox_push(w->vm, w, to, m)) {
        message_free(w, m);
    }
}

static term_t reason_of(const struct message *m)
{
    const term_t *tuple = term_ptr(m->term);

    return tuple[header_count(tuple[0])];
}

/* The signal becomes the message that its tuple already is. */
static void deliver(struct process *p, struct message *m)
{
    m->kind = MESSAGE_TERM;
    m->next = NULL;
    *p->mailbox_tail = m;
    p->mailbox_tail = &m->next;
    p->mailbox_count++;
}

static void die(struct process *p, struct message *m, term_t reason)
{
    if ((p->flags & PROCESS_KILLED) != 0) { /* dying of something earlier */
        message_free(p->worker, m);
        return;
    }
    bool adopted = heap_adopt(p, m); /* the reason lives on as part of the heap */

    p->flags |= PROCESS_KILLED;
    p->reason = adopted ? reason : KW(killed);
    if (!adopted) {
        message_free(p->worker, m);
    }
}

static void handle_exit(struct worker *w, struct process *p, struct message *m)
{
    uint64_t from = signal_from(m);
    bool by_link = signal_id(m) != 0;
    term_t reason = reason_of(m);

    if (by_link && (p->relations == NULL || !relation_remove(&p->relations->links, key_of(from)))) {
        message_free(w, m); /* unlinked meanwhile, or told already */
        return;
    }
    if (reason == KW(kill) && !by_link) {
        die(p, m, KW(killed));
    } else if ((p->flags & PROCESS_TRAP_EXIT) != 0) {
        deliver(p, m);
    } else if (reason == KW(normal) && (by_link || from != process_pid_raw(p))) {
        message_free(w, m);
    } else {
        die(p, m, reason);
    }
}

static void handle_link(struct worker *w, struct process *p, uint64_t from)
{
    struct relations *r = process_relations_get(p);

    if (r == NULL || !relation_put(p, &r->links, key_of(from), 1)) {
        /* Without memory for the relation the other side learns that there is none. */
        send_signal(w, from, signal_with_reason(w, MESSAGE_EXIT, process_pid_raw(p), 1, KW(oom)));
    }
}

static void handle_monitor(struct worker *w, struct process *p, uint64_t from, uint64_t ref)
{
    struct relations *r = process_relations_get(p);

    if (r == NULL || !relation_put(p, &r->watched, key_of(ref), from)) {
        send_signal(w, from, signal_with_reason(w, MESSAGE_DOWN, process_pid_raw(p), ref, KW(oom)));
    }
}

static void handle_down(struct worker *w, struct process *p, struct message *m)
{
    if (p->relations != NULL && relation_remove(&p->relations->watching, key_of(signal_id(m)))) {
        deliver(p, m);
    } else {
        message_free(w, m);
    }
}

static void handle_name(struct process *p, term_t name)
{
    struct relations *r = process_relations_get(p);

    if (r == NULL || r->name != TERM_NIL) { /* one name a process */
        (void)registry_remove(process_vm(p), name);
        return;
    }
    r->name = name;
}

void signal_handle(struct worker *w, struct process *p, struct message *m)
{
    switch ((enum message_kind)m->kind) {
    case MESSAGE_EXIT:
        handle_exit(w, p, m);
        return;
    case MESSAGE_DOWN:
        handle_down(w, p, m);
        return;
    case MESSAGE_TIMEOUT:
        if (m->data[0] == p->wait_number && p->timer != NULL) {
            p->flags |= PROCESS_TIMED_OUT;
            p->timer = NULL;
        }
        timer_free_message(w, m);
        return;
    case MESSAGE_LINK:
        handle_link(w, p, signal_from(m));
        break;
    case MESSAGE_UNLINK:
        if (p->relations != NULL) {
            (void)relation_remove(&p->relations->links, key_of(signal_from(m)));
        }
        break;
    case MESSAGE_MONITOR:
        handle_monitor(w, p, signal_from(m), signal_id(m));
        break;
    case MESSAGE_DEMONITOR:
        if (p->relations != NULL) {
            (void)relation_remove(&p->relations->watched, key_of(signal_id(m)));
        }
        break;
    case MESSAGE_INFO:
        process_answer_info(p, signal_from(m), signal_id(m));
        break;
    case MESSAGE_NAME:
        handle_name(p, signal_id(m));
        break;
    case MESSAGE_TERM:
    case MESSAGE_WAKE:
        break;
    }
    message_free(w, m);
}

/*
 * ---- what the running process asks for ----
 *
 * The answer for a dead process goes through the asker's own inbox, behind what the dead one may
 * have sent before its end.
 */

bool process_link(struct process *p, uint64_t to)
{
    struct worker *w = p->worker;
    uint64_t self = process_pid_raw(p);
    struct relations *r = to == self ? NULL : process_relations_get(p);

    if (to == self) {
        return true;
    }
    if (r != NULL && relation_find(&r->links, key_of(to)) != NULL) {
        return true;
    }
    if (r == NULL || !relation_put(p, &r->links, key_of(to), 1)) {
        (void)raise_oom(p);
        return false;
    }
    struct message *m = signal_new(w, MESSAGE_LINK, self, 0);

    if (!inbox_push(w->vm, w, to, m)) {
        message_free(w, m);
        send_signal(w, self, signal_with_reason(w, MESSAGE_EXIT, to, 1, KW(noproc)));
    }
    return true;
}

void process_unlink(struct process *p, uint64_t to)
{
    if (p->relations != NULL && relation_remove(&p->relations->links, key_of(to))) {
        send_signal(p->worker, to, signal_new(p->worker, MESSAGE_UNLINK, process_pid_raw(p), 0));
    }
}

bool process_monitor(struct process *p, uint64_t to, uint64_t *ref_out)
{
    struct worker *w = p->worker;
    struct relations *r = process_relations_get(p);
    uint64_t ref = realm_next_ref(w->vm);

    if (r == NULL || !relation_put(p, &r->watching, key_of(ref), to)) {
        (void)raise_oom(p);
        return false;
    }
    struct message *m = signal_new(w, MESSAGE_MONITOR, process_pid_raw(p), ref);

    if (!inbox_push(w->vm, w, to, m)) {
        message_free(w, m);
        send_signal(w, process_pid_raw(p),
                    signal_with_reason(w, MESSAGE_DOWN, to, ref, KW(noproc)));
    }
    *ref_out = ref;
    return true;
}

void process_demonitor(struct process *p, uint64_t ref)
{
    struct worker *w = p->worker;
    struct relation_entry *e =
        p->relations == NULL ? NULL : relation_find(&p->relations->watching, key_of(ref));

    if (e != NULL) {
        uint64_t target = e->value;

        (void)relation_remove(&p->relations->watching, key_of(ref));
        send_signal(w, target, signal_new(w, MESSAGE_DEMONITOR, process_pid_raw(p), ref));
        return;
    }
    /* It may have come already: take the message out of the queue. */
    for (struct message **link = &p->mailbox; *link != NULL; link = &(*link)->next) {
        struct message *m = *link;
        const term_t *t = term_is_tuple(m->term) ? term_ptr(m->term) : NULL;

        if (t != NULL && header_count(t[0]) == 4 && t[1] == KW(DOWN) &&
            term_has_tag(t[2], TAG_REF) && term_ptr(t[2])[1] == ref) {
            *link = m->next;
            if (m->next == NULL) {
                p->mailbox_tail = link;
            }
            p->mailbox_count--;
            p->save = &p->mailbox;
            message_free(w, m);
            return;
        }
    }
}

void process_exit_signal(struct process *p, uint64_t to, term_t reason)
{
    struct worker *w = p->worker;
    uint64_t self = process_pid_raw(p);
    struct message *m = signal_with_reason(w, MESSAGE_EXIT, self, 0, reason);

    if (to == self) {
        signal_handle(w, p, m);
        return;
    }
    send_signal(w, to, m);
}

bool process_ask_info(struct process *p, uint64_t to, uint64_t ref)
{
    struct worker *w = p->worker;
    struct message *m = signal_new(w, MESSAGE_INFO, process_pid_raw(p), ref);

    if (!inbox_push(w->vm, w, to, m)) {
        message_free(w, m);
        return false;
    }
    return true;
}

/* The name is taken here; its owner notes it when the signal arrives, and frees it at its end. */
bool registry_add_other(struct process *p, term_t name, uint64_t pid)
{
    struct worker *w = p->worker;

    if (!registry_add(w->vm, name, pid)) {
        return false;
    }
    struct message *m = signal_new(w, MESSAGE_NAME, process_pid_raw(p), name);

    if (!inbox_push(w->vm, w, pid, m)) {
        message_free(w, m);
        (void)registry_remove(w->vm, name);
        return false;
    }
    return true;
}

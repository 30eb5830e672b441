/* SPDX-License-Identifier: Apache-2.0 */
/* A process's beginning, its messages to others, its end. */
#include "process/process.h"

#include "gc/memory.h"
#include "interp/code.h"
#include "interp/frame.h"
#include "native.h"
#include "process/mailbox.h"
#include "process/relations.h"
#include "process/signal.h"
#include "process/table.h"
#include "sched/timer.h"
#include "vm_call.h"

struct vm *process_vm(const struct process *p)
{
    return p->worker->vm;
}

/* ---- spawning ---- */

bool function_takes(term_t fn, unsigned argc)
{
    if (term_is_native(fn) && native_id(fn) < native_count()) {
        const struct native *n = native_by_id(native_id(fn));

        return n->min_args <= argc && (argc <= n->max_args || n->max_args == NATIVE_VARIADIC);
    }
    if (term_has_tag(fn, TAG_CLOSURE)) {
        fn = term_ptr(fn)[1];
    }
    if (!term_has_tag(fn, TAG_FUN)) {
        return false;
    }
    const struct fun *f = term_fun(fn);

    return f->variadic != 0 ? argc >= f->params : argc == f->params;
}

/* The first heap block for `words` words of closure; false without memory. */
static bool first_heap(struct process *p, size_t words, size_t wished)
{
    if (words <= PROCESS_HEAP_INLINE && wished <= PROCESS_HEAP_INLINE) {
        p->heap = p->heap_inline;
        p->htop = p->heap;
        p->hend = p->heap + PROCESS_HEAP_INLINE;
        return true;
    }
    size_t size = heap_next_size(max_of(words, wished));
    struct process_memory *m = process_memory_get(p);

    p->heap = m == NULL ? NULL : arena_alloc(process_arena(p), size * sizeof(term_t));
    if (p->heap == NULL) {
        arena_free(process_arena(p), m, sizeof(*m));
        p->memory = NULL;
        return false;
    }
    p->htop = p->heap;
    p->hend = p->heap + size;
    m->young_end = p->hend;
    m->young_min_words = wished;
    return true;
}

static bool inherit(struct process *p, struct bindings *from)
{
    if (from == NULL || from->count == 0) {
        return true;
    }
    const struct realm *r = &p->worker->vm->realm;

    if (from->count == 1 && from->items[0].var == r->ns_var) { /* the usual case: *ns* alone */
        p->bindings = ns_bindings(p->worker->vm, from->items[0].value);
        if (p->bindings != NULL) {
            return true;
        }
    }
    bool shareable = true;

    for (uint32_t i = 0; i < from->count; i++) {
        term_t v = from->items[i].value;

        shareable &= !term_is_pointer(v) || realm_holds(r, term_ptr(v));
    }
    if (shareable) {
        atomic_fetch_add_explicit(&from->references, 1, memory_order_relaxed);
        p->bindings = from;
        return true;
    }
    for (uint32_t i = 0; i < from->count; i++) {
        struct copy_plan plan;
        struct message *m = NULL;

        if (copy_prepare(p->worker, from->items[i].value, &plan) != COPY_OK ||
            (m = message_new(p->worker, MESSAGE_TERM, plan.words)) == NULL) {
            return false;
        }
        term_t v = copy_place(p->worker, &plan, m->data);

        m->flags = plan.has_owners ? MESSAGE_OWNERS : 0;
        if (!heap_adopt(p, m) || !var_bind(p, from->items[i].var, v)) {
            return false;
        }
    }
    return true;
}

struct process *process_make(struct worker *w, term_t fn, const struct spawn_options *options,
                             struct bindings *inherited, term_t *error)
{
    struct copy_plan plan;
    enum copy_result err = copy_prepare(w, fn, &plan);

    if (err != COPY_OK) {
        *error = err == COPY_BADARG ? KW(badarg) : KW(oom);
        return NULL;
    }
    struct process *p = process_take(w);

    if (p == NULL) {
        *error = KW(process_limit);
        return NULL;
    }
    uint32_t limit =
        options->heap_max_words != 0 ? options->heap_max_words : w->vm->options.heap_max_words;

    p->worker = w;
    p->ip = NULL;
    p->flags = PROCESS_AT_ENTRY;
    p->priority = options->priority;
    p->gc_inhibit = 0;
    p->fragments = NULL;
    p->memory = NULL;
    p->roots = NULL;
    p->mailbox = NULL;
    p->mailbox_tail = &p->mailbox;
    p->save = &p->mailbox;
    p->mailbox_count = 0;
    p->wait_number = 0;
    p->timer = NULL;
    p->relations = NULL;
    p->bindings = NULL;
    p->reason = TERM_NIL;
    p->reductions = 0;
    p->reductions_left = SLICE_REDUCTIONS;
    p->heap_max_words = limit;
    p->entry_argc = 0;
    p->collections_since_full = 0;
    p->stack = p->stack_inline;
    p->stack_end = p->stack + PROCESS_STACK_INLINE;
    p->fp = p->stack + 1;
    p->fp[-1] = RETURN_TO_NOBODY;
    p->fp[0] = TERM_NIL;
    if (options->trap_exit) {
        p->flags |= PROCESS_TRAP_EXIT;
    }
    if (!first_heap(p, plan.words, options->heap_min_words) || !inherit(p, inherited) ||
        (plan.has_owners && !owners_reserve(p, (uint32_t)(plan.words / 3)))) {
        *error = KW(oom);
        heap_release_all(p);
        process_relations_free(p);
        process_give(w, p);
        return NULL;
    }
    term_t *to = p->htop;

    p->htop += plan.words;
    p->fp[0] = copy_place(w, &plan, to);
    for (size_t i = 0; plan.has_owners && i < plan.words;) {
        if (term_tag(to[i]) != TERM_HEADER) {
            i += 2;
            continue;
        }
        if (header_tag(to[i]) == TAG_PROCBIN) {
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            owners_add(p, &to[i], ((struct shared_binary *)(uintptr_t)to[i + 1])->size);
        }
        i += header_words(to[i]);
    }
    if (options->fullsweep_after != 0 && process_memory_get(p) != NULL) {
        p->memory->fullsweep_after = options->fullsweep_after;
    }
    return p;
}

bool process_spawn(struct process *from, term_t fn, const struct spawn_options *options,
                   uint64_t *pid_out, uint64_t *ref_out)
{
    struct worker *w = from->worker;
    term_t error = KW(oom);

    if (!function_takes(fn, 0)) {
        (void)raise_badarg(from, "spawn", &fn, 1);
        return false;
    }
    /* The parent's halves first: they may fail, and the child can't undo them. */
    struct relations *mine = options->link || options->monitor ? process_relations_get(from) : NULL;
    struct process *p = mine == NULL && (options->link || options->monitor)
                            ? NULL
                            : process_make(w, fn, options, from->bindings, &error);

    if (p == NULL) {
        (void)(error == KW(oom) ? raise_oom(from) : raise(from, error, 0));
        return false;
    }
    uint64_t pid = process_pid_raw(p);
    uint64_t self = process_pid_raw(from);
    uint64_t ref = options->monitor ? realm_next_ref(w->vm) : 0;
    struct relations *its =
        mine != NULL || options->name != TERM_NIL ? process_relations_get(p) : NULL;
    bool ok = (mine == NULL && options->name == TERM_NIL) || its != NULL;

    ok = ok && (!options->link || (relation_put(p, &its->links, self + 2, 1) &&
                                   relation_put(from, &mine->links, pid + 2, 1)));
    ok = ok && (!options->monitor || (relation_put(p, &its->watched, ref + 2, self) &&
                                      relation_put(from, &mine->watching, ref + 2, pid)));
    bool named = ok && options->name != TERM_NIL && registry_add(w->vm, options->name, pid);

    if (!ok || (options->name != TERM_NIL && !named)) {
        if (mine != NULL) {
            (void)relation_remove(&mine->links, pid + 2);
            (void)relation_remove(&mine->watching, ref + 2);
        }
        process_drop(w, p);
        (void)(ok ? raise_badarg(from, "spawn", &options->name, 1) : raise_oom(from));
        return false;
    }
    if (named) {
        its->name = options->name;
    }
    sched_point(w->vm);
    *pid_out = pid;
    if (ref_out != NULL) {
        *ref_out = ref;
    }
    sched_ready(w->vm, w, p); /* commit point: others can see it from here on */
    return true;
}

/* ---- sending ---- */

static bool send_with(struct process *from, uint64_t to, term_t message, bool sync, uint64_t ref)
{
    struct worker *w = from->worker;
    struct process *target = process_at(w->vm, (uint32_t)to);

    if (target == NULL ||
        atomic_load_explicit(&target->generation, memory_order_relaxed) != (uint32_t)(to >> 32)) {
        /* Nobody there; what can't be sent is still an error. */
        target = NULL;
    }
    struct copy_plan plan;
    enum copy_result err = copy_prepare(w, message, &plan);

    if (err == COPY_BADARG) {
        (void)raise_badarg(from, "send", NULL,
                           0); /* not the message: it could not leave as a reason */
        return false;
    }
    size_t prefix = sync ? 4 : 0;
    struct message *m = err == COPY_OK ? message_new(w, MESSAGE_TERM, plan.words + prefix) : NULL;

    if (m == NULL) {
        (void)raise_oom(from);
        return false;
    }
    if (sync) {
        m->data[0] = header_make(TAG_PID, 0);
        m->data[1] = process_pid_raw(from);
        m->data[2] = header_make(TAG_REF, 0);
        m->data[3] = ref;
        m->flags = MESSAGE_SYNC;
    }
    m->term = copy_place(w, &plan, m->data + prefix);
    m->flags |= plan.has_owners ? MESSAGE_OWNERS : 0;
    if (plan.words > 16) {
        process_charge(from, plan.words / 16);
    }
    if (target == NULL || !inbox_push(w->vm, w, to, m)) {
        message_free(w, m);
    }
    return true;
}

bool process_send(struct process *from, uint64_t to, term_t message)
{
    return send_with(from, to, message, false, 0);
}

bool process_send_sync(struct process *from, uint64_t to, term_t message, uint64_t ref)
{
    return send_with(from, to, message, true, ref);
}

bool process_is_alive(struct vm *vm, uint64_t pid)
{
    struct process *p = process_at(vm, (uint32_t)pid);

    return p != NULL &&
           atomic_load_explicit(&p->generation, memory_order_acquire) == (uint32_t)(pid >> 32);
}

/* ---- the end ---- */

static void free_messages(struct worker *w, struct message *m)
{
    while (m != NULL) {
        struct message *next = m->next;

        if (m->kind == MESSAGE_TIMEOUT) {
            timer_free_message(w, m);
        } else {
            message_free(w, m);
        }
        m = next;
    }
}

static void tell(struct worker *w, uint64_t to, struct message *m)
{
    sched_point(w->vm);
    if (!inbox_push(w->vm, w, to, m)) {
        message_free(w, m);
    }
}

/* Links and monitors that were on their way when the inbox closed get their answer. */
static void refuse_rest(struct worker *w, struct message *m, uint64_t self)
{
    while (m != NULL) {
        struct message *next = m->next;

        if (m->kind == MESSAGE_LINK) {
            tell(w, signal_from(m), signal_with_reason(w, MESSAGE_EXIT, self, 1, KW(noproc)));
        } else if (m->kind == MESSAGE_MONITOR) {
            tell(w, signal_from(m),
                 signal_with_reason(w, MESSAGE_DOWN, self, signal_id(m), KW(noproc)));
        }
        if (m->kind == MESSAGE_NAME) {
            (void)registry_remove(w->vm, signal_id(m));
        }
        m->next = NULL;
        free_messages(w, m);
        m = next;
    }
}

static void tell_relations(struct worker *w, struct relations *r, uint64_t self, term_t reason)
{
    for (uint32_t i = 0; i < r->watched.capacity; i++) {
        const struct relation_entry *e = &r->watched.entries[i];

        if (e->key >= 2) {
            tell(w, e->value, signal_with_reason(w, MESSAGE_DOWN, self, e->key - 2, reason));
        }
    }
    for (uint32_t i = 0; i < r->links.capacity; i++) {
        const struct relation_entry *e = &r->links.entries[i];

        if (e->key >= 2) {
            tell(w, e->key - 2, signal_with_reason(w, MESSAGE_EXIT, self, 1, reason));
        }
    }
    for (uint32_t i = 0; i < r->watching.capacity; i++) {
        const struct relation_entry *e = &r->watching.entries[i];

        if (e->key >= 2) {
            tell(w, e->value, signal_new(w, MESSAGE_DEMONITOR, self, e->key - 2));
        }
    }
}

void process_drop(struct worker *w, struct process *p)
{
    p->worker = w;
    if (p->timer != NULL) {
        timer_disarm_wait(p);
    }
    free_messages(w, inbox_close(p));
    free_messages(w, p->mailbox);
    process_relations_free(p);
    heap_release_all(p);
    process_give(w, p);
}

void process_end(struct worker *w, struct process *p, term_t reason)
{
    uint64_t self = process_pid_raw(p);
    struct relations *r = p->relations;

    p->status = PROCESS_EXITING;
    if (p->timer != NULL) {
        timer_disarm_wait(p);
    }
    if (r != NULL && r->name != TERM_NIL) {
        (void)registry_remove(w->vm, r->name);
    }
    /* Before the inbox closes, what has arrived counts: a link or monitor in it is told like
     * others. */
    sched_point(w->vm);
    struct message *rest = inbox_close(p);

    sched_point(w->vm);
    if (r != NULL && r->call != NULL) {
        call_finish(r->call, p, reason);
    }
    if (r != NULL) {
        tell_relations(w, r, self, reason);
    }
    refuse_rest(w, rest, self);
    free_messages(w, p->mailbox);
    process_relations_free(p);
    heap_release_all(p);
    process_give(w, p);
}

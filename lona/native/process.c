/* SPDX-License-Identifier: Apache-2.0 */
/* lona.process: processes, messages, links, monitors, names (6.7). */
#include "data/data.h"
#include "gc/memory.h"
#include "interp/code.h"
#include "native.h"
#include "process/relations.h"
#include "process/signal.h"
#include "process/table.h"
#include "sched/sched.h"

/* ---- spawning ---- */

static bool option_words(struct process *p, term_t map, term_t key, uint32_t *out)
{
    term_t v = map_get(p, map, key);
    uint64_t n;

    if (v == TERM_HOLE || v == TERM_NIL) {
        return true;
    }
    if (!arg_size(v, (uint64_t)UINT32_MAX * 8, &n)) {
        return false;
    }
    *out = (uint32_t)((n + 7) / 8);
    return true;
}

/* Fill options from the map in args[1]; false when it isn't one or a value is wrong. */
static bool read_options(struct process *p, const term_t *args, unsigned argc,
                         struct spawn_options *o)
{
    if (argc == 1) {
        return true;
    }
    term_t map = args[1];

    if (!term_is_map(map) || !option_words(p, map, KW(min_heap_size), &o->heap_min_words) ||
        !option_words(p, map, KW(max_heap_size), &o->heap_max_words)) {
        return false;
    }
    term_t v = map_get(p, map, KW(priority));
    uint64_t n;

    if (v != TERM_HOLE) {
        if (!arg_size(v, 255, &n)) {
            return false;
        }
        o->priority = (uint8_t)n;
    }
    v = map_get(p, map, KW(fullsweep_after));
    if (v != TERM_HOLE) {
        if (!arg_size(v, UINT16_MAX, &n)) {
            return false;
        }
        o->fullsweep_after = (uint16_t)n;
    }
    v = map_get(p, map, KW(trap_exit));
    o->trap_exit = v != TERM_HOLE && term_is_truthy(v);
    v = map_get(p, map, KW(name));
    if (v != TERM_HOLE && v != TERM_NIL) {
        if (!term_is_symbol(v)) {
            return false;
        }
        o->name = symbol_bare(v);
    }
    return true;
}

static term_t pid_term(struct process *p, uint64_t raw)
{
    return heap_reserve(p, PID_WORDS) ? heap_pid(p, raw) : TERM_ERROR;
}

static term_t spawn_with(struct process *p, const term_t *args, unsigned argc, bool link,
                         bool monitor)
{
    struct spawn_options o = {
        .priority = 100, .name = TERM_NIL, .link = link, .monitor = monitor
    };
    uint64_t pid;
    uint64_t ref;

    if (!read_options(p, args, argc, &o)) {
        return raise_badarg(p, "spawn", args, argc);
    }
    /* The result's memory first, so that failure can't leave a stray child. */
    if (!heap_reserve(p, PID_WORDS + REF_WORDS + TUPLE_WORDS(2))) {
        return TERM_ERROR;
    }
    if (!process_spawn(p, args[0], &o, &pid, &ref)) {
        return TERM_ERROR;
    }
    if (!monitor) {
        return heap_pid(p, pid);
    }
    term_t child = heap_pid(p, pid);
    term_t r = heap_word_box(p, TAG_REF, 0, ref);
    term_t *e;
    term_t t = heap_tuple(p, 2, &e);

    e[0] = child;
    e[1] = r;
    return t;
}

static term_t spawn(struct process *p, term_t *args, unsigned argc)
{
    return spawn_with(p, args, argc, false, false);
}

static term_t spawn_link(struct process *p, term_t *args, unsigned argc)
{
    return spawn_with(p, args, argc, true, false);
}

static term_t spawn_monitor(struct process *p, term_t *args, unsigned argc)
{
    return spawn_with(p, args, argc, false, true);
}

static term_t self(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    return pid_term(p, process_pid_raw(p));
}

static term_t is_alive(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_bool(term_has_tag(args[0], TAG_PID) &&
                     process_is_alive(process_vm(p), term_pid_raw(args[0])));
}

/* ---- messages ---- */

static term_t send(struct process *p, term_t *args, unsigned argc)
{
    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "send", args, argc);
    }
    return process_send(p, term_pid_raw(args[0]), args[1]) ? KW(ok) : TERM_ERROR;
}

static term_t send_sync(struct process *p, term_t *args, unsigned argc)
{
    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "send-sync", args, argc);
    }
    uint64_t ref = realm_next_ref(process_vm(p));

    if (!heap_reserve(p, REF_WORDS) || !process_send_sync(p, term_pid_raw(args[0]), args[1], ref)) {
        return TERM_ERROR;
    }
    return heap_word_box(p, TAG_REF, 0, ref);
}

static term_t send_named(struct process *p, term_t *args, unsigned argc)
{
    if (!term_is_symbol(args[0])) {
        return raise_badarg(p, "send-named", args, argc);
    }
    uint64_t pid = registry_find(process_vm(p), symbol_bare(args[0]));

    if (pid == PID_NONE_RAW) {
        return KW(not_found);
    }
    return process_send(p, pid, args[1]) ? KW(ok) : TERM_ERROR;
}

/* ---- relations ---- */

static term_t link(struct process *p, term_t *args, unsigned argc)
{
    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "link", args, argc);
    }
    if (!process_link(p, term_pid_raw(args[0]))) {
        return TERM_ERROR;
    }
    return (p->flags & PROCESS_KILLED) != 0 ? TERM_ERROR : KW(ok);
}

static term_t unlink(struct process *p, term_t *args, unsigned argc)
{
    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "unlink", args, argc);
    }
    process_unlink(p, term_pid_raw(args[0]));
    return KW(ok);
}

static term_t monitor(struct process *p, term_t *args, unsigned argc)
{
    uint64_t ref;

    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "monitor", args, argc);
    }
    if (!heap_reserve(p, REF_WORDS) || !process_monitor(p, term_pid_raw(args[0]), &ref)) {
        return TERM_ERROR;
    }
    return heap_word_box(p, TAG_REF, 0, ref);
}

static term_t demonitor(struct process *p, term_t *args, unsigned argc)
{
    if (!term_has_tag(args[0], TAG_REF)) {
        return raise_badarg(p, "demonitor", args, argc);
    }
    process_demonitor(p, term_ptr(args[0])[1]);
    return KW(ok);
}

static term_t trap_exit(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    p->flags = (uint8_t)(term_is_truthy(args[0]) ? p->flags | PROCESS_TRAP_EXIT
                                                 : p->flags & ~PROCESS_TRAP_EXIT);
    return KW(ok);
}

static term_t exit_process(struct process *p, term_t *args, unsigned argc)
{
    if (argc == 1) {
        return raise_exit(p, args[0]);
    }
    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "exit", args, argc);
    }
    process_exit_signal(p, term_pid_raw(args[0]), args[1]);
    return (p->flags & PROCESS_KILLED) != 0 ? TERM_ERROR : KW(ok);
}

/* ---- names ---- */

static term_t register_name(struct process *p, term_t *args, unsigned argc)
{
    struct vm *vm = process_vm(p);
    uint64_t me = process_pid_raw(p);
    bool ok = term_is_symbol(args[0]) && (argc == 1 || term_has_tag(args[1], TAG_PID));
    uint64_t pid = ok && argc == 2 ? term_pid_raw(args[1]) : me;

    if (!ok || !process_is_alive(vm, pid)) {
        return raise_badarg(p, "register", args, argc);
    }
    if (pid == me) {
        struct relations *r = process_relations_get(p);

        if (r == NULL) {
            return raise_oom(p);
        }
        if (r->name != TERM_NIL || !registry_add(vm, symbol_bare(args[0]), pid)) {
            return raise_badarg(p, "register", args, argc);
        }
        r->name = symbol_bare(args[0]);
        return KW(ok);
    }
    if (!registry_add_other(p, symbol_bare(args[0]), pid)) {
        return raise_badarg(p, "register", args, argc);
    }
    return KW(ok);
}

static term_t unregister_name(struct process *p, term_t *args, unsigned argc)
{
    if (!term_is_symbol(args[0]) || !registry_remove(process_vm(p), symbol_bare(args[0]))) {
        return raise_badarg(p, "unregister", args, argc);
    }
    if (p->relations != NULL && p->relations->name == symbol_bare(args[0])) {
        p->relations->name = TERM_NIL;
    }
    return KW(ok);
}

static term_t whereis(struct process *p, term_t *args, unsigned argc)
{
    if (!term_is_symbol(args[0])) {
        return raise_badarg(p, "whereis", args, argc);
    }
    uint64_t pid = registry_find(process_vm(p), symbol_bare(args[0]));

    return pid == PID_NONE_RAW ? TERM_NIL : pid_term(p, pid);
}

/* ---- information ---- */

static term_t relation_list(struct process *p, const struct relation_table *t, bool by_value)
{
    term_t list = TERM_EMPTY;

    for (uint32_t i = 0; i < t->capacity; i++) {
        if (t->entries[i].key >= 2) {
            if (!heap_reserve(p, PID_WORDS + PAIR_WORDS)) {
                return TERM_ERROR;
            }
            list = heap_pair(p, heap_pid(p, by_value ? t->entries[i].value : t->entries[i].key - 2),
                             list);
        }
    }
    return list;
}

static term_t status_term(const struct process *p)
{
    switch (p->status) {
    case PROCESS_READY:
        return KW(ready);
    case PROCESS_WAITING:
        return KW(waiting);
    case PROCESS_EXITING:
        return KW(exiting);
    default:
        return KW(running);
    }
}

static term_t current_function(struct process *p)
{
    const struct fun *f = NULL;

    if ((p->flags & PROCESS_AT_ENTRY) == 0 && p->ip != NULL) {
        f = realm_fun_at(process_vm(p), p->ip);
    }
    return f == NULL ? TERM_NIL : f->name;
}

/* Built with the collector inhibited: it may run while the process is anywhere. */
term_t process_info_map(struct process *p)
{
    struct heap_sizes s;
    const struct process_memory *m = p->memory;
    static const struct relation_table none;
    const struct relations *r = p->relations;

    heap_sizes(p, &s);
    term_t links = relation_list(p, r == NULL ? &none : &r->links, false);
    term_t monitors = relation_list(p, r == NULL ? &none : &r->watching, true);

    if (links == TERM_ERROR || monitors == TERM_ERROR) {
        return TERM_ERROR;
    }
    uint64_t used = p->status == PROCESS_RUNNING
                        ? (uint64_t)(SLICE_REDUCTIONS - max_of(p->reductions_left, 0))
                        : 0;
    term_t items[] = {
        KW(status),
        status_term(p),
        KW(heap_size),
        term_small((int64_t)(s.young * 8)),
        KW(heap_used),
        term_small((int64_t)(s.young_used * 8)),
        KW(old_heap_size),
        term_small((int64_t)(s.old * 8)),
        KW(old_heap_used),
        term_small((int64_t)(s.old_used * 8)),
        KW(stack_size),
        term_small((int64_t)(s.stack * 8)),
        KW(minor_gc_count),
        term_small(m == NULL ? 0 : m->minor_count + m->major_count),
        KW(major_gc_count),
        term_small(m == NULL ? 0 : m->major_count),
        KW(total_reclaimed),
        term_small(m == NULL ? 0 : (int64_t)(m->reclaimed_words * 8)),
        KW(mailbox_len),
        term_small(p->mailbox_count),
        KW(priority),
        term_small(p->priority),
        KW(links),
        links,
        KW(monitors),
        monitors,
        KW(reductions),
        term_small((int64_t)(p->reductions + used)),
        KW(name),
        r == NULL ? TERM_NIL : r->name,
        KW(trap_exit),
        term_bool((p->flags & PROCESS_TRAP_EXIT) != 0),
        KW(current_fn),
        current_function(p),
    };

    return map_from_array(p, items, array_size(items) / 2);
}

void process_answer_info(struct process *p, uint64_t asker, uint64_t ref)
{
    term_t reason = p->reason;

    heap_inhibit_gc(p);
    uint8_t status = p->status;

    p->status = p->flags & PROCESS_AT_ENTRY ? PROCESS_READY : PROCESS_WAITING;
    term_t map = process_info_map(p);

    p->status = status;
    if (map != TERM_ERROR && heap_reserve(p, REF_WORDS + TUPLE_WORDS(2))) {
        term_t r = heap_word_box(p, TAG_REF, 0, ref);
        term_t *e;
        term_t t = heap_tuple(p, 2, &e);

        e[0] = r;
        e[1] = map;
        (void)!process_send(p, asker, t);
    }
    p->reason = reason; /* an answer that can't be given isn't the process's failure */
    heap_permit_gc(p);
}

/* (process-info* pid): the caller's own map; for another a ref that [ref map] will answer; nil if
 * dead. */
static term_t info(struct process *p, term_t *args, unsigned argc)
{
    uint64_t me = process_pid_raw(p);

    if (argc == 0 || (term_has_tag(args[0], TAG_PID) && term_pid_raw(args[0]) == me)) {
        heap_inhibit_gc(p);
        term_t m = process_info_map(p);

        heap_permit_gc(p);
        return m;
    }
    if (!term_has_tag(args[0], TAG_PID)) {
        return raise_badarg(p, "process-info", args, argc);
    }
    if (!heap_reserve(p, REF_WORDS)) {
        return TERM_ERROR;
    }
    uint64_t ref = realm_next_ref(process_vm(p));

    return process_ask_info(p, term_pid_raw(args[0]), ref) ? heap_word_box(p, TAG_REF, 0, ref)
                                                           : TERM_NIL;
}

static term_t process_count(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    return term_small(atomic_load_explicit(&process_vm(p)->processes.alive, memory_order_relaxed));
}

static term_t make_ref(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    return heap_reserve(p, REF_WORDS) ? heap_word_box(p, TAG_REF, 0, realm_next_ref(process_vm(p)))
                                      : TERM_ERROR;
}

static term_t pid_equal(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    for (unsigned i = 0; i < 2; i++) {
        if (!term_has_tag(args[i], TAG_PID)) {
            return raise_type(p, "pid=", i, KW(pid), args[i]);
        }
    }
    return term_bool(term_pid_raw(args[0]) == term_pid_raw(args[1]));
}

static term_t pid_local(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_has_tag(args[0], TAG_PID) ? term_small(pid_index(args[0]))
                                          : raise_type(p, "pid-local", 0, KW(pid), args[0]);
}

#define ALLOC NATIVE_ALLOCATES

static const struct native rows[] = {
    { "lona.process", "spawn", spawn, 1, 2, ALLOC, 10, "(f)\n(f opts)",
      "Start a process that calls f; its pid." },
    { "lona.process", "spawn-link", spawn_link, 1, 2, ALLOC, 10, "(f)\n(f opts)",
      "spawn, linked to the caller." },
    { "lona.process", "spawn-monitor", spawn_monitor, 1, 2, ALLOC, 10, "(f)\n(f opts)",
      "spawn, monitored: [pid ref]." },
    { "lona.process", "self", self, 0, 0, NATIVE_PURE | ALLOC, 1, "()", "The caller's pid." },
    { "lona.process", "alive?", is_alive, 1, 1, 0, 10, "(pid)", "Is the process alive?" },
    { "lona.process", "send", send, 2, 2, ALLOC, 10, "(pid msg)", "Send a copy of msg; :ok." },
    { "lona.process", "send-sync*", send_sync, 2, 2, ALLOC | NATIVE_INTERNAL, 10, "(pid msg)",
      "A ref; [:accepted ref] comes when a receive takes msg." },
    { "lona.process", "send-named", send_named, 2, 2, ALLOC, 10, "(name msg)",
      "Send to a registered name: :ok or :not-found." },
    { "lona.process", "link", link, 1, 1, ALLOC, 10, "(pid)", "Tie the two lives together." },
    { "lona.process", "unlink", unlink, 1, 1, ALLOC, 10, "(pid)", "Undo link." },
    { "lona.process", "monitor", monitor, 1, 1, ALLOC, 10, "(pid)",
      "A ref; [:DOWN ref pid reason] comes at its end." },
    { "lona.process", "demonitor", demonitor, 1, 1, ALLOC, 10, "(ref)", "Undo monitor." },
    { "lona.process", "trap-exit", trap_exit, 1, 1, 0, 10, "(bool)",
      "Get exit signals as messages?" },
    { "lona.process", "exit", exit_process, 1, 2, ALLOC, 10, "(reason)\n(pid reason)",
      "End with a reason; send an exit signal." },
    { "lona.process", "register", register_name, 1, 2, ALLOC, 10, "(name)\n(name pid)",
      "Give a process a name." },
    { "lona.process", "unregister", unregister_name, 1, 1, ALLOC, 10, "(name)", "Free a name." },
    { "lona.process", "whereis", whereis, 1, 1, ALLOC, 10, "(name)",
      "The pid of that name, or nil." },
    { "lona.process", "whereis-local", whereis, 1, 1, ALLOC, 10, "(name)",
      "The pid of that name, or nil." },
    { "lona.process", "process-info*", info, 0, 1, ALLOC | NATIVE_INTERNAL, 10, "(pid)",
      "What process-info asks." },
    { "lona.process", "process-count", process_count, 0, 0, 0, 10, "()", "Processes alive." },
    { "lona.core", "make-ref", make_ref, 0, 0, ALLOC, 5, "()", "A fresh ref." },
    { "lona.core", "pid=", pid_equal, 2, 2, NATIVE_PURE, 1, "(a b)", "The same process?" },
    { "lona.core", "pid-local", pid_local, 1, 1, NATIVE_PURE, 1, "(p)", "Its index." },
};

const struct native_table native_process = { rows, array_size(rows) };

/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, compiling and running a text, a form at a time, in one process. */
#include <string.h>

#include "data/data.h"
#include "gc/heap.h"
#include "native.h"
#include "program.h"
#include "reader/printer.h"
#include "vm_state.h"

static term_t raise_error(struct process *p)
{
    return p->reason == TERM_ERROR ? raise_oom(p) : TERM_ERROR;
}

/* Call `main` with the arguments after the script as strings. */
static term_t apply_main(struct process *p, const struct evaluation *e, bool *found)
{
    struct ns *ns = process_ns(p);
    term_t name = realm_symbol(e->vm, "main", 4);
    struct var *v = ns == NULL || name == TERM_ERROR ? NULL : ns_own(e->vm, ns, name);

    *found = v != NULL;
    if (v == NULL) {
        return TERM_NIL;
    }
    term_t list = TERM_EMPTY;
    bool ok = true;

    heap_inhibit_gc(p);
    for (int i = e->vm->argc; i-- > 0 && ok;) {
        term_t s = heap_string(p, e->vm->argv[i], strlen(e->vm->argv[i]));

        ok = s != TERM_ERROR && heap_reserve(p, PAIR_WORDS);
        list = ok ? heap_pair(p, s, list) : list;
    }
    heap_permit_gc(p);
    return ok ? native_apply(p, var_value(p, v), list) : TERM_ERROR;
}

/* The next form as a function of no arguments; TERM_NIL at the end of the text. */
static term_t next_thunk(struct process *p, struct evaluation *e)
{
    struct source *s = &e->source;
    struct reader *r = reader_create(p, s->text, s->size, s->file);

    if (r == NULL) {
        return raise_oom(p);
    }
    term_t form;
    term_t thunk = TERM_NIL;

    reader_start_at(r, s->offset, s->here);
    enum read_result got = reader_next(r, &form);

    if (got == READ_ERROR) {
        e->incomplete = reader_is_incomplete(r);
        thunk = raise_error(p);
    } else if (got == READ_FORM) {
        struct compile_source from = { .reader = r, .file = s->file, .place = reader_place(r) };
        struct code_unit u;

        code_unit_init(&u, e->vm);
        thunk = e->only_read                       ? TERM_TRUE
                : compile_form(p, &from, form, &u) ? code_link(p, &u)
                                                   : raise_error(p);
        code_unit_deinit(&u);
    }
    s->offset = reader_offset(r);
    s->here = reader_here(r);
    reader_destroy(r);
    return thunk;
}

/* One round: vm_call_body() calls it again with the value of the form. */
static term_t round_of(void *arg, struct process *p, term_t last, bool *again)
{
    struct evaluation *e = arg;

    if (last == TERM_HOLE && e->ns != NULL && !process_set_ns(p, e->ns)) {
        return TERM_ERROR;
    }
    if (e->main_called) {
        return last;
    }
    heap_inhibit_gc(p);
    term_t thunk;

    do {
        thunk = next_thunk(p, e);
    } while (thunk == TERM_TRUE); /* only_read */
    heap_permit_gc(p);
    if (thunk == TERM_ERROR) {
        return TERM_ERROR;
    }
    if (thunk != TERM_NIL) {
        *again = true;
        return native_apply(p, thunk, TERM_EMPTY);
    }
    e->ns = process_ns(p);
    if (e->call_main) {
        bool found;
        term_t t = apply_main(p, e, &found);

        e->main_called = true;
        *again = found;
        return t;
    }
    return last == TERM_HOLE ? TERM_NIL : last;
}

static void set_result(struct process *p, struct ns *core, const char *name, term_t value)
{
    struct vm *vm = process_vm(p);
    term_t symbol = realm_symbol(vm, name, strlen(name));
    struct var *v = symbol == TERM_ERROR ? NULL : ns_intern(vm, core, symbol);

    if (v != NULL) {
        var_set_root(v, value);
    }
}

static term_t result_root(struct vm *vm, struct ns *core, const char *name)
{
    term_t symbol = realm_symbol(vm, name, strlen(name));
    struct var *v = symbol == TERM_ERROR ? NULL : ns_own(vm, core, symbol);

    return v == NULL ? TERM_NIL : atomic_load_explicit(&v->root, memory_order_acquire);
}

/* *1 *2 *3 or *e; a value that can't leave its process (a buffer) is passed over. */
static void keep_result(struct process *p, term_t value, bool is_error)
{
    struct vm *vm = process_vm(p);
    struct ns *user = realm_find_ns(vm, SYM(user));
    term_t kind;
    term_t kept = user == NULL ? TERM_ERROR : realm_copy_for(p, value, &kind);

    if (kept == TERM_ERROR) {
        return;
    }
    if (is_error) {
        set_result(p, user, "*e", kept);
        return;
    }
    set_result(p, user, "*3", result_root(vm, user, "*2"));
    set_result(p, user, "*2", result_root(vm, user, "*1"));
    set_result(p, user, "*1", kept);
}

/* On the worker, before the process's heap goes. */
static void finished(void *arg, struct process *p, term_t value, bool is_error)
{
    static const struct print_options readable = { .display = false };
    struct evaluation *e = arg;
    struct vm *vm = process_vm(p);

    if (e->only_read) {
        return;
    }
    if (is_error) {
        report(vm, p, value, e->source.file, e->outcome);
    } else if (!e->no_print) {
        term_print(vm, value, &readable, text_out, &e->outcome->printed);
    }
    if (e->keep_results) {
        keep_result(p, value, is_error);
    }
}

void evaluate(struct evaluation *e, struct outcome *out)
{
    *out = (struct outcome){ 0 };
    e->outcome = out;
    e->ns = e->ns != NULL ? e->ns : realm_find_ns(e->vm, SYM(user));
    e->incomplete = false;
    e->main_called = false;
    out->status = vm_call_body(e->vm, round_of, e, finished, e);
    out->incomplete = e->incomplete;
    if (out->status < 0) {
        text_put_string(&out->printed, ":oom: no memory for a process");
    }
}

void outcome_deinit(struct outcome *o)
{
    text_deinit(&o->printed);
}

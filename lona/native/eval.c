/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading, expanding, compiling and loading (section 6.1). What runs code is a tail call into it,
 * so that evaluated code is preempted and collected like any other. Loops over forms are Lonala
 * (lib/lona/core.lona); the natives here make single steps.
 */
#include "compiler/compiler.h"
#include "data/data.h"
#include "native.h"
#include "vm_state.h"

/* ---- text arguments ---- */

/* The bytes of a string or binary; the collector must be inhibited while they are used. */
static bool text_argument(term_t t, struct bytes_view *out)
{
    if (term_is_string(t)) {
        *out = (struct bytes_view){ (const uint8_t *)string_data(t), string_bytes(t) };
        return true;
    }
    if (term_is_binary(t)) {
        *out = binary_view(t);
        return true;
    }
    return false;
}

static term_t read_first(struct process *p, struct bytes_view text)
{
    struct reader *r = reader_create(p, (const char *)text.data, text.size, NULL);
    term_t form = TERM_NIL;

    if (r == NULL) {
        return raise_oom(p);
    }
    switch (reader_next(r, &form)) {
    case READ_FORM:
        break;
    case READ_END:
        form = TERM_NIL;
        break;
    case READ_ERROR:
        form = TERM_ERROR;
        break;
    }
    reader_destroy(r);
    return form;
}

static term_t read_string(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_string(args[0])) {
        return raise_type(p, "read-string", 0, KW(string), args[0]);
    }
    heap_inhibit_gc(p);
    struct bytes_view text = { (const uint8_t *)string_data(args[0]), string_bytes(args[0]) };

    process_charge(p, text.size / 16);
    term_t t = read_first(p, text);

    heap_permit_gc(p);
    return t;
}

/* ---- expanding ---- */

static term_t expand_with(struct process *p, term_t form, term_t (*step)(struct process *, term_t))
{
    heap_inhibit_gc(p);
    term_t t = step(p, form);

    heap_permit_gc(p);
    return t;
}

static term_t expand_once(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return expand_with(p, args[0], macroexpand_1);
}

static term_t expand_outermost(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return expand_with(p, args[0], macroexpand);
}

/* ---- evaluating ---- */

/* The FUN whose call evaluates the form. The collector is inhibited. */
static term_t compile_thunk(struct process *p, const struct compile_source *source, term_t form)
{
    struct code_unit u;

    code_unit_init(&u, process_vm(p));
    bool ok = compile_form(p, source, form, &u);

    if (ok && u.out_of_memory) {
        (void)raise_oom(p);
        ok = false;
    }
    term_t fun = ok ? code_link(p, &u) : TERM_ERROR;

    code_unit_deinit(&u);
    return fun;
}

static bool is_sequence(term_t form)
{
    return term_is_list(form) && pair_head(form) == SYM(do) && term_is_list(pair_rest(form)) &&
           list_length(form) > 2;
}

/* A function of lona.core written in Lonala; nil while the library isn't there. */
static term_t library_function(struct process *p, const char *name)
{
    struct vm *vm = process_vm(p);
    struct ns *core = realm_find_ns(vm, SYM(lona_core));
    term_t symbol = realm_symbol(vm, name, __builtin_strlen(name));
    struct var *v = core == NULL || symbol == 0 ? NULL : ns_own(vm, core, symbol);
    term_t f = v == NULL ? TERM_UNBOUND : var_value(p, v);

    return f == TERM_UNBOUND ? TERM_NIL : f;
}

static term_t eval_form(struct process *p, term_t form)
{
    static const struct compile_source nowhere = { 0 };

    form = macroexpand(p, form);
    if (form == TERM_ERROR) {
        return TERM_ERROR;
    }
    term_t sequence = is_sequence(form) ? library_function(p, "eval-sequence*") : TERM_NIL;

    if (sequence != TERM_NIL) {
        if (!heap_reserve(p, PAIR_WORDS)) {
            return TERM_ERROR;
        }
        return native_apply(p, sequence, heap_pair(p, pair_rest(form), TERM_EMPTY));
    }
    term_t thunk = compile_thunk(p, &nowhere, form);

    return thunk == TERM_ERROR ? TERM_ERROR : native_apply(p, thunk, TERM_EMPTY);
}

static term_t eval(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    heap_inhibit_gc(p);
    term_t t = eval_form(p, args[0]);

    heap_permit_gc(p);
    return t;
}

/* ---- loading ---- */

enum {
    FILE_NAME_MAX = 4096
};

struct load {
    struct bytes_view text;
    char file[FILE_NAME_MAX];
    uint64_t offset;
    uint64_t line;
    uint64_t column;
};

static bool load_arguments(struct process *p, const term_t *args, struct load *l)
{
    l->file[0] = '\0';
    if (!text_argument(args[0], &l->text) || !arg_size(args[2], l->text.size, &l->offset) ||
        !arg_size(args[3], UINT32_MAX, &l->line) || !arg_size(args[4], UINT32_MAX, &l->column)) {
        (void)raise_badarg(p, "load-step*", args, 1);
        return false;
    }
    if (term_is_string(args[1]) && string_bytes(args[1]) < FILE_NAME_MAX) {
        __builtin_memcpy(l->file, string_data(args[1]), string_bytes(args[1]));
        l->file[string_bytes(args[1])] = '\0';
    }
    return true;
}

/* [what offset line column]: what is a thunk, or the list of the forms of a do. */
static term_t load_result(struct process *p, const struct reader *r, term_t what)
{
    struct place here = reader_here(r);
    term_t *e;

    if (!heap_reserve(p, TUPLE_WORDS(4))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, 4, &e);

    e[0] = what;
    e[1] = term_small((int64_t)reader_offset(r));
    e[2] = term_small(here.line);
    e[3] = term_small(here.column);
    return t;
}

static term_t load_form(struct process *p, struct reader *r, term_t form)
{
    const struct compile_source source = { .reader = r,
                                           .file = reader_file(r),
                                           .place = reader_place(r) };
    term_t expanded = macroexpand(p, form);

    if (expanded == TERM_ERROR) {
        return TERM_ERROR;
    }
    term_t what = is_sequence(expanded) ? pair_rest(expanded) : compile_thunk(p, &source, expanded);

    return what == TERM_ERROR ? TERM_ERROR : load_result(p, r, what);
}

static term_t load_next(struct process *p, const struct load *l)
{
    struct reader *r = reader_create(p, (const char *)l->text.data, l->text.size,
                                     l->file[0] == '\0' ? NULL : l->file);
    term_t form;
    term_t t = TERM_NIL;

    if (r == NULL) {
        return raise_oom(p);
    }
    reader_start_at(r, (size_t)l->offset, (struct place){ (uint32_t)l->line, (uint32_t)l->column });
    switch (reader_next(r, &form)) {
    case READ_FORM:
        t = load_form(p, r, form);
        break;
    case READ_END:
        break;
    case READ_ERROR:
        t = TERM_ERROR;
        break;
    }
    reader_destroy(r);
    return t;
}

/* (load-step* text file offset line column): the next form compiled, nil at the end. */
static term_t load_step(struct process *p, term_t *args, unsigned argc)
{
    struct load l;

    (void)argc;
    heap_inhibit_gc(p);
    term_t t = load_arguments(p, args, &l) ? load_next(p, &l) : TERM_ERROR;

    heap_permit_gc(p);
    return t;
}

/* (file-text* path): the bytes of a file; :file-not-found. */
static term_t file_text(struct process *p, term_t *args, unsigned argc)
{
    const struct platform *pf = vm_platform(process_vm(p));
    uint8_t *data;
    size_t size;

    (void)argc;
    if (!term_is_string(args[0])) {
        return raise_type(p, "load-file", 0, KW(string), args[0]);
    }
    if (pf->file_read(pf->self, string_data(args[0]), string_bytes(args[0]), &data, &size) !=
        PLATFORM_OK) {
        return raise(p, KW(file_not_found), 1, KW(file), args[0]);
    }
    term_t t = heap_binary(p, data, size);

    pf->file_free(pf->self, data, size);
    return t;
}

#define ALLOC NATIVE_ALLOCATES
#define RUNS  (NATIVE_ALLOCATES | NATIVE_YIELDS)
#define INNER (NATIVE_ALLOCATES | NATIVE_INTERNAL)

static const struct native rows[] = {
    { "lona.core", "read-string", read_string, 1, 1, ALLOC, 10, "(s)",
      "The first form in the text, nil if there is none." },
    { "lona.core", "eval", eval, 1, 1, RUNS, 10, "(form)", "The value of the form." },
    { "lona.core", "macroexpand-1", expand_once, 1, 1, ALLOC, 10, "(form)",
      "One step of macro expansion." },
    { "lona.core", "macroexpand", expand_outermost, 1, 1, ALLOC, 10, "(form)",
      "Expand until the outermost form is no macro call." },
    { "lona.core", "load-step*", load_step, 5, 5, INNER, 10, "(text file offset line column)",
      "The next form of a text, compiled." },
    { "lona.core", "file-text*", file_text, 1, 1, INNER, 10, "(path)", "The bytes of a file." },
};

const struct native_table native_eval = { rows, array_size(rows) };

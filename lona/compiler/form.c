/* SPDX-License-Identifier: Apache-2.0 */
/* Forms that are neither calls nor matches: literals, names, do, quote, var, def; macro expansion.
 */
#include "compiler/state.h"

#include "data/data.h"

/* ---- constants ---- */

enum {
    CONSTANT_DEPTH_MAX = 64
};

static bool is_constant_within(term_t t, unsigned depth)
{
    if (!term_is_pointer(t)) {
        return !term_is_symbol_word(t);
    }
    if (term_is_list(t) || term_has_tag(t, TAG_NOTED) || depth == 0) {
        return false;
    }
    if (term_is_tuple(t)) {
        for (size_t i = 0; i < tuple_count(t); i++) {
            if (!is_constant_within(tuple_get(t, i), depth - 1)) {
                return false;
            }
        }
    } else if (term_is_vector(t)) {
        for (size_t i = 0; i < vector_count(t); i++) {
            if (!is_constant_within(vector_get(t, i), depth - 1)) {
                return false;
            }
        }
    } else if (term_is_map(t) || term_is_set(t)) {
        struct map_cursor k;

        for (map_first(&k, t); !k.done; map_next(&k)) {
            if (!is_constant_within(k.key, depth - 1) || !is_constant_within(k.value, depth - 1)) {
                return false;
            }
        }
    }
    return true;
}

bool is_constant(term_t form)
{
    return is_constant_within(form, CONSTANT_DEPTH_MAX);
}

static bool compile_constant(struct compiler *c, term_t t, struct dest d)
{
    unsigned slot;

    return dest_slot(c, d, &slot) && emit_load(c, slot, t) && finish_dest(c, d, slot);
}

/* ---- collections ---- */

static bool compile_element(struct compiler *c, const term_t *at)
{
    unsigned slot;

    return slot_new(c, &slot) && compile_at(c, at, (struct dest){ .slot = slot });
}

static bool compile_entries(struct compiler *c, term_t form)
{
    struct map_cursor k;

    for (map_first(&k, form); !k.done; map_next(&k)) {
        term_t key = k.key;
        term_t value = k.value;

        if (!compile_element(c, &key) || (term_is_map(form) && !compile_element(c, &value))) {
            return false;
        }
    }
    return true;
}

static bool compile_elements(struct compiler *c, term_t form, size_t *count)
{
    if (term_is_tuple(form)) {
        *count = tuple_count(form);
        for (size_t i = 0; i < *count; i++) {
            if (!compile_element(c, term_ptr(form) + 1 + i)) {
                return false;
            }
        }
        return true;
    }
    if (term_is_vector(form)) {
        *count = vector_count(form);
        for (size_t i = 0; i < *count; i++) {
            term_t element = vector_get(form, i);
            const term_t *at = *count <= VECTOR_SMALL_MAX ? term_ptr(form) + 1 + i : &element;

            if (!compile_element(c, at)) {
                return false;
            }
        }
        return true;
    }
    *count = term_is_map(form) ? map_count(form) : set_count(form);
    return compile_entries(c, form);
}

static bool compile_collection(struct compiler *c, term_t form, struct dest d)
{
    enum op op = term_is_tuple(form)    ? OP_TUPLE
                 : term_is_vector(form) ? OP_VECTOR
                 : term_is_map(form)    ? OP_MAP
                                        : OP_SET;
    unsigned top = c->fn->top;
    unsigned slot;

    if (!dest_slot(c, d, &slot)) {
        return false;
    }
    unsigned base = c->fn->top;
    size_t n;

    if (!compile_elements(c, form, &n)) {
        return false;
    }
    emit(c, op, slot, n == 0 ? 0 : base, (unsigned)n);
    emit_word(c, 0);
    c->fn->top = top;
    return finish_dest(c, d, slot);
}

/* ---- names ---- */

static bool compile_global(struct compiler *c, term_t symbol, struct dest d)
{
    struct var *v = ns_resolve(c->vm, c->ns, symbol);
    unsigned top = c->fn->top;
    unsigned slot;

    if (v == NULL) {
        return compile_fail(c, KW(undefined), symbol, "nothing has this name");
    }
    if (c->guard_depth != 0) {
        return syntax_error(c, symbol, "a guard sees only local names");
    }
    if (!dest_slot(c, d, &slot)) {
        return false;
    }
    emit(c, OP_VAR_GET, slot, 0, 0);
    emit_constant_word(c, var_term(v));
    c->fn->top = top;
    return finish_dest(c, d, slot);
}

static bool compile_symbol(struct compiler *c, term_t symbol, struct dest d)
{
    struct name_ref ref = name_find(c, symbol);
    unsigned slot;

    switch (ref.kind) {
    case NAME_SLOT:
        return finish_dest(c, d, ref.index);
    case NAME_CAPTURE:
        if (!dest_slot(c, d, &slot)) {
            return false;
        }
        emit(c, OP_CAPTURE, slot, 0, ref.index);
        return finish_dest(c, d, slot);
    case NAME_GLOBAL:
        return compile_global(c, symbol, d);
    case NAME_NO_MEMORY:
        break;
    }
    return false;
}

/* ---- special heads ---- */

bool compile_body(struct compiler *c, term_t forms, struct dest d)
{
    if (forms == TERM_EMPTY) {
        return compile_constant(c, TERM_NIL, d);
    }
    for (; term_is_list(forms); forms = pair_rest(forms)) {
        unsigned top = c->fn->top;
        bool last = !term_is_list(pair_rest(forms));
        struct dest to = d;

        if (!last) {
            to.tail = false;
            if (!slot_new(c, &to.slot)) {
                return false;
            }
        }
        if (!compile_at(c, term_ptr(forms), to)) {
            return false;
        }
        c->fn->top = top;
    }
    return true;
}

static bool compile_quote(struct compiler *c, term_t form, struct dest d)
{
    if (list_length(form) != 2) {
        return syntax_error(c, form, "quote takes one form");
    }
    return compile_constant(c, pair_head(pair_rest(form)), d);
}

static bool compile_var(struct compiler *c, term_t form, struct dest d)
{
    if (list_length(form) != 2 || !term_is_symbol(pair_head(pair_rest(form)))) {
        return syntax_error(c, form, "var takes one symbol");
    }
    struct var *v = ns_resolve(c->vm, c->ns, symbol_bare(pair_head(pair_rest(form))));

    if (v == NULL) {
        return compile_fail(c, KW(undefined), pair_head(pair_rest(form)), "nothing has this name");
    }
    return c->guard_depth != 0 ? syntax_error(c, form, "not in a guard")
                               : compile_constant(c, var_term(v), d);
}

/* The symbol as the current namespace calls it; TERM_ERROR when it belongs to another one. */
static term_t own_name(struct compiler *c, term_t symbol)
{
    term_t ns;
    term_t name;

    realm_split(c->vm, symbol, &ns, &name);
    return ns == TERM_NIL || ns == ns_name(c->ns) ? name : TERM_ERROR;
}

static bool put_entry(struct compiler *c, term_t *map, term_t key, term_t value)
{
    *map = map_put(c->p, map, &key, &value);
    return *map != TERM_ERROR;
}

/* A form whose value needs no code; *out is the value. */
static bool constant_value(term_t form, term_t *out)
{
    if (term_is_list(form) && pair_head(form) == SYM(quote) && list_length(form) == 2) {
        *out = pair_head(pair_rest(form));
        return true;
    }
    *out = form;
    return is_constant(form);
}

/* A map form whose entries are all constant, as (quote map); any other stays as it is. */
static bool fold_map(struct compiler *c, term_t *form)
{
    term_t folded = map_empty(c->vm);
    struct map_cursor k;

    for (map_first(&k, *form); !k.done; map_next(&k)) {
        term_t key = k.key;
        term_t value;

        if (!is_constant(key) || !constant_value(k.value, &value)) {
            return true;
        }
        if (!put_entry(c, &folded, key, value)) {
            return false;
        }
    }
    if (!heap_reserve(c->p, 2 * PAIR_WORDS)) {
        return false;
    }
    *form = heap_pair(c->p, SYM(quote), heap_pair(c->p, folded, TERM_EMPTY));
    return true;
}

/* The metadata form of a def: what the name carries, and where it stands. */
static bool def_metadata(struct compiler *c, term_t name, term_t *out)
{
    term_t meta = term_meta(name) == TERM_NIL ? map_empty(c->vm) : term_meta(name);

    if (c->source->file != NULL) {
        term_t file = heap_string(c->p, c->source->file, __builtin_strlen(c->source->file));

        if (file == TERM_ERROR || !put_entry(c, &meta, KW(file), file)) {
            return false;
        }
    }
    if (c->place.line != 0 && !put_entry(c, &meta, KW(line), term_small(c->place.line))) {
        return false;
    }
    *out = meta;
    return fold_map(c, out);
}

/* One of the natives that def uses: (native var value), the value compiled from *form. */
static bool def_step(struct compiler *c, const char *native, term_t var, const term_t *form,
                     struct dest d)
{
    unsigned top = c->fn->top;
    unsigned window;
    unsigned slot;
    unsigned result;

    if (!slot_new(c, &slot) || !slot_new(c, &window) || !slot_new(c, &slot) ||
        !emit_load(c, slot, var) || !slot_new(c, &slot) ||
        !compile_at(c, form, (struct dest){ .slot = slot })) {
        return false;
    }
    result = d.tail ? window : d.slot;
    if (!emit_native(c, native, window, 2, result)) {
        return false;
    }
    c->fn->top = top;
    return finish_dest(c, d, result);
}

/* The value is in a slot already: def-root with it. */
static bool def_store(struct compiler *c, term_t var, unsigned value, struct dest d)
{
    unsigned top = c->fn->top;
    unsigned window;
    unsigned slot;

    if (!slot_new(c, &slot) || !slot_new(c, &window) || !slot_new(c, &slot) ||
        !emit_load(c, slot, var) || !slot_new(c, &slot)) {
        return false;
    }
    emit(c, OP_MOVE, slot, value, 0);
    unsigned result = d.tail ? window : d.slot;

    if (!emit_native(c, "def-root", window, 2, result)) {
        return false;
    }
    c->fn->top = top;
    return finish_dest(c, d, result);
}

static bool compile_def_value(struct compiler *c, term_t form, term_t name, term_t var,
                              struct dest d)
{
    bool has_value = pair_rest(pair_rest(form)) != TERM_EMPTY;
    unsigned top = c->fn->top;
    unsigned value;
    unsigned scratch;
    term_t meta;

    if (!slot_new(c, &value) || !slot_new(c, &scratch) || !def_metadata(c, name, &meta)) {
        return false;
    }
    if (has_value) {
        const term_t *at = term_ptr(pair_rest(pair_rest(form)));

        c->def_name = realm_qualify(c->vm, ns_name(c->ns), term_var(var)->name);
        bool ok = c->def_name != TERM_ERROR && compile_at(c, at, (struct dest){ .slot = value });

        c->def_name = TERM_NIL;
        if (!ok || !def_step(c, "def-meta", var, &meta, (struct dest){ .slot = scratch }) ||
            !def_store(c, var, value, d)) {
            return false;
        }
    } else if (!def_step(c, "def-meta", var, &meta, d)) {
        return false;
    }
    c->fn->top = top;
    return true;
}

static bool compile_def(struct compiler *c, term_t form, struct dest d)
{
    int64_t n = list_length(form);
    term_t name = n < 2 ? TERM_NIL : pair_head(pair_rest(form));

    if (n < 2 || n > 3 || !term_is_symbol(name)) {
        return syntax_error(c, form, "def takes a symbol and at most one value");
    }
    term_t own = own_name(c, symbol_bare(name));

    if (own == TERM_ERROR) {
        return syntax_error(c, form, "def defines names of the current namespace only");
    }
    if (c->guard_depth != 0) {
        return syntax_error(c, form, "not in a guard");
    }
    struct var *v = ns_intern(c->vm, c->ns, own);

    if (v == NULL) {
        (void)raise_oom(c->p);
        return false;
    }
    return compile_def_value(c, form, name, var_term(v), d);
}

/* ---- macros ---- */

static struct var *macro_of(struct vm *vm, struct ns *ns, term_t form)
{
    if (!term_is_list(form) || !term_is_symbol(pair_head(form))) {
        return NULL;
    }
    struct var *v = ns_resolve(vm, ns, symbol_bare(pair_head(form)));

    return v != NULL && (atomic_load_explicit(&v->flags, memory_order_acquire) & VAR_MACRO) != 0
               ? v
               : NULL;
}

static bool is_special(term_t symbol)
{
    return symbol == SYM(def) || symbol == SYM(fn_star) || symbol == SYM(match) ||
           symbol == SYM(do) || symbol == SYM(quote) || symbol == SYM(var) ||
           symbol == SYM(receive);
}

static term_t apply_native(struct vm *vm, struct process *p)
{
    term_t name = realm_symbol(vm, "apply", 5);
    struct ns *core = realm_find_ns(vm, SYM(lona_core));
    struct var *v = name == 0 || core == NULL ? NULL : ns_own(vm, core, name);

    return v == NULL ? TERM_NIL : var_value(p, v);
}

static term_t run_macro(struct process *p, struct var *v, term_t form)
{
    term_t fn = var_value(p, v);
    term_t args[2] = { fn, pair_rest(form) };

    if (fn == TERM_UNBOUND) {
        return raise(p, KW(undef), 1, KW(var), var_term(v));
    }
    return native_run(p, apply_native(process_vm(p), p), args, 2, MACRO_REDUCTIONS);
}

term_t macroexpand_1(struct process *p, term_t form)
{
    struct vm *vm = process_vm(p);
    struct ns *ns = process_ns(p);

    if (!term_is_list(form) || is_special(pair_head(form))) {
        return form;
    }
    struct var *v = macro_of(vm, ns, form);

    return v == NULL ? form : run_macro(p, v, form);
}

term_t macroexpand(struct process *p, term_t form)
{
    for (unsigned i = 0; i < EXPANSIONS_MAX; i++) {
        term_t next = macroexpand_1(p, form);

        if (next == TERM_ERROR || next == form) {
            return next;
        }
        form = next;
    }
    return raise(p, KW(macro_timeout), 1, KW(form), form);
}

static bool is_local_head(struct compiler *c, term_t form)
{
    return name_find(c, symbol_bare(pair_head(form))).kind != NAME_GLOBAL;
}

bool expand(struct compiler *c, term_t *form)
{
    for (unsigned i = 0; i < EXPANSIONS_MAX; i++) {
        term_t f = *form;

        if (!term_is_list(f) || !term_is_symbol(pair_head(f)) || is_special(pair_head(f)) ||
            is_local_head(c, f)) {
            return true;
        }
        struct var *v = macro_of(c->vm, c->ns, f);

        if (v == NULL) {
            return true;
        }
        *form = run_macro(c->p, v, f);
        if (*form == TERM_ERROR) {
            return false;
        }
    }
    return compile_fail(c, KW(macro_timeout), *form, "the macro never stops expanding");
}

const struct native *native_head(struct compiler *c, term_t form, term_t *constant)
{
    if (!term_is_list(form) || !term_is_symbol(pair_head(form)) || is_special(pair_head(form)) ||
        is_local_head(c, form)) {
        return NULL;
    }
    struct var *v = ns_resolve(c->vm, c->ns, symbol_bare(pair_head(form)));

    if (v == NULL || (atomic_load_explicit(&v->flags, memory_order_acquire) &
                      (VAR_MACRO | VAR_PROCESS_BOUND)) != 0) {
        return NULL;
    }
    *constant = atomic_load_explicit(&v->root, memory_order_acquire);
    return term_is_native(*constant) ? native_by_id(native_id(*constant)) : NULL;
}

/* ---- dispatch ---- */

static bool compile_list(struct compiler *c, term_t form, struct dest d)
{
    term_t head = pair_head(form);

    if (list_length(form) < 0) {
        return syntax_error(c, form, "an improper list is no form");
    }
    if (head == SYM(quote)) {
        return compile_quote(c, form, d);
    }
    if (head == SYM(do)) {
        return compile_body(c, pair_rest(form), d);
    }
    if (head == SYM(match)) {
        return compile_match(c, form, d);
    }
    if (head == SYM(fn_star)) {
        return compile_fn(c, form, d);
    }
    if (head == SYM(def)) {
        return compile_def(c, form, d);
    }
    if (head == SYM(var)) {
        return compile_var(c, form, d);
    }
    if (head == SYM(receive)) {
        return compile_receive(c, form, d);
    }
    if (head == SYM(core_bytes)) {
        return compile_bytes(c, form, d);
    }
    if (head == SYM(core_bits)) {
        return compile_bits(c, form, d);
    }
    return compile_call(c, form, d);
}

static bool compile_inside(struct compiler *c, term_t form, struct dest d)
{
    if (!expand(c, &form)) {
        return false;
    }
    if (term_is_list(form)) {
        if (pair_head(form) != SYM(fn_star)) {
            c->def_name = TERM_NIL;
        }
        return compile_list(c, form, d);
    }
    c->def_name = TERM_NIL;
    if (term_is_symbol(form)) {
        return compile_symbol(c, symbol_bare(form), d);
    }
    return is_constant(form) || form == TERM_EMPTY ? compile_constant(c, form, d)
                                                   : compile_collection(c, form, d);
}

bool compile(struct compiler *c, term_t form, struct dest d)
{
    struct place outside = c->place;
    struct place own = c->source->reader == NULL ? (struct place){ 0, 0 }
                                                 : reader_place_of(c->source->reader, form);
    unsigned top = c->fn->top;

    if (c->depth == COMPILE_DEPTH_MAX) {
        return compile_fail(c, KW(too_complex), TERM_NIL, "forms are nested too deeply");
    }
    if (own.line != 0) {
        c->place = own;
    }
    c->depth++;
    bool ok = compile_inside(c, form, d);

    c->depth--;
    c->fn->top = top;
    c->place = outside;
    return ok;
}

bool compile_at(struct compiler *c, const term_t *slot, struct dest d)
{
    struct place outside = c->place;
    struct place own = c->source->reader == NULL ? (struct place){ 0, 0 }
                                                 : reader_place_of_slot(c->source->reader, slot);

    if (own.line != 0) {
        c->place = own;
    }
    bool ok = compile(c, *slot, d);

    c->place = outside;
    return ok;
}

bool compile_operand(struct compiler *c, const term_t *form, unsigned *slot)
{
    if (term_is_symbol(*form)) {
        struct name_ref ref = name_find(c, symbol_bare(*form));

        if (ref.kind == NAME_SLOT) {
            *slot = ref.index;
            return true;
        }
    }
    return slot_new(c, slot) && compile_at(c, form, (struct dest){ .slot = *slot });
}

bool compile_form(struct process *p, const struct compile_source *source, term_t form,
                  struct code_unit *u)
{
    struct compiler c = { .p = p,
                          .vm = process_vm(p),
                          .ns = process_ns(p),
                          .source = source,
                          .u = u,
                          .place = source->place,
                          .def_name = TERM_NIL };
    struct fn f;

    assert(p->gc_inhibit > 0);
    if (source->file != NULL) {
        term_t file = realm_symbol(c.vm, source->file, __builtin_strlen(source->file));

        u->file = file == 0 ? TERM_NIL : file;
    }
    bool ok = fn_begin(&c, &f) && compile(&c, form, (struct dest){ .tail = true }) && fn_end(&c);

    fn_deinit(&c, &f);
    pool_deinit(&c);
    return ok;
}

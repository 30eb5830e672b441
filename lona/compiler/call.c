/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls. Arguments are compiled straight into the window that the callee will see as its frame.
 * Natives are bound when the caller is compiled; the common ones are instructions.
 */
#include "compiler/state.h"

#include "data/data.h"

static bool text_is(const char *a, const char *b)
{
    return __builtin_strcmp(a, b) == 0;
}

/* ---- natives that are instructions ---- */

static const struct inline_op {
    const char *name;
    unsigned argc;
    enum op op;
    enum op with_int; /* OP_COUNT: none */
    bool commutes;
} inline_ops[] = {
    { "+", 2, OP_ADD, OP_ADD_INT, true },  { "-", 2, OP_SUB, OP_SUB_INT, false },
    { "*", 2, OP_MUL, OP_COUNT, false },   { "quot", 2, OP_QUOT, OP_COUNT, false },
    { "rem", 2, OP_REM, OP_COUNT, false }, { "mod", 2, OP_MOD, OP_COUNT, false },
    { "<", 2, OP_LT, OP_COUNT, false },    { "<=", 2, OP_LE, OP_COUNT, false },
    { ">", 2, OP_GT, OP_COUNT, false },    { ">=", 2, OP_GE, OP_COUNT, false },
    { "=", 2, OP_EQ, OP_COUNT, false },    { "not", 1, OP_NOT, OP_COUNT, false },
};

static const struct inline_op *inline_op_of(const struct native *n, int64_t argc)
{
    if (!text_is(n->ns, "lona.core")) {
        return NULL;
    }
    for (size_t i = 0; i < array_size(inline_ops); i++) {
        if (inline_ops[i].argc == argc && text_is(inline_ops[i].name, n->name)) {
            return &inline_ops[i];
        }
    }
    return NULL;
}

static bool is_short_int(term_t t)
{
    return term_is_small(t) && small_value(t) >= INT16_MIN && small_value(t) <= INT16_MAX;
}

/* ADD, SUB, ... end with a safepoint word; comparisons don't. */
static void emit_inline(struct compiler *c, enum op op, unsigned a, unsigned b, unsigned operand_c)
{
    emit(c, op, a, b, operand_c);
    if (op_info[op].words > 1) {
        emit_word(c, 0);
    }
}

static bool compile_inline(struct compiler *c, const struct inline_op *o, term_t form,
                           struct dest d)
{
    const term_t *first = term_ptr(pair_rest(form));
    const term_t *second = o->argc == 2 ? term_ptr(first[1]) : NULL;
    unsigned a;
    unsigned b;
    unsigned result;

    if (second != NULL && o->commutes && is_short_int(*first) && !is_short_int(*second)) {
        const term_t *swap = first;

        first = second;
        second = swap;
    }
    if (!dest_slot(c, d, &result) || !compile_operand(c, first, &a)) {
        return false;
    }
    if (second == NULL) {
        emit_inline(c, o->op, result, a, 0);
    } else if (o->with_int != OP_COUNT && is_short_int(*second)) {
        emit_inline(c, o->with_int, result, a, (uint16_t)(int16_t)small_value(*second));
    } else {
        if (!compile_operand(c, second, &b)) {
            return false;
        }
        emit_inline(c, o->op, result, a, b);
    }
    return finish_dest(c, d, result);
}

/* ---- windows ---- */

/* The free slot below a window, then its slot 0. */
static bool window_new(struct compiler *c, unsigned *window)
{
    unsigned below;

    return slot_new(c, &below) && slot_new(c, window);
}

static bool compile_arguments(struct compiler *c, term_t form, unsigned *argc)
{
    *argc = 0;
    for (term_t l = pair_rest(form); term_is_list(l); l = pair_rest(l), ++*argc) {
        unsigned slot;

        if (!slot_new(c, &slot) || !compile_at(c, term_ptr(l), (struct dest){ .slot = slot })) {
            return false;
        }
    }
    return true;
}

static unsigned call_result(struct dest d)
{
    return d.tail ? 0 : d.slot;
}

static bool call_native(struct compiler *c, term_t form, term_t native, struct dest d)
{
    unsigned window;
    unsigned argc;

    if (!window_new(c, &window) || !compile_arguments(c, form, &argc)) {
        return false;
    }
    /* A guard that fails must still be on the stack: no tail call there. */
    emit(c, d.tail ? OP_TAIL_NATIVE : OP_NATIVE, window, argc, call_result(d));
    emit_constant_word(c, native);
    emit_word(c, 0);
    return true;
}

static bool call_var(struct compiler *c, term_t form, struct var *v, struct dest d)
{
    unsigned window;
    unsigned argc;

    if (!window_new(c, &window) || !compile_arguments(c, form, &argc)) {
        return false;
    }
    emit(c, d.tail ? OP_TAIL_VAR : OP_CALL_VAR, window, argc, call_result(d));
    emit_constant_word(c, var_term(v));
    if (!d.tail) {
        emit_word(c, 0);
    }
    return true;
}

static bool call_self(struct compiler *c, term_t form, struct dest d)
{
    unsigned window;
    unsigned argc;

    if (!window_new(c, &window) || !compile_arguments(c, form, &argc)) {
        return false;
    }
    emit(c, d.tail ? OP_TAIL_SELF : OP_CALL_SELF, window, argc, call_result(d));
    emit_word(c, c->fn->index);
    if (!d.tail) {
        emit_word(c, 0);
    }
    return true;
}

static bool call_value(struct compiler *c, term_t form, struct dest d)
{
    unsigned window;
    unsigned argc;

    if (c->guard_depth != 0) {
        return syntax_error(c, form, "a guard calls pure natives only");
    }
    if (!window_new(c, &window) ||
        !compile_at(c, term_ptr(form), (struct dest){ .slot = window }) ||
        !compile_arguments(c, form, &argc)) {
        return false;
    }
    emit(c, d.tail ? OP_TAIL : OP_CALL, window, argc, call_result(d));
    if (!d.tail) {
        emit_word(c, 0);
    }
    return true;
}

static bool is_self(struct compiler *c, term_t head, int64_t argc)
{
    if (!c->fn->has_self || c->fn->variadic || argc != c->fn->params) {
        return false;
    }
    struct name_ref ref = name_find(c, symbol_bare(head));

    return ref.kind == NAME_SLOT && ref.index == 0;
}

static bool call_global(struct compiler *c, term_t form, int64_t argc, struct dest d)
{
    term_t head = pair_head(form);
    struct var *v = ns_resolve(c->vm, c->ns, symbol_bare(head));
    term_t native;

    if (v == NULL) {
        struct place own = c->source->reader == NULL
                               ? (struct place){ 0, 0 }
                               : reader_place_of_slot(c->source->reader, term_ptr(form));

        c->place = own.line != 0 ? own : c->place;
        return compile_fail(c, KW(undefined), head, "nothing has this name");
    }
    const struct native *n = native_head(c, form, &native);

    if (c->guard_depth != 0 && (n == NULL || (n->flags & NATIVE_PURE) == 0)) {
        return syntax_error(c, form, "a guard calls pure natives only");
    }
    if (n == NULL) {
        return call_var(c, form, v, d);
    }
    const struct inline_op *o = inline_op_of(n, argc);

    return o != NULL ? compile_inline(c, o, form, d) : call_native(c, form, native, d);
}

bool compile_call(struct compiler *c, term_t form, struct dest d)
{
    term_t head = pair_head(form);
    int64_t argc = list_length(form) - 1;

    if (!term_is_symbol(head)) {
        return call_value(c, form, d);
    }
    switch (name_find(c, symbol_bare(head)).kind) {
    case NAME_GLOBAL:
        return call_global(c, form, argc, d);
    case NAME_NO_MEMORY:
        return false;
    case NAME_SLOT:
    case NAME_CAPTURE:
        break;
    }
    return c->guard_depth == 0 && is_self(c, head, argc) ? call_self(c, form, d)
                                                         : call_value(c, form, d);
}

bool emit_native(struct compiler *c, const char *name, unsigned window, unsigned argc,
                 unsigned result)
{
    struct ns *core = realm_find_ns(c->vm, SYM(lona_core));
    term_t symbol = realm_symbol(c->vm, name, __builtin_strlen(name));
    struct var *v = core == NULL || symbol == 0 ? NULL : ns_own(c->vm, core, symbol);
    term_t native = v == NULL ? TERM_NIL : atomic_load_explicit(&v->root, memory_order_acquire);

    if (!term_is_native(native)) {
        return compile_fail(c, KW(unknown_intrinsic), symbol, "the compiler misses this native");
    }
    emit(c, OP_NATIVE, window, argc, result);
    emit_constant_word(c, native);
    emit_word(c, 0);
    return true;
}

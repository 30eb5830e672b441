/* SPDX-License-Identifier: Apache-2.0 */
/* Functions: parameters, names in scope, captures, closures. */
#include "compiler/state.h"

#include "data/data.h"

bool fn_begin(struct compiler *c, struct fn *f)
{
    *f = (struct fn){ .outer = c->fn, .index = code_unit_function(c->u), .top = 1, .slots_max = 1 };
    c->fn = f;
    if (c->u->out_of_memory) {
        (void)raise_oom(c->p);
        return false;
    }
    return true;
}

void fn_deinit(struct compiler *c, struct fn *f)
{
    LIST_FREE(c, f->locals);
    LIST_FREE(c, f->captures);
    LIST_FREE(c, f->labels);
    LIST_FREE(c, f->fixups);
    LIST_FREE(c, f->guards);
    LIST_FREE(c, f->open_guards);
    c->fn = f->outer;
}

static bool apply_fixup(struct compiler *c, uint64_t *words, const struct fixup *f, uint32_t target)
{
    int64_t distance = (int64_t)target - (int64_t)f->instruction;

    switch (f->kind) {
    case FIXUP_WIDE:
        words[f->instruction] |= (uint64_t)(uint32_t)(int32_t)distance << 32;
        return true;
    case FIXUP_C:
        if (distance > JUMP_WORDS_MAX || distance < -JUMP_WORDS_MAX) {
            return compile_fail(c, KW(too_complex), TERM_NIL, "the function is too long");
        }
        words[f->instruction] |= (uint64_t)(uint16_t)(int16_t)distance << 48;
        return true;
    case FIXUP_WORD:
        words[f->word] = (uint64_t)distance;
        return true;
    }
    return true;
}

bool fn_end(struct compiler *c)
{
    struct fn *f = c->fn;

    if (c->u->out_of_memory) {
        (void)raise_oom(c->p);
        return false;
    }
    struct code_function *out = &c->u->functions[f->index];

    for (uint32_t i = 0; i < f->fixups.count; i++) {
        const struct fixup *x = &f->fixups.items[i];
        uint32_t target = f->labels.items[x->label].word;

        assert(target != LABEL_UNBOUND);
        if (!apply_fixup(c, out->words, x, target)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < f->guards.count; i++) {
        const struct guard_range *g = &f->guards.items[i];

        code_unit_guard(c->u, f->index,
                        (struct code_guard){ g->from, g->to, f->labels.items[g->label].word });
    }
    out->params = (uint16_t)f->params;
    out->variadic = f->variadic;
    out->frame_slots = (uint16_t)(f->slots_max + 1);
    return true;
}

/* ---- names ---- */

bool local_push(struct compiler *c, term_t name, unsigned slot)
{
    return LIST_ADD(c, c->fn->locals, (struct local){ name, slot });
}

static struct name_ref find_in(struct compiler *c, struct fn *f, term_t symbol)
{
    for (uint32_t i = f->locals.count; i-- > 0;) {
        if (f->locals.items[i].name == symbol) {
            return (struct name_ref){ NAME_SLOT, f->locals.items[i].slot };
        }
    }
    for (uint32_t i = 0; i < f->captures.count; i++) {
        if (f->captures.items[i] == symbol) {
            return (struct name_ref){ NAME_CAPTURE, i };
        }
    }
    if (f->outer == NULL) {
        return (struct name_ref){ NAME_GLOBAL, 0 };
    }
    struct name_ref outside = find_in(c, f->outer, symbol);

    if (outside.kind == NAME_GLOBAL || outside.kind == NAME_NO_MEMORY) {
        return outside;
    }
    if (!LIST_ADD(c, f->captures, symbol)) {
        return (struct name_ref){ NAME_NO_MEMORY, 0 };
    }
    return (struct name_ref){ NAME_CAPTURE, f->captures.count - 1 };
}

struct name_ref name_find(struct compiler *c, term_t symbol)
{
    return find_in(c, c->fn, symbol);
}

/* ---- fn* ---- */

static bool is_plain_symbol(struct compiler *c, term_t t)
{
    return term_is_symbol(t) && realm_name(c->vm, symbol_bare(t))->slash == 0;
}

static bool declare_param(struct compiler *c, term_t form, term_t t)
{
    unsigned slot;

    if (!is_plain_symbol(c, t) || symbol_bare(t) == SYM(ampersand)) {
        return syntax_error(c, form, "a parameter of fn* is a plain symbol");
    }
    return slot_new(c, &slot) && local_push(c, symbol_bare(t), slot);
}

static bool declare_params(struct compiler *c, term_t form, term_t params)
{
    size_t n = tuple_count(params);
    struct fn *f = c->fn;

    for (size_t i = 0; i < n; i++) {
        term_t t = tuple_get(params, i);

        if (t == SYM(ampersand)) {
            if (i + 2 != n) {
                return syntax_error(c, form, "one name follows & in parameters");
            }
            f->variadic = true;
            return declare_param(c, form, tuple_get(params, i + 1));
        }
        if (i == PARAMS_MAX) {
            return compile_fail(c, KW(too_many_arguments), form, "too many parameters");
        }
        if (!declare_param(c, form, t)) {
            return false;
        }
        f->params++;
    }
    return true;
}

/* Put the captured values side by side and build the closure. */
static bool build_closure(struct compiler *c, const struct fn *f, unsigned result)
{
    unsigned base = c->fn->top;

    for (uint32_t i = 0; i < f->captures.count; i++) {
        struct name_ref ref = name_find(c, f->captures.items[i]);
        unsigned slot;

        if (!slot_new(c, &slot)) {
            return false;
        }
        if (ref.kind == NAME_SLOT) {
            emit(c, OP_MOVE, slot, ref.index, 0);
        } else {
            assert(ref.kind == NAME_CAPTURE);
            emit(c, OP_CAPTURE, slot, 0, ref.index);
        }
    }
    emit(c, OP_CLOSURE, result, f->captures.count == 0 ? 0 : base, f->captures.count);
    emit_word(c, f->index);
    emit_word(c, 0);
    c->fn->top = base;
    return true;
}

static bool compile_fn_inside(struct compiler *c, term_t form, term_t name, term_t params,
                              term_t body)
{
    if (name != TERM_NIL) {
        c->fn->has_self = true;
        if (!local_push(c, name, 0)) {
            return false;
        }
    }
    return declare_params(c, form, params) &&
           compile_body(c, body, (struct dest){ .tail = true }) && fn_end(c);
}

bool compile_fn(struct compiler *c, term_t form, struct dest d)
{
    term_t rest = pair_rest(form);
    term_t name = TERM_NIL;
    term_t def_name = c->def_name;

    c->def_name = TERM_NIL;
    if (c->guard_depth != 0) {
        return syntax_error(c, form, "a guard can't make functions");
    }
    if (term_is_list(rest) && is_plain_symbol(c, pair_head(rest))) {
        name = symbol_bare(pair_head(rest));
        rest = pair_rest(rest);
    }
    if (!term_is_list(rest) || !term_is_tuple(pair_head(rest))) {
        return syntax_error(c, form, "fn* needs a tuple of parameters");
    }
    struct fn f;
    bool ok = fn_begin(c, &f) && compile_fn_inside(c, form, name, pair_head(rest), pair_rest(rest));

    c->fn = f.outer;
    if (ok) {
        if (def_name == TERM_NIL && name != TERM_NIL) {
            def_name = realm_qualify(c->vm, ns_name(c->ns), name);
        }
        c->u->functions[f.index].name = def_name == 0 ? TERM_NIL : def_name;
        unsigned slot;

        ok = dest_slot(c, d, &slot) && build_closure(c, &f, slot) && finish_dest(c, d, slot);
    }
    fn_deinit(c, &f);
    return ok;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions: jumps straight on comparisons and types, so that no boolean is made to be tested. */
#include "compiler/state.h"

#include "data/data.h"

static bool text_is(const char *a, const char *b)
{
    return __builtin_strcmp(a, b) == 0;
}

static const struct comparison {
    const char *name;
    enum op op;
    enum op with_int;
} comparisons[] = {
    { "<", OP_J_NOT_LT, OP_J_NOT_LT_INT }, { "<=", OP_J_NOT_LE, OP_J_NOT_LE_INT },
    { ">", OP_J_NOT_GT, OP_J_NOT_GT_INT }, { ">=", OP_J_NOT_GE, OP_J_NOT_GE_INT },
    { "=", OP_J_NOT_EQ, OP_COUNT },
};

static const struct type_test {
    const char *name;
    enum type_code type;
} type_tests[] = {
    { "boolean?", TYPE_BOOLEAN }, { "integer?", TYPE_INTEGER }, { "float?", TYPE_FLOAT },
    { "ratio?", TYPE_RATIO },     { "number?", TYPE_NUMBER },   { "char?", TYPE_CHAR },
    { "string?", TYPE_STRING },   { "symbol?", TYPE_SYMBOL },   { "keyword?", TYPE_KEYWORD },
    { "list?", TYPE_LIST },       { "tuple?", TYPE_TUPLE },     { "vector?", TYPE_VECTOR },
    { "map?", TYPE_MAP },         { "set?", TYPE_SET },         { "pid?", TYPE_PID },
};

static const struct native *core_call(struct compiler *c, term_t form)
{
    term_t constant;
    const struct native *n = native_head(c, form, &constant);

    return n != NULL && text_is(n->ns, "lona.core") ? n : NULL;
}

bool is_boolean_call(struct compiler *c, term_t form)
{
    static const char *const names[] = { "not", "<", "<=", ">", ">=", "=", "not=", "identical?" };
    const struct native *n = core_call(c, form);

    if (n == NULL) {
        return false;
    }
    for (size_t i = 0; i < array_size(names); i++) {
        if (text_is(n->name, names[i])) {
            return true;
        }
    }
    return n->name[__builtin_strlen(n->name) - 1] == '?' && (n->flags & NATIVE_PURE) != 0;
}

/* Slots are only needed up to the jump. */
static bool test_comparison(struct compiler *c, const struct comparison *k, term_t form,
                            uint32_t label)
{
    const term_t *first = term_ptr(pair_rest(form));
    const term_t *second = term_ptr(first[1]);
    unsigned a;
    unsigned b;

    if (!compile_operand(c, first, &a)) {
        return false;
    }
    if (k->op == OP_J_NOT_EQ && is_constant(*second)) {
        return emit_wide_jump(c, OP_J_NOT_CONST, a, label) &&
               (emit_constant_word(c, *second), true);
    }
    if (k->with_int != OP_COUNT && term_is_small(*second) && small_value(*second) >= INT16_MIN &&
        small_value(*second) <= INT16_MAX) {
        return emit_c_jump(c, k->with_int, a, (uint16_t)(int16_t)small_value(*second), label);
    }
    return compile_operand(c, second, &b) && emit_c_jump(c, k->op, a, b, label);
}

static bool test_type(struct compiler *c, enum type_code type, term_t form, uint32_t label)
{
    unsigned a;

    return compile_operand(c, term_ptr(pair_rest(form)), &a) &&
           emit_c_jump(c, OP_J_NOT_TYPE, a, (unsigned)type, label);
}

/* Tests that are one instruction; *done says whether there was one. */
static bool fused_test(struct compiler *c, term_t form, uint32_t label, bool *done)
{
    const struct native *n = core_call(c, form);
    int64_t argc = n == NULL ? 0 : list_length(form) - 1;

    *done = true;
    for (size_t i = 0; argc == 2 && i < array_size(comparisons); i++) {
        if (text_is(n->name, comparisons[i].name)) {
            return test_comparison(c, &comparisons[i], form, label);
        }
    }
    for (size_t i = 0; argc == 1 && i < array_size(type_tests); i++) {
        if (text_is(n->name, type_tests[i].name)) {
            return test_type(c, type_tests[i].type, form, label);
        }
    }
    if (argc == 1 && text_is(n->name, "nil?")) {
        unsigned a;

        return compile_operand(c, term_ptr(pair_rest(form)), &a) &&
               emit_wide_jump(c, OP_J_NOT_NIL, a, label);
    }
    *done = false;
    return true;
}

static bool is_not(struct compiler *c, term_t form)
{
    const struct native *n = core_call(c, form);

    return n != NULL && text_is(n->name, "not") && list_length(form) == 2;
}

static bool branch(struct compiler *c, const term_t *at, bool on_true, uint32_t label);

/* ---- and, or: no value is kept where only its truth matters ---- */

/* What the macros make: (match a x (match (not x) true p _ q)) with a fresh x. */
struct short_circuit {
    const term_t *first;
    const term_t *second;
    bool is_and; /* p is x and q the second; else q is x and p the second */
};

static const term_t *item_at(term_t list, unsigned i)
{
    while (i-- > 0) {
        list = pair_rest(list);
    }
    return term_ptr(list);
}

/* The names that x# in a template gets; programs don't write such. */
static bool is_fresh(struct compiler *c, term_t t)
{
    if (!term_is_symbol_word(t)) {
        return false;
    }
    const struct name *n = realm_name(c->vm, t);

    return n->size > 3 && __builtin_memcmp(n->text, "x__", 3) == 0;
}

static bool is_short_circuit(struct compiler *c, term_t form, struct short_circuit *out)
{
    if (!term_is_list(form) || pair_head(form) != SYM(match) || list_length(form) != 4) {
        return false;
    }
    term_t x = *item_at(form, 2);
    term_t inner = *item_at(form, 3);

    if (!is_fresh(c, x) || !term_is_list(inner) || pair_head(inner) != SYM(match) ||
        list_length(inner) != 6 || *item_at(inner, 2) != TERM_TRUE ||
        *item_at(inner, 4) != SYM(underscore)) {
        return false;
    }
    term_t test = *item_at(inner, 1);

    if (!term_is_list(test) || !is_not(c, test) || *item_at(test, 1) != x) {
        return false;
    }
    out->first = item_at(form, 1);
    out->is_and = *item_at(inner, 3) == x;
    out->second = item_at(inner, out->is_and ? 5 : 3);
    return out->is_and || *item_at(inner, 5) == x;
}

static bool branch_short_circuit(struct compiler *c, const struct short_circuit *k, bool on_true,
                                 uint32_t label)
{
    uint32_t skip;

    if (k->is_and != on_true) {
        return branch(c, k->first, on_true, label) && branch(c, k->second, on_true, label);
    }
    bool ok = label_new(c, &skip) && branch(c, k->first, !on_true, skip) &&
              branch(c, k->second, on_true, label);

    if (ok) {
        label_bind(c, skip);
    }
    return ok;
}

static bool branch_value(struct compiler *c, const term_t *at, bool on_true, uint32_t label)
{
    unsigned slot;

    return compile_operand(c, at, &slot) &&
           emit_wide_jump(c, on_true ? OP_J_TRUE : OP_J_FALSE, slot, label);
}

static bool branch_inside(struct compiler *c, const term_t *at, bool on_true, uint32_t label)
{
    term_t form = *at;
    struct short_circuit both;
    bool done = false;
    uint32_t skip;

    if (!term_is_list(form)) {
        return branch_value(c, at, on_true, label);
    }
    if (!expand(c, &form)) {
        return false;
    }
    if (is_not(c, form)) {
        return branch(c, term_ptr(pair_rest(form)), !on_true, label);
    }
    if (is_short_circuit(c, form, &both)) {
        return branch_short_circuit(c, &both, on_true, label);
    }
    if (!on_true) {
        return fused_test(c, form, label, &done) &&
               (done || branch_value(c, form == *at ? at : &form, false, label));
    }
    if (!label_new(c, &skip) || !fused_test(c, form, skip, &done)) {
        return false;
    }
    if (!done) {
        return branch_value(c, form == *at ? at : &form, true, label);
    }
    bool ok = emit_jump(c, label);

    label_bind(c, skip);
    return ok;
}

static bool branch(struct compiler *c, const term_t *at, bool on_true, uint32_t label)
{
    unsigned top = c->fn->top;
    struct place outside = c->place;
    struct place own = c->source->reader == NULL ? (struct place){ 0, 0 }
                                                 : reader_place_of_slot(c->source->reader, at);

    if (c->depth == COMPILE_DEPTH_MAX) {
        return compile_fail(c, KW(too_complex), TERM_NIL, "forms are nested too deeply");
    }
    if (own.line != 0) {
        c->place = own;
    }
    c->depth++;
    bool ok = branch_inside(c, at, on_true, label);

    c->depth--;
    c->place = outside;
    c->fn->top = top;
    return ok;
}

const term_t *branch_without_not(struct compiler *c, const term_t *form, bool *flipped)
{
    *flipped = false;
    while (term_is_list(*form) && is_not(c, *form)) {
        form = term_ptr(pair_rest(*form));
        *flipped = !*flipped;
    }
    return form;
}

bool branch_false(struct compiler *c, const term_t *form, uint32_t label)
{
    return branch(c, form, false, label);
}

bool branch_true(struct compiler *c, const term_t *form, uint32_t label)
{
    return branch(c, form, true, label);
}

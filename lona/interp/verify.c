/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier. It trusts nothing in a unit but that its arrays have the lengths they say.
 *
 * 1. Walk each function once: opcodes, operands, extensions; note where instructions begin.
 * 2. Check that jumps, guards and fall-through land on such places, and that only the two jumps of
 * a receive go back: all other code ends in as many steps as it is long or comes to a call, where
 *    reductions are counted.
 * 3. Receive instructions in their order on every path (verify_receive.c).
 * 4. Backward liveness to a fixed point. A slot that is live where the function begins, other than
 *    the callee and the parameters, would be read unwritten: refused.
 * 5. Write the safepoint words from it.
 */
#include "interp/verify.h"

#include "interp/frame.h"
#include "interp/verify_state.h"
#include "native.h"
#include "vm_state.h"

enum {
    LIVENESS_BYTES_MAX = 256 << 20
};

#define GUARD_STEPS_MAX ((uint64_t)1 << 32) /* guards times words of one function */

bool verify_fail(struct verifier *v, uint32_t word, const char *what)
{
    *v->error = (struct code_error){ v->function, word, what };
    return false;
}

/* ---- 1: single instructions ---- */

static bool check_slot(struct verifier *v, uint32_t at, unsigned slot)
{
    return slot < v->f->frame_slots || verify_fail(v, at, "slot outside the frame");
}

static bool check_operand(struct verifier *v, uint32_t at, enum operand kind, unsigned value)
{
    uint64_t w = v->f->words[at];
    unsigned flags = verify_info_at(v, at)->flags;

    switch (kind) {
    case O_DST:
    case O_SRC:
        return check_slot(v, at, value);
    case O_WINDOW:
        return (value >= 1 && value + op_b(w) < v->f->frame_slots) ||
               verify_fail(v, at, "window outside the frame");
    case O_GROUP:
        return value + op_c(w) * ((flags & OF_PAIRS) != 0 ? 2u : 1u) <= v->f->frame_slots ||
               verify_fail(v, at, "operands outside the frame");
    case O_NONE:
        return value == 0 || verify_fail(v, at, "operand where none belongs");
    default:
        return true;
    }
}

static bool check_self_call(struct verifier *v, uint32_t at)
{
    const struct code_function *f = v->f;

    return (f->words[at + 1] == v->function && !f->variadic && op_b(f->words[at]) == f->params) ||
           verify_fail(v, at, "self call of another function");
}

static bool check_extension(struct verifier *v, uint32_t at, enum extension kind, uint64_t value)
{
    const struct code_unit *u = v->u;

    switch (kind) {
    case E_CONST:
        return value < u->constant_count || verify_fail(v, at, "no such constant");
    case E_VAR:
        return (value < u->constant_count && term_has_tag(u->constants[value], TAG_VAR)) ||
               verify_fail(v, at, "constant is no var");
    case E_NATIVE:
        return (value < u->constant_count && term_is_native(u->constants[value]) &&
                native_id(u->constants[value]) < native_count()) ||
               verify_fail(v, at, "constant is no native");
    case E_FUN:
        return value < u->function_count || verify_fail(v, at, "no such function");
    default:
        return true;
    }
}

static bool check_table(struct verifier *v, uint32_t at)
{
    uint64_t w = v->f->words[at];

    if (op_b(w) > SWITCH_ENTRIES_MAX) {
        return verify_fail(v, at, "switch too large");
    }
    for (unsigned i = 0; i < op_b(w); i++) {
        uint64_t key = v->f->words[at + 1 + 2 * i];

        if (key >= v->u->constant_count || !term_is_immediate(v->u->constants[key])) {
            return verify_fail(v, at, "switch key is no immediate constant");
        }
    }
    return true;
}

static bool check_instruction(struct verifier *v, uint32_t at)
{
    uint64_t w = v->f->words[at];
    const struct op_info *i = verify_info_at(v, at);
    bool wide = i->b == O_WNUM || i->b == O_WJUMP;

    if (verify_words_at(v, at) > v->f->word_count - at) {
        return verify_fail(v, at, "instruction cut short");
    }
    if (!check_operand(v, at, i->a, op_a(w)) ||
        (!wide && (!check_operand(v, at, i->b, op_b(w)) || !check_operand(v, at, i->c, op_c(w))))) {
        return false;
    }
    if (i->e1 != E_NONE && !check_extension(v, at, i->e1, v->f->words[at + 1])) {
        return false;
    }
    if (i->e2 != E_NONE && !check_extension(v, at, i->e2, v->f->words[at + 2])) {
        return false;
    }
    if ((i->flags & OF_SELF) != 0 && !check_self_call(v, at)) {
        return false;
    }
    return (i->flags & OF_TABLE) == 0 || check_table(v, at);
}

static bool check_shape(struct verifier *v)
{
    const struct code_function *f = v->f;

    if (f->params > PARAMS_MAX || f->frame_slots > FRAME_SLOTS_MAX ||
        f->params + f->variadic + 1u > f->frame_slots) {
        return verify_fail(v, 0, "frame does not hold the parameters");
    }
    if (v->function == 0 && (f->params != 0 || f->variadic)) {
        return verify_fail(v, 0, "the first function takes arguments");
    }
    if (f->name != TERM_NIL && !term_is_symbol_word(f->name)) {
        return verify_fail(v, 0, "name is no symbol");
    }
    for (uint32_t at = 0; at < f->word_count; at += verify_words_at(v, at)) {
        if (op_code(f->words[at]) >= OP_COUNT) {
            return verify_fail(v, at, "unknown opcode");
        }
        if (!check_instruction(v, at)) {
            return false;
        }
        v->starts[at] = 1;
    }
    return f->word_count > 0 || verify_fail(v, 0, "empty function");
}

/* ---- 2: where control goes ---- */

static bool is_start(const struct verifier *v, int64_t at)
{
    return at >= 0 && at < v->f->word_count && v->starts[at] != 0;
}

bool verify_each_target(struct verifier *v, uint32_t at, verify_target_fn each)
{
    uint64_t w = v->f->words[at];
    const struct op_info *i = verify_info_at(v, at);
    int64_t target = -1;
    bool jumps = true;

    if (i->b == O_WJUMP) {
        target = (int64_t)at + op_wide(w);
    } else if (i->c == O_JUMP) {
        target = (int64_t)at + op_signed_c(w);
    } else if (i->e1 == E_JUMP) {
        int64_t d = (int64_t)v->f->words[at + 1];

        target = d < -(int64_t)UINT32_MAX || d > (int64_t)UINT32_MAX ? -1 : (int64_t)at + d;
    } else {
        jumps = false;
    }
    if (jumps && !is_start(v, target)) {
        return verify_fail(v, at, "jump to nowhere");
    }
    if (jumps && !each(v, at, (uint32_t)target)) {
        return false;
    }
    for (unsigned k = 0; (i->flags & OF_TABLE) != 0 && k < op_b(w); k++) {
        int64_t d = (int64_t)v->f->words[at + 2 + 2 * k];

        target = d < -(int64_t)UINT32_MAX || d > (int64_t)UINT32_MAX ? -1 : (int64_t)at + d;
        if (!is_start(v, target)) {
            return verify_fail(v, at, "jump to nowhere");
        }
        if (!each(v, at, (uint32_t)target)) {
            return false;
        }
    }
    return true;
}

/* Back only to look at the next message, which there are finitely many of. */
static bool check_direction(struct verifier *v, uint32_t at, uint32_t target)
{
    unsigned op = op_code(v->f->words[at]);

    if (op != OP_RECV_NEXT && op != OP_RECV_WAIT) {
        return target > at || verify_fail(v, at, "jump back without a call");
    }
    return (target < at && op_code(v->f->words[target]) == OP_RECV_PEEK) ||
           verify_fail(v, at, "receive goes on at no RECV_PEEK");
}

static bool check_flow(struct verifier *v)
{
    const struct code_function *f = v->f;

    for (uint32_t at = 0; at < f->word_count; at += verify_words_at(v, at)) {
        if (!verify_each_target(v, at, check_direction)) {
            return false;
        }
        if ((verify_info_at(v, at)->flags & OF_END) == 0 &&
            at + verify_words_at(v, at) >= f->word_count) {
            return verify_fail(v, at, "code runs past its end");
        }
    }
    if ((uint64_t)f->guard_count * f->word_count > GUARD_STEPS_MAX) {
        return verify_fail(v, 0, "function too large");
    }
    for (uint32_t i = 0; i < f->guard_count; i++) {
        const struct code_guard *g = &f->guards[i];

        if (g->from >= g->to || g->to > f->word_count || g->target < g->to ||
            !is_start(v, g->target)) {
            return verify_fail(v, g->from, "bad guard");
        }
    }
    for (uint32_t i = 1; i < f->line_count; i++) {
        if (f->lines[i].word < f->lines[i - 1].word) {
            return verify_fail(v, 0, "places out of order");
        }
    }
    return true;
}

/* ---- 4: liveness ---- */

static void set_add_slot(uint64_t *set, unsigned slot)
{
    set[slot / 64] |= (uint64_t)1 << (slot % 64);
}

static void set_drop_slot(uint64_t *set, unsigned slot)
{
    set[slot / 64] &= ~((uint64_t)1 << (slot % 64));
}

static void set_merge(uint64_t *into, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        into[i] |= from[i];
    }
}

static bool merge_target(struct verifier *v, uint32_t at, uint32_t target)
{
    (void)at;
    set_merge(v->out, verify_live_at(v, target), v->set_words);
    return true;
}

/* What falls through: v->out = live before the next instruction, or nothing. */
static void live_after(struct verifier *v, uint32_t at)
{
    __builtin_memset(v->out, 0, v->set_words * sizeof(*v->out));
    if ((verify_info_at(v, at)->flags & OF_END) == 0) {
        set_merge(v->out, verify_live_at(v, at + verify_words_at(v, at)), v->set_words);
    }
}

static void add_reads(struct verifier *v, uint32_t at)
{
    uint64_t w = v->f->words[at];
    const struct op_info *i = verify_info_at(v, at);

    if (i->a == O_SRC) {
        set_add_slot(v->out, op_a(w));
    }
    if (i->b == O_SRC) {
        set_add_slot(v->out, op_b(w));
    }
    if (i->c == O_SRC) {
        set_add_slot(v->out, op_c(w));
    }
    if (i->a == O_WINDOW) {
        unsigned first = op_a(w) + ((i->flags & OF_CALLEE) != 0 ? 0 : 1);

        for (unsigned s = first; s <= op_a(w) + op_b(w); s++) {
            set_add_slot(v->out, s);
        }
    }
    if (i->b == O_GROUP) {
        unsigned n = op_c(w) * ((i->flags & OF_PAIRS) != 0 ? 2u : 1u);

        for (unsigned s = 0; s < n; s++) {
            set_add_slot(v->out, op_b(w) + s);
        }
    }
    if ((i->flags & OF_SELF) != 0) {
        set_add_slot(v->out, 0);
    }
}

/* Recompute live before `at`; did it grow? */
static bool update_live(struct verifier *v, uint32_t at)
{
    live_after(v, at);
    if (verify_dst_of(v, at) >= 0) {
        set_drop_slot(v->out, (unsigned)verify_dst_of(v, at));
    }
    (void)verify_each_target(v, at,
                             merge_target); /* checked before; a jump does not write the result */
    for (uint32_t g = 0; g < v->f->guard_count; g++) {
        if (at >= v->f->guards[g].from && at < v->f->guards[g].to) {
            set_merge(v->out, verify_live_at(v, v->f->guards[g].target), v->set_words);
        }
    }
    add_reads(v, at);
    uint64_t *live = verify_live_at(v, at);
    bool grew = false;

    for (size_t i = 0; i < v->set_words; i++) {
        grew |= (v->out[i] & ~live[i]) != 0;
        live[i] |= v->out[i];
    }
    return grew;
}

static bool check_liveness(struct verifier *v)
{
    bool again = true;

    while (again) {
        again = false;
        for (uint32_t at = v->f->word_count; at-- > 0;) {
            if (v->starts[at] != 0) {
                again |= update_live(v, at);
            }
        }
    }
    const uint64_t *entry = verify_live_at(v, 0);
    unsigned known = v->f->params + v->f->variadic + 1u;

    for (unsigned s = known; s < v->set_words * 64; s++) {
        if ((entry[s / 64] >> (s % 64) & 1) != 0) {
            return verify_fail(v, 0, "slot read before it is written");
        }
    }
    return true;
}

/* ---- 5: safepoints ---- */

static bool maps_grow(struct big_maps *m, size_t words)
{
    if (m->used + words > m->capacity) {
        size_t capacity = max_of(m->capacity * 2, m->used + words + 64);
        uint64_t *w = vm_alloc(m->vm, capacity * sizeof(*w));

        if (w == NULL) {
            m->out_of_memory = true;
            return false;
        }
        if (m->used != 0) {
            __builtin_memcpy(w, m->words, m->used * sizeof(*w));
        }
        vm_free(m->vm, m->words, m->capacity * sizeof(*w));
        m->words = w;
        m->capacity = capacity;
    }
    if (m->count == m->starts_capacity) {
        size_t capacity = max_of(m->starts_capacity * 2, (size_t)16);
        uint32_t *s = vm_alloc(m->vm, capacity * sizeof(*s));

        if (s == NULL) {
            m->out_of_memory = true;
            return false;
        }
        if (m->count != 0) {
            __builtin_memcpy(s, m->starts, m->count * sizeof(*s));
        }
        vm_free(m->vm, m->starts, m->starts_capacity * sizeof(*s));
        m->starts = s;
        m->starts_capacity = capacity;
    }
    return true;
}

static bool big_map(struct verifier *v, uint32_t at, uint64_t *word)
{
    struct big_maps *m = v->maps;
    size_t n = v->set_words;

    if (m == NULL) {
        return true; /* only verifying */
    }
    if (!maps_grow(m, n + 1) || m->used > UINT32_MAX / 2) {
        return verify_fail(v, at, "out of memory");
    }
    *word |= SAFEPOINT_INDIRECT | (uint64_t)m->count << 32;
    m->starts[m->count++] = (uint32_t)m->used;
    m->words[m->used] = n;
    __builtin_memcpy(&m->words[m->used + 1], v->out, n * sizeof(uint64_t));
    m->used += n + 1;
    return true;
}

static bool write_safepoint(struct verifier *v, uint32_t at)
{
    uint64_t w = v->f->words[at];
    const struct op_info *i = verify_info_at(v, at);
    uint64_t *word = &v->f->words[at + i->words - 1];

    if (i->a == O_WINDOW) {
        unsigned t = op_a(w);

        live_after(v, at);
        if (i->c == O_DST) {
            set_drop_slot(v->out, op_c(w));
        }
        for (unsigned s = t - 1; s < v->f->frame_slots; s++) {
            if ((v->out[s / 64] >> (s % 64) & 1) != 0) {
                return verify_fail(v, at, "a slot of the window lives on after the call");
            }
        }
        *word = t | (uint64_t)op_c(w) << 16;
    } else {
        __builtin_memcpy(v->out, verify_live_at(v, at), v->set_words * sizeof(*v->out));
        *word = 0;
    }
    bool is_big = v->out[0] >> SAFEPOINT_INLINE_SLOTS != 0;

    for (size_t k = 1; k < v->set_words; k++) {
        is_big |= v->out[k] != 0;
    }
    if (is_big) {
        return big_map(v, at, word);
    }
    *word |= v->out[0] << 32;
    return true;
}

static bool write_safepoints(struct verifier *v)
{
    for (uint32_t at = 0; at < v->f->word_count; at += verify_words_at(v, at)) {
        const struct op_info *i = verify_info_at(v, at);

        if ((i->e1 == E_MAP || i->e2 == E_MAP) && !write_safepoint(v, at)) {
            return false;
        }
    }
    return true;
}

/* ---- one function after the other ---- */

static bool verify_function(struct verifier *v)
{
    struct vm *vm = v->u->vm;
    size_t n = v->f->word_count;

    v->set_words = ((size_t)v->f->frame_slots + 63) / 64;
    size_t bytes = n * v->set_words * sizeof(uint64_t);

    if (v->set_words == 0 || bytes > LIVENESS_BYTES_MAX) {
        return verify_fail(v, 0, "function too large");
    }
    v->starts = vm_alloc(vm, n + 1);
    v->live = vm_alloc(vm, bytes + 1);
    v->out = vm_alloc(vm, v->set_words * sizeof(uint64_t));
    v->states = vm_alloc(vm, (n + 1) * sizeof(*v->states));
    bool ok = v->starts != NULL && v->live != NULL && v->out != NULL && v->states != NULL;

    if (!ok) {
        (void)verify_fail(v, 0, "out of memory");
    } else {
        __builtin_memset(v->starts, 0, n);
        __builtin_memset(v->live, 0, bytes);
        __builtin_memset(v->states, 0, n * sizeof(*v->states));
        ok = check_shape(v) && check_flow(v) && verify_receives(v) && check_liveness(v) &&
             verify_held_slots(v) && write_safepoints(v);
    }
    vm_free(vm, v->starts, n + 1);
    vm_free(vm, v->live, bytes + 1);
    vm_free(vm, v->out, v->set_words * sizeof(uint64_t));
    vm_free(vm, v->states, (n + 1) * sizeof(*v->states));
    return ok;
}

bool code_verify_maps(struct code_unit *u, struct code_error *error, struct big_maps *maps)
{
    struct verifier v = { .u = u, .error = error, .maps = maps };

    if (u->out_of_memory || u->function_count == 0) {
        return verify_fail(&v, 0, u->out_of_memory ? "out of memory" : "no functions");
    }
    if (u->file != TERM_NIL && !term_is_symbol_word(u->file)) {
        return verify_fail(&v, 0, "file name is no symbol");
    }
    for (uint32_t i = 0; i < u->function_count; i++) {
        v.function = i;
        v.f = &u->functions[i];
        if (!verify_function(&v)) {
            return false;
        }
    }
    return true;
}

bool code_verify(struct code_unit *u, struct code_error *error)
{
    return code_verify_maps(u, error, NULL);
}

void big_maps_deinit(struct big_maps *m)
{
    vm_free(m->vm, m->words, m->capacity * sizeof(*m->words));
    vm_free(m->vm, m->starts, m->starts_capacity * sizeof(*m->starts));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter: one loop. ip, fp, htop and the reductions live in locals; SAVE() writes them to
 * the process record before anything that may collect, fail or yield, LOAD() reads them back after
 * it.
 *
 * Frames, windows and safepoints: bytecode.h, frame.h. Values taken from slots after LOAD() are
 * right; copies taken before a reservation are not.
 */
#include "interp/interp.h"

#include "data/data.h"
#include "gc/memory.h"
#include "interp/code.h"
#include "interp/frame.h"
#include "native.h"
#include "number/number.h"
#include "process/mailbox.h"
#include "realm/realm.h"

bool stack_ensure(struct process *p, size_t slots)
{
    size_t used = (size_t)(p->fp - p->stack);
    size_t have = (size_t)(p->stack_end - p->stack);
    size_t need = used + slots + 8;

    if (need <= have) {
        return true;
    }
    size_t size = heap_next_size(need + need / 4) - 1;
    size_t limit = p->heap_max_words != 0 ? p->heap_max_words : STACK_WORDS_MAX;

    if (need > limit) {
        (void)raise(p, KW(stack_overflow), 0);
        return false;
    }
    size = min_of(size, limit);
    term_t *stack = arena_alloc(process_arena(p), size * sizeof(term_t));

    if (stack == NULL) {
        (void)raise(p, KW(stack_overflow), 0);
        return false;
    }
    __builtin_memcpy(stack, p->stack, have * sizeof(term_t));
    if (p->stack != p->stack_inline) {
        arena_free(process_arena(p), p->stack, have * sizeof(term_t));
    }
    p->fp = stack + used;
    p->stack = stack;
    p->stack_end = stack + size;
    return true;
}

/* Where an error at ip of this frame is caught, or NULL. */
static const uint64_t *guard_target(struct worker *w, const uint64_t *ip)
{
    const struct fun *f = realm_fun_at(w->vm, ip);

    if (f == NULL) {
        return NULL;
    }
    uint32_t at = (uint32_t)(ip - f->code);

    for (uint32_t i = 0; i < f->guard_count; i++) {
        if (at >= f->guards[i].from && at < f->guards[i].to) {
            return f->code + f->guards[i].target;
        }
    }
    return NULL;
}

static bool has_type(term_t t, enum type_code type)
{
    switch (type) {
    case TYPE_NIL:
        return t == TERM_NIL;
    case TYPE_BOOLEAN:
        return t == TERM_TRUE || t == TERM_FALSE;
    case TYPE_INTEGER:
        return term_is_integer(t);
    case TYPE_FLOAT:
        return term_has_tag(t, TAG_FLOAT) || term_has_tag(t, TAG_F32);
    case TYPE_RATIO:
        return term_has_tag(t, TAG_RATIO);
    case TYPE_NUMBER:
        return term_is_number(t);
    case TYPE_CHAR:
        return term_is_char(t);
    case TYPE_STRING:
        return term_is_string(t);
    case TYPE_SYMBOL:
        return term_is_symbol(t);
    case TYPE_KEYWORD:
        return term_is_keyword(t);
    case TYPE_LIST:
        return term_is_list(t) || t == TERM_EMPTY;
    case TYPE_TUPLE:
        return term_is_tuple(t);
    case TYPE_VECTOR:
        return term_is_vector(t);
    case TYPE_MAP:
        return term_is_map(t);
    case TYPE_SET:
        return term_is_set(t);
    case TYPE_BINARY:
        return term_is_binary(t);
    case TYPE_BYTEBUF:
        return term_has_tag(t, TAG_BYTEBUF);
    case TYPE_FUNCTION:
        return term_is_native(t) || term_has_tag(t, TAG_FUN) || term_has_tag(t, TAG_CLOSURE);
    case TYPE_VAR:
        return term_has_tag(t, TAG_VAR);
    case TYPE_NAMESPACE:
        return term_has_tag(t, TAG_NAMESPACE);
    case TYPE_PID:
        return term_has_tag(t, TAG_PID);
    case TYPE_REF:
        return term_has_tag(t, TAG_REF);
    case TYPE_PADDR:
        return term_has_tag(t, TAG_PADDR);
    case TYPE_VADDR:
        return term_has_tag(t, TAG_VADDR);
    default:
        return false;
    }
}

/* Equality with a constant; immediates but small integers are equal only to themselves. */
static bool equals_constant(struct process *p, term_t t, term_t constant)
{
    if (t == constant && !term_is_boxed(t)) {
        return true;
    }
    return (term_is_boxed(t) || term_is_pointer(constant)) && term_equal(p, t, constant);
}

/* The distance for a value in a sorted table of n (key, distance) pairs; `otherwise` if absent. */
static int64_t switch_find(const uint64_t *table, unsigned n, term_t t, int64_t otherwise)
{
    int64_t v;

    if (term_has_tag(t, TAG_FIXINT) && integer_to_i64(t, &v) && small_fits(v)) {
        t = term_small(v);
    } else if (term_has_tag(t, TAG_NOTED)) {
        t = symbol_bare(t);
    }
    size_t low = 0;
    size_t high = n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (table[(size_t)2 * mid] < t) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < n && table[(size_t)2 * low] == t ? (int64_t)table[(size_t)2 * low + 1] : otherwise;
}

/* (keyword map [default]), (map key [default]), (tuple index [default]); the arguments are
 * fp[1..argc]. */
static term_t call_data(struct process *p, term_t callee, term_t *fp, unsigned argc)
{
    bool is_keyword = term_is_keyword(callee);

    if (!is_keyword && !term_is_map(callee) && !term_is_tuple(callee)) {
        return raise(p, KW(not_callable), 1, KW(value), callee);
    }
    if (argc < 1 || argc > 2) {
        return raise(p, KW(arity_mismatch), 3, KW(fn), callee, KW(expected), term_small(1), KW(got),
                     term_small(argc));
    }
    if (term_is_tuple(callee)) {
        uint64_t i;

        if (arg_size(fp[1], SMALL_MAX, &i) && i < tuple_count(callee)) {
            return tuple_get(callee, i);
        }
        if (!term_is_integer(fp[1])) {
            return raise_type(p, "tuple", 0, KW(integer), fp[1]);
        }
        return argc == 2 ? fp[2] : raise_index(p, fp[1], tuple_count(callee));
    }
    term_t map = is_keyword ? fp[1] : callee;
    term_t key = is_keyword ? callee : fp[1];

    if (!term_is_map(map)) {
        return raise_type(p, "get", 0, KW(map), map);
    }
    term_t v = map_get(p, map, key);

    return v != TERM_HOLE ? v : argc == 2 ? fp[2] : TERM_NIL;
}

static term_t raise_arity(struct process *p, const struct fun *f, unsigned argc)
{
    return raise(p, KW(arity_mismatch), 3, KW(fn), f->name, KW(expected), term_small(f->params),
                 KW(got), term_small(argc));
}

static term_t raise_native_arity(struct process *p, const struct native *n, unsigned argc)
{
    term_t name = realm_symbol(process_vm(p), n->name, __builtin_strlen(n->name));

    return raise(p, KW(arity_mismatch), 3, KW(fn), name == 0 ? TERM_NIL : name, KW(expected),
                 term_small(n->min_args), KW(got), term_small(argc));
}

/* Surplus arguments of a variadic function into a tuple at fp[params + 1]. p->fp is the new frame.
 */
static bool pack_rest(struct process *p, const struct fun *f, unsigned argc)
{
    size_t n = argc - f->params;
    term_t *elements;

    if (!stack_ensure(p, (size_t)argc + 2) || !heap_reserve(p, TUPLE_WORDS(n))) {
        return false;
    }
    term_t rest = heap_tuple(p, n, &elements);

    for (size_t i = 0; i < n; i++) {
        elements[i] = p->fp[f->params + 1 + i];
    }
    p->fp[f->params + 1] = rest;
    return true;
}

static term_t rest_list(struct process *p, term_t *from, size_t start)
{
    bool vectors = term_is_vector(*from);

    if (!vectors && !term_is_tuple(*from)) {
        return raise(p, KW(bad_code), 0);
    }
    size_t n = vectors ? vector_count(*from) : tuple_count(*from);
    size_t count = start < n ? n - start : 0;

    if (!heap_reserve(p, count * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    term_t list = TERM_EMPTY;

    for (size_t i = n; i > start; i--) {
        list = heap_pair(p, vectors ? vector_get(*from, i - 1) : tuple_get(*from, i - 1), list);
    }
    return list;
}

static bool both_small(term_t a, term_t b)
{
    return (((a ^ TERM_SMALL) | (b ^ TERM_SMALL)) & TERM_NIBBLE_MASK) == 0;
}

enum relation {
    LT,
    LE,
    GT,
    GE
};

static bool order_holds(enum number_order o, enum relation r)
{
    switch (r) {
    case LT:
        return o == NUMBER_LESS;
    case LE:
        return o == NUMBER_LESS || o == NUMBER_EQUAL;
    case GT:
        return o == NUMBER_GREATER;
    default:
        return o == NUMBER_GREATER || o == NUMBER_EQUAL;
    }
}

/* 1 or 0, or -1 with p's error set. */
static int compare_slow(struct process *p, enum relation r, term_t a, term_t b)
{
    static const char *const names[] = { "<", "<=", ">", ">=" };
    enum number_order o = number_compare(a, b);

    if (o == NUMBER_TYPE_ERROR) {
        bool first = !term_is_number(a);

        (void)raise_type(p, names[r], first ? 0 : 1, KW(number), first ? a : b);
        return -1;
    }
    return order_holds(o, r);
}

/* Deadline of a receive: false with p's error set. */
static bool set_deadline(struct process *p, term_t ms)
{
    if (ms == KW(infinity)) {
        return true;
    }
    uint64_t n;

    if (!arg_size(ms, (uint64_t)1 << 50, &n)) {
        (void)raise_badarg(p, "receive", &ms, 1);
        return false;
    }
    if (n == 0) {
        p->flags |= PROCESS_TIMED_OUT;
        return true;
    }
    const struct platform *pf = &process_vm(p)->platform;

    return timer_arm_wait(p, pf->mono_ns(pf->self) + n * 1000000);
}

#define SLOT(i) fp[i]
#define A       op_a(word)
#define B       op_b(word)
#define C       op_c(word)
#define WIDE    op_wide(word)
#define SAVE()  (p->ip = ip, p->fp = fp, p->htop = htop, p->reductions_left = left)
#define LOAD()  (fp = p->fp, htop = p->htop, left = p->reductions_left)
#define NEXT()                                                                                     \
    do {                                                                                           \
        word = *ip;                                                                                \
        goto *labels[op_code(word)];                                                               \
    } while (0)
#define ADVANCE(n)                                                                                 \
    do {                                                                                           \
        ip += (n);                                                                                 \
        NEXT();                                                                                    \
    } while (0)
/* Make sure of n words of heap. */
#define RESERVE(n)                                                                                 \
    do {                                                                                           \
        if (unlikely((size_t)(p->hend - htop) < (n))) {                                            \
            SAVE();                                                                                \
            if (!heap_reserve_slow(p, (n))) {                                                      \
                goto raised;                                                                       \
            }                                                                                      \
            LOAD();                                                                                \
        }                                                                                          \
    } while (0)
/* Call something that takes rooted operands and may collect or fail; its result to A. */
#define SLOW_TO_A(expression, words)                                                               \
    do {                                                                                           \
        SAVE();                                                                                    \
        value = (expression);                                                                      \
        LOAD();                                                                                    \
        if (unlikely(value == TERM_ERROR)) {                                                       \
            goto raised;                                                                           \
        }                                                                                          \
        SLOT(A) = value;                                                                           \
        ADVANCE(words);                                                                            \
    } while (0)
#define JUMP_UNLESS(condition, distance, words)                                                    \
    do {                                                                                           \
        ip += (condition) ? (words) : (distance);                                                  \
        NEXT();                                                                                    \
    } while (0)
#define BRANCH_RELATION(op, relation, b)                                                           \
    do {                                                                                           \
        term_t x = SLOT(A);                                                                        \
        term_t y = (b);                                                                            \
        if (likely(both_small(x, y))) {                                                            \
            JUMP_UNLESS((int64_t)x op(int64_t) y, op_signed_c(word), 1);                           \
        }                                                                                          \
        SAVE();                                                                                    \
        int holds = compare_slow(p, relation, x, y);                                               \
        if (unlikely(holds < 0)) {                                                                 \
            goto raised;                                                                           \
        }                                                                                          \
        JUMP_UNLESS(holds != 0, op_signed_c(word), 1);                                             \
    } while (0)
#define VALUE_RELATION(op, relation)                                                               \
    do {                                                                                           \
        term_t x = SLOT(B);                                                                        \
        term_t y = SLOT(C);                                                                        \
        if (likely(both_small(x, y))) {                                                            \
            SLOT(A) = term_bool((int64_t)x op(int64_t) y);                                         \
            ADVANCE(1);                                                                            \
        }                                                                                          \
        SAVE();                                                                                    \
        int holds = compare_slow(p, relation, x, y);                                               \
        if (unlikely(holds < 0)) {                                                                 \
            goto raised;                                                                           \
        }                                                                                          \
        SLOT(A) = term_bool(holds != 0);                                                           \
        ADVANCE(1);                                                                                \
    } while (0)

// NOLINTNEXTLINE(readability-function-size): the one interpreter loop
enum run_result interp_run(struct worker *w, struct process *p)
{
    static const void *const labels[OP_COUNT] = {
#define OP(name, a, b, c, e1, e2, flags) &&op_##name,
        LONA_OPS(OP)
#undef OP
    };
    const uint64_t *ip = p->ip;
    term_t *fp = p->fp;
    term_t *htop = p->htop;
    int32_t left = p->reductions_left;
    uint64_t word;
    term_t value;
    unsigned argc;
    const struct fun *f;
    const struct native *n;

    if ((p->flags & PROCESS_AT_ENTRY) != 0) {
        p->flags &= (uint8_t)~PROCESS_AT_ENTRY;
        argc = p->entry_argc;
        goto enter;
    }
    NEXT();

    /* ---- moves ---- */
op_MOVE:
    SLOT(A) = SLOT(B);
    ADVANCE(1);
op_LOAD_INT:
    SLOT(A) = term_small(WIDE);
    ADVANCE(1);
op_LOAD:
    SLOT(A) = ip[1];
    ADVANCE(2);
op_LOAD_NIL:
    SLOT(A) = TERM_NIL;
    ADVANCE(1);
op_VAR_GET : {
    struct var *v = (struct var *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)

    value = atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PROCESS_BOUND
                ? var_value(p, v)
                : atomic_load_explicit(&v->root, memory_order_acquire);
    if (unlikely(value == TERM_UNBOUND)) {
        SAVE();
        (void)raise(p, KW(undef), 1, KW(var), var_term(v));
        goto raised;
    }
    SLOT(A) = value;
    ADVANCE(2);
}
op_CAPTURE:
    value = SLOT(B);
    if (unlikely(!term_has_tag(value, TAG_CLOSURE) || C >= header_count(box_header(value)))) {
        goto bad_code;
    }
    SLOT(A) = term_ptr(value)[2 + C];
    ADVANCE(1);
op_CLOSURE : {
    unsigned count = C;

    f = (const struct fun *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)
    if (count == 0) {
        SLOT(A) = fun_term(f);
        ADVANCE(3);
    }
    RESERVE(2 + (size_t)count);
    htop[0] = header_make(TAG_CLOSURE, count);
    htop[1] = fun_term(f);
    for (unsigned i = 0; i < count; i++) {
        htop[2 + i] = SLOT(B + i);
    }
    SLOT(A) = term_from_box(htop);
    htop += 2 + count;
    left -= 1;
    ADVANCE(3);
}

    /* ---- calls ---- */
op_CALL:
    fp += A;
    argc = B;
    ip += 2;
    fp[-1] = (term_t)(uintptr_t)ip;
    goto enter;
op_CALL_VAR : {
    struct var *v = (struct var *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)

    value = atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PROCESS_BOUND
                ? var_value(p, v)
                : atomic_load_explicit(&v->root, memory_order_acquire);
    if (unlikely(value == TERM_UNBOUND)) {
        SAVE();
        (void)raise(p, KW(undef), 1, KW(var), var_term(v));
        goto raised;
    }
    fp += A;
    argc = B;
    ip += 3;
    fp[-1] = (term_t)(uintptr_t)ip;
    fp[0] = value;
    goto enter;
}
op_CALL_SELF:
    value = fp[0];
    fp += A;
    argc = B;
    f = (const struct fun *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)
    ip += 3;
    fp[-1] = (term_t)(uintptr_t)ip;
    fp[0] = value;
    goto enter_fun;
op_TAIL:
    argc = B;
    for (unsigned i = 0, t = A; i <= argc; i++) {
        fp[i] = fp[t + i];
    }
    goto enter;
op_TAIL_VAR : {
    struct var *v = (struct var *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)

    value = atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PROCESS_BOUND
                ? var_value(p, v)
                : atomic_load_explicit(&v->root, memory_order_acquire);
    if (unlikely(value == TERM_UNBOUND)) {
        SAVE();
        (void)raise(p, KW(undef), 1, KW(var), var_term(v));
        goto raised;
    }
    argc = B;
    for (unsigned i = 1, t = A; i <= argc; i++) {
        fp[i] = fp[t + i];
    }
    fp[0] = value;
    goto enter;
}
op_TAIL_SELF:
    argc = B;
    for (unsigned i = 1, t = A; i <= argc; i++) {
        fp[i] = fp[t + i];
    }
    f = (const struct fun *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)
    goto enter_fun;

op_NATIVE:
    n = (const struct native *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)
    argc = B;
    SAVE();
    if (unlikely(argc < n->min_args || argc > n->max_args)) {
        if (argc < n->min_args || n->max_args != NATIVE_VARIADIC) {
            (void)raise_native_arity(p, n, argc);
            goto raised;
        }
    }
    value = n->fn(p, fp + A + 1, argc);
    LOAD();
    if (unlikely(term_is_marker(value))) {
        goto native_marker;
    }
    left -= n->cost;
    SLOT(C) = value;
    ADVANCE(3);
native_marker:
    if (value == TERM_ERROR) {
        goto raised;
    }
    if (value == TERM_APPLY) {
        fp += A;
        ip += 3;
        fp[-1] = (term_t)(uintptr_t)ip;
        goto apply;
    }
    return value == TERM_WAIT ? RUN_WAIT : RUN_YIELDED; /* ip still names the instruction */

op_TAIL_NATIVE:
    n = (const struct native *)(uintptr_t)ip[1]; // NOLINT(performance-no-int-to-ptr)
    argc = B;
    SAVE();
    if (unlikely(argc < n->min_args || (argc > n->max_args && n->max_args != NATIVE_VARIADIC))) {
        (void)raise_native_arity(p, n, argc);
        goto raised;
    }
    value = n->fn(p, fp + A + 1, argc);
    LOAD();
    if (likely(!term_is_marker(value))) {
        left -= n->cost;
        goto do_return;
    }
    if (value == TERM_ERROR) {
        goto raised;
    }
    if (value == TERM_APPLY) {
        goto apply;
    }
    return value == TERM_WAIT ? RUN_WAIT : RUN_YIELDED;

op_RETURN:
    value = SLOT(A);
do_return : {
    term_t ret = fp[-1];

    if (unlikely(ret <= RETURN_TO_NATIVE)) {
        SAVE();
        fp[0] = value;
        return ret == RETURN_TO_NOBODY ? RUN_DONE : RUN_NESTED;
    }
    ip = (const uint64_t *)(uintptr_t)ret; // NOLINT(performance-no-int-to-ptr)
    word = ip[-1];
    fp -= safepoint_window(word);
    SLOT(safepoint_result(word)) = value;
    NEXT();
}

    /*
     * Enter fp[0] with argc arguments in fp[1..]; fp[-1] is set. This is the one place where a
     * process gives way: nothing is live but the window.
     */
enter:
    value = fp[0];
    if (likely(term_is_boxed(value))) {
        const term_t *o = term_ptr(value);

        if (header_tag(o[0]) == TAG_FUN) {
            f = (const struct fun *)(const void *)o;
            goto enter_checked;
        }
        if (header_tag(o[0]) == TAG_CLOSURE) {
            f = term_fun(o[1]);
            goto enter_checked;
        }
    }
    goto enter_other;
enter_checked:
    if (unlikely(argc != f->params || f->variadic != 0)) {
        if (argc < f->params || f->variadic == 0) {
            SAVE();
            (void)raise_arity(p, f, argc);
            goto raised_in_callee;
        }
        if (--left <= 0) {
            goto yield;
        }
        SAVE();
        p->flags |= PROCESS_AT_ENTRY;
        p->entry_argc = (uint16_t)argc;
        bool packed = pack_rest(p, f, argc);

        p->flags &= (uint8_t)~PROCESS_AT_ENTRY;
        LOAD();
        if (!packed) {
            goto raised_in_callee;
        }
        left++;
        goto enter_room;
    }
enter_fun:
    if (unlikely(--left <= 0)) {
        goto yield;
    }
enter_room:
    if (unlikely(fp + f->frame_slots + 1 > p->stack_end)) {
        SAVE();
        if (!stack_ensure(p, (size_t)f->frame_slots + 1)) {
            goto raised_in_callee;
        }
        LOAD();
    }
    ip = f->code;
    NEXT();
yield:
    left = 0;
    SAVE();
    p->flags |= PROCESS_AT_ENTRY;
    p->entry_argc = (uint16_t)argc;
    return RUN_YIELDED;

enter_other:
    if (!term_is_native(value)) {
        SAVE();
        p->flags |= PROCESS_AT_ENTRY;
        p->entry_argc = (uint16_t)argc;
        value = call_data(p, value, fp, argc);
        p->flags &= (uint8_t)~PROCESS_AT_ENTRY;
        LOAD();
        left -= 2;
        if (value == TERM_ERROR) {
            goto raised_in_callee;
        }
        goto do_return;
    }
    if (--left <= 0) {
        goto yield;
    }
    n = native_by_id(native_id(value));
    SAVE();
    p->flags |= PROCESS_AT_ENTRY;
    p->entry_argc = (uint16_t)argc;
    if (argc < n->min_args || (argc > n->max_args && n->max_args != NATIVE_VARIADIC)) {
        value = raise_native_arity(p, n, argc);
    } else {
        value = n->fn(p, fp + 1, argc);
    }
    LOAD();
    if (value == TERM_WAIT || value == TERM_AGAIN) {
        return value == TERM_WAIT ? RUN_WAIT : RUN_YIELDED; /* enters again */
    }
    p->flags &= (uint8_t)~PROCESS_AT_ENTRY;
    left -= n->cost;
    if (value == TERM_ERROR) {
        goto raised_in_callee;
    }
    if (value == TERM_APPLY) {
        goto apply;
    }
    goto do_return;

    /* Spread what native_apply() left over the frame at fp and enter it. */
apply : {
    int64_t count = list_length(w->apply_args);

    SAVE();
    if (count < 0 || count > UINT16_MAX - 8) {
        w->apply_fn = TERM_NIL;
        w->apply_args = TERM_NIL;
        (void)raise(p, KW(badarg), 0);
        goto raised_in_callee;
    }
    if (!stack_ensure(p, (size_t)count + 2)) {
        goto raised_in_callee;
    }
    LOAD();
    fp[0] = w->apply_fn;
    argc = 0;
    for (term_t l = w->apply_args; term_is_list(l); l = pair_rest(l)) {
        fp[++argc] = pair_head(l);
    }
    w->apply_fn = TERM_NIL;
    w->apply_args = TERM_NIL;
    left -= (int32_t)(argc / 8);
    goto enter;
}

    /* ---- jumps ---- */
op_JUMP:
    ADVANCE(WIDE);
op_J_FALSE:
    JUMP_UNLESS(term_is_truthy(SLOT(A)), WIDE, 1);
op_J_TRUE:
    JUMP_UNLESS(!term_is_truthy(SLOT(A)), WIDE, 1);
op_J_HOLE:
    JUMP_UNLESS(SLOT(A) != TERM_HOLE, WIDE, 1);
op_J_NOT_NIL:
    JUMP_UNLESS(SLOT(A) == TERM_NIL, WIDE, 1);
op_J_NOT_PAIR:
    JUMP_UNLESS(term_is_list(SLOT(A)), WIDE, 1);
op_J_NOT_EMPTY:
    JUMP_UNLESS(SLOT(A) == TERM_EMPTY, WIDE, 1);
op_J_NOT_TYPE:
    JUMP_UNLESS(has_type(SLOT(A), (enum type_code)B), op_signed_c(word), 1);
op_J_NOT_TUPLE:
    value = SLOT(A);
    JUMP_UNLESS(term_is_boxed(value) &&
                    (box_header(value) & ~HEADER_META) == header_make(TAG_TUPLE, B),
                op_signed_c(word), 1);
op_J_NOT_TUPLE_GE:
    value = SLOT(A);
    JUMP_UNLESS(term_is_tuple(value) && tuple_count(value) >= B, op_signed_c(word), 1);
op_J_NOT_VECTOR:
    value = SLOT(A);
    JUMP_UNLESS(term_is_vector(value) && vector_count(value) == B, op_signed_c(word), 1);
op_J_NOT_VECTOR_GE:
    value = SLOT(A);
    JUMP_UNLESS(term_is_vector(value) && vector_count(value) >= B, op_signed_c(word), 1);
op_J_NOT_EQ:
    p->reductions_left = left;
    value = term_bool(term_equal(p, SLOT(A), SLOT(B)));
    left = p->reductions_left;
    JUMP_UNLESS(value == TERM_TRUE, op_signed_c(word), 1);
op_J_EQ:
    p->reductions_left = left;
    value = term_bool(term_equal(p, SLOT(A), SLOT(B)));
    left = p->reductions_left;
    JUMP_UNLESS(value == TERM_FALSE, op_signed_c(word), 1);
op_J_NOT_CONST:
    JUMP_UNLESS(equals_constant(p, SLOT(A), ip[1]), WIDE, 2);
op_J_NOT_LT:
    BRANCH_RELATION(<, LT, SLOT(B));
op_J_NOT_LE:
    BRANCH_RELATION(<=, LE, SLOT(B));
op_J_NOT_GT:
    BRANCH_RELATION(>, GT, SLOT(B));
op_J_NOT_GE:
    BRANCH_RELATION(>=, GE, SLOT(B));
op_J_NOT_LT_INT:
    BRANCH_RELATION(<, LT, term_small(op_signed_b(word)));
op_J_NOT_LE_INT:
    BRANCH_RELATION(<=, LE, term_small(op_signed_b(word)));
op_J_NOT_GT_INT:
    BRANCH_RELATION(>, GT, term_small(op_signed_b(word)));
op_J_NOT_GE_INT:
    BRANCH_RELATION(>=, GE, term_small(op_signed_b(word)));
op_J_NOT_KEY:
    value = SLOT(B);
    value = term_is_map(value) ? map_get(p, value, SLOT(C)) : TERM_HOLE;
    if (value == TERM_HOLE) {
        ADVANCE((int64_t)ip[1]);
    }
    SLOT(A) = value;
    ADVANCE(2);
op_SWITCH:
    ADVANCE(switch_find(ip + 1, B, SLOT(A), op_signed_c(word)));

    /* ---- parts ---- */
op_HEAD:
    value = SLOT(B);
    if (unlikely(!term_is_list(value))) {
        goto bad_code;
    }
    SLOT(A) = pair_head(value);
    ADVANCE(1);
op_REST:
    value = SLOT(B);
    if (unlikely(!term_is_list(value))) {
        goto bad_code;
    }
    SLOT(A) = pair_rest(value);
    ADVANCE(1);
op_TUPLE_GET:
    value = SLOT(B);
    if (unlikely(!term_is_tuple(value) || C >= tuple_count(value))) {
        goto bad_code;
    }
    SLOT(A) = tuple_get(value, C);
    ADVANCE(1);
op_VECTOR_GET:
    value = SLOT(B);
    if (unlikely(!term_is_vector(value) || C >= vector_count(value))) {
        goto bad_code;
    }
    SLOT(A) = vector_get(value, C);
    ADVANCE(1);
op_REST_LIST:
    SLOW_TO_A(rest_list(p, &fp[B], C), 2);

    /* ---- building ---- */
op_CONS:
    RESERVE(2);
    htop[0] = SLOT(B);
    htop[1] = SLOT(C);
    if (unlikely(!term_is_list(htop[1]) && htop[1] != TERM_EMPTY)) {
        goto bad_code;
    }
    SLOT(A) = term_from_pair(htop);
    htop += 2;
    ADVANCE(2);
op_TUPLE : {
    unsigned count = C;

    RESERVE(1 + (size_t)count);
    htop[0] = header_make(TAG_TUPLE, count);
    for (unsigned i = 0; i < count; i++) {
        htop[1 + i] = SLOT(B + i);
    }
    SLOT(A) = term_from_box(htop);
    htop += 1 + count;
    left -= (int32_t)(count / 8);
    ADVANCE(2);
}
op_VECTOR:
    left -= (int32_t)(C / 8);
    SLOW_TO_A(vector_from_array(p, &fp[B], C), 2);
op_LIST : {
    unsigned count = C;

    RESERVE(2 * (size_t)count);
    value = TERM_EMPTY;
    for (unsigned i = count; i-- > 0; htop += 2) {
        htop[0] = SLOT(B + i);
        htop[1] = value;
        value = term_from_pair(htop);
    }
    SLOT(A) = value;
    left -= (int32_t)(count / 8);
    ADVANCE(2);
}
op_MAP:
    left -= (int32_t)(C / 4);
    SLOW_TO_A(map_from_array(p, &fp[B], C), 2);
op_SET:
    left -= (int32_t)(C / 4);
    SLOW_TO_A(set_from_array(p, &fp[B], C), 2);

    /* ---- arithmetic ---- */
op_ADD : {
    int64_t sum;

    if (likely(both_small(SLOT(B), SLOT(C)) &&
               !__builtin_add_overflow((int64_t)SLOT(B), (int64_t)(SLOT(C) ^ TERM_SMALL), &sum))) {
        SLOT(A) = (term_t)sum;
        ADVANCE(2);
    }
    SLOW_TO_A(number_add(p, &fp[B], &fp[C]), 2);
}
op_SUB : {
    int64_t difference;

    if (likely(both_small(SLOT(B), SLOT(C)) &&
               !__builtin_sub_overflow((int64_t)SLOT(B), (int64_t)(SLOT(C) ^ TERM_SMALL),
                                       &difference))) {
        SLOT(A) = (term_t)difference;
        ADVANCE(2);
    }
    SLOW_TO_A(number_sub(p, &fp[B], &fp[C]), 2);
}
op_MUL : {
    int64_t product;

    if (likely(both_small(SLOT(B), SLOT(C)) &&
               !__builtin_mul_overflow((int64_t)(SLOT(B) ^ TERM_SMALL), small_value(SLOT(C)),
                                       &product))) {
        SLOT(A) = (term_t)product | TERM_SMALL;
        ADVANCE(2);
    }
    SLOW_TO_A(number_mul(p, &fp[B], &fp[C]), 2);
}
op_QUOT:
    SLOW_TO_A(number_quot(p, &fp[B], &fp[C]), 2);
op_REM:
    SLOW_TO_A(number_rem(p, &fp[B], &fp[C]), 2);
op_MOD:
    SLOW_TO_A(number_mod(p, &fp[B], &fp[C]), 2);
op_ADD_INT : {
    int64_t sum;

    if (likely(term_is_small(SLOT(B)) &&
               !__builtin_add_overflow((int64_t)SLOT(B), (int64_t)op_signed_c(word) * 16, &sum))) {
        SLOT(A) = (term_t)sum;
        ADVANCE(2);
    }
    term_t right = term_small(op_signed_c(word));

    SLOW_TO_A(number_add(p, &fp[B], &right), 2);
}
op_SUB_INT : {
    int64_t difference;

    if (likely(term_is_small(SLOT(B)) &&
               !__builtin_sub_overflow((int64_t)SLOT(B), (int64_t)op_signed_c(word) * 16,
                                       &difference))) {
        SLOT(A) = (term_t)difference;
        ADVANCE(2);
    }
    term_t right = term_small(op_signed_c(word));

    SLOW_TO_A(number_sub(p, &fp[B], &right), 2);
}
op_LT:
    VALUE_RELATION(<, LT);
op_LE:
    VALUE_RELATION(<=, LE);
op_GT:
    VALUE_RELATION(>, GT);
op_GE:
    VALUE_RELATION(>=, GE);
op_EQ:
    p->reductions_left = left;
    value = term_bool(term_equal(p, SLOT(B), SLOT(C)));
    left = p->reductions_left;
    SLOT(A) = value;
    ADVANCE(1);
op_NOT:
    SLOT(A) = term_bool(!term_is_truthy(SLOT(B)));
    ADVANCE(1);

op_BADMATCH:
    SAVE();
    (void)raise(p, KW(badmatch), 1, KW(value), SLOT(A));
    goto raised;

    /* ---- receive ---- */
op_RECV_BEGIN:
    mailbox_begin(p);
    ADVANCE(1);
op_RECV_DEADLINE:
    SAVE();
    if (!set_deadline(p, SLOT(A))) {
        goto raised;
    }
    ADVANCE(1);
op_RECV_PEEK : {
    const struct message *m = mailbox_peek(p);

    if (m == NULL) {
        ADVANCE(WIDE);
    }
    SLOT(A) = m->term;
    left -= 1;
    ADVANCE(1);
}
op_RECV_ACCEPT:
    SAVE();
    if (!mailbox_accept(w, p)) {
        goto raised;
    }
    ADVANCE(1);
op_RECV_NEXT:
    if (unlikely(left <= 0)) { /* what was made of this message is dead: see verify_receive.c */
        p->flags &= (uint8_t)~PROCESS_PEEKED;
        SAVE();
        return RUN_YIELDED;
    }
    mailbox_next(p);
    ADVANCE(WIDE);
op_RECV_WAIT:
    SAVE();
    switch (mailbox_wait(w, p)) {
    case MAILBOX_MORE:
        LOAD();
        if (unlikely(left <= 0)) {
            return RUN_YIELDED;
        }
        ADVANCE(WIDE);
    case MAILBOX_TIMED_OUT:
        LOAD();
        ADVANCE(2);
    case MAILBOX_KILLED:
        return RUN_FAILED;
    case MAILBOX_EMPTY:
        return RUN_WAIT;
    }

    /* ---- failing ---- */
bad_code:
    SAVE();
    (void)raise(p, KW(bad_code), 0);
    goto raised;
raised_in_callee:
    /* The frame of a call that did not happen goes; the error is the caller's. */
    p->flags &= (uint8_t)~PROCESS_AT_ENTRY;
    fp = p->fp;
    if (fp[-1] <= RETURN_TO_NATIVE) {
        return RUN_FAILED;
    }
    ip = (const uint64_t *)(uintptr_t)fp[-1]; // NOLINT(performance-no-int-to-ptr)
    fp -= safepoint_window(ip[-1]);
    p->fp = fp;
    p->ip = ip;
    return RUN_FAILED;
raised:
    LOAD();
    ip = guard_target(w, p->ip);
    if (ip != NULL) {
        p->reason = TERM_NIL;
        NEXT();
    }
    return RUN_FAILED;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clauses to decisions.
 *
 * Rows are tried in order. Neighbouring rows whose next tests look at the same slot and can't both
 * succeed (different literals, tuples of different length ...) are sorted into groups by what they
 * test for; each group makes its test once, takes the value apart once and goes on with what is
 * left of its rows. Every row stands in exactly one group, so the code is linear in the clauses. A
 * row that fails goes on behind its run of rows: those can't match any more.
 */
#include "compiler/match.h"

#include "data/data.h"

/* ---- parsing ---- */

static bool add_test(struct compiler *c, struct row *r, unsigned slot, struct pattern *p)
{
    if (p->kind == P_ANY) {
        return true;
    }
    if (p->kind == P_NAME) {
        if (r->name_count == r->name_capacity) {
            uint32_t capacity = r->name_capacity == 0 ? 4 : r->name_capacity * 2;
            struct local *names = pool_alloc(c, capacity * sizeof(*names));

            if (names == NULL) {
                return false;
            }
            for (uint32_t i = 0; i < r->name_count; i++) {
                names[i] = r->names[i];
            }
            r->names = names;
            r->name_capacity = capacity;
        }
        r->names[r->name_count++] = (struct local){ p->term, slot };
        return true;
    }
    if (r->test_count == r->test_capacity) {
        uint32_t capacity = r->test_capacity == 0 ? 4 : r->test_capacity * 2;
        struct test *tests = pool_alloc(c, capacity * sizeof(*tests));

        if (tests == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < r->test_count; i++) {
            tests[i] = r->tests[i];
        }
        r->tests = tests;
        r->test_capacity = capacity;
    }
    r->tests[r->test_count++] = (struct test){ slot, p };
    return true;
}

static bool is_when(term_t t)
{
    return term_is_symbol(t) && (symbol_bare(t) == SYM(when) || symbol_bare(t) == SYM(core_when));
}

static bool parse_clause(struct compiler *c, term_t form, term_t *list, struct row *r,
                         struct pattern **pattern)
{
    term_t l = *list;

    *pattern = pattern_parse(c, pair_head(l));
    if (*pattern == NULL) {
        return false;
    }
    l = pair_rest(l);
    if (term_is_list(l) && is_when(pair_head(l))) {
        l = pair_rest(l);
        if (!term_is_list(l)) {
            return syntax_error(c, form, "a guard is missing after when");
        }
        r->guard = term_ptr(l);
        l = pair_rest(l);
    }
    if (!term_is_list(l)) {
        return syntax_error(c, form, "a pattern without a body");
    }
    r->body = term_ptr(l);
    *list = pair_rest(l);
    return true;
}

bool clauses_parse(struct compiler *c, term_t form, term_t list, bool is_receive,
                   struct clauses *out)
{
    int64_t n = list_length(list);

    *out = (struct clauses){ .rows = pool_alloc(c, ((size_t)n / 2 + 1) * sizeof(struct row)) };
    if (out->rows == NULL) {
        return false;
    }
    while (term_is_list(list)) {
        if (is_receive && pair_head(list) == KW(after) && list_length(list) == 3) {
            out->after = term_ptr(pair_rest(list));
            out->after_body = term_ptr(pair_rest(pair_rest(list)));
            return true;
        }
        struct row *r = &out->rows[out->count];
        struct pattern *p;
        struct place outside = c->place;
        struct place own = c->source->reader == NULL
                               ? (struct place){ 0, 0 }
                               : reader_place_of_slot(c->source->reader, term_ptr(list));

        c->place = own.line != 0 ? own : outside;
        if (!parse_clause(c, form, &list, r, &p)) {
            return false;
        }
        c->place = outside;
        /* The slot is put in when the rows are compiled. */
        if (!add_test(c, r, 0, p)) {
            return false;
        }
        out->count++;
    }
    return true;
}

/* ---- groups ---- */

/* Two patterns of such kinds either test for the same or can't both match. */
static bool is_disjoint(const struct pattern *p)
{
    switch (p->kind) {
    case P_LITERAL:
    case P_EMPTY:
    case P_PAIR:
        return true;
    case P_TUPLE:
    case P_VECTOR:
        return !p->rest;
    default:
        return false;
    }
}

static bool same_test(struct compiler *c, const struct pattern *a, const struct pattern *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    return a->kind == P_LITERAL ? term_equal(c->p, a->term, b->term) : a->count == b->count;
}

static struct pattern *pattern_at(const struct row *r, unsigned slot)
{
    for (uint32_t i = 0; i < r->test_count; i++) {
        if (r->tests[i].slot == slot) {
            return r->tests[i].pattern;
        }
    }
    return NULL;
}

static void drop_test(struct row *r, unsigned slot)
{
    uint32_t to = 0;

    for (uint32_t i = 0; i < r->test_count; i++) {
        if (r->tests[i].slot != slot) {
            r->tests[to++] = r->tests[i];
        }
    }
    r->test_count = to;
}

/* Sorting a run into groups is quadratic: longer ones are cut. */
enum {
    RUN_MAX = 512
};

/* Rows from `rows` on that test `slot` for something disjoint. */
static uint32_t run_length(struct row *const *rows, uint32_t n, unsigned slot)
{
    uint32_t k = 0;

    for (; k < n && k < RUN_MAX; k++) {
        const struct pattern *p = pattern_at(rows[k], slot);

        if (p == NULL || !is_disjoint(p)) {
            break;
        }
    }
    return k;
}

/* ---- tests ---- */

static bool emit_literal_test(struct compiler *c, term_t t, unsigned slot, uint32_t fail)
{
    if (t == TERM_NIL) {
        return emit_wide_jump(c, OP_J_NOT_NIL, slot, fail);
    }
    return emit_wide_jump(c, OP_J_NOT_CONST, slot, fail) && (emit_constant_word(c, t), true);
}

static bool emit_size_test(struct compiler *c, const struct pattern *p, unsigned slot,
                           uint32_t fail)
{
    bool tuple = p->kind == P_TUPLE;
    enum op op = p->rest ? (tuple ? OP_J_NOT_TUPLE_GE : OP_J_NOT_VECTOR_GE)
                         : (tuple ? OP_J_NOT_TUPLE : OP_J_NOT_VECTOR);

    return emit_c_jump(c, op, slot, p->count - p->rest, fail);
}

/* A window for a native: its first argument is the value. */
static bool native_window(struct compiler *c, unsigned slot, unsigned *window)
{
    unsigned below;
    unsigned arg;

    if (!slot_new(c, &below) || !slot_new(c, window) || !slot_new(c, &arg)) {
        return false;
    }
    emit(c, OP_MOVE, arg, slot, 0);
    return true;
}

static bool load_argument(struct compiler *c, term_t t)
{
    unsigned arg;

    return slot_new(c, &arg) && emit_load(c, arg, t);
}

static bool find_local(struct compiler *c, const struct row *r, term_t name, unsigned to)
{
    for (uint32_t i = r->name_count; i-- > 0;) {
        if (r->names[i].name == name) {
            emit(c, OP_MOVE, to, r->names[i].slot, 0);
            return true;
        }
    }
    return compile(c, name, (struct dest){ .slot = to });
}

/* The natives of native/match.c: their result, a tuple of parts or the hole, goes to *parts. */
static bool emit_native_test(struct compiler *c, const struct row *r, const struct pattern *p,
                             unsigned slot, uint32_t fail, unsigned *parts)
{
    const char *name = p->kind == P_SET     ? "match-set*"
                       : p->kind == P_PID   ? "match-pid*"
                       : p->kind == P_BYTES ? "match-bytes*"
                                            : "match-bits*";
    unsigned window;
    unsigned argc = 1;

    if (!slot_new(c, parts)) {
        return false;
    }
    unsigned top = c->fn->top;

    if (!native_window(c, slot, &window)) {
        return false;
    }
    if (p->kind == P_SET) {
        argc = 3;
        if (!load_argument(c, p->term) || !load_argument(c, term_small(p->count))) {
            return false;
        }
    } else if (p->kind == P_BYTES) {
        argc = 3;
        if (!load_argument(c, term_small(p->count - p->rest)) ||
            !load_argument(c, term_bool(p->rest))) {
            return false;
        }
    } else if (p->kind == P_BITS) {
        argc = 3 + p->key_count;
        if (!load_argument(c, p->term) || !load_argument(c, term_bool(p->rest))) {
            return false;
        }
        for (uint32_t i = 0; i < p->key_count; i++) {
            unsigned arg;

            if (!slot_new(c, &arg) || !find_local(c, r, p->keys[i], arg)) {
                return false;
            }
        }
    }
    if (!emit_native(c, name, window, argc, *parts)) {
        return false;
    }
    c->fn->top = top;
    return emit_wide_jump(c, OP_J_HOLE, *parts, fail);
}

/* ---- taking apart ---- */

/* Does a row of the group look at part i? */
static bool part_wanted(struct row *const *rows, uint32_t n, unsigned slot, uint32_t i)
{
    for (uint32_t k = 0; k < n; k++) {
        if (pattern_at(rows[k], slot)->parts[i]->kind != P_ANY) {
            return true;
        }
    }
    return false;
}

static void emit_part(struct compiler *c, const struct pattern *p, unsigned to, unsigned from,
                      uint32_t i)
{
    if (p->kind == P_PAIR) {
        emit(c, i == 0 ? OP_HEAD : OP_REST, to, from, 0);
    } else if (p->kind == P_VECTOR && !(p->rest && i + 1 == p->count)) {
        emit(c, OP_VECTOR_GET, to, from, i);
    } else if ((p->kind == P_VECTOR || p->kind == P_TUPLE) && p->rest && i + 1 == p->count) {
        emit(c, OP_REST_LIST, to, from, i);
        emit_word(c, 0);
    } else {
        emit(c, OP_TUPLE_GET, to, from, i);
    }
}

/* Load the parts that the rows want into slots of their own and give the rows their tests. */
static bool take_apart(struct compiler *c, struct row **rows, uint32_t n, unsigned slot,
                       unsigned from)
{
    const struct pattern *p = pattern_at(rows[0], slot);

    for (uint32_t i = 0; i < p->count; i++) {
        unsigned to;

        if (!part_wanted(rows, n, slot, i)) {
            continue;
        }
        if (!slot_new(c, &to)) {
            return false;
        }
        emit_part(c, p, to, from, i);
        for (uint32_t k = 0; k < n; k++) {
            if (!add_test(c, rows[k], to, pattern_at(rows[k], slot)->parts[i])) {
                return false;
            }
        }
    }
    for (uint32_t k = 0; k < n; k++) {
        drop_test(rows[k], slot);
    }
    return true;
}

static bool test_map(struct compiler *c, struct row *r, const struct pattern *p, unsigned slot,
                     uint32_t fail)
{
    if (p->count == 0) {
        if (!emit_c_jump(c, OP_J_NOT_TYPE, slot, TYPE_MAP, fail)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < p->count; i++) {
        unsigned value;
        unsigned key;

        if (!slot_new(c, &value) || !slot_new(c, &key) || !emit_load(c, key, p->keys[i])) {
            return false;
        }
        uint32_t at = emit(c, OP_J_NOT_KEY, value, slot, key);

        emit_word(c, 0);
        if (!emit_fixup(c, (struct fixup){ FIXUP_WORD, fail, at, at + 1 }) ||
            !add_test(c, r, value, p->parts[i])) {
            return false;
        }
        c->fn->top--; /* the key */
    }
    drop_test(r, slot);
    return true;
}

/* ---- rows ---- */

static bool rows_compile(struct compiler *c, const struct match *m, struct row **rows, uint32_t n,
                         uint32_t fail);

static bool compile_guard(struct compiler *c, const struct row *r, uint32_t fail)
{
    if (!guard_open(c, fail)) {
        return false;
    }
    c->guard_depth++;
    bool ok = branch_false(c, r->guard, fail);

    c->guard_depth--;
    return ok && guard_close(c);
}

/* All tests are passed: guard, then body. */
static bool compile_leaf(struct compiler *c, const struct match *m, const struct row *r,
                         uint32_t fail)
{
    uint32_t locals = c->fn->locals.count;
    bool ok = true;

    for (uint32_t i = 0; ok && i < r->name_count; i++) {
        ok = local_push(c, r->names[i].name, r->names[i].slot);
    }
    if (ok && r->guard != NULL) {
        ok = compile_guard(c, r, fail);
    }
    if (ok && m->is_receive) {
        emit(c, OP_RECV_ACCEPT, 0, 0, 0);
    }
    ok = ok && compile_at(c, r->body, m->dest) && (m->dest.tail || emit_jump(c, m->end));
    c->fn->locals.count = locals;
    return ok;
}

/* One row whose next test is of a kind that isn't grouped. */
static bool compile_single(struct compiler *c, const struct match *m, struct row *r, uint32_t fail)
{
    unsigned slot = r->tests[0].slot;
    struct pattern *p = r->tests[0].pattern;
    unsigned parts = slot;

    if (p->kind == P_MAP) {
        if (!test_map(c, r, p, slot, fail)) {
            return false;
        }
        return rows_compile(c, m, &r, 1, fail);
    }
    if (p->kind == P_TUPLE || p->kind == P_VECTOR) {
        if (!emit_size_test(c, p, slot, fail)) {
            return false;
        }
    } else if (!emit_native_test(c, r, p, slot, fail, &parts)) {
        return false;
    }
    return take_apart(c, &r, 1, slot, parts) && rows_compile(c, m, &r, 1, fail);
}

static bool emit_group_test(struct compiler *c, const struct pattern *p, unsigned slot,
                            uint32_t fail)
{
    switch (p->kind) {
    case P_LITERAL:
        return emit_literal_test(c, p->term, slot, fail);
    case P_EMPTY:
        return emit_wide_jump(c, OP_J_NOT_EMPTY, slot, fail);
    case P_PAIR:
        return emit_wide_jump(c, OP_J_NOT_PAIR, slot, fail);
    default:
        return emit_size_test(c, p, slot, fail);
    }
}

/*
 * Move the rows that test for the same as rows[0] to the front, in order; how many they are.
 * `others` has room for n.
 */
static uint32_t gather(struct compiler *c, struct row **rows, uint32_t n, unsigned slot,
                       struct row **others)
{
    const struct pattern *p = pattern_at(rows[0], slot);
    uint32_t same = 0;
    uint32_t rest = 0;

    for (uint32_t i = 0; i < n; i++) {
        /* NaN isn't even equal to itself. */
        if (i == 0 || same_test(c, p, pattern_at(rows[i], slot))) {
            rows[same++] = rows[i];
        } else {
            others[rest++] = rows[i];
        }
    }
    for (uint32_t i = 0; i < rest; i++) {
        rows[same + i] = others[i];
    }
    return same;
}

static bool compile_group(struct compiler *c, const struct match *m, struct row **rows, uint32_t n,
                          unsigned slot, uint32_t fail)
{
    unsigned top = c->fn->top;
    bool ok = take_apart(c, rows, n, slot, slot) && rows_compile(c, m, rows, n, fail);

    c->fn->top = top;
    return ok;
}

/* ---- many immediate literals: one SWITCH ---- */

enum {
    SWITCH_MIN = 4
};

static bool can_switch(struct row *const *rows, uint32_t n, unsigned slot)
{
    if (n < SWITCH_MIN || n > SWITCH_ENTRIES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct pattern *p = pattern_at(rows[i], slot);

        if (p->kind != P_LITERAL || !term_is_immediate(p->term)) {
            return false;
        }
    }
    return true;
}

/*
 * The switch compares words. A fixed-width integer equals a small one of the same value, so behind
 * the default integers are looked at once more.
 */
static bool emit_switch_default(struct compiler *c, struct row *const *rows, const uint32_t *sizes,
                                uint32_t groups, const uint32_t *labels, unsigned slot,
                                uint32_t fail)
{
    bool integers = false;
    uint32_t at = 0;

    for (uint32_t g = 0; g < groups; at += sizes[g], g++) {
        integers |= term_is_small(pattern_at(rows[at], slot)->term);
    }
    if (!integers) {
        return emit_jump(c, fail);
    }
    /* A near label: the bodies between here and `fail` may be long. */
    uint32_t out;

    if (!label_new(c, &out) || !emit_c_jump(c, OP_J_NOT_TYPE, slot, TYPE_INTEGER, out)) {
        return false;
    }
    at = 0;
    for (uint32_t g = 0; g < groups; at += sizes[g], g++) {
        term_t t = pattern_at(rows[at], slot)->term;
        uint32_t next;

        if (!term_is_small(t)) {
            continue;
        }
        if (!label_new(c, &next) || !emit_literal_test(c, t, slot, next) ||
            !emit_jump(c, labels[g])) {
            return false;
        }
        label_bind(c, next);
    }
    label_bind(c, out);
    return emit_jump(c, fail);
}

static bool compile_switch(struct compiler *c, const struct match *m, struct row **rows, uint32_t n,
                           unsigned slot, uint32_t fail)
{
    uint32_t *sizes = pool_alloc(c, n * sizeof(*sizes));
    uint32_t *labels = pool_alloc(c, n * sizeof(*labels));
    struct row **others =
        pool_alloc(c, n * sizeof(struct row *)); // NOLINT(bugprone-sizeof-expression): pointers
    uint32_t groups = 0;
    uint32_t otherwise;

    if (sizes == NULL || labels == NULL || others == NULL || !label_new(c, &otherwise)) {
        return false;
    }
    for (uint32_t at = 0; at < n; at += sizes[groups++]) {
        sizes[groups] = gather(c, rows + at, n - at, slot, others);
        if (!label_new(c, &labels[groups])) {
            return false;
        }
    }
    uint32_t first = emit(c, OP_SWITCH, slot, groups, 0);

    if (!emit_fixup(c, (struct fixup){ FIXUP_C, otherwise, first, first })) {
        return false;
    }
    for (uint32_t g = 0, at = 0; g < groups; at += sizes[g], g++) {
        emit_constant_word(c, pattern_at(rows[at], slot)->term);
        emit_word(c, 0);
        if (!emit_fixup(c, (struct fixup){ FIXUP_WORD, labels[g], first, first + 2 + 2 * g })) {
            return false;
        }
    }
    label_bind(c, otherwise);
    if (!emit_switch_default(c, rows, sizes, groups, labels, slot, fail)) {
        return false;
    }
    for (uint32_t g = 0, at = 0; g < groups; at += sizes[g], g++) {
        label_bind(c, labels[g]);
        if (!compile_group(c, m, rows + at, sizes[g], slot, fail)) {
            return false;
        }
    }
    return true;
}

/* Rows that all test `slot` for disjoint things. */
static bool compile_run(struct compiler *c, const struct match *m, struct row **rows, uint32_t n,
                        unsigned slot, uint32_t fail)
{
    if (can_switch(rows, n, slot)) {
        return compile_switch(c, m, rows, n, slot, fail);
    }
    struct row **others =
        pool_alloc(c, n * sizeof(struct row *)); // NOLINT(bugprone-sizeof-expression): pointers

    if (others == NULL) {
        return false;
    }
    for (uint32_t at = 0; at < n;) {
        uint32_t size = gather(c, rows + at, n - at, slot, others);
        uint32_t next = fail;
        bool last = at + size == n;

        if ((!last && !label_new(c, &next)) ||
            !emit_group_test(c, pattern_at(rows[at], slot), slot, next) ||
            !compile_group(c, m, rows + at, size, slot, fail)) {
            return false;
        }
        if (!last) {
            label_bind(c, next);
        }
        at += size;
    }
    return true;
}

static bool rows_step(struct compiler *c, const struct match *m, struct row **rows, uint32_t n,
                      uint32_t fail)
{
    unsigned top = c->fn->top;
    bool ok;

    if (rows[0]->test_count == 0) {
        ok = compile_leaf(c, m, rows[0], fail);
    } else if (is_disjoint(rows[0]->tests[0].pattern)) {
        ok = compile_run(c, m, rows, n, rows[0]->tests[0].slot, fail);
    } else {
        ok = compile_single(c, m, rows[0], fail);
    }
    c->fn->top = top;
    return ok;
}

static bool rows_compile(struct compiler *c, const struct match *m, struct row **rows, uint32_t n,
                         uint32_t fail)
{
    if (c->depth == COMPILE_DEPTH_MAX) {
        return compile_fail(c, KW(too_complex), TERM_NIL, "forms are nested too deeply");
    }
    c->depth++;
    bool ok = true;

    for (uint32_t at = 0; ok && at < n;) {
        struct row *r = rows[at];
        uint32_t size = 1;
        uint32_t next = fail;

        if (r->test_count != 0 && is_disjoint(r->tests[0].pattern)) {
            size = run_length(rows + at, n - at, r->tests[0].slot);
        }
        bool always = r->test_count == 0 && r->guard == NULL;
        bool last = at + size == n || always;

        ok = (last || label_new(c, &next)) && rows_step(c, m, rows + at, size, next);
        if (ok && !last) {
            label_bind(c, next);
        }
        at = always ? n : at + size;
    }
    c->depth--;
    return ok;
}

bool compile_rows(struct compiler *c, const struct match *m, struct clauses *clauses, unsigned slot,
                  uint32_t fail)
{
    struct row **rows = pool_alloc(c, (clauses->count + 1) * sizeof(struct row *));

    if (rows == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < clauses->count; i++) {
        rows[i] = &clauses->rows[i];
        for (uint32_t k = 0; k < rows[i]->test_count; k++) {
            rows[i]->tests[k].slot = slot;
        }
        for (uint32_t k = 0; k < rows[i]->name_count; k++) {
            rows[i]->names[k].slot = slot;
        }
    }
    return clauses->count == 0 ? emit_jump(c, fail)
                               : rows_compile(c, m, rows, clauses->count, fail);
}

/* ---- match ---- */

/* (match <boolean call> true a _ b), which is what if becomes: a branch. */
static bool is_branch(struct compiler *c, const struct clauses *k, term_t clauses, term_t subject)
{
    if (k->count != 2 || k->rows[0].guard != NULL || k->rows[1].guard != NULL ||
        pair_head(clauses) != TERM_TRUE) {
        return false;
    }
    return pair_head(pair_rest(pair_rest(clauses))) == SYM(underscore) &&
           is_boolean_call(c, subject);
}

static bool compile_branch(struct compiler *c, const struct clauses *k, const term_t *subject,
                           struct dest d)
{
    uint32_t otherwise;
    uint32_t end;

    /* What if makes asks for (not t): with t asked, the test itself is the jump. */
    bool flipped;
    const term_t *test = branch_without_not(c, subject, &flipped);

    if (!label_new(c, &otherwise) || !label_new(c, &end) || !branch_false(c, test, otherwise) ||
        !compile_at(c, k->rows[flipped ? 1 : 0].body, d) || (!d.tail && !emit_jump(c, end))) {
        return false;
    }
    label_bind(c, otherwise);
    bool ok = compile_at(c, k->rows[flipped ? 0 : 1].body, d);

    label_bind(c, end);
    return ok;
}

/* ---- a tuple that is only made to be taken apart ---- */

enum {
    SPREAD_MAX = 32
};

/* Does every row either take any tuple or one of just this length? */
static bool can_spread(const struct clauses *k, term_t subject)
{
    if (!term_is_tuple(subject) || tuple_count(subject) > SPREAD_MAX || k->count == 0) {
        return false;
    }
    for (uint32_t i = 0; i < k->count; i++) {
        const struct row *r = &k->rows[i];

        if (r->name_count != 0) {
            return false;
        }
        if (r->test_count != 0 &&
            (r->tests[0].pattern->kind != P_TUPLE || r->tests[0].pattern->rest ||
             r->tests[0].pattern->count != tuple_count(subject))) {
            return false;
        }
    }
    return true;
}

static bool spread_rows(struct compiler *c, const struct clauses *k, const unsigned *slots,
                        struct row **rows)
{
    for (uint32_t i = 0; i < k->count; i++) {
        struct row *r = &k->rows[i];

        rows[i] = r;
        if (r->test_count == 0) {
            continue;
        }
        const struct pattern *p = r->tests[0].pattern;

        r->test_count = 0;
        for (uint32_t e = 0; e < p->count; e++) {
            /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): a row has as many as slots */
            if (!add_test(c, r, slots[e], p->parts[e])) {
                return false;
            }
        }
    }
    return true;
}

/* Only now the tuple itself is needed. */
static bool emit_spread_badmatch(struct compiler *c, const unsigned *slots, unsigned n)
{
    unsigned base = c->fn->top;
    unsigned slot;

    for (unsigned i = 0; i < n; i++) {
        if (!slot_new(c, &slot)) {
            return false;
        }
        emit(c, OP_MOVE, slot, slots[i], 0);
    }
    if (!slot_new(c, &slot)) {
        return false;
    }
    emit(c, OP_TUPLE, slot, n == 0 ? 0 : base, n);
    emit_word(c, 0);
    emit(c, OP_BADMATCH, slot, 0, 0);
    return true;
}

static bool compile_spread(struct compiler *c, struct match *m, const struct clauses *k,
                           term_t subject)
{
    unsigned n = (unsigned)tuple_count(subject);
    unsigned slots[SPREAD_MAX];
    struct row **rows =
        pool_alloc(c, k->count * sizeof(struct row *)); // NOLINT(bugprone-sizeof-expression)
    uint32_t fail;

    if (rows == NULL || !label_new(c, &fail) || !label_new(c, &m->end)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!compile_operand(c, term_ptr(subject) + 1 + i, &slots[i])) {
            return false;
        }
    }
    if (!spread_rows(c, k, slots, rows) || !rows_compile(c, m, rows, k->count, fail)) {
        return false;
    }
    label_bind(c, fail);
    if (label_is_used(c, fail) && !emit_spread_badmatch(c, slots, n)) {
        return false;
    }
    label_bind(c, m->end);
    return true;
}

bool compile_match(struct compiler *c, term_t form, struct dest d)
{
    if (!term_is_list(pair_rest(form))) {
        return syntax_error(c, form, "match needs a value");
    }
    const term_t *subject = term_ptr(pair_rest(form));
    struct match m = { .dest = d };
    struct clauses clauses;
    uint32_t fail;
    unsigned slot;

    if (!clauses_parse(c, form, subject[1], false, &clauses)) {
        return false;
    }
    if (is_branch(c, &clauses, subject[1], *subject)) {
        return compile_branch(c, &clauses, subject, d);
    }
    if (can_spread(&clauses, *subject)) {
        return compile_spread(c, &m, &clauses, *subject);
    }
    if (!label_new(c, &fail) || !label_new(c, &m.end) || !compile_operand(c, subject, &slot) ||
        !compile_rows(c, &m, &clauses, slot, fail)) {
        return false;
    }
    label_bind(c, fail);
    if (label_is_used(c, fail)) {
        emit(c, OP_BADMATCH, slot, 0, 0);
    }
    label_bind(c, m.end);
    return true;
}

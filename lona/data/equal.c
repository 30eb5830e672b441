/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Equality (5.2), with a work list instead of recursion, and the library's order.
 *
 * The list holds pairs of terms still to be compared. It starts on the C stack and grows in the
 * worker's arena; without a process it may only compare what fits, and recurses for the rest.
 *
 * A pair that was on the list once need not come again: had it differed, all would be over. After
 * MEMO_FROM pairs they are remembered, so that parts shared many times over don't take time without
 * end.
 *
 * Keys that are collections themselves need no recursion either while one entry only can be the
 * partner, going by kind and hash. Where several can, each is tried; such trials inside one another
 * end at TRIALS_MAX, where the keys count as different. It takes that many levels of sets that hold
 * several members which differ below HASH_DEPTH levels.
 */
#include "data/data.h"
#include "gc/heap.h"
#include "number/number.h"
#include "realm/realm.h"
#include "vm_state.h"

enum {
    INLINE_PAIRS = 64,
    TRIALS_MAX = 100,
    MEMO_FROM = 1000,
    MEMO_FIRST = 2048,
    CELLS_A_MEMO = 8,
};

struct work {
    struct process *p;
    term_t (*pairs)[2];
    size_t count;
    size_t capacity;
    size_t done;
    bool differs;
    size_t walked; /* pairs pushed and cells passed */
    term_t (*memo)[2];
    size_t memo_count;
    size_t memo_capacity; /* a power of two */
    term_t inline_pairs[INLINE_PAIRS][2];
};

/* May it hold other terms, so that comparing it may lead anywhere? */
static bool is_deep(term_t t)
{
    return term_is_list(t) || term_is_tuple(t) || term_is_vector(t) || term_is_map(t) ||
           term_is_set(t);
}

static size_t memo_slot(term_t (*memo)[2], size_t capacity, term_t a, term_t b)
{
    size_t at = (size_t)(((a >> 3) * 0x9E3779B97F4A7C15u ^ (b >> 3)) * 0xBF58476D1CE4E5B9u >> 32);

    for (at &= capacity - 1; memo[at][0] != 0 && (memo[at][0] != a || memo[at][1] != b);) {
        at = (at + 1) & (capacity - 1);
    }
    return at;
}

/* Without memory for more, what is remembered stays. */
static void memo_grow(struct work *w)
{
    size_t capacity = w->memo == NULL ? MEMO_FIRST : w->memo_capacity * 2;
    term_t(*memo)[2] = arena_alloc(process_arena(w->p), capacity * sizeof(*memo));

    if (memo == NULL) {
        return;
    }
    __builtin_memset(memo, 0, capacity * sizeof(*memo));
    for (size_t i = 0; w->memo != NULL && i < w->memo_capacity; i++) {
        if (w->memo[i][0] != 0) {
            size_t at = memo_slot(memo, capacity, w->memo[i][0], w->memo[i][1]);

            memo[at][0] = w->memo[i][0];
            memo[at][1] = w->memo[i][1];
        }
    }
    if (w->memo != NULL) {
        arena_free(process_arena(w->p), w->memo, w->memo_capacity * sizeof(*memo));
    }
    w->memo = memo;
    w->memo_capacity = capacity;
}

/* Has this pair been met? Remembers it. */
static bool is_known(struct work *w, term_t a, term_t b)
{
    if (++w->walked <= MEMO_FROM || w->p == NULL || !is_deep(a)) {
        return false;
    }
    if (w->memo_count * 2 >= w->memo_capacity) {
        memo_grow(w);
    }
    if (w->memo == NULL) {
        return false;
    }
    size_t at = memo_slot(w->memo, w->memo_capacity, a, b);

    if (w->memo[at][0] != 0) {
        return true;
    }
    if (w->memo_count + 1 < w->memo_capacity) {
        w->memo[at][0] = a;
        w->memo[at][1] = b;
        w->memo_count++;
    }
    return false;
}

static void work_push(struct work *w, term_t a, term_t b)
{
    if (a == b && !term_is_boxed(a)) {
        return;
    }
    if (!term_is_pointer(a) && !term_is_pointer(b)) {
        w->differs = true;
        return;
    }
    if (is_known(w, a, b)) {
        return;
    }
    if (w->count == w->capacity) {
        term_t(*bigger)[2] =
            w->p == NULL ? NULL
                         : arena_alloc(process_arena(w->p), w->capacity * 2 * sizeof(*bigger));

        if (bigger == NULL) {
            w->differs |= !term_equal_slow(w->p, a, b);
            return;
        }
        __builtin_memcpy(bigger, w->pairs, w->count * sizeof(*bigger));
        if (w->pairs != w->inline_pairs) {
            arena_free(process_arena(w->p), w->pairs, w->capacity * sizeof(*bigger));
        }
        w->pairs = bigger;
        w->capacity *= 2;
    }
    w->pairs[w->count][0] = a;
    w->pairs[w->count][1] = b;
    w->count++;
}

static bool is_same_kind(term_t a, term_t b)
{
    return term_is_list(a)
               ? term_is_list(b)
               : term_is_boxed(b) && header_tag(box_header(a)) == header_tag(box_header(b));
}

/* The entry of b for the cursor's key, where several have its hash. */
static term_t try_entries(struct work *w, term_t key, term_t b, bool sets)
{
    struct worker *worker = w->p->worker;
    term_t v = TERM_HOLE;

    if (worker->equal_trials < TRIALS_MAX) {
        worker->equal_trials++;
        v = sets ? set_get(w->p, b, key) : map_get(w->p, b, key);
        worker->equal_trials--;
    }
    return v;
}

static void compare_deep_entry(struct work *w, const struct map_cursor *c, term_t b, bool sets)
{
    struct vm *vm = process_vm(w->p);
    size_t stride = sets ? 1 : 2;
    size_t n;
    const term_t *e = map_candidates(w->p, b, c->key, &n);
    const term_t *found = NULL;
    size_t fitting = 0;

    for (size_t i = 0; i < n; i++, e += stride) {
        if (is_same_kind(c->key, e[0]) &&
            (n == 1 || term_hash(vm, e[0]) == term_hash(vm, c->key))) {
            found = e;
            fitting++;
        }
    }
    w->done++;
    if (fitting == 0) {
        w->differs = true;
    } else if (fitting == 1) {
        work_push(w, c->key, found[0]);
        if (!sets) {
            work_push(w, c->value, found[1]);
        }
    } else {
        term_t v = try_entries(w, c->key, b, sets);

        w->differs = v == TERM_HOLE;
        if (!sets && !w->differs) {
            work_push(w, c->value, v);
        }
    }
}

static void compare_maps(struct work *w, term_t a, term_t b, bool sets)
{
    struct map_cursor c;

    if ((sets ? set_count(a) : map_count(a)) != (sets ? set_count(b) : map_count(b))) {
        w->differs = true;
        return;
    }
    for (map_first(&c, a); !c.done && !w->differs; map_next(&c)) {
        if (w->p != NULL && is_deep(c.key)) {
            compare_deep_entry(w, &c, b, sets);
            continue;
        }
        term_t v = sets ? set_get(w->p, b, c.key) : map_get(w->p, b, c.key);

        w->done++;
        if (v == TERM_HOLE) {
            w->differs = true;
        } else if (!sets) {
            work_push(w, c.value, v);
        }
    }
}

static bool same_bytes(const void *a, size_t na, const void *b, size_t nb)
{
    return na == nb && __builtin_memcmp(a, b, na) == 0;
}

static void compare_sequences(struct work *w, term_t a, term_t b, bool vectors)
{
    size_t n = vectors ? vector_count(a) : tuple_count(a);

    if (n != (vectors ? vector_count(b) : tuple_count(b))) {
        w->differs = true;
        return;
    }
    w->done += n;
    for (size_t i = n; i-- > 0 && !w->differs;) {
        work_push(w, vectors ? vector_get(a, i) : tuple_get(a, i),
                  vectors ? vector_get(b, i) : tuple_get(b, i));
    }
}

static bool is_number_tag(enum object_tag t)
{
    return t == TAG_BIGNUM || t == TAG_FLOAT || t == TAG_F32 || t == TAG_RATIO || t == TAG_FIXINT;
}

/* At least one is boxed. */
static void compare_boxed(struct work *w, term_t a, term_t b)
{
    if (!term_is_boxed(a)) {
        term_t swap = a;

        a = b;
        b = swap;
    }
    enum object_tag tag = header_tag(box_header(a));

    if (is_number_tag(tag)) {
        w->differs |= !term_is_number(b) || !number_equal(a, b);
        return;
    }
    if (tag == TAG_NOTED || term_has_tag(b, TAG_NOTED)) {
        w->differs |= !term_is_symbol(a) || !term_is_symbol(b) || symbol_bare(a) != symbol_bare(b);
        return;
    }
    if (!term_is_boxed(b)) {
        w->differs = true;
        return;
    }
    if (term_is_binary(a)) {
        struct bytes_view va = binary_view(a);
        struct bytes_view vb = term_is_binary(b) ? binary_view(b) : (struct bytes_view){ NULL, 0 };

        w->done += va.size / 64;
        w->differs |= !term_is_binary(b) || !same_bytes(va.data, va.size, vb.data, vb.size);
        return;
    }
    if (header_tag(box_header(b)) != tag) {
        w->differs = true;
        return;
    }
    switch (tag) {
    case TAG_TUPLE:
        compare_sequences(w, a, b, false);
        return;
    case TAG_VECTOR:
        compare_sequences(w, a, b, true);
        return;
    case TAG_MAP:
        compare_maps(w, a, b, false);
        return;
    case TAG_SET:
        compare_maps(w, a, b, true);
        return;
    case TAG_STRING:
        w->done += string_bytes(a) / 64;
        w->differs |= !same_bytes(string_data(a), string_bytes(a), string_data(b), string_bytes(b));
        return;
    case TAG_PID:
    case TAG_REF:
    case TAG_PADDR:
    case TAG_VADDR:
        w->differs |= term_ptr(a)[1] != term_ptr(b)[1];
        return;
    default:
        w->differs |= a != b;
        return;
    }
}

static void compare_lists(struct work *w, term_t a, term_t b)
{
    while (term_is_list(a) && term_is_list(b) && a != b && !w->differs) {
        work_push(w, pair_head(a), pair_head(b));
        w->done++;
        a = pair_rest(a);
        b = pair_rest(b);
        /* Heads first, so that the work list stays short. */
        if (w->count == w->capacity) {
            work_push(w, a, b);
            return;
        }
        /* Of the cells some are remembered, so that a long list costs little. */
        if ((a >> 4) % CELLS_A_MEMO == 0 && term_is_list(b) && is_known(w, a, b)) {
            return;
        }
    }
    if (a != b) {
        if (term_is_list(a) || term_is_list(b) || !term_is_boxed(a)) {
            w->differs = true;
        } else {
            work_push(w, a, b);
        }
    }
}

bool term_equal_slow(struct process *p, term_t a, term_t b)
{
    struct work w;

    w.p = p;
    w.pairs = w.inline_pairs;
    w.count = 0;
    w.capacity = INLINE_PAIRS;
    w.done = 0;
    w.differs = false;
    w.walked = 0;
    w.memo = NULL;
    w.memo_count = 0;
    w.memo_capacity = 0;
    work_push(&w, a, b);
    while (w.count > 0 && !w.differs) {
        w.count--;
        a = w.pairs[w.count][0];
        b = w.pairs[w.count][1];
        if (term_is_list(a) && term_is_list(b)) {
            compare_lists(&w, a, b);
        } else if (term_is_boxed(a) || term_is_boxed(b)) {
            compare_boxed(&w, a, b);
        } else {
            w.differs = a != b;
        }
    }
    if (p != NULL && w.pairs != w.inline_pairs) {
        arena_free(process_arena(p), w.pairs, w.capacity * sizeof(*w.pairs));
    }
    if (p != NULL && w.memo != NULL) {
        arena_free(process_arena(p), w.memo, w.memo_capacity * sizeof(*w.memo));
    }
    if (p != NULL && w.done > 16) {
        process_charge(p, w.done / 16);
    }
    return !w.differs;
}

/* ---- order ---- */

static int compare_bytes(const void *a, size_t na, const void *b, size_t nb)
{
    int c = __builtin_memcmp(a, b, min_of(na, nb));

    return c != 0 ? (c < 0 ? -1 : 1) : (na > nb) - (na < nb);
}

static int compare_names(struct vm *vm, term_t a, term_t b)
{
    const struct name *x = realm_name(vm, a);
    const struct name *y = realm_name(vm, b);

    return compare_bytes(x->text, x->size, y->text, y->size);
}

enum {
    COMPARE_DEPTH = 256
};

static int compare_terms(struct vm *vm, term_t a, term_t b, unsigned depth);

static int compare_elements(struct vm *vm, term_t a, term_t b, bool vectors, unsigned depth)
{
    size_t na = vectors ? vector_count(a) : tuple_count(a);
    size_t nb = vectors ? vector_count(b) : tuple_count(b);

    for (size_t i = 0; i < na && i < nb; i++) {
        int c = vectors ? compare_terms(vm, vector_get(a, i), vector_get(b, i), depth + 1)
                        : compare_terms(vm, tuple_get(a, i), tuple_get(b, i), depth + 1);

        if (c != 0) {
            return c;
        }
    }
    return (na > nb) - (na < nb);
}

static bool is_proper(term_t t)
{
    return term_is_list(t) || t == TERM_EMPTY;
}

static int compare_list_terms(struct vm *vm, term_t a, term_t b, unsigned depth)
{
    while (term_is_list(a) && term_is_list(b)) {
        int c = compare_terms(vm, pair_head(a), pair_head(b), depth + 1);

        if (c != 0) {
            return c;
        }
        a = pair_rest(a);
        b = pair_rest(b);
    }
    return term_is_list(a) - term_is_list(b);
}

static int compare_terms(struct vm *vm, term_t a, term_t b, unsigned depth)
{
    if (depth > COMPARE_DEPTH) {
        return -2;
    }
    if (term_is_number(a) && term_is_number(b)) {
        enum number_order o = number_compare(a, b);

        return o == NUMBER_UNORDERED ? -2 : (int)o;
    }
    if (term_is_char(a) && term_is_char(b)) {
        return (char_value(a) > char_value(b)) - (char_value(a) < char_value(b));
    }
    if ((term_is_keyword(a) && term_is_keyword(b))) {
        return compare_names(vm, a, b);
    }
    if (term_is_symbol(a) && term_is_symbol(b)) {
        return compare_names(vm, symbol_bare(a), symbol_bare(b));
    }
    if (is_proper(a) && is_proper(b)) {
        return compare_list_terms(vm, a, b, depth);
    }
    if ((a == TERM_TRUE || a == TERM_FALSE) && (b == TERM_TRUE || b == TERM_FALSE)) {
        return (a == TERM_TRUE) - (b == TERM_TRUE);
    }
    if (a == TERM_NIL && b == TERM_NIL) {
        return 0;
    }
    if (term_is_string(a) && term_is_string(b)) {
        return compare_bytes(string_data(a), string_bytes(a), string_data(b), string_bytes(b));
    }
    if (term_is_tuple(a) && term_is_tuple(b)) {
        return compare_elements(vm, a, b, false, depth);
    }
    if (term_is_vector(a) && term_is_vector(b)) {
        return compare_elements(vm, a, b, true, depth);
    }
    return -2;
}

int term_compare(struct vm *vm, term_t a, term_t b)
{
    return compare_terms(vm, a, b, 0);
}

int64_t list_length(term_t list)
{
    int64_t n = 0;

    for (; term_is_list(list); list = pair_rest(list)) {
        n++;
    }
    return list == TERM_EMPTY ? n : -1;
}

static term_t boxed_type(term_t t)
{
    static const term_t by_tag[] = {
        [TAG_TUPLE] = KW(tuple),      [TAG_VECTOR] = KW(vector),
        [TAG_MAP] = KW(map),          [TAG_STRING] = KW(string),
        [TAG_BINARY] = KW(binary),    [TAG_BIGNUM] = KW(integer),
        [TAG_FLOAT] = KW(float),      [TAG_FUN] = KW(function),
        [TAG_CLOSURE] = KW(function), [TAG_PID] = KW(pid),
        [TAG_REF] = KW(ref),          [TAG_PROCBIN] = KW(binary),
        [TAG_SUBBIN] = KW(binary),    [TAG_NAMESPACE] = KW(namespace),
        [TAG_VAR] = KW(var),          [TAG_NOTED] = KW(symbol),
        [TAG_RATIO] = KW(ratio),      [TAG_SET] = KW(set),
        [TAG_F32] = KW(float),        [TAG_BYTEBUF] = KW(bytebuf),
        [TAG_PADDR] = KW(paddr),      [TAG_VADDR] = KW(vaddr),
    };
    static const term_t fixed[] = { KW(u8), KW(u16), KW(u32), KW(u64),
                                    KW(i8), KW(i16), KW(i32), KW(i64) };
    enum object_tag tag = header_tag(box_header(t));

    if (tag == TAG_FIXINT) {
        return fixed[header_count(box_header(t)) & 7];
    }
    assert((size_t)tag < array_size(by_tag) && by_tag[tag] != 0);
    return by_tag[tag];
}

term_t term_type_keyword(term_t t)
{
    if (term_is_list(t) || t == TERM_EMPTY) {
        return KW(list);
    }
    if (term_is_boxed(t)) {
        return boxed_type(t);
    }
    switch (t & TERM_NIBBLE_MASK) {
    case TERM_SMALL:
        return KW(integer);
    case TERM_SYMBOL:
        return KW(symbol);
    case TERM_KEYWORD:
        return KW(keyword);
    default:
        break;
    }
    if (term_is_char(t)) {
        return KW(char);
    }
    return term_is_native(t) ? KW(function) : t == TERM_NIL ? KW(nil) : KW(boolean);
}

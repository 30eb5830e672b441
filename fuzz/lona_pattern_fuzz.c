/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pattern compiler against a plain matcher. Bytes become a value and clauses, whose patterns
 * come from the same few kinds and literals as the value, so that they overlap; the compiled match
 * (or receive) must choose the clause, and bind the names to the parts, that trying one clause
 * after the other with a recursive comparison does.
 */
#include <stdio.h>
#include <string.h>

#include "lona_fuzz.h"

#include "compiler/compiler.h"
#include "data/data.h"
#include "native.h"
#include "number/number.h"
#include "reader/printer.h"

enum {
    INPUTS_A_VM = 1000,
    RUN_MS = 20000,
    BYTES = 2048,
    DEPTH_MAX = 4,
    PARTS_MAX = 4,
    CLAUSES_MAX = 40,
    BOUND_MAX = 32,
};

struct input {
    const uint8_t *data;
    size_t size, at;
    bool ran;
};

struct names {
    term_t symbols[BOUND_MAX];
    term_t values[BOUND_MAX];
    unsigned count;
};

static unsigned next_byte(struct input *in)
{
    return in->at < in->size ? in->data[in->at++] : 0;
}

/* ---- values and patterns; the collector is inhibited, memory never runs out here ---- */

static term_t checked(term_t t)
{
    if (t == TERM_ERROR) {
        abort();
    }
    return t;
}

static term_t make_symbol(struct process *p, const char *text)
{
    return checked(realm_symbol(process_vm(p), text, strlen(text)));
}

static term_t make_literal(struct process *p, unsigned choice)
{
    static const term_t specials[] = { TERM_NIL, TERM_TRUE, TERM_FALSE, TERM_EMPTY };
    unsigned n = choice / 8;

    switch (choice % 8) {
    case 0:
    case 1:
    case 2:
        return term_small((int64_t)n - 8);
    case 3:
        return checked(realm_keyword(process_vm(p), "abcdef", 1 + n % 6));
    case 4:
        return specials[n % 4];
    case 5:
        return checked(heap_string(p, "abc", 1 + n % 3));
    case 6:
        if (!heap_reserve(p, FLOAT_WORDS)) {
            abort();
        }
        return heap_float(p, n == 31 ? __builtin_nan("") : (double)n / 2);
    default:
        return term_char(n % 4 + 'a');
    }
}

static term_t make_list(struct process *p, const term_t *parts, unsigned n)
{
    term_t list = TERM_EMPTY;

    for (unsigned i = n; i-- > 0;) {
        if (!heap_reserve(p, PAIR_WORDS)) {
            abort();
        }
        list = heap_pair(p, parts[i], list);
    }
    return list;
}

static term_t make_tuple(struct process *p, const term_t *parts, unsigned n)
{
    term_t *e;

    if (!heap_reserve(p, TUPLE_WORDS(n))) {
        abort();
    }
    term_t t = heap_tuple(p, n, &e);

    for (unsigned i = 0; i < n; i++) {
        e[i] = parts[i];
    }
    return t;
}

enum shape {
    SHAPE_TUPLE,
    SHAPE_VECTOR,
    SHAPE_LIST,
    SHAPE_MAP,
    SHAPE_SET,
    SHAPES,
};

static term_t make_shape(struct process *p, enum shape shape, term_t *parts, unsigned n)
{
    term_t pairs[2 * (PARTS_MAX + 2)];

    switch (shape) {
    case SHAPE_TUPLE:
        return make_tuple(p, parts, n);
    case SHAPE_VECTOR:
        return checked(vector_from_array(p, parts, n));
    case SHAPE_LIST:
        return make_list(p, parts, n);
    case SHAPE_MAP:
        for (unsigned i = 0; i < n; i++) {
            pairs[(size_t)2 * i] = term_small(i);
            pairs[(size_t)2 * i + 1] = parts[i];
        }
        return checked(map_from_array(p, pairs, n));
    case SHAPE_SET:
    case SHAPES:
        return checked(set_from_array(p, parts, n));
    }
    return TERM_NIL;
}

static term_t make_value(struct input *in, struct process *p, unsigned depth)
{
    unsigned choice = next_byte(in);
    unsigned n = choice / 8 % (PARTS_MAX + 1);
    term_t parts[PARTS_MAX];

    if (depth == DEPTH_MAX || choice % 8 >= SHAPES) {
        return make_literal(p, next_byte(in));
    }
    for (unsigned i = 0; i < n; i++) {
        parts[i] = choice % 8 == SHAPE_SET ? make_literal(p, next_byte(in) / 8 * 8)
                                           : make_value(in, p, depth + 1);
    }
    return make_shape(p, (enum shape)(choice % 8), parts, n);
}

static term_t make_name(struct process *p, struct names *names)
{
    if (names->count == BOUND_MAX) {
        return SYM(underscore);
    }
    char text[] = { 'v', (char)('a' + names->count / 26), (char)('a' + names->count % 26), 0 };
    term_t name = make_symbol(p, text);

    names->symbols[names->count++] = name;
    return name;
}

static term_t make_pattern(struct input *in, struct process *p, struct names *names, unsigned depth)
{
    unsigned choice = next_byte(in);
    unsigned n = choice / 16 % (PARTS_MAX + 1);
    unsigned shape = choice % 8;
    term_t parts[PARTS_MAX + 2];

    if (shape == SHAPES) {
        return make_name(p, names);
    }
    if (shape == SHAPES + 1) {
        return SYM(underscore);
    }
    if (depth == DEPTH_MAX || shape > SHAPES) {
        return make_literal(p, next_byte(in));
    }
    for (unsigned i = 0; i < n; i++) {
        parts[i] = shape == SHAPE_SET ? make_literal(p, next_byte(in) / 8 * 8)
                                      : make_pattern(in, p, names, depth + 1);
    }
    if ((choice & 8) != 0 && shape <= SHAPE_LIST && (shape != SHAPE_LIST || n > 0)) {
        parts[n++] = SYM(ampersand);
        parts[n++] = make_name(p, names);
    }
    return make_shape(p, (enum shape)shape, parts, n);
}

/* ---- the plain matcher ---- */

static bool matches(struct process *p, term_t pattern, term_t v, struct names *names);

static bool bind(struct names *names, term_t symbol, term_t v)
{
    for (unsigned i = 0; i < names->count; i++) {
        if (names->symbols[i] == symbol) {
            names->values[i] = v;
            return true;
        }
    }
    abort();
}

static term_t element(term_t t, size_t i)
{
    return term_is_tuple(t) ? tuple_get(t, i) : vector_get(t, i);
}

/* Tuples and vectors, with or without "& rest" at the end. */
static bool matches_sequence(struct process *p, term_t pattern, term_t v, struct names *names)
{
    bool tuple = term_is_tuple(pattern);

    if (tuple ? !term_is_tuple(v) : !term_is_vector(v)) {
        return false;
    }
    size_t n = tuple ? tuple_count(pattern) : vector_count(pattern);
    size_t have = tuple ? tuple_count(v) : vector_count(v);
    bool rest = n >= 2 && element(pattern, n - 2) == SYM(ampersand);
    size_t fixed = rest ? n - 2 : n;

    if (rest ? have < fixed : have != fixed) {
        return false;
    }
    for (size_t i = 0; i < fixed; i++) {
        if (!matches(p, element(pattern, i), element(v, i), names)) {
            return false;
        }
    }
    term_t parts[PARTS_MAX + 2];

    for (size_t i = fixed; rest && i < have; i++) {
        parts[i - fixed] = element(v, i);
    }
    return !rest || matches(p, element(pattern, n - 1),
                            make_list(p, parts, (unsigned)(have - fixed)), names);
}

static bool matches_list(struct process *p, term_t pattern, term_t v, struct names *names)
{
    while (term_is_list(pattern)) {
        if (pair_head(pattern) == SYM(ampersand)) {
            return matches(p, pair_head(pair_rest(pattern)), v, names);
        }
        if (!term_is_list(v) || !matches(p, pair_head(pattern), pair_head(v), names)) {
            return false;
        }
        pattern = pair_rest(pattern);
        v = pair_rest(v);
    }
    return v == TERM_EMPTY;
}

static bool matches_map(struct process *p, term_t pattern, term_t v, struct names *names)
{
    struct map_cursor c;

    if (!term_is_map(v)) {
        return false;
    }
    for (map_first(&c, pattern); !c.done; map_next(&c)) {
        term_t part = map_get(p, v, c.key);

        if (part == TERM_HOLE || !matches(p, c.value, part, names)) {
            return false;
        }
    }
    return true;
}

static bool matches(struct process *p, term_t pattern, term_t v, struct names *names)
{
    if (pattern == SYM(underscore)) {
        return true;
    }
    if (term_is_symbol(pattern)) {
        return bind(names, pattern, v);
    }
    if (term_is_list(pattern)) {
        return matches_list(p, pattern, v, names);
    }
    if (term_is_tuple(pattern) || term_is_vector(pattern)) {
        return matches_sequence(p, pattern, v, names);
    }
    if (term_is_map(pattern)) {
        return matches_map(p, pattern, v, names);
    }
    return term_equal(p, pattern, v);
}

/* ---- one input ---- */

/* The guards: none, never, always, and two that look at the first name. */
static term_t make_guard(struct process *p, unsigned choice, const struct names *names)
{
    const term_t name = names->count != 0 ? names->symbols[0] : TERM_TRUE;
    const term_t test[] = { make_symbol(p, "integer?"), name };
    const term_t less[] = { make_symbol(p, "<"), name, term_small(3) };

    switch (choice % 8) {
    case 0:
        return TERM_FALSE;
    case 1:
        return TERM_TRUE;
    case 2:
        return make_list(p, test, 2);
    case 3:
        return make_list(p, less, 3); /* fails on what is no number */
    default:
        return TERM_UNBOUND;
    }
}

static bool guard_holds(unsigned choice, const struct names *names)
{
    term_t v = names->count != 0 ? names->values[0] : TERM_TRUE;
    double d;

    switch (choice % 8) {
    case 0:
        return false;
    case 2:
        return term_is_integer(v);
    case 3:
        if (term_has_tag(v, TAG_FLOAT)) {
            memcpy(&d, &term_ptr(v)[1], sizeof(d));
            return d < 3;
        }
        return term_is_small(v) && small_value(v) < 3;
    default:
        return true;
    }
}

/* Value, form and expected result all follow from the bytes; built anew in each round. */
struct task {
    term_t value;
    term_t form;
    term_t expected;
};

static struct task make_task(struct input *in, struct process *p)
{
    static term_t form[4 * CLAUSES_MAX + 16];
    struct task t = { .expected = TERM_UNBOUND };
    unsigned n = 0;

    in->at = 0;
    unsigned mode = next_byte(in);
    unsigned clauses = 1 + next_byte(in) % CLAUSES_MAX;
    bool receives = (mode & 1) != 0;
    const term_t quote[] = { SYM(quote), t.value = make_value(in, p, 0) };

    form[n++] = make_symbol(p, receives ? "receive" : "match");
    if (!receives) {
        form[n++] = make_list(p, quote, 2);
    }
    for (unsigned i = 0; i < clauses; i++) {
        struct names names = { .count = 0 };
        unsigned choice = next_byte(in);
        /* Some inputs are literals only: the switches. */
        term_t pattern =
            (mode & 2) != 0 ? make_literal(p, next_byte(in)) : make_pattern(in, p, &names, 0);
        term_t guard = make_guard(p, choice, &names);
        term_t result[BOUND_MAX + 1] = { term_small(i) };

        form[n++] = pattern;
        if (guard != TERM_UNBOUND) {
            form[n++] = SYM(when);
            form[n++] = guard;
        }
        memcpy(&result[1], names.symbols, names.count * sizeof(term_t));
        form[n++] = make_tuple(p, result, names.count + 1);
        if (t.expected == TERM_UNBOUND && matches(p, pattern, t.value, &names) &&
            guard_holds(choice, &names)) {
            memcpy(&result[1], names.values, names.count * sizeof(term_t));
            t.expected = make_tuple(p, result, names.count + 1);
        }
    }
    if (receives) {
        form[n++] = KW(after);
        form[n++] = term_small(0);
    } else {
        form[n++] = SYM(underscore);
    }
    form[n++] = KW(timeout);
    t.form = make_list(p, form, n);
    if (t.expected == TERM_UNBOUND) {
        t.expected = KW(timeout);
    }
    return t;
}

static void to_stderr(void *arg, const char *text, size_t n)
{
    (void)arg;
    (void)fwrite(text, 1, n, stderr);
}

static void show(struct process *p, const char *title, term_t t)
{
    (void)fprintf(stderr, "%s ", title);
    term_print(process_vm(p), t, NULL, to_stderr, NULL);
    (void)fprintf(stderr, "\n");
}

/* NaN equals nothing, so what prints alike is alike too. */
struct text {
    char bytes[4096];
    size_t size;
};

static void to_text(void *arg, const char *bytes, size_t n)
{
    struct text *t = arg;

    n = n < sizeof(t->bytes) - t->size ? n : sizeof(t->bytes) - t->size;
    memcpy(t->bytes + t->size, bytes, n);
    t->size += n;
}

static bool is_same(struct process *p, term_t a, term_t b)
{
    static struct text texts[2];

    if (term_equal(p, a, b)) {
        return true;
    }
    texts[0].size = texts[1].size = 0;
    term_print(process_vm(p), a, NULL, to_text, &texts[0]);
    term_print(process_vm(p), b, NULL, to_text, &texts[1]);
    return texts[0].size == texts[1].size &&
           memcmp(texts[0].bytes, texts[1].bytes, texts[0].size) == 0 &&
           memmem(texts[0].bytes, texts[0].size, "##NaN", 5) != NULL;
}

static term_t run(void *arg, struct process *p, term_t last, bool *again)
{
    struct input *in = arg;
    const struct compile_source source = { .file = "fuzz", .place = { 1, 1 } };
    struct code_unit u;
    term_t fun = TERM_NIL;
    struct root r;

    root_push(p, &r, &last);
    heap_inhibit_gc(p);
    struct task t = make_task(in, p);

    if (in->ran) {
        if (!is_same(p, last, t.expected)) {
            show(p, "form", t.form);
            show(p, "value", t.value);
            show(p, "expected", t.expected);
            show(p, "got", last);
            abort();
        }
    } else {
        code_unit_init(&u, process_vm(p));
        fun = compile_form(p, &source, t.form, &u) ? code_link(p, &u) : TERM_ERROR;
        code_unit_deinit(&u);
        if (fun == TERM_ERROR) {
            show(p, "form", t.form);
            show(p, "refused", p->reason);
            abort();
        }
        if ((in->data[0] & 1) != 0 && !process_send(p, process_pid_raw(p), t.value)) {
            abort();
        }
    }
    heap_permit_gc(p);
    root_pop(p, &r);
    if (in->ran) {
        return TERM_NIL;
    }
    in->ran = true;
    *again = true;
    return native_apply(p, fun, TERM_EMPTY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static unsigned inputs;
    static uint8_t bytes[BYTES];
    struct input in = { .data = bytes, .size = sizeof(bytes) };

    if (size == 0) {
        return 0;
    }
    if (vm == NULL) {
        vm = fuzz_vm(false);
    }
    fuzz_extend(bytes, sizeof(bytes), data, size);
    vm->gc_stress = (data[0] & 4) != 0;
    if (!fuzz_run(vm, run, &in, RUN_MS) || !in.ran) {
        abort();
    }
    if (++inputs == INPUTS_A_VM) {
        vm_destroy(vm);
        vm = NULL;
        inputs = 0;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Syntax-quote (section 3.4): a template becomes a form that builds it.
 *
 * What holds no unquote is a constant and becomes one (quote ...); other lists become
 * (lona.core/concat* part ...), where neighbouring constants share one quoted part. Unquotes arrive
 * as lists headed by UNQUOTE or SPLICE.
 */
#include "reader/reader_state.h"

#include "data/data.h"

enum {
    TEMPLATE_DEPTH_MAX = 4 * READ_DEPTH_MAX
};

/* A translated form: code to evaluate, or a constant to be quoted. */
struct piece {
    term_t term; /* TERM_ERROR: failed */
    bool constant;
};

struct quoter {
    struct reader *r;
    struct place at;
    unsigned depth;
    size_t gensym_base;
};

static const struct piece failed = { TERM_ERROR, false };

static struct piece translate(struct quoter *q, term_t form);

static term_t core_symbol(struct quoter *q, const char *text)
{
    term_t t = realm_symbol(q->r->vm, text, __builtin_strlen(text));

    return t == TERM_ERROR ? raise_oom(q->r->p) : t;
}

static bool is_self_evaluating(term_t t)
{
    return !term_is_symbol(t) && !term_is_list(t) && !term_is_tuple(t) && !term_is_vector(t) &&
           !term_is_map(t) && !term_is_set(t);
}

/* The code that yields a piece's value. */
static term_t piece_code(struct quoter *q, struct piece p)
{
    if (p.term == TERM_ERROR || !p.constant || is_self_evaluating(p.term)) {
        return p.term;
    }
    return reader_list(q->r, q->at, 2, SYM(quote), p.term);
}

/* ---- symbols ---- */

static bool is_placeholder(const struct reader *r, term_t symbol)
{
    if (!r->anon.active) {
        return false;
    }
    for (unsigned i = 0; i < r->anon.highest; i++) {
        if (r->anon.params[i] == symbol) {
            return true;
        }
    }
    return r->anon.rest == symbol;
}

static bool stays_plain(const struct reader *r, term_t s)
{
    return s == SYM(def) || s == SYM(fn_star) || s == SYM(match) || s == SYM(do) ||
           s == SYM(quote) || s == SYM(var) || s == SYM(receive) || s == SYM(ampersand) ||
           s == SYM(underscore) || s == SYM(when) || is_placeholder(r, s);
}

static bool push_gensym(struct quoter *q, term_t t)
{
    struct term_stack *s = &q->r->gensyms;

    if (s->count == s->capacity) {
        size_t capacity = s->capacity == 0 ? 32 : s->capacity * 2;
        term_t *terms = vm_alloc(q->r->vm, capacity * sizeof(*terms));

        if (terms == NULL) {
            (void)raise_oom(q->r->p);
            return false;
        }
        if (s->count != 0) {
            __builtin_memcpy(terms, s->terms, s->count * sizeof(*terms));
        }
        vm_free(q->r->vm, s->terms, s->capacity * sizeof(*terms));
        s->terms = terms;
        s->capacity = capacity;
    }
    s->terms[s->count++] = t;
    return true;
}

/* x# */
static term_t fresh_symbol(struct quoter *q, term_t symbol, const struct name *name)
{
    const struct term_stack *s = &q->r->gensyms;

    for (size_t i = q->gensym_base; i < s->count; i += 2) {
        if (s->terms[i] == symbol) {
            return s->terms[i + 1];
        }
    }
    term_t fresh = reader_gensym(q->r, name->text, name->size - 1);

    return fresh != TERM_ERROR && push_gensym(q, symbol) && push_gensym(q, fresh) ? fresh
                                                                                  : TERM_ERROR;
}

static term_t qualified(struct quoter *q, term_t symbol)
{
    struct reader *r = q->r;
    struct ns *here = process_ns(r->p);
    term_t ns;
    term_t name;

    realm_split(r->vm, symbol, &ns, &name);
    if (ns != TERM_NIL) {
        struct ns *target = ns_find_alias(r->vm, here, ns);

        return target == NULL ? symbol : realm_qualify(r->vm, ns_name(target), name);
    }
    struct var *v = ns_resolve(r->vm, here, symbol);

    if (v != NULL) {
        return realm_qualify(r->vm, ns_name(term_ns(v->ns)), v->name);
    }
    return realm_qualify(r->vm, ns_name(here), symbol);
}

static struct piece translate_symbol(struct quoter *q, term_t form)
{
    term_t symbol = symbol_bare(form);
    const struct name *name = realm_name(q->r->vm, symbol);
    term_t t;

    if (stays_plain(q->r, symbol)) {
        return (struct piece){ form, true };
    }
    if (name->size > 1 && name->text[name->size - 1] == '#') {
        t = fresh_symbol(q, symbol, name);
        return t == TERM_ERROR ? failed : (struct piece){ t, true };
    }
    t = qualified(q, symbol);
    if (t == TERM_ERROR) {
        (void)raise_oom(q->r->p);
        return failed;
    }
    return (struct piece){ t, true };
}

/* ---- sequences ---- */

static bool is_marked(term_t form, term_t marker)
{
    return term_is_list(form) && pair_head(form) == marker;
}

static term_t marked_form(term_t form)
{
    return pair_head(pair_rest(form));
}

/* The parts of a concatenation, last first on r->stack while it is built. */
struct parts {
    size_t base; /* on r->stack: term, place alternate */
    size_t run;  /* where the current run of constant elements begins, on r->stack */
    bool splices;
    bool constant; /* nothing but constants so far */
};

static bool push_item(struct quoter *q, term_t t)
{
    return t != TERM_ERROR && reader_push(q->r, t) &&
           reader_push(q->r, (term_t)q->at.line << 32 | q->at.column);
}

/* Elements of the run since `run` become one quoted list. */
static bool close_run(struct quoter *q, struct parts *parts)
{
    if (q->r->stack.count == parts->run) {
        return true;
    }
    term_t list = reader_pop_list(q->r, parts->run, q->at);

    list = list == TERM_ERROR ? TERM_ERROR : reader_list(q->r, q->at, 2, SYM(quote), list);
    if (!push_item(q, list)) {
        return false;
    }
    parts->run = q->r->stack.count;
    return true;
}

static bool add_code(struct quoter *q, struct parts *parts, term_t code)
{
    parts->constant = false;
    if (!close_run(q, parts) || !push_item(q, code)) {
        return false;
    }
    parts->run = q->r->stack.count;
    return true;
}

static bool add_element(struct quoter *q, struct parts *parts, term_t form)
{
    if (is_marked(form, SPLICE)) {
        parts->splices = true;
        return add_code(q, parts, marked_form(form));
    }
    struct piece p = translate(q, form);

    if (p.term == TERM_ERROR) {
        return false;
    }
    if (p.constant) {
        return push_item(q, p.term);
    }
    term_t list_name = core_symbol(q, "lona.core/list");

    return list_name != TERM_ERROR &&
           add_code(q, parts, reader_list(q->r, q->at, 2, list_name, p.term));
}

static struct parts parts_begin(struct quoter *q)
{
    return (struct parts){ .base = q->r->stack.count, .run = q->r->stack.count, .constant = true };
}

/* Nothing but constants: their list. Otherwise (concat* part ...). */
static struct piece parts_end(struct quoter *q, struct parts *parts)
{
    struct reader *r = q->r;

    if (parts->constant) {
        term_t list = reader_pop_list(r, parts->base, q->at);

        return list == TERM_ERROR ? failed : (struct piece){ list, true };
    }
    if (!close_run(q, parts)) {
        return failed;
    }
    term_t list = reader_pop_list(r, parts->base, q->at);
    term_t concat = core_symbol(q, "lona.core/concat*");

    if (list == TERM_ERROR || concat == TERM_ERROR || !heap_reserve(r->p, PAIR_WORDS)) {
        return failed;
    }
    return (struct piece){ heap_pair(r->p, concat, list), false };
}

static struct piece translate_list(struct quoter *q, term_t form)
{
    struct parts parts = parts_begin(q);

    for (term_t l = form; term_is_list(l); l = pair_rest(l)) {
        if (!add_element(q, &parts, pair_head(l))) {
            return failed;
        }
    }
    return parts_end(q, &parts);
}

/* ---- the other collections: the same concatenation, then converted ---- */

static bool add_elements(struct quoter *q, struct parts *parts, term_t form)
{
    size_t n = term_is_tuple(form) ? tuple_count(form) : 0;

    for (size_t i = 0; i < n; i++) {
        if (!add_element(q, parts, tuple_get(form, i))) {
            return false;
        }
    }
    n = term_is_vector(form) ? vector_count(form) : 0;
    for (size_t i = 0; i < n; i++) {
        if (!add_element(q, parts, vector_get(form, i))) {
            return false;
        }
    }
    if (term_is_map(form) || term_is_set(form)) {
        struct map_cursor c;

        for (map_first(&c, form); !c.done; map_next(&c)) {
            if (!add_element(q, parts, c.key) ||
                (term_is_map(form) && !add_element(q, parts, c.value))) {
                return false;
            }
        }
    }
    return true;
}

static term_t collect(struct quoter *q, term_t like, term_t list)
{
    struct reader *r = q->r;
    size_t base = r->stack.count;

    for (term_t l = list; term_is_list(l); l = pair_rest(l)) {
        if (!reader_push(r, pair_head(l))) {
            return TERM_ERROR;
        }
    }
    size_t n = r->stack.count - base;
    term_t *elements = r->stack.terms + base;
    term_t t;

    r->stack.count = base;
    if (term_is_vector(like)) {
        return vector_from_array(r->p, elements, n);
    }
    if (term_is_map(like)) {
        return map_from_array(r->p, elements, n / 2);
    }
    if (term_is_set(like)) {
        return set_from_array(r->p, elements, n);
    }
    term_t *to;

    if (!heap_reserve(r->p, TUPLE_WORDS(n))) {
        return TERM_ERROR;
    }
    t = heap_tuple(r->p, n, &to);
    for (size_t i = 0; i < n; i++) {
        to[i] = elements[i];
    }
    return t;
}

static struct piece translate_collection(struct quoter *q, term_t form)
{
    static const char *const makers[] = { "lona.core/tuple", "lona.core/vector",
                                          "lona.core/hash-map", "lona.core/hash-set" };
    unsigned maker = term_is_tuple(form) ? 0 : term_is_vector(form) ? 1 : term_is_map(form) ? 2 : 3;
    struct parts parts = parts_begin(q);

    if (!add_elements(q, &parts, form)) {
        return failed;
    }
    struct piece list = parts_end(q, &parts);

    if (list.term == TERM_ERROR) {
        return failed;
    }
    if (list.constant) {
        term_t t = collect(q, form, list.term);

        return t == TERM_ERROR ? failed : (struct piece){ t, true };
    }
    term_t apply = core_symbol(q, "lona.core/apply");
    term_t make = core_symbol(q, makers[maker]);

    if (apply == TERM_ERROR || make == TERM_ERROR) {
        return failed;
    }
    term_t code = reader_list(q->r, q->at, 3, apply, make, list.term);

    return code == TERM_ERROR ? failed : (struct piece){ code, false };
}

static struct piece translate_inner(struct quoter *q, term_t form)
{
    if (term_is_symbol(form)) {
        return translate_symbol(q, form);
    }
    if (is_marked(form, UNQUOTE)) {
        return (struct piece){ marked_form(form), false };
    }
    if (is_marked(form, SPLICE)) {
        (void)reader_fail(q->r, KW(splice_not_in_collection), q->at,
                          "~@ stands only inside a collection");
        return failed;
    }
    if (term_is_list(form)) {
        return translate_list(q, form);
    }
    if (is_self_evaluating(form)) {
        return (struct piece){ form, true };
    }
    return translate_collection(q, form);
}

static struct piece translate(struct quoter *q, term_t form)
{
    if (q->depth == TEMPLATE_DEPTH_MAX) {
        (void)reader_fail(q->r, KW(too_deep), q->at, "the template is nested too deeply");
        return failed;
    }
    q->depth++;
    struct piece p = translate_inner(q, form);

    q->depth--;
    return p;
}

term_t syntax_quote(struct reader *r, term_t form, struct place at)
{
    struct quoter q = { .r = r, .at = at, .gensym_base = r->gensyms.count };
    size_t base = r->stack.count;
    term_t t = piece_code(&q, translate(&q, form));

    r->stack.count = base;
    r->gensyms.count = q.gensym_base;
    return t;
}

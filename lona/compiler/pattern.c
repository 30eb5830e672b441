/* SPDX-License-Identifier: Apache-2.0 */
/* From forms to pattern trees (section 4.5). */
#include "compiler/pattern.h"

#include "data/data.h"
#include "number/number.h"

typedef LIST_OF(term_t) name_list;

struct parse {
    struct compiler *c;
    name_list names;
    unsigned depth;
};

static struct pattern *parse_form(struct parse *s, term_t form);

static struct pattern *make(struct parse *s, enum pattern_kind kind, uint32_t parts)
{
    struct pattern *p = pool_alloc(s->c, sizeof(*p));

    if (p == NULL) {
        return NULL;
    }
    p->kind = kind;
    p->count = parts;
    p->term = TERM_NIL;
    if (parts != 0) {
        p->parts = pool_alloc(s->c, parts * sizeof(struct pattern *));
    }
    return parts == 0 || p->parts != NULL ? p : NULL;
}

static struct pattern *literal(struct parse *s, term_t t)
{
    struct pattern *p = make(s, t == TERM_EMPTY ? P_EMPTY : P_LITERAL, 0);

    if (p != NULL) {
        p->term = t;
    }
    return p;
}

static struct pattern *parse_symbol(struct parse *s, term_t form)
{
    term_t symbol = symbol_bare(form);

    if (symbol == SYM(underscore)) {
        return make(s, P_ANY, 0);
    }
    if (symbol == SYM(ampersand) || realm_name(s->c->vm, symbol)->slash != 0) {
        (void)syntax_error(s->c, form, "this can't be a pattern variable");
        return NULL;
    }
    for (uint32_t i = 0; i < s->names.count; i++) {
        if (s->names.items[i] == symbol) {
            (void)syntax_error(s->c, form, "a name stands twice in one pattern");
            return NULL;
        }
    }
    if (!LIST_ADD(s->c, s->names, symbol)) {
        return NULL;
    }
    struct pattern *p = make(s, P_NAME, 0);

    if (p != NULL) {
        p->term = symbol;
    }
    return p;
}

/* The elements of a form in an array of the pool. */
static term_t *elements_of(struct parse *s, term_t form, uint32_t *count)
{
    size_t n = term_is_tuple(form)    ? tuple_count(form)
               : term_is_vector(form) ? vector_count(form)
                                      : (size_t)max_of(list_length(form), (int64_t)0);
    term_t *to = pool_alloc(s->c, (n + 1) * sizeof(*to));
    size_t i = 0;

    for (term_t l = form; to != NULL && term_is_list(l) && i < n; l = pair_rest(l)) {
        to[i++] = pair_head(l);
    }
    for (; to != NULL && i < n; i++) {
        to[i] = term_is_tuple(form) ? tuple_get(form, i) : vector_get(form, i);
    }
    *count = (uint32_t)n;
    return to;
}

/* Is there "& name" at the end? An & anywhere else is an error. */
static bool find_rest(struct parse *s, term_t form, const term_t *e, uint32_t n, bool *rest)
{
    *rest = false;
    for (uint32_t i = 0; i < n; i++) {
        if (e[i] == SYM(ampersand)) {
            if (i + 2 != n) {
                return syntax_error(s->c, form, "one pattern follows &");
            }
            *rest = true;
            return true;
        }
    }
    return true;
}

/* Tuple, vector and bytes: parts in order, & dropped. */
static struct pattern *parse_sequence(struct parse *s, enum pattern_kind kind, term_t form,
                                      term_t elements)
{
    uint32_t n;
    bool rest;
    term_t *e = elements_of(s, elements, &n);

    if (e == NULL || !find_rest(s, form, e, n, &rest)) {
        return NULL;
    }
    if (n > UINT16_MAX / 2) {
        (void)compile_fail(s->c, KW(too_complex), TERM_NIL, "the pattern is too long");
        return NULL;
    }
    struct pattern *p = make(s, kind, rest ? n - 1 : n);

    if (p == NULL) {
        return NULL;
    }
    p->rest = rest;
    for (uint32_t i = 0; i < p->count; i++) {
        p->parts[i] = parse_form(s, e[rest && i + 1 == p->count ? n - 1 : i]);
        if (p->parts[i] == NULL) {
            return NULL;
        }
    }
    return p;
}

static struct pattern *parse_list(struct parse *s, term_t form)
{
    uint32_t n;
    bool rest;
    term_t *e = elements_of(s, form, &n);

    if (e == NULL || !find_rest(s, form, e, n, &rest)) {
        return NULL;
    }
    uint32_t fixed = rest ? n - 2 : n;
    struct pattern *first = NULL;
    struct pattern **link = &first;

    for (uint32_t i = 0; i < fixed; i++) {
        struct pattern *p = make(s, P_PAIR, 2);

        *link = p;
        if (p == NULL || (p->parts[0] = parse_form(s, e[i])) == NULL) {
            return NULL;
        }
        link = &p->parts[1];
    }
    *link = rest ? parse_form(s, e[n - 1]) : literal(s, TERM_EMPTY);
    return *link == NULL ? NULL : first;
}

/* A key of a map pattern or member of a set: a literal or quoted symbol. */
static bool literal_of(term_t form, term_t *out)
{
    if (term_is_list(form) && pair_head(form) == SYM(quote) && list_length(form) == 2) {
        *out = pair_head(pair_rest(form));
        return true;
    }
    *out = form;
    return form == TERM_EMPTY || is_constant(form);
}

static struct pattern *parse_map(struct parse *s, term_t form)
{
    struct pattern *p = make(s, P_MAP, (uint32_t)map_count(form));
    struct map_cursor k;
    uint32_t i = 0;

    if (p == NULL || (p->keys = pool_alloc(s->c, (p->count + 1) * sizeof(term_t))) == NULL) {
        return NULL;
    }
    for (map_first(&k, form); !k.done; map_next(&k), i++) {
        if (!literal_of(k.key, &p->keys[i])) {
            (void)syntax_error(s->c, form, "a key in a map pattern is a literal or quoted symbol");
            return NULL;
        }
        p->parts[i] = parse_form(s, k.value);
        if (p->parts[i] == NULL) {
            return NULL;
        }
    }
    return p;
}

static struct pattern *parse_set(struct parse *s, term_t form)
{
    struct pattern *p = make(s, P_SET, (uint32_t)set_count(form));
    struct map_cursor k;
    uint32_t literals = 0;
    uint32_t parts = 0;
    term_t *members;

    if (p == NULL || !heap_reserve(s->c->p, TUPLE_WORDS(p->count))) {
        return NULL;
    }
    term_t *found = pool_alloc(s->c, (p->count + 1) * sizeof(*found));

    if (found == NULL) {
        return NULL;
    }
    for (map_first(&k, form); !k.done; map_next(&k)) {
        if (literal_of(k.key, &found[literals])) {
            literals++;
        } else {
            p->parts[parts] = parse_form(s, k.key);
            if (p->parts[parts++] == NULL) {
                return NULL;
            }
        }
    }
    if (!heap_reserve(s->c->p, TUPLE_WORDS(literals))) {
        return NULL;
    }
    p->term = heap_tuple(s->c->p, literals, &members);
    for (uint32_t i = 0; i < literals; i++) {
        members[i] = found[i];
    }
    p->count = parts;
    return p;
}

static struct pattern *parse_bits(struct parse *s, term_t form)
{
    struct bits_form b = { 0 };

    if (!bits_parse(s->c, form, true, &b)) {
        return NULL;
    }
    struct pattern *p = make(s, P_BITS, b.count + b.has_rest);

    if (p == NULL) {
        return NULL;
    }
    p->term = b.layout;
    p->rest = b.has_rest;
    p->keys = b.names;
    p->key_count = b.name_count;
    for (uint32_t i = 0; i < p->count; i++) {
        p->parts[i] = parse_form(s, i < b.count ? b.values[i] : b.rest);
        if (p->parts[i] == NULL) {
            return NULL;
        }
    }
    return p;
}

static struct pattern *parse_list_form(struct parse *s, term_t form)
{
    term_t head = pair_head(form);
    int64_t n = list_length(form);

    if (n < 0) {
        (void)syntax_error(s->c, form, "an improper list is no pattern");
        return NULL;
    }
    if (head == SYM(quote) && n == 2) {
        return literal(s, pair_head(pair_rest(form)));
    }
    if (head == SYM(core_bytes)) {
        return parse_sequence(s, P_BYTES, form, pair_rest(form));
    }
    if (head == SYM(core_bits)) {
        return parse_bits(s, form);
    }
    if (head == SYM(pid) && n == 3) {
        struct pattern *p = make(s, P_PID, 2);

        if (p == NULL || (p->parts[0] = parse_form(s, pair_head(pair_rest(form)))) == NULL ||
            (p->parts[1] = parse_form(s, pair_head(pair_rest(pair_rest(form))))) == NULL) {
            return NULL;
        }
        return p;
    }
    return parse_list(s, form);
}

static struct pattern *parse_inside(struct parse *s, term_t form)
{
    if (term_is_symbol(form)) {
        return parse_symbol(s, form);
    }
    if (term_is_list(form)) {
        return parse_list_form(s, form);
    }
    if (term_is_tuple(form)) {
        return parse_sequence(s, P_TUPLE, form, form);
    }
    if (term_is_vector(form)) {
        return parse_sequence(s, P_VECTOR, form, form);
    }
    if (term_is_map(form)) {
        return parse_map(s, form);
    }
    if (term_is_set(form)) {
        return parse_set(s, form);
    }
    return literal(s, form);
}

static struct pattern *parse_form(struct parse *s, term_t form)
{
    if (s->depth == READ_DEPTH_MAX) {
        (void)compile_fail(s->c, KW(too_complex), TERM_NIL, "the pattern is nested too deeply");
        return NULL;
    }
    s->depth++;
    struct pattern *p = parse_inside(s, form);

    s->depth--;
    return p;
}

struct pattern *pattern_parse(struct compiler *c, term_t form)
{
    struct parse s = { .c = c };
    struct pattern *p = parse_form(&s, form);

    LIST_FREE(c, s.names);
    return p;
}

/* ---- #bits ---- */

enum {
    BITS_LITTLE = 1,
    BITS_SIGNED = 2,
    BITS_BINARY = 4
};

static bool read_modifiers(struct compiler *c, term_t form, term_t modifiers, int64_t *unit,
                           int64_t *flags)
{
    *unit = 1;
    *flags = 0;
    for (size_t i = 0; i < tuple_count(modifiers); i++) {
        term_t m = tuple_get(modifiers, i);

        /* NOLINTNEXTLINE(bugprone-branch-clone): a list of words, read in order */
        if (m == KW(le)) {
            *flags |= BITS_LITTLE;
        } else if (m == KW(signed)) {
            *flags |= BITS_SIGNED;
        } else if (m == KW(bytes)) {
            *unit = 8;
        } else if (m == KW(binary)) {
            *flags |= BITS_BINARY;
        } else if (!term_is_keyword(m)) {
            return syntax_error(c, form, "malformed segment");
        } else if (realm_name(c->vm, m)->text[0] == 'n') {
            *flags |= BITS_LITTLE; /* native: every machine we run on is */
        }
    }
    return true;
}

static term_t pair_tuple(struct process *p, term_t a, term_t b)
{
    term_t *e;

    if (!heap_reserve(p, TUPLE_WORDS(2))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, 2, &e);

    e[0] = a;
    e[1] = b;
    return t;
}

/* A named size: an earlier segment's value in a pattern, or a name from outside. */
static term_t named_size(struct compiler *c, struct bits_form *b, term_t name, bool is_pattern)
{
    for (uint32_t i = 0; is_pattern && i < b->count; i++) {
        if (term_is_symbol(b->values[i]) && symbol_bare(b->values[i]) == name) {
            return pair_tuple(c->p, KW(value), term_small(i));
        }
    }
    b->names[b->name_count] = name;
    return pair_tuple(c->p, KW(arg), term_small(b->name_count++));
}

static term_t parse_segment(struct compiler *c, term_t form, term_t segment, bool is_pattern,
                            struct bits_form *b)
{
    int64_t unit = 1;
    int64_t flags = 0;
    term_t *e;

    if (!term_is_tuple(segment) || tuple_count(segment) != 3 ||
        !term_is_tuple(tuple_get(segment, 2)) ||
        !read_modifiers(c, form, tuple_get(segment, 2), &unit, &flags)) {
        (void)syntax_error(c, form, "malformed segment");
        return TERM_ERROR;
    }
    term_t size = tuple_get(segment, 1);

    if (size == TERM_NIL) {
        size = unit == 1 ? term_small(8) : term_small(1);
    } else if (term_is_symbol(size)) {
        size = named_size(c, b, symbol_bare(size), is_pattern);
        if (size == TERM_ERROR) {
            return TERM_ERROR;
        }
    } else if (!term_is_small(size) || small_value(size) < 0 || small_value(size) > INT32_MAX) {
        (void)syntax_error(c, form, "a segment's size is a small number or a name");
        return TERM_ERROR;
    } else if ((flags & (BITS_LITTLE | BITS_BINARY)) == BITS_LITTLE &&
               small_value(size) * unit % 8 != 0) {
        (void)syntax_error(c, form, "a little-endian segment has whole bytes");
        return TERM_ERROR;
    }
    if (!heap_reserve(c->p, TUPLE_WORDS(3))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(c->p, 3, &e);

    e[0] = size;
    e[1] = term_small(unit);
    e[2] = term_small(flags);
    b->values[b->count++] = tuple_get(segment, 0);
    return t;
}

bool bits_parse(struct compiler *c, term_t form, bool is_pattern, struct bits_form *b)
{
    int64_t n = list_length(form);
    term_t *layout;

    if (n < 0 || n > UINT16_MAX / 2) {
        return syntax_error(c, form, "too many segments");
    }
    *b = (struct bits_form){ .rest = TERM_NIL };
    b->values = pool_alloc(c, (size_t)n * sizeof(term_t));
    b->names = pool_alloc(c, (size_t)n * sizeof(term_t));
    layout = pool_alloc(c, (size_t)n * sizeof(term_t));
    if (b->values == NULL || b->names == NULL || layout == NULL) {
        return false;
    }
    for (term_t l = pair_rest(form); term_is_list(l); l = pair_rest(l)) {
        if (pair_head(l) == SYM(ampersand)) {
            if (list_length(l) != 2) {
                return syntax_error(c, form, "one name follows &");
            }
            b->has_rest = true;
            b->rest = pair_head(pair_rest(l));
            break;
        }
        term_t t = parse_segment(c, form, pair_head(l), is_pattern, b);

        if (t == TERM_ERROR) {
            return false;
        }
        layout[b->count - 1] = t;
    }
    if (!heap_reserve(c->p, TUPLE_WORDS(b->count))) {
        return false;
    }
    term_t *to;

    b->layout = heap_tuple(c->p, b->count, &to);
    for (uint32_t i = 0; i < b->count; i++) {
        to[i] = layout[i];
    }
    return true;
}

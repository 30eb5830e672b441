/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: vars, namespaces, metadata, the collector (6.1). Evaluation is in eval.c. */
#include "data/data.h"
#include "gc/memory.h"
#include "interp/code.h"
#include "native.h"

static term_t raise_kind(struct process *p, term_t kind)
{
    return kind == KW(oom) ? raise_oom(p) : raise(p, kind, 0);
}

/* ---- namespaces ---- */

/* A symbol or namespace as a namespace; NULL if there is none. */
static struct ns *arg_ns(struct process *p, term_t t)
{
    if (term_has_tag(t, TAG_NAMESPACE)) {
        return term_ns(t);
    }
    return term_is_symbol(t) ? realm_find_ns(process_vm(p), symbol_bare(t)) : NULL;
}

static term_t create_ns(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_symbol(args[0])) {
        return raise_type(p, "create-ns", 0, KW(symbol), args[0]);
    }
    struct ns *ns = realm_create_ns(process_vm(p), symbol_bare(args[0]));

    return ns == NULL ? raise_oom(p) : ns_term(ns);
}

static term_t find_ns(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_symbol(args[0])) {
        return raise_type(p, "find-ns", 0, KW(symbol), args[0]);
    }
    const struct ns *ns = realm_find_ns(process_vm(p), symbol_bare(args[0]));

    return ns == NULL ? TERM_NIL : ns_term(ns);
}

static term_t name_of_ns(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_has_tag(args[0], TAG_NAMESPACE)
               ? ns_name(term_ns(args[0]))
               : raise_type(p, "ns-name", 0, KW(namespace), args[0]);
}

struct collect {
    struct process *p;
    term_t map;
    bool failed;
};

static void collect_var(void *arg, term_t name, struct var *v)
{
    struct collect *c = arg;
    term_t value = var_term(v);

    if (c->failed) {
        return;
    }
    term_t m = map_put(c->p, &c->map, &name, &value);

    c->failed = m == TERM_ERROR;
    c->map = c->failed ? c->map : m;
}

static term_t map_of_ns(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    struct ns *ns = arg_ns(p, args[0]);

    if (ns == NULL) {
        return raise_type(p, "ns-map", 0, KW(namespace), args[0]);
    }
    struct collect c = { p, map_empty(process_vm(p)), false };
    struct root r;

    root_push(p, &r, &c.map);
    ns_each(process_vm(p), ns, collect_var, &c);
    root_pop(p, &r);
    return c.failed ? TERM_ERROR : c.map;
}

static void collect_ns(void *arg, struct ns *ns)
{
    struct collect *c = arg;

    if (!c->failed && heap_reserve(c->p, PAIR_WORDS)) {
        c->map = heap_pair(c->p, ns_term(ns), c->map);
    } else {
        c->failed = true;
    }
}

static term_t all_ns(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    struct collect c = { p, TERM_EMPTY, false };
    struct root r;

    root_push(p, &r, &c.map);
    realm_each_ns(process_vm(p), collect_ns, &c);
    root_pop(p, &r);
    return c.failed ? TERM_ERROR : c.map;
}

static term_t refer(struct process *p, term_t *args, unsigned argc)
{
    struct vm *vm = process_vm(p);
    struct ns *from = arg_ns(p, args[0]);
    struct ns *to = process_ns(p);

    if (from == NULL || to == NULL) {
        return raise_badarg(p, "refer", args, argc);
    }
    if (argc == 1) {
        return ns_refer_all(vm, to, from) == 0 ? TERM_NIL : raise_oom(p);
    }
    struct var *v = term_is_symbol(args[1]) ? ns_own(vm, from, symbol_bare(args[1])) : NULL;

    if (v == NULL) {
        return raise_badarg(p, "refer", args, argc);
    }
    return ns_refer(vm, to, v) == 0 ? TERM_NIL : raise_oom(p);
}

static term_t alias(struct process *p, term_t *args, unsigned argc)
{
    struct ns *target = arg_ns(p, args[1]);
    struct ns *here = process_ns(p);

    if (!term_is_symbol(args[0]) || target == NULL || here == NULL) {
        return raise_badarg(p, "alias", args, argc);
    }
    return ns_alias(process_vm(p), here, symbol_bare(args[0]), target) == 0 ? TERM_NIL
                                                                            : raise_oom(p);
}

static term_t set_ns(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_symbol(args[0])) {
        return raise_type(p, "in-ns", 0, KW(symbol), args[0]);
    }
    struct ns *ns = realm_create_ns(process_vm(p), symbol_bare(args[0]));

    if (ns == NULL) {
        return raise_oom(p);
    }
    return process_set_ns(p, ns) ? ns_term(ns) : TERM_ERROR;
}

/* ---- vars ---- */

static term_t store(struct process *p, struct var *v, term_t value)
{
    if ((atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PROCESS_BOUND) != 0) {
        if (atomic_load_explicit(&v->root, memory_order_relaxed) != TERM_UNBOUND) {
            return var_bind(p, v, value) ? var_term(v) : TERM_ERROR;
        }
        /* The first value is everybody's default too. */
        if (!var_bind(p, v, value)) {
            return TERM_ERROR;
        }
    }
    term_t kind = KW(oom);
    term_t copy = realm_copy_for(p, value, &kind);

    if (copy == TERM_ERROR) {
        return raise_kind(p, kind);
    }
    var_set_root(v, copy);
    return var_term(v);
}

static term_t def_root(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_has_tag(args[0], TAG_VAR) ? store(p, term_var(args[0]), args[1])
                                          : raise_type(p, "def", 0, KW(var), args[0]);
}

static term_t def_binding(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_has_tag(args[0], TAG_VAR)) {
        return raise_type(p, "def", 0, KW(var), args[0]);
    }
    return var_bind(p, term_var(args[0]), args[1]) ? args[0] : TERM_ERROR;
}

/* (def-meta var map): metadata as given plus :name and :ns. */
static term_t def_meta(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_has_tag(args[0], TAG_VAR) || (!term_is_map(args[1]) && args[1] != TERM_NIL)) {
        return raise_type(p, "def", 1, KW(map), args[1]);
    }
    struct var *v = term_var(args[0]);
    term_t key = KW(process_bound);
    term_t bound = args[1] == TERM_NIL ? TERM_HOLE : map_get(p, args[1], key);
    bool wants_bound = bound != TERM_HOLE && term_is_truthy(bound);
    bool is_bound =
        (atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PROCESS_BOUND) != 0;
    bool has_value = atomic_load_explicit(&v->root, memory_order_relaxed) != TERM_UNBOUND;

    if (has_value && wants_bound && !is_bound) {
        return raise(p, KW(process_bound_conflict), 1, KW(var), args[0]);
    }
    if (args[1] == TERM_NIL) {
        args[1] = map_empty(process_vm(p));
    }
    term_t items[] = { KW(name), v->name, KW(ns), v->ns, KW(process_bound), TERM_TRUE };
    size_t n = is_bound && !wants_bound ? 3 : 2; /* without metadata the flag stays */

    for (size_t i = 0; i < n; i++) {
        term_t m = map_put(p, &args[1], &items[2 * i], &items[2 * i + 1]);

        if (m == TERM_ERROR) {
            return TERM_ERROR;
        }
        args[1] = m;
    }
    term_t kind = KW(oom);
    term_t meta = realm_copy_for(p, args[1], &kind);

    if (meta == TERM_ERROR) {
        return raise_kind(p, kind);
    }
    var_set_meta(v, meta);
    return args[0];
}

static term_t intern(struct process *p, term_t *args, unsigned argc)
{
    struct ns *ns = arg_ns(p, args[0]);

    if (!term_is_symbol(args[1])) {
        return raise_type(p, "intern", 1, KW(symbol), args[1]);
    }
    if (ns == NULL) {
        return raise_badarg(p, "intern", args, argc);
    }
    struct var *v = ns_intern(process_vm(p), ns, symbol_bare(args[1]));

    if (v == NULL) {
        return raise_oom(p);
    }
    term_t meta = term_meta(args[1]);

    if (meta != TERM_NIL) {
        term_t kind = KW(oom);
        term_t copy = realm_copy_for(p, meta, &kind);

        if (copy == TERM_ERROR) {
            return raise_kind(p, kind);
        }
        var_set_meta(v, copy);
    }
    return argc == 3 ? store(p, v, args[2]) : var_term(v);
}

static term_t var_get(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_has_tag(args[0], TAG_VAR)) {
        return raise_type(p, "var-get", 0, KW(var), args[0]);
    }
    term_t v = var_value(p, term_var(args[0]));

    return v == TERM_UNBOUND ? raise(p, KW(undef), 1, KW(var), args[0]) : v;
}

static term_t resolve(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    struct ns *ns = process_ns(p);

    if (!term_is_symbol(args[0]) || ns == NULL) {
        return raise_type(p, "resolve", 0, KW(symbol), args[0]);
    }
    struct var *v = ns_resolve(process_vm(p), ns, symbol_bare(args[0]));

    return v == NULL ? TERM_NIL : var_term(v);
}

/* ---- metadata ---- */

/* What the table of natives says about one, as a map. */
static term_t native_meta(struct process *p, const struct var *v)
{
    const struct native *n =
        native_by_id(native_id(atomic_load_explicit(&v->root, memory_order_relaxed)));
    term_t items[] = { KW(doc), TERM_NIL, KW(arglists), TERM_NIL,   KW(name),
                       v->name, KW(ns),   v->ns,        KW(native), TERM_TRUE };

    heap_inhibit_gc(p);
    items[1] = heap_string(p, n->doc, __builtin_strlen(n->doc));
    items[3] =
        items[1] == TERM_ERROR ? TERM_ERROR : heap_string(p, n->args, __builtin_strlen(n->args));
    term_t m = items[3] == TERM_ERROR ? TERM_ERROR : map_from_array(p, items, 5);

    heap_permit_gc(p);
    return m;
}

static term_t meta(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_has_tag(args[0], TAG_VAR)) {
        const struct var *v = term_var(args[0]);
        term_t m = atomic_load_explicit(&v->meta, memory_order_acquire);

        if (m == TERM_NIL && term_is_native(atomic_load_explicit(&v->root, memory_order_relaxed))) {
            return native_meta(p, v);
        }
        return m;
    }
    if (term_has_tag(args[0], TAG_FUN)) {
        return term_fun(args[0])->meta;
    }
    return term_has_tag(args[0], TAG_NAMESPACE) ? TERM_NIL : term_meta(args[0]);
}

/* A FUN lives in realm memory and is shared; with metadata it becomes a closure of no captures. */
static term_t function_with_meta(struct process *p, term_t *args)
{
    if (!heap_reserve(p, 3)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, 3);

    o[0] = header_make(TAG_CLOSURE, 0) | HEADER_META;
    o[1] = args[0];
    o[2] = args[1];
    return term_from_box(o);
}

static term_t with_meta(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    bool clear = args[1] == TERM_NIL;

    if (!clear && !term_is_map(args[1])) {
        return raise_type(p, "with-meta", 1, KW(map), args[1]);
    }
    if (term_is_symbol(args[0])) {
        if (clear) {
            return symbol_bare(args[0]);
        }
        if (!heap_reserve(p, 3)) {
            return TERM_ERROR;
        }
        term_t *o = heap_take(p, 3);

        o[0] = header_make(TAG_NOTED, 0);
        o[1] = symbol_bare(args[0]);
        o[2] = args[1];
        return term_from_box(o);
    }
    if (term_has_tag(args[0], TAG_FUN)) {
        return clear ? args[0] : function_with_meta(p, args);
    }
    if (!term_is_tuple(args[0]) && !term_is_vector(args[0]) && !term_is_map(args[0]) &&
        !term_is_set(args[0]) && !term_is_string(args[0]) && !term_has_tag(args[0], TAG_CLOSURE)) {
        return raise_type(p, "with-meta", 0, KW(collection), args[0]);
    }
    size_t words = header_body_words(box_header(args[0]));

    if (!heap_reserve(p, words + 1)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, words + (clear ? 0 : 1));
    const term_t *from = term_ptr(args[0]);

    for (size_t i = 0; i < words; i++) {
        o[i] = from[i];
    }
    o[0] = clear ? o[0] & ~HEADER_META : o[0] | HEADER_META;
    if (!clear) {
        o[words] = args[1];
    }
    return term_from_box(o);
}

static term_t closed_overs(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_has_tag(args[0], TAG_CLOSURE)) {
        return TERM_NIL;
    }
    size_t n = (size_t)header_count(box_header(args[0]));
    term_t m = map_empty(process_vm(p));
    struct root r;

    root_push(p, &r, &m);
    for (size_t i = 0; i < n && m != TERM_ERROR; i++) {
        term_t key = term_small((int64_t)i);
        term_t value = term_ptr(args[0])[2 + i];
        struct root rv;

        root_push(p, &rv, &value);
        term_t next = map_put(p, &m, &key, &value);

        root_pop(p, &rv);
        m = next;
    }
    root_pop(p, &r);
    return m;
}

/* ---- the collector ---- */

static term_t garbage_collect(struct process *p, term_t *args, unsigned argc)
{
    if (argc == 1 && args[0] != KW(full)) {
        return raise_badarg(p, "garbage-collect", args, argc);
    }
    return heap_collect(p, argc == 1) ? KW(ok) : TERM_ERROR;
}

static term_t gc_stats(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    struct heap_sizes s;
    const struct process_memory *m = p->memory;

    heap_sizes(p, &s);
    term_t items[] = {
        KW(minor_gcs),       term_small(m == NULL ? 0 : m->minor_count),
        KW(major_gcs),       term_small(m == NULL ? 0 : m->major_count),
        KW(heap_size),       term_small((int64_t)(s.young * 8)),
        KW(heap_used),       term_small((int64_t)(s.young_used * 8)),
        KW(old_heap_size),   term_small((int64_t)(s.old * 8)),
        KW(old_heap_used),   term_small((int64_t)(s.old_used * 8)),
        KW(total_reclaimed), term_small(m == NULL ? 0 : (int64_t)(m->reclaimed_words * 8)),
    };

    return map_from_array(p, items, array_size(items) / 2);
}

#define ALLOC NATIVE_ALLOCATES
#define INNER (NATIVE_ALLOCATES | NATIVE_INTERNAL)

static const struct native rows[] = {
    { "lona.core", "create-ns", create_ns, 1, 1, 0, 10, "(sym)", "The namespace, made if absent." },
    { "lona.core", "find-ns", find_ns, 1, 1, 0, 10, "(sym)", "The namespace or nil." },
    { "lona.core", "ns-name", name_of_ns, 1, 1, NATIVE_PURE, 3, "(ns)", "Its name as a symbol." },
    { "lona.core", "ns-map", map_of_ns, 1, 1, ALLOC, 10, "(ns)",
      "Map of symbols to its own vars." },
    { "lona.core", "all-ns", all_ns, 0, 0, ALLOC, 10, "()", "List of all namespaces." },
    { "lona.core", "set-ns", set_ns, 1, 1, ALLOC, 10, "(sym)",
      "Make the namespace current; make it if absent." },
    { "lona.core", "intern", intern, 2, 3, ALLOC, 10, "(ns sym)\n(ns sym v)",
      "The namespace's var, with value v." },
    { "lona.core", "refer", refer, 1, 2, ALLOC, 10, "(ns-or-sym)\n(ns-or-sym sym)",
      "Refer all public vars, or one." },
    { "lona.core", "alias", alias, 2, 2, ALLOC, 10, "(sym ns-sym)",
      "Let sym stand for a namespace." },
    { "lona.core", "resolve", resolve, 1, 1, ALLOC, 10, "(sym)",
      "The var that sym means here, or nil." },
    { "lona.core", "var-get", var_get, 1, 1, 0, 10, "(v)", "Its value." },
    { "lona.core", "meta", meta, 1, 1, NATIVE_PURE | ALLOC, 3, "(x)", "Metadata map or nil." },
    { "lona.core", "with-meta", with_meta, 2, 2, NATIVE_PURE | ALLOC, 3, "(x m)",
      "A copy of x with metadata m." },
    { "lona.core", "closed-overs", closed_overs, 1, 1, ALLOC, 5, "(f)",
      "Map of index to captured value, nil for a plain function." },
    { "lona.core", "garbage-collect", garbage_collect, 0, 1, ALLOC, 10, "()\n(:full)",
      "Collect now." },
    { "lona.core", "gc-stats", gc_stats, 0, 0, ALLOC, 10, "()",
      "Counts and sizes of this process's heap." },
    { "lona.core", "def-root", def_root, 2, 2, INNER, 10, "(var value)", "What def does." },
    { "lona.core", "def-binding", def_binding, 2, 2, INNER, 10, "(var value)",
      "What def does to a process-bound var." },
    { "lona.core", "def-meta", def_meta, 2, 2, INNER, 10, "(var map)", "Metadata of a var." },
};

const struct native_table native_core = { rows, array_size(rows) };

/* SPDX-License-Identifier: Apache-2.0 */
/* A realm's life, values in it, and what a process sees of its vars. */
#include "realm/realm.h"

#include "data/data.h"
#include "gc/memory.h"
#include "native.h"
#include "process/relations.h"
#include "vm_state.h"

static bool reserve_names(struct vm *vm, struct name_table *t)
{
    const struct platform *pf = &vm->platform;

    t->names = pf->reserve(pf->self, (size_t)NAMES_MAX * sizeof(*t->names), 4096);
    return t->names != NULL;
}

static bool intern_fixed(struct vm *vm)
{
    static const char *const keywords[] = {
#define KEYWORD(id, text) text,
#include "realm/names.def"
    };
    static const char *const symbols[] = {
#define SYMBOL(id, text) text,
#include "realm/names.def"
    };

    for (size_t i = 0; i < array_size(keywords); i++) {
        if (realm_keyword(vm, keywords[i], __builtin_strlen(keywords[i])) !=
            term_keyword((uint32_t)i)) {
            return false;
        }
    }
    for (size_t i = 0; i < array_size(symbols); i++) {
        if (realm_symbol(vm, symbols[i], __builtin_strlen(symbols[i])) !=
            term_symbol((uint32_t)i)) {
            return false;
        }
    }
    return true;
}

static term_t empty_object(struct vm *vm, enum object_tag tag)
{
    term_t *o = realm_alloc(vm, 1);

    if (o == NULL) {
        return 0;
    }
    o[0] = header_make(tag, 0);
    return term_from_box(o);
}

/* Natives are vars whose root is the native, with doc and arglists from the table. */
static bool seed_natives(struct vm *vm)
{
    for (uint32_t id = 0; id < native_count(); id++) {
        const struct native *n = native_by_id(id);
        term_t ns_sym = realm_symbol(vm, n->ns, __builtin_strlen(n->ns));
        term_t name = realm_symbol(vm, n->name, __builtin_strlen(n->name));
        struct ns *ns = ns_sym == 0 || name == 0 ? NULL : realm_create_ns(vm, ns_sym);
        struct var *v = ns == NULL ? NULL : ns_intern(vm, ns, name);

        if (v == NULL) {
            return false;
        }
        uint32_t flags = VAR_NATIVE | ((n->flags & NATIVE_INTERNAL) != 0 ? VAR_PRIVATE : 0u);

        atomic_store_explicit(&v->flags, flags, memory_order_relaxed);
        var_set_root(v, term_native(id));
    }
    return true;
}

static bool seed_vars(struct vm *vm)
{
    struct ns *core = realm_create_ns(vm, SYM(lona_core));
    struct ns *process = realm_create_ns(vm, SYM(lona_process));
    struct ns *time = realm_create_ns(vm, SYM(lona_time));

    if (core == NULL || process == NULL || time == NULL || realm_create_ns(vm, SYM(user)) == NULL) {
        return false;
    }
    static const term_t heads[] = { SYM(def),   SYM(fn_star), SYM(match),  SYM(do),
                                    SYM(quote), SYM(var),     SYM(receive) };

    for (size_t i = 0; i < array_size(heads); i++) {
        if (ns_intern(vm, core, heads[i]) == NULL) {
            return false;
        }
    }
    struct var *ns_var = ns_intern(vm, core, SYM(ns_var));

    if (ns_var == NULL || !seed_natives(vm)) {
        return false;
    }
    var_set_root(ns_var, ns_term(core));
    atomic_store_explicit(&ns_var->flags, VAR_PROCESS_BOUND, memory_order_relaxed);
    vm->realm.ns_var = ns_var;
    return ns_refer_all(vm, core, process) == 0 && ns_refer_all(vm, core, time) == 0;
}

int realm_init(struct vm *vm)
{
    struct realm *r = &vm->realm;
    const struct platform *pf = &vm->platform;

    r->base = pf->reserve(pf->self, REALM_SIZE, 4096);
    r->funs.funs = pf->reserve(pf->self, (size_t)FUNS_MAX * sizeof(const struct fun *), 4096);
    if (r->base == NULL || r->funs.funs == NULL || !reserve_names(vm, &r->symbols) ||
        !reserve_names(vm, &r->keywords) || !intern_fixed(vm)) {
        return PLATFORM_ENOMEM;
    }
    r->empty_map = empty_object(vm, TAG_MAP);
    r->empty_set = empty_object(vm, TAG_SET);
    r->empty_vector = empty_object(vm, TAG_VECTOR);
    term_t *oom = realm_alloc(vm, 3);

    if (oom == NULL) {
        return PLATFORM_ENOMEM;
    }
    oom[0] = header_make(TAG_TUPLE, 2);
    oom[1] = KW(error);
    oom[2] = KW(oom);
    r->oom_error = term_from_box(oom);
    if (r->empty_map == 0 || r->empty_set == 0 || r->empty_vector == 0) {
        return PLATFORM_ENOMEM;
    }
    return seed_vars(vm) ? 0 : PLATFORM_ENOMEM;
}

static void release_names(struct vm *vm, struct name_table *t)
{
    const struct platform *pf = &vm->platform;

    if (t->names != NULL) {
        pf->release(pf->self, (void *)t->names, (size_t)NAMES_MAX * sizeof(*t->names));
    }
    if (t->slots != NULL) {
        vm_free(vm, t->slots, ((size_t)t->slot_mask + 1) * sizeof(*t->slots));
    }
}

void realm_deinit(struct vm *vm)
{
    struct realm *r = &vm->realm;
    const struct platform *pf = &vm->platform;

    release_names(vm, &r->symbols);
    release_names(vm, &r->keywords);
    if (r->funs.funs != NULL) {
        pf->release(pf->self, (void *)r->funs.funs, (size_t)FUNS_MAX * sizeof(const struct fun *));
    }
    if (r->base != NULL) {
        pf->release(pf->self, r->base, REALM_SIZE);
    }
}

/* ---- values ---- */

static term_t copy_with(struct worker *w, term_t t, term_t *kind_out)
{
    struct copy_plan plan;
    enum copy_result err = copy_prepare(w, t, &plan);

    if (err == COPY_OK && plan.words == 0) {
        return plan.root;
    }
    term_t *to = err == COPY_OK ? realm_alloc(w->vm, plan.words) : NULL;

    if (to == NULL) {
        *kind_out = err == COPY_BADARG ? KW(badarg) : KW(oom);
        return TERM_ERROR;
    }
    return copy_place(w, &plan, to);
}

term_t realm_copy_for(struct process *p, term_t t, term_t *kind_out)
{
    return copy_with(p->worker, t, kind_out);
}

term_t realm_copy(struct vm *vm, term_t t, term_t *kind_out)
{
    lock_acquire(&vm->platform, &vm->outside_lock);
    term_t r = copy_with(&vm->outside, t, kind_out);

    lock_release(&vm->outside_lock);
    return r;
}

static bool meta_flag(term_t meta, term_t key)
{
    struct map_cursor c;

    for (map_first(&c, meta); !c.done; map_next(&c)) {
        if (c.key == key) {
            return term_is_truthy(c.value);
        }
    }
    return false;
}

void var_set_meta(struct var *v, term_t meta)
{
    uint32_t flags = atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_NATIVE;

    if (term_is_map(meta)) {
        flags |= meta_flag(meta, KW(macro)) ? VAR_MACRO : 0u;
        flags |= meta_flag(meta, KW(private)) ? VAR_PRIVATE : 0u;
        flags |= meta_flag(meta, KW(process_bound)) ? VAR_PROCESS_BOUND : 0u;
    }
    atomic_store_explicit(&v->meta, meta, memory_order_release);
    atomic_store_explicit(&v->flags, flags, memory_order_release);
}

/* ---- process-bound vars ---- */

term_t var_value(struct process *p, struct var *v)
{
    if ((atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PROCESS_BOUND) != 0 &&
        p->bindings != NULL) {
        const struct bindings *b = p->bindings;

        for (uint32_t i = 0; i < b->count; i++) {
            if (b->items[i].var == v) {
                return b->items[i].value;
            }
        }
    }
    /* acquire: pairs with the release in var_set_root() */
    return atomic_load_explicit(&v->root, memory_order_acquire);
}

bool var_bind(struct process *p, struct var *v, term_t value)
{
    struct bindings *b = bindings_own(p);

    if (b == NULL) {
        (void)raise_oom(p);
        return false;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->items[i].var == v) {
            b->items[i].value = value;
            return true;
        }
    }
    b->items[b->count++] = (struct binding){ v, value };
    return true;
}

struct ns *process_ns(struct process *p)
{
    term_t t = var_value(p, process_vm(p)->realm.ns_var);

    return term_has_tag(t, TAG_NAMESPACE) ? term_ns(t) : NULL;
}

bool process_set_ns(struct process *p, struct ns *ns)
{
    return var_bind(p, process_vm(p)->realm.ns_var, ns_term(ns));
}

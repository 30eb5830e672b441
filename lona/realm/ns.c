/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces and vars. Tables change under the realm's lock and are read under it (compile time
 * only). */
#include "process/relations.h"
#include "realm/realm.h"
#include "vm_state.h"

struct ns_entry {
    struct ns_entry *next;
    term_t name;
    struct var *var;
    bool own;
};

struct ns_alias {
    struct ns_alias *next;
    term_t name;
    struct ns *target;
};

enum {
    NS_BUCKETS = 256
};

struct ns {
    uint64_t header; /* TAG_NAMESPACE */
    term_t name;
    struct ns *next;
    struct ns_entry *buckets[NS_BUCKETS];
    _Atomic(struct bindings *) only_binding; /* see ns_bindings() */
    struct ns_alias *aliases;

    struct ns_own {
        struct ns_own *next;
        struct ns_entry *entry;
    } * first_own, **last_own;
};

struct bindings *ns_bindings(struct vm *vm, term_t ns)
{
    struct ns *n = term_ns(ns);
    struct bindings *b = atomic_load_explicit(&n->only_binding, memory_order_acquire);

    if (b != NULL) {
        return b;
    }
    lock_acquire(&vm->platform, &vm->realm.lock);
    b = atomic_load_explicit(&n->only_binding, memory_order_relaxed);
    if (b == NULL) {
        size_t bytes = sizeof(*b) + sizeof(struct binding);

        b = (void *)realm_alloc_locked(vm, (bytes + sizeof(term_t) - 1) / sizeof(term_t));
        if (b != NULL) {
            atomic_init(&b->references, BINDINGS_IMMORTAL);
            b->count = 1;
            b->capacity = 1;
            b->items[0] = (struct binding){ vm->realm.ns_var, ns };
            /* release: pairs with the acquire above */
            atomic_store_explicit(&n->only_binding, b, memory_order_release);
        }
    }
    lock_release(&vm->realm.lock);
    return b;
}

struct ns *term_ns(term_t t)
{
    return (struct ns *)(void *)term_ptr(t);
}

term_t ns_term(const struct ns *ns)
{
    return term_from_box((const term_t *)(const void *)ns);
}

term_t ns_name(const struct ns *ns)
{
    return ns->name;
}

static void *alloc_bytes_locked(struct vm *vm, size_t size)
{
    return realm_alloc_locked(vm, (size + sizeof(term_t) - 1) / sizeof(term_t));
}

static struct ns *find_ns_locked(struct vm *vm, term_t name)
{
    for (struct ns *n = vm->realm.first_ns; n != NULL; n = n->next) {
        if (n->name == name) {
            return n;
        }
    }
    return NULL;
}

struct ns *realm_find_ns(struct vm *vm, term_t name)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    struct ns *n = find_ns_locked(vm, name);

    lock_release(&vm->realm.lock);
    return n;
}

struct ns *realm_create_ns(struct vm *vm, term_t name)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    struct ns *n = find_ns_locked(vm, name);

    if (n == NULL && (n = alloc_bytes_locked(vm, sizeof(*n))) != NULL) {
        __builtin_memset(n, 0, sizeof(*n));
        n->header = header_make(TAG_NAMESPACE, 0);
        n->name = name;
        n->last_own = &n->first_own;
        if (vm->realm.last_ns != NULL) {
            vm->realm.last_ns->next = n;
        } else {
            vm->realm.first_ns = n;
        }
        vm->realm.last_ns = n;
    }
    lock_release(&vm->realm.lock);
    return n;
}

static struct ns_entry **bucket_of(struct ns *ns, term_t name)
{
    return &ns->buckets[(term_name_index(name) * 2654435761u >> 16) % NS_BUCKETS];
}

static struct ns_entry *find_locked(struct ns *ns, term_t name)
{
    for (struct ns_entry *e = *bucket_of(ns, name); e != NULL; e = e->next) {
        if (e->name == name) {
            return e;
        }
    }
    return NULL;
}

static struct ns_entry *add_locked(struct vm *vm, struct ns *ns, term_t name, struct var *v,
                                   bool own)
{
    struct ns_entry *e = find_locked(ns, name);

    if (e == NULL) {
        e = alloc_bytes_locked(vm, sizeof(*e));
        if (e == NULL) {
            return NULL;
        }
        struct ns_entry **bucket = bucket_of(ns, name);

        e->name = name;
        e->next = *bucket;
        *bucket = e;
    }
    e->var = v;
    e->own = own;
    return e;
}

static struct var *new_var_locked(struct vm *vm, struct ns *ns, term_t name)
{
    struct var *v = alloc_bytes_locked(vm, sizeof(*v));

    if (v != NULL) {
        v->header = header_make(TAG_VAR, 0);
        v->name = name;
        v->ns = ns_term(ns);
        atomic_init(&v->root, TERM_UNBOUND);
        atomic_init(&v->meta, TERM_NIL);
        atomic_init(&v->flags, 0);
        v->unused = 0;
    }
    return v;
}

struct var *ns_intern(struct vm *vm, struct ns *ns, term_t name)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    struct ns_entry *e = find_locked(ns, name);
    struct var *v = e != NULL && e->own ? e->var : NULL;

    if (v == NULL) {
        struct ns_own *o = alloc_bytes_locked(vm, sizeof(*o));

        v = o == NULL ? NULL : new_var_locked(vm, ns, name);
        e = v == NULL ? NULL : add_locked(vm, ns, name, v, true);
        if (e == NULL) {
            v = NULL;
        } else {
            o->next = NULL;
            o->entry = e;
            *ns->last_own = o;
            ns->last_own = &o->next;
        }
    }
    lock_release(&vm->realm.lock);
    return v;
}

struct var *ns_own(struct vm *vm, struct ns *ns, term_t name)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    struct ns_entry *e = find_locked(ns, name);
    struct var *v = e != NULL && e->own ? e->var : NULL;

    lock_release(&vm->realm.lock);
    return v;
}

static int refer_locked(struct vm *vm, struct ns *ns, struct var *v)
{
    struct ns_entry *e = find_locked(ns, v->name);

    if (e != NULL && e->own) {
        return 0; /* an own mapping wins over a refer */
    }
    return add_locked(vm, ns, v->name, v, false) != NULL ? 0 : PLATFORM_ENOMEM;
}

int ns_refer(struct vm *vm, struct ns *ns, struct var *v)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    int err = refer_locked(vm, ns, v);

    lock_release(&vm->realm.lock);
    return err;
}

int ns_refer_all(struct vm *vm, struct ns *ns, struct ns *from)
{
    int err = 0;

    lock_acquire(&vm->platform, &vm->realm.lock);
    for (struct ns_own *o = from->first_own; o != NULL && err == 0; o = o->next) {
        uint32_t flags = atomic_load_explicit(&o->entry->var->flags, memory_order_relaxed);

        if (ns != from && o->entry->own && (flags & VAR_PRIVATE) == 0) {
            err = refer_locked(vm, ns, o->entry->var);
        }
    }
    lock_release(&vm->realm.lock);
    return err;
}

int ns_alias(struct vm *vm, struct ns *ns, term_t alias, struct ns *target)
{
    int err = 0;

    lock_acquire(&vm->platform, &vm->realm.lock);
    struct ns_alias *a = ns->aliases;

    while (a != NULL && a->name != alias) {
        a = a->next;
    }
    if (a == NULL) {
        a = alloc_bytes_locked(vm, sizeof(*a));
        if (a != NULL) {
            a->name = alias;
            a->next = ns->aliases;
            ns->aliases = a;
        } else {
            err = PLATFORM_ENOMEM;
        }
    }
    if (a != NULL) {
        a->target = target;
    }
    lock_release(&vm->realm.lock);
    return err;
}

struct ns *ns_find_alias(struct vm *vm, struct ns *ns, term_t alias)
{
    struct ns *target = NULL;

    lock_acquire(&vm->platform, &vm->realm.lock);
    for (struct ns_alias *a = ns->aliases; a != NULL; a = a->next) {
        if (a->name == alias) {
            target = a->target;
            break;
        }
    }
    lock_release(&vm->realm.lock);
    return target;
}

static bool is_public(const struct var *v)
{
    return (atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PRIVATE) == 0;
}

struct var *ns_resolve(struct vm *vm, struct ns *ns, term_t symbol)
{
    term_t qualifier;
    term_t name;

    realm_split(vm, symbol, &qualifier, &name);
    if (qualifier != TERM_NIL) {
        struct ns *target = ns_find_alias(vm, ns, qualifier);

        if (target == NULL) {
            target = realm_find_ns(vm, qualifier);
        }
        return target == NULL ? NULL : ns_own(vm, target, name);
    }
    struct var *v = NULL;

    lock_acquire(&vm->platform, &vm->realm.lock);
    struct ns_entry *e = find_locked(ns, name);

    if (e != NULL) {
        v = e->var;
    } else {
        struct ns *core = find_ns_locked(vm, SYM(lona_core));

        e = core == NULL ? NULL : find_locked(core, name);
        if (e != NULL && (core == ns || is_public(e->var))) {
            v = e->var;
        }
    }
    lock_release(&vm->realm.lock);
    return v;
}

void ns_each(struct vm *vm, struct ns *ns, void (*each)(void *arg, term_t name, struct var *v),
             void *arg)
{
    (void)vm;
    /* The list only grows at its end; what is seen is complete. */
    for (struct ns_own *o = ns->first_own; o != NULL; o = o->next) {
        if (o->entry->own) {
            each(arg, o->entry->name, o->entry->var);
        }
    }
}

void realm_each_ns(struct vm *vm, void (*each)(void *arg, struct ns *ns), void *arg)
{
    for (struct ns *n = vm->realm.first_ns; n != NULL; n = n->next) {
        each(arg, n);
    }
}

void var_set_root(struct var *v, term_t root)
{
    /* release: pairs with the acquire in var_value(); the value is complete before it is seen */
    atomic_store_explicit(&v->root, root, memory_order_release);
}

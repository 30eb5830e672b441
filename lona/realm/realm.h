/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all processes of a VM share: names, namespaces, vars, code and constants.
 *
 * Realm memory is one reserved range of addresses that only grows; objects in it never move and are
 * never scanned, so the collector tells them by their address. There is one writer lock; readers
 * need none: names are found without a lock, and a var's root is one word published with release
 * order after all that it points to is complete.
 */
#pragma once

#include "term/term.h"

struct process;
struct vm;

/* ---- names
 * --------------------------------------------------------------------------------------- Qualified
 * names are one text "ns/name". The index is the identity; texts are valid UTF-8.
 */

struct name {
    uint32_t size;  /* bytes of text */
    uint32_t slash; /* offset of the slash that splits namespace and name; 0: unqualified */
    uint64_t hash;  /* of the text; what term_hash() uses */
    char text[];    /* NUL terminated for convenience */
};

/* Find or add. TERM_ERROR (0) only when there is no memory. Any thread. */
term_t realm_symbol(struct vm *vm, const char *text, size_t size);
term_t realm_keyword(struct vm *vm, const char *text, size_t size);
/* The text of a symbol (bare) or keyword. */
const struct name *realm_name(struct vm *vm, term_t t);
/* Namespace part and name part of a symbol, as symbols; *ns is nil for an unqualified one. */
void realm_split(struct vm *vm, term_t symbol, term_t *ns, term_t *name);
/* ns/name. */
term_t realm_qualify(struct vm *vm, term_t ns, term_t name);

enum {
#define KEYWORD(id, text) KW_INDEX_##id,
#include "realm/names.def"
    KW_INDEX_COUNT
};

enum {
#define SYMBOL(id, text) SYM_INDEX_##id,
#include "realm/names.def"
    SYM_INDEX_COUNT
};

#define KW(id)  (((term_t)KW_INDEX_##id << 4) | TERM_KEYWORD) /* KW(badarg) */
#define SYM(id) (((term_t)SYM_INDEX_##id << 4) | TERM_SYMBOL) /* SYM(quote) */

/* ---- vars and namespaces ------------------------------------------------------------------------
 */

enum var_flag {
    VAR_MACRO = 1,
    VAR_PRIVATE = 2,
    VAR_PROCESS_BOUND = 4,
    VAR_NATIVE = 8
};

/* Boxed realm object TAG_VAR. Its address is its identity. */
struct var {
    uint64_t header;
    term_t name;            /* unqualified symbol */
    term_t ns;              /* NAMESPACE term */
    _Atomic(term_t) root;   /* realm term or TERM_UNBOUND; acquire to read */
    _Atomic(term_t) meta;   /* map in realm memory, or nil */
    _Atomic uint32_t flags; /* enum var_flag; follows the metadata */
    uint32_t unused;
};

/* Boxed realm object TAG_NAMESPACE; its tables are private to realm/. */
struct ns;

static inline struct var *term_var(term_t t)
{
    return (struct var *)(void *)term_ptr(t);
}

static inline term_t var_term(const struct var *v)
{
    return term_from_box((const term_t *)(const void *)v);
}

struct ns *term_ns(term_t t);
term_t ns_term(const struct ns *ns);
term_t ns_name(const struct ns *ns);

/* NULL if there is none. */
struct ns *realm_find_ns(struct vm *vm, term_t name);
/* Found or made; NULL only without memory. */
struct ns *realm_create_ns(struct vm *vm, term_t name);
/* The namespace's own var, made unbound if absent. */
struct var *ns_intern(struct vm *vm, struct ns *ns, term_t name);
/* Own var only, NULL if absent. */
struct var *ns_own(struct vm *vm, struct ns *ns, term_t name);
/* Make `v` visible in ns under its name (refer of one var). */
int ns_refer(struct vm *vm, struct ns *ns, struct var *v) MUST_CHECK;
/* All public vars of `from`. */
int ns_refer_all(struct vm *vm, struct ns *ns, struct ns *from) MUST_CHECK;
int ns_alias(struct vm *vm, struct ns *ns, term_t alias, struct ns *target) MUST_CHECK;
/* The namespace that `alias` stands for in ns, or NULL. */
struct ns *ns_find_alias(struct vm *vm, struct ns *ns, term_t alias);
/* Section 4.3 for a symbol, qualified or not, after the locals: NULL is :undefined. */
struct var *ns_resolve(struct vm *vm, struct ns *ns, term_t symbol);
/* Calls each(arg, name, var) for own vars in order of definition. */
void ns_each(struct vm *vm, struct ns *ns, void (*each)(void *arg, term_t name, struct var *v),
             void *arg);
/* All namespaces in order of creation. */
void realm_each_ns(struct vm *vm, void (*each)(void *arg, struct ns *ns), void *arg);

/* ---- values in realm memory
 * ---------------------------------------------------------------------- */

/*
 * Deep-copy a term into realm memory; what lies there already is shared. TERM_ERROR when it holds a
 * bytebuf (*kind_out = KW(badarg)) or memory is out (KW(oom)).
 */
term_t realm_copy(struct vm *vm, term_t t, term_t *kind_out) MUST_CHECK;
/* The same from a running process: takes no lock but that of realm memory. */
term_t realm_copy_for(struct process *p, term_t t, term_t *kind_out) MUST_CHECK;
/* Does this pointer term lie in realm memory? */
bool realm_owns(const struct vm *vm, term_t t);
/* Uninitialised words in realm memory, NULL without memory. Takes the writer lock. */
term_t *realm_alloc(struct vm *vm, size_t words) MUST_CHECK;

/* `root` must be a realm term or immediate. */
void var_set_root(struct var *v, term_t root);
/* Meta is a realm map or nil; sets the flags that it implies (:macro, :private, :process-bound). */
void var_set_meta(struct var *v, term_t meta);
/* The process's view of a var: binding, else root; TERM_UNBOUND if it has no value. */
term_t var_value(struct process *p, struct var *v);
/* (def) on a process-bound var, *ns* included: the process's own value. False with p->reason set.
 */
bool var_bind(struct process *p, struct var *v, term_t value) MUST_CHECK;
/* The process's *ns*. */
struct ns *process_ns(struct process *p);
bool process_set_ns(struct process *p, struct ns *ns) MUST_CHECK;

/* Fresh number for gensym. */
uint64_t realm_next_gensym(struct vm *vm);
uint64_t realm_next_ref(struct vm *vm);

/* SPDX-License-Identifier: Apache-2.0 */
/* What few processes have: links, monitors, bindings of process-bound vars, a name. Owner only. */
#pragma once

#include "process/process.h"
#include "realm/realm.h"

/* An open-addressing table of 64-bit keys; key 0 is free, and 1 a hole. Keys passed are >= 2. */
struct relation_entry {
    uint64_t key;
    uint64_t value;
};

struct relation_table {
    struct relation_entry *entries;
    uint32_t capacity;
    uint32_t used; /* holes included */
    uint32_t count;
};

struct binding {
    struct var *var;
    term_t value;
};

/*
 * Values of process-bound vars. A child shares its parent's block as long as neither changes it and
 * all values are realm terms or immediates, so that it costs an ordinary process nothing.
 */
struct bindings {
    _Atomic uint32_t references;
    uint32_t count;
    uint32_t capacity;
    struct binding items[];
};

struct relations {
    struct relation_table links;    /* pid + 2 -> 1 */
    struct relation_table watching; /* ref + 2 -> target pid */
    struct relation_table watched;  /* ref + 2 -> watcher pid */
    term_t name;                    /* registered, or nil */
    struct call *call;              /* who waits outside for the end; see vm.c */
};

struct relations *process_relations_get(struct process *p) MUST_CHECK;
void process_relations_free(struct process *p);

/* NULL if absent. */
struct relation_entry *relation_find(const struct relation_table *t, uint64_t key);
bool relation_put(struct process *p, struct relation_table *t, uint64_t key,
                  uint64_t value) MUST_CHECK;
bool relation_remove(struct relation_table *t, uint64_t key);

/* Counts nothing: the block of a namespace that is a process's only binding (see ns_bindings()). */
#define BINDINGS_IMMORTAL UINT32_MAX

/* A process's own block with room for one more, made from the shared one if need be. */
struct bindings *bindings_own(struct process *p) MUST_CHECK;
void bindings_put(struct worker *w, struct bindings *b);

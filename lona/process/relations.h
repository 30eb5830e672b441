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

struct relations {
    struct relation_table links;    /* pid + 2 -> 1 */
    struct relation_table watching; /* ref + 2 -> target pid */
    struct relation_table watched;  /* ref + 2 -> watcher pid */
    struct binding *bindings;
    uint32_t binding_count;
    uint32_t binding_capacity;
    term_t name; /* registered, or nil */
    uint64_t parent;
};

struct relations *process_relations_get(struct process *p) MUST_CHECK;
void process_relations_free(struct process *p);

/* NULL if absent. */
struct relation_entry *relation_find(const struct relation_table *t, uint64_t key);
bool relation_put(struct process *p, struct relation_table *t, uint64_t key, uint64_t value) MUST_CHECK;
bool relation_remove(struct relation_table *t, uint64_t key);

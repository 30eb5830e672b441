/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of links and monitors: open addressing, a linear probe, doubled at three quarters. */
#include "process/relations.h"

#include "gc/memory.h"

enum {
    KEY_FREE = 0,
    KEY_HOLE = 1
};

struct relations *process_relations_get(struct process *p)
{
    if (p->relations == NULL) {
        struct relations *r = arena_alloc(process_arena(p), sizeof(*r));

        if (r == NULL) {
            return NULL;
        }
        *r = (struct relations){ .name = TERM_NIL };
        p->relations = r;
    }
    return p->relations;
}

static void table_free(struct worker *w, struct relation_table *t)
{
    arena_free(&w->arena, t->entries, t->capacity * sizeof(*t->entries));
}

void process_relations_free(struct process *p)
{
    struct relations *r = p->relations;

    if (r != NULL) {
        table_free(p->worker, &r->links);
        table_free(p->worker, &r->watching);
        table_free(p->worker, &r->watched);
        arena_free(process_arena(p), r, sizeof(*r));
        p->relations = NULL;
    }
    if (p->bindings != NULL) {
        bindings_put(p->worker, p->bindings);
        p->bindings = NULL;
    }
}

static uint32_t place_of(const struct relation_table *t, uint64_t key)
{
    return (uint32_t)(key * 0x9E3779B97F4A7C15u >> 32) & (t->capacity - 1);
}

struct relation_entry *relation_find(const struct relation_table *t, uint64_t key)
{
    if (t->capacity == 0) {
        return NULL;
    }
    for (uint32_t at = place_of(t, key); t->entries[at].key != KEY_FREE;
         at = (at + 1) & (t->capacity - 1)) {
        if (t->entries[at].key == key) {
            return &t->entries[at];
        }
    }
    return NULL;
}

static bool table_resize(struct process *p, struct relation_table *t)
{
    uint32_t capacity = max_of(4u, (uint32_t)1 << (32 - __builtin_clz(t->count * 2 + 1)));
    struct relation_entry *entries = arena_alloc(process_arena(p), capacity * sizeof(*entries));

    if (entries == NULL) {
        return false;
    }
    __builtin_memset(entries, 0, capacity * sizeof(*entries));
    struct relation_table old = *t;

    *t = (struct relation_table){ entries, capacity, old.count, old.count };
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.entries[i].key > KEY_HOLE) {
            uint32_t at = place_of(t, old.entries[i].key);

            while (entries[at].key != KEY_FREE) {
                at = (at + 1) & (capacity - 1);
            }
            entries[at] = old.entries[i];
        }
    }
    table_free(p->worker, &old);
    return true;
}

bool relation_put(struct process *p, struct relation_table *t, uint64_t key, uint64_t value)
{
    assert(key > KEY_HOLE);
    struct relation_entry *e = relation_find(t, key);

    if (e != NULL) {
        e->value = value;
        return true;
    }
    if ((t->used + 1) * 4 > t->capacity * 3 && !table_resize(p, t)) {
        return false;
    }
    uint32_t at = place_of(t, key);

    while (t->entries[at].key > KEY_HOLE) {
        at = (at + 1) & (t->capacity - 1);
    }
    t->used += t->entries[at].key == KEY_FREE;
    t->count++;
    t->entries[at] = (struct relation_entry){ key, value };
    return true;
}

bool relation_remove(struct relation_table *t, uint64_t key)
{
    struct relation_entry *e = relation_find(t, key);

    if (e == NULL) {
        return false;
    }
    e->key = KEY_HOLE;
    t->count--;
    return true;
}

/* ---- bindings ---- */

static size_t bindings_bytes(uint32_t capacity)
{
    return sizeof(struct bindings) + capacity * sizeof(struct binding);
}

void bindings_put(struct worker *w, struct bindings *b)
{
    if (atomic_load_explicit(&b->references, memory_order_relaxed) == BINDINGS_IMMORTAL) {
        return;
    }
    /* acq_rel: the last holder frees after all others have read */
    if (atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1) {
        arena_free(&w->arena, b, bindings_bytes(b->capacity));
    }
}

struct bindings *bindings_own(struct process *p)
{
    struct bindings *old = p->bindings;

    /* acquire: pairs with the release of a child that gave its share up */
    if (old != NULL && old->count < old->capacity &&
        atomic_load_explicit(&old->references, memory_order_acquire) == 1) {
        return old;
    }
    uint32_t count = old == NULL ? 0 : old->count;
    uint32_t capacity = count + 2;
    struct bindings *b = arena_alloc(process_arena(p), bindings_bytes(capacity));

    if (b == NULL) {
        return NULL;
    }
    atomic_init(&b->references, 1);
    b->count = count;
    b->capacity = capacity;
    for (uint32_t i = 0; i < count; i++) {
        b->items[i] = old->items[i];
    }
    if (old != NULL) {
        bindings_put(p->worker, old);
    }
    p->bindings = b;
    return b;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where forms stood in the text: a hash table from addresses, which don't move while a reader
 * lives. */
#include "reader/reader_state.h"

static size_t slot_for(const struct place_entry *entries, size_t capacity, uint64_t key)
{
    size_t i = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (capacity - 1);

    while (entries[i].key != 0 && entries[i].key != key) {
        i = (i + 1) & (capacity - 1);
    }
    return i;
}

static bool grow(struct place_table *t, struct vm *vm)
{
    size_t capacity = t->capacity == 0 ? 64 : t->capacity * 2;
    struct place_entry *entries = vm_alloc(vm, capacity * sizeof(*entries));

    if (entries == NULL) {
        return false;
    }
    __builtin_memset(entries, 0, capacity * sizeof(*entries));
    for (size_t i = 0; i < t->capacity; i++) {
        if (t->entries[i].key != 0) {
            entries[slot_for(entries, capacity, t->entries[i].key)] = t->entries[i];
        }
    }
    vm_free(vm, t->entries, t->capacity * sizeof(*t->entries));
    t->entries = entries;
    t->capacity = capacity;
    return true;
}

void place_table_deinit(struct place_table *t, struct vm *vm)
{
    vm_free(vm, t->entries, t->capacity * sizeof(*t->entries));
    *t = (struct place_table){ 0 };
}

void place_table_put(struct place_table *t, struct vm *vm, uint64_t key, struct place at)
{
    if (t->count * 2 >= t->capacity && !grow(t, vm)) {
        return;
    }
    struct place_entry *e = &t->entries[slot_for(t->entries, t->capacity, key)];

    t->count += e->key == 0;
    *e = (struct place_entry){ key, at };
}

struct place place_table_get(const struct place_table *t, uint64_t key)
{
    if (t->capacity == 0) {
        return (struct place){ 0, 0 };
    }
    const struct place_entry *e = &t->entries[slot_for(t->entries, t->capacity, key)];

    return e->key == 0 ? (struct place){ 0, 0 } : e->place;
}

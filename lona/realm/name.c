/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interned names. The array of texts by index is append-only and lies in reserved address space, so
 * a reader needs no lock; finding an index by text takes the realm's lock.
 */
#include "realm/realm.h"
#include "vm_state.h"

static uint64_t hash_text(const struct vm *vm, const char *text, size_t size)
{
    uint64_t h = vm->hash_seed ^ 0x9E3779B97F4A7C15u;

    for (size_t i = 0; i < size; i++) {
        h = (h ^ (uint8_t)text[i]) * 0x100000001B3u;
    }
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

/* The first slash that is neither first nor last. */
static uint32_t find_slash(const char *text, size_t size)
{
    for (size_t i = 1; i + 1 < size; i++) {
        if (text[i] == '/') {
            return (uint32_t)i;
        }
    }
    return 0;
}

static bool table_grow(struct vm *vm, struct name_table *t)
{
    uint32_t size = t->slots == NULL ? 4096 : (t->slot_mask + 1) * 2;
    uint32_t *slots = vm_alloc(vm, size * sizeof(*slots));

    if (slots == NULL) {
        return false;
    }
    __builtin_memset(slots, 0, size * sizeof(*slots));
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

    for (uint32_t i = 0; i < count; i++) {
        const struct name *n = atomic_load_explicit(&t->names[i], memory_order_relaxed);
        uint32_t at = (uint32_t)n->hash & (size - 1);

        while (slots[at] != 0) {
            at = (at + 1) & (size - 1);
        }
        slots[at] = i + 1;
    }
    if (t->slots != NULL) {
        vm_free(vm, t->slots, (t->slot_mask + 1) * sizeof(*slots));
    }
    t->slots = slots;
    t->slot_mask = size - 1;
    return true;
}

/* Index of the text, or -1 when it can't be added. Realm lock held. */
static int64_t intern_locked(struct vm *vm, struct name_table *t, const char *text, size_t size)
{
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

    if ((t->slots == NULL || count >= t->slot_mask / 2) && !table_grow(vm, t)) {
        return -1;
    }
    uint64_t hash = hash_text(vm, text, size);
    uint32_t at = (uint32_t)hash & t->slot_mask;

    for (; t->slots[at] != 0; at = (at + 1) & t->slot_mask) {
        const struct name *n =
            atomic_load_explicit(&t->names[t->slots[at] - 1], memory_order_relaxed);

        if (n->hash == hash && n->size == size && __builtin_memcmp(n->text, text, size) == 0) {
            return t->slots[at] - 1;
        }
    }
    if (count == NAMES_MAX || size > UINT32_MAX / 2) {
        return -1;
    }
    if (count % 512 == 0 &&
        vm->platform.commit(vm->platform.self, (void *)&t->names[count], 4096) != PLATFORM_OK) {
        return -1;
    }
    struct name *n = (struct name *)(void *)realm_alloc_locked(
        vm, (sizeof(struct name) + size + 1 + sizeof(term_t) - 1) / sizeof(term_t));

    if (n == NULL) {
        return -1;
    }
    n->size = (uint32_t)size;
    n->slash = find_slash(text, size);
    n->hash = hash;
    __builtin_memcpy(n->text, text, size);
    n->text[size] = '\0';
    atomic_store_explicit(&t->names[count], n, memory_order_relaxed);
    t->slots[at] = count + 1;
    /* release: an index handed to another thread names a complete text */
    atomic_store_explicit(&t->count, count + 1, memory_order_release);
    return count;
}

static int64_t intern(struct vm *vm, struct name_table *t, const char *text, size_t size)
{
    lock_acquire(&vm->platform, &vm->realm.lock);
    int64_t index = intern_locked(vm, t, text, size);

    lock_release(&vm->realm.lock);
    return index;
}

term_t realm_symbol(struct vm *vm, const char *text, size_t size)
{
    int64_t i = intern(vm, &vm->realm.symbols, text, size);

    return i < 0 ? 0 : term_symbol((uint32_t)i);
}

term_t realm_keyword(struct vm *vm, const char *text, size_t size)
{
    int64_t i = intern(vm, &vm->realm.keywords, text, size);

    return i < 0 ? 0 : term_keyword((uint32_t)i);
}

const struct name *realm_name(struct vm *vm, term_t t)
{
    struct name_table *table = term_is_keyword(t) ? &vm->realm.keywords : &vm->realm.symbols;
    uint32_t i = term_name_index(t);

    assert(i < atomic_load_explicit(&table->count, memory_order_relaxed));
    return atomic_load_explicit(&table->names[i], memory_order_relaxed);
}

void realm_split(struct vm *vm, term_t symbol, term_t *ns, term_t *name)
{
    const struct name *n = realm_name(vm, symbol);

    if (n->slash == 0) {
        *ns = TERM_NIL;
        *name = symbol;
        return;
    }
    *ns = realm_symbol(vm, n->text, n->slash);
    *name = realm_symbol(vm, n->text + n->slash + 1, n->size - n->slash - 1);
}

term_t realm_qualify(struct vm *vm, term_t ns, term_t name)
{
    const struct name *a = realm_name(vm, ns);
    const struct name *b = realm_name(vm, name);
    size_t size = (size_t)a->size + 1 + b->size;
    char small[256];
    char *text = size <= sizeof(small) ? small : vm_alloc(vm, size);

    if (text == NULL) {
        return 0;
    }
    __builtin_memcpy(text, a->text, a->size);
    text[a->size] = '/';
    __builtin_memcpy(text + a->size + 1, b->text, b->size);
    term_t t = realm_symbol(vm, text, size);

    if (text != small) {
        vm_free(vm, text, size);
    }
    return t;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes by value: equal terms hash alike whatever their representation. Elements nested deeper
 * than HASH_DEPTH, or behind the first HASH_TERMS of them, count by their type alone: that bounds
 * the C stack, and the time where shared parts would be walked again and again. The rule holds
 * because the walk goes the same way through equal terms; where the order may differ (maps, sets)
 * each entry has an equal share of what is left.
 */
#include "data/data.h"
#include "gc/heap.h"
#include "number/number.h"
#include "realm/realm.h"
#include "vm_state.h"

enum {
    HASH_DEPTH = 48,
    HASH_TERMS = 1 << 16
};

static uint64_t mix(uint64_t h)
{
    h ^= h >> 30;
    h *= 0xBF58476D1CE4E5B9u;
    h ^= h >> 27;
    h *= 0x94D049BB133111EBu;
    return h ^ h >> 31;
}

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t n)
{
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;

        __builtin_memcpy(&v, p, 8);
        h = mix(h ^ v);
    }
    uint64_t rest = n;

    for (size_t i = 0; i < n; i++) {
        rest = rest << 8 | p[i];
    }
    return mix(h ^ rest);
}

/* sign and magnitude, so that every width agrees */
static uint64_t hash_word(uint64_t seed, bool negative, uint64_t magnitude)
{
    return mix(mix(seed + 1 + negative) ^ magnitude);
}

static uint64_t hash_integer(uint64_t seed, term_t t)
{
    int64_t v;
    uint64_t u;

    if (integer_to_i64(t, &v)) {
        return hash_word(seed, v < 0, v < 0 ? -(uint64_t)v : (uint64_t)v);
    }
    if (integer_to_u64(t, &u)) {
        return hash_word(seed, false, u);
    }
    const term_t *o = term_ptr(t);
    uint64_t n = header_count(o[0]);
    uint64_t h = mix(seed + 1 + o[1]);

    for (uint64_t i = 0; i < n; i++) {
        h = mix(h ^ o[2 + i]);
    }
    return h;
}

static uint64_t hash_double(uint64_t seed, double d)
{
    uint64_t bits;

    d = d == 0.0 ? 0.0 : d;
    __builtin_memcpy(&bits, &d, sizeof(bits));
    return mix(mix(seed + 3) ^ bits);
}

static uint64_t hash_term(struct vm *vm, term_t t, unsigned depth, size_t *left);

static uint64_t hash_list(struct vm *vm, term_t t, unsigned depth, size_t *left)
{
    uint64_t h = mix(vm->hash_seed + 5);

    for (; term_is_list(t) && *left != 0; t = pair_rest(t)) {
        h = mix(h ^ hash_term(vm, pair_head(t), depth + 1, left));
    }
    return h;
}

static uint64_t hash_collection(struct vm *vm, term_t t, enum object_tag tag, unsigned depth,
                                size_t *left)
{
    uint64_t h = mix(vm->hash_seed + 16 + tag);

    if (tag == TAG_MAP || tag == TAG_SET) {
        size_t n = tag == TAG_MAP ? map_count(t) * 2 : set_count(t);
        size_t share = *left / max_of(n, (size_t)1);
        size_t used = 0;
        struct map_cursor c;

        for (map_first(&c, t); !c.done; map_next(&c)) {
            size_t for_key = share;
            size_t for_value = share;
            uint64_t k = hash_term(vm, c.key, depth + 1, &for_key);

            used += share - for_key;
            if (tag == TAG_MAP) {
                h += mix(k ^ mix(hash_term(vm, c.value, depth + 1, &for_value) + 7));
                used += share - for_value;
            } else {
                h += mix(k);
            }
        }
        *left -= min_of(used, *left);
        return mix(h);
    }
    size_t n = tag == TAG_TUPLE ? tuple_count(t) : vector_count(t);

    for (size_t i = 0; i < n && *left != 0; i++) {
        term_t e = tag == TAG_TUPLE ? tuple_get(t, i) : vector_get(t, i);

        h = mix(h ^ hash_term(vm, e, depth + 1, left));
    }
    return h;
}

static uint64_t hash_boxed(struct vm *vm, term_t t, unsigned depth, size_t *left)
{
    uint64_t seed = vm->hash_seed;
    const term_t *o = term_ptr(t);
    enum object_tag tag = header_tag(o[0]);

    switch (tag) {
    case TAG_TUPLE:
    case TAG_VECTOR:
    case TAG_MAP:
    case TAG_SET:
        return depth >= HASH_DEPTH || *left == 0 ? mix(seed + tag)
                                                 : hash_collection(vm, t, tag, depth, left);
    case TAG_STRING:
        return hash_bytes(mix(seed + 8), (const uint8_t *)string_data(t), string_bytes(t));
    case TAG_BINARY:
    case TAG_PROCBIN:
    case TAG_SUBBIN: {
        struct bytes_view v = binary_view(t);

        return hash_bytes(mix(seed + 9), v.data, v.size);
    }
    case TAG_BIGNUM:
    case TAG_FIXINT:
        return hash_integer(seed, t);
    case TAG_FLOAT:
    case TAG_F32:
        return hash_double(seed, number_to_double(t));
    case TAG_RATIO:
        return mix(hash_integer(seed, o[1]) ^ mix(hash_integer(seed, o[2])));
    case TAG_NOTED:
        return hash_term(vm, o[1], depth, left);
    case TAG_PID:
    case TAG_REF:
    case TAG_PADDR:
    case TAG_VADDR:
        return mix(mix(seed + 32 + tag) ^ o[1]);
    case TAG_NAMESPACE:
        return mix(mix(seed + 33) ^ hash_term(vm, o[1], depth, left)); /* by its name */
    case TAG_VAR:
        return mix(mix(seed + 34) ^ hash_term(vm, o[1], depth, left));
    default:
        /* Functions and buffers are equal only to themselves, and move: their kind must do. */
        return mix(seed + 40 + tag);
    }
}

static uint64_t hash_term(struct vm *vm, term_t t, unsigned depth, size_t *left)
{
    uint64_t seed = vm->hash_seed;

    *left -= *left != 0;
    if (term_is_small(t)) {
        return hash_integer(seed, t);
    }
    if (term_is_symbol_word(t)) {
        return mix(realm_name(vm, t)->hash + 11);
    }
    if (term_is_keyword(t)) {
        return mix(realm_name(vm, t)->hash + 12);
    }
    if (term_is_immediate(t)) {
        return mix(mix(seed + 13) ^ t);
    }
    if (term_is_list(t)) {
        return depth >= HASH_DEPTH || *left == 0 ? mix(seed + 5) : hash_list(vm, t, depth, left);
    }
    return hash_boxed(vm, t, depth, left);
}

uint64_t term_hash(struct vm *vm, term_t t)
{
    size_t left = HASH_TERMS;

    return hash_term(vm, t, 0, &left);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps and sets. Up to MAP_SMALL_MAX entries: an array in order of insertion. More: a compressed
 * hash array mapped trie (after Steindorfer and Vinju, "Optimizing Hash-Array Mapped Tries", 2015):
 *
 *     root   { header | LARGE, small(count), node }
 *     node   { header, entry map << 32 | child map, entries..., children... }
 *
 * Bit i of the entry map: an entry whose hash has digit i at this level stands here; of the child
 * map: a node one level down holds several. An entry is key and value, or an element. Past the last
 * digit of the hash a collision node { header | COLLISION, hash, entries... } holds what hashes
 * alike.
 *
 * An update copies the path from the root. It walks twice: once to find out how many words that
 * takes, and, after reserving them, once to build.
 */
#include "data/data.h"
#include "gc/heap.h"
#include "native.h"
#include "vm_state.h"

enum {
    DIGIT_BITS = 5,
    HASH_BITS = 60
};

static size_t stride_of(uint64_t header)
{
    return (header_arity(header) & NODE_SET) != 0 ? 1 : 2;
}

static bool is_collision(const term_t *node)
{
    return (header_arity(node[0]) & NODE_COLLISION) != 0;
}

static uint32_t entry_map(const term_t *node)
{
    return (uint32_t)(node[1] >> 32);
}

static uint32_t child_map(const term_t *node)
{
    return (uint32_t)node[1];
}

static uint32_t digit_bit(uint64_t hash, unsigned level)
{
    return (uint32_t)1 << ((hash >> (level * DIGIT_BITS)) & 31);
}

static unsigned bits_below(uint32_t map, uint32_t bit)
{
    return (unsigned)__builtin_popcount(map & (bit - 1));
}

static size_t entries_in(const term_t *node)
{
    size_t stride = stride_of(node[0]);

    return is_collision(node) ? ((size_t)header_count(node[0]) - 1) / stride
                              : (size_t)__builtin_popcount(entry_map(node));
}

static term_t *entry_at(const term_t *node, size_t i)
{
    return (term_t *)(uintptr_t)(node + 2 + i * stride_of(node[0]));
}

static term_t *child_at(const term_t *node, size_t i)
{
    return entry_at(node, entries_in(node)) + i;
}

bool term_is_map(term_t t)
{
    return term_has_tag(t, TAG_MAP);
}

bool term_is_set(term_t t)
{
    return term_has_tag(t, TAG_SET);
}

static size_t count_of(term_t m)
{
    return header_is_large(box_header(m)) ? (size_t)small_value(term_ptr(m)[1])
                                          : (size_t)header_count(box_header(m));
}

size_t map_count(term_t m)
{
    return count_of(m);
}

size_t set_count(term_t s)
{
    return count_of(s);
}

/* ---- finding ---- */

/* The leaf's run of entries for this hash in a large map; *count of them. */
static const term_t *large_candidates(const term_t *node, uint64_t hash, size_t *count)
{
    for (unsigned level = 0; !is_collision(node); level++) {
        uint32_t bit = digit_bit(hash, level);

        if ((entry_map(node) & bit) != 0) {
            *count = 1;
            return entry_at(node, bits_below(entry_map(node), bit));
        }
        if ((child_map(node) & bit) == 0) {
            *count = 0;
            return NULL;
        }
        node = term_ptr(*child_at(node, bits_below(child_map(node), bit)));
    }
    *count = entries_in(node);
    return entry_at(node, 0);
}

const term_t *map_candidates(struct process *p, term_t m, term_t key, size_t *count)
{
    const term_t *o = term_ptr(m);

    if (header_is_large(o[0])) {
        return large_candidates(term_ptr(o[2]), term_hash(process_vm(p), key), count);
    }
    *count = (size_t)header_count(o[0]);
    return &o[1];
}

/* No seed at hand: look at all. */
static const term_t *find_anywhere(term_t m, term_t key, size_t stride)
{
    struct map_cursor c;

    for (map_first(&c, m); !c.done; map_next(&c)) {
        if (term_equal(NULL, c.key, key)) {
            return c.level[c.depth].node + 2 + (c.level[c.depth].next - 1) * stride;
        }
    }
    return NULL;
}

/* The entry with this key, or NULL. */
static const term_t *find(struct process *p, term_t m, term_t key, size_t stride)
{
    size_t n;

    if (p == NULL && header_is_large(box_header(m))) {
        return find_anywhere(m, key, stride);
    }
    const term_t *e = map_candidates(p, m, key, &n);

    for (size_t i = 0; i < n; i++, e += stride) {
        if (term_equal(p, e[0], key)) {
            return e;
        }
    }
    return NULL;
}

term_t map_get(struct process *p, term_t m, term_t key)
{
    const term_t *e = find(p, m, key, 2);

    return e == NULL ? TERM_HOLE : e[1];
}

term_t set_get(struct process *p, term_t s, term_t x)
{
    const term_t *e = find(p, s, x, 1);

    return e == NULL ? TERM_HOLE : e[0];
}

/* ---- building nodes ---- */

static term_t *node_new(struct process *p, size_t words, uint64_t flags, uint64_t raw)
{
    term_t *n = heap_take(p, words);

    n[0] = header_make(TAG_NODE, (uint64_t)(words - 1) | flags);
    n[1] = raw;
    return n;
}

static uint64_t set_flag(size_t stride)
{
    return stride == 1 ? NODE_SET : 0;
}

static void put_words(term_t *to, const term_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static size_t node_words(const term_t *node)
{
    return 1 + (size_t)header_count(node[0]);
}

struct put {
    struct process *p;
    size_t stride;
    uint64_t hash;
    const term_t *key; /* rooted places */
    const term_t *value;
    bool added;
};

static void write_entry(const struct put *u, term_t *to)
{
    to[0] = *u->key;
    if (u->stride == 2) {
        to[1] = *u->value;
    }
}

/* A node for two entries with different keys from `level` down. Needs up to 14 levels * 3 + 2 + 4
 * words. */
static term_t two_entries(const struct put *u, const term_t *old, uint64_t old_hash, unsigned level)
{
    size_t s = u->stride;

    if (level * DIGIT_BITS >= HASH_BITS) {
        term_t *n = node_new(u->p, 2 + 2 * s, NODE_COLLISION | set_flag(s), u->hash & ~(uint64_t)3);

        put_words(n + 2, old, s);
        write_entry(u, n + 2 + s);
        return term_from_box(n);
    }
    uint32_t a = digit_bit(old_hash, level);
    uint32_t b = digit_bit(u->hash, level);

    if (a == b) {
        term_t child = two_entries(u, old, old_hash, level + 1);
        term_t *n = node_new(u->p, 3, set_flag(s), a);

        n[2] = child;
        return term_from_box(n);
    }
    term_t *n = node_new(u->p, 2 + 2 * s, set_flag(s), (uint64_t)(a | b) << 32);

    put_words(n + 2 + (a < b ? 0 : s), old, s);
    write_entry(u, n + 2 + (a < b ? s : 0));
    return term_from_box(n);
}

enum {
    TWO_ENTRIES_WORDS = 13 * 3 + 6
};

/* Words that put_node() takes for this key. */
static size_t put_need(struct process *p, const term_t *node, uint64_t hash)
{
    size_t need = 0;
    (void)p;

    for (unsigned level = 0;; level++) {
        need += node_words(node) + 2;
        if (is_collision(node)) {
            return need;
        }
        uint32_t bit = digit_bit(hash, level);

        if ((entry_map(node) & bit) != 0) {
            return need + TWO_ENTRIES_WORDS;
        }
        if ((child_map(node) & bit) == 0) {
            return need;
        }
        node = term_ptr(*child_at(node, bits_below(child_map(node), bit)));
    }
}

static term_t put_collision(struct put *u, const term_t *node)
{
    size_t n = entries_in(node);
    size_t words = node_words(node);
    size_t at = 0;

    while (at < n && !term_equal(u->p, entry_at(node, at)[0], *u->key)) {
        at++;
    }
    u->added = at == n;
    term_t *c = node_new(u->p, words + (u->added ? u->stride : 0),
                         NODE_COLLISION | set_flag(u->stride), node[1]);

    put_words(c + 2, node + 2, words - 2);
    write_entry(u, c + 2 + at * u->stride);
    return term_from_box(c);
}

static term_t put_node(struct put *u, const term_t *node, unsigned level)
{
    if (is_collision(node)) {
        return put_collision(u, node);
    }
    size_t s = u->stride;
    size_t words = node_words(node);
    uint32_t em = entry_map(node);
    uint32_t cm = child_map(node);
    uint32_t bit = digit_bit(u->hash, level);
    size_t ei = bits_below(em, bit);
    size_t ci = bits_below(cm, bit);

    if ((cm & bit) != 0) { /* one level down */
        term_t child = put_node(u, term_ptr(*child_at(node, ci)), level + 1);
        term_t *c = node_new(u->p, words, set_flag(s), node[1]);

        put_words(c + 2, node + 2, words - 2);
        *child_at(c, ci) = child;
        return term_from_box(c);
    }
    if ((em & bit) == 0) { /* a new entry here */
        term_t *c = node_new(u->p, words + s, set_flag(s), (uint64_t)(em | bit) << 32 | cm);
        size_t before = ei * s;

        put_words(c + 2, node + 2, before);
        write_entry(u, c + 2 + before);
        put_words(c + 2 + before + s, node + 2 + before, words - 2 - before);
        u->added = true;
        return term_from_box(c);
    }
    const term_t *old = entry_at(node, ei);

    if (term_equal(u->p, old[0], *u->key)) { /* replace the value, keep the key */
        term_t *c = node_new(u->p, words, set_flag(s), node[1]);

        put_words(c + 2, node + 2, words - 2);
        if (s == 2) {
            c[2 + ei * s + 1] = *u->value;
        }
        return term_from_box(c);
    }
    /* Two keys share the digit: both move one level down. */
    term_t child = two_entries(u, old, term_hash(process_vm(u->p), old[0]), level + 1);
    term_t *c = node_new(u->p, words - s + 1, set_flag(s), (uint64_t)(em & ~bit) << 32 | cm | bit);
    size_t entries = entries_in(node) * s;
    term_t *to = c + 2;

    put_words(to, node + 2, ei * s);
    put_words(to + ei * s, node + 2 + (ei + 1) * s, entries - (ei + 1) * s);
    to += entries - s;
    put_words(to, node + 2 + entries, ci);
    to[ci] = child;
    put_words(to + ci + 1, node + 2 + entries + ci, words - 2 - entries - ci);
    u->added = true;
    return term_from_box(c);
}

static term_t large_new(struct process *p, enum object_tag tag, size_t count, term_t node)
{
    term_t *o = heap_take(p, 3);

    o[0] = header_make(tag, OBJECT_LARGE);
    o[1] = term_small((int64_t)count);
    o[2] = node;
    return term_from_box(o);
}

static term_t put_large(struct process *p, term_t *m, term_t *key, term_t *value, size_t stride)
{
    struct put u = { p, stride, term_hash(process_vm(p), *key), key, value, false };
    size_t need = put_need(p, term_ptr(term_ptr(*m)[2]), u.hash) + 3;

    if (!heap_reserve(p, need)) {
        return TERM_ERROR;
    }
    term_t node = put_node(&u, term_ptr(term_ptr(*m)[2]), 0);

    return large_new(p, header_tag(box_header(*m)), count_of(*m) + u.added, node);
}

/* From small with one entry too many: all into a trie. */
static term_t grow_to_large(struct process *p, term_t *m, term_t *key, term_t *value, size_t stride)
{
    size_t n = count_of(*m);

    if (!heap_reserve(p, 5)) {
        return TERM_ERROR;
    }
    term_t node = term_from_box(node_new(p, 2, set_flag(stride), 0));
    term_t large = large_new(p, header_tag(box_header(*m)), 0, node);
    term_t k = TERM_NIL;
    term_t v = TERM_NIL;
    struct root roots[3];

    root_push(p, &roots[0], &large);
    root_push(p, &roots[1], &k);
    root_push(p, &roots[2], &v);
    for (size_t i = 0; i <= n && large != TERM_ERROR; i++) {
        const term_t *e = term_ptr(*m) + 1 + i * stride;

        k = i < n ? e[0] : *key;
        v = i < n ? e[stride - 1] : *value;
        term_t next = put_large(p, &large, &k, &v, stride);

        large = next;
    }
    root_pop(p, &roots[2]);
    root_pop(p, &roots[1]);
    root_pop(p, &roots[0]);
    return large;
}

static term_t put(struct process *p, term_t *m, term_t *key, term_t *value, size_t stride)
{
    if (header_is_large(box_header(*m))) {
        return put_large(p, m, key, value, stride);
    }
    size_t n = count_of(*m);
    const term_t *e = find(p, *m, *key, stride);
    size_t at = e == NULL ? n : (size_t)(e - term_ptr(*m) - 1) / stride;

    if (at == n && n == MAP_SMALL_MAX) {
        return grow_to_large(p, m, key, value, stride);
    }
    if (at < n && stride == 1) {
        return *m;
    }
    size_t count = at == n ? n + 1 : n;

    if (!heap_reserve(p, 1 + count * stride)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, 1 + count * stride);

    o[0] = header_make(header_tag(box_header(*m)), count);
    put_words(o + 1, term_ptr(*m) + 1, n * stride);
    if (at == n) {
        o[1 + at * stride] = *key;
    }
    if (stride == 2) {
        o[2 + at * stride] = *value;
    }
    return term_from_box(o);
}

term_t map_put(struct process *p, term_t *m, term_t *key, term_t *value)
{
    return put(p, m, key, value, 2);
}

term_t set_add(struct process *p, term_t *s, term_t *x)
{
    return put(p, s, x, x, 1);
}

/* ---- removing ---- */

/*
 * The node without the entry, which is in it. 0 stands for an empty node. A child left with one
 * entry is pulled up into its parent, so that equal maps have equal shapes but for collision order.
 */
static term_t remove_node(struct put *u, const term_t *node, unsigned level)
{
    size_t s = u->stride;
    size_t words = node_words(node);

    if (is_collision(node)) {
        size_t n = entries_in(node);
        size_t at = 0;

        while (!term_equal(u->p, entry_at(node, at)[0], *u->key)) {
            at++;
        }
        term_t *c = node_new(u->p, words - s, NODE_COLLISION | set_flag(s), node[1]);

        put_words(c + 2, node + 2, at * s);
        put_words(c + 2 + at * s, entry_at(node, at + 1), (n - at - 1) * s);
        return term_from_box(c);
    }
    uint32_t em = entry_map(node);
    uint32_t cm = child_map(node);
    uint32_t bit = digit_bit(u->hash, level);
    size_t entries = entries_in(node) * s;

    if ((em & bit) != 0) {
        size_t at = bits_below(em, bit) * s;
        term_t *c = node_new(u->p, words - s, set_flag(s), (uint64_t)(em & ~bit) << 32 | cm);

        put_words(c + 2, node + 2, at);
        put_words(c + 2 + at, node + 2 + at + s, words - 2 - at - s);
        return term_from_box(c);
    }
    size_t ci = bits_below(cm, bit);
    term_t child = remove_node(u, term_ptr(*child_at(node, ci)), level + 1);
    const term_t *co = term_ptr(child);

    if (entries_in(co) != 1 || (!is_collision(co) && child_map(co) != 0)) {
        term_t *c = node_new(u->p, words, set_flag(s), node[1]);

        put_words(c + 2, node + 2, words - 2);
        *child_at(c, ci) = child;
        return term_from_box(c);
    }
    size_t at = bits_below(em, bit) * s;
    term_t *c =
        node_new(u->p, words + s - 1, set_flag(s), (uint64_t)(em | bit) << 32 | (cm & ~bit));
    term_t *to = c + 2;

    put_words(to, node + 2, at);
    put_words(to + at, co + 2, s);
    put_words(to + at + s, node + 2 + at, entries - at);
    to += entries + s;
    put_words(to, node + 2 + entries, ci);
    put_words(to + ci, node + 2 + entries + ci + 1, words - 2 - entries - ci - 1);
    return term_from_box(c);
}

static term_t remove_entry(struct process *p, term_t *m, term_t *key, size_t stride)
{
    const term_t *e = find(p, *m, *key, stride);

    if (e == NULL) {
        return *m;
    }
    enum object_tag tag = header_tag(box_header(*m));
    size_t n = count_of(*m);

    if (header_is_large(box_header(*m))) {
        struct put u = { p, stride, term_hash(process_vm(p), *key), key, NULL, false };
        size_t need = put_need(p, term_ptr(term_ptr(*m)[2]), u.hash) + 3;

        /* A large map stays large until it is empty enough to be small again. */
        if (!heap_reserve(p, need + 1 + MAP_SMALL_MAX * stride)) {
            return TERM_ERROR;
        }
        term_t node = remove_node(&u, term_ptr(term_ptr(*m)[2]), 0);
        term_t large = large_new(p, tag, n - 1, node);

        if (n - 1 > MAP_SMALL_MAX / 2) {
            return large;
        }
        term_t *o = heap_take(p, 1 + (n - 1) * stride);
        struct map_cursor c;
        size_t i = 1;

        o[0] = header_make(tag, n - 1);
        for (map_first(&c, large); !c.done; map_next(&c)) {
            o[i] = c.key;
            if (stride == 2) {
                o[i + 1] = c.value;
            }
            i += stride;
        }
        return term_from_box(o);
    }
    size_t at = (size_t)(e - term_ptr(*m) - 1);

    if (!heap_reserve(p, 1 + (n - 1) * stride)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, 1 + (n - 1) * stride);
    const term_t *from = term_ptr(*m) + 1;

    o[0] = header_make(tag, n - 1);
    put_words(o + 1, from, at);
    put_words(o + 1 + at, from + at + stride, (n * stride) - at - stride);
    return term_from_box(o);
}

term_t map_remove(struct process *p, term_t *m, term_t *key)
{
    return remove_entry(p, m, key, 2);
}

term_t set_remove(struct process *p, term_t *s, term_t *x)
{
    return remove_entry(p, s, x, 1);
}

/* ---- building from arrays ---- */

static term_t from_array(struct process *p, term_t *items, size_t n, size_t stride)
{
    term_t m = stride == 1 ? process_vm(p)->realm.empty_set : process_vm(p)->realm.empty_map;

    if (n == 0) {
        return m;
    }
    if (n <= MAP_SMALL_MAX) { /* in one piece */
        if (!heap_reserve(p, 1 + n * stride)) {
            return TERM_ERROR;
        }
        term_t *o = p->htop; /* taken below, once it is known how much */
        size_t count = 0;

        for (size_t i = 0; i < n; i++) {
            size_t at = 0;

            while (at < count && !term_equal(p, o[1 + at * stride], items[i * stride])) {
                at++;
            }
            if (at == count) {
                o[1 + at * stride] = items[i * stride];
                count++;
            }
            if (stride == 2) {
                o[2 + at * stride] = items[i * stride + 1];
            }
        }
        o[0] = header_make(stride == 1 ? TAG_SET : TAG_MAP, count);
        return term_from_box(heap_take(p, 1 + count * stride));
    }
    struct root r;

    root_push(p, &r, &m);
    for (size_t i = 0; i < n && m != TERM_ERROR; i++) {
        term_t next = put(p, &m, &items[i * stride], &items[i * stride + stride - 1], stride);

        m = next;
    }
    root_pop(p, &r);
    return m;
}

term_t map_from_array(struct process *p, term_t *pairs, size_t n)
{
    return from_array(p, pairs, n, 2);
}

term_t set_from_array(struct process *p, term_t *elements, size_t n)
{
    return from_array(p, elements, n, 1);
}

term_t map_empty(struct vm *vm)
{
    return vm->realm.empty_map;
}

term_t set_empty(struct vm *vm)
{
    return vm->realm.empty_set;
}

/* ---- iteration ---- */

/* Level 0 of a small one is the object itself, shifted so that its entries stand where a node's do.
 */
void map_first(struct map_cursor *c, term_t m)
{
    const term_t *o = term_ptr(m);

    c->done = false;
    c->depth = 0;
    c->level[0].next = 0;
    c->level[0].node = header_is_large(o[0]) ? term_ptr(o[2]) : o;
    map_next(c);
}

static bool next_small(struct map_cursor *c, const term_t *o)
{
    size_t stride = header_tag(o[0]) == TAG_SET ? 1 : 2;
    unsigned i = c->level[0].next++;

    if (i >= header_count(o[0])) {
        return false;
    }
    c->key = o[1 + i * stride];
    c->value = o[1 + i * stride + stride - 1];
    return true;
}

void map_next(struct map_cursor *c)
{
    if (header_tag(c->level[0].node[0]) != TAG_NODE) {
        c->done = !next_small(c, c->level[0].node);
        return;
    }
    for (;;) {
        const term_t *node = c->level[c->depth].node;
        unsigned i = c->level[c->depth].next++;
        size_t entries = entries_in(node);

        if (i < entries) {
            const term_t *e = entry_at(node, i);

            c->key = e[0];
            c->value = e[stride_of(node[0]) - 1];
            return;
        }
        size_t children = is_collision(node) ? 0 : (size_t)__builtin_popcount(child_map(node));

        if (i - entries < children) {
            assert(c->depth + 1 < array_size(c->level));
            const term_t *child = term_ptr(*child_at(node, i - entries));

            c->depth++;
            c->level[c->depth].node = child;
            c->level[c->depth].next = 0;
            continue;
        }
        if (c->depth == 0) {
            c->done = true;
            return;
        }
        c->depth--;
    }
}

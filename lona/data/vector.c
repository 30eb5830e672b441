/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors: flat up to VECTOR_SMALL_MAX elements, else a 32-way trie with a tail:
 *
 *     { header | LARGE, small(count << 8 | shift), root node, tail node }
 *
 * Leaves hold 32 elements, the tail 1..32. shift is 5 for one level of inner nodes above the
 * leaves.
 */
#include "data/data.h"
#include "gc/heap.h"
#include "native.h"
#include "vm_state.h"

enum {
    BITS = 5,
    WIDTH = 32
};

bool term_is_vector(term_t t)
{
    return term_has_tag(t, TAG_VECTOR);
}

static bool is_large(term_t v)
{
    return header_is_large(box_header(v));
}

static uint64_t large_word(term_t v)
{
    return (uint64_t)small_value(term_ptr(v)[1]);
}

size_t vector_count(term_t v)
{
    return is_large(v) ? (size_t)(large_word(v) >> 8) : (size_t)header_count(box_header(v));
}

static size_t tail_start(size_t count)
{
    return (count - 1) & ~(size_t)(WIDTH - 1);
}

term_t vector_get(term_t v, size_t i)
{
    if (!is_large(v)) {
        return term_ptr(v)[1 + i];
    }
    uint64_t w = large_word(v);
    size_t count = (size_t)(w >> 8);
    term_t node = term_ptr(v)[2];

    if (i >= tail_start(count)) {
        return term_ptr(term_ptr(v)[3])[1 + (i & (WIDTH - 1))];
    }
    for (unsigned shift = (unsigned)(w & 0xFF); shift > 0; shift -= BITS) {
        node = term_ptr(node)[1 + ((i >> shift) & (WIDTH - 1))];
    }
    return term_ptr(node)[1 + (i & (WIDTH - 1))];
}

static term_t node_new(struct process *p, size_t n)
{
    term_t *o = heap_take(p, 1 + n);

    o[0] = header_make(TAG_VECTOR_NODE, n);
    return term_from_box(o);
}

static term_t large_new(struct process *p, size_t count, unsigned shift, term_t root, term_t tail)
{
    term_t *o = heap_take(p, 4);

    o[0] = header_make(TAG_VECTOR, OBJECT_LARGE);
    o[1] = term_small((int64_t)(count << 8 | shift));
    o[2] = root;
    o[3] = tail;
    return term_from_box(o);
}

/* A chain of one-child nodes down to `leaf`; 2 words a level. */
static term_t new_path(struct process *p, unsigned shift, term_t leaf)
{
    for (; shift > 0; shift -= BITS) {
        term_t n = node_new(p, 1);

        term_ptr(n)[1] = leaf;
        leaf = n;
    }
    return leaf;
}

static size_t node_count(term_t node)
{
    return (size_t)header_count(box_header(node));
}

/* A copy of `node` with room for n >= its elements. */
static term_t node_copy(struct process *p, term_t node, size_t n)
{
    term_t c = node_new(p, n);
    size_t have = min_of(node_count(node), n);

    for (size_t i = 0; i < have; i++) {
        term_ptr(c)[1 + i] = term_ptr(node)[1 + i];
    }
    return c;
}

/* Put a full tail, which holds elements [at, at + 32), into the trie. Room: 35 words a level. */
static term_t push_leaf(struct process *p, unsigned shift, term_t node, size_t at, term_t leaf)
{
    size_t slot = (at >> shift) & (WIDTH - 1);
    size_t have = node_count(node);
    term_t c = node_copy(p, node, max_of(have, slot + 1));
    term_t child;

    if (shift == BITS) {
        child = leaf;
    } else if (slot < have) {
        child = push_leaf(p, shift - BITS, term_ptr(node)[1 + slot], at, leaf);
    } else {
        child = new_path(p, shift - BITS, leaf);
    }
    term_ptr(c)[1 + slot] = child;
    return c;
}

static term_t append_flat(struct process *p, term_t *v, term_t *x)
{
    size_t n = (size_t)header_count(box_header(*v));

    if (!heap_reserve(p, 48)) {
        return TERM_ERROR;
    }
    if (n < VECTOR_SMALL_MAX) {
        term_t *o = heap_take(p, 2 + n);

        o[0] = header_make(TAG_VECTOR, n + 1);
        for (size_t i = 0; i < n; i++) {
            o[1 + i] = term_ptr(*v)[1 + i];
        }
        o[1 + n] = *x;
        return term_from_box(o);
    }
    term_t leaf = node_new(p, WIDTH);

    for (size_t i = 0; i < WIDTH; i++) {
        term_ptr(leaf)[1 + i] = term_ptr(*v)[1 + i];
    }
    term_t root = new_path(p, BITS, leaf);
    term_t tail = node_new(p, 1);

    term_ptr(tail)[1] = *x;
    return large_new(p, n + 1, BITS, root, tail);
}

term_t vector_append(struct process *p, term_t *v, term_t *x)
{
    if (!is_large(*v)) {
        return append_flat(p, v, x);
    }
    uint64_t w = large_word(*v);
    size_t count = (size_t)(w >> 8);
    unsigned shift = (unsigned)(w & 0xFF);
    size_t tail_size = count - tail_start(count);

    if (tail_size < WIDTH) {
        if (!heap_reserve(p, 4 + 2 + tail_size)) {
            return TERM_ERROR;
        }
        term_t tail = node_copy(p, term_ptr(*v)[3], tail_size + 1);

        term_ptr(tail)[1 + tail_size] = *x;
        return large_new(p, count + 1, shift, term_ptr(*v)[2], tail);
    }
    if (!heap_reserve(p, 4 + 2 + ((size_t)shift / BITS + 2) * 36)) {
        return TERM_ERROR;
    }
    term_t root = term_ptr(*v)[2];
    term_t leaf = term_ptr(*v)[3];
    size_t at = tail_start(count);

    if (at >> BITS >= (size_t)1 << shift) { /* the trie is full: one level more */
        term_t top = node_new(p, 2);

        term_ptr(top)[1] = root;
        term_ptr(top)[2] = new_path(p, shift, leaf);
        root = top;
        shift += BITS;
    } else {
        root = push_leaf(p, shift, root, at, leaf);
    }
    term_t tail = node_new(p, 1);

    term_ptr(tail)[1] = *x;
    return large_new(p, count + 1, shift, root, tail);
}

term_t vector_from_array(struct process *p, term_t *elements, size_t n)
{
    if (n == 0) {
        return process_vm(p)->realm.empty_vector;
    }
    size_t flat = min_of(n, (size_t)VECTOR_SMALL_MAX);

    if (!heap_reserve(p, 1 + flat)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, 1 + flat);
    term_t v = term_from_box(o);
    struct root r;

    o[0] = header_make(TAG_VECTOR, flat);
    for (size_t i = 0; i < flat; i++) {
        o[1 + i] = elements[i];
    }
    root_push(p, &r, &v);
    for (size_t i = flat; i < n && v != TERM_ERROR; i++) {
        term_t next = vector_append(p, &v, &elements[i]);

        v = next;
    }
    root_pop(p, &r);
    return v;
}

term_t vector_empty(struct vm *vm)
{
    return vm->realm.empty_vector;
}

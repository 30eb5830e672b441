/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector against a model. Bytes are a program that builds objects out of earlier ones, drops
 * them, sends and receives them and collects; each object carries its number, and the model knows
 * for each number what the object must hold. Checks walk from the roots and share nothing with the
 * collector. For unit tests and fuzz targets; runs inside a process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "gc/memory.h"
#include "native.h"
#include "process/mailbox.h"

enum {
    MODEL_ROOTS = 16,
    MODEL_NODES = 4096,
    MODEL_CHILDREN = 6,
    MODEL_SEEN = 1 << 16, /* objects of one walk; more are not looked at */
};

enum model_kind {
    MODEL_PAIR,    /* (number . child) */
    MODEL_TUPLE,   /* [number child...], children over and over up to `size` */
    MODEL_VECTOR,  /* likewise */
    MODEL_MAP,     /* -1 -> number, i -> child */
    MODEL_FLOAT,   /* number */
    MODEL_STRING,  /* number as text, with a tail of x */
    MODEL_BINARY,  /* `size` bytes, each the low byte of number */
    MODEL_SLICE,   /* the middle half of binary child 0 */
    MODEL_BYTEBUF, /* `size` bytes */
    MODEL_KINDS,
};

struct model_node {
    uint8_t kind;
    uint8_t count;
    uint32_t size;
    int64_t children[MODEL_CHILDREN]; /* number, or minus a small integer */
};

struct gc_model {
    struct process *p;
    const uint8_t *data;
    size_t size, at;
    term_t roots[MODEL_ROOTS];
    int64_t expected[MODEL_ROOTS];
    struct root links[MODEL_ROOTS];
    struct model_node nodes[MODEL_NODES];
    uint32_t node_count;
    term_t seen[MODEL_SEEN];
    uint32_t seen_count;
    term_t todo[MODEL_SEEN];
    int64_t todo_expected[MODEL_SEEN];
    uint32_t todo_count;
};

#define MODEL_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            model_failed(#condition, __LINE__);                                                    \
        }                                                                                          \
    } while (0)

_Noreturn static inline void model_failed(const char *what, int line)
{
    (void)fprintf(stderr, "gc model: %s (line %d)\n", what, line);
    abort();
}

/* ---- checking ---- */

/* First visit? Remembers it. */
static inline bool model_visit(struct gc_model *m, term_t t)
{
    size_t at = (t >> 3) * 0x9E3779B97F4A7C15u >> 48;

    for (; m->seen[at] != 0; at = (at + 1) % MODEL_SEEN) {
        if (m->seen[at] == t) {
            return false;
        }
    }
    if (m->seen_count >= MODEL_SEEN / 2) {
        return false;
    }
    m->seen[at] = t;
    m->seen_count++;
    return true;
}

/* `t` must be child `expected`; walked later. */
static inline void model_expect(struct gc_model *m, term_t t, int64_t expected)
{
    if (expected < 0) {
        MODEL_CHECK(t == term_small(expected));
        return;
    }
    MODEL_CHECK(term_is_pointer(t));
    if (model_visit(m, t)) {
        MODEL_CHECK(m->todo_count < MODEL_SEEN);
        m->todo[m->todo_count] = t;
        m->todo_expected[m->todo_count++] = expected;
    }
}

static inline void model_check_sequence(struct gc_model *m, term_t t, const struct model_node *n,
                                        int64_t number)
{
    bool is_tuple = n->kind == MODEL_TUPLE;
    size_t count = is_tuple ? tuple_count(t) : vector_count(t);

    MODEL_CHECK(count == n->size + 1u);
    MODEL_CHECK((is_tuple ? tuple_get(t, 0) : vector_get(t, 0)) == term_small(number));
    for (size_t i = 0; i < n->size; i++) {
        model_expect(m, is_tuple ? tuple_get(t, i + 1) : vector_get(t, i + 1),
                     n->children[i % n->count]);
    }
}

static inline void model_check_bytes(const uint8_t *data, size_t size, size_t expected_size,
                                     int64_t number)
{
    MODEL_CHECK(size == expected_size);
    for (size_t i = 0; i < size; i++) {
        MODEL_CHECK(data[i] == (uint8_t)number);
    }
}

static inline uint32_t model_text(char *out, int64_t number, uint32_t size)
{
    uint32_t n = (uint32_t)snprintf(out, 512, "%lld", (long long)number);

    memset(out + n, 'x', size % 256);
    return n + size % 256;
}

static inline void model_check_object(struct gc_model *m, term_t t, int64_t number)
{
    const struct model_node *n = &m->nodes[number];
    char text[512];
    uint64_t bits;
    double d;

    switch ((enum model_kind)n->kind) {
    case MODEL_PAIR:
        MODEL_CHECK(term_is_list(t) && pair_head(t) == term_small(number));
        model_expect(m, pair_rest(t), n->children[0]);
        break;
    case MODEL_TUPLE:
        MODEL_CHECK(term_is_tuple(t));
        model_check_sequence(m, t, n, number);
        break;
    case MODEL_VECTOR:
        MODEL_CHECK(term_is_vector(t));
        model_check_sequence(m, t, n, number);
        break;
    case MODEL_MAP:
        MODEL_CHECK(term_is_map(t) && map_count(t) == n->count + 1u);
        MODEL_CHECK(map_get(m->p, t, term_small(-1)) == term_small(number));
        for (uint32_t i = 0; i < n->count; i++) {
            model_expect(m, map_get(m->p, t, term_small(i)), n->children[i]);
        }
        break;
    case MODEL_FLOAT:
        MODEL_CHECK(term_has_tag(t, TAG_FLOAT));
        bits = term_ptr(t)[1];
        memcpy(&d, &bits, sizeof(d));
        MODEL_CHECK(d == (double)number);
        break;
    case MODEL_STRING:
        MODEL_CHECK(term_is_string(t) && string_bytes(t) == model_text(text, number, n->size));
        MODEL_CHECK(memcmp(string_data(t), text, string_bytes(t)) == 0);
        break;
    case MODEL_BINARY:
        MODEL_CHECK(term_is_binary(t));
        model_check_bytes(binary_view(t).data, binary_view(t).size, n->size, number);
        break;
    case MODEL_SLICE:
        MODEL_CHECK(term_is_binary(t));
        model_check_bytes(binary_view(t).data, binary_view(t).size, n->size, n->children[0]);
        break;
    case MODEL_BYTEBUF:
        MODEL_CHECK(term_has_tag(t, TAG_BYTEBUF));
        model_check_bytes(bytebuf_view(t).data, bytebuf_view(t).size, n->size, number);
        break;
    case MODEL_KINDS:
        break;
    }
}

/* Everything reachable is what it was. */
static inline void model_verify_reachable(struct gc_model *m)
{
    memset(m->seen, 0, sizeof(m->seen));
    m->seen_count = 0;
    m->todo_count = 0;
    for (unsigned i = 0; i < MODEL_ROOTS; i++) {
        if (m->expected[i] != INT64_MIN) {
            model_expect(m, m->roots[i], m->expected[i]);
        }
    }
    for (uint32_t i = 0; i < m->todo_count; i++) {
        model_check_object(m, m->todo[i], m->todo_expected[i]);
    }
}

static inline void gc_model_verify(struct gc_model *m)
{
    model_verify_reachable(m);
    heap_verify(m->p);
}

/* ---- building ---- */

static inline unsigned model_byte(struct gc_model *m)
{
    return m->at < m->size ? m->data[m->at++] : 0;
}

/* A child: what some root holds, or a small integer. The term is read only after reservations. */
static inline int64_t model_pick(struct gc_model *m, unsigned *root)
{
    *root = model_byte(m) % MODEL_ROOTS;
    return m->expected[*root] == INT64_MIN ? -(int64_t)*root - 1 : m->expected[*root];
}

static inline term_t model_term(const struct gc_model *m, int64_t child, unsigned root)
{
    return child < 0 ? term_small(child) : m->roots[root];
}

static inline bool model_build_sequence(struct gc_model *m, struct model_node *n, term_t number,
                                        const unsigned *from, term_t *out)
{
    size_t words = n->size + 1u;
    term_t *e;

    if (n->kind == MODEL_TUPLE) {
        if (!heap_reserve(m->p, TUPLE_WORDS(words))) {
            return false;
        }
        *out = heap_tuple(m->p, words, &e);
        e[0] = number;
        for (size_t i = 0; i < n->size; i++) {
            e[i + 1] = model_term(m, n->children[i % n->count], from[i % n->count]);
        }
        return true;
    }
    term_t v = vector_empty(process_vm(m->p));
    struct root r;

    root_push(m->p, &r, &v);
    v = vector_append(m->p, &v, &number);
    for (size_t i = 0; i < n->size && v != TERM_ERROR; i++) {
        term_t x = model_term(m, n->children[i % n->count], from[i % n->count]);
        struct root rx;

        root_push(m->p, &rx, &x);
        v = vector_append(m->p, &v, &x);
        root_pop(m->p, &rx);
    }
    root_pop(m->p, &r);
    *out = v;
    return v != TERM_ERROR;
}

static inline bool model_build_map(struct gc_model *m, const struct model_node *n, term_t number,
                                   const unsigned *from, term_t *out)
{
    term_t map = map_empty(process_vm(m->p));
    term_t key = term_small(-1);
    struct root r;

    root_push(m->p, &r, &map);
    map = map_put(m->p, &map, &key, &number);
    for (uint32_t i = 0; i < n->count && map != TERM_ERROR; i++) {
        term_t x = model_term(m, n->children[i], from[i]);
        struct root rx;

        key = term_small(i);
        root_push(m->p, &rx, &x);
        map = map_put(m->p, &map, &key, &x);
        root_pop(m->p, &rx);
    }
    root_pop(m->p, &r);
    *out = map;
    return map != TERM_ERROR;
}

static inline bool model_build_bytes(struct gc_model *m, const struct model_node *n, int64_t number,
                                     term_t *out)
{
    uint8_t *bytes;

    if (n->kind == MODEL_BYTEBUF) {
        *out = heap_bytebuf(m->p, n->size, true);
        if (*out != TERM_ERROR) {
            memset(bytebuf_view(*out).data, (int)(uint8_t)number, n->size);
        }
    } else {
        *out = heap_binary_new(m->p, n->size, &bytes);
        if (*out != TERM_ERROR) {
            memset(bytes, (int)(uint8_t)number, n->size);
        }
    }
    return *out != TERM_ERROR;
}

/* Object `n` with its number; false when memory is out. */
static inline bool model_build(struct gc_model *m, struct model_node *n, int64_t number,
                               const unsigned *from, term_t *out)
{
    char text[512];
    term_t source;

    switch ((enum model_kind)n->kind) {
    case MODEL_PAIR:
        if (!heap_reserve(m->p, PAIR_WORDS)) {
            return false;
        }
        *out = heap_pair(m->p, term_small(number), model_term(m, n->children[0], from[0]));
        return true;
    case MODEL_TUPLE:
    case MODEL_VECTOR:
        return model_build_sequence(m, n, term_small(number), from, out);
    case MODEL_MAP:
        return model_build_map(m, n, term_small(number), from, out);
    case MODEL_FLOAT:
        if (!heap_reserve(m->p, FLOAT_WORDS)) {
            return false;
        }
        *out = heap_float(m->p, (double)number);
        return true;
    case MODEL_STRING:
        *out = heap_string(m->p, text, model_text(text, number, n->size));
        return *out != TERM_ERROR;
    case MODEL_BINARY:
    case MODEL_BYTEBUF:
        return model_build_bytes(m, n, number, out);
    case MODEL_SLICE:
        source = m->roots[from[0]];
        *out = heap_binary_slice(m->p, &m->roots[from[0]], binary_view(source).size / 4, n->size);
        return *out != TERM_ERROR;
    case MODEL_KINDS:
        break;
    }
    return false;
}

static inline bool model_new(struct gc_model *m)
{
    unsigned from[MODEL_CHILDREN];
    unsigned to = model_byte(m) % MODEL_ROOTS;
    unsigned size = model_byte(m);
    int64_t number = m->node_count;
    struct model_node *n = &m->nodes[m->node_count];

    if (m->node_count == MODEL_NODES) {
        return false;
    }
    n->kind = (uint8_t)(model_byte(m) % MODEL_KINDS);
    n->count = (uint8_t)(1 + size % MODEL_CHILDREN);
    /* Mostly small; now and then one that makes the heap grow. */
    n->size = size < 250 ? size % 80 : (size - 249) * 1500;
    for (unsigned i = 0; i < n->count; i++) {
        n->children[i] = model_pick(m, &from[i]);
    }
    if (n->kind == MODEL_SLICE) {
        int64_t of = n->children[0];

        if (of < 0 || m->nodes[of].kind != MODEL_BINARY) {
            return true;
        }
        n->size = m->nodes[of].size / 2;
    }
    term_t t;

    m->node_count++;
    if (!model_build(m, n, number, from, &t)) {
        return false;
    }
    m->roots[to] = t;
    m->expected[to] = number;
    return true;
}

/* Through the mailbox: looked at, perhaps collected meanwhile, then taken, or left for the next. */
static inline bool model_receive(struct gc_model *m)
{
    unsigned from;
    unsigned how = model_byte(m);
    unsigned to = model_byte(m) % MODEL_ROOTS;
    struct process *p = m->p;
    int64_t sent = model_pick(m, &from);

    if (sent < 0 || !process_send(p, process_pid_raw(p), m->roots[from])) {
        p->reason = TERM_NIL; /* a bytebuf can't be sent */
        return true;
    }
    inbox_drain(p->worker, p);
    mailbox_begin(p);
    const struct message *message = mailbox_peek(p);

    MODEL_CHECK(message != NULL && message->next == NULL);
    m->roots[to] = message->term;
    m->expected[to] = sent;
    uint32_t known = m->node_count;

    for (unsigned i = 0; i < (how >> 4 & 3u); i++) { /* objects that may point into it */
        if (!model_new(m)) {
            return false;
        }
    }
    if ((how & 1) != 0 && !heap_collect(p, (how & 2) != 0)) {
        return false;
    }
    gc_model_verify(m);
    if ((how & 4) != 0) { /* refuse, then take it in a second receive */
        for (unsigned i = 0; i < MODEL_ROOTS; i++) {
            if (i == to || m->expected[i] >= (int64_t)known) {
                m->roots[i] = TERM_NIL;
                m->expected[i] = INT64_MIN;
            }
        }
        mailbox_next(p);
        if (!heap_collect(p, (how & 8) != 0)) {
            return false;
        }
        mailbox_begin(p);
        message = mailbox_peek(p);
        m->roots[to] = message->term;
        m->expected[to] = sent;
    }
    return mailbox_accept(p->worker, p);
}

static inline bool model_step(struct gc_model *m)
{
    unsigned op = model_byte(m);
    unsigned root = op / 16;

    switch (op % 16) {
    case 0:
    case 1:
        m->roots[root] = TERM_NIL;
        m->expected[root] = INT64_MIN;
        return true;
    case 2:
        return heap_collect(m->p, false);
    case 3:
        return heap_collect(m->p, true);
    case 4:
    case 5:
        return model_receive(m);
    case 6:
        gc_model_verify(m);
        return true;
    default:
        return model_new(m);
    }
}

/* Run the bytes as a program in p. False when p ran out of memory (its error is cleared). */
static inline bool gc_model_run(struct gc_model *m, struct process *p, const uint8_t *data,
                                size_t size)
{
    bool ok = true;

    m->p = p;
    m->data = data;
    m->size = size;
    m->at = 0;
    m->node_count = 0;
    for (unsigned i = 0; i < MODEL_ROOTS; i++) {
        m->roots[i] = TERM_NIL;
        m->expected[i] = INT64_MIN;
        root_push(p, &m->links[i], &m->roots[i]);
    }
    while (ok && m->at < m->size && m->node_count < MODEL_NODES) {
        ok = model_step(m);
    }
    if (ok) {
        gc_model_verify(m);
    } else { /* dead objects may point into a message that was let go */
        model_verify_reachable(m);
    }
    for (unsigned i = MODEL_ROOTS; i-- > 0;) {
        root_pop(p, &m->links[i]);
    }
    p->reason = TERM_NIL;
    return ok;
}

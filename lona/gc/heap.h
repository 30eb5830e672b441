/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one process as its own code sees it: reserve, then build.
 *
 * Rules, which every function that builds terms follows:
 *
 *   1. heap_reserve(p, words) makes sure that `words` words can be taken without a collection. It
 * may move every object of the process, so no C local may hold a term across it unless it is a
 * root: the arguments of a native (args[] is updated in place), a registered struct root, or the
 *      process's frames.
 *   2. Only then read the operands and build with heap_take(), which cannot fail.
 *   3. Objects are never changed after construction (no write barrier exists). Filling the words
 * just taken, before anything else is reserved, is construction.
 *
 * While gc_inhibit > 0 nothing moves: memory then grows by extra chunks that the next collection
 * gathers. Reader, compiler and macro expansion run so and may keep terms in C locals.
 *
 * All functions run on the worker that owns the process, only while it runs.
 */
#pragma once

#include "process/process.h"
#include "term/term.h"

/*
 * Room for `words`. Returns false after setting the process's error to :oom (its limit, or no
 * memory); the caller then returns TERM_ERROR at once.
 */
bool heap_reserve_slow(struct process *p, size_t words) MUST_CHECK;

MUST_CHECK static inline bool heap_reserve(struct process *p, size_t words)
{
#ifdef LONA_GC_STRESS
    return heap_reserve_slow(p, words);
#else
    return likely((size_t)(p->hend - p->htop) >= words) || heap_reserve_slow(p, words);
#endif
}

/* The next `words` words, uninitialised. Must have been reserved. */
static inline term_t *heap_take(struct process *p, size_t words)
{
    term_t *at = p->htop;

    assert_slow((size_t)(p->hend - p->htop) >= words);
    p->htop = at + words;
    return at;
}

/* ---- C-side roots ------------------------------------------------------------------------------
 */

/* One C variable that the collector updates. Lives on the C stack; push and pop nest. */
struct root {
    struct root *next;
    term_t *value;
};

static inline void root_push(struct process *p, struct root *r, term_t *value)
{
    r->value = value;
    r->next = p->roots;
    p->roots = r;
}

static inline void root_pop(struct process *p, struct root *r)
{
    assert(p->roots == r);
    p->roots = r->next;
}

/* Nothing moves until the matching heap_permit_gc(). Nests. */
static inline void heap_inhibit_gc(struct process *p)
{
    p->gc_inhibit++;
}

static inline void heap_permit_gc(struct process *p)
{
    assert(p->gc_inhibit > 0);
    p->gc_inhibit--;
}

/* ---- builders: words they need, then the builder itself (reserved before) -----------------------
 */

#define PAIR_WORDS      2
#define TUPLE_WORDS(n)  (1 + (size_t)(n))
#define FLOAT_WORDS     2
#define PID_WORDS       2
#define REF_WORDS       2
#define STRING_WORDS(n) (1 + ((size_t)(n) + 7) / 8)

static inline term_t heap_pair(struct process *p, term_t head, term_t rest)
{
    term_t *o = heap_take(p, PAIR_WORDS);

    o[0] = head;
    o[1] = rest;
    return term_from_pair(o);
}

/* A tuple whose n elements the caller fills in at *elements at once. */
static inline term_t heap_tuple(struct process *p, size_t n, term_t **elements)
{
    term_t *o = heap_take(p, TUPLE_WORDS(n));

    o[0] = header_make(TAG_TUPLE, n);
    *elements = o + 1;
    return term_from_box(o);
}

/* Any two-word boxed object: FLOAT, F32, PID, REF, FIXINT (arity is its kind), PADDR, VADDR. */
static inline term_t heap_word_box(struct process *p, enum object_tag tag, uint64_t arity,
                                   uint64_t payload)
{
    term_t *o = heap_take(p, 2);

    o[0] = header_make(tag, arity);
    o[1] = payload;
    return term_from_box(o);
}

static inline term_t heap_float(struct process *p, double d)
{
    uint64_t bits;

    __builtin_memcpy(&bits, &d, sizeof(bits));
    return heap_word_box(p, TAG_FLOAT, 0, bits);
}

/*
 * A string of n bytes of valid UTF-8 (the caller checked). These three reserve by themselves and so
 * may collect; they return TERM_ERROR on :oom. `bytes` must not lie on this process's heap.
 */
term_t heap_string(struct process *p, const char *bytes, size_t n) MUST_CHECK;
/* A binary: inline below 64 bytes, shared and counted otherwise. */
term_t heap_binary(struct process *p, const void *bytes, size_t n) MUST_CHECK;
/* As heap_binary(), bytes uninitialised: *bytes is valid until the next reservation. */
term_t heap_binary_new(struct process *p, size_t n, uint8_t **bytes) MUST_CHECK;

/* ---- binaries -----------------------------------------------------------------------------------
 */

/* Bytes shared by processes; freed when the last PROCBIN dies. */
struct shared_binary {
    _Atomic uint32_t references;
    uint32_t size;
    uint8_t data[];
};

struct bytes_view {
    const uint8_t *data;
    size_t size;
};

/* BINARY, PROCBIN or SUBBIN? */
bool term_is_binary(term_t t);
/* The bytes of such a term; valid until the next reservation. */
struct bytes_view binary_view(term_t t);
/* [offset, offset+size) of binary args-rooted *b: a view from 64 bytes on, a copy below. Range
 * checked by caller. */
term_t heap_binary_slice(struct process *p, term_t *b, size_t offset, size_t size) MUST_CHECK;

/* A zeroed or uninitialised byte buffer owned by p; TERM_ERROR on :oom. */
term_t heap_bytebuf(struct process *p, size_t size, bool zeroed) MUST_CHECK;

/* The storage of a BYTEBUF term. */
struct bytebuf_view {
    uint8_t *data;
    size_t size;
};
struct bytebuf_view bytebuf_view(term_t t);

/* ---- collections on demand
 * ----------------------------------------------------------------------- */

/* Collect now: minor when possible, or full. Returns false on :oom. */
bool heap_collect(struct process *p, bool full) MUST_CHECK;

/* Walk everything reachable and assert that it is sound. For tests and stress builds. */
void heap_verify(struct process *p);

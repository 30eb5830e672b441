/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector's side of a process. Invariants:
 *
 *   young      [heap, young_top) plus the fragments; objects here may point anywhere
 *   old        [old, old_top): never points into the young block or an unpinned fragment
 *   pinned     fragments that an old object may point into: kept until the next full collection
 *   realm      never moves, never scanned, points only to itself
 *   mailbox    messages not accepted: neither scanned nor moved; while a receive looks at one,
 * slots may point into it, and a collection then marks it MESSAGE_PINNED
 *
 * A collection decides its to-space first, allocates it, and only then changes anything; so a
 * refusal leaves the heap as it was.
 */
#pragma once

#include "gc/heap.h"
#include "vm_state.h"

/* Allocated with the first block that isn't in the record. */
struct process_memory {
    term_t *young_end; /* end of the block at p->heap */
    term_t *young_top; /* while extra chunks are in use: where htop stopped in the young block */
    bool chunked;      /* htop and hend point into the newest chunk */
    bool pinned_any;
    term_t *old;
    term_t *old_top;
    term_t *old_end;
    struct message *pinned;
    /* Objects that own something outside: PROCBIN, BYTEBUF. */
    term_t **owners;
    uint32_t owner_count;
    uint32_t owner_capacity;
    size_t owned_bytes; /* of those, since the last full collection */
    size_t owned_limit;
    size_t fragment_words; /* of fragments and chunks */
    uint32_t minor_count;
    uint32_t major_count;
    uint64_t reclaimed_words;
    uint32_t fullsweep_after;
    size_t young_min_words;
};

enum {
    OWNED_LIMIT_FIRST = 256 * 1024,
    FULLSWEEP_AFTER = 100,
    GENERATIONAL_FROM = 16 * 1024, /* words of live data above which an old block is used */
    CHUNK_WORDS_MIN = 512,
    FRAGMENT_WORDS_KEPT = 1024, /* of accepted messages, beyond the young block's size */
};

/* Smallest entry of the size table that is >= words. */
size_t heap_next_size(size_t words);

/* The memory record, made at first use; NULL without memory. */
struct process_memory *process_memory_get(struct process *p) MUST_CHECK;

/* Register an object just built that owns outside memory; room must have been made. */
bool owners_reserve(struct process *p, uint32_t n) MUST_CHECK;
void owners_add(struct process *p, term_t *object, size_t bytes);

/* A message was accepted: its data becomes part of the young generation, or it is freed. */
bool heap_adopt(struct process *p, struct message *m) MUST_CHECK;

/*
 * Is a collection due although no allocation asked for one: many accepted messages, or big
 * binaries? Asked between slices.
 */
static inline bool heap_is_due(const struct process *p)
{
    const struct process_memory *m = p->memory;

    return m != NULL &&
           (m->fragment_words > FRAGMENT_WORDS_KEPT + (size_t)(m->young_end - p->heap) ||
            m->owned_bytes > m->owned_limit);
}

/* Give everything back: the process ends. */
void heap_release_all(struct process *p);

/* Sum for (process-info), in words. */
struct heap_sizes {
    size_t young, young_used, old, old_used, stack;
};

void heap_sizes(const struct process *p, struct heap_sizes *out);

/* ---- deep copy (gc/copy.c)
 * ------------------------------------------------------------------------ */

enum copy_result {
    COPY_OK,
    COPY_BADARG,
    COPY_NO_MEMORY
};

/* A copied graph before it has its place: `words` words from `scratch`, or the term itself if words
 * = 0. */
struct copy_plan {
    term_t root;
    size_t words;
    bool linear; /* the graph is small: copied straight from the source by copy_place() */
    bool has_owners;
};

/* Measure (and for big graphs copy to w's scratch) everything reachable from t outside realm
 * memory. */
enum copy_result copy_prepare(struct worker *w, term_t t, struct copy_plan *plan) MUST_CHECK;
/* Write the graph to `to` (plan->words words) and return its root there. Counts shared binaries up.
 */
term_t copy_place(struct worker *w, const struct copy_plan *plan, term_t *to);

/* Drop what the objects in [from, from + words) own. */
void copy_release_owners(struct worker *w, term_t *from, size_t words);

/* ---- shared binaries ---- */
struct shared_binary *shared_binary_new(struct worker *w, size_t size) MUST_CHECK;
void shared_binary_put(struct worker *w, struct shared_binary *b);

static inline void shared_binary_get(struct shared_binary *b)
{
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
}

/* ---- frames (gc/roots.c)
 * -------------------------------------------------------------------------- */

/* Calls visit(arg, slot) for every slot of the process's frames, C roots and bindings that holds a
 * live term. */
void process_each_root(struct process *p, void (*visit)(void *arg, term_t *slot), void *arg);

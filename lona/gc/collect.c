/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collector: Cheney copying, per process. Three shapes of one pass:
 *
 *   minor   survivors of young block and fragments go to the end of the old block
 *   full    everything goes to a fresh old block (much is alive) or a fresh young block (little is)
 *
 * Invariants: gc/memory.h. To-space is allocated before the first object moves.
 */
#include "gc/memory.h"
#include "native.h"
#include "process/relations.h"

struct gc {
    struct process *p;
    term_t *to; /* next free word of to-space */
    term_t *to_end;
    const term_t *keep_low; /* minor: the old block; objects in it stay */
    const term_t *keep_high;
    const uint8_t *realm;
    const struct message *peeked; /* the message a receive looks at: stays */
    bool is_full;
    bool check_pinned; /* minor with pinned fragments */
};

static bool message_holds(const struct message *m, const term_t *o)
{
    return o >= m->data && o < m->data + m->words;
}

/* The rare part of "does this object stay where it is?". */
static bool stays_slow(const struct gc *g, const term_t *o)
{
    if (g->peeked != NULL && message_holds(g->peeked, o)) {
        return true;
    }
    if (g->check_pinned) {
        for (const struct message *m = g->p->memory->pinned; m != NULL; m = m->next) {
            if (message_holds(m, o)) {
                return true;
            }
        }
    }
    return false;
}

static inline bool stays(const struct gc *g, const term_t *o)
{
    if (o >= g->keep_low && o < g->keep_high) {
        return true;
    }
    if ((uintptr_t)o - (uintptr_t)g->realm < REALM_SIZE) {
        return true;
    }
    return unlikely(g->peeked != NULL || g->check_pinned) && stays_slow(g, o);
}

static void copy_words(term_t *to, const term_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static inline void forward(struct gc *g, term_t *slot)
{
    term_t t = *slot;

    if (!term_is_pointer(t)) {
        return;
    }
    term_t *o = term_ptr(t);

    if (stays(g, o)) {
        return;
    }
    if (term_is_list(t)) {
        if (o[0] == 0) { /* forwarded pair: head 0, rest the new address */
            *slot = o[1] | TERM_LIST;
            return;
        }
        term_t *n = g->to;

        assert_slow(g->to_end - n >= 2);
        n[0] = o[0];
        n[1] = o[1];
        g->to = n + 2;
        o[0] = 0;
        o[1] = (term_t)(uintptr_t)n;
        *slot = term_from_pair(n);
        return;
    }
    uint64_t h = o[0];

    if (header_tag(h) == TAG_FORWARD) {
        *slot = (h >> HEADER_ARITY_SHIFT << 3) | TERM_BOXED;
        return;
    }
    size_t words = header_words(h);
    term_t *n = g->to;

    assert((size_t)(g->to_end - n) >= words);
    copy_words(n, o, words);
    g->to = n + words;
    o[0] = ((uint64_t)(uintptr_t)n >> 3 << HEADER_ARITY_SHIFT) | ((uint64_t)TAG_FORWARD << 2);
    *slot = term_from_box(n);
}

static void forward_root(void *arg, term_t *slot)
{
    forward(arg, slot);
}

static void scan(struct gc *g, term_t *at)
{
    while (at < g->to) {
        if (term_tag(*at) != TERM_HEADER) { /* a pair */
            forward(g, &at[0]);
            forward(g, &at[1]);
            at += 2;
            continue;
        }
        size_t first;
        size_t n = header_term_range(*at, &first);
        size_t words = header_words(*at);

        for (size_t i = 0; i < n; i++) {
            forward(g, &at[first + i]);
        }
        at += words;
    }
}

/* ---- what objects own ---- */

static size_t owner_release(struct process *p, const term_t *o)
{
    if (header_tag(o[0]) == TAG_PROCBIN) {
        struct shared_binary *b = (void *)(uintptr_t)o[1]; // NOLINT(performance-no-int-to-ptr)

        shared_binary_put(p->worker, b);
        return 0;
    }
    assert(header_tag(o[0]) == TAG_BYTEBUF);
    arena_free(process_arena(p), (void *)(uintptr_t)o[1], (size_t)o[2]); // NOLINT
    return 0;
}

static size_t owner_bytes(const term_t *o)
{
    if (header_tag(o[0]) == TAG_PROCBIN) {
        const struct shared_binary *b = (const void *)(uintptr_t)o[1]; // NOLINT

        return b->size;
    }
    return (size_t)o[2];
}

static void sweep_owners(struct gc *g)
{
    struct process_memory *m = g->p->memory;
    uint32_t kept = 0;
    size_t bytes = 0;

    for (uint32_t i = 0; i < m->owner_count; i++) {
        term_t *o = m->owners[i];

        if (header_tag(o[0]) == TAG_FORWARD) {
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            o = (term_t *)(uintptr_t)(o[0] >> HEADER_ARITY_SHIFT << 3);
        } else if (!stays(g, o)) {
            (void)owner_release(g->p, o);
            continue;
        }
        m->owners[kept++] = o;
        bytes += owner_bytes(o);
    }
    m->owner_count = kept;
    m->owned_bytes = bytes;
    if (!g->is_full) {
        return; /* old binaries may be dead: the limit moves only when that is known */
    }
    if (bytes > m->owned_limit / 4 * 3) {
        m->owned_limit = bytes * 2;
    }
}

/* ---- blocks ---- */

static void block_free(struct process *p, term_t *block, const term_t *end)
{
    if (block != p->heap_inline) {
        arena_free(process_arena(p), block, (size_t)(end - block) * sizeof(term_t));
    }
}

static void fragments_free(struct process *p, struct message **list)
{
    struct message *m = *list;

    *list = NULL;
    while (m != NULL) {
        struct message *next = m->next;

        arena_free(process_arena(p), m, sizeof(*m) + m->words * sizeof(term_t));
        m = next;
    }
}

static size_t list_words(const struct message *m)
{
    size_t n = 0;

    for (; m != NULL; m = m->next) {
        n += m->words;
    }
    return n;
}

/* A size of at least `words` that the process may have, or 0. */
static size_t allowed_size(const struct process *p, size_t words)
{
    size_t size = heap_next_size(words);

    if (p->heap_max_words != 0 && size > p->heap_max_words) {
        size = words <= p->heap_max_words ? p->heap_max_words : 0;
    }
    return size;
}

static term_t *young_top(const struct process *p)
{
    return p->memory->chunked ? p->memory->young_top : p->htop;
}

/* Make `block` the empty young block. */
static void set_young(struct process *p, term_t *block, size_t words, size_t used)
{
    p->heap = block;
    p->htop = block + used;
    p->hend = block + words;
    p->memory->young_end = p->hend;
    p->memory->chunked = false;
}

static void begin(struct gc *g, struct process *p)
{
    *g = (struct gc){ .p = p, .realm = p->worker->vm->realm.base };
    if ((p->flags & PROCESS_PEEKED) != 0) {
        struct message *m = *p->save;

        m->flags |= MESSAGE_PINNED;
        g->peeked = m;
    }
}

/* ---- the collections ---- */

static bool minor(struct process *p, size_t need)
{
    struct process_memory *m = p->memory;
    size_t young = (size_t)(young_top(p) - p->heap);
    size_t moved = young + m->fragment_words;
    size_t size = (size_t)(m->young_end - p->heap);
    term_t *block = p->heap;

    if (need + need / 4 > size) { /* the young block is too small: replace it */
        size = allowed_size(p, need + need / 2 + size / 2);
        block = size == 0 ? NULL : arena_alloc(process_arena(p), size * sizeof(term_t));
        if (block == NULL) {
            return false;
        }
    }
    struct gc g;
    term_t *start = m->old_top;

    begin(&g, p);
    g.to = start;
    g.to_end = m->old_end;
    g.keep_low = m->old;
    g.keep_high = m->old_end; /* survivors of this collection included */
    g.check_pinned = m->pinned != NULL;
    process_each_root(p, forward_root, &g);
    scan(&g, start);
    sweep_owners(&g);
    m->old_top = g.to;
    fragments_free(p, &p->fragments);
    m->fragment_words = 0;
    if (block != p->heap) {
        block_free(p, p->heap, m->young_end);
    }
    set_young(p, block, size, 0);
    m->minor_count++;
    m->reclaimed_words += moved - (size_t)(g.to - start);
    p->collections_since_full++;
    return true;
}

/*
 * Everything to a fresh block. With much alive that block becomes the old one and the young one
 * stays empty; else it becomes the young one. The bound is what could be alive; what isn't is never
 * touched, and a big block gives its unused end back.
 */
static bool full(struct process *p, size_t need)
{
    struct process_memory *m = p->memory;
    size_t young = (size_t)(young_top(p) - p->heap);
    size_t bound =
        young + m->fragment_words + list_words(m->pinned) + (size_t)(m->old_top - m->old);
    size_t young_size = (size_t)(m->young_end - p->heap);
    bool generational = bound > GENERATIONAL_FROM;
    size_t size;
    term_t *fresh_young = NULL;

    if (generational) {
        size_t nursery = heap_next_size(max_of(need * 2, (size_t)GENERATIONAL_FROM * 2));

        size = allowed_size(p, bound + bound / 2 + nursery);
        if (size == 0) {
            size = allowed_size(p, bound);
        }
        if (young_size < nursery) {
            fresh_young = arena_alloc(process_arena(p), nursery * sizeof(term_t));
            if (fresh_young == NULL) {
                return false;
            }
            young_size = nursery;
        }
    } else {
        size = allowed_size(p, max_of(bound + bound / 2 + need + need / 4, m->young_min_words));
        if (size == 0 && p->heap_max_words != 0 && bound + need <= p->heap_max_words) {
            size = p->heap_max_words;
        }
    }
    term_t *block = size == 0 ? NULL : arena_alloc(process_arena(p), size * sizeof(term_t));

    if (block == NULL) {
        arena_free(process_arena(p), fresh_young, young_size * sizeof(term_t));
        return false;
    }
    size = arena_good_size(size * sizeof(term_t)) / sizeof(term_t);
    struct gc g;

    begin(&g, p);
    g.is_full = true;
    g.to = block;
    g.to_end = block + size;
    g.keep_low = block;
    g.keep_high = g.to_end;
    process_each_root(p, forward_root, &g);
    scan(&g, block);
    sweep_owners(&g);
    fragments_free(p, &p->fragments);
    fragments_free(p, &m->pinned);
    m->fragment_words = 0;
    if (m->old != NULL) {
        block_free(p, m->old, m->old_end);
    }
    size_t live = (size_t)(g.to - block);

    if (generational) {
        size_t wanted = (live + live / 2 + young_size) * sizeof(term_t);

        size = arena_trim(process_arena(p), block, size * sizeof(term_t), wanted) / sizeof(term_t);
        m->old = block;
        m->old_top = g.to;
        m->old_end = block + size;
        if (fresh_young != NULL) {
            block_free(p, p->heap, m->young_end);
            set_young(p, fresh_young, young_size, 0);
        } else {
            set_young(p, p->heap, young_size, 0);
        }
    } else {
        m->old = m->old_top = m->old_end = NULL;
        block_free(p, p->heap, m->young_end);
        set_young(p, block, size, live);
    }
    m->major_count++;
    m->reclaimed_words += bound - min_of(live, bound);
    p->collections_since_full = 0;
    return true;
}

static bool minor_is_possible(const struct process *p)
{
    const struct process_memory *m = p->memory;
    size_t young = (size_t)(young_top(p) - p->heap) + m->fragment_words;

    return m->old != NULL && (size_t)(m->old_end - m->old_top) >= young &&
           p->collections_since_full < m->fullsweep_after && m->owned_bytes <= m->owned_limit;
}

static bool collect(struct process *p, size_t need, bool want_full)
{
    if (process_memory_get(p) == NULL) {
        return false;
    }
    bool done = !want_full && minor_is_possible(p) && minor(p, need);

    if (!done || (size_t)(p->hend - p->htop) < need) {
        done = full(p, need);
    }
    if (done && (size_t)(p->hend - p->htop) < need) {
        done = full(p, need); /* the nursery was sized before it was known what lives */
    }
    process_charge(p, 10);
    return done && (size_t)(p->hend - p->htop) >= need;
}

/* While nothing may move: another chunk. */
static bool add_chunk(struct process *p, size_t words)
{
    struct process_memory *m = process_memory_get(p);

    if (m == NULL) {
        return false;
    }
    size_t size = max_of(words, min_of(m->fragment_words + CHUNK_WORDS_MIN, (size_t)1 << 17));
    size_t total = m->fragment_words + size + (size_t)(m->young_end - p->heap);

    if ((p->heap_max_words != 0 && total > (size_t)p->heap_max_words * 2) || size > UINT32_MAX) {
        return false;
    }
    struct message *c = arena_alloc(process_arena(p), sizeof(*c) + size * sizeof(term_t));

    if (c == NULL) {
        return false;
    }
    if (!m->chunked) {
        m->young_top = p->htop;
        m->chunked = true;
    }
    c->words = (uint32_t)size;
    c->kind = MESSAGE_TERM;
    c->flags = 0;
    c->next = p->fragments;
    p->fragments = c;
    m->fragment_words += size;
    p->htop = c->data;
    p->hend = c->data + size;
    return true;
}

bool heap_reserve_slow(struct process *p, size_t words)
{
    bool ok;

    if (words > (size_t)1 << 40) {
        ok = false;
    } else if (p->gc_inhibit > 0) {
        ok = (size_t)(p->hend - p->htop) >= words || add_chunk(p, words);
    } else {
        /* Under stress every reservation collects, and gets not a word more than it asked for. */
        struct process_memory *m = p->memory;

        if (p->worker->vm->gc_stress && m != NULL && !m->chunked) {
            p->hend = m->young_end;
        }
        ok = collect(p, words, false);
        if (ok && p->worker->vm->gc_stress) {
            heap_verify(p);
            p->hend = p->htop + words;
        }
    }
    if (!ok) {
        (void)raise_oom(p);
    }
    return ok;
}

bool heap_collect(struct process *p, bool want_full)
{
    if (p->gc_inhibit > 0) {
        return true;
    }
    if (p->worker->vm->gc_stress && p->memory != NULL && !p->memory->chunked) {
        p->hend = p->memory->young_end;
    }
    if (!collect(p, PROCESS_HEAP_INLINE, want_full)) {
        (void)raise_oom(p);
        return false;
    }
    return true;
}

bool heap_adopt(struct process *p, struct message *msg)
{
    if (msg->words == 0) {
        arena_free(process_arena(p), msg, sizeof(*msg));
        return true;
    }
    struct process_memory *m = process_memory_get(p);

    if (m == NULL) {
        return false;
    }
    if ((msg->flags & MESSAGE_OWNERS) != 0) {
        /* A PROCBIN takes three words, so this is room enough. */
        if (!owners_reserve(p, msg->words / 3)) {
            return false;
        }
        for (size_t i = 0; i < msg->words;) {
            term_t *o = &msg->data[i];

            if (term_tag(*o) != TERM_HEADER) {
                i += 2;
                continue;
            }
            if (header_tag(*o) == TAG_PROCBIN) {
                owners_add(p, o, owner_bytes(o));
            }
            i += header_words(*o);
        }
    }
    if ((msg->flags & MESSAGE_PINNED) != 0) {
        msg->next = m->pinned;
        m->pinned = msg;
    } else {
        msg->next = p->fragments;
        p->fragments = msg;
        m->fragment_words += msg->words;
    }
    return true;
}

void heap_release_all(struct process *p)
{
    struct process_memory *m = p->memory;

    if (m != NULL) {
        for (uint32_t i = 0; i < m->owner_count; i++) {
            (void)owner_release(p, m->owners[i]);
        }
        arena_free(process_arena(p), (void *)m->owners, m->owner_capacity * sizeof(*m->owners));
        fragments_free(p, &p->fragments);
        fragments_free(p, &m->pinned);
        block_free(p, p->heap, m->young_end);
        if (m->old != NULL) {
            block_free(p, m->old, m->old_end);
        }
        arena_free(process_arena(p), m, sizeof(*m));
        p->memory = NULL;
    }
    if (p->stack != p->stack_inline && p->stack != NULL) {
        arena_free(process_arena(p), p->stack, (size_t)(p->stack_end - p->stack) * sizeof(term_t));
    }
    p->stack = NULL;
    p->heap = NULL;
}

void heap_sizes(const struct process *p, struct heap_sizes *out)
{
    const struct process_memory *m = p->memory;

    *out = (struct heap_sizes){ .stack = (size_t)(p->stack_end - p->stack) };
    if (m == NULL) {
        out->young = PROCESS_HEAP_INLINE;
        out->young_used = (size_t)(p->htop - p->heap);
        return;
    }
    out->young = (size_t)(m->young_end - p->heap) + m->fragment_words;
    out->young_used = (size_t)(young_top(p) - p->heap) + m->fragment_words;
    out->old = (size_t)(m->old_end - m->old);
    out->old_used = (size_t)(m->old_top - m->old);
}

/* ---- verification ---- */

struct verify {
    struct process *p;
    const struct process_memory *m;
};

static bool in_list(const struct message *m, const term_t *o)
{
    for (; m != NULL; m = m->next) {
        if (message_holds(m, o)) {
            return true;
        }
    }
    return false;
}

/* A refused message that was pinned: dead old objects may still point into it. */
static bool in_refused(const struct message *m, const term_t *o)
{
    for (; m != NULL; m = m->next) {
        if ((m->flags & MESSAGE_PINNED) != 0 && message_holds(m, o)) {
            return true;
        }
    }
    return false;
}

static bool is_known(const struct verify *v, const term_t *o)
{
    const struct process *p = v->p;

    return (o >= p->heap && o < v->m->young_end) || (o >= v->m->old && o < v->m->old_top) ||
           realm_holds(&p->worker->vm->realm, o) || in_list(p->fragments, o) ||
           in_list(v->m->pinned, o) || in_refused(p->mailbox, o) ||
           ((p->flags & PROCESS_PEEKED) != 0 && message_holds(*p->save, o));
}

static void verify_term(const struct verify *v, term_t t)
{
    if (!term_is_pointer(t)) {
        assert(term_is_immediate(t));
        return;
    }
    const term_t *o = term_ptr(t);

    assert(is_known(v, o));
    if (term_is_list(t)) {
        assert(term_tag(o[0]) != TERM_HEADER);
    } else {
        assert(term_tag(o[0]) == TERM_HEADER);
        assert(header_tag(o[0]) != TAG_FORWARD);
    }
}

static void verify_root(void *arg, term_t *slot)
{
    verify_term(arg, *slot);
}

static void verify_range(const struct verify *v, const term_t *at, const term_t *end)
{
    while (at < end) {
        if (term_tag(*at) != TERM_HEADER) {
            verify_term(v, at[0]);
            verify_term(v, at[1]);
            at += 2;
            continue;
        }
        size_t first;
        size_t n = header_term_range(*at, &first);

        for (size_t i = 0; i < n; i++) {
            verify_term(v, at[first + i]);
        }
        at += header_words(*at);
    }
    assert(at == end);
}

void heap_verify(struct process *p)
{
    struct verify v = { p, process_memory_get(p) };

    if (v.m == NULL) {
        return;
    }
    process_each_root(p, verify_root, &v);
    verify_range(&v, p->heap, young_top(p));
    verify_range(&v, v.m->old, v.m->old_top);
}

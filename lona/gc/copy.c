/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deep copy of a graph out of a process: into a message, into realm memory.
 *
 * A small graph (up to SMALL_OBJECTS objects, counting shared ones twice) is measured and then
 * copied, both by a work list on the C stack. A bigger one is copied by Cheney's algorithm into the
 * worker's scratch space, with forwards left in the source and a log that undoes them; this keeps
 * sharing and needs no table. The source belongs to the running process alone, so nobody sees the
 * forwards.
 */
#include "gc/memory.h"

enum {
    SMALL_OBJECTS = 64
};

static bool is_outside(const struct worker *w, term_t t)
{
    return term_is_pointer(t) && !realm_holds(&w->vm->realm, term_ptr(t));
}

static size_t object_words(term_t t)
{
    return term_is_list(t) ? 2 : header_words(box_header(t));
}

/* The terms inside an object: where they begin and how many. */
static size_t object_terms(term_t t, size_t *first)
{
    if (term_is_list(t)) {
        *first = 0;
        return 2;
    }
    return header_term_range(box_header(t), first);
}

/* False when the graph is not small. */
static bool measure_small(const struct worker *w, term_t root, struct copy_plan *plan, bool *bad)
{
    term_t work[SMALL_OBJECTS * 2];
    unsigned depth = 0;
    unsigned objects = 0;

    work[depth++] = root;
    while (depth > 0) {
        term_t t = work[--depth];

        for (;;) { /* the last pointer of an object is followed without a push: lists cost no stack
                    */
            if (++objects > SMALL_OBJECTS) {
                return false;
            }
            plan->words += object_words(t);
            if (term_is_boxed(t)) {
                enum object_tag tag = header_tag(box_header(t));

                *bad |= tag == TAG_BYTEBUF;
                plan->has_owners |= tag == TAG_PROCBIN;
            }
            size_t first;
            size_t n = object_terms(t, &first);
            const term_t *at = term_ptr(t) + first;
            term_t next = 0;

            for (size_t i = 0; i < n; i++) {
                if (is_outside(w, at[i])) {
                    if (next != 0) {
                        if (depth == array_size(work)) {
                            return false;
                        }
                        work[depth++] = next;
                    }
                    next = at[i];
                }
            }
            if (next == 0) {
                break;
            }
            t = next;
        }
    }
    return true;
}

static void count_owners(term_t *from, size_t words)
{
    for (size_t i = 0; i < words;) {
        if (term_tag(from[i]) != TERM_HEADER) {
            i += 2;
            continue;
        }
        if (header_tag(from[i]) == TAG_PROCBIN) {
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            shared_binary_get((struct shared_binary *)(uintptr_t)from[i + 1]);
        }
        i += header_words(from[i]);
    }
}

void copy_release_owners(struct worker *w, term_t *from, size_t words)
{
    for (size_t i = 0; i < words;) {
        if (term_tag(from[i]) != TERM_HEADER) {
            i += 2;
            continue;
        }
        if (header_tag(from[i]) == TAG_PROCBIN) {
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            shared_binary_put(w, (struct shared_binary *)(uintptr_t)from[i + 1]);
        }
        i += header_words(from[i]);
    }
}

static term_t place_small(const struct worker *w, term_t root, term_t *to)
{
    /* Breadth first: what is copied is scanned in place, so no work list is needed. */
    term_t *next = to;
    term_t *scan = to;
    term_t result = TERM_NIL;
    term_t *slot = &result;
    size_t left = 1;

    result = root;
    for (;;) {
        for (; left > 0; left--, slot++) {
            if (!is_outside(w, *slot)) {
                continue;
            }
            size_t words = object_words(*slot);
            const term_t *from = term_ptr(*slot);

            for (size_t i = 0; i < words; i++) {
                next[i] = from[i];
            }
            *slot = (term_t)(uintptr_t)next | term_tag(*slot);
            next += words;
        }
        if (scan == next) {
            return result;
        }
        bool pair = term_tag(*scan) != TERM_HEADER;
        size_t first = 0;

        left = pair ? 2 : header_term_range(*scan, &first);
        slot = scan + first;
        scan += pair ? 2 : header_words(*scan);
    }
}

/* ---- the scratch space ---- */

static bool scratch_ensure(struct worker *w, struct scratch *s, size_t bytes)
{
    const struct platform *pf = &w->vm->platform;

    if (s->base == NULL) {
        s->base = pf->reserve(pf->self, SCRATCH_SIZE, 4096);
        if (s->base == NULL) {
            return false;
        }
    }
    if (bytes > s->committed) {
        size_t step = align_up(bytes - s->committed, (size_t)1 << 18);

        if (bytes > SCRATCH_SIZE - ((size_t)1 << 18) ||
            pf->commit(pf->self, s->base + s->committed, step) != PLATFORM_OK) {
            return false;
        }
        s->committed += step;
    }
    return true;
}

static void scratch_shrink(struct worker *w, struct scratch *s)
{
    const size_t keep = (size_t)1 << 20;

    if (s->committed > keep) {
        const struct platform *pf = &w->vm->platform;

        pf->purge(pf->self, s->base + keep, s->committed - keep);
    }
}

struct undo {
    term_t *object;
    term_t first;
    term_t second; /* of pairs */
};

struct big {
    struct worker *w;
    size_t words; /* in scratch */
    size_t logged;
    bool bad;
    bool no_memory;
    bool has_owners;
};

static term_t *big_base(const struct big *b)
{
    return (term_t *)(void *)b->w->copy.base;
}

static void big_forward(struct big *b, term_t *slot)
{
    term_t t = *slot;

    if (!is_outside(b->w, t)) {
        return;
    }
    term_t *o = term_ptr(t);
    bool pair = term_is_list(t);

    if (pair ? o[0] == 0 : header_tag(o[0]) == TAG_FORWARD) {
        *slot = (pair ? o[1] : o[0] >> HEADER_ARITY_SHIFT << 3) | term_tag(t);
        return;
    }
    size_t words = object_words(t);

    if (!scratch_ensure(b->w, &b->w->copy, (b->words + words) * sizeof(term_t)) ||
        !scratch_ensure(b->w, &b->w->copy_log, (b->logged + 1) * sizeof(struct undo))) {
        b->no_memory = true;
        return;
    }
    term_t *to = big_base(b) + b->words;
    struct undo *log = (struct undo *)(void *)b->w->copy_log.base + b->logged;

    for (size_t i = 0; i < words; i++) {
        to[i] = o[i];
    }
    b->words += words;
    b->logged++;
    *log = (struct undo){ o, o[0], pair ? o[1] : 0 };
    if (pair) {
        o[0] = 0;
        o[1] = (term_t)(uintptr_t)to;
    } else {
        enum object_tag tag = header_tag(o[0]);

        b->bad |= tag == TAG_BYTEBUF;
        b->has_owners |= tag == TAG_PROCBIN;
        o[0] = ((uint64_t)(uintptr_t)to >> 3 << HEADER_ARITY_SHIFT) | ((uint64_t)TAG_FORWARD << 2);
    }
    *slot = (term_t)(uintptr_t)to | term_tag(t);
}

static void big_undo(struct big *b)
{
    const struct undo *log = (const struct undo *)(const void *)b->w->copy_log.base;

    for (size_t i = 0; i < b->logged; i++) {
        const struct undo *u = &log[i];

        if (term_tag(u->first) != TERM_HEADER) {
            u->object[1] = u->second;
        }
        u->object[0] = u->first;
    }
}

static enum copy_result prepare_big(struct worker *w, term_t root, struct copy_plan *plan)
{
    struct big b = { .w = w };

    plan->root = root;
    big_forward(&b, &plan->root);
    for (size_t at = 0; at < b.words && !b.no_memory && !b.bad;) {
        term_t *o = big_base(&b) + at;
        bool pair = term_tag(*o) != TERM_HEADER;
        size_t first = 0;
        size_t n = pair ? 2 : header_term_range(*o, &first);

        at += pair ? 2 : header_words(*o);
        for (size_t i = 0; i < n && !b.no_memory; i++) {
            big_forward(&b, &o[first + i]);
        }
    }
    big_undo(&b);
    scratch_shrink(w, &w->copy_log);
    plan->words = b.words;
    plan->linear = false;
    plan->has_owners = b.has_owners;
    if (b.no_memory || b.bad) {
        scratch_shrink(w, &w->copy);
        return b.bad ? COPY_BADARG : COPY_NO_MEMORY;
    }
    return COPY_OK;
}

enum copy_result copy_prepare(struct worker *w, term_t t, struct copy_plan *plan)
{
    bool bad = false;

    *plan = (struct copy_plan){ .root = t, .linear = true };
    if (!is_outside(w, t)) {
        return COPY_OK;
    }
    if (measure_small(w, t, plan, &bad)) {
        return bad ? COPY_BADARG : COPY_OK;
    }
    return prepare_big(w, t, plan);
}

/* Move the graph from scratch, shifting every pointer that goes into scratch. */
static term_t place_big(struct worker *w, const struct copy_plan *plan, term_t *to)
{
    term_t *from = (term_t *)(void *)w->copy.base;
    uint64_t delta = (uint64_t)((uintptr_t)to - (uintptr_t)from);

    for (size_t at = 0; at < plan->words;) {
        bool pair = term_tag(from[at]) != TERM_HEADER;
        size_t first = 0;
        size_t n = pair ? 2 : header_term_range(from[at], &first);
        size_t words = pair ? 2 : header_words(from[at]);

        for (size_t i = 0; i < words; i++) {
            to[at + i] = from[at + i];
        }
        for (size_t i = 0; i < n; i++) {
            term_t *slot = &to[at + first + i];

            *slot += is_outside(w, *slot) ? delta : 0;
        }
        at += words;
    }
    scratch_shrink(w, &w->copy);
    return plan->root + delta;
}

term_t copy_place(struct worker *w, const struct copy_plan *plan, term_t *to)
{
    if (plan->words == 0) {
        return plan->root;
    }
    term_t root = plan->linear ? place_small(w, plan->root, to) : place_big(w, plan, to);

    if (plan->has_owners) {
        count_owners(to, plan->words);
    }
    return root;
}

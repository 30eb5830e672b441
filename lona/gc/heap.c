/* SPDX-License-Identifier: Apache-2.0 */
/* Reserving and building on a process heap; see heap.h for the rules, collect.c for the collector.
 */
#include "gc/heap.h"

#include "gc/memory.h"
#include "native.h"

/* Fibonacci-like; section 9.6. */
static const uint32_t size_table[] = {
    233,    377,    610,     987,     1597,    2584,    4181,    6765,
    10946,  17711,  28657,   46368,   75025,   121393,  196418,  317811,
    514229, 832040, 1346269, 2178309, 3524578, 5702887, 9227465, 14930352,
};

size_t heap_next_size(size_t words)
{
    for (size_t i = 0; i < array_size(size_table); i++) {
        if (size_table[i] >= words) {
            return size_table[i];
        }
    }
    size_t n = size_table[array_size(size_table) - 1];

    while (n < words) {
        n = align_up(n + n / 5, (size_t)512);
    }
    return n;
}

struct process_memory *process_memory_get(struct process *p)
{
    if (p->memory == NULL) {
        struct process_memory *m = arena_alloc(process_arena(p), sizeof(*m));

        if (m == NULL) {
            return NULL;
        }
        *m = (struct process_memory){ .young_end = p->heap_inline + PROCESS_HEAP_INLINE,
                                      .owned_limit = OWNED_LIMIT_FIRST,
                                      .fullsweep_after = FULLSWEEP_AFTER };
        p->memory = m;
    }
    return p->memory;
}

bool owners_reserve(struct process *p, uint32_t n)
{
    struct process_memory *m = process_memory_get(p);

    if (m == NULL) {
        return false;
    }
    if (m->owner_capacity - m->owner_count >= n) {
        return true;
    }
    uint32_t capacity = max_of(m->owner_capacity * 2, m->owner_count + n + 4);
    term_t **owners = arena_alloc(process_arena(p), capacity * sizeof(*owners));

    if (owners == NULL) {
        return false;
    }
    if (m->owner_count != 0) {
        __builtin_memcpy((void *)owners, (const void *)m->owners, m->owner_count * sizeof(*owners));
    }
    arena_free(process_arena(p), (void *)m->owners, m->owner_capacity * sizeof(*owners));
    m->owners = owners;
    m->owner_capacity = capacity;
    return true;
}

void owners_add(struct process *p, term_t *object, size_t bytes)
{
    struct process_memory *m = p->memory;

    assert(m->owner_count < m->owner_capacity);
    m->owners[m->owner_count++] = object;
    m->owned_bytes += bytes;
}

term_t heap_pid(struct process *p, uint64_t raw)
{
    return heap_word_box(p, TAG_PID, 0, raw);
}

static bool is_ascii(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((bytes[i] & 0x80) != 0) {
            return false;
        }
    }
    return true;
}

term_t heap_string(struct process *p, const char *bytes, size_t n)
{
    size_t words = STRING_WORDS(n);

    if (!heap_reserve(p, words)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, words);

    o[words - 1] = 0;
    o[0] = header_make(TAG_STRING, (uint64_t)n | (is_ascii(bytes, n) ? STRING_ASCII : 0));
    if (n != 0) {
        __builtin_memcpy(o + 1, bytes, n);
    }
    return term_from_box(o);
}

/* ---- binaries ---- */

struct shared_binary *shared_binary_new(struct worker *w, size_t size)
{
    if (size > UINT32_MAX) {
        return NULL;
    }
    struct shared_binary *b = arena_alloc(&w->arena, sizeof(*b) + size);

    if (b != NULL) {
        atomic_init(&b->references, 1);
        b->size = (uint32_t)size;
        atomic_fetch_add_explicit(&w->vm->shared_binary_bytes, size, memory_order_relaxed);
    }
    return b;
}

void shared_binary_put(struct worker *w, struct shared_binary *b)
{
    /* acq_rel: the last holder sees all use by the others before it frees */
    if (atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1) {
        atomic_fetch_sub_explicit(&w->vm->shared_binary_bytes, b->size, memory_order_relaxed);
        arena_free(&w->arena, b, sizeof(*b) + b->size);
    }
}

bool term_is_binary(term_t t)
{
    if (!term_is_boxed(t)) {
        return false;
    }
    enum object_tag tag = header_tag(box_header(t));

    return tag == TAG_BINARY || tag == TAG_PROCBIN || tag == TAG_SUBBIN;
}

struct bytes_view binary_view(term_t t)
{
    const term_t *o = term_ptr(t);

    if (header_tag(o[0]) == TAG_BINARY) {
        return (struct bytes_view){ (const uint8_t *)(o + 1), (size_t)header_count(o[0]) };
    }
    uint32_t offset = (uint32_t)o[2];
    uint32_t size = (uint32_t)(o[2] >> 32);

    if (header_tag(o[0]) == TAG_SUBBIN) {
        o = term_ptr(o[1]); /* always a PROCBIN: slices of slices name the bytes' owner */
        offset += (uint32_t)o[2];
    }
    const struct shared_binary *b =
        (const void *)(uintptr_t)o[1]; // NOLINT(performance-no-int-to-ptr)

    return (struct bytes_view){ b->data + offset, size };
}

term_t heap_binary_new(struct process *p, size_t n, uint8_t **bytes)
{
    if (n <= BINARY_INLINE_MAX) {
        size_t words = STRING_WORDS(n);

        if (!heap_reserve(p, words)) {
            return TERM_ERROR;
        }
        term_t *o = heap_take(p, words);

        o[words - 1] = 0;
        o[0] = header_make(TAG_BINARY, n);
        *bytes = (uint8_t *)(o + 1);
        return term_from_box(o);
    }
    if (!heap_reserve(p, 3) || !owners_reserve(p, 1)) {
        return raise_oom(p);
    }
    struct shared_binary *b = shared_binary_new(p->worker, n);

    if (b == NULL) {
        return raise_oom(p);
    }
    term_t *o = heap_take(p, 3);

    o[0] = header_make(TAG_PROCBIN, 0);
    o[1] = (term_t)(uintptr_t)b;
    o[2] = (uint64_t)n << 32;
    owners_add(p, o, n);
    *bytes = b->data;
    return term_from_box(o);
}

term_t heap_binary(struct process *p, const void *bytes, size_t n)
{
    uint8_t *to = NULL;
    term_t t = heap_binary_new(p, n, &to);

    if (t != TERM_ERROR && to != NULL && n != 0) {
        __builtin_memcpy(to, bytes, n);
    }
    return t;
}

term_t heap_binary_slice(struct process *p, term_t *b, size_t offset, size_t size)
{
    if (size <= BINARY_INLINE_MAX) {
        uint8_t *to = NULL;
        term_t t = heap_binary_new(p, size, &to);

        if (t != TERM_ERROR && to != NULL && size != 0) {
            __builtin_memcpy(to, binary_view(*b).data + offset, size);
        }
        return t;
    }
    if (!heap_reserve(p, 3)) {
        return TERM_ERROR;
    }
    const term_t *from = term_ptr(*b);
    term_t parent = *b;

    if (header_tag(from[0]) == TAG_SUBBIN) {
        parent = from[1];
        offset += (uint32_t)from[2];
    }
    term_t *o = heap_take(p, 3);

    o[0] = header_make(TAG_SUBBIN, 0);
    o[1] = parent;
    o[2] = (uint64_t)size << 32 | (uint32_t)offset;
    return term_from_box(o);
}

term_t heap_bytebuf(struct process *p, size_t size, bool zeroed)
{
    if (size > UINT32_MAX || !heap_reserve(p, 4) || !owners_reserve(p, 1)) {
        return raise_oom(p);
    }
    uint8_t *data = arena_alloc(process_arena(p), size);

    if (data == NULL) {
        return raise_oom(p);
    }
    if (zeroed) {
        __builtin_memset(data, 0, size);
    }
    term_t *o = heap_take(p, 4);

    o[0] = header_make(TAG_BYTEBUF, 0);
    o[1] = (term_t)(uintptr_t)data;
    o[2] = size;
    o[3] = 0;
    owners_add(p, o, size);
    return term_from_box(o);
}

struct bytebuf_view bytebuf_view(term_t t)
{
    const term_t *o = term_ptr(t);

    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return (struct bytebuf_view){ (uint8_t *)(uintptr_t)o[1], (size_t)o[2] };
}

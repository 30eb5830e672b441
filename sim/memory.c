/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's memory: counted by process (I9), refused when the fault says so, gone when its
 * process is killed. Addresses key a hash table and decide nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <base/assert.h>

#include "fault.h"
#include "file.h"
#include "internal.h"
#include "real.h"
#include "wrap.h"

#define TABLE_START 4096u

struct block {
    void *ptr;       /* NULL: free; TOMBSTONE: was taken */
    size_t map_size; /* 0: from malloc */
    unsigned proc;
};

#define TOMBSTONE ((void *)1)

static struct block *table;
static size_t table_size;
static size_t table_used;                 /* with tombstones */
static unsigned counts[SIM_PROCS_MAX][2]; /* allocations, mappings */

void *sim_calloc(size_t count, size_t size)
{
    void *p = real_calloc(count, size);

    if (p == NULL) {
        abort(); /* the simulator itself has no memory */
    }
    return p;
}

void *sim_grow(void *p, size_t size)
{
    p = real_realloc(p, size);
    if (p == NULL) {
        abort();
    }
    return p;
}

void sim_free(void *p)
{
    real_free(p);
}

/* ---- The table ---- */

static size_t slot_of(const void *p, size_t size)
{
    return (size_t)(((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (size - 1);
}

static void table_put(struct block *into, size_t size, const struct block *b)
{
    size_t i = slot_of(b->ptr, size);

    while (into[i].ptr != NULL) {
        i = (i + 1) & (size - 1);
    }
    into[i] = *b;
}

static void table_grow(void)
{
    size_t live = 0;

    for (size_t i = 0; i < table_size; i++) {
        live += table[i].ptr != NULL && table[i].ptr != TOMBSTONE;
    }
    size_t size = table_size;

    while (live * 4 > size) {
        size *= 2;
    }
    struct block *bigger = sim_calloc(size, sizeof(*bigger));

    for (size_t i = 0; i < table_size; i++) {
        if (table[i].ptr != NULL && table[i].ptr != TOMBSTONE) {
            table_put(bigger, size, &table[i]);
        }
    }
    sim_free(table);
    table = bigger;
    table_size = size;
    table_used = live;
}

static void remember(void *p, size_t map_size)
{
    struct block b = { .ptr = p, .map_size = map_size, .proc = sim_proc_current() };

    if (table_used * 2 >= table_size) {
        table_grow();
    }
    table_put(table, table_size, &b);
    table_used++;
    counts[b.proc][map_size != 0]++;
}

static struct block *find(const void *p)
{
    if (table == NULL) {
        return NULL;
    }
    for (size_t i = slot_of(p, table_size); table[i].ptr != NULL; i = (i + 1) & (table_size - 1)) {
        if (table[i].ptr == p) {
            return &table[i];
        }
    }
    return NULL;
}

static void forget(struct block *b)
{
    counts[b->proc][b->map_size != 0]--;
    b->ptr = TOMBSTONE;
}

static void release(struct block *b)
{
    void *p = b->ptr;
    size_t map_size = b->map_size;

    forget(b);
    if (map_size != 0) {
        (void)real_munmap(p, map_size);
    } else {
        real_free(p);
    }
}

void sim_memory_init(void)
{
    table = sim_calloc(TABLE_START, sizeof(*table));
    table_size = TABLE_START;
    table_used = 0;
    memset(counts, 0, sizeof(counts));
}

void sim_memory_deinit(void)
{
    for (size_t i = 0; i < table_size; i++) {
        if (table[i].ptr != NULL && table[i].ptr != TOMBSTONE) {
            release(&table[i]);
        }
    }
    sim_free(table);
    table = NULL;
    table_size = 0;
}

void sim_memory_drop(unsigned proc)
{
    for (size_t i = 0; i < table_size; i++) {
        if (table[i].ptr != NULL && table[i].ptr != TOMBSTONE && table[i].proc == proc) {
            release(&table[i]);
        }
    }
}

void sim_memory_held(unsigned proc, unsigned *mappings, unsigned *allocations)
{
    *mappings = counts[proc][1];
    *allocations = counts[proc][0];
}

/* ---- What the library calls ---- */

static bool is_exhausted(void)
{
    if (sim_fault_draw(OP_memory, SIM_KIND(OUT_OF_MEMORY), NULL) != SIM_FAULT_NONE) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

WRAP(void *, malloc)(size_t size)
{
    if (!sim_is_active()) {
        return real_malloc(size);
    }
    void *p = is_exhausted() ? NULL : real_malloc(size);

    if (p != NULL) {
        /* Neither zero nor chance: who reads it before writing it gets the same wrong value. */
        memset(p, 0xa5, min_of(size, (size_t)4096));
        remember(p, 0);
    }
    return p;
}

WRAP(void *, calloc)(size_t count, size_t size)
{
    if (!sim_is_active()) {
        return real_calloc(count, size);
    }
    void *p = is_exhausted() ? NULL : real_calloc(count, size);

    if (p != NULL) {
        remember(p, 0);
    }
    return p;
}

WRAP(void, free)(void *p)
{
    struct block *b = p == NULL ? NULL : find(p);

    if (b == NULL) {
        real_free(p);
        return;
    }
    sim_check(b->map_size == 0, "free() of a mapping");
    release(b);
}

WRAP(void *, realloc)(void *p, size_t size)
{
    struct block *b = p == NULL ? NULL : find(p);

    if (!sim_is_active() || (p != NULL && b == NULL)) {
        return real_realloc(p, size);
    }
    if (is_exhausted()) {
        return NULL;
    }
    if (b != NULL) {
        forget(b);
    }
    void *bigger = real_realloc(p, size);

    if (bigger == NULL) {
        abort();
    }
    remember(bigger, 0);
    return bigger;
}

WRAP(void *, reallocarray)(void *p, size_t count, size_t size)
{
    size_t bytes = 0;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return WRAPPED(realloc)(p, bytes);
}

WRAP(char *, strdup)(const char *text)
{
    size_t size = strlen(text) + 1;
    char *p = WRAPPED(malloc)(size);

    if (p != NULL) {
        memcpy(p, text, size);
    }
    return p;
}

WRAP(char *, strndup)(const char *text, size_t max)
{
    size_t length = strnlen(text, max);
    char *p = WRAPPED(malloc)(length + 1);

    if (p != NULL) {
        memcpy(p, text, length);
        p[length] = '\0';
    }
    return p;
}

WRAP(int, posix_memalign)(void **out, size_t alignment, size_t size)
{
    if (sim_is_active() && is_exhausted()) {
        return ENOMEM;
    }
    int r = real_posix_memalign(out, alignment, size);

    if (r == 0 && sim_is_active()) {
        remember(*out, 0);
    }
    return r;
}

WRAP(void *, aligned_alloc)(size_t alignment, size_t size)
{
    void *p = NULL;
    int e = WRAPPED(posix_memalign)(&p, alignment, size);

    errno = e == 0 ? errno : e;
    return p;
}

WRAP(void *, mmap)(void *addr, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (!sim_is_active()) {
        return real_mmap(addr, size, protection, flags, fd, offset);
    }
    sim_step();
    if (is_exhausted()) {
        return MAP_FAILED;
    }
    void *p =
        real_mmap(addr, size, fd < 0 ? protection : PROT_READ | PROT_WRITE,
                  (flags & ~(MAP_SHARED | MAP_POPULATE)) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return p;
    }
    if (fd >= 0) {
        int r = sim_file_map(fd, p, size, offset,
                             (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0);

        if (r < 0) {
            (void)real_munmap(p, size);
            errno = -r;
            return MAP_FAILED;
        }
        (void)mprotect(p, size, protection);
    }
    if ((flags & MAP_FIXED) == 0) {
        remember(p, size);
    }
    return p;
}

WRAP(int, munmap)(void *addr, size_t size)
{
    struct block *b = find(addr);

    if (b == NULL) {
        return real_munmap(addr, size);
    }
    sim_step();
    b = find(addr); /* another task may have moved the table */
    sim_check(b != NULL && b->map_size >= size, "munmap() of what is not mapped");
    forget(b);
    return real_munmap(addr, size);
}

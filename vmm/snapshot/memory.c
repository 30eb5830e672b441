/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/assert.h>

#define PAGE            ((uint64_t)SNAPSHOT_PAGE_SIZE)
#define WRITE_CHUNK     (1u << 20)
#define WORD_BITS       64u
#define PAGEMAP_AT_ONCE 1024u
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_FILE    (UINT64_C(1) << 61)

/* ---- Sets ---- */

bool page_set_init(struct page_set *s, uint64_t pages)
{
    s->pages = pages;
    s->words = calloc(pages / WORD_BITS + 1, sizeof(*s->words));
    return s->words != NULL;
}

void page_set_deinit(struct page_set *s)
{
    free(s->words);
    s->words = NULL;
}

void page_set_add(struct page_set *s, uint64_t page, uint64_t count)
{
    assert(page <= s->pages);
    assert(count <= s->pages - page);
    for (; count > 0; page++, count--) {
        __atomic_fetch_or(&s->words[page / WORD_BITS], UINT64_C(1) << page % WORD_BITS,
                          __ATOMIC_RELAXED);
    }
}

void page_set_remove(struct page_set *s, uint64_t page, uint64_t count)
{
    assert(page <= s->pages);
    assert(count <= s->pages - page);
    for (; count > 0; page++, count--) {
        s->words[page / WORD_BITS] &= ~(UINT64_C(1) << page % WORD_BITS);
    }
}

bool page_set_has(const struct page_set *s, uint64_t page)
{
    assert(page < s->pages);
    return (s->words[page / WORD_BITS] >> page % WORD_BITS & 1u) != 0;
}

uint64_t page_set_next(const struct page_set *s, uint64_t from)
{
    while (from < s->pages) {
        uint64_t word = s->words[from / WORD_BITS] >> from % WORD_BITS;

        if (word != 0) {
            return min_of(from + (uint64_t)__builtin_ctzll(word), s->pages);
        }
        from = align_down(from, (uint64_t)WORD_BITS) + WORD_BITS;
    }
    return s->pages;
}

void page_set_add_set(struct page_set *to, const struct page_set *from)
{
    assert(to->pages == from->pages);
    for (uint64_t i = 0; i <= to->pages / WORD_BITS; i++) {
        __atomic_fetch_or(&to->words[i], from->words[i], __ATOMIC_RELAXED);
    }
}

void page_set_move(struct page_set *to, struct page_set *from)
{
    assert(to->pages == from->pages);
    for (uint64_t i = 0; i <= to->pages / WORD_BITS; i++) {
        to->words[i] |= __atomic_exchange_n(&from->words[i], 0, __ATOMIC_RELAXED);
    }
}

uint64_t page_set_count(const struct page_set *s)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i <= s->pages / WORD_BITS; i++) {
        count += (uint64_t)__builtin_popcountll(s->words[i]);
    }
    return count;
}

static void add_resident(struct page_set *s, const uint8_t *ram, bool has_swap)
{
    uint8_t resident[PAGEMAP_AT_ONCE];

    for (uint64_t at = 0; at < s->pages; at += PAGEMAP_AT_ONCE) {
        uint64_t count = min_of((uint64_t)PAGEMAP_AT_ONCE, s->pages - at);

        if (has_swap || mincore((void *)(uintptr_t)(ram + at * PAGE), count * PAGE, resident) < 0) {
            page_set_add(s, at, count);
            continue;
        }
        for (uint64_t i = 0; i < count; i++) {
            if ((resident[i] & 1u) != 0) {
                page_set_add(s, at + i, 1);
            }
        }
    }
}

bool page_sets_add_touched(struct page_set *own, struct page_set *read, const uint8_t *ram)
{
    uint64_t entries[PAGEMAP_AT_ONCE];
    uint64_t first = (uintptr_t)ram / PAGE;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    bool is_read = fd >= 0;

    for (uint64_t at = 0; is_read && at < own->pages; at += PAGEMAP_AT_ONCE) {
        size_t count = (size_t)min_of((uint64_t)PAGEMAP_AT_ONCE, own->pages - at);
        ssize_t size = (ssize_t)(count * sizeof(entries[0]));

        is_read =
            pread(fd, entries, (size_t)size, (off_t)((first + at) * sizeof(entries[0]))) == size;
        for (size_t i = 0; is_read && i < count; i++) {
            struct page_set *s = (entries[i] & PAGEMAP_FILE) != 0 ? read : own;

            if ((entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) != 0 && s != NULL) {
                page_set_add(s, at + i, 1);
            }
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return is_read;
}

void page_set_add_private(struct page_set *s, const uint8_t *ram, bool has_swap)
{
    if (!page_sets_add_touched(s, NULL, ram)) {
        add_resident(s, ram, has_swap);
    }
}

void page_set_add_runs(struct page_set *s, const struct snapshot_file *f)
{
    for (; f != NULL; f = f->base) {
        for (uint32_t i = 0; i < f->run_count; i++) {
            if (f->runs[i].kind == SNAPSHOT_RUN_DATA) {
                page_set_add(s, f->runs[i].page, f->runs[i].count);
            }
        }
    }
}

/* ---- Runs ---- */

bool page_is_zero(const uint8_t *page)
{
    const uint64_t *word = (const uint64_t *)(const void *)page;
    uint64_t all = 0;

    for (size_t i = 0; i < PAGE / sizeof(*word); i += 8) {
        all |= word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] |
               word[i + 6] | word[i + 7];
        if (all != 0) {
            return false;
        }
    }
    return true;
}

bool memory_runs_add(struct memory_runs *r, uint64_t page, enum snapshot_run_kind kind)
{
    struct snapshot_run *last = r->count > 0 ? &r->items[r->count - 1] : NULL;

    r->data_pages += kind == SNAPSHOT_RUN_DATA;
    if (last != NULL && last->kind == (uint32_t)kind && last->page + last->count == page) {
        last->count++;
        return true;
    }
    if (r->count == r->room) {
        uint32_t room = r->room == 0 ? 256 : r->room * 2;
        struct snapshot_run *items = realloc(r->items, room * sizeof(*items));

        if (items == NULL) {
            return false;
        }
        r->items = items;
        r->room = room;
    }
    r->items[r->count++] = (struct snapshot_run){ .page = page, .count = 1, .kind = kind };
    return true;
}

bool memory_runs_make(struct memory_runs *r, const struct page_set *s, const uint8_t *ram,
                      bool want_zero_runs)
{
    *r = (struct memory_runs){ .items = NULL };
    for (uint64_t page = page_set_next(s, 0); page < s->pages; page = page_set_next(s, page + 1)) {
        bool is_zero = page_is_zero(ram + page * PAGE);

        if (is_zero && !want_zero_runs) {
            continue;
        }
        if (!memory_runs_add(r, page, is_zero ? SNAPSHOT_RUN_ZERO : SNAPSHOT_RUN_DATA)) {
            memory_runs_deinit(r);
            return false;
        }
    }
    return true;
}

void memory_runs_deinit(struct memory_runs *r)
{
    free(r->items);
    r->items = NULL;
    r->count = 0;
}

/* ---- Writing ---- */

int write_all(int fd, const void *from, size_t size, uint64_t offset)
{
    const uint8_t *at = from;

    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ENOSPC;
        }
        at += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int memory_write(const struct memory_runs *r, const uint8_t *ram, int fd, uint64_t offset,
                 struct sha256 *sha)
{
    int e = 0;

    for (uint32_t i = 0; e == 0 && i < r->count; i++) {
        uint64_t at = r->items[i].page * PAGE;
        uint64_t end = at + r->items[i].count * PAGE;

        for (; e == 0 && r->items[i].kind == SNAPSHOT_RUN_DATA && at < end; at += WRITE_CHUNK) {
            size_t size = (size_t)min_of((uint64_t)WRITE_CHUNK, end - at);

            sha256_add(sha, ram + at, size);
            e = write_all(fd, ram + at, size, offset + at);
        }
    }
    return e;
}

/* ---- Mapping ---- */

/*
 * Holes smaller than this are mapped along with what stands around them: a mapping costs more than
 * their page-table entries. Larger ones stay anonymous, so that a first write to them copies
 * nothing.
 */
#define HOLE_PAGES_MIN 512u
/* A layer in more pieces than this is copied: each piece is a mapping, and those are limited. */
#define PIECES_MAX 2048u

static int map_span(const struct snapshot_file *f, uint8_t *ram, uint64_t page, uint64_t count)
{
    void *p = mmap(ram + page * PAGE, count * PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, f->memory_fd,
                   (off_t)(f->memory_offset + page * PAGE));

    if (p == MAP_FAILED) {
        return -errno;
    }
    /* As for the anonymous RAM: not in core dumps, not in the embedder's children. */
    (void)madvise(p, count * PAGE, MADV_DONTDUMP);
    (void)madvise(p, count * PAGE, MADV_DONTFORK);
    return 0;
}

static int map_zeros(uint8_t *ram, uint64_t page, uint64_t count)
{
    void *p = mmap(ram + page * PAGE, count * PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return -errno;
    }
    (void)madvise(p, count * PAGE, MADV_DONTDUMP);
    (void)madvise(p, count * PAGE, MADV_DONTFORK);
    return 0;
}

/* The bottom layer: runs with small holes between them become one mapping. */
static int map_bottom(const struct snapshot_file *f, uint8_t *ram)
{
    uint64_t start = 0;
    uint64_t end = 0;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < f->run_count; i++) {
        if (f->runs[i].kind != SNAPSHOT_RUN_DATA) {
            continue;
        }
        if (end != 0 && f->runs[i].page - end >= HOLE_PAGES_MIN) {
            r = map_span(f, ram, start, end - start);
            end = 0;
        }
        start = end == 0 ? f->runs[i].page : start;
        end = f->runs[i].page + f->runs[i].count;
    }
    return r == 0 && end != 0 ? map_span(f, ram, start, end - start) : r;
}

static int copy_run(const struct snapshot_file *f, uint8_t *ram, const struct snapshot_run *run)
{
    uint64_t at = run->page * PAGE;
    uint64_t end = at + run->count * PAGE;

    if (run->kind == SNAPSHOT_RUN_ZERO) {
        memset(ram + at, 0, end - at);
        return 0;
    }
    while (at < end) {
        ssize_t n = pread(f->memory_fd, ram + at, end - at, (off_t)(f->memory_offset + at));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ENODATA;
        }
        at += (uint64_t)n;
    }
    return 0;
}

static int copy_layer(const struct snapshot_file *f, uint8_t *ram)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < f->run_count; i++) {
        r = copy_run(f, ram, &f->runs[i]);
    }
    return r;
}

static int map_layer(const struct snapshot_file *f, uint8_t *ram)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < f->run_count; i++) {
        const struct snapshot_run *run = &f->runs[i];

        r = run->kind == SNAPSHOT_RUN_DATA ? map_span(f, ram, run->page, run->count)
                                           : map_zeros(ram, run->page, run->count);
    }
    return r;
}

int memory_map(const struct snapshot_file *f, uint8_t *ram)
{
    int r = 0;

    if (f->base != NULL) {
        r = memory_map(f->base, ram);
        if (r < 0) {
            return r;
        }
        return f->run_count <= PIECES_MAX ? map_layer(f, ram) : copy_layer(f, ram);
    }
    /* Before version 2 the memory does not stand at a multiple of the page size. */
    return f->version == 1 ? copy_layer(f, ram) : map_bottom(f, ram);
}

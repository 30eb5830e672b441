/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block allocator: one arena a worker, so that allocation takes no lock.
 *
 * Carriers of 1 MiB are cut into pages of 64 KiB; a page holds blocks of one size class. A block
 * freed by another arena goes to its owner's return stack. Blocks above ARENA_BLOCK_MAX are
 * mappings of their own, of which an arena keeps a few for reuse. Callers give the size back with
 * the block.
 */
#pragma once

#include <base/compiler.h>

struct platform;

enum {
    ARENA_BLOCK_MAX = 16384,
    ARENA_CLASSES = 64,
    ARENA_CACHE = 16,
    ARENA_FAIL_MIN = 512,
    ARENA_PAGES_KEPT = 64, /* free pages beyond these give their memory back */
};

#define ARENA_CARRIER_SIZE ((size_t)1 << 20)
#define ARENA_PAGE_SIZE    ((size_t)1 << 16)
#define ARENA_CACHE_BYTES  ((size_t)64 << 20)

/* Shared by the arenas of one VM. */
struct arena_pool {
    const struct platform *platform;
    _Atomic size_t mapped; /* bytes taken from the platform */
    size_t limit;          /* 0: none */
    /* A fault, in test builds: one of so many requests of the workers for ARENA_FAIL_MIN bytes or
     * more is refused; 0: none. */
    _Atomic uint32_t fail_one_in;
    _Atomic uint32_t requests;
};

struct arena_page;
struct arena_carrier;

struct arena {
    struct arena_pool *pool;
    bool may_fail;                           /* see fail_one_in: who uses it survives a refusal */
    struct arena_page *pages[ARENA_CLASSES]; /* with free blocks, current one first */
    struct arena_page *free_pages;
    size_t free_page_count;
    struct arena_carrier *carriers;
    _Atomic(void *) returned; /* stack of blocks freed elsewhere */

    struct {
        void *block;
        size_t size;
    } cache[ARENA_CACHE];

    size_t cached;
};

void arena_init(struct arena *a, struct arena_pool *pool);
/* Gives every carrier back; all blocks must be dead. */
void arena_deinit(struct arena *a);

/* 16-aligned, uninitialised; NULL when the platform or the limit refuses. Owner only. */
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK;
/* Any block of any arena of the pool; `a` is the caller's own arena. NULL is allowed. */
void arena_free(struct arena *a, void *block, size_t size);
/* The size that a request of `size` really gets. */
size_t arena_good_size(size_t size);
/* Give back the end of a block; returns the size it has then (only big blocks shrink). */
size_t arena_trim(struct arena *a, void *block, size_t size, size_t wanted);
/* Take blocks that other arenas freed; the scheduler calls it now and then. */
void arena_drain(struct arena *a);

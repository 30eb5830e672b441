/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of guest RAM a snapshot stores, writing them, and mapping them again.
 *
 * A page is stored when the host has backed it, the guest's kernel does not say that it is free,
 * and it is not all zero. What the guest says is a hint about its own memory: a lie changes what
 * that guest reads after a restore and nothing else.
 */
#pragma once

#include <base/compiler.h>
#include <base/sha256.h>

#include "snapshot/container.h"

/* A set of pages of RAM, by offset. */
struct page_set {
    uint64_t *words;
    uint64_t pages;
};

bool page_set_init(struct page_set *s, uint64_t pages) MUST_CHECK;
void page_set_deinit(struct page_set *s);
void page_set_add(struct page_set *s, uint64_t page, uint64_t count);
void page_set_remove(struct page_set *s, uint64_t page, uint64_t count);
bool page_set_has(const struct page_set *s, uint64_t page);
/* The first member at or after `from`, `pages` when there is none. */
uint64_t page_set_next(const struct page_set *s, uint64_t from);
/* Sets of one size. move: `from` is empty afterwards; devices may be adding to it. */
void page_set_add_set(struct page_set *to, const struct page_set *from);
void page_set_move(struct page_set *to, struct page_set *from);
uint64_t page_set_count(const struct page_set *s);

/*
 * Add the pages of [ram, ram + pages) that this process has of its own: written, or swapped out.
 * Pages of a mapped file that were not written are not among them. Without /proc (a jail) those
 * that are resident, or, with `has_swap`, all of them.
 */
void page_set_add_private(struct page_set *s, const uint8_t *ram, bool has_swap);
/*
 * Add to `own` the same pages, and to `read` (may be NULL) those that are mapped from a file and
 * were only read, with some of their neighbours. False: there is no /proc, the sets may be
 * incomplete.
 */
bool page_sets_add_touched(struct page_set *own, struct page_set *read,
                           const uint8_t *ram) MUST_CHECK;
/* Add the data pages of a snapshot that RAM was restored from, and its bases'. */
void page_set_add_runs(struct page_set *s, const struct snapshot_file *f);

struct memory_runs {
    struct snapshot_run *items;
    uint32_t count;
    uint32_t room;
    uint64_t data_pages;
};

/*
 * The members of `s` as runs; zero pages are left out, or with `want_zero_runs` get runs of their
 * kind. False: out of memory. Reads the pages.
 */
bool memory_runs_make(struct memory_runs *r, const struct page_set *s, const uint8_t *ram,
                      bool want_zero_runs) MUST_CHECK;
void memory_runs_deinit(struct memory_runs *r);
/* Add a page behind all others. False: out of memory. */
bool memory_runs_add(struct memory_runs *r, uint64_t page, enum snapshot_run_kind kind) MUST_CHECK;
bool page_is_zero(const uint8_t *page);

/* Write the data runs to `fd`, RAM's first byte at `offset`, and hash them. 0 or -errno. */
int memory_write(const struct memory_runs *r, const uint8_t *ram, int fd, uint64_t offset,
                 struct sha256 *sha) MUST_CHECK;
/* All `size` bytes at `offset`. 0 or -errno. */
int write_all(int fd, const void *from, size_t size, uint64_t offset) MUST_CHECK;

/*
 * Make [ram, ram + ram_size), anonymous memory never touched, the snapshot's memory: by private
 * mapping of the file, so that nothing is read; files of version 1 are copied. 0 or -errno.
 */
int memory_map(const struct snapshot_file *f, uint8_t *ram) MUST_CHECK;

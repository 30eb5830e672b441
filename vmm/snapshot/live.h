/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as it was at one moment, while the guest goes on: all of it is write-protected by
 * userfaultfd (KVM's own accesses included). A page that the guest wants to write before it was
 * read here is put aside first. One thread does both, the caller's: between two pieces it serves
 * those that wait, so nobody waits longer than for a piece.
 */
#pragma once

#include <base/compiler.h>

#include <pthread.h>

#include "snapshot/memory.h"

#define LIVE_PIECE_PAGES 64u

struct live {
    int uffd;       /* -1: closed */
    int pagemap_fd; /* -1: all pages are protected, those as well that are not there */
    bool is_ahead;  /* a thread serves since live_protect_ahead() */
    pthread_t server;
    int stop_fd;
    struct page_set moved; /* protected ahead and written since: to be protected again */
    bool has_swap;
    const uint8_t *ram;
    uint64_t pages;
    uint64_t done;    /* pages below were read, and are protected no more */
    uint32_t *aside;  /* by page: 0, or the number of its copy + 1 */
    uint8_t **copies; /* blocks of LIVE_PIECE_PAGES pages */
    uint32_t copy_count;
    uint32_t block_count;
    int error; /* -errno of a page that could not be put aside: the snapshot is lost */
};

/*
 * Get ready, while the guest runs. -ENOTSUP or another -errno when the host has no such thing, may
 * not use it here, or not for this memory (a private mapping of a file that is not in memory); then
 * there is nothing to close. `device_fd`: /dev/userfaultfd, or -1. `has_swap`: pages may be there
 * and not resident; matters in a jail without /proc.
 */
int live_open(struct live *l, const uint8_t *ram, uint64_t pages, int device_fd,
              bool has_swap) MUST_CHECK;
/*
 * Most of the work of live_protect(), while the guest runs: all is protected, a thread lets go what
 * is written before the moment comes, and that is all that is left to do then. Does nothing where
 * the host cannot protect pages that are not there. From here to live_protect() the caller may
 * touch guest memory. 0 or -errno.
 */
int live_protect_ahead(struct live *l) MUST_CHECK;
/* The moment: while the guest stands still. 0 or -errno. */
int live_protect(struct live *l) MUST_CHECK;
/*
 * The caller's own thread, which serves the others, is about to write to this page: put it aside
 * now. After live_protect().
 */
int live_let_write(struct live *l, uint64_t page) MUST_CHECK;
/*
 * The next piece of memory, as it was: *first and up to LIVE_PIECE_PAGES pages into `pages`; bit n
 * of *present says that page n was there (what was not is zero). Returns their number, 0 at the
 * end, or -errno.
 */
int live_next(struct live *l, uint64_t *first, uint8_t *bytes, uint64_t *present) MUST_CHECK;
/* Bytes at `offset` of RAM as they were, before live_next() was called. 0 or -errno. */
int live_read(struct live *l, uint64_t offset, void *to, size_t size) MUST_CHECK;
/* Everything is as before. */
void live_close(struct live *l);

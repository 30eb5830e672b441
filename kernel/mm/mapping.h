/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page cache of one inode (or of one shared anonymous region): what read, write, mmap, exec and
 * splice all use, so that file data exists once (rule A4).
 *
 * A mapping answers for page `index` in one of two ways: a frame that never moves and has no struct
 * page (a file of the mapped root image), or a cached struct page. Lookups take the page's
 * reference inside the mapping's lock.
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>
#include <mm/page.h>

struct inode;
struct mapping;

/* A file page as found: counted struct page, or a bare frame of the image when page is NULL. */
struct frame {
    paddr_t pa;
    struct page *page; /* reference owned by the caller */
};

enum mapping_get {
    MAPPING_READ = 0,
    MAPPING_WRITE = 1u << 0, /* will be written: never the shared image frame; allocates in holes */
    MAPPING_RESIDENT = 1u << 1, /* only what is there already; -EAGAIN otherwise (fault-around) */
};

struct mapping_ops {
    /*
     * Produce page `index`. 0 and *out; -ENODATA: a hole (reads as zero, only without
     * MAPPING_WRITE); -EIO, -ENOMEM, -ENOSPC; beyond the end of the file: -ERANGE (a fault turns it
     * into SIGBUS). May sleep.
     */
    int (*get)(struct mapping *m, uint64_t index, unsigned how, struct frame *out);
    /*
     * A run of image frames: how many pages from `index` on lie contiguously, and where the first
     * is; 0 when index is not in the image (any more). Lets a fault map many pages for one lookup.
     * May be NULL.
     */
    uint64_t (*direct_run)(struct mapping *m, uint64_t index, paddr_t *first);
};

struct mapping {
    const struct mapping_ops *ops;
    struct inode *inode;  /* owner; NULL for shared anonymous memory */
    struct spinlock lock; /* pages, vmas */

    struct page_tree { /* index -> struct page, a radix tree of 64-way nodes */
        void *root;
        unsigned height;
    } pages;

    uint64_t page_count;
    struct list vmas;            /* vma->mapping_link */
    _Atomic uint32_t unmappings; /* how often mm_unmap_mapping() began; a fault looks again */
    void *private;
};

void mapping_init(struct mapping *m, const struct mapping_ops *ops, struct inode *inode);

/* Cached page with a reference, or NULL. */
struct page *mapping_lookup(struct mapping *m, uint64_t index);

/* Put a page (refcount owned by the caller, cache takes its own) at index. 0, -EEXIST, -ENOMEM. */
int mapping_insert(struct mapping *m, uint64_t index, struct page *p) MUST_CHECK;

/* Forget pages [first, first + count): unmaps them everywhere, drops the cache's references. */
void mapping_drop(struct mapping *m, uint64_t first, uint64_t count);

/* First cached index >= `from`, or UINT64_MAX (SEEK_DATA). */
uint64_t mapping_next(struct mapping *m, uint64_t from);

/* A fresh object for MAP_SHARED | MAP_ANONYMOUS, memfd and SysV memory: zero pages on demand. */
struct mapping *mapping_create_anon(void) MUST_CHECK;
void mapping_destroy(struct mapping *m); /* of create_anon; no VMA maps it any more */

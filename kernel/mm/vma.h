/* SPDX-License-Identifier: Apache-2.0 */
/* Inside mm/ only: the VMA set of an address space. mmap_lock is held for writing unless said. */
#pragma once

#include <mm/mm.h>

/* A VMA in no set yet; zeroed. NULL: no memory. */
struct vma *vma_alloc(void) MUST_CHECK;

/*
 * Give [v->start, v->end), flags and mapping their owner: v takes references of its own on file.
 * The VMA lists of mappings follow. vma_destroy() undoes both; it must be out of the set.
 */
void vma_attach(struct vma *v, struct file *file, struct mapping *mapping, uint64_t page_offset);
void vma_destroy(struct vma *v);

void vma_insert(struct mm *mm, struct vma *v); /* overlaps nothing */
void vma_remove(struct mm *mm, struct vma *v);

/* Insert v, which lies above all others; `last` is the topmost so far (NULL: none). Returns v. */
struct vma *vma_append(struct mm *mm, struct vma *v, struct vma *last);

/* Empty the set without keeping it in order on the way: destroys every VMA. No PTE is left that
 * holds a reference. */
void vma_destroy_all(struct mm *mm);

/* Change the bounds of a VMA in the set; its neighbours are not overlapped. page_offset follows
 * start. */
void vma_resize(struct vma *v, uint64_t start, uint64_t end);

/* Cut v at addr (page-aligned, inside); `upper` (from vma_alloc) becomes the part above. */
void vma_split(struct mm *mm, struct vma *v, uint64_t addr, struct vma *upper);

/* Join v with equal neighbours; returns the VMA that holds v's range now. */
struct vma *vma_merge(struct mm *mm, struct vma *v);

struct vma *vma_prev(struct vma *v);

/* Any VMA in [start, end)? */
bool vma_overlaps(struct mm *mm, uint64_t start, uint64_t end);

/*
 * A gap of `size` bytes: at the hint if that is free, else the topmost below mmap_top, else the
 * topmost anywhere. -ENOMEM.
 */
int64_t vma_gap(struct mm *mm, uint64_t hint, uint64_t size);

/* The address at which [start, start + size) next to a growing stack is too near is refused by
 * this many bytes. */
#define STACK_GUARD_GAP (UINT64_C(256) * PAGE_SIZE)

/* Remove the PTEs of [start, end), flush, then drop the references. mmap_lock held (read is
 * enough). */
void mm_zap(struct mm *mm, uint64_t start, uint64_t end);

/* Unmap [start, end); `spare` (from vma_alloc) is consumed or freed. Cannot fail. */
void mm_unmap_locked(struct mm *mm, uint64_t start, uint64_t end, struct vma *spare);

/* May mm grow by so many pages (RLIMIT_AS; RLIMIT_DATA for private writable ones)? 0, -ENOMEM. */
int mm_may_grow(const struct mm *mm, uint64_t pages, uint32_t vma_flags) MUST_CHECK;

/*
 * Cut at `start` and `end`, so that each VMA that overlaps [start, end) lies in it whole. Consumes
 * or frees both spares (from vma_alloc). Returns the first of them, NULL: none.
 */
struct vma *vma_isolate(struct mm *mm, uint64_t start, uint64_t end, struct vma *spare[2]);

/* Is every page of [start, end) in some VMA? */
bool vma_covers(struct mm *mm, uint64_t start, uint64_t end);

/* Join what can be joined in and around [start, end). */
void vma_merge_range(struct mm *mm, uint64_t start, uint64_t end);

/* Two spares for vma_isolate(). 0, -ENOMEM. */
int vma_alloc_pair(struct vma *spare[2]) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory, in pages of 4 KiB: zero pages take nothing, equal pages are stored once, the
 * others compressed (LZ4 block format). For scratch disks: what is on it goes with the machine.
 *
 * Not thread-safe: all calls are made under the lock of the device that owns it.
 */
#pragma once

#include <base/compiler.h>

#define PAGE_DISK_PAGE_SIZE 4096u
#define PAGE_DISK_SIZE_MAX  (UINT64_C(1) << 40) /* bytes */

struct page_disk;

struct page_disk_stats {
    uint64_t size;         /* of the disk, bytes */
    uint64_t used_pages;   /* that are not zero */
    uint64_t stored_pages; /* different ones among them */
    uint64_t stored_bytes; /* what those take, compressed */
};

/*
 * An empty disk of `size` bytes (whole pages, at most PAGE_DISK_SIZE_MAX) whose stored pages may
 * take up to `memory_max` bytes. 0, -EINVAL or -ENOMEM.
 */
int page_disk_create(uint64_t size, uint64_t memory_max, struct page_disk **out) MUST_CHECK;
void page_disk_destroy(struct page_disk *d);

uint64_t page_disk_size(const struct page_disk *d);

/* [offset, offset + size) lies on the disk. */
void page_disk_read(struct page_disk *d, uint64_t offset, void *to, size_t size);

/*
 * 0, or -ENOSPC when memory_max is reached, -ENOMEM; then the pages before the one that failed are
 * written, and that one is as it was.
 */
int page_disk_write(struct page_disk *d, uint64_t offset, const void *from, size_t size) MUST_CHECK;

/* Make zero; whole pages are given back. */
int page_disk_clear(struct page_disk *d, uint64_t offset, uint64_t size) MUST_CHECK;

void page_disk_stats(const struct page_disk *d, struct page_disk_stats *out);

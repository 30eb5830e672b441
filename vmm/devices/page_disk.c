/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each page of the disk names a block, or none when it is zero. A block is the content of one or
 * more pages; blocks are found by a hash of their content and compared in full before they are
 * shared, so that a hash collision, even one that the guest arranges, costs time and nothing else:
 * the chains that are searched are bounded.
 */
#include "page_disk.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <base/assert.h>
#include <base/checked.h>

#define NO_BLOCK       0u
#define CHAIN_MAX      8u /* blocks compared before a page is stored anew */
#define BUCKETS_MIN    1024u
#define BLOCKS_INITIAL 1024u

struct block {
    uint8_t *bytes;
    uint32_t next; /* in its bucket, or in the free list */
    uint32_t references;
    uint64_t hash;
    uint16_t size; /* PAGE_DISK_PAGE_SIZE: stored as it is */
};

struct page_disk {
    uint64_t size;
    uint64_t memory_max;
    uint64_t seed;   /* of the hash: the guest does not know it */
    uint32_t *pages; /* block numbers; a mapping, so that untouched parts cost nothing */
    size_t page_count;
    struct block *blocks; /* [0] is not used */
    uint32_t block_count; /* used or on the free list, and the first */
    uint32_t block_capacity;
    uint32_t free_list;
    uint32_t *buckets;
    uint32_t bucket_count; /* a power of two */
    struct page_disk_stats stats;
    uint8_t page[PAGE_DISK_PAGE_SIZE]; /* being compared, or changed in part */
    uint8_t packed[PAGE_DISK_PAGE_SIZE];
};

/* ---- Content ---- */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_DISK_PAGE_SIZE - 1) == 0;
}

/* Multiply and fold, word by word: fast, and good enough with full comparison behind it. */
static uint64_t hash_page(const struct page_disk *d, const uint8_t *page)
{
    uint64_t h = d->seed;

    for (size_t i = 0; i < PAGE_DISK_PAGE_SIZE; i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, page + i, sizeof(word));
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    return h;
}

static void unpack(const struct block *b, uint8_t *page)
{
    if (b->size == PAGE_DISK_PAGE_SIZE) {
        memcpy(page, b->bytes, PAGE_DISK_PAGE_SIZE);
        return;
    }
    int n = LZ4_decompress_safe((const char *)b->bytes, (char *)page, b->size, PAGE_DISK_PAGE_SIZE);

    assert(n == (int)PAGE_DISK_PAGE_SIZE); /* we packed it ourselves */
}

static bool is_equal(const struct block *b, const uint8_t *page)
{
    uint8_t unpacked[PAGE_DISK_PAGE_SIZE];

    unpack(b, unpacked);
    return memcmp(unpacked, page, PAGE_DISK_PAGE_SIZE) == 0;
}

/* ---- Blocks ---- */

static uint32_t *bucket_of(const struct page_disk *d, uint64_t hash)
{
    return &d->buckets[hash & (d->bucket_count - 1)];
}

static uint32_t find_block(const struct page_disk *d, const uint8_t *page, uint64_t hash)
{
    unsigned looked = 0;

    for (uint32_t i = *bucket_of(d, hash); i != NO_BLOCK && looked < CHAIN_MAX;
         i = d->blocks[i].next) {
        if (d->blocks[i].hash == hash) {
            looked++;
            if (d->blocks[i].references < UINT32_MAX && is_equal(&d->blocks[i], page)) {
                return i;
            }
        }
    }
    return NO_BLOCK;
}

/* Twice the buckets; a failure only makes the chains longer. */
static void grow_buckets(struct page_disk *d)
{
    uint32_t count = d->bucket_count * 2;
    uint32_t *grown = calloc(count, sizeof(*grown));

    if (grown == NULL) {
        return;
    }
    for (uint32_t b = 0; b < d->bucket_count; b++) {
        uint32_t i = d->buckets[b];

        while (i != NO_BLOCK) {
            uint32_t next = d->blocks[i].next;
            uint32_t *to = &grown[d->blocks[i].hash & (count - 1)];

            d->blocks[i].next = *to;
            *to = i;
            i = next;
        }
    }
    free(d->buckets);
    d->buckets = grown;
    d->bucket_count = count;
}

/* A block number, or NO_BLOCK without memory. */
static uint32_t take_number(struct page_disk *d)
{
    uint32_t i = d->free_list;

    if (i != NO_BLOCK) {
        d->free_list = d->blocks[i].next;
        return i;
    }
    if (d->block_count == d->block_capacity) {
        uint32_t capacity = d->block_capacity * 2;
        struct block *grown = reallocarray(d->blocks, capacity, sizeof(*grown));

        if (grown == NULL || capacity < d->block_capacity) {
            return NO_BLOCK;
        }
        d->blocks = grown;
        d->block_capacity = capacity;
    }
    return d->block_count++;
}

/* Pack the page and store it. 0 and *out, -ENOSPC or -ENOMEM. */
static int store(struct page_disk *d, const uint8_t *page, uint64_t hash, uint32_t *out)
{
    int n = LZ4_compress_default((const char *)page, (char *)d->packed, PAGE_DISK_PAGE_SIZE,
                                 PAGE_DISK_PAGE_SIZE - 1);
    uint16_t size = n > 0 ? (uint16_t)n : PAGE_DISK_PAGE_SIZE;
    uint8_t *bytes = NULL;
    uint32_t i = NO_BLOCK;

    if (d->stats.stored_bytes + size > d->memory_max) {
        return -ENOSPC;
    }
    bytes = malloc(size);
    i = bytes == NULL ? NO_BLOCK : take_number(d);
    if (i == NO_BLOCK) {
        free(bytes);
        return -ENOMEM;
    }
    memcpy(bytes, n > 0 ? d->packed : page, size);
    d->blocks[i] = (struct block){
        .bytes = bytes, .next = *bucket_of(d, hash), .references = 1, .hash = hash, .size = size
    };
    *bucket_of(d, hash) = i;
    d->stats.stored_pages++;
    d->stats.stored_bytes += size;
    if (d->stats.stored_pages > 2 * (uint64_t)d->bucket_count) {
        grow_buckets(d);
    }
    *out = i;
    return 0;
}

static void release(struct page_disk *d, uint32_t number)
{
    struct block *b = &d->blocks[number];
    uint32_t *link = bucket_of(d, b->hash);

    assert(b->references > 0);
    if (--b->references > 0) {
        return;
    }
    while (*link != number) {
        link = &d->blocks[*link].next;
    }
    *link = b->next;
    d->stats.stored_pages--;
    d->stats.stored_bytes -= b->size;
    free(b->bytes);
    b->bytes = NULL;
    b->next = d->free_list;
    d->free_list = number;
}

/* ---- Pages ---- */

static void set_page(struct page_disk *d, size_t page, uint32_t block)
{
    uint32_t old = d->pages[page];

    d->pages[page] = block;
    d->stats.used_pages += (uint64_t)(block != NO_BLOCK);
    if (old != NO_BLOCK) {
        d->stats.used_pages--;
        release(d, old);
    }
}

static void load_page(const struct page_disk *d, size_t page, uint8_t *to)
{
    uint32_t block = d->pages[page];

    if (block == NO_BLOCK) {
        memset(to, 0, PAGE_DISK_PAGE_SIZE);
    } else {
        unpack(&d->blocks[block], to);
    }
}

static int store_page(struct page_disk *d, size_t page, const uint8_t *bytes)
{
    uint32_t block = NO_BLOCK;

    if (!is_zero(bytes)) {
        uint64_t hash = hash_page(d, bytes);

        block = find_block(d, bytes, hash);
        if (block == NO_BLOCK) {
            int err = store(d, bytes, hash, &block);

            if (err < 0) {
                return err;
            }
        } else {
            d->blocks[block].references++;
        }
    }
    set_page(d, page, block);
    return 0;
}

/* ---- The disk ---- */

/* How much of [offset, offset + size) lies in the page of `offset`. */
static size_t in_page(uint64_t offset, uint64_t size)
{
    return (size_t)min_of(size, PAGE_DISK_PAGE_SIZE - offset % PAGE_DISK_PAGE_SIZE);
}

void page_disk_read(struct page_disk *d, uint64_t offset, void *to, size_t size)
{
    uint8_t *at = to;

    assert(range_fits(offset, size, d->size));
    while (size > 0) {
        size_t part = in_page(offset, size);
        size_t page = (size_t)(offset / PAGE_DISK_PAGE_SIZE);

        if (part == PAGE_DISK_PAGE_SIZE) {
            load_page(d, page, at);
        } else {
            load_page(d, page, d->page);
            memcpy(at, d->page + offset % PAGE_DISK_PAGE_SIZE, part);
        }
        offset += part;
        at += part;
        size -= part;
    }
}

int page_disk_write(struct page_disk *d, uint64_t offset, const void *from, size_t size)
{
    const uint8_t *at = from;

    assert(range_fits(offset, size, d->size));
    while (size > 0) {
        size_t part = in_page(offset, size);
        size_t page = (size_t)(offset / PAGE_DISK_PAGE_SIZE);

        /* A copy in any case: the guest may write to its buffer meanwhile. */
        if (part < PAGE_DISK_PAGE_SIZE) {
            load_page(d, page, d->page);
        }
        memcpy(d->page + offset % PAGE_DISK_PAGE_SIZE, at, part);
        int err = store_page(d, page, d->page);

        if (err < 0) {
            return err;
        }
        offset += part;
        at += part;
        size -= part;
    }
    return 0;
}

int page_disk_clear(struct page_disk *d, uint64_t offset, uint64_t size)
{
    assert(range_fits(offset, size, d->size));
    while (size > 0) {
        size_t part = in_page(offset, size);
        size_t page = (size_t)(offset / PAGE_DISK_PAGE_SIZE);

        if (part == PAGE_DISK_PAGE_SIZE) {
            set_page(d, page, NO_BLOCK);
        } else if (d->pages[page] != NO_BLOCK) {
            load_page(d, page, d->page);
            memset(d->page + offset % PAGE_DISK_PAGE_SIZE, 0, part);
            int err = store_page(d, page, d->page);

            if (err < 0) {
                return err;
            }
        }
        offset += part;
        size -= part;
    }
    return 0;
}

uint64_t page_disk_size(const struct page_disk *d)
{
    return d->size;
}

void page_disk_stats(const struct page_disk *d, struct page_disk_stats *out)
{
    *out = d->stats;
}

int page_disk_create(uint64_t size, uint64_t memory_max, struct page_disk **out)
{
    struct page_disk *d = NULL;
    void *pages = MAP_FAILED;

    if (size == 0 || size % PAGE_DISK_PAGE_SIZE != 0 || size > PAGE_DISK_SIZE_MAX) {
        return -EINVAL;
    }
    d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return -ENOMEM;
    }
    d->size = size;
    d->memory_max = memory_max;
    d->page_count = (size_t)(size / PAGE_DISK_PAGE_SIZE);
    d->stats.size = size;
    d->bucket_count = BUCKETS_MIN;
    d->buckets = calloc(BUCKETS_MIN, sizeof(*d->buckets));
    d->block_capacity = BLOCKS_INITIAL;
    d->block_count = 1;
    d->blocks = calloc(BLOCKS_INITIAL, sizeof(*d->blocks));
    pages = mmap(NULL, d->page_count * sizeof(*d->pages), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    d->pages = pages == MAP_FAILED ? NULL : pages;
    if (d->buckets == NULL || d->blocks == NULL || d->pages == NULL ||
        getrandom(&d->seed, sizeof(d->seed), 0) != (ssize_t)sizeof(d->seed)) {
        page_disk_destroy(d);
        return -ENOMEM;
    }
    *out = d;
    return 0;
}

void page_disk_destroy(struct page_disk *d)
{
    for (uint32_t i = 1; d->blocks != NULL && i < d->block_count; i++) {
        free(d->blocks[i].bytes);
    }
    free(d->blocks);
    free(d->buckets);
    if (d->pages != NULL) {
        (void)munmap(d->pages, d->page_count * sizeof(*d->pages));
    }
    free(d);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door to a guest's memory. Nothing else in the monitor dereferences it.
 *
 * The guest may write its memory at any moment, so every call copies: fetch once, look at the copy.
 * Addresses and lengths are guest-controlled; a range that is not wholly inside one region of
 * ordinary RAM fails and touches nothing. All calls are safe from any thread.
 */
#pragma once

#include <base/compiler.h>

typedef struct {
    uint64_t raw;
} gpa_t;

/* Ours: RAM below the device window, RAM above, the root image. A vhost-user front end: 8. */
#define GMEM_REGIONS_MAX 8

struct gmem_region {
    uint64_t gpa;
    uint64_t size; /* bytes */
    uint8_t *hva;
    bool is_read_only; /* guest writes fault; gmem_write() refuses */
    /* NULL, or a bit for each page of the region from bit `dirty_first` on, set by each write here
     * and by each loan for writing; atomic. */
    uint64_t *dirty;
    uint64_t dirty_first;
};

struct gmem {
    struct gmem_region regions[GMEM_REGIONS_MAX];
    unsigned region_count;
};

struct iovec;

/* Copy `size` bytes out of / into guest memory. 0, or -EFAULT with nothing (or for write, nothing)
 * done. */
int gmem_read(const struct gmem *g, gpa_t from, void *to, size_t size) MUST_CHECK;
int gmem_write(const struct gmem *g, gpa_t to, const void *from, size_t size) MUST_CHECK;

/*
 * Single aligned 16-bit accesses for ring indices. Both are sequentially consistent, so that a
 * store followed by a load needs no barrier between them. -EFAULT as above, or misaligned.
 */
int gmem_load_acquire16(const struct gmem *g, gpa_t from, uint16_t *out) MUST_CHECK;
int gmem_store_release16(const struct gmem *g, gpa_t to, uint16_t value) MUST_CHECK;

bool gmem_contains(const struct gmem *g, gpa_t at, uint64_t size);
bool gmem_is_writable(const struct gmem *g, gpa_t at, uint64_t size);

/*
 * Host address of a guest range, for handing to a system call only (read, write, io_uring,
 * getrandom): the caller never looks at the bytes. `for_write` says the system call will write
 * there. Returns NULL when the range is not wholly inside one region or is read-only and for_write.
 */
void *gmem_lend(const struct gmem *g, gpa_t at, uint64_t size, bool for_write);

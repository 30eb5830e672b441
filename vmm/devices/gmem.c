/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: find the one region that holds a range, then copy. See gmem.h for the contract. */

#include "gmem.h"

#include <errno.h>
#include <string.h>

#include <base/assert.h>
#include <base/checked.h>

#define PAGE_SHIFT 12
#define WORD_BITS  64u

static void mark_dirty(const struct gmem_region *r, uint64_t offset, uint64_t size)
{
    uint64_t page = r->dirty_first + (offset >> PAGE_SHIFT);
    uint64_t last = r->dirty_first + ((offset + size - 1) >> PAGE_SHIFT);

    for (; page <= last; page++) {
        /* relaxed: read when nothing writes. */
        __atomic_fetch_or(&r->dirty[page / WORD_BITS], UINT64_C(1) << page % WORD_BITS,
                          __ATOMIC_RELAXED);
    }
}

enum use {
    NOT_WRITTEN,
    ASKED, /* could it be written? */
    WRITTEN,
};

/* Host address of a range, or NULL unless one region holds all of it (and may be written, if
 * asked). */
static uint8_t *range_hva(const struct gmem *g, gpa_t at, uint64_t size, enum use for_write)
{
    assert(g->region_count <= GMEM_REGIONS_MAX);
    for (unsigned i = 0; i < g->region_count; i++) {
        const struct gmem_region *r = &g->regions[i];

        if (at.raw >= r->gpa && range_fits(at.raw - r->gpa, size, r->size)) {
            if (for_write == NOT_WRITTEN) {
                return r->hva + (at.raw - r->gpa);
            }
            if (r->is_read_only) {
                return NULL;
            }
            if (for_write == WRITTEN && r->dirty != NULL && size > 0) {
                mark_dirty(r, at.raw - r->gpa, size);
            }
            return r->hva + (at.raw - r->gpa);
        }
    }
    return NULL;
}

int gmem_read(const struct gmem *g, gpa_t from, void *to, size_t size)
{
    const uint8_t *hva = range_hva(g, from, size, NOT_WRITTEN);

    if (hva == NULL) {
        return -EFAULT;
    }
    memcpy(to, hva, size);
    return 0;
}

int gmem_write(const struct gmem *g, gpa_t to, const void *from, size_t size)
{
    uint8_t *hva = range_hva(g, to, size, WRITTEN);

    if (hva == NULL) {
        return -EFAULT;
    }
    memcpy(hva, from, size);
    return 0;
}

/*
 * Both 16-bit accesses are sequentially consistent. "Publish an index, then look at the other
 * side's wish to be notified" needs a store-load barrier (VIRTIO 1.1, 2.6.7.1 and 2.6.10); with
 * this order the store is that barrier and the load costs nothing on either architecture.
 */
int gmem_load_acquire16(const struct gmem *g, gpa_t from, uint16_t *out)
{
    const uint8_t *hva = range_hva(g, from, sizeof(*out), NOT_WRITTEN);

    if (hva == NULL || !is_aligned(from.raw, sizeof(*out))) {
        return -EFAULT;
    }
    assert(is_aligned((uintptr_t)hva, sizeof(*out)));
    *out = __atomic_load_n((const uint16_t *)(const void *)hva, __ATOMIC_SEQ_CST);
    return 0;
}

int gmem_store_release16(const struct gmem *g, gpa_t to, uint16_t value)
{
    uint8_t *hva = range_hva(g, to, sizeof(value), WRITTEN);

    if (hva == NULL || !is_aligned(to.raw, sizeof(value))) {
        return -EFAULT;
    }
    assert(is_aligned((uintptr_t)hva, sizeof(value)));
    __atomic_store_n((uint16_t *)(void *)hva, value, __ATOMIC_SEQ_CST);
    return 0;
}

bool gmem_contains(const struct gmem *g, gpa_t at, uint64_t size)
{
    return range_hva(g, at, size, NOT_WRITTEN) != NULL;
}

bool gmem_is_writable(const struct gmem *g, gpa_t at, uint64_t size)
{
    return range_hva(g, at, size, ASKED) != NULL;
}

void *gmem_lend(const struct gmem *g, gpa_t at, uint64_t size, bool for_write)
{
    return range_hva(g, at, size, for_write ? WRITTEN : NOT_WRITTEN);
}

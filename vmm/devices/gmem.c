/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: find the one region that holds a range, then copy. See gmem.h for the contract. */

#include "gmem.h"

#include <errno.h>
#include <string.h>

#include <base/assert.h>
#include <base/checked.h>

/* Host address of a range, or NULL unless one region holds all of it (and may be written, if
 * asked). */
static uint8_t *range_hva(const struct gmem *g, gpa_t at, uint64_t size, bool for_write)
{
    assert(g->region_count <= GMEM_REGIONS_MAX);
    for (unsigned i = 0; i < g->region_count; i++) {
        const struct gmem_region *r = &g->regions[i];

        if (at.raw >= r->gpa && range_fits(at.raw - r->gpa, size, r->size)) {
            return for_write && r->is_read_only ? NULL : r->hva + (at.raw - r->gpa);
        }
    }
    return NULL;
}

int gmem_read(const struct gmem *g, gpa_t from, void *to, size_t size)
{
    const uint8_t *hva = range_hva(g, from, size, false);

    if (hva == NULL) {
        return -EFAULT;
    }
    memcpy(to, hva, size);
    return 0;
}

int gmem_write(const struct gmem *g, gpa_t to, const void *from, size_t size)
{
    uint8_t *hva = range_hva(g, to, size, true);

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
    const uint8_t *hva = range_hva(g, from, sizeof(*out), false);

    if (hva == NULL || !is_aligned(from.raw, sizeof(*out))) {
        return -EFAULT;
    }
    assert(is_aligned((uintptr_t)hva, sizeof(*out)));
    *out = __atomic_load_n((const uint16_t *)(const void *)hva, __ATOMIC_SEQ_CST);
    return 0;
}

int gmem_store_release16(const struct gmem *g, gpa_t to, uint16_t value)
{
    uint8_t *hva = range_hva(g, to, sizeof(value), true);

    if (hva == NULL || !is_aligned(to.raw, sizeof(value))) {
        return -EFAULT;
    }
    assert(is_aligned((uintptr_t)hva, sizeof(value)));
    __atomic_store_n((uint16_t *)(void *)hva, value, __ATOMIC_SEQ_CST);
    return 0;
}

bool gmem_contains(const struct gmem *g, gpa_t at, uint64_t size)
{
    return range_hva(g, at, size, false) != NULL;
}

bool gmem_is_writable(const struct gmem *g, gpa_t at, uint64_t size)
{
    return range_hva(g, at, size, true) != NULL;
}

void *gmem_lend(const struct gmem *g, gpa_t at, uint64_t size, bool for_write)
{
    return range_hva(g, at, size, for_write);
}

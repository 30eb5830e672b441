/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/copy_port.h"

#include <string.h>

#include "abi/boot.h"
#include "devices/gmem.h"

static bool copy_page(const struct gmem *g, const struct boot_copy_entry *e)
{
    uint8_t page[BOOT_COPY_PAGE_SIZE];

    if (e->to % sizeof(page) != 0) {
        return false;
    }
    if (e->from == BOOT_COPY_ZEROS) {
        memset(page, 0, sizeof(page));
    } else if (e->from % sizeof(page) != 0 ||
               gmem_read(g, (gpa_t){ e->from }, page, sizeof(page)) < 0) {
        return false;
    }
    return gmem_write(g, (gpa_t){ e->to }, page, sizeof(page)) == 0;
}

uint64_t copy_port_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return UINT64_MAX;
}

void copy_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct device_host *host = device;
    const uint64_t at = value * BOOT_COPY_PAGE_SIZE; /* 32 bits of frame number: cannot overflow */
    struct boot_copy request;
    uint32_t done = 0;

    if (offset != 0 || size != 4 ||
        gmem_read(host->gmem, (gpa_t){ at }, &request, sizeof(request)) < 0) {
        return;
    }
    while (request.count <= BOOT_COPY_MAX && done < request.count &&
           copy_page(host->gmem, &request.entries[done])) {
        done++;
    }
    /* It was readable; if it is not writable nobody can be told, and the kernel sees what it put
     * there. */
    (void)!gmem_write(host->gmem, (gpa_t){ at + offsetof(struct boot_copy, done) }, &done,
                      sizeof(done));
}

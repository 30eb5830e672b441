/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of functions, from the table that the second link embeds (kernel/component.mk): a count,
 * then (offset from the image's first byte, offset of the name) sorted by address, then the names.
 */

#include <core/log.h>
#include <core/types.h>

extern const uint32_t symbol_table[] __attribute__((weak)); /* absent in the first link */
extern char kernel_image_start[];
extern char kernel_text_end[];

bool symbol_lookup(uintptr_t ip, const char **name, size_t *offset)
{
    uintptr_t start = (uintptr_t)kernel_image_start;

    if (!symbol_table || ip < start || ip >= (uintptr_t)kernel_text_end || symbol_table[0] == 0) {
        return false;
    }
    uint32_t count = symbol_table[0];
    const char *names = (const char *)(symbol_table + 1 + 2 * (size_t)count);
    uint32_t wanted = (uint32_t)(ip - start);
    uint32_t low = 0;
    uint32_t high = count;

    while (low < high) { /* the first entry behind `wanted` */
        uint32_t middle = low + (high - low) / 2;

        if (symbol_table[1 + 2 * (size_t)middle] <= wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return false;
    }
    *offset = wanted - symbol_table[1 + 2 * (size_t)(low - 1)];
    *name = names + symbol_table[2 + 2 * (size_t)(low - 1)];
    return true;
}

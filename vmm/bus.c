/* SPDX-License-Identifier: Apache-2.0 */
#include "bus.h"

#include <errno.h>
#include <string.h>

#include <base/assert.h>
#include <base/checked.h>

void bus_init(struct bus *b, uint64_t direct_base, uint64_t direct_size)
{
    memset(b, 0, sizeof(*b));
    b->direct_base = direct_base;
    b->direct_size = direct_size;
}

int bus_add(struct bus *b, const struct io_window *w)
{
    unsigned i = b->count;
    uint64_t end = 0;

    if (w->size == 0 || !checked_add(w->base, w->size, &end)) {
        return -EINVAL;
    }
    if (i == BUS_WINDOWS_MAX) {
        return -ENOSPC;
    }
    for (unsigned n = 0; n < b->count; n++) {
        const struct io_window *other = &b->windows[n];

        if (w->base < other->base + other->size && other->base < end) {
            return -EEXIST;
        }
    }
    for (; i > 0 && b->windows[i - 1].base > w->base; i--) {
        b->windows[i] = b->windows[i - 1];
    }
    b->windows[i] = *w;
    b->count++;
    return 0;
}

void bus_seal(struct bus *b)
{
    for (unsigned n = 0; b->direct_size != 0 && n < b->count; n++) {
        const struct io_window *w = &b->windows[n];
        uint64_t slot = (w->base - b->direct_base) / b->direct_size;

        if (w->base >= b->direct_base && slot < BUS_DIRECT_MAX) {
            assert(w->size <= b->direct_size);
            b->direct[slot] = w;
        }
    }
}

static const struct io_window *bisect(const struct bus *b, uint64_t addr)
{
    unsigned low = 0;
    unsigned high = b->count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (b->windows[middle].base <= addr) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? NULL : &b->windows[low - 1];
}

static const struct io_window *find(const struct bus *b, uint64_t addr, unsigned size)
{
    const struct io_window *w = NULL;

    if (!is_power_of_two(size) || size > 8) {
        return NULL;
    }
    if (b->direct_size != 0 && addr >= b->direct_base &&
        addr - b->direct_base < BUS_DIRECT_MAX * b->direct_size) {
        w = b->direct[(addr - b->direct_base) / b->direct_size];
    } else {
        w = bisect(b, addr);
    }
    if (w == NULL || addr < w->base || !range_fits(addr - w->base, size, w->size)) {
        return NULL;
    }
    return w;
}

bool bus_read(const struct bus *b, uint64_t addr, unsigned size, uint64_t *value)
{
    const struct io_window *w = find(b, addr, size);

    *value = UINT64_MAX;
    if (w == NULL) {
        return false;
    }
    *value = w->read(w->device, addr - w->base, size);
    return true;
}

bool bus_write(const struct bus *b, uint64_t addr, unsigned size, uint64_t value)
{
    const struct io_window *w = find(b, addr, size);

    if (w == NULL) {
        return false;
    }
    if (size < 8) {
        value &= (UINT64_C(1) << (8 * size)) - 1;
    }
    w->write(w->device, addr - w->base, size, value);
    return true;
}

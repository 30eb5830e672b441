/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which device answers at an address. Filled while the machine is built, then only read, so any
 * thread may look up without a lock. Windows of the virtio area are found by index, the few others
 * by bisection.
 */
#pragma once

#include <base/compiler.h>

#include "devices/device.h"

#define BUS_WINDOWS_MAX 24u
#define BUS_DIRECT_MAX  16u

struct bus {
    struct io_window windows[BUS_WINDOWS_MAX]; /* ascending by base */
    unsigned count;
    /* Area of equal windows: slot n is [direct_base + n * direct_size, + direct_size). */
    uint64_t direct_base;
    uint64_t direct_size; /* 0: none */
    const struct io_window *direct[BUS_DIRECT_MAX];
};

/* direct_size 0: no such area. */
void bus_init(struct bus *b, uint64_t direct_base, uint64_t direct_size);
/* 0; -EINVAL for an empty or wrapping window; -EEXIST if it overlaps another; -ENOSPC. Before
 * bus_seal(). */
int bus_add(struct bus *b, const struct io_window *w) MUST_CHECK;
/* All windows are there: makes the index. */
void bus_seal(struct bus *b);

/*
 * Guest-controlled address and size. An access to nothing, across a border or of odd size reads as
 * ones and writes nowhere; then the result is false.
 */
bool bus_read(const struct bus *b, uint64_t addr, unsigned size, uint64_t *value);
bool bus_write(const struct bus *b, uint64_t addr, unsigned size, uint64_t value);

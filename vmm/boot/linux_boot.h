/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel finds in memory at entry: Linux's zero page, PVH's start info. Same facts, two
 * layouts. */
#pragma once

#include <base/compiler.h>

struct gmem;

#define BOOT_RANGES_MAX 8u

enum boot_range_type {
    BOOT_RANGE_RAM = 1, /* E820's and PVH's numbers */
    BOOT_RANGE_RESERVED = 2,
};

struct boot_range {
    uint64_t gpa;
    uint64_t size;
    enum boot_range_type type;
};

struct boot_map {
    struct boot_range ranges[BOOT_RANGES_MAX];
    unsigned count;
    uint64_t cmdline_gpa;
    uint32_t cmdline_size; /* without the NUL */
    uint64_t module_gpa;   /* boot arguments */
    uint64_t module_size;
    uint64_t rsdp_gpa;
    const uint8_t *setup; /* a bzImage's setup header for the zero page; NULL: ours */
    size_t setup_size;
};

void boot_map_add(struct boot_map *m, uint64_t gpa, uint64_t size, enum boot_range_type type);

/* Write the zero page at `at`. 0 or -EFAULT. */
int linux_boot_write(const struct gmem *g, uint64_t at, const struct boot_map *m) MUST_CHECK;
/* Write PVH's start info with its memory map and module list at `at`; takes less than a page. 0 or
 * -EFAULT. */
int pvh_boot_write(const struct gmem *g, uint64_t at, const struct boot_map *m) MUST_CHECK;

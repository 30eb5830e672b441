/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying and clearing whole pages: by ourselves, or by the monitor where that is cheaper
 * (docs/boot.md, the copy port).
 */
#pragma once

#include <abi/boot.h>
#include <core/types.h>

#define PAGE_COPY_MAX BOOT_COPY_MAX

/* Does copying some more pages cost little beside the fault that wants one? */
bool page_copy_is_cheap(void);

/* Up to PAGE_COPY_MAX pages of RAM or image (`from` BOOT_COPY_ZEROS: clear). Any context. */
void page_copy(const struct boot_copy_entry *entries, unsigned count);
void page_copy_run(paddr_t to, paddr_t from, unsigned count); /* the same, consecutive frames */
void page_copy_one(paddr_t to, paddr_t from);
void page_clear(paddr_t to, uint64_t count); /* consecutive frames */

/* SPDX-License-Identifier: Apache-2.0 */
/* The library compiled at build time: units one after the other, mapped with the program. */
#pragma once

#include <base/compiler.h>

struct vm;

/* Bytes of the image; empty in the program that makes it. Each program links one definition. */
extern const uint8_t lona_library_image[];
extern const size_t lona_library_size;

/* Link and run every unit in a process of its own. 0, or the number of the unit that failed (from
 * 1). */
int library_load(struct vm *vm) MUST_CHECK;

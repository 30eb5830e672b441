/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The random number generator: ChaCha20 with fast key erasure. It is seeded at first use from the
 * boot arguments, the CPU's generator and the time counter, and takes more at any time; it never
 * blocks and never fails.
 */
#pragma once

#include <core/types.h>

/* Take the seed now; else the first draw does. What the boot arguments brought is wiped there. */
void random_seed(void);

/* Mix bytes in, whatever they are worth. Any context but hard interrupts. */
void random_add(const void *bytes, size_t size);

/* Fill a buffer. Any context but hard interrupts. About 1,200 instructions for each 32 bytes drawn,
 * in however many draws. */
void random_bytes(void *buf, size_t size);

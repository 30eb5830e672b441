/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), with the CPU's own instructions where it has them. Hosted programs only. */
#pragma once

#include <base/compiler.h>

#define SHA256_SIZE       32u
#define SHA256_BLOCK_SIZE 64u

struct sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes taken so far */
    uint8_t block[SHA256_BLOCK_SIZE];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *bytes, size_t size);
/* *s is used up. */
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_SIZE]);

/* All at once. */
void sha256(const void *bytes, size_t size, uint8_t digest[SHA256_SIZE]);

/* For tests: false makes the portable code run even where the CPU has instructions. */
void sha256_set_accelerated(bool is_allowed);

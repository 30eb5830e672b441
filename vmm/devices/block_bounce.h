/* SPDX-License-Identifier: Apache-2.0 */
/*
 * O_DIRECT wants offsets, sizes and addresses aligned; a guest aligns as it likes. A transfer that
 * is not goes piece by piece through one aligned buffer, and a write that covers only a part of a
 * block reads that block before. Steps, without I/O of its own: block_file.c carries them out, one
 * such transfer at a time and with no other operation under way.
 */
#pragma once

#include "block_file.h"

#define BOUNCE_SIZE (256u << 10)

/* What the file asks of its callers; powers of two. */
struct direct_alignment {
    uint32_t memory; /* of addresses */
    uint32_t block;  /* of offsets and sizes */
};

struct bounce {
    struct direct_alignment alignment;
    uint8_t *buffer;
    struct block_op *op; /* under way; NULL: none */
    struct block_op io;  /* the step to carry out */
    struct iovec vector;
    uint64_t piece; /* bytes of op that this piece covers */
    bool is_filling;
};

/* 0, -EOPNOTSUPP where the file system has no O_DIRECT, or another -errno. `fd` need not be so
 * opened. */
int direct_alignment_of(int fd, struct direct_alignment *out) MUST_CHECK;

int bounce_init(struct bounce *b, int fd) MUST_CHECK;
void bounce_deinit(struct bounce *b);

/* The kernel would refuse this operation as it stands. */
bool bounce_is_needed(const struct bounce *b, const struct block_op *op);

/* b->io is the first step of `op`, a transfer. */
void bounce_begin(struct bounce *b, struct block_op *op);

/* b->io was carried out without an error. True: it is the next step now; false: op has ended. */
bool bounce_next(struct bounce *b);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state part of a snapshot: records with fixed layouts (abi/snapshot.h), written into one
 * growing buffer and read in place. A reader's bytes are a private copy of hostile ones: all bounds
 * are checked by state_open(), once.
 */
#pragma once

#include <base/compiler.h>

#include "abi/snapshot.h"

struct state_writer {
    uint8_t *bytes; /* owned; freed by state_writer_deinit() */
    size_t size;
    size_t room;
    size_t last; /* where the last record stands */
    uint32_t record_count;
    bool has_failed; /* out of memory; every later call does nothing */
};

void state_writer_init(struct state_writer *w);
void state_writer_deinit(struct state_writer *w);
/* A record's payload, zeroed, to be filled before the next call. NULL: out of memory. */
void *state_add(struct state_writer *w, enum snapshot_kind kind, uint32_t index, uint32_t version,
                size_t size);
/* The payload added last is shorter than was asked. */
void state_trim(struct state_writer *w, size_t size);
/* The header, in place, as of now; NULL when something failed. Until the next record. */
struct snapshot_state *state_header(struct state_writer *w);
/* The same, and all records are there. Pads to whole pages, at least `size_min` bytes. */
struct snapshot_state *state_finish(struct state_writer *w, size_t size_min);

struct state_reader {
    const uint8_t *bytes;
    size_t size;
    const struct snapshot_state *header;
};

/*
 * Hostile bytes, borrowed, aligned to 16. False, and *why a constant text, when they are no state
 * of a version that we know.
 */
bool state_open(struct state_reader *r, const void *bytes, size_t size, const char **why);
/*
 * The record at *at, 0 for the first, and its payload; *at is the next one's then. False: there are
 * no more.
 */
bool state_next(const struct state_reader *r, size_t *at, struct snapshot_record *record,
                const void **payload);
/* The payload of the first such record, or NULL. `version` and `size` may be NULL. */
const void *state_find(const struct state_reader *r, enum snapshot_kind kind, uint32_t index,
                       uint32_t *version, size_t *size);
/* The same when it has version 1 and exactly `size` bytes. */
const void *state_find_sized(const struct state_reader *r, enum snapshot_kind kind, uint32_t index,
                             size_t size);

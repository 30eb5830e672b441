/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot's file, open for reading. Everything in it is hostile: the parts' sizes are checked
 * against the file's, metadata and state are copied once and verified against their hashes, runs
 * are checked against the size of RAM. Memory is not read unless asked.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"
#include "snapshot/state.h"

/* How much larger than its memory a snapshot may be. */
#define SNAPSHOT_OVERHEAD_MAX (UINT64_C(16) << 20)

struct snapshot_file {
    char *name;    /* for messages */
    bool has_path; /* `name` is its path */
    int fd;
    int memory_fd;          /* the same, or of the file that holds the memory */
    char *handler;          /* the socket of who brings the memory; NULL: it is mapped */
    uint64_t memory_offset; /* of RAM's first byte in it */
    uint32_t version;       /* of the container */
    uint32_t flags;         /* enum snapshot_header_flags */
    uint8_t memory_sha256[32];
    char *metadata; /* JSON text, terminated */
    size_t metadata_size;
    void *state_bytes;
    struct state_reader state;
    const struct snapshot_run *runs; /* in state_bytes, or `whole` */
    uint32_t run_count;
    struct snapshot_run whole;              /* version 1 */
    const struct snapshot_run *working_set; /* NULL: none was recorded */
    uint32_t working_set_count;
    const struct snapshot_config *config; /* checked: strings end inside */
    struct snapshot_file *base;           /* of a diff; owned */
};

/*
 * Open and check all but the memory's bytes, with what it builds on. On success *out is the
 * caller's, to be closed. SNAPSHOT_CORRUPTED names the part; NOT_FOUND, NO_ACCESS.
 */
drupe_vm_err_t snapshot_open(const struct drupe_restore_options *options,
                             struct snapshot_file **out, struct drupe_error *err) MUST_CHECK;
/* The same for this file alone: `base` is NULL also for a diff. */
drupe_vm_err_t snapshot_open_one(const struct drupe_restore_options *options,
                                 struct snapshot_file **out, struct drupe_error *err) MUST_CHECK;

bool snapshot_is_diff(const struct snapshot_file *f);

/* The id that a file says it has; nothing is verified. 0 or -errno; -EBADMSG: not a snapshot. */
int snapshot_peek_id(int fd, char id[SNAPSHOT_ID_SIZE]) MUST_CHECK;
void snapshot_close(struct snapshot_file *f);

/* Compute the memory's hash and compare; of the bases as well. */
drupe_vm_err_t snapshot_verify_memory(const struct snapshot_file *f,
                                      struct drupe_error *err) MUST_CHECK;

/* Bytes of the memory part, `offset` from RAM's first. 0, -ENODATA or another -errno. */
int snapshot_read(const struct snapshot_file *f, uint64_t offset, void *to, size_t size) MUST_CHECK;

/* A string of the configuration, "" when there is none. Valid until close. */
const char *snapshot_config_string(const struct snapshot_config *c, uint32_t offset);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a snapshot says about the machine's configuration, as a record and as JSON; and the checks
 * of a configuration against that record.
 */
#pragma once

#include <base/compiler.h>

#include "config.h"
#include "snapshot/container.h"

/*
 * Size, device, inode, time of a file, and the hash of its bytes if wanted. The hash is computed
 * once for each unchanged file and process, and reads the whole file then. 0 or -errno.
 */
int file_identify(int fd, bool want_hash, struct snapshot_file_id *out) MUST_CHECK;

/* Where a diff's base is, NULL: not known, and the hash of its memory. */
struct snapshot_place {
    char *path;
    uint8_t memory_sha256[32];
};

/* Add the SNAPSHOT_CONFIG record. `root` as identified; `base` NULL, or of a diff.
 */
bool describe_config(struct state_writer *w, const struct config *c,
                     const struct snapshot_file_id *root,
                     const struct snapshot_place *base) MUST_CHECK;

/* Add a SNAPSHOT_SHARE record for each shared folder. */
bool describe_shares(struct state_writer *w, const struct config *c) MUST_CHECK;

/* Such a record, read back. The texts stand in the state. */
struct described_share {
    const char *host_path;
    const char *tag;
    const char *guest_path; /* "": not mounted */
    bool is_read_only;
};

/* False: there is none of that index, or it is damaged. */
bool described_share(const struct state_reader *r, unsigned index, struct described_share *out);

/*
 * The metadata of a finished state as JSON text, padded with blanks so that it has at least
 * size_min bytes and `before` + *size is a multiple of the page size. Freed by the caller; NULL:
 * out of memory.
 */
char *describe_metadata(const struct state_writer *w, const char *vm_id, uint64_t tsc_khz,
                        uint64_t memory_bytes, size_t before, size_t size_min, size_t *size);

/* May a machine of this configuration be made from the snapshot? IMAGE_MISMATCH, CONFIG_INVALID. */
drupe_vm_err_t describe_check(const struct snapshot_file *f, const struct config *c, bool is_clone,
                              struct drupe_error *err) MUST_CHECK;

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A package's file: a header of fixed size, the metadata, the application's state, the blob.
 * Numbers are little-endian. The header's last field is the SHA-256 of all before it and of the
 * metadata.
 */
#pragma once

#include <base/compiler.h>
#include <base/sha256.h>

#include "drupe/store.h"

#define PACKAGE_MAGIC     UINT32_C(0x4b504c44) /* "DLPK" */
#define PACKAGE_VERSION   1u
#define METADATA_SIZE_MAX (1u << 20)
#define PIECE_SIZE        (64u << 10)

struct package_header {
    uint32_t magic;
    uint32_t version;
    uint64_t metadata_size;
    uint64_t app_size;
    uint64_t blob_size;
    uint8_t app_sha256[SHA256_SIZE];
    uint8_t blob_sha256[SHA256_SIZE];
    uint8_t head_sha256[SHA256_SIZE];
};

_Static_assert(sizeof(struct package_header) == 128, "a package's header is a file format");

struct drupe_store {
    char *path; /* for messages */
    int packages_fd;
    int blobs_fd;
    int incoming_fd;
    uint64_t package_size_max;
    uint32_t timeout_ms;
};

/* A file on its way in: in incoming/, locked while its writer lives. */
struct incoming {
    int fd;
    char name[DRUPE_PACKAGE_ID_SIZE_MAX + 24];
};

/* An operation's own limits and sums while bytes pass. */
struct transfer {
    uint64_t deadline_ns; /* 0: none */
    const char *what;     /* for messages */
};

struct transfer transfer_begin(const struct drupe_store *s, const char *what);
drupe_vm_err_t store_check_id(const char *field, const char *id, struct drupe_error *err);

/* All of `size` bytes, at `offset`; a file that ends before is -ENODATA. 0 or -errno. */
int store_write_all(int fd, const void *from, size_t size, uint64_t offset);
int store_read_all(int fd, void *to, size_t size, uint64_t offset);
/*
 * `size` bytes from one file to a fresh one, whose end is set behind them. Hashed by pieces of
 * PIECE_SIZE, each with its offset (u64) before it; pieces that are all zero are left out of the
 * hash and of the file, so that a VM's memory stays as sparse as it is.
 */
drupe_vm_err_t store_copy(struct transfer *t, int from, uint64_t from_offset, int to,
                          uint64_t to_offset, uint64_t size, uint8_t digest[SHA256_SIZE],
                          struct drupe_error *err);

drupe_vm_err_t incoming_begin(struct drupe_store *s, const char *id, struct incoming *in,
                              struct drupe_error *err);
/* Sync, rename to `id` in `directory_fd`, sync that. Afterwards there is nothing to abandon but the
 * descriptor. */
drupe_vm_err_t incoming_commit(struct drupe_store *s, struct incoming *in, int directory_fd,
                               const char *id, struct drupe_error *err);
/* Close, and remove what was not committed. */
void incoming_end(struct drupe_store *s, struct incoming *in);

/* Write a file complete or not at all, next to where it will be. */
struct outgoing {
    int fd;
    char temporary[DRUPE_PATH_SIZE_MAX];
    const char *path;
};

drupe_vm_err_t outgoing_begin(const char *path, struct outgoing *out, struct drupe_error *err);
drupe_vm_err_t outgoing_commit(struct outgoing *out, struct drupe_error *err);
void outgoing_end(struct outgoing *out);

/* What to read of a package, and where to. */
struct download {
    struct drupe_restore_target *target; /* NULL: no rules */
    const char *blob_path;               /* NULL: not wanted, or into blob_fd */
    int blob_fd;                         /* -1: none */
};

drupe_vm_err_t store_download(struct drupe_store *s, const char *id, const struct download *d,
                              drupe_package_t **out, struct drupe_error *err);

/* ---- package.c ---- */

drupe_vm_err_t package_check(const struct drupe_store *s, const drupe_package_t *p,
                             struct drupe_error *err);
/* The metadata as text, and back. The bytes are hostile. */
char *metadata_write(const drupe_package_t *p, size_t *size);
/* Takes `app` whatever comes. */
drupe_vm_err_t metadata_read(const char *id, const char *bytes, size_t size, drupe_package_t **out,
                             struct drupe_error *err);
/* The architecture's one name, NULL when it is none. */
const char *arch_canonical(const char *arch);

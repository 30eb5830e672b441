/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store of packages: what it takes to go on with a VM elsewhere. A package is a record of its
 * origin, the VM's snapshot (the blob), state of the application, a reference to a workspace, and
 * environment pairs. The store is a local directory:
 *
 *     packages/<id>     complete packages, one file each
 *     blobs/<id>        complete blobs that belong to no package
 *     incoming/         what is being written; emptied of what a dead writer left when opened
 *
 * A package is visible complete or not at all: written in incoming/, synced, renamed, the directory
 * synced. Everything read is checked against SHA-256 sums that lie in the file, so damage is an
 * error (SNAPSHOT_CORRUPTED) and never a wrong package.
 *
 * Errors, arguments and threads as in vm.h; a store may be used from several threads and processes.
 */
#pragma once

#include "drupe/vm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DRUPE_PACKAGE_ID_SIZE_MAX  128u /* [A-Za-z0-9._-], not beginning with '.' */
#define DRUPE_IMAGE_VERSION_MAX    64u
#define DRUPE_PACKAGE_SIZE_MAX     (UINT64_C(10) << 30)
#define DRUPE_APP_STATE_SIZE_MAX   (UINT64_C(500) << 20)
#define DRUPE_WORKSPACE_SIZE_MAX   4096u
#define DRUPE_STORE_LIST_COUNT_MAX 100000u

enum drupe_package_kind {
    DRUPE_PACKAGE_SUSPEND,    /* a snapshot for the same host: disks stay where they are */
    DRUPE_PACKAGE_TELEPORT,   /* a snapshot for another host of the same architecture */
    DRUPE_PACKAGE_CHECKPOINT, /* application state only: any architecture, after a fresh boot */
};

/* Zero it, set struct_size, then what applies. Pointers are borrowed for a call of upload. */
typedef struct drupe_package {
    size_t struct_size;
    const char *id;
    const char *owner; /* as an id */
    enum drupe_package_kind kind;
    const char *arch;          /* "x86_64" ("amd64") or "aarch64" ("arm64") */
    const char *image_version; /* of the base image, MAJOR.MINOR.PATCH[-...] */
    uint64_t created_ms;       /* since 1970 */
    uint64_t size;             /* of all parts; set by the store */
    const char *blob_path;     /* upload: the VM's snapshot, or NULL; must not be for CHECKPOINT */
    uint64_t blob_size;        /* set by the store; 0: none */
    const char *workspace;     /* a reference of the caller's, or NULL */
    const void *app_state;     /* or NULL */
    size_t app_state_size;
    const char *const *env; /* NULL-terminated NAME=value, or NULL */
} drupe_package_t;

struct drupe_store_options {
    size_t struct_size;
    uint64_t package_size_max; /* 0: DRUPE_PACKAGE_SIZE_MAX */
    uint32_t timeout_ms;       /* of one operation, looked at between pieces; 0: none */
};

typedef struct drupe_store drupe_store_t;

/* Open the store in directory `path`, made if it is missing (its parent must exist). `options` may
 * be NULL. STORE_FAILED, NO_MEMORY. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t
drupe_store_open(const char *path, const struct drupe_store_options *options, drupe_store_t **out,
                 struct drupe_error *err);
DRUPE_API void drupe_store_close(drupe_store_t *store);

/* Add a package. CONFIG_INVALID names the field; an id that exists is STORE_FAILED with EEXIST;
 * STORE_TOO_LARGE, STORE_TIMEOUT, STORE_FAILED. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_upload(drupe_store_t *store,
                                                             const drupe_package_t *package,
                                                             struct drupe_error *err);

/*
 * Read a package. Its blob, if it has one, is written to `blob_path` (NULL: not wanted), complete
 * or not at all. *out is the caller's, to be given to drupe_package_free(); its blob_path is
 * `blob_path`. STORE_NOT_FOUND, SNAPSHOT_CORRUPTED, STORE_TIMEOUT, STORE_FAILED.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_download(drupe_store_t *store, const char *id,
                                                               const char *blob_path,
                                                               drupe_package_t **out,
                                                               struct drupe_error *err);

/* The host that a package is to be restored on. */
struct drupe_restore_target {
    const char *arch;
    const char *image_version;
    bool is_patch_different; /* set: restored, but the PATCH of the versions differs */
};

/*
 * As download, after the rules: another architecture is ARCH_MISMATCH (a CHECKPOINT excepted),
 * another MAJOR or MINOR, or a version that does not parse, is IMAGE_MISMATCH. Decided before the
 * blob is read.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_download_for_restore(
    drupe_store_t *store, const char *id, struct drupe_restore_target *target,
    const char *blob_path, drupe_package_t **out, struct drupe_error *err);
DRUPE_API void drupe_package_free(drupe_package_t *package);

DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_delete(drupe_store_t *store, const char *id,
                                                             struct drupe_error *err);

/* The ids of the complete packages, of `owner` or all (NULL), sorted; freed with
 * drupe_store_list_free(). */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_list(drupe_store_t *store, const char *owner,
                                                           char ***ids, size_t *count,
                                                           struct drupe_error *err);
DRUPE_API void drupe_store_list_free(char **ids, size_t count);

/* A file by itself, under an id; the same rules. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_blob_upload(drupe_store_t *store,
                                                                  const char *id, const char *path,
                                                                  struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_blob_download(drupe_store_t *store,
                                                                    const char *id,
                                                                    const char *path,
                                                                    struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_store_blob_delete(drupe_store_t *store,
                                                                  const char *id,
                                                                  struct drupe_error *err);

/*
 * May what was made on base image `made` run on `here`? MAJOR.MINOR must be equal; what follows the
 * first '-' is ignored; IMAGE_MISMATCH otherwise, also when one of them does not parse. *is_patch_
 * different (may be NULL) is written on success.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_image_version_check(const char *made,
                                                                    const char *here,
                                                                    bool *is_patch_different,
                                                                    struct drupe_error *err);

/* ---- A VM from here to there ---- */

/*
 * Snapshot a RUNNING or PAUSED VM, upload it as `package` (whose blob_path is NULL), stop it. On
 * success the VM is STOPPED and lives on in the store; on any failure it goes on as it was and
 * nothing is in the store.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_teleport_out(drupe_vm_t *vm, drupe_store_t *store,
                                                             const drupe_package_t *package,
                                                             struct drupe_error *err);

/*
 * Download package `id` under the rules of `target` and make a VM of it: PAUSED, the caller's. On
 * failure nothing is left behind. The package stays in the store.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_teleport_in(drupe_store_t *store, const char *id,
                                                            struct drupe_restore_target *target,
                                                            const drupe_vm_config_t *cfg,
                                                            drupe_vm_t **out,
                                                            struct drupe_error *err);

#ifdef __cplusplus
}
#endif

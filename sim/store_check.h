/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store as scenarios use it: watched calls, faults of the operations "teleport_*", and I6 after
 * each step: what is visible in the store is complete. The checker reads the files by itself.
 */
#pragma once

#include "drupe/store.h"

#include "check.h"

#define STORE_PATH "/store/main"

/* Every package visible in STORE_PATH must be whole; `with_hashes` also its bytes (off where the
 * disk is allowed to damage them). */
void store_watch(bool with_hashes);

void store_open(drupe_store_t **out, uint32_t timeout_ms);
/* A package for x86_64 on base image 1.4.2; change what differs. */
void store_package(drupe_package_t *p, const char *id, enum drupe_package_kind kind);
/* Make a file of pseudo-random bytes, the same for the same `number`. */
void store_blob_file(const char *path, unsigned number, size_t size);
bool store_blob_is(const char *path, unsigned number, size_t size);

drupe_vm_err_t sx_upload(drupe_store_t *s, const drupe_package_t *p);
drupe_vm_err_t sx_download(drupe_store_t *s, const char *id, const char *blob_path,
                           drupe_package_t **out);
/* Injected mismatches change what the host says it is. */
drupe_vm_err_t sx_restore(drupe_store_t *s, const char *id, const char *arch, const char *version,
                          const char *blob_path, drupe_package_t **out);
/* Order trouble for a call of `op` if a fault says so; op_watched() then forgets it. */
void store_trouble(enum sim_op op, uint64_t kinds);
bool sx_lists(drupe_store_t *s, const char *id);
/* Several use it at once: what lies in incoming/ may be another's. */
void store_share(bool is_shared);
bool store_is_shared(void);

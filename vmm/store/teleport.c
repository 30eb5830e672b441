/* SPDX-License-Identifier: Apache-2.0 */
/* A VM into the store and out of it, by the public calls alone. */
#include <errno.h>

#include <base/fmt.h>

#include "error.h"
#include "store/store_internal.h"

/* Snapshot the paused VM into a file of incoming/ and upload that. */
static drupe_vm_err_t send_paused(drupe_vm_t *vm, drupe_store_t *store,
                                  const drupe_package_t *package, struct drupe_error *err)
{
    char path[DRUPE_PATH_SIZE_MAX];
    struct incoming in;
    struct drupe_snapshot_options options = { .struct_size = sizeof(options),
                                              .kind = DRUPE_SNAPSHOT_FULL,
                                              .memory_fd = -1 };
    drupe_package_t full = *package;
    drupe_vm_err_t r = incoming_begin(store, "vm", &in, err);

    if (r != DRUPE_OK) {
        return r;
    }
    options.fd = in.fd;
    full.blob_path = path;
    if (fmt_snprintf(path, sizeof(path), "%s/incoming/%s", store->path, in.name) >= sizeof(path)) {
        r = error_set(err, DRUPE_STORE_FAILED, ENAMETOOLONG, "the path of the store");
    }
    if (r == DRUPE_OK) {
        r = drupe_vm_snapshot(vm, &options, NULL, err);
    }
    if (r == DRUPE_OK) {
        r = drupe_store_upload(store, &full, err);
    }
    incoming_end(store, &in);
    return r;
}

drupe_vm_err_t drupe_teleport_out(drupe_vm_t *vm, drupe_store_t *store,
                                  const drupe_package_t *package, struct drupe_error *err)
{
    bool was_running = drupe_vm_state(vm) == DRUPE_VM_RUNNING;
    drupe_vm_err_t r = DRUPE_OK;

    if (package->blob_path != NULL || package->kind == DRUPE_PACKAGE_CHECKPOINT) {
        return error_field(err, "blob_path", "teleport makes the blob itself");
    }
    r = package_check(store, package, err);
    if (r == DRUPE_OK && was_running) {
        r = drupe_vm_pause(vm, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    /* It stands still until it is either stored or goes on: it never runs in two places. */
    r = send_paused(vm, store, package, err);
    if (r == DRUPE_OK) {
        return drupe_vm_stop(vm, 0, err);
    }
    if (was_running) {
        (void)!drupe_vm_resume(vm, NULL); /* the first failure is the answer */
    }
    return r;
}

drupe_vm_err_t drupe_teleport_in(drupe_store_t *store, const char *id,
                                 struct drupe_restore_target *target, const drupe_vm_config_t *cfg,
                                 drupe_vm_t **out, struct drupe_error *err)
{
    struct drupe_restore_options options = { .struct_size = sizeof(options), .memory_fd = -1 };
    struct download d = { .target = target };
    struct incoming in;
    drupe_package_t *package = NULL;
    drupe_vm_err_t r = incoming_begin(store, "vm", &in, err);

    if (r != DRUPE_OK) {
        return r;
    }
    d.blob_fd = in.fd;
    options.fd = in.fd;
    r = store_download(store, id, &d, &package, err);
    if (r == DRUPE_OK && package->blob_size == 0) {
        r = error_set(err, DRUPE_RESTORE_FAILED, 0, "package %s holds no VM", id);
    }
    if (r == DRUPE_OK) {
        r = drupe_vm_create_from_snapshot(cfg, &options, out, err);
    }
    incoming_end(store, &in); /* memory that is mapped keeps the file's bytes */
    drupe_package_free(package);
    return r;
}

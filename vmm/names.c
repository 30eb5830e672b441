/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the public API's enums, for people and logs. */
#include "drupe/vm.h"

#include <base/compiler.h>

static const char *const err_names[] = {
    [DRUPE_OK] = "OK",
    [DRUPE_CONFIG_INVALID] = "CONFIG_INVALID",
    [DRUPE_NOT_FOUND] = "NOT_FOUND",
    [DRUPE_NO_ACCESS] = "NO_ACCESS",
    [DRUPE_UNAVAILABLE] = "UNAVAILABLE",
    [DRUPE_NO_MEMORY] = "NO_MEMORY",
    [DRUPE_BOOT_FAILED] = "BOOT_FAILED",
    [DRUPE_BOOT_TIMEOUT] = "BOOT_TIMEOUT",
    [DRUPE_BAD_STATE] = "BAD_STATE",
    [DRUPE_NOT_RUNNING] = "NOT_RUNNING",
    [DRUPE_ALREADY_RUNNING] = "ALREADY_RUNNING",
    [DRUPE_BUSY] = "BUSY",
    [DRUPE_CRASHED] = "CRASHED",
    [DRUPE_NEEDS_RECREATE] = "NEEDS_RECREATE",
    [DRUPE_TIMEOUT] = "TIMEOUT",
    [DRUPE_UNSUPPORTED] = "UNSUPPORTED",
    [DRUPE_INTERNAL] = "INTERNAL",
    [DRUPE_EXEC_FAILED] = "EXEC_FAILED",
    [DRUPE_EXEC_TIMEOUT] = "EXEC_TIMEOUT",
    [DRUPE_INTERRUPTED] = "INTERRUPTED",
    [DRUPE_PAUSE_FAILED] = "PAUSE_FAILED",
    [DRUPE_RESUME_FAILED] = "RESUME_FAILED",
    [DRUPE_SNAPSHOT_FAILED] = "SNAPSHOT_FAILED",
    [DRUPE_SNAPSHOT_TOO_LARGE] = "SNAPSHOT_TOO_LARGE",
    [DRUPE_RESTORE_FAILED] = "RESTORE_FAILED",
    [DRUPE_SNAPSHOT_CORRUPTED] = "SNAPSHOT_CORRUPTED",
    [DRUPE_ARCH_MISMATCH] = "ARCH_MISMATCH",
    [DRUPE_IMAGE_MISMATCH] = "IMAGE_MISMATCH",
    [DRUPE_STORE_FAILED] = "STORE_FAILED",
    [DRUPE_STORE_TIMEOUT] = "STORE_TIMEOUT",
    [DRUPE_STORE_NOT_FOUND] = "STORE_NOT_FOUND",
    [DRUPE_STORE_TOO_LARGE] = "STORE_TOO_LARGE",
    [DRUPE_FS_MOUNT_FAILED] = "FS_MOUNT_FAILED",
    [DRUPE_POOL_EXHAUSTED] = "POOL_EXHAUSTED",
    [DRUPE_POOL_TIMEOUT] = "POOL_TIMEOUT",
    [DRUPE_JAIL_FAILED] = "JAIL_FAILED",
};

_Static_assert(array_size(err_names) == DRUPE_ERR_COUNT, "every code has a name");

const char *drupe_vm_err_name(drupe_vm_err_t code)
{
    return (unsigned)code < array_size(err_names) ? err_names[code] : "UNKNOWN";
}

const char *drupe_vm_state_name(enum drupe_vm_state state)
{
    switch (state) {
    case DRUPE_VM_CREATED:
        return "CREATED";
    case DRUPE_VM_STARTING:
        return "STARTING";
    case DRUPE_VM_RUNNING:
        return "RUNNING";
    case DRUPE_VM_PAUSED:
        return "PAUSED";
    case DRUPE_VM_STOPPED:
        return "STOPPED";
    case DRUPE_VM_CRASHED:
        return "CRASHED";
    }
    return "UNKNOWN";
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the public API's enums, for people and logs. */
#include "drupe/vm.h"

const char *drupe_vm_err_name(drupe_vm_err_t code)
{
    switch (code) {
    case DRUPE_OK:
        return "OK";
    case DRUPE_CONFIG_INVALID:
        return "CONFIG_INVALID";
    case DRUPE_NOT_FOUND:
        return "NOT_FOUND";
    case DRUPE_NO_ACCESS:
        return "NO_ACCESS";
    case DRUPE_UNAVAILABLE:
        return "UNAVAILABLE";
    case DRUPE_NO_MEMORY:
        return "NO_MEMORY";
    case DRUPE_BOOT_FAILED:
        return "BOOT_FAILED";
    case DRUPE_BOOT_TIMEOUT:
        return "BOOT_TIMEOUT";
    case DRUPE_BAD_STATE:
        return "BAD_STATE";
    case DRUPE_NOT_RUNNING:
        return "NOT_RUNNING";
    case DRUPE_ALREADY_RUNNING:
        return "ALREADY_RUNNING";
    case DRUPE_BUSY:
        return "BUSY";
    case DRUPE_CRASHED:
        return "CRASHED";
    case DRUPE_NEEDS_RECREATE:
        return "NEEDS_RECREATE";
    case DRUPE_TIMEOUT:
        return "TIMEOUT";
    case DRUPE_UNSUPPORTED:
        return "UNSUPPORTED";
    case DRUPE_INTERNAL:
        return "INTERNAL";
    }
    return "UNKNOWN";
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

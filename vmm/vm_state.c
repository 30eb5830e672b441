/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_state.h"

#include <base/assert.h>
#include <base/checked.h>
#include <base/compiler.h>

#define STATES 6

/* Columns: CREATED, STARTING, RUNNING, PAUSED, STOPPED, CRASHED. */
static const drupe_vm_err_t answers[VM_OPS][STATES] = {
    [VM_OP_START] = { DRUPE_OK, DRUPE_BUSY, DRUPE_ALREADY_RUNNING, DRUPE_ALREADY_RUNNING, DRUPE_OK,
                      DRUPE_NEEDS_RECREATE },
    [VM_OP_STOP] = { DRUPE_NOT_RUNNING, DRUPE_OK, DRUPE_OK, DRUPE_OK, DRUPE_NOT_RUNNING,
                     DRUPE_NOT_RUNNING },
    [VM_OP_PAUSE] = { DRUPE_NOT_RUNNING, DRUPE_BUSY, DRUPE_OK, DRUPE_BAD_STATE, DRUPE_NOT_RUNNING,
                      DRUPE_NOT_RUNNING },
    [VM_OP_RESUME] = { DRUPE_BAD_STATE, DRUPE_BUSY, DRUPE_BAD_STATE, DRUPE_OK, DRUPE_BAD_STATE,
                       DRUPE_BAD_STATE },
    [VM_OP_EXEC] = { DRUPE_NOT_RUNNING, DRUPE_BUSY, DRUPE_OK, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING,
                     DRUPE_NOT_RUNNING },
    [VM_OP_SNAPSHOT] = { DRUPE_BAD_STATE, DRUPE_BUSY, DRUPE_OK, DRUPE_OK, DRUPE_BAD_STATE,
                         DRUPE_BAD_STATE },
    [VM_OP_RESTORE] = { DRUPE_OK, DRUPE_BUSY, DRUPE_BAD_STATE, DRUPE_BAD_STATE, DRUPE_OK,
                        DRUPE_NEEDS_RECREATE },
    [VM_OP_DESTROY] = { DRUPE_OK, DRUPE_OK, DRUPE_OK, DRUPE_OK, DRUPE_OK, DRUPE_OK },
};

drupe_vm_err_t vm_state_check(enum drupe_vm_state state, enum vm_op op)
{
    assert(op < VM_OPS);
    assert(is_power_of_two(state));
    unsigned column = (unsigned)__builtin_ctz((unsigned)state);

    assert(column < STATES);
    return answers[op][column];
}

enum drupe_vm_state vm_state_after(enum drupe_end_kind kind)
{
    switch (kind) {
    case DRUPE_END_EXIT:
    case DRUPE_END_REBOOT:
    case DRUPE_END_STOPPED:
        return DRUPE_VM_STOPPED;
    case DRUPE_END_NONE:
    case DRUPE_END_PANIC:
    case DRUPE_END_BOOT_ERROR:
    case DRUPE_END_RESET:
    case DRUPE_END_MONITOR:
        return DRUPE_VM_CRASHED;
    }
    return DRUPE_VM_CRASHED;
}

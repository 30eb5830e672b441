/* SPDX-License-Identifier: Apache-2.0 */
/* The table of legal transitions (vm-lifecycle, section 2): what each call answers in each state.
 */
#pragma once

#include "drupe/vm.h"

enum vm_op {
    VM_OP_START,
    VM_OP_STOP,
    VM_OP_PAUSE,
    VM_OP_RESUME,
    VM_OP_EXEC,
    VM_OP_SNAPSHOT,
    VM_OP_RESTORE,
    VM_OP_DESTROY,
    VM_OPS,
};

/* DRUPE_OK if `op` may begin in `state`, otherwise the code that it fails with; the state stays as
 * it is. */
drupe_vm_err_t vm_state_check(enum drupe_vm_state state, enum vm_op op);

/* Which state an outcome leads to. */
enum drupe_vm_state vm_state_after(enum drupe_end_kind kind);

/* SPDX-License-Identifier: Apache-2.0 */
/* Pending signals of a task or of a process; embedded in both, guarded by process->signal_lock. */
#pragma once

#include <base/list.h>

struct signal_queue {
    uint64_t set;        /* bit n - 1: signal n is pending */
    struct list entries; /* struct signal_entry, oldest first; a signal may pend without one */
};

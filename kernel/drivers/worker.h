/* SPDX-License-Identifier: Apache-2.0 */
/* Deferred work: what an interrupt found out and a thread must do (send signals, allocate, sleep
 * shortly). */
#pragma once

#include <core/types.h>

struct work {
    struct list link;
    void (*run)(struct work *w); /* in the worker thread; may queue itself again */
    bool is_queued;
};

void worker_start(void); /* once, at boot, before interrupts that use it */
void work_init(struct work *w, void (*run)(struct work *w));
void work_queue(struct work *w); /* any context; once more is the same as once until it runs */

/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's life: queues, stealing, idling. */
#pragma once

#include "vm_state.h"

bool worker_init(struct worker *w, struct vm *vm, unsigned index) MUST_CHECK;
void worker_deinit(struct worker *w);
/* The loop of a worker thread: until vm->stopping. */
void worker_main(void *arg);
/* Wake everyone, at shutdown. */
void workers_wake_all(struct vm *vm);

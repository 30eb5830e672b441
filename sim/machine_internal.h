/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the simulated machine show each other: machine.c, snapshot.c, agent.c. */
#pragma once

#include "machine.h"

drupe_vm_err_t sim_machine_build(const struct config *c, const struct backend_events *events,
                                 struct sim_machine **out, struct drupe_error *err);
drupe_vm_err_t sim_machine_snapshot(void *machine, bool is_paused,
                                    const struct drupe_snapshot_options *options,
                                    struct drupe_snapshot_info *info, struct drupe_error *err);
drupe_vm_err_t sim_machine_restore(const struct config *c, const struct backend_events *events,
                                   const struct drupe_restore_options *options, void **out,
                                   struct drupe_error *err);

/* ---- The agent (agent.c) ---- */

/* Starts to listen on the VM's vsock socket; nothing without one. */
drupe_vm_err_t sim_agent_start(struct sim_machine *m, struct drupe_error *err);
/* All connections break, as the vsock device does at a snapshot and at the end. */
void sim_agent_reset(struct sim_machine *m);
/* Joins its threads. After the machine has begun to end. */
void sim_agent_stop(struct sim_machine *m);

/* The machine runs (not parked, not ending): true; waits while it is parked. */
bool sim_machine_enter(struct sim_machine *m);

/* ---- The guest's files (guest_files.c), in guest memory, with the machine's lock held ---- */

bool guest_file_put(struct sim_machine *m, const char *name, const void *bytes, size_t size);
/* A pointer into guest memory, valid until the next put or remove; NULL: no such file. */
const void *guest_file_get(struct sim_machine *m, const char *name, size_t *size);
bool guest_file_remove(struct sim_machine *m, const char *name);
/* Name number `index`, NULL after the last. */
const char *guest_file_name(struct sim_machine *m, unsigned index);
uint64_t guest_count_up(struct sim_machine *m);

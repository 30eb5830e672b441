/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backend is to vm.c. A machine is one life of a VM: built, released, ended, destroyed; a
 * restart builds a new one. Below this line nobody knows about states.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct config;

struct backend_events {
    void *ctx;
    /*
     * The machine ended, its guest has stopped and its output is written. Once per release, from a
     * thread of the machine's own, which must not wait for destroy.
     */
    void (*ended)(void *ctx, const struct drupe_vm_outcome *outcome);
};

struct backend {
    const char *name; /* first part of the VM's id */
    /* NULL, or what must be found while paths can be opened: once, when the VM is created.
     * UNAVAILABLE when the host has no such backend. */
    drupe_vm_err_t (*prepare)(struct config *c, struct drupe_error *err);
    /* Build a machine that is ready to run. `c` outlives it. */
    drupe_vm_err_t (*create)(const struct config *c, const struct backend_events *events,
                             void **out, struct drupe_error *err);
    /* Let it go. Cannot fail; events->ended() will follow. */
    void (*release)(void *machine);
    /*
     * The next four are NULL where the backend cannot. pause: all vCPUs outside the guest, devices
     * at rest, or an error and it runs on; resume: the reverse. Never both at once, only between
     * release and ended(); a machine that ends meanwhile may answer either way.
     */
    drupe_vm_err_t (*pause)(void *machine, struct drupe_error *err);
    drupe_vm_err_t (*resume)(void *machine, struct drupe_error *err);
    /*
     * Write a snapshot of a released machine; `is_paused` says how it stands, and it stands so
     * again on return, whatever came of it.
     */
    drupe_vm_err_t (*snapshot)(void *machine, bool is_paused,
                               const struct drupe_snapshot_options *options,
                               struct drupe_snapshot_info *info, struct drupe_error *err);
    /* Fill id and path. NULL where there are no diffs of ours. Any state from release to destroy.
     */
    void (*snapshot_last)(void *machine, struct drupe_snapshot_last *out);
    /* As create, from a snapshot; release() then makes it a paused machine. */
    drupe_vm_err_t (*restore)(const struct config *c, const struct backend_events *events,
                              const struct drupe_restore_options *options, void **out,
                              struct drupe_error *err);
    /*
     * The same in two halves, both or neither: make_ahead() all that needs no snapshot, load() the
     * rest into a machine that was not released. After a load that failed it can only be destroyed.
     */
    drupe_vm_err_t (*make_ahead)(const struct config *c, const struct backend_events *events,
                                 void **out, struct drupe_error *err);
    drupe_vm_err_t (*load)(void *machine, const struct drupe_restore_options *options,
                           struct drupe_error *err);
    /* NULL where the backend cannot. Of a paused machine, which lets go of those it had; these are
     * borrowed until the next call or destroy. */
    void (*set_streams)(void *machine, const struct drupe_vm_streams *streams);
    /*
     * NULL where the backend cannot. Which pages a restored machine touched becomes part of the
     * snapshot that it came from, written to `path`. Any state from release to destroy; never with
     * pause and the like.
     */
    drupe_vm_err_t (*record_working_set)(void *machine, const char *path, uint64_t *bytes,
                                         struct drupe_error *err);
    /* End it now with DRUPE_END_STOPPED; returns at once, ended() follows. Harmless afterwards. */
    void (*kill)(void *machine);
    drupe_vm_err_t (*signal)(void *machine, int signo, struct drupe_error *err);
    drupe_vm_err_t (*resize_tty)(void *machine, unsigned rows, unsigned cols,
                                 struct drupe_error *err);
    /*
     * NULL where the backend cannot. Between release and ended(), one at a time and never with
     * pause and the like. update_disk: `fd` (-1: the old one stays) is borrowed until the next
     * update or destroy; `limit` may be NULL.
     */
    drupe_vm_err_t (*update_disk)(void *machine, unsigned index, int fd,
                                  const struct drupe_rate_limit *limit, struct drupe_error *err);
    /* Either limit may be NULL. */
    void (*update_net)(void *machine, unsigned index, const struct drupe_rate_limit *rx,
                       const struct drupe_rate_limit *tx);
    drupe_vm_err_t (*set_balloon)(void *machine, uint32_t target_mib, struct drupe_error *err);
    drupe_vm_err_t (*set_balloon_interval)(void *machine, uint32_t interval_s,
                                           struct drupe_error *err);
    drupe_vm_err_t (*balloon_stats)(void *machine, struct drupe_balloon_stats *out,
                                    struct drupe_error *err);
    drupe_vm_err_t (*ctrl_alt_del)(void *machine, struct drupe_error *err);
    /* Fill what it knows; the rest is zero. Any state from release to destroy. */
    void (*stats)(void *machine, struct drupe_vm_stats *out);
    /* Not released, or ended() has been called. Frees everything. */
    void (*destroy)(void *machine);
};

extern const struct backend backend_kvm;
extern const struct backend backend_qemu;
extern const struct backend backend_firecracker;
extern const struct backend backend_libkrun;

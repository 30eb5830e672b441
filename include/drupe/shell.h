/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdrupe: ready shells (docs/jail.md). A shell is a process that stands in a jail of its own with
 * a machine made in it: KVM's objects, devices, threads, filters. It waits for a snapshot and for
 * the descriptors of its user, becomes that user's VM, and ends with it; it is never another's.
 *
 *     drupe_shells_options_init(&options);
 *     options.shape = &cfg;                    // vcpus, memory, devices, root image
 *     options.restore = &template;             // what every shell is to become; NULL: said later
 *     drupe_shells_create(&options, &shells, &err);
 *     drupe_shells_take(shells, NULL, &streams, 1000, &vm, &err);   // PAUSED
 *     drupe_vm_resume(vm, &err);
 *     ...
 *     drupe_vm_destroy(vm);
 *     drupe_shells_destroy(shells);
 *
 * A set of shells makes new ones behind its users' backs, with threads of its own, and uses jails
 * again (drupe_jail_reset): what is expensive about one is made once. Of a VM in a shell the state,
 * resume, signal, resize, statistics, stop, the outcome and destroy are to be had; what needs its
 * memory or its files (pause, snapshot, exec) is UNSUPPORTED.
 *
 * Errors, arguments and threads as in vm.h.
 */
#pragma once

#include "drupe/jail.h"
#include "drupe/vm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DRUPE_SHELLS_MAX       1024u
#define DRUPE_SHELLS_MAKERS    16u
#define DRUPE_SHELL_PREFIX_MAX 48u

/* Fill it with drupe_shells_options_init(), then change what differs. Borrowed for the call. */
struct drupe_shells_options {
    size_t struct_size;
    /* What all the machines are like; its streams and log are not used. KVM only. */
    const drupe_vm_config_t *shape;
    /* NULL, or what every shell restores as soon as it is made. */
    const struct drupe_restore_options *restore;
    /*
     * Their jails; the id is what theirs begin with (at most 48 bytes). directory, ids, is_daemon
     * and is_reusable are the set's own business.
     */
    const struct drupe_jail_config *jail;
    unsigned ready;  /* 4: kept ready */
    unsigned max;    /* 16: at once, ready or in use; 1..DRUPE_SHELLS_MAX */
    unsigned makers; /* 1: threads that make them */
};

typedef struct drupe_shells drupe_shells_t;

DRUPE_API void drupe_shells_options_init(struct drupe_shells_options *options);

/* Opens what has a path, and begins to make shells. What drupe_vm_create() says, JAIL_FAILED. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_shells_create(
    const struct drupe_shells_options *options, drupe_shells_t **out, struct drupe_error *err);

/* Wait until `count` stand ready (at most `ready`). POOL_TIMEOUT; why the last could not be made.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_shells_wait(drupe_shells_t *shells, unsigned count,
                                                            uint32_t timeout_ms,
                                                            struct drupe_error *err);

/*
 * A VM in a shell that nobody had, PAUSED as after drupe_vm_restore(). `restore` is for sets
 * without one of their own, NULL for the others. The descriptors are duplicated into the shell.
 * POOL_TIMEOUT when none became ready; why when none can be made; what drupe_vm_restore() says. The
 * VM is the caller's, to be destroyed before the set.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t
drupe_shells_take(drupe_shells_t *shells, const struct drupe_restore_options *restore,
                  const struct drupe_vm_streams *streams, uint32_t timeout_ms, drupe_vm_t **out,
                  struct drupe_error *err);

/* Ends the shells that nobody took. All VMs are destroyed by now. NULL is fine. */
DRUPE_API void drupe_shells_destroy(drupe_shells_t *shells);

#ifdef __cplusplus
}
#endif

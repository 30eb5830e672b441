/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the monitor of an attached `drupe run` lives: in a jailed child (the default), or in this
 * process (--no-jail, QEMU, a user without user namespaces). The terminal stays here either way;
 * the child has the descriptors that the VM was created with and one socket to its starter.
 */
#pragma once

#include <sys/types.h>

#include <base/compiler.h>
#include <drupe/jail.h>
#include <drupe/vm.h>

struct monitor {
    drupe_vm_t *vm;                              /* NULL once the jailed child has it */
    drupe_jail_t *jail;                          /* NULL: in this process */
    int link;                                    /* to the child; -1: none */
    const struct drupe_restore_options *restore; /* an open snapshot to go on from; NULL: none */
    bool has_outcome;                            /* of the child */
    struct drupe_vm_outcome outcome;
};

struct monitor_limits {
    uint64_t memory_mib;
    uint64_t vcpus;
};

/*
 * Begin a jail in the background, before the VM is created. Succeeds without one where an ordinary
 * user can have none; for root a host that cannot jail is an error.
 */
drupe_vm_err_t monitor_prepare(struct monitor *m, const struct monitor_limits *limits,
                               struct drupe_error *err) MUST_CHECK;
/* Start the VM, whose owner the monitor becomes. */
drupe_vm_err_t monitor_start(struct monitor *m, drupe_vm_t *vm, struct drupe_error *err) MUST_CHECK;
/* Polls readable when the VM has ended. */
int monitor_event_fd(const struct monitor *m);
drupe_vm_err_t monitor_signal(struct monitor *m, int signo) MUST_CHECK;
void monitor_resize(struct monitor *m, unsigned rows, unsigned cols);
/* End it now. */
drupe_vm_err_t monitor_stop(struct monitor *m, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t monitor_outcome(struct monitor *m, struct drupe_vm_outcome *out,
                               struct drupe_error *err) MUST_CHECK;
/* Free what outlives a process: the jail, QEMU. Harmless for one that was not started. */
void monitor_end(struct monitor *m);

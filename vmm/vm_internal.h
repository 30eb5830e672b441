/* SPDX-License-Identifier: Apache-2.0 */
/* A VM from inside: shared by vm.c (its life) and vm_control.c (what happens to it meanwhile). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <base/clock.h>
#include <base/compiler.h>
#include <base/list.h>

#include "backends/backend.h"
#include "config.h"

#define ID_SIZE_MAX 128u

struct drupe_vm {
    struct config config;
    const struct backend *backend;
    char id[ID_SIZE_MAX];
    int event_fd;
    _Atomic unsigned state; /* enum drupe_vm_state; written under lock */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state; CLOCK_MONOTONIC */
    /* under lock */
    void *
        machine; /* from STARTING on; kept after the end until the next start, for its statistics */
    void *ahead; /* made by drupe_vm_prepare(), for the next restore; NULL: none */
    struct drupe_vm_outcome outcome;
    bool has_run;
    bool is_reaping; /* the machine is being destroyed by a thread */
    bool is_busy;    /* one of pause, resume, snapshot, restore is under way: they and stop wait */
    unsigned in_machine; /* calls that use the machine outside the lock */
    struct list agents;  /* struct vm_agent: connections of calls under way */
    uint64_t started_ns;
    uint64_t ended_ns;
    uint64_t start_took_ns;
};

/* A connection to the agent, for the time of a call. */
struct drupe_agent;

struct vm_agent {
    struct list link;
    struct drupe_agent *agent;
};

/* vm_exec.c: calls that wait for the agent end with INTERRUPTED. Without the lock. */
void vm_interrupt_agents(drupe_vm_t *vm);

enum drupe_vm_state vm_state_of(const drupe_vm_t *vm);
/* `code` with "<what>: the VM is <STATE>". */
drupe_vm_err_t vm_wrong_state(const drupe_vm_t *vm, drupe_vm_err_t code, const char *what,
                              struct drupe_error *err);

/*
 * In a child of the process that created the VM, which goes on having it: what the two must not
 * share is made anew.
 */
drupe_vm_err_t vm_forked(drupe_vm_t *vm, struct drupe_error *err) MUST_CHECK;
/*
 * A VM around a machine that exists, PAUSED; the machine is its own from then on. unwrap: undo it,
 * and leave the machine alone.
 */
drupe_vm_err_t vm_wrap(const struct backend *backend, void *machine, drupe_vm_t **out,
                       struct drupe_error *err) MUST_CHECK;
void vm_unwrap(drupe_vm_t *vm);

/* backend_events.ended; ctx is the VM. */
void vm_machine_ended(void *ctx, const struct drupe_vm_outcome *outcome);

/* With the lock held; those that wait drop it meanwhile. */
void vm_set_state_locked(drupe_vm_t *vm, enum drupe_vm_state state);
void vm_wait_idle_locked(drupe_vm_t *vm);
/* Destroy what drupe_vm_prepare() made, if there is something. While nothing else is under way. */
void vm_drop_ahead(drupe_vm_t *vm);
/* Destroy the machine that has ended, if there is one. */
void vm_reap_machine_locked(drupe_vm_t *vm);
/* Use the machine outside the lock: NULL when there is none. Each success owes one put. */
void *vm_get_machine_locked(drupe_vm_t *vm);
void vm_put_machine_locked(drupe_vm_t *vm);

/* The descriptors that the VM holds, at most `max` of them, for a jail that closes all others. */
size_t vm_descriptors(const drupe_vm_t *vm, int *fds, size_t max);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated machine behind backend "sim": vCPUs that step through a toy guest, guest memory,
 * registers. It exists in the sim program alone; drupe and libdrupe cannot choose it.
 *
 * The guest: vCPU n adds to its counter, mixes its registers and writes the result to a page of its
 * working set; so each step changes registers and memory, and from equal ones the same follow. What
 * the agent keeps (guest_state.h) lies in guest memory, too.
 *
 * Locks: `lock` protects everything below it; memory and registers belong to the vCPU threads while
 * these are not parked, and the agent takes the lock to touch its part of memory.
 */
#pragma once

#include <pthread.h>

#include "backends/backend.h"
#include "config.h"

#define SIM_REGS          8u
#define SIM_WORKING_PAGES 32u
#define SIM_WORKING_START (64u << 10) /* guest-physical; the agent's state lies behind it */
#define SIM_STATE_START   (1u << 20)
#define SIM_PAGE          4096u

struct sim_machine;

struct sim_vcpu {
    struct sim_machine *machine;
    unsigned index;
    pthread_t thread;
    bool has_thread;
    bool is_parked;
    bool has_left;
    uint64_t regs[SIM_REGS];
    uint64_t steps;
    uint64_t exits[DRUPE_EXIT_REASONS];
};

struct sim_machine {
    const struct config *config;
    struct backend_events events;
    uint8_t *memory;
    bool *is_touched; /* by page */
    bool *is_dirty;   /* by page: written since the last snapshot */
    char base_id[64]; /* of the snapshot that a diff builds on; "": none */
    char *base_path;  /* NULL: it has none */
    struct sim_vcpu vcpus[DRUPE_VCPUS_MAX];
    unsigned vcpu_count;
    pthread_t control;
    bool has_control;
    struct sim_agent *agent; /* NULL: none */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    /* under lock */
    bool is_released;
    bool is_restored; /* it starts paused */
    bool is_pausing;
    bool is_ending;
    bool is_booted;   /* the guest touched a device */
    unsigned signals; /* pending, bit n - 1 */
    struct drupe_vm_outcome outcome;
};

extern const struct backend backend_sim;

/* The host that machines run on: snapshots of another architecture, or that use CPU features that
 * are not here, are refused. Scenarios change it and put it back. */
struct sim_host {
    uint32_t arch; /* enum snapshot_arch */
    uint64_t cpu_features;
};

struct sim_host *sim_host(void);
/* Processes of the guest that are alive (I8). */
unsigned sim_machine_processes(struct sim_machine *m);

/* The guest or the monitor ends it; the first call counts. */
void sim_machine_end(struct sim_machine *m, enum drupe_end_kind kind, int status, const char *text);
/* The guest has written this page. */
void sim_machine_touch(struct sim_machine *m, uint64_t page);
/* All vCPUs outside the guest. DRUPE_PAUSE_FAILED after a second; then they go on. */
drupe_vm_err_t sim_machine_park(struct sim_machine *m, struct drupe_error *err);
void sim_machine_unpark(struct sim_machine *m);
/* SHA-256 over registers and pages that are not zero; for a parked machine. */
void sim_machine_digest(const struct sim_machine *m, uint8_t out[32]);

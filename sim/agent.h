/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated guest's agent: the other end of protocol 2, written from include/abi/agent.h alone.
 *
 * Threads: one accepts, one reads each connection, one runs each process. `lock` of the agent
 * protects all connections and processes; sending has a lock of its own a connection. Nobody takes
 * the machine's lock with the agent's held.
 */
#pragma once

#include <pthread.h>

#include <base/list.h>

#include "abi/agent.h"
#include "machine_internal.h"
#include "world.h"

#define GUEST_ARGS_MAX 64u

struct sim_agent {
    struct sim_machine *machine;
    pthread_t thread;
    int wake_fd;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    /* under lock */
    struct list connections;
    unsigned process_count;
    bool is_ending;
};

struct connection {
    struct list link;
    struct sim_agent *agent;
    int fd;
    pthread_mutex_t send_lock;
    struct list processes;
    bool is_broken; /* reset, or ended by the peer */
    bool is_deaf;   /* a fault: reads and never answers */
};

struct process {
    struct list link;
    struct connection *connection;
    uint16_t stream;
    char *argv[GUEST_ARGS_MAX + 1];
    unsigned argc;
    char *env[GUEST_ARGS_MAX + 1];
    unsigned env_count;
    uint64_t timeout_ms; /* 0: none */
    uint64_t max_output;
    bool wants_stdin;
    bool is_read; /* READ: argv[0] is the file, what it prints is DATA */
    bool is_absent;
    uint64_t read_offset;
    uint64_t read_size; /* 0: to the end */
    uint64_t began_ns;
    /* under the agent's lock */
    uint64_t credit;
    uint8_t *input;
    size_t input_size;
    size_t input_used;
    bool is_input_ended;
    uint64_t signals; /* bit n - 1: pending */
    bool ignores_term;
    bool is_timed_out;
    int killed_by;
    uint64_t printed[2];
    bool is_cut[2];
};

bool agent_send(struct connection *c, unsigned type, unsigned flags, unsigned stream,
                const void *payload, size_t size);
void agent_refuse(struct connection *c, unsigned stream, uint32_t code, const char *text);

/* ---- guest_requests.c: the guest's files ---- */

void request_write(struct connection *c, unsigned stream, const uint8_t *payload, size_t size);
void request_stat(struct connection *c, unsigned stream, const uint8_t *payload, size_t size);
void request_list(struct connection *c, unsigned stream);
/* Fill from READ's payload; false when it makes no sense. */
bool request_read(struct process *p, const uint8_t *payload, size_t size);
void read_run(struct process *p);

/* ---- guest_exec.c ---- */

/* Fill from EXEC's JSON; false when it makes no sense. */
bool process_parse(struct process *p, const uint8_t *json, size_t size);
void process_free(struct process *p);
/* Run argv; the exit code. */
int process_run(struct process *p);

/* ---- For commands (agent.c). False: the process was killed and returns at once. ---- */

bool process_sleep(struct process *p, uint64_t ms);
bool process_print(struct process *p, bool is_error, const void *bytes, size_t size);
/* Up to `size` bytes of input; *got 0: its end. */
bool process_read(struct process *p, void *to, size_t size, size_t *got);

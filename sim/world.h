/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated world: tasks, clock, random streams, faults, trace. One world exists at a time, in
 * one thread of one program; everything in it follows from its seed.
 *
 * The library under test is linked unchanged. The linker's --wrap hands its calls to the C library
 * to the __wrap_ functions of this folder, which act on the world while a task runs and pass
 * through to the C library otherwise.
 *
 * Contracts. Functions that may switch tasks say so; the rest do not. A broken invariant ends the
 * world through sim_fail(), which does not return.
 */
#pragma once

#include <stdarg.h>

#include <base/compiler.h>

#define SIM_NS_PER_MS  UINT64_C(1000000)
#define SIM_NS_PER_SEC UINT64_C(1000000000)
#define SIM_FOREVER    UINT64_MAX

/* Bounds of a run, and of one operation in it (section 10, I12). */
#define SIM_STEPS_MAX      10000000u
#define SIM_TIME_MAX_NS    (UINT64_C(86400) * SIM_NS_PER_SEC)
#define SIM_EPOCH_S        INT64_C(1704067200) /* 2024-01-01T00:00:00Z */
#define SIM_OP_LIMIT_NS    (10u * SIM_NS_PER_SEC)
#define SIM_OP_STEPS_MAX   100000u
#define SIM_TASKS_MAX      4096u
#define SIM_TASK_NAME_SIZE 24u

/* ---- Random streams ------------------------------------------------------------------------ */

/* ChaCha20 keyed by SHA-256(seed || name): streams of different names or seeds are unrelated. */
struct sim_random {
    uint32_t state[16];
    uint32_t block[16];
    unsigned used; /* words of block */
};

void sim_random_init(struct sim_random *r, uint64_t seed, const char *name);
uint32_t sim_random_u32(struct sim_random *r);
uint64_t sim_random_u64(struct sim_random *r);
/* 0 .. n - 1 without bias; n > 0. */
uint32_t sim_random_below(struct sim_random *r, uint32_t n);
/* True with `probability` (0 never, 1 always). */
bool sim_random_chance(struct sim_random *r, double probability);
void sim_random_fill(struct sim_random *r, void *out, size_t size);

/* ---- The run ------------------------------------------------------------------------------- */

struct sim_result {
    bool is_failed;
    char text[512]; /* why it failed */
    uint8_t trace_hash[32];
    uint64_t steps;
    uint64_t time_ns;          /* simulated */
    uint64_t fault_counts[64]; /* fired, by kind */
    unsigned rule_count;       /* fault rules, in order */
    uint8_t rule_kinds[32];
    uint64_t tries; /* operations that scenarios counted */
    uint64_t successes;
};

struct sim_options {
    uint64_t seed;
    bool is_traced;          /* print the trace */
    uint32_t disabled_rules; /* bits by number: for finding out which fault matters */
};

/* Run `main` as the first task of a fresh world until it returns and all other tasks have ended. */
void sim_run(const struct sim_options *options, void (*main)(void *), void *arg,
             struct sim_result *out);

/* True while a task of a world runs: the C library's calls are simulated. */
bool sim_is_active(void);
uint64_t sim_seed(void);
uint32_t sim_disabled_rules(void);
struct sim_result *sim_outcome(void);

/* End the world: an invariant is broken. */
_Noreturn void sim_fail(const char *format, ...) PRINTF_LIKE(1, 2);
#define sim_check(condition, ...)                                                                  \
    do {                                                                                           \
        if (unlikely(!(condition))) {                                                              \
            sim_fail(__VA_ARGS__);                                                                 \
        }                                                                                          \
    } while (0)

/* One event of the trace. What it prints must not depend on addresses or the real world. */
void sim_trace(const char *format, ...) PRINTF_LIKE(1, 2);

/* A random stream of scenarios, and the one behind getrandom(). */
struct sim_random *sim_scenario_random(void);
struct sim_random *sim_system_random(void);
struct sim_random *sim_disk_random(void);
struct sim_random *sim_net_random(void);

/* ---- Tasks and clock ----------------------------------------------------------------------- */

struct sim_proc; /* a simulated process: descriptors, memory, tasks that die together */

uint64_t sim_now_ns(void);          /* monotonic; starts at one second */
int64_t sim_wall_ns(void);          /* since 1970; monotonic plus epoch plus jumps */
void sim_clock_jump(int64_t by_ns); /* of the wall clock */

unsigned sim_task_id(void);
uint64_t sim_steps(void);
/* A new task of the current process. */
unsigned sim_task_create(const char *name, void *(*run)(void *), void *arg);
void sim_task_rename(unsigned id, const char *name);
/* Wait until it has ended; *result may be NULL. False: no such task, or it is detached. Switches.
 */
bool sim_task_join(unsigned id, void **result);
void sim_task_detach(unsigned id);
_Noreturn void sim_task_exit(void *result);

/* A scheduling point: count a step, check the invariants, let the seed choose who goes on. */
void sim_step(void);
/* Sleep. Switches. */
void sim_sleep(uint64_t ns);
/* Wait for a wake of `object` until `deadline_ns`: true when woken. Switches. */
bool sim_block(const void *object, uint64_t deadline_ns);
/* Wake all, or one that the seed chooses, of those blocked on `object`. */
void sim_wake_all(const void *object);
void sim_wake_one(const void *object);
bool sim_has_waiters(const void *object);

/* The current task starts an operation that must end within its bound (I12). Not nested. */
void sim_op_begin(const char *name, uint64_t limit_ns);
void sim_op_end(void);

/* Called after each step; a checker ends the world with sim_fail(). */
void sim_add_checker(void (*check)(void *), void *ctx);

/* ---- Processes ----------------------------------------------------------------------------- */

/* Run `main` in a process of its own; returns its number. */
unsigned sim_proc_spawn(const char *name, void (*main)(void *), void *arg);
/* SIGKILL: its tasks stop where they are, its descriptors close, its memory is gone. Not oneself.
 */
void sim_proc_kill(unsigned proc);
bool sim_proc_is_alive(unsigned proc);
/* Until it has ended by itself or by a kill. Switches. */
void sim_proc_wait(unsigned proc);
unsigned sim_proc_current(void);
/* Kill process `proc` when it has made `steps` more steps. */
void sim_proc_kill_after(unsigned proc, uint64_t steps);

/* What it holds (I9). */
struct sim_held {
    unsigned fds;
    unsigned tasks;
    unsigned mappings;
    unsigned allocations;
};

void sim_proc_held(unsigned proc, struct sim_held *out);

/* ---- The simulator's own memory: the library's is counted and may run out ------------------- */

void *sim_calloc(size_t count, size_t size);
void *sim_grow(void *p, size_t size);
void sim_free(void *p);

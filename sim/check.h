/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scenarios call instead of the library: the same call, watched. Each operation has a bound
 * (I12), its answer is compared with the table of section 2 (I1, I2), its error must be a named one
 * with a text. The table here is written from the specification, not shared with the library.
 */
#pragma once

#include "drupe/agent.h"
#include "drupe/vm.h"

#include "fault.h"

struct box {
    drupe_vm_t *vm;
    unsigned number;
    bool is_shared; /* several tasks act on it: the state between two looks may move */
};

/* A small VM that boots; change what differs. */
void box_config(drupe_vm_config_t *cfg);
drupe_vm_err_t box_create(struct box *b, const drupe_vm_config_t *cfg);
/* create with box_config(), which must succeed. */
void box_new(struct box *b);
drupe_vm_err_t box_start(struct box *b);
drupe_vm_err_t box_stop(struct box *b, uint32_t grace_ms);
drupe_vm_err_t box_pause(struct box *b);
drupe_vm_err_t box_resume(struct box *b);
/* Destroys, checks that nothing is left when it was the last (I9). */
void box_destroy(struct box *b);
enum drupe_vm_state box_state(const struct box *b);
/* RUNNING -> the same state. `path` is written complete or not at all. */
drupe_vm_err_t box_snapshot(struct box *b, const char *path);
drupe_vm_err_t box_restore(struct box *b, const char *path);
/* create_from_snapshot with box_config(). */
drupe_vm_err_t box_new_from(struct box *b, const char *path);
/* A VM that another call made: watched from now on. */
void box_adopt(struct box *b);
/* All VMs are gone with the process that had them: they are not watched any more. */
void box_forget(void);
/* Registers and memory of a paused VM. */
void box_digest(const struct box *b, uint8_t out[32]);

/* Run a program of the simulated guest: argv ends with NULL. *out is filled as by drupe_vm_exec();
 * NULL: what it prints does not matter. */
drupe_vm_err_t box_exec(struct box *b, uint32_t timeout_ms, struct drupe_exec_output *out,
                        const char *const *argv);
/* The same with input. */
drupe_vm_err_t box_exec_input(struct box *b, uint32_t timeout_ms, const void *input, size_t size,
                              struct drupe_exec_output *out, const char *const *argv);
#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })
/* Run it, which must succeed with status 0 and print exactly `text`. */
void box_prints(struct box *b, const char *text, const char *const *argv);

/* Start until it works; destroys and creates again after a crash. Bounded. */
void box_start_surely(struct box *b);
/* Destroy and create again. */
void box_recreate(struct box *b);

/* The answer of the last failed operation of this task. */
const struct drupe_error *box_error(void);
/* The operation must succeed. */
#define must(call)                                                                                 \
    do {                                                                                           \
        drupe_vm_err_t must_result = (call);                                                       \
        sim_check(must_result == DRUPE_OK, "%s: %s (%s)", #call, drupe_vm_err_name(must_result),   \
                  box_error()->text);                                                              \
    } while (0)
#define must_fail(call, code)                                                                      \
    do {                                                                                           \
        drupe_vm_err_t must_result = (call);                                                       \
        sim_check(must_result == (code), "%s: %s instead of %s", #call,                            \
                  drupe_vm_err_name(must_result), drupe_vm_err_name(code));                        \
    } while (0)

/* A call that is watched by hand: between op_watch() and op_watched(). */
void op_watch(const char *name, uint64_t limit_ns);
/* Counts it, checks that the error is a named one. Returns r. */
drupe_vm_err_t op_watched(drupe_vm_err_t r, const struct drupe_error *err);

/* Rounds of a scenario: at least `least`, then on until every fault has fired (at most 20 000). */
bool round_goes_on(unsigned *round, unsigned least);

/* Another round because an outcome is missing; not while a failure is being narrowed down, when it
 * may never come. */
static inline bool round_wants(bool is_missing)
{
    return is_missing && sim_disabled_rules() == 0;
}

/* Run `count` tasks of `run(index)` at once and wait for all. */
void together(unsigned count, void (*run)(unsigned index, void *ctx), void *ctx);

/* fault(FAULT_CRASH, .1, .op = OP_vcpu_run, ...): the fields of struct sim_fault_rule. */
#define fault(what, chance, ...)                                                                   \
    sim_fault_add(                                                                                 \
        &(const struct sim_fault_rule){ .kind = (what), .probability = (chance), ##__VA_ARGS__ })

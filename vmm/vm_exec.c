/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs in the guest of a VM of this process: a connection of the client library for each call,
 * so that a lost one concerns nobody else.
 */
#include <string.h>

#include <base/clock.h>

#include "drupe/agent.h"
#include "error.h"
#include "vm_internal.h"
#include "vm_state.h"

#define HEALTH_MS  1000u
#define ATTEMPT_MS 1000u
#define SETTLE_MS  500u /* from a connection's end to the state that explains it */

/* May this VM be asked at all, now? */
static drupe_vm_err_t check(drupe_vm_t *vm, const char *what, struct drupe_error *err)
{
    drupe_vm_err_t r = vm_state_check(vm_state_of(vm), VM_OP_EXEC);

    if (r != DRUPE_OK) {
        return vm_wrong_state(vm, r, what, err);
    }
    if (vm->config.vsock_path == NULL) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "%s: the VM has no vsock device", what);
    }
    return DRUPE_OK;
}

/* A connection that a snapshot or the guest's end interrupts. */
static void enlist(drupe_vm_t *vm, struct vm_agent *entry)
{
    (void)pthread_mutex_lock(&vm->lock);
    list_push_back(&vm->agents, &entry->link);
    (void)pthread_mutex_unlock(&vm->lock);
}

static void discharge(drupe_vm_t *vm, struct vm_agent *entry)
{
    (void)pthread_mutex_lock(&vm->lock);
    list_remove(&entry->link);
    (void)pthread_mutex_unlock(&vm->lock);
    drupe_agent_close(entry->agent);
}

void vm_interrupt_agents(drupe_vm_t *vm)
{
    struct vm_agent *e = NULL;

    (void)pthread_mutex_lock(&vm->lock);
    list_for_each_entry(e, &vm->agents, link) {
        drupe_agent_interrupt(e->agent);
    }
    (void)pthread_mutex_unlock(&vm->lock);
}

/* A connection was lost: because the VM died? Its state follows shortly. */
static drupe_vm_err_t explain(drupe_vm_t *vm, drupe_vm_err_t r, struct drupe_error *err)
{
    enum drupe_vm_state state = DRUPE_VM_RUNNING;

    if (r != DRUPE_EXEC_FAILED ||
        drupe_vm_wait(vm, DRUPE_VM_ENDED, SETTLE_MS, &state, NULL) != DRUPE_OK) {
        return r;
    }
    r = state == DRUPE_VM_CRASHED ? DRUPE_CRASHED : DRUPE_NOT_RUNNING;
    return vm_wrong_state(vm, r, "exec", err);
}

/*
 * Connect to the agent within the boot's time. The socket outlives the machine: nobody answers
 * there once the guest has ended, so the state is looked at after each of growing attempts.
 */
static drupe_vm_err_t reach(drupe_vm_t *vm, drupe_agent_t **agent, struct drupe_error *err)
{
    uint64_t deadline_ns = clock_ns() + vm->config.boot_timeout_ms * NS_PER_MS;
    uint64_t slice_ms = ATTEMPT_MS;
    drupe_vm_err_t r = DRUPE_OK;

    for (;;) {
        uint64_t now_ns = clock_ns();
        uint64_t left_ms = now_ns >= deadline_ns ? 0 : (deadline_ns - now_ns) / NS_PER_MS + 1;

        r = drupe_agent_connect(vm->config.vsock_path, (uint32_t)min_of(slice_ms, left_ms), agent,
                                err);
        if (r == DRUPE_OK) {
            return DRUPE_OK;
        }
        if (((unsigned)vm_state_of(vm) & DRUPE_VM_ENDED) != 0) {
            r = vm_state_of(vm) == DRUPE_VM_CRASHED ? DRUPE_CRASHED : DRUPE_NOT_RUNNING;
            return vm_wrong_state(vm, r, "exec", err);
        }
        if (r != DRUPE_TIMEOUT || left_ms <= slice_ms) {
            return r;
        }
        slice_ms *= 2;
    }
}

drupe_vm_err_t drupe_vm_exec(drupe_vm_t *vm, const struct drupe_exec_options *options,
                             const void *input, size_t input_size, struct drupe_exec_output *out,
                             struct drupe_error *err)
{
    struct drupe_error own = { .code = DRUPE_OK };
    struct vm_agent entry = { .agent = NULL };
    drupe_vm_err_t r = check(vm, "exec", err);

    if (r != DRUPE_OK) {
        return r;
    }
    err = err == NULL ? &own : err;
    r = reach(vm, &entry.agent, err);
    if (r == DRUPE_OK) {
        enlist(vm, &entry);
        r = drupe_agent_exec(entry.agent, options, input, input_size, out, err);
        discharge(vm, &entry);
    }
    /* The agent's refusals carry a reason of their own; only a lost connection asks for one. */
    return r == DRUPE_EXEC_FAILED && strncmp(err->text, "agent: ", 7) == 0 ? explain(vm, r, err)
                                                                           : r;
}

bool drupe_vm_health(drupe_vm_t *vm)
{
    drupe_agent_t *agent = NULL;
    bool is_well = false;

    if (check(vm, "health", NULL) != DRUPE_OK) {
        return false;
    }
    if (drupe_agent_connect(vm->config.vsock_path, HEALTH_MS, &agent, NULL) == DRUPE_OK) {
        is_well = drupe_agent_ping(agent, HEALTH_MS, NULL) == DRUPE_OK;
        drupe_agent_close(agent);
    }
    return is_well;
}

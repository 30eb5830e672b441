/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM: its state, and one machine of a backend at a time. The state is written under the lock
 * after its effect is complete and read without. Long work (building, destroying a machine) happens
 * outside the lock in a state or with a flag that keeps others away: STARTING while one is built,
 * is_reaping while one is destroyed.
 */
#include "drupe/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>
#include <base/compiler.h>
#include <base/fmt.h>

#include "backends/backend.h"
#include "config.h"
#include "error.h"
#include "host.h"
#include "vm_internal.h"
#include "vm_state.h"

#define SIGNAL_MAX  64
#define SIGNAL_TERM 15

enum drupe_vm_state vm_state_of(const drupe_vm_t *vm)
{
    /* acquire: pairs with the release in vm_set_state_locked(); what led to the state is seen. */
    return (enum drupe_vm_state)atomic_load_explicit(&vm->state, memory_order_acquire);
}

void vm_set_state_locked(drupe_vm_t *vm, enum drupe_vm_state state)
{
    uint64_t count = 1;
    bool is_ended = (state & DRUPE_VM_ENDED) != 0;

    atomic_store_explicit(&vm->state, (unsigned)state, memory_order_release);
    /* The event descriptor mirrors "ended": reading empties it, writing fills it; both are
     * non-blocking. */
    (void)!read(vm->event_fd, &count, sizeof(count));
    if (is_ended) {
        count = 1;
        (void)!write(vm->event_fd, &count, sizeof(count));
    }
    (void)pthread_cond_broadcast(&vm->changed);
}

drupe_vm_err_t vm_wrong_state(const drupe_vm_t *vm, drupe_vm_err_t code, const char *what,
                              struct drupe_error *err)
{
    return error_set(err, code, 0, "%s: the VM is %s", what, drupe_vm_state_name(vm_state_of(vm)));
}

/* ---- Creation ---- */

static drupe_vm_err_t make_id(drupe_vm_t *vm, struct drupe_error *err)
{
    uint8_t u[16];

    if (getrandom(u, sizeof(u), 0) != (ssize_t)sizeof(u)) {
        return error_set(err, DRUPE_INTERNAL, errno, "get random bytes for the id");
    }
    u[6] = (uint8_t)((u[6] & 0x0f) | 0x40); /* version 4 */
    u[8] = (uint8_t)((u[8] & 0x3f) | 0x80); /* variant 1 */
    (void)fmt_snprintf(vm->id, sizeof(vm->id),
                       "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                       vm->backend->name, u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8],
                       u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    return DRUPE_OK;
}

static void init_locks(drupe_vm_t *vm)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&vm->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&vm->lock, NULL);
}

static drupe_vm_err_t make_event(drupe_vm_t *vm, struct drupe_error *err)
{
    vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return vm->event_fd < 0 ? error_set(err, DRUPE_NO_MEMORY, errno, "make the event descriptor")
                            : DRUPE_OK;
}

static drupe_vm_err_t init_vm(drupe_vm_t *vm, enum drupe_vm_state state, struct drupe_error *err)
{
    init_locks(vm);
    list_init(&vm->agents);
    atomic_init(&vm->state, (unsigned)state);
    return make_event(vm, err);
}

static void free_vm(drupe_vm_t *vm)
{
    if (vm->event_fd >= 0) {
        (void)close(vm->event_fd);
    }
    config_deinit(&vm->config);
    (void)pthread_cond_destroy(&vm->changed);
    (void)pthread_mutex_destroy(&vm->lock);
    free(vm);
}

/* What a snapshot taken inside a jail needs and could not get there. */
static void prepare_snapshots(drupe_vm_t *vm)
{
    struct sysinfo host;

    vm->config.has_swap = sysinfo(&host) < 0 || host.totalswap != 0;
    vm->config.userfaultfd_fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
}

drupe_vm_err_t drupe_vm_create(const drupe_vm_config_t *cfg, drupe_vm_t **out,
                               struct drupe_error *err)
{
    drupe_vm_t *vm = calloc(1, sizeof(*vm));
    drupe_vm_err_t r = DRUPE_OK;

    if (vm == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "create a VM");
    }
    r = config_take(&vm->config, cfg, err);
    if (r != DRUPE_OK) {
        free(vm);
        return r;
    }
    r = init_vm(vm, DRUPE_VM_CREATED, err);
    if (r == DRUPE_OK) {
        r = host_pick_backend(vm->config.accel, &vm->backend, &vm->config.kvm_fd, err);
    }
    if (r == DRUPE_OK && vm->backend->prepare != NULL) {
        r = vm->backend->prepare(&vm->config, err);
    }
    if (r == DRUPE_OK) {
        prepare_snapshots(vm);
    }
    if (r == DRUPE_OK) {
        r = make_id(vm, err);
    }
    if (r != DRUPE_OK) {
        free_vm(vm);
        return r;
    }
    *out = vm;
    return DRUPE_OK;
}

drupe_vm_err_t vm_forked(drupe_vm_t *vm, struct drupe_error *err)
{
    if (vm->config.userfaultfd_fd >= 0) {
        (void)close(vm->config.userfaultfd_fd);
        vm->config.userfaultfd_fd = -1;
    }
    (void)close(vm->event_fd);
    return make_event(vm, err);
}

drupe_vm_err_t vm_wrap(const struct backend *backend, void *machine, drupe_vm_t **out,
                       struct drupe_error *err)
{
    drupe_vm_t *vm = calloc(1, sizeof(*vm));
    drupe_vm_err_t r = DRUPE_OK;

    if (vm == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make a VM");
    }
    config_clear(&vm->config);
    vm->backend = backend;
    r = init_vm(vm, DRUPE_VM_PAUSED, err);
    if (r == DRUPE_OK) {
        r = make_id(vm, err);
    }
    if (r != DRUPE_OK) {
        free_vm(vm);
        return r;
    }
    vm->machine = machine;
    vm->has_run = true;
    vm->started_ns = clock_ns();
    *out = vm;
    return DRUPE_OK;
}

void vm_unwrap(drupe_vm_t *vm)
{
    vm->machine = NULL;
    free_vm(vm);
}

/* ---- Start and end ---- */

void vm_machine_ended(void *ctx, const struct drupe_vm_outcome *outcome)
{
    drupe_vm_t *vm = ctx;

    (void)pthread_mutex_lock(&vm->lock);
    assert(vm_state_of(vm) == DRUPE_VM_RUNNING || vm_state_of(vm) == DRUPE_VM_PAUSED);
    vm->outcome = *outcome;
    vm->ended_ns = clock_ns();
    vm_set_state_locked(vm, vm_state_after(outcome->kind));
    (void)pthread_mutex_unlock(&vm->lock);
}

void vm_reap_machine_locked(drupe_vm_t *vm)
{
    void *machine = NULL;

    while (vm->in_machine > 0 || vm->is_reaping) {
        (void)pthread_cond_wait(&vm->changed, &vm->lock);
    }
    machine = vm->machine;
    vm->machine = NULL;
    if (machine == NULL) {
        return;
    }
    vm->is_reaping = true;
    (void)pthread_mutex_unlock(&vm->lock);
    vm->backend->destroy(machine);
    (void)pthread_mutex_lock(&vm->lock);
    vm->is_reaping = false;
    (void)pthread_cond_broadcast(&vm->changed);
}

static drupe_vm_err_t start_machine(drupe_vm_t *vm, uint64_t began_ns, struct drupe_error *err)
{
    struct backend_events events = { .ctx = vm, .ended = vm_machine_ended };
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    vm_drop_ahead(vm);
    r = vm->backend->create(&vm->config, &events, &machine, err);

    (void)pthread_mutex_lock(&vm->lock);
    vm->has_run = true;
    vm->started_ns = clock_ns();
    vm->ended_ns = 0;
    vm->start_took_ns = vm->started_ns - began_ns;
    vm->machine = machine;
    memset(&vm->outcome, 0, sizeof(vm->outcome));
    if (r == DRUPE_OK) {
        vm_set_state_locked(vm, DRUPE_VM_RUNNING);
        vm->backend->release(machine); /* commit point: the guest may end before this returns */
    } else {
        vm->ended_ns = vm->started_ns;
        vm->outcome.kind = DRUPE_END_BOOT_ERROR;
        (void)fmt_snprintf(vm->outcome.text, sizeof(vm->outcome.text), "%s",
                           err == NULL ? "the machine could not be built" : err->text);
        vm_set_state_locked(vm, DRUPE_VM_CRASHED);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return r;
}

/*
 * Calls that still use a machine that has ended leave it first, while the state says so: a stop
 * waits for just that state, and would never see it behind STARTING, which waits for the stop.
 */
static void wait_unused_locked(drupe_vm_t *vm)
{
    while (vm->is_busy ||
           (((unsigned)vm_state_of(vm) & DRUPE_VM_ENDED) != 0 && vm->in_machine > 0)) {
        (void)pthread_cond_wait(&vm->changed, &vm->lock);
    }
}

drupe_vm_err_t drupe_vm_start(drupe_vm_t *vm, struct drupe_error *err)
{
    struct drupe_error own; /* the outcome wants the text even when the caller doesn't */
    uint64_t began_ns = clock_ns();
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&vm->lock);
    wait_unused_locked(vm);
    r = vm_state_check(vm_state_of(vm), VM_OP_START);
    if (r == DRUPE_OK) {
        vm_set_state_locked(vm, DRUPE_VM_STARTING);
        vm_reap_machine_locked(vm);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (r != DRUPE_OK) {
        return vm_wrong_state(vm, r, "start", err);
    }
    r = start_machine(vm, began_ns, err == NULL ? &own : err);
    return r;
}

void vm_wait_idle_locked(drupe_vm_t *vm)
{
    while (vm->is_busy) {
        (void)pthread_cond_wait(&vm->changed, &vm->lock);
    }
}

/* True when the state is one of `mask`; false after the deadline (0: none). */
static bool wait_state_locked(drupe_vm_t *vm, unsigned mask, uint64_t deadline_ns)
{
    while (((unsigned)vm_state_of(vm) & mask) == 0) {
        if (deadline_ns == 0) {
            (void)pthread_cond_wait(&vm->changed, &vm->lock);
        } else {
            const struct timespec until = clock_timespec(deadline_ns);

            if (pthread_cond_timedwait(&vm->changed, &vm->lock, &until) == ETIMEDOUT) {
                return ((unsigned)vm_state_of(vm) & mask) != 0;
            }
        }
    }
    return true;
}

drupe_vm_err_t drupe_vm_wait(drupe_vm_t *vm, unsigned mask, uint32_t timeout_ms,
                             enum drupe_vm_state *state, struct drupe_error *err)
{
    uint64_t deadline_ns =
        timeout_ms == DRUPE_WAIT_FOREVER ? 0 : clock_ns() + timeout_ms * NS_PER_MS;
    bool is_reached = false;
    enum drupe_vm_state reached = DRUPE_VM_CREATED;

    (void)pthread_mutex_lock(&vm->lock);
    is_reached = wait_state_locked(vm, mask, deadline_ns);
    reached = vm_state_of(vm);
    (void)pthread_mutex_unlock(&vm->lock);
    if (!is_reached) {
        return error_set(err, DRUPE_TIMEOUT, 0, "wait: the VM is still %s after %u ms",
                         drupe_vm_state_name(reached), timeout_ms);
    }
    if (state != NULL) {
        *state = reached;
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_vm_outcome(const drupe_vm_t *vm, struct drupe_vm_outcome *out,
                                struct drupe_error *err)
{
    drupe_vm_t *v = (drupe_vm_t *)(uintptr_t)vm; /* only its lock is written */
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&v->lock);
    if (!v->has_run) {
        r = DRUPE_NOT_RUNNING;
    } else if (((unsigned)vm_state_of(v) & DRUPE_VM_ENDED) == 0) {
        r = DRUPE_BAD_STATE;
    } else {
        *out = v->outcome;
    }
    (void)pthread_mutex_unlock(&v->lock);
    return r == DRUPE_OK ? DRUPE_OK : vm_wrong_state(v, r, "outcome", err);
}

void *vm_get_machine_locked(drupe_vm_t *vm)
{
    if (vm->machine != NULL) {
        vm->in_machine++;
    }
    return vm->machine;
}

void vm_put_machine_locked(drupe_vm_t *vm)
{
    assert(vm->in_machine > 0);
    vm->in_machine--;
    if (vm->in_machine == 0) {
        (void)pthread_cond_broadcast(&vm->changed);
    }
}

drupe_vm_err_t drupe_vm_stop(drupe_vm_t *vm, uint32_t grace_ms, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;
    void *machine = NULL;

    (void)pthread_mutex_lock(&vm->lock);
    vm_wait_idle_locked(vm);
    (void)wait_state_locked(vm, ~(unsigned)DRUPE_VM_STARTING, 0);
    r = vm_state_check(vm_state_of(vm), VM_OP_STOP);
    if (r == DRUPE_OK) {
        machine = vm_get_machine_locked(vm);
        assert(machine != NULL);
        /* A paused workload cannot hear a polite word. */
        if (grace_ms > 0 && vm_state_of(vm) == DRUPE_VM_RUNNING &&
            vm->backend->signal(machine, SIGNAL_TERM, NULL) == DRUPE_OK) {
            (void)wait_state_locked(vm, DRUPE_VM_ENDED, clock_ns() + grace_ms * NS_PER_MS);
        }
        vm->backend->kill(machine);
        (void)wait_state_locked(vm, DRUPE_VM_ENDED, 0);
        vm_put_machine_locked(vm);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return r == DRUPE_OK ? DRUPE_OK : vm_wrong_state(vm, r, "stop", err);
}

void drupe_vm_destroy(drupe_vm_t *vm)
{
    if (vm == NULL) {
        return;
    }
    if (((unsigned)vm_state_of(vm) & ((unsigned)DRUPE_VM_CREATED | DRUPE_VM_ENDED)) == 0) {
        (void)!drupe_vm_stop(vm, 0, NULL); /* a VM that ended meanwhile is as good */
    }
    (void)pthread_mutex_lock(&vm->lock);
    vm_reap_machine_locked(vm);
    (void)pthread_mutex_unlock(&vm->lock);
    vm_drop_ahead(vm);
    free_vm(vm);
}

/* ---- While it runs ---- */

static drupe_vm_err_t get_running(drupe_vm_t *vm, void **machine)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&vm->lock);
    r = vm_state_check(vm_state_of(vm), VM_OP_EXEC);
    if (r == DRUPE_OK) {
        *machine = vm_get_machine_locked(vm);
        assert(*machine != NULL);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return r;
}

static void put_machine(drupe_vm_t *vm)
{
    (void)pthread_mutex_lock(&vm->lock);
    vm_put_machine_locked(vm);
    (void)pthread_mutex_unlock(&vm->lock);
}

drupe_vm_err_t drupe_vm_signal(drupe_vm_t *vm, int signo, struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (signo < 1 || signo > SIGNAL_MAX) {
        return error_set(err, DRUPE_CONFIG_INVALID, 0, "signal %d is not in 1 to %d", signo,
                         SIGNAL_MAX);
    }
    r = get_running(vm, &machine);
    if (r != DRUPE_OK) {
        return vm_wrong_state(vm, r, "signal", err);
    }
    r = vm->backend->signal(machine, signo, err);
    put_machine(vm);
    return r;
}

drupe_vm_err_t drupe_vm_resize_tty(drupe_vm_t *vm, unsigned rows, unsigned cols,
                                   struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (rows > UINT16_MAX || cols > UINT16_MAX) {
        return error_set(err, DRUPE_CONFIG_INVALID, 0, "a terminal has no %u x %u characters", rows,
                         cols);
    }
    r = get_running(vm, &machine);
    if (r != DRUPE_OK) {
        return vm_wrong_state(vm, r, "resize", err);
    }
    r = vm->backend->resize_tty(machine, rows, cols, err);
    put_machine(vm);
    return r;
}

enum drupe_vm_state drupe_vm_state(const drupe_vm_t *vm)
{
    return vm_state_of(vm);
}

const char *drupe_vm_id(const drupe_vm_t *vm)
{
    return vm->id;
}

int drupe_vm_event_fd(const drupe_vm_t *vm)
{
    return vm->event_fd;
}

drupe_vm_err_t drupe_vm_stats(drupe_vm_t *vm, struct drupe_vm_stats *out, struct drupe_error *err)
{
    void *machine = NULL;
    struct drupe_vm_stats stats;

    memset(&stats, 0, sizeof(stats));
    (void)pthread_mutex_lock(&vm->lock);
    if (vm->has_run && vm_state_of(vm) != DRUPE_VM_STARTING) {
        stats.uptime_ns = (vm->ended_ns != 0 ? vm->ended_ns : clock_ns()) - vm->started_ns;
        stats.start_ns = vm->start_took_ns;
        machine = vm_get_machine_locked(vm);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (machine == NULL) {
        return vm_wrong_state(vm, DRUPE_NOT_RUNNING, "stats", err);
    }
    vm->backend->stats(machine, &stats);
    put_machine(vm);
    *out = stats;
    return DRUPE_OK;
}

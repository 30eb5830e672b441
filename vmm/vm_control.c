/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pause, resume, snapshot, restore. One of them at a time on a VM (is_busy), and the state changes
 * after the effect: who reads it meanwhile sees the one before.
 */
#include "drupe/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "error.h"
#include "vm_internal.h"
#include "vm_state.h"

/* Take the VM for `op`; *machine is then in use, NULL when there is none. Undone by end_op(). */
static drupe_vm_err_t begin_op(drupe_vm_t *vm, enum vm_op op, const char *what, void **machine,
                               struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&vm->lock);
    vm_wait_idle_locked(vm);
    r = vm_state_check(vm_state_of(vm), op);
    if (r == DRUPE_OK) {
        vm->is_busy = true;
        *machine = vm_get_machine_locked(vm);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return r == DRUPE_OK ? DRUPE_OK : vm_wrong_state(vm, r, what, err);
}

static void end_op_locked(drupe_vm_t *vm, void *machine)
{
    assert(vm->is_busy);
    vm->is_busy = false;
    if (machine != NULL) {
        vm_put_machine_locked(vm);
    }
    (void)pthread_cond_broadcast(&vm->changed);
}

static void end_op(drupe_vm_t *vm, void *machine)
{
    (void)pthread_mutex_lock(&vm->lock);
    end_op_locked(vm, machine);
    (void)pthread_mutex_unlock(&vm->lock);
}

static drupe_vm_err_t not_by_backend(const drupe_vm_t *vm, const char *what,
                                     struct drupe_error *err)
{
    return error_set(err, DRUPE_UNSUPPORTED, 0, "%s: not supported on the %s backend", what,
                     vm->backend->name);
}

/*
 * The machine stands as wanted, unless the guest ended meanwhile: then its end is the answer, and
 * the state that it led to stays.
 */
static drupe_vm_err_t settle(drupe_vm_t *vm, drupe_vm_err_t r, enum drupe_vm_state from,
                             enum drupe_vm_state to, void *machine)
{
    (void)pthread_mutex_lock(&vm->lock);
    if (vm_state_of(vm) != from) {
        r = vm_state_of(vm) == DRUPE_VM_CRASHED ? DRUPE_CRASHED : DRUPE_NOT_RUNNING;
    } else if (r == DRUPE_OK) {
        vm_set_state_locked(vm, to);
    }
    end_op_locked(vm, machine);
    (void)pthread_mutex_unlock(&vm->lock);
    return r;
}

static drupe_vm_err_t change(drupe_vm_t *vm, enum vm_op op, const char *what,
                             drupe_vm_err_t (*how)(void *, struct drupe_error *),
                             enum drupe_vm_state from, enum drupe_vm_state to,
                             struct drupe_error *err)
{
    void *machine = NULL;
    drupe_vm_err_t r = begin_op(vm, op, what, &machine, err);

    if (r != DRUPE_OK) {
        return r;
    }
    assert(machine != NULL);
    r = how == NULL ? not_by_backend(vm, what, err) : how(machine, err);
    r = settle(vm, r, from, to, machine);
    if (r == DRUPE_CRASHED || r == DRUPE_NOT_RUNNING) {
        return vm_wrong_state(vm, r, what, err);
    }
    return r;
}

drupe_vm_err_t drupe_vm_pause(drupe_vm_t *vm, struct drupe_error *err)
{
    return change(vm, VM_OP_PAUSE, "pause", vm->backend->pause, DRUPE_VM_RUNNING, DRUPE_VM_PAUSED,
                  err);
}

drupe_vm_err_t drupe_vm_resume(drupe_vm_t *vm, struct drupe_error *err)
{
    return change(vm, VM_OP_RESUME, "resume", vm->backend->resume, DRUPE_VM_PAUSED,
                  DRUPE_VM_RUNNING, err);
}

/* ---- Snapshots ---- */

static drupe_vm_err_t check_snapshot(const drupe_vm_t *vm,
                                     const struct drupe_snapshot_options *options,
                                     struct drupe_error *err)
{
    if (options->struct_size != sizeof(*options)) {
        return error_field(err, "struct_size", "snapshot options of %zu bytes, not %zu",
                           options->struct_size, sizeof(*options));
    }
    if ((options->path == NULL) == (options->fd < 0)) {
        return error_field(err, "path", "a snapshot goes to a path or to an open file");
    }
    if (options->kind == DRUPE_SNAPSHOT_DIFF && !vm->config.is_dirty_tracked) {
        return error_field(err, "kind", "an incremental snapshot needs is_dirty_tracked");
    }
    if (options->kind != DRUPE_SNAPSHOT_DIFF && options->base != NULL) {
        return error_field(err, "base", "a full snapshot builds on nothing");
    }
    if (options->base != NULL && (options->base->path == NULL) == (options->base->fd < 0)) {
        return error_field(err, "base", "the base is at a path or in an open file");
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_vm_snapshot(drupe_vm_t *vm, const struct drupe_snapshot_options *options,
                                 struct drupe_snapshot_info *info, struct drupe_error *err)
{
    struct drupe_snapshot_info unused;
    void *machine = NULL;
    drupe_vm_err_t r = check_snapshot(vm, options, err);

    if (r == DRUPE_OK) {
        r = begin_op(vm, VM_OP_SNAPSHOT, "snapshot", &machine, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    if (vm->backend->snapshot == NULL) {
        r = not_by_backend(vm, "snapshot", err);
    } else {
        vm_interrupt_agents(vm);
        r = vm->backend->snapshot(machine, vm_state_of(vm) == DRUPE_VM_PAUSED, options,
                                  info == NULL ? &unused : info, err);
    }
    end_op(vm, machine);
    return r;
}

drupe_vm_err_t drupe_vm_snapshot_last(drupe_vm_t *vm, struct drupe_snapshot_last *out,
                                      struct drupe_error *err)
{
    void *machine = NULL;

    if (vm->backend->snapshot_last == NULL) {
        return not_by_backend(vm, "an incremental snapshot", err);
    }
    (void)pthread_mutex_lock(&vm->lock);
    if (vm->has_run && vm_state_of(vm) != DRUPE_VM_STARTING) {
        machine = vm_get_machine_locked(vm);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (machine == NULL) {
        return vm_wrong_state(vm, DRUPE_NOT_RUNNING, "snapshot", err);
    }
    memset(out, 0, sizeof(*out));
    out->is_dirty_tracked = vm->config.is_dirty_tracked;
    vm->backend->snapshot_last(machine, out);
    (void)pthread_mutex_lock(&vm->lock);
    vm_put_machine_locked(vm);
    (void)pthread_mutex_unlock(&vm->lock);
    return DRUPE_OK;
}

/* ---- Restoring ---- */

void vm_drop_ahead(drupe_vm_t *vm)
{
    void *ahead = vm->ahead;

    vm->ahead = NULL;
    if (ahead != NULL) {
        vm->backend->destroy(ahead);
    }
}

drupe_vm_err_t drupe_vm_prepare(drupe_vm_t *vm, struct drupe_error *err)
{
    struct backend_events events = { .ctx = vm, .ended = vm_machine_ended };
    void *machine = NULL;
    drupe_vm_err_t r = begin_op(vm, VM_OP_RESTORE, "prepare", &machine, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (vm->backend->make_ahead == NULL) {
        r = not_by_backend(vm, "prepare", err);
    } else if (vm->ahead == NULL) {
        r = vm->backend->make_ahead(&vm->config, &events, &vm->ahead, err);
    }
    end_op(vm, machine);
    return r;
}

/* Into the machine that was made ahead, if there is one. */
static drupe_vm_err_t restore_machine(drupe_vm_t *vm, const struct drupe_restore_options *options,
                                      void **out, struct drupe_error *err)
{
    struct backend_events events = { .ctx = vm, .ended = vm_machine_ended };
    drupe_vm_err_t r = DRUPE_OK;

    if (vm->backend->restore == NULL) {
        return not_by_backend(vm, "restore", err);
    }
    if (vm->ahead == NULL) {
        return vm->backend->restore(&vm->config, &events, options, out, err);
    }
    r = vm->backend->load(vm->ahead, options, err);
    if (r != DRUPE_OK) {
        vm_drop_ahead(vm);
        return r;
    }
    *out = vm->ahead;
    vm->ahead = NULL;
    return DRUPE_OK;
}

static void install_restored(drupe_vm_t *vm, void *machine, void *old, uint64_t began_ns)
{
    (void)pthread_mutex_lock(&vm->lock);
    if (old != NULL) {
        vm_put_machine_locked(vm);
        vm_reap_machine_locked(vm);
    }
    vm->has_run = true;
    vm->started_ns = clock_ns();
    vm->ended_ns = 0;
    vm->start_took_ns = vm->started_ns - began_ns;
    vm->machine = machine;
    memset(&vm->outcome, 0, sizeof(vm->outcome));
    vm_set_state_locked(vm, DRUPE_VM_PAUSED);
    vm->backend->release(machine);
    end_op_locked(vm, NULL);
    (void)pthread_mutex_unlock(&vm->lock);
}

drupe_vm_err_t drupe_vm_restore(drupe_vm_t *vm, const struct drupe_restore_options *options,
                                struct drupe_error *err)
{
    uint64_t began_ns = clock_ns();
    void *machine = NULL;
    void *old = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (options->struct_size != sizeof(*options)) {
        return error_field(err, "struct_size", "restore options of %zu bytes, not %zu",
                           options->struct_size, sizeof(*options));
    }
    if ((options->path == NULL) == (options->fd < 0)) {
        return error_field(err, "path", "a snapshot comes from a path or from an open file");
    }
    r = begin_op(vm, VM_OP_RESTORE, "restore", &old, err);
    if (r != DRUPE_OK) {
        return r;
    }
    r = restore_machine(vm, options, &machine, err);
    if (r != DRUPE_OK) {
        end_op(vm, old);
        return r;
    }
    install_restored(vm, machine, old, began_ns);
    return DRUPE_OK;
}

drupe_vm_err_t drupe_vm_record_working_set(drupe_vm_t *vm, const char *path, uint64_t *bytes,
                                           struct drupe_error *err)
{
    void *machine = NULL;
    uint64_t unused = 0;
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&vm->lock);
    vm_wait_idle_locked(vm);
    if (vm->has_run && vm_state_of(vm) != DRUPE_VM_STARTING) {
        machine = vm_get_machine_locked(vm);
        vm->is_busy = machine != NULL;
    }
    (void)pthread_mutex_unlock(&vm->lock);
    if (machine == NULL) {
        return vm_wrong_state(vm, DRUPE_NOT_RUNNING, "record a working set", err);
    }
    if (vm->backend->record_working_set == NULL) {
        r = not_by_backend(vm, "record a working set", err);
    } else {
        r = vm->backend->record_working_set(machine, path, bytes == NULL ? &unused : bytes, err);
    }
    end_op(vm, machine);
    return r;
}

drupe_vm_err_t drupe_vm_create_from_snapshot(const drupe_vm_config_t *cfg,
                                             const struct drupe_restore_options *options,
                                             drupe_vm_t **out, struct drupe_error *err)
{
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = drupe_vm_create(cfg, &vm, err);

    if (r == DRUPE_OK) {
        r = drupe_vm_restore(vm, options, err);
    }
    if (r != DRUPE_OK) {
        drupe_vm_destroy(vm);
        return r;
    }
    *out = vm;
    return DRUPE_OK;
}

/* ---- Streams ---- */

static void close_streams(const struct drupe_vm_streams *s)
{
    const int fds[] = { s->host_stdin, s->host_stdout, s->host_stderr, s->serial_log };

    for (size_t i = 0; i < array_size(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

static bool dup_stream(int from, int *to)
{
    *to = from < 0 ? -1 : fcntl(from, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return from < 0 || *to >= 0;
}

static drupe_vm_err_t dup_streams(const struct drupe_vm_streams *from, struct drupe_vm_streams *to,
                                  struct drupe_error *err)
{
    *to = (struct drupe_vm_streams){ -1, -1, -1, -1 };
    if (dup_stream(from->host_stdin, &to->host_stdin) &&
        dup_stream(from->host_stdout, &to->host_stdout) &&
        dup_stream(from->host_stderr, &to->host_stderr) &&
        dup_stream(from->serial_log, &to->serial_log)) {
        return DRUPE_OK;
    }
    close_streams(to);
    return error_set(err, errno == EBADF ? DRUPE_CONFIG_INVALID : DRUPE_NO_MEMORY, errno,
                     "set streams: duplicate a descriptor");
}

/* The VM's own, as those of its configuration are. */
static void swap_streams(struct config *c, struct drupe_vm_streams *s)
{
    const struct drupe_vm_streams before = { c->host_stdin, c->host_stdout, c->host_stderr,
                                             c->serial_log };

    c->host_stdin = s->host_stdin;
    c->host_stdout = s->host_stdout;
    c->host_stderr = s->host_stderr;
    c->serial_log = s->serial_log;
    *s = before;
}

drupe_vm_err_t drupe_vm_set_streams(drupe_vm_t *vm, const struct drupe_vm_streams *streams,
                                    struct drupe_error *err)
{
    struct drupe_vm_streams own;
    void *machine = NULL;
    drupe_vm_err_t r = begin_op(vm, VM_OP_SNAPSHOT, "set streams", &machine, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (vm_state_of(vm) != DRUPE_VM_PAUSED) {
        r = vm_wrong_state(vm, DRUPE_BAD_STATE, "set streams", err);
    } else if (vm->backend->set_streams == NULL) {
        r = not_by_backend(vm, "set streams", err);
    } else {
        r = dup_streams(streams, &own, err);
        if (r == DRUPE_OK) {
            vm->backend->set_streams(machine, &own);
            swap_streams(&vm->config, &own);
            close_streams(&own);
        }
    }
    end_op(vm, machine);
    return r;
}

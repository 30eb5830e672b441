/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's process: start or restore, serve, write down how it ended. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <drupe/control.h>

#include "cli.h"
#include "background_internal.h"

#define SIGNAL_STATUS 128

/* ---- The starter ---- */

static bool wait_for_go(const struct background_task *task)
{
    char go = 0;
    ssize_t n = 0;

    do {
        n = recv(task->starter_fd, &go, 1, 0);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

/* A starter that is gone does not need the answer: the machine runs on. */
static void answer(struct background_task *task, const struct drupe_error *err)
{
    (void)!send(task->starter_fd, err, sizeof(*err), MSG_NOSIGNAL);
    (void)close(task->starter_fd);
    task->starter_fd = -1;
}

/* ---- The machine ---- */

static drupe_vm_err_t bring_up(const struct background *m, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (!m->restore) {
        return drupe_vm_start(m->vm, err);
    }
    r = drupe_vm_restore(m->vm, m->restore, err);
    if (r == DRUPE_OK && !m->is_left_paused) {
        r = drupe_vm_resume(m->vm, err);
    }
    return r;
}

static const char *kind_name(enum drupe_end_kind kind)
{
    static const char *const names[] = {
        [DRUPE_END_NONE] = "unknown",  [DRUPE_END_EXIT] = "exit",
        [DRUPE_END_REBOOT] = "reboot", [DRUPE_END_STOPPED] = "stopped",
        [DRUPE_END_PANIC] = "panic",   [DRUPE_END_BOOT_ERROR] = "boot-error",
        [DRUPE_END_RESET] = "reset",   [DRUPE_END_MONITOR] = "failed",
    };

    return (unsigned)kind < array_size(names) ? names[kind] : "unknown";
}

/* The exit status that an attached `drupe run` gives for the same end. */
static int status_of(const struct drupe_vm_outcome *o)
{
    switch (o->kind) {
    case DRUPE_END_EXIT:
    case DRUPE_END_REBOOT:
        return o->status;
    case DRUPE_END_STOPPED:
        return SIGNAL_STATUS + SIGKILL;
    case DRUPE_END_BOOT_ERROR:
        return STATUS_FAILED;
    case DRUPE_END_NONE:
    case DRUPE_END_PANIC:
    case DRUPE_END_RESET:
    case DRUPE_END_MONITOR:
        return STATUS_GUEST;
    }
    return STATUS_GUEST;
}

static int write_end(const struct background *m)
{
    struct drupe_vm_outcome outcome = { 0 };
    struct vm_end end = { 0 };

    if (drupe_vm_outcome(m->vm, &outcome, NULL) != DRUPE_OK) {
        outcome.kind = DRUPE_END_MONITOR;
    }
    (void)snprintf(end.kind, sizeof(end.kind), "%s", kind_name(outcome.kind));
    (void)snprintf(end.text, sizeof(end.text), "%s", outcome.text);
    end.status = status_of(&outcome);
    vm_event_end(m->events_fd, &m->record, &end);
    return end.status;
}

/* ---- Serving ---- */

static void changed(void *ctx, enum drupe_control_event event)
{
    static const char *const names[] = {
        [DRUPE_CONTROL_PAUSED] = "paused",
        [DRUPE_CONTROL_RESUMED] = "resumed",
        [DRUPE_CONTROL_SNAPSHOT] = "snapshot",
        [DRUPE_CONTROL_STOPPING] = "stopping",
    };
    const struct background *m = ctx;

    vm_event(m->events_fd, &m->record, names[event], NULL);
}

static void serve(struct background *m)
{
    struct drupe_control_options options;
    struct drupe_error err;

    drupe_control_options_init(&options);
    options.id = m->record.id;
    options.listen_fd = m->api_fd;
    options.vm = m->vm;
    options.timeout_s = m->timeout_s;
    options.changed = changed;
    options.changed_ctx = m;
    if (drupe_control_run(&options, &err) != DRUPE_CONTROL_OK) {
        warn("control API: %s", err.text);
    }
    /* A server that failed, or a signal, ends the machine as well. */
    if (((unsigned)drupe_vm_state(m->vm) & DRUPE_VM_ENDED) == 0) {
        (void)!drupe_vm_stop(m->vm, 0, NULL); /* it may have ended meanwhile */
    }
}

int background_main(void *arg)
{
    struct background_task *task = arg;
    struct background *m = task->background;
    struct drupe_error err = { 0 };

    if (!wait_for_go(task)) {
        return STATUS_FAILED;
    }
    vm_event(m->events_fd, &m->record, m->restore ? "restoring" : "starting", NULL);
    drupe_vm_err_t r = bring_up(m, &err);

    answer(task, &err);
    if (r == DRUPE_OK) {
        vm_event(m->events_fd, &m->record, m->is_left_paused ? "restored" : "started", NULL);
        serve(m);
    }
    return write_end(m);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The backend of a VM whose machine is in a shell: its words go there, its end comes from there. */
#include <errno.h>

#include <base/clock.h>

#include "error.h"
#include "shell/shell_internal.h"
#include "vm_internal.h"

#define STATS_WAIT_NS NS_PER_S

static drupe_vm_err_t ask(const struct shell *s, const struct shell_request *r,
                          struct drupe_error *err)
{
    return shell_send(s, r, NULL, 0)
               ? DRUPE_OK
               : error_set(err, errno == EAGAIN ? DRUPE_BUSY : DRUPE_CRASHED, 0,
                           errno == EAGAIN ? "the jailed monitor does not listen"
                                           : "the jailed monitor died");
}

static drupe_vm_err_t shell_create(const struct config *c, const struct backend_events *events,
                                   void **out, struct drupe_error *err)
{
    (void)c;
    (void)events;
    (void)out;
    return error_set(err, DRUPE_UNSUPPORTED, 0, "start: a shell is used once");
}

static drupe_vm_err_t shell_resume(void *machine, struct drupe_error *err)
{
    const struct shell_request r = { .kind = SHELL_RESUME };

    return ask(machine, &r, err);
}

static void shell_kill(void *machine)
{
    struct shell *s = machine;

    atomic_store(&s->is_killed, true);
    drupe_jail_kill(s->jail);
}

static drupe_vm_err_t shell_signal(void *machine, int signo, struct drupe_error *err)
{
    const struct shell_request r = { .kind = SHELL_SIGNAL, .a = (uint32_t)signo };

    return ask(machine, &r, err);
}

static drupe_vm_err_t shell_resize_tty(void *machine, unsigned rows, unsigned cols,
                                       struct drupe_error *err)
{
    const struct shell *s = machine;
    const struct shell_request r = { .kind = SHELL_RESIZE, .a = rows, .b = cols };

    if (s->shells->shape->config.stdio != DRUPE_STDIO_TTY) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "the VM has no terminal");
    }
    return ask(s, &r, err);
}

/* What it said last, when it says nothing now. */
static void shell_stats(void *machine, struct drupe_vm_stats *out)
{
    const struct shell_request r = { .kind = SHELL_STATS };
    const uint64_t deadline_ns = clock_ns() + STATS_WAIT_NS;
    struct shell *s = machine;
    const uint64_t uptime_ns = out->uptime_ns;
    const uint64_t start_ns = out->start_ns;
    uint64_t number = 0;

    (void)pthread_mutex_lock(&s->shells->lock);
    number = ++s->stats_asked;
    (void)pthread_mutex_unlock(&s->shells->lock);
    const bool is_sent = shell_send(s, &r, NULL, 0);

    (void)pthread_mutex_lock(&s->shells->lock);
    while (is_sent && !s->has_ended && s->stats_told < number &&
           shell_wait_locked(s->shells, deadline_ns)) {
    }
    *out = s->stats;
    (void)pthread_mutex_unlock(&s->shells->lock);
    out->uptime_ns = uptime_ns;
    out->start_ns = start_ns;
    out->vcpu_count = s->shells->vcpus;
}

static void shell_destroy(void *machine)
{
    struct shell *s = machine;

    shell_unwatch(s);
    shell_release(s);
}

const struct backend backend_shell = {
    .name = "shell",
    .create = shell_create,
    .resume = shell_resume,
    .kill = shell_kill,
    .signal = shell_signal,
    .resize_tty = shell_resize_tty,
    .stats = shell_stats,
    .destroy = shell_destroy,
};

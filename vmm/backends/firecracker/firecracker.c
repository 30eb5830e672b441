/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/firecracker/firecracker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "host.h"

#define SIGNAL_TERM 15

static drupe_vm_err_t fc_prepare(struct config *c, struct drupe_error *err)
{
    char path[256];

    if (c->firecracker_path == NULL) {
        if (!host_find_program("firecracker", path, sizeof(path))) {
            return error_set(err, DRUPE_UNAVAILABLE, 0, "no firecracker in PATH");
        }
        c->firecracker_path = strdup(path);
        return c->firecracker_path != NULL
                   ? DRUPE_OK
                   : error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    if (access(c->firecracker_path, X_OK) < 0) {
        return error_set(err, DRUPE_UNAVAILABLE, errno, "no Firecracker: %.150s",
                         c->firecracker_path);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check(const struct config *c, struct drupe_error *err)
{
    const char *what = NULL;

    if (c->share_count > 0) {
        what = "shared folders";
    } else if (c->net_count > 0) {
        what = "network interfaces";
    } else if (c->cpuid_count > 0) {
        what = "CPUID modifiers";
    } else if (c->balloon.is_present) {
        what = "a balloon";
    } else if (c->has_boot_timer) {
        what = "a boot timer";
    }
    for (unsigned i = 0; i < c->disk_count; i++) {
        what = c->disks[i].memory_size != 0 ? "a disk in memory" : what;
    }
    return what == NULL ? DRUPE_OK
                        : error_set(err, DRUPE_UNSUPPORTED, 0,
                                    "%s: not supported on the firecracker backend", what);
}

static void fc_destroy(void *machine)
{
    struct fc_machine *m = machine;

    if (m == NULL) {
        return;
    }
    child_deinit(&m->child);
    fc_http_close(&m->http);
    for (unsigned i = 0; i < FC_FDS; i++) {
        if (m->fds[i] >= 0) {
            (void)close(m->fds[i]);
        }
    }
    if (m->directory[0] != '\0') {
        (void)unlink(m->socket_path);
        (void)rmdir(m->directory);
    }
    log_deinit(&m->log);
    (void)pthread_mutex_destroy(&m->http_lock);
    free(m);
}

/* A process that answers and has been told nothing. */
static drupe_vm_err_t make(const struct config *c, const struct backend_events *events,
                           struct fc_machine **out, struct drupe_error *err)
{
    drupe_vm_err_t r = check(c, err);
    struct fc_machine *m = r == DRUPE_OK ? calloc(1, sizeof(*m)) : NULL;

    if (r != DRUPE_OK) {
        return r;
    }
    if (m == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the machine");
    }
    m->config = c;
    m->http.fd = -1;
    for (unsigned i = 0; i < FC_FDS; i++) {
        m->fds[i] = -1;
    }
    log_init(&m->log, c->log, c->log_ctx);
    (void)pthread_mutex_init(&m->http_lock, NULL);
    child_init(&m->child, &fc_child_ops, m, "firecracker", events, &m->log);
    r = fc_spawn(m, err);
    if (r != DRUPE_OK) {
        fc_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

/*
 * InstanceStart is the last thing here and not release's, which cannot fail: the guest may run a
 * moment earlier than the state says.
 */
static drupe_vm_err_t fc_create(const struct config *c, const struct backend_events *events,
                                void **out, struct drupe_error *err)
{
    struct fc_machine *m = NULL;
    drupe_vm_err_t r = make(c, events, &m, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = fc_configure(m, err);
    if (r != DRUPE_OK) {
        fc_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static drupe_vm_err_t fc_restore(const struct config *c, const struct backend_events *events,
                                 const struct drupe_restore_options *options, void **out,
                                 struct drupe_error *err)
{
    struct fc_machine *m = NULL;
    drupe_vm_err_t r = make(c, events, &m, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = fc_load(m, options, err);
    if (r != DRUPE_OK) {
        fc_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static void fc_release(void *machine)
{
    struct fc_machine *m = machine;

    child_release(&m->child);
}

static void fc_kill(void *machine)
{
    struct fc_machine *m = machine;

    child_kill(&m->child);
}

static drupe_vm_err_t set_paused(struct fc_machine *m, bool is_paused, drupe_vm_err_t code,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&m->http_lock);
    r = fc_set_paused(m, is_paused, code, err);
    (void)pthread_mutex_unlock(&m->http_lock);
    return r;
}

static drupe_vm_err_t fc_pause(void *machine, struct drupe_error *err)
{
    return set_paused(machine, true, DRUPE_PAUSE_FAILED, err);
}

static drupe_vm_err_t fc_resume(void *machine, struct drupe_error *err)
{
    return set_paused(machine, false, DRUPE_RESUME_FAILED, err);
}

static drupe_vm_err_t fc_ctrl_alt_del(void *machine, struct drupe_error *err)
{
    struct fc_machine *m = machine;
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&m->http_lock);
    fc_json_begin(&m->json);
    fc_json_string(&m->json, "action_type", "SendCtrlAltDel");
    fc_json_close(&m->json);
    r = fc_send(m, "PUT", "/actions", FC_API_TIMEOUT_MS, DRUPE_UNSUPPORTED, err);
    (void)pthread_mutex_unlock(&m->http_lock);
    return r;
}

/* Our kernel takes what comes over the serial line for signals; others know a keyboard. */
static drupe_vm_err_t fc_signal(void *machine, int signo, struct drupe_error *err)
{
    struct fc_machine *m = machine;
    uint8_t byte = (uint8_t)signo;

    if (!m->is_our_kernel) {
        return signo == SIGNAL_TERM
                   ? fc_ctrl_alt_del(m, err)
                   : error_set(err, DRUPE_UNSUPPORTED, 0,
                               "signal %d: only SIGTERM (Ctrl-Alt-Del) reaches this guest", signo);
    }
    if (send(m->child.in, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
        return error_set(err, DRUPE_BUSY, errno, "write to the guest's signal line");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t fc_resize_tty(void *machine, unsigned rows, unsigned cols,
                                    struct drupe_error *err)
{
    const struct fc_machine *m = machine;

    (void)rows;
    (void)cols;
    if (m->config->stdio != DRUPE_STDIO_TTY) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "the VM has no terminal");
    }
    return DRUPE_OK; /* a serial line has no size; the guest keeps the one it started with */
}

static void fc_stats(void *machine, struct drupe_vm_stats *out)
{
    const struct fc_machine *m = machine;

    out->vcpu_count = m->config->vcpus;
}

const struct backend backend_firecracker = {
    .name = "firecracker",
    .prepare = fc_prepare,
    .create = fc_create,
    .release = fc_release,
    .pause = fc_pause,
    .resume = fc_resume,
    .snapshot = fc_snapshot,
    .restore = fc_restore,
    .kill = fc_kill,
    .signal = fc_signal,
    .resize_tty = fc_resize_tty,
    .ctrl_alt_del = fc_ctrl_alt_del,
    .stats = fc_stats,
    .destroy = fc_destroy,
};

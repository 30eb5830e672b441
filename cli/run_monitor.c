/* SPDX-License-Identifier: Apache-2.0 */
#include "run_monitor.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>

#include "files.h"
#include "jail_limits.h"
#include "thaw.h"

#define OWN_THREADS 16u /* beside the vCPUs: main, loop, shared folders */

/* To the child. */
enum request_kind {
    REQUEST_SIGNAL, /* a: number */
    REQUEST_RESIZE, /* a: rows, b: columns */
};

struct request {
    uint32_t kind;
    uint32_t a;
    uint32_t b;
};

/* From the child: first whether the VM runs, then how it ended. */
struct answer {
    bool is_end;
    drupe_vm_err_t code;
    struct drupe_error error;
    struct drupe_vm_outcome outcome;
};

/* ---- The jailed child ---- */

struct child {
    drupe_vm_t *vm;
    const struct drupe_restore_options *restore;
    int link;
};

static drupe_vm_err_t bring_up(drupe_vm_t *vm, const struct drupe_restore_options *restore,
                               struct drupe_error *err)
{
    if (!restore) {
        return drupe_vm_start(vm, err);
    }
    drupe_vm_err_t r = drupe_vm_restore(vm, restore, err);

    return r == DRUPE_OK ? drupe_vm_resume(vm, err) : r;
}

/* False when the starter is gone. */
static bool serve_request(const struct child *c)
{
    struct request r;
    const ssize_t n = recv(c->link, &r, sizeof(r), MSG_DONTWAIT);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n != (ssize_t)sizeof(r)) {
        return false;
    }
    if (r.kind == REQUEST_SIGNAL) {
        (void)!drupe_vm_signal(c->vm, (int)r.a, NULL); /* not running (any more): the end follows */
    } else if (r.kind == REQUEST_RESIZE) {
        (void)!drupe_vm_resize_tty(c->vm, r.a, r.b, NULL);
    }
    return true;
}

static int send_answer(const struct child *c, const struct answer *a)
{
    return send(c->link, a, sizeof(*a), MSG_NOSIGNAL) == (ssize_t)sizeof(*a) ? 0 : 1;
}

static int run_child(void *ctx)
{
    const struct child *c = ctx;
    struct pollfd polls[2] = { { drupe_vm_event_fd(c->vm), POLLIN, 0 }, { c->link, POLLIN, 0 } };
    struct answer a;

    memset(&a, 0, sizeof(a));
    a.code = bring_up(c->vm, c->restore, &a.error);
    if (a.code == DRUPE_OK) {
        a.code = drupe_jail_confine(DRUPE_JAIL_THREAD_MAIN, &a.error);
    }
    if (send_answer(c, &a) != 0 || a.code != DRUPE_OK) {
        return 1;
    }
    while (polls[0].revents == 0) {
        if (poll(polls, array_size(polls), -1) < 0 && errno != EINTR) {
            return 1;
        }
        if (polls[1].revents != 0 && !serve_request(c)) {
            return 1; /* nobody waits for the program: the machine goes with this process */
        }
    }
    a.is_end = true;
    a.code = drupe_vm_outcome(c->vm, &a.outcome, &a.error);
    return send_answer(c, &a);
}

/* ---- The starter ---- */

static void make_id(char *id, size_t size)
{
    (void)snprintf(id, size, "run-%d-%llx", (int)getpid(),
                   (unsigned long long)clock_ns_of(CLOCK_REALTIME));
}

drupe_vm_err_t monitor_prepare(struct monitor *m, const struct monitor_limits *limits,
                               struct drupe_error *err)
{
    struct drupe_jail_config cfg;
    char id[DRUPE_JAIL_ID_SIZE_MAX + 1];

    drupe_jail_config_init(&cfg);
    make_id(id, sizeof(id));
    cfg.id = id;
    cfg.memory_max = monitor_memory_max(limits->memory_mib);
    cfg.pids_max = (uint32_t)limits->vcpus + OWN_THREADS;
    cfg.are_limits_optional = true;
    if (geteuid() != 0) {
        struct drupe_jail_report report;

        drupe_jail_probe(&report);
        if (!report.has_user_namespace) {
            return DRUPE_OK;
        }
    }
    return drupe_jail_prepare(&cfg, &m->jail, err);
}

/* The child's next word; false when it has ended without one. */
static bool receive(struct monitor *m, struct answer *a)
{
    ssize_t n = -1;

    do {
        n = recv(m->link, a, sizeof(*a), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*a)) {
        return false;
    }
    /* It has run a guest: its words are taken as text, never as lengths. */
    a->error.text[sizeof(a->error.text) - 1] = '\0';
    a->error.field[sizeof(a->error.field) - 1] = '\0';
    a->outcome.text[sizeof(a->outcome.text) - 1] = '\0';
    return true;
}

static drupe_vm_err_t died(struct drupe_error *err)
{
    memset(err, 0, sizeof(*err));
    err->code = DRUPE_CRASHED;
    (void)snprintf(err->text, sizeof(err->text),
                   "the jailed monitor died; a forbidden system call ends it so");
    return DRUPE_CRASHED;
}

static drupe_vm_err_t start_jailed(struct monitor *m, struct drupe_error *err)
{
    struct child c = { .vm = m->vm, .restore = m->restore };
    struct answer a;
    int ends[2];
    pid_t pid = -1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        memset(err, 0, sizeof(*err));
        err->code = DRUPE_NO_MEMORY;
        err->os_errno = errno;
        return DRUPE_NO_MEMORY;
    }
    int keep[1 + THAW_FDS_MAX] = { ends[1] };
    size_t count = 1 + thaw_fds(m->restore, keep + 1);

    c.link = ends[1];
    m->link = ends[0];
    drupe_vm_err_t r = drupe_jail_spawn(m->jail, m->vm, keep, count, run_child, &c, &pid, err);

    (void)close(ends[1]);
    if (r != DRUPE_OK) {
        return r;
    }
    /* Files and pipes are the child's alone from now on. */
    drupe_vm_destroy(m->vm);
    m->vm = NULL;
    if (!receive(m, &a) || a.is_end) {
        return died(err);
    }
    if (a.code != DRUPE_OK) {
        *err = a.error;
    }
    return a.code;
}

drupe_vm_err_t monitor_start(struct monitor *m, drupe_vm_t *vm, struct drupe_error *err)
{
    m->vm = vm;
    m->link = -1;
    if (m->jail && strncmp(drupe_vm_id(vm), "kvm-", 4) != 0) {
        drupe_jail_destroy(m->jail); /* QEMU is another process's program, and needs its files */
        m->jail = NULL;
    }
    if (!m->jail) {
        return bring_up(vm, m->restore, err);
    }
    drupe_vm_err_t r = start_jailed(m, err);

    if (r == DRUPE_OK) {
        (void)drupe_jail_sweep(NULL); /* what dead ones left; the machine starts meanwhile */
    }
    return r;
}

int monitor_event_fd(const struct monitor *m)
{
    return m->jail ? m->link : drupe_vm_event_fd(m->vm);
}

static drupe_vm_err_t ask(struct monitor *m, const struct request *r)
{
    return send(m->link, r, sizeof(*r), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*r)
               ? DRUPE_OK
               : DRUPE_NOT_RUNNING;
}

drupe_vm_err_t monitor_signal(struct monitor *m, int signo)
{
    const struct request r = { .kind = REQUEST_SIGNAL, .a = (uint32_t)signo };

    return m->jail ? ask(m, &r) : drupe_vm_signal(m->vm, signo, NULL);
}

void monitor_resize(struct monitor *m, unsigned rows, unsigned cols)
{
    const struct request r = { .kind = REQUEST_RESIZE, .a = rows, .b = cols };

    if (m->jail) {
        (void)!ask(m, &r);
    } else {
        (void)!drupe_vm_resize_tty(m->vm, rows, cols, NULL);
    }
}

drupe_vm_err_t monitor_stop(struct monitor *m, struct drupe_error *err)
{
    if (!m->jail) {
        return drupe_vm_stop(m->vm, 0, err);
    }
    monitor_end(m);
    return DRUPE_OK;
}

drupe_vm_err_t monitor_outcome(struct monitor *m, struct drupe_vm_outcome *out,
                               struct drupe_error *err)
{
    struct answer a;

    if (!m->jail) {
        return drupe_vm_outcome(m->vm, out, err);
    }
    if (!receive(m, &a) || !a.is_end) {
        return died(err);
    }
    *out = a.outcome;
    *err = a.error;
    return a.code;
}

void monitor_end(struct monitor *m)
{
    /* A KVM machine in this process goes fastest with it; QEMU is a process and has files. */
    if (m->vm && strncmp(drupe_vm_id(m->vm), "kvm-", 4) != 0) {
        drupe_vm_destroy(m->vm);
        m->vm = NULL;
    }
    drupe_jail_destroy(m->jail);
    m->jail = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A jail's life. The maker is a thread with namespaces, root directory and cgroup of its own: it
 * makes them while the starter does something else, waits, and then forks. Its child is in the jail
 * from its first instruction and only has to drop what it brought along. A parked jail costs one
 * sleeping thread, so a pool can hold many.
 *
 * Ordinary users need a user namespace first, which only a process of one thread can get: there the
 * maker makes the directory, and the child all the rest. As a PID namespace begins with a child of
 * the process that asked for it, that child forks once more and stays behind as a waiter.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/assert.h>

#include "config.h"
#include "error.h"
#include "jail/filter.h"
#include "jail/jail_internal.h"
#include "vm_internal.h"

#define MAKER_STACK_SIZE  (1u << 20)
#define STATUS_NOT_JAILED 70 /* the child's, when a step failed; its starter has the error */

/* What spawn hands to the maker. */
struct order {
    int keep[JAIL_FDS_MAX];
    size_t keep_count;
    int (*run)(void *ctx);
    void *ctx;
    int report_fd; /* the child writes its error here, or closes it */
    sigset_t mask;
};

enum maker_state {
    MAKER_WORKING,
    MAKER_READY,  /* or failed: `result` */
    MAKER_FORK,   /* ordered */
    MAKER_QUIT,   /* ordered */
    MAKER_FORKED, /* `pid`; the maker of a reusable jail waits for WORKING (ordered) or QUIT */
};

struct drupe_jail {
    struct jail_setup setup;
    pthread_t maker;
    bool has_maker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under lock */
    enum maker_state state;
    drupe_vm_err_t result;
    struct drupe_error error;
    pid_t pid; /* of the child; -1: none */
    int fork_errno;
    /* the starter's */
    struct order order;
    int pidfd; /* -1: none */
};

/* ---- The jailed process ---- */

static drupe_vm_err_t drop_everything(struct jail_setup *s, int *keep, size_t count,
                                      struct drupe_error *err)
{
    drupe_vm_err_t r = jail_close_others(keep, count, err);

    if (r == DRUPE_OK && clearenv() != 0) {
        r = jail_failed(err, "environment", errno, "clear it");
    }
    if (r == DRUPE_OK) {
        r = jail_limits_set(s, err);
    }
    if (r == DRUPE_OK && s->cgroup_procs_fd >= 0 && write(s->cgroup_procs_fd, "0", 1) != 1) {
        r = jail_failed(err, "cgroup", errno, "join it");
    }
    if (r == DRUPE_OK) {
        r = jail_session_begin(s, err);
    }
    if (r == DRUPE_OK) {
        r = jail_privileges_drop(s, err);
    }
    if (r == DRUPE_OK) {
        r = jail_landlock_enter(s, err);
    }
    return r;
}

/* Handles to the outside that were needed on the way in. */
static void close_handles(struct jail_setup *s)
{
    int *const fds[] = { &s->root_fd, &s->netns_fd, &s->cgroup_procs_fd };

    for (size_t i = 0; i < array_size(fds); i++) {
        if (*fds[i] >= 0) {
            (void)close(*fds[i]);
        }
        *fds[i] = -1;
    }
}

static void keep_own(const struct jail_setup *s, int *keep, size_t *count)
{
    const int own[] = { s->lock_fd, s->null_fd, s->root_fd, s->cgroup_procs_fd };

    for (size_t i = 0; i < array_size(own); i++) {
        if (own[i] >= 0) {
            assert(*count < JAIL_FDS_MAX);
            keep[(*count)++] = own[i];
        }
    }
}

/*
 * Behind the first process of a PID namespace: ends as it ends. Nobody else is told of that end, as
 * its starter knows only this process; and it dies with this one.
 */
static _Noreturn void wait_for(pid_t pid)
{
    const struct rlimit none = { 0, 0 };
    int status = 0;
    sigset_t all;

    (void)syscall(SYS_close_range, 0, ~0u, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
    if (!jail_capabilities_forget()) {
        (void)kill(pid, SIGKILL); /* nothing runs beside a process with rights */
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        (void)signal(WTERMSIG(status), SIG_DFL);
        (void)sigfillset(&all);
        (void)sigprocmask(SIG_UNBLOCK, &all, NULL);
        (void)kill(getpid(), WTERMSIG(status));
    }
    _exit(WEXITSTATUS(status));
}

static drupe_vm_err_t fork_into_pids(struct drupe_error *err)
{
    const pid_t pid = fork();

    if (pid < 0) {
        return jail_failed(err, "namespaces", errno, "fork into the PID namespace");
    }
    if (pid > 0) {
        wait_for(pid);
    }
    /* The waiter may have been killed before this: then the parent is another. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return jail_failed(err, "namespaces", errno, "die with the waiter");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t enter_as_user(struct jail_setup *s, struct drupe_error *err)
{
    drupe_vm_err_t r = jail_namespaces_make(s, true, err);

    if (r == DRUPE_OK) {
        r = fork_into_pids(err);
    }
    return r == DRUPE_OK ? jail_root_enter(s, err) : r;
}

/* In the forked child, which was a thread of another process: to the end. */
static _Noreturn void run_child(struct drupe_jail *j)
{
    struct order *o = &j->order;
    struct jail_setup *s = &j->setup;
    struct drupe_error err;
    drupe_vm_err_t r = DRUPE_OK;

    memset(&err, 0, sizeof(err));
    r = s->is_root ? jail_proc_mount(s, &err) : enter_as_user(s, &err);
    o->keep[o->keep_count++] = o->report_fd;
    keep_own(s, o->keep, &o->keep_count);
    if (r == DRUPE_OK) {
        r = drop_everything(s, o->keep, o->keep_count, &err);
    }
    if (r != DRUPE_OK) {
        (void)!write(o->report_fd, &err, sizeof(err));
        _exit(STATUS_NOT_JAILED);
    }
    close_handles(s);
    filter_mode_set(s->filter);
    (void)pthread_sigmask(SIG_SETMASK, &o->mask, NULL);
    (void)close(o->report_fd); /* commit point: the starter reads its end, all steps are taken */
    _exit(o->run(o->ctx));
}

/* ---- The maker ---- */

static drupe_vm_err_t make_ahead(struct jail_setup *s, struct drupe_error *err)
{
    drupe_vm_err_t r = jail_directory_make(s, err);

    if (r == DRUPE_OK) {
        r = jail_cgroup_make(s, JAIL_JOIN_THREAD, err);
    }
    if (r == DRUPE_OK && s->is_root) {
        r = jail_namespaces_make(s, true, err);
        r = r == DRUPE_OK ? jail_root_enter(s, err) : r;
    }
    return r;
}

static void tell_ready(struct drupe_jail *j, drupe_vm_err_t r, const struct drupe_error *err)
{
    (void)pthread_mutex_lock(&j->lock);
    j->result = r;
    j->error = *err;
    if (j->state == MAKER_WORKING) {
        j->state = MAKER_READY;
    }
    (void)pthread_cond_broadcast(&j->changed);
    (void)pthread_mutex_unlock(&j->lock);
}

/* Wait until the state is another than `state`, and return it. */
static enum maker_state await_order(struct drupe_jail *j, enum maker_state state)
{
    enum maker_state ordered = state;

    (void)pthread_mutex_lock(&j->lock);
    while (j->state == state) {
        (void)pthread_cond_wait(&j->changed, &j->lock);
    }
    ordered = j->state;
    (void)pthread_mutex_unlock(&j->lock);
    return ordered;
}

static void fork_child(struct drupe_jail *j)
{
    const pid_t pid = fork();
    const int fork_errno = errno;

    if (pid == 0) {
        run_child(j);
    }
    (void)pthread_mutex_lock(&j->lock);
    j->pid = pid;
    j->fork_errno = fork_errno;
    j->state = MAKER_FORKED;
    (void)pthread_cond_broadcast(&j->changed);
    (void)pthread_mutex_unlock(&j->lock);
}

static void *maker_main(void *arg)
{
    struct drupe_jail *j = arg;
    const bool is_reusable = j->setup.is_reusable;
    struct drupe_error err;
    drupe_vm_err_t r = DRUPE_OK;
    enum maker_state ordered = MAKER_WORKING;

    memset(&err, 0, sizeof(err));
    r = make_ahead(&j->setup, &err);
    while (ordered == MAKER_WORKING) {
        if (r == DRUPE_OK && is_reusable) {
            r = jail_namespaces_renew(&j->setup, &err);
        }
        tell_ready(j, r, &err);
        ordered = await_order(j, MAKER_READY);
        if (ordered == MAKER_FORK) {
            fork_child(j);
            ordered = is_reusable ? await_order(j, MAKER_FORKED) : MAKER_QUIT;
        }
    }
    return NULL;
}

static drupe_vm_err_t start_maker(drupe_jail_t *j, struct drupe_error *err)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, MAKER_STACK_SIZE);
    r = pthread_create(&j->maker, &attr, maker_main, j);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        return jail_failed(err, "prepare", r, "start its thread");
    }
    j->has_maker = true;
    return DRUPE_OK;
}

static void free_jail(drupe_jail_t *j)
{
    if (j->pidfd >= 0) {
        (void)close(j->pidfd);
    }
    jail_setup_close(&j->setup);
    (void)pthread_cond_destroy(&j->changed);
    (void)pthread_mutex_destroy(&j->lock);
    free(j);
}

drupe_vm_err_t drupe_jail_prepare(const struct drupe_jail_config *cfg, drupe_jail_t **out,
                                  struct drupe_error *err)
{
    drupe_jail_t *j = calloc(1, sizeof(*j));
    drupe_vm_err_t r = DRUPE_OK;

    if (j == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make a jail");
    }
    j->pid = -1;
    j->pidfd = -1;
    (void)pthread_mutex_init(&j->lock, NULL);
    (void)pthread_cond_init(&j->changed, NULL);
    r = jail_setup_take(&j->setup, cfg, err);
    if (r == DRUPE_OK) {
        r = start_maker(j, err);
    }
    if (r != DRUPE_OK) {
        free_jail(j);
        return r;
    }
    *out = j;
    return DRUPE_OK;
}

drupe_vm_err_t drupe_jail_ready(drupe_jail_t *j, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&j->lock);
    while (j->state == MAKER_WORKING) {
        (void)pthread_cond_wait(&j->changed, &j->lock);
    }
    r = j->result;
    if (r != DRUPE_OK && err != NULL) {
        *err = j->error;
    }
    (void)pthread_mutex_unlock(&j->lock);
    return r;
}

/* ---- Spawning ---- */

static void take_folders(struct jail_setup *s, const struct config *c)
{
    static_assert(DRUPE_SHARES_MAX <= JAIL_FOLDERS_MAX, "each share is a folder");
    s->folder_count = 0;
    for (unsigned i = 0; i < c->share_count; i++) {
        s->folders[s->folder_count++] = (struct jail_folder){
            .fd = c->shares[i].fd,
            .is_read_only = c->shares[i].is_read_only,
        };
    }
}

static drupe_vm_err_t fill_keep(struct jail_setup *s, int *out, size_t *out_count,
                                const drupe_vm_t *vm, const int *keep, size_t count,
                                struct drupe_error *err)
{
    size_t n = 0;

    if (count > DRUPE_JAIL_KEEP_MAX) {
        return error_field(err, "keep", "jail: validate: more than %u descriptors",
                           DRUPE_JAIL_KEEP_MAX);
    }
    if (vm != NULL) {
        n = vm_descriptors(vm, out, JAIL_FDS_MAX - DRUPE_JAIL_KEEP_MAX - 8);
        take_folders(s, &vm->config);
    }
    for (size_t i = 0; i < count; i++) {
        out[n++] = keep[i];
    }
    assert(n + 8 <= JAIL_FDS_MAX); /* for what the jail itself keeps */
    *out_count = n;
    return DRUPE_OK;
}

static void order(drupe_jail_t *j, enum maker_state state)
{
    (void)pthread_mutex_lock(&j->lock);
    j->state = state;
    (void)pthread_cond_broadcast(&j->changed);
    (void)pthread_mutex_unlock(&j->lock);
}

static void join_maker(drupe_jail_t *j)
{
    (void)pthread_join(j->maker, NULL);
    j->has_maker = false;
}

/* On return j->pid is set; the maker is gone, unless the jail will be used again. */
static void order_fork(drupe_jail_t *j)
{
    order(j, MAKER_FORK);
    if (j->setup.is_reusable) {
        (void)await_order(j, MAKER_FORK);
    } else {
        join_maker(j);
    }
}

static bool has_forked(drupe_jail_t *j)
{
    bool has = false;

    (void)pthread_mutex_lock(&j->lock);
    has = j->state == MAKER_FORKED;
    (void)pthread_mutex_unlock(&j->lock);
    return has;
}

static drupe_vm_err_t read_report(drupe_jail_t *j, int fd, struct drupe_error *err)
{
    struct drupe_error report;
    ssize_t n = -1;

    do {
        n = read(fd, &report, sizeof(report));
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        return DRUPE_OK;
    }
    (void)waitpid(j->pid, NULL, 0);
    if (n != (ssize_t)sizeof(report)) {
        return jail_failed(err, "spawn", n < 0 ? errno : EIO, "hear from the jailed process");
    }
    report.text[sizeof(report.text) - 1] = '\0';
    if (err != NULL) {
        *err = report;
    }
    return DRUPE_JAIL_FAILED;
}

drupe_vm_err_t drupe_jail_spawn(drupe_jail_t *j, const drupe_vm_t *vm, const int *keep,
                                size_t keep_count, int (*run)(void *ctx), void *ctx, pid_t *pid,
                                struct drupe_error *err)
{
    drupe_vm_err_t r = drupe_jail_ready(j, err);
    int ends[2] = { -1, -1 };

    if (r != DRUPE_OK) {
        return r;
    }
    if (!j->has_maker || has_forked(j)) {
        return jail_failed(err, "spawn", EBUSY, "a jail holds one process");
    }
    r = fill_keep(&j->setup, j->order.keep, &j->order.keep_count, vm, keep, keep_count, err);
    if (r != DRUPE_OK) {
        return r;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return jail_failed(err, "spawn", errno, "make a pipe");
    }
    j->order.run = run;
    j->order.ctx = ctx;
    j->order.report_fd = ends[1];
    (void)pthread_sigmask(SIG_SETMASK, NULL, &j->order.mask);
    order_fork(j);
    (void)close(ends[1]);
    if (j->pid < 0) {
        r = jail_failed(err, "spawn", j->fork_errno, "fork");
    } else {
        j->pidfd = (int)syscall(SYS_pidfd_open, j->pid, 0);
        r = read_report(j, ends[0], err);
    }
    (void)close(ends[0]);
    if (!j->setup.is_reusable) {
        close_handles(&j->setup);
    }
    if (r == DRUPE_OK) {
        *pid = j->pid;
    } else {
        j->pid = -1;
    }
    return r;
}

drupe_vm_err_t drupe_jail_enter(const struct drupe_jail_config *cfg, const drupe_vm_t *vm,
                                const int *keep, size_t keep_count, struct drupe_error *err)
{
    struct jail_setup s;
    int fds[JAIL_FDS_MAX];
    size_t count = 0;
    drupe_vm_err_t r = jail_setup_take(&s, cfg, err);

    if (r == DRUPE_OK) {
        r = fill_keep(&s, fds, &count, vm, keep, keep_count, err);
    }
    if (r == DRUPE_OK) {
        r = jail_directory_make(&s, err);
    }
    if (r == DRUPE_OK) {
        r = jail_cgroup_make(&s, JAIL_JOIN_PROCESS, err);
    }
    if (r == DRUPE_OK) {
        r = jail_namespaces_make(&s, false, err);
    }
    if (r == DRUPE_OK) {
        r = jail_root_enter(&s, err);
    }
    if (r == DRUPE_OK) {
        r = jail_proc_mount(&s, err);
    }
    if (r == DRUPE_OK) {
        keep_own(&s, fds, &count);
        r = drop_everything(&s, fds, count, err);
    }
    close_handles(&s);
    if (r == DRUPE_OK) {
        filter_mode_set(s.filter); /* the lock stays open until the process ends */
    }
    return r;
}

/* ---- The end ---- */

void drupe_jail_kill(drupe_jail_t *j)
{
    if (j->pidfd >= 0) {
        /* By descriptor: the caller may have waited already, and the number be another's. */
        (void)syscall(SYS_pidfd_send_signal, j->pidfd, SIGKILL, NULL, 0);
    }
}

static void kill_child(drupe_jail_t *j)
{
    siginfo_t info;

    if (j->pidfd < 0) {
        return;
    }
    drupe_jail_kill(j);
    while (waitid(P_PIDFD, (id_t)j->pidfd, &info, WEXITED) < 0 && errno == EINTR) {
    }
}

drupe_vm_err_t drupe_jail_reset(drupe_jail_t *j, struct drupe_error *err)
{
    if (!j->setup.is_reusable) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "jail: reset: it is not reusable");
    }
    if (has_forked(j)) {
        kill_child(j);
        if (j->pidfd >= 0) {
            (void)close(j->pidfd);
        }
        j->pidfd = -1;
        j->pid = -1;
        order(j, MAKER_WORKING);
    }
    return DRUPE_OK;
}

void drupe_jail_destroy(drupe_jail_t *j)
{
    if (j == NULL) {
        return;
    }
    kill_child(j);
    if (j->has_maker) {
        (void)!drupe_jail_ready(j, NULL); /* its error has been told or is of no use now */
        order(j, MAKER_QUIT);
        join_maker(j);
    }
    if (j->setup.lock_fd >= 0) { /* otherwise the id is another jail's */
        jail_cgroup_remove(j->setup.id, j->setup.cgroups);
        jail_directory_remove(&j->setup);
    }
    free_jail(j);
}

void drupe_jail_detach(drupe_jail_t *j)
{
    if (j == NULL) {
        return;
    }
    if (j->has_maker && !has_forked(j)) {
        drupe_jail_destroy(j);
        return;
    }
    if (j->has_maker) {
        order(j, MAKER_QUIT);
        join_maker(j);
    }
    free_jail(j);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shells on the starter's side: the set and its makers (shells.c), handing them out (shell_take.c),
 * the backend of the VMs in them (shell_machine.c), who listens to them (shell_watch.c); and the
 * process itself (shell_process.c).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <base/compiler.h>

#include "backends/backend.h"
#include "drupe/shell.h"
#include "shell/shell_protocol.h"

enum shell_phase {
    SHELL_PHASE_EMPTY, /* a jail, or none yet, without a process */
    SHELL_PHASE_MAKING,
    SHELL_PHASE_READY,
    SHELL_PHASE_USED,
    SHELL_PHASE_LEAVING, /* its process is being ended */
};

/* One place for a shell: a jail, in which one process follows another. */
struct shell {
    struct drupe_shells *shells;
    unsigned number;
    drupe_jail_t *jail; /* NULL: none yet. Its user's, according to the phase */
    int fd;             /* to the process; -1: none */
    struct backend_events events;
    atomic_bool is_killed;
    /* under the set's lock */
    enum shell_phase phase;
    bool is_reporting; /* events.ended is being called */
    bool has_ended;    /* or never will: not watched any more */
    uint64_t stats_asked;
    uint64_t stats_told;
    struct drupe_vm_stats stats;
};

struct drupe_shells {
    drupe_vm_t *shape; /* never run here; each process has its copy */
    struct drupe_restore_options restore;
    bool has_restore; /* its descriptors are owned */
    struct drupe_jail_config jail;
    char prefix[DRUPE_SHELL_PREFIX_MAX + 1];
    char *netns; /* of `jail`, owned like the next two */
    char *cpuset_cpus;
    char *cpuset_mems;
    unsigned ready;
    unsigned max;
    unsigned vcpus;

    pthread_t makers[DRUPE_SHELLS_MAKERS];
    unsigned maker_count;
    pthread_t watcher;
    bool has_watcher;
    int epoll_fd;
    int wake_fd; /* ends the watcher */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    /* under lock */
    struct shell **places; /* `max` of them */
    unsigned place_count;
    bool is_ending;
    uint64_t failures;
    struct drupe_error last_failure;
    uint64_t make_again_ns;
};

/* ---- In the process ---- */

struct shell_start {
    drupe_vm_t *vm;
    const struct drupe_restore_options *restore; /* NULL: it will be sent */
    int fd;                                      /* to the starter */
};

/* Its whole life; ctx is a struct shell_start. The exit status. */
int shell_process(void *ctx);

/* ---- In the starter ---- */

extern const struct backend backend_shell;

/* Send with up to SHELL_FDS_MAX descriptors. False: the process is gone. Never blocks. */
bool shell_send(const struct shell *s, const struct shell_request *r, const int *fds,
                unsigned count);
/*
 * READY or LOADED of a shell that is not watched, as asked for: what it says, or JAIL_FAILED when
 * it says nothing. No guest has run there yet.
 */
drupe_vm_err_t shell_hear(const struct shell *s, enum shell_answer_kind kind,
                          struct drupe_error *err) MUST_CHECK;

/* The process ends, the place is free again. Not watched, or has_ended. */
void shell_release(struct shell *s);

/* shell_watch.c: end and statistics are taken by the watcher from now on. 0 or -errno. */
int shell_watch(struct shell *s) MUST_CHECK;
/* Nobody listens to it any more, no report is under way. */
void shell_unwatch(struct shell *s);
void *shell_watcher_main(void *set);

/* False when the deadline has passed. */
bool shell_wait_locked(struct drupe_shells *shells, uint64_t deadline_ns);
unsigned shell_count_locked(const struct drupe_shells *shells, enum shell_phase phase);
/* One in that phase, or NULL. */
struct shell *shell_find_locked(const struct drupe_shells *shells, enum shell_phase phase);

/* By descriptor, as a jail has no paths: opened or duplicated, `from` may be NULL. What was opened
 * is to be closed, also after a failure. */
drupe_vm_err_t shell_open_restore(struct drupe_restore_options *to,
                                  const struct drupe_restore_options *from,
                                  struct drupe_error *err) MUST_CHECK;
void shell_close_restore(const struct drupe_restore_options *o);

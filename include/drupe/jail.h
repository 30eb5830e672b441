/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdrupe: the jail around a monitor (docs/jail.md).
 *
 * A jail is made in two halves. drupe_jail_prepare() returns at once while a thread of the library
 * makes what takes long: cgroup, namespaces, an empty root. drupe_jail_spawn() then costs little
 * more than a fork: the child has the namespaces already, closes what it was not told to keep,
 * drops ids and capabilities, and calls `run`. A pool prepares jails ahead.
 *
 *     drupe_jail_config_init(&cfg);
 *     cfg.id = "vm-1";
 *     drupe_jail_prepare(&cfg, &jail, &err);
 *     drupe_vm_create(&vm_cfg, &vm, &err);               // opens everything that has a path
 *     drupe_jail_spawn(jail, vm, keep, 1, monitor, ctx, &pid, &err);
 *     ...
 *     drupe_jail_destroy(jail);                          // kill, wait, remove
 *
 * Errors are JAIL_FAILED; the text begins with the step's name. After a failure nothing of the jail
 * runs: a child that could not take every step has ended before `run`.
 */
#pragma once

#include <sys/types.h>

#include "drupe/vm.h"

#ifdef __cplusplus
extern "C" {
#endif

enum drupe_jail_filter {
    DRUPE_JAIL_FILTER_KILL, /* a forbidden system call kills the process (SIGSYS) */
    DRUPE_JAIL_FILTER_TRAP, /* one line on descriptor 2 names the call, then exit status 148 */
    DRUPE_JAIL_FILTER_NONE, /* no seccomp filters */
};

#define DRUPE_JAIL_ID_SIZE_MAX    64u
#define DRUPE_JAIL_SECCOMP_STATUS 148
#define DRUPE_JAIL_KEEP_MAX       64u

/* Fill it with drupe_jail_config_init(), then change what differs. Borrowed for the call. */
struct drupe_jail_config {
    size_t struct_size;
    const char *id; /* 1 to 64 of A-Z a-z 0-9 and '-' */
    /*
     * An existing directory of the caller's, absolute: the jail's own files stand in <directory>/
     * jail. NULL: <base>/<id>, made (0700) and removed here, where <base> is /run/drupe for root,
     * $XDG_RUNTIME_DIR/drupe or /tmp/drupe-<uid> otherwise.
     */
    const char *directory;
    /* NULL: an empty read-only root. Otherwise an absolute directory that becomes the root. */
    const char *root;
    bool wants_kvm;         /* /dev/kvm in the jail, owned by its ids */
    bool wants_tun;         /* /dev/net/tun */
    bool wants_userfaultfd; /* /dev/userfaultfd, where the host has it, and /proc: live snapshots */
    bool is_daemon;         /* setsid() either way; standard streams become /dev/null */
    /* Root only: never 0 once in the jail. 0: ids of this jail alone, from 0x70000000 on. */
    uint32_t uid;
    uint32_t gid;
    const char *netns; /* NULL: a new, empty one; otherwise the path of one to join */
    /*
     * Join the one empty network namespace of all jails of this process that say so: a new one is
     * the dearest step. Nothing is in it, no filter allows a socket to be made, and Landlock keeps
     * abstract sockets apart. For pools; root only, ignored otherwise.
     */
    bool shares_netns;
    /*
     * After its process has ended, drupe_jail_reset() makes the jail ready for another: cgroup,
     * directory, root and ids stay, mount, PID, IPC and UTS namespaces are new each time. For
     * pools; root only, ignored otherwise.
     */
    bool is_reusable;
    enum drupe_jail_filter filter;

    /* Limits; 0 or NULL: none, unless said otherwise. A limit that this host cannot set is an
     * error, or left out with are_limits_optional. */
    bool are_limits_optional;
    uint64_t memory_max;  /* bytes, guest memory and at least 64 MiB more; no swap beside it */
    uint32_t pids_max;    /* threads and processes */
    uint32_t cpu_percent; /* 100: one CPU */
    const char *cpuset_cpus;
    const char *cpuset_mems;
    uint64_t file_size_max; /* RLIMIT_FSIZE, bytes */
    uint32_t files_max;     /* RLIMIT_NOFILE; 0: 2048 */
};

DRUPE_API void drupe_jail_config_init(struct drupe_jail_config *cfg);

typedef struct drupe_jail drupe_jail_t;

/* Validates, then begins in the background. On success *out is owed one drupe_jail_destroy(). */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_prepare(const struct drupe_jail_config *cfg,
                                                             drupe_jail_t **out,
                                                             struct drupe_error *err);

/* Wait until what can be made ahead is made. What failed then is told here, and by spawn. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_ready(drupe_jail_t *jail,
                                                           struct drupe_error *err);

/*
 * Start `run` in a process of its own inside the jail; what it returns is its exit status. Returns
 * when the jail is closed around it, or with the error of the step that failed. Once per jail, or
 * per drupe_jail_reset().
 *
 * The child holds descriptors 0 to 2, those of `vm` (may be NULL) and `keep`; all others are
 * closed. It starts on a stack of 1 MiB, with the caller's signal mask and an empty environment.
 * With a PID namespace it is process 1 there: only signals that it handles, and SIGKILL, reach it.
 * The caller waits for *pid, or leaves that to drupe_jail_destroy().
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_spawn(drupe_jail_t *jail, const drupe_vm_t *vm,
                                                           const int *keep, size_t keep_count,
                                                           int (*run)(void *ctx), void *ctx,
                                                           pid_t *pid, struct drupe_error *err);

/*
 * A jailed monitor opens no sockets, so a guest that connects to the host over vsock needs somebody
 * outside: a process that connects to `<vsock_path>_<port>` for it, and to nothing else. Forked
 * here, before drupe_jail_spawn(), whose child finds it; ends when nobody has the VM any more. *pid
 * is the caller's to wait for; -1: the VM has no vsock device.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_start_broker(drupe_vm_t *vm, pid_t *pid,
                                                                struct drupe_error *err);

/*
 * The calling process, which has one thread, becomes the jailed one: all of the above but the PID
 * namespace, which only a child can be in. After a failure the process is in no defined state and
 * must end.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_enter(const struct drupe_jail_config *cfg,
                                                           const drupe_vm_t *vm, const int *keep,
                                                           size_t keep_count,
                                                           struct drupe_error *err);

/*
 * Kill what runs in a reusable jail, wait for it, and begin to make it ready for one more process,
 * which finds nothing of the one before but what that was charged for in the cgroup. UNSUPPORTED
 * for a jail that is not reusable (an ordinary user's never is): destroy it then.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_reset(drupe_jail_t *jail,
                                                           struct drupe_error *err);

/* Kill what runs in it, and do not wait for it. */
DRUPE_API void drupe_jail_kill(drupe_jail_t *jail);

/* Kill what runs in it, wait for it, remove cgroup and directory. NULL is fine. */
DRUPE_API void drupe_jail_destroy(drupe_jail_t *jail);

/* Forget the jail without ending it: for a starter that leaves a detached VM behind. The next
 * drupe_jail_sweep() after its end removes what it leaves. */
DRUPE_API void drupe_jail_detach(drupe_jail_t *jail);

/*
 * Remove what jails of ended processes left in `base` (NULL: the default of this user) and in the
 * cgroups: whatever holds no lock any more. Returns how many were removed. Idempotent.
 */
DRUPE_API unsigned drupe_jail_sweep(const char *base);

/* ---- System-call filters ------------------------------------------------------------------- */

/* Which work a thread does; each kind has a list of its own. */
enum drupe_jail_thread {
    DRUPE_JAIL_THREAD_SETUP, /* builds the machine: main thread until the VM runs */
    DRUPE_JAIL_THREAD_MAIN,  /* waits for the VM's end and serves its starter */
    DRUPE_JAIL_THREAD_LOOP,  /* devices */
    DRUPE_JAIL_THREAD_VCPU,
    DRUPE_JAIL_THREAD_API,    /* control socket, snapshots */
    DRUPE_JAIL_THREAD_FILES,  /* shared folders */
    DRUPE_JAIL_THREAD_BROKER, /* a process that connects for a jailed monitor */
    DRUPE_JAIL_THREADS,
};

/*
 * Confine the calling thread from here on to its kind's list. Does nothing outside of a jail or
 * with FILTER_NONE. The library's own threads (loop, vCPU) do this themselves.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_confine(enum drupe_jail_thread kind,
                                                             struct drupe_error *err);

/*
 * For a process that something else has jailed, as drupe jailer does: no_new_privs and, from now
 * on, the filters of drupe_jail_confine(), here and in the library's threads.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jail_filter_process(enum drupe_jail_filter mode,
                                                                    struct drupe_error *err);

/* One row of the table that the filters are made from; false after the last. */
struct drupe_jail_rule {
    const char *call;
    const char *check; /* "" or which arguments are allowed */
    const char *reason;
    unsigned threads; /* bit 1 << enum drupe_jail_thread */
};

DRUPE_API bool drupe_jail_rule(unsigned index, struct drupe_jail_rule *out);
DRUPE_API const char *drupe_jail_thread_name(enum drupe_jail_thread kind);
/* Distinct system calls that the filter of this kind lets through. */
DRUPE_API unsigned drupe_jail_call_count(enum drupe_jail_thread kind);

/* ---- What this host and user get ----------------------------------------------------------- */

struct drupe_jail_report {
    bool is_root;
    bool has_user_namespace; /* needed without root */
    bool has_pid_namespace;
    bool has_empty_root;
    bool has_network_namespace;
    bool has_seccomp;
    int landlock_version;        /* 0: not in this kernel */
    int cgroup_version;          /* 0: none that we may write */
    char cgroup_controllers[64]; /* those that limits can be set with: "cpu cpuset memory pids" */
    char missing[160];           /* one line for people, "" when nothing is missing */
};

DRUPE_API void drupe_jail_probe(struct drupe_jail_report *out);

#ifdef __cplusplus
}
#endif

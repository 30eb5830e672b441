/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a jail, one file a subject, in the order in which they are taken (docs/jail.md).
 * Each fails with JAIL_FAILED and the step's name. Those above the line run in the maker: a thread
 * of the starter with namespaces of its own, or the process that jails itself; those below run in
 * the process that stays in the jail.
 */
#pragma once

#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include <base/compiler.h>

#include "drupe/jail.h"

#define JAIL_PATH_MAX      1024u
#define JAIL_CONTROLLERS   4u
#define JAIL_UID_BASE      UINT32_C(0x70000000)
#define JAIL_FILES_DEFAULT 2048u
#define JAIL_FDS_MAX       128u
#define JAIL_FOLDERS_MAX   32u

/* A validated copy of the caller's configuration, and what the steps hand on. */
struct jail_setup {
    char id[DRUPE_JAIL_ID_SIZE_MAX + 1];
    char directory[JAIL_PATH_MAX];
    bool owns_directory;
    char root[JAIL_PATH_MAX]; /* "": an empty one */
    char netns[JAIL_PATH_MAX];
    char cpuset_cpus[128];
    char cpuset_mems[128];
    bool is_root;
    bool wants_kvm;
    bool wants_tun;
    bool wants_userfaultfd;
    bool shares_netns;
    bool is_reusable;
    bool is_daemon;
    bool are_limits_optional;
    uint32_t uid;
    uint32_t gid;
    enum drupe_jail_filter filter;
    uint64_t memory_max;
    uint32_t pids_max;
    uint32_t cpu_percent;
    uint64_t file_size_max;
    uint32_t files_max;

    /* The VM's shared folders, known when the process is made: the only directories of the host
     * that stay open. */
    struct jail_folder {
        int fd;
        bool is_read_only;
    } folders[JAIL_FOLDERS_MAX];

    size_t folder_count;

    int lock_fd;      /* held as long as a process of the jail lives */
    int null_fd;      /* is_daemon: /dev/null of the host */
    int root_fd;      /* O_PATH of the new root for Landlock; -1: nothing may be opened */
    int netns_fd;     /* to be joined; -1: a new one */
    int pidns_fd;     /* is_reusable: the starter's own; -1 otherwise */
    unsigned cgroups; /* which controllers' groups were made */
    /* cgroup.procs that the process must still join (version 2); -1: none */
    int cgroup_procs_fd;
};

/* "<step>: <format>: <errno>". */
drupe_vm_err_t jail_failed(struct drupe_error *err, const char *step, int os_errno,
                           const char *format, ...) PRINTF_LIKE(4, 5);

/* setup.c */
void jail_setup_init(struct jail_setup *s);
drupe_vm_err_t jail_setup_take(struct jail_setup *s, const struct drupe_jail_config *cfg,
                               struct drupe_error *err) MUST_CHECK;
void jail_setup_close(struct jail_setup *s);
bool jail_id_is_valid(const char *id);
/* Where this user's jails are: false when there is no such place. */
bool jail_base(char path[JAIL_PATH_MAX]);

/* directory.c: the jail's directory, its lock; what dead ones left. */
drupe_vm_err_t jail_directory_make(struct jail_setup *s, struct drupe_error *err) MUST_CHECK;
void jail_directory_remove(const struct jail_setup *s);

/* cgroup.c */
enum jail_joiner {
    JAIL_JOIN_THREAD,  /* the calling thread, whose children inherit: version 1 can do that */
    JAIL_JOIN_PROCESS, /* the calling process */
};

/* Make the group, set the limits, join. What must be done by the process itself is left in
 * s->cgroup_procs_fd. */
drupe_vm_err_t jail_cgroup_make(struct jail_setup *s, enum jail_joiner who,
                                struct drupe_error *err) MUST_CHECK;
#define JAIL_ALL_CGROUPS ((1u << JAIL_CONTROLLERS) - 1)
/* Kill what is in the groups of that id and remove them; harmless when there are none. */
void jail_cgroup_remove(const char *id, unsigned cgroups);
int jail_cgroup_probe(char *controllers, size_t size);

/* namespace.c: CLONE_NEW* of the calling thread; ordinary users get a user namespace with it. */
drupe_vm_err_t jail_namespaces_make(struct jail_setup *s, bool with_pids,
                                    struct drupe_error *err) MUST_CHECK;
/*
 * Of a reusable jail's maker, before each process: fresh mount (a copy of the jail's own few
 * mounts), PID, IPC and UTS namespaces.
 */
drupe_vm_err_t jail_namespaces_renew(const struct jail_setup *s,
                                     struct drupe_error *err) MUST_CHECK;
/* root.c: mounts, device nodes, pivot_root. The calling thread's root is the jail afterwards. */
drupe_vm_err_t jail_root_enter(struct jail_setup *s, struct drupe_error *err) MUST_CHECK;
/* With folders or userfaultfd: /proc of this process's PID namespace, through which the server of
 * shared folders opens again what it holds. Only for root; ordinary users have it from
 * jail_root_enter(). */
drupe_vm_err_t jail_proc_mount(const struct jail_setup *s, struct drupe_error *err) MUST_CHECK;

/* --- in the jailed process --- */

/* drop.c: sorts `keep`, closes all else; descriptors 0 to 2 stay. */
drupe_vm_err_t jail_close_others(int *keep, size_t count, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t jail_limits_set(const struct jail_setup *s, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t jail_session_begin(struct jail_setup *s, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t jail_ids_drop(const struct jail_setup *s, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t jail_privileges_drop(const struct jail_setup *s, struct drupe_error *err) MUST_CHECK;
/* For the waiter of an ordinary user's jail, which has them in the jail's user namespace. */
bool jail_capabilities_forget(void) MUST_CHECK;

/* landlock.c */
int jail_landlock_version(void);
drupe_vm_err_t jail_landlock_enter(const struct jail_setup *s, struct drupe_error *err) MUST_CHECK;

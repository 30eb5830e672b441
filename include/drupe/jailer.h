/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdrupe: Firecracker's jailer. The calling process jails itself in
 * <chroot_base>/<name of exec_file>/<id>/root and becomes exec_file there. Root only; one thread.
 */
#pragma once

#include <sys/types.h>

#include "drupe/vm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero it, set struct_size, then what differs. */
struct drupe_jailer_config {
    size_t struct_size;
    const char *id;
    const char *exec_file; /* a static executable */
    uint32_t uid;
    uint32_t gid;
    const char *chroot_base;    /* NULL: /srv/jailer */
    const char *const *cgroups; /* NULL, or "file=value" and a NULL */
    unsigned cgroup_version;    /* 0 (as 1), 1 or 2 */
    const char *parent_cgroup;  /* NULL: the name of exec_file */
    const char *netns;          /* NULL: the starter's */
    const char *const *limits;  /* NULL, or "fsize=bytes", "no-file=count" and a NULL */
    bool is_daemon;
    bool has_pid_namespace;
    const char *const *args; /* NULL, or more arguments and a NULL */
};

/*
 * Does not return on success; with has_pid_namespace the starter returns with DRUPE_OK once its
 * child runs, whose number stands in <name>.pid in the jail's root. After an error the process is
 * in no defined state and must end.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_jailer_exec(const struct drupe_jailer_config *cfg,
                                                            struct drupe_error *err);

#ifdef __cplusplus
}
#endif

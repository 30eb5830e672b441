/* SPDX-License-Identifier: Apache-2.0 */
/* What of a jail this host and user get: tried, not guessed. */
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/fmt.h>

#include "jail/jail_internal.h"

enum {
    HAS_USER = 1,
    HAS_PIDS = 2,
    HAS_ROOT = 4,
    HAS_NETWORK = 8,
};

/* In a child, whose exit status says what it was given. */
static _Noreturn void try_namespaces(bool is_root)
{
    int found = 0;

    if (is_root || unshare(CLONE_NEWUSER) == 0) {
        found |= is_root ? 0 : HAS_USER;
        found |= unshare(CLONE_NEWPID) == 0 ? HAS_PIDS : 0;
        found |= unshare(CLONE_NEWNET) == 0 ? HAS_NETWORK : 0;
        if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("drupe", "/tmp", "tmpfs", 0, "size=4k") == 0) {
            found |= HAS_ROOT;
        }
    }
    _exit(found);
}

static void add_missing(struct drupe_jail_report *out, bool has, const char *what)
{
    const size_t length = strlen(out->missing);

    if (!has) {
        (void)fmt_snprintf(out->missing + length, sizeof(out->missing) - length, "%s%s",
                           length == 0 ? "" : ", ", what);
    }
}

static void name_missing(struct drupe_jail_report *out)
{
    if (!out->is_root && !out->has_user_namespace) {
        add_missing(out, false, "user namespaces, so everything but seccomp and Landlock");
    } else {
        add_missing(out, out->has_pid_namespace, "PID namespaces");
        add_missing(out, out->has_empty_root, "a root of its own");
        add_missing(out, out->has_network_namespace, "network namespaces");
    }
    add_missing(out, out->is_root, "ids of its own");
    add_missing(out, out->has_seccomp, "seccomp filters");
    add_missing(out, out->landlock_version > 0, "Landlock");
    add_missing(out, strstr(out->cgroup_controllers, "memory") != NULL, "memory limits (cgroup)");
    add_missing(out, strstr(out->cgroup_controllers, "pids") != NULL, "process limits (cgroup)");
}

void drupe_jail_probe(struct drupe_jail_report *out)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;
    int status = 0;
    pid_t pid = -1;

    memset(out, 0, sizeof(*out));
    out->is_root = geteuid() == 0;
    out->has_seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    out->landlock_version = jail_landlock_version();
    out->cgroup_version =
        jail_cgroup_probe(out->cgroup_controllers, sizeof(out->cgroup_controllers));
    pid = fork();
    if (pid == 0) {
        try_namespaces(out->is_root);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid > 0 && WIFEXITED(status)) {
        out->has_user_namespace = (WEXITSTATUS(status) & HAS_USER) != 0;
        out->has_pid_namespace = (WEXITSTATUS(status) & HAS_PIDS) != 0;
        out->has_empty_root = (WEXITSTATUS(status) & HAS_ROOT) != 0;
        out->has_network_namespace = (WEXITSTATUS(status) & HAS_NETWORK) != 0;
    }
    name_missing(out);
}

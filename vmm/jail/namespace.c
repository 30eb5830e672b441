/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces of the calling thread. unshare() gives a thread its own, which the processes that it
 * forks inherit; so a thread can make them ahead. User namespaces are the exception: only a process
 * of one thread can get one, so ordinary users pay for it after the fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

#include "jail/jail_internal.h"

static int write_file(const char *path, const char *text)
{
    const size_t size = strlen(text);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r = 0;

    if (fd < 0) {
        return -errno;
    }
    if (write(fd, text, size) != (ssize_t)size) {
        r = -errno;
    }
    (void)close(fd);
    return r;
}

/* The ids stay what they are, and are the only ones there: no setuid, nobody else's files. */
static drupe_vm_err_t map_ids(const struct jail_setup *s, struct drupe_error *err)
{
    char map[48];
    int r = write_file("/proc/self/setgroups", "deny");

    (void)fmt_snprintf(map, sizeof(map), "%u %u 1\n", s->uid, s->uid);
    r = r < 0 ? r : write_file("/proc/self/uid_map", map);
    (void)fmt_snprintf(map, sizeof(map), "%u %u 1\n", s->gid, s->gid);
    r = r < 0 ? r : write_file("/proc/self/gid_map", map);
    return r < 0 ? jail_failed(err, "user namespace", -r, "map the ids") : DRUPE_OK;
}

/* The empty network namespace that the jails of this process share; made by the first. */
static int shared_netns_fd = -1;
static pthread_mutex_t shared_netns_lock = PTHREAD_MUTEX_INITIALIZER;

static drupe_vm_err_t join_shared_netns(struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&shared_netns_lock);
    if (shared_netns_fd < 0) {
        if (unshare(CLONE_NEWNET) < 0) {
            r = jail_failed(err, "network namespace", errno, "unshare");
        } else {
            shared_netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        }
    } else if (setns(shared_netns_fd, CLONE_NEWNET) < 0) {
        r = jail_failed(err, "network namespace", errno, "join the shared one");
    }
    (void)pthread_mutex_unlock(&shared_netns_lock);
    return r;
}

static drupe_vm_err_t join_named_netns(struct jail_setup *s, struct drupe_error *err)
{
    s->netns_fd = open(s->netns, O_RDONLY | O_CLOEXEC);
    if (s->netns_fd < 0) {
        return jail_failed(err, "network namespace", errno, "open %s", s->netns);
    }
    if (setns(s->netns_fd, CLONE_NEWNET) < 0) {
        return jail_failed(err, "network namespace", errno, "join %s", s->netns);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t make_user_namespace(const struct jail_setup *s, struct drupe_error *err)
{
    if (unshare(CLONE_NEWUSER) < 0) {
        return jail_failed(err, "user namespace", errno, "unshare");
    }
    return map_ids(s, err);
}

drupe_vm_err_t jail_namespaces_make(struct jail_setup *s, bool with_pids, struct drupe_error *err)
{
    int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (with_pids ? CLONE_NEWPID : 0);
    drupe_vm_err_t r = DRUPE_OK;

    if (s->netns[0] != '\0') {
        r = join_named_netns(s, err);
    } else if (s->is_root && s->shares_netns) {
        r = join_shared_netns(err);
    } else {
        flags |= CLONE_NEWNET;
    }
    if (r == DRUPE_OK && !s->is_root) {
        r = make_user_namespace(s, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    if (unshare(flags) < 0) {
        return jail_failed(err, "namespaces", errno, "unshare");
    }
    if (sethostname("drupe", 5) < 0) {
        return jail_failed(err, "namespaces", errno, "set the host name");
    }
    if (s->is_reusable) {
        s->pidns_fd = open("/proc/thread-self/ns/pid", O_RDONLY | O_CLOEXEC);
        if (s->pidns_fd < 0) {
            return jail_failed(err, "namespaces", errno, "open /proc/thread-self/ns/pid");
        }
    }
    return DRUPE_OK;
}

drupe_vm_err_t jail_namespaces_renew(const struct jail_setup *s, struct drupe_error *err)
{
    /* A PID namespace for children is asked for from within one's own: first back to that. */
    if (setns(s->pidns_fd, CLONE_NEWPID) < 0 ||
        unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID) < 0) {
        return jail_failed(err, "namespaces", errno, "renew them");
    }
    return DRUPE_OK;
}

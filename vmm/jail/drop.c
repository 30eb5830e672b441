/* SPDX-License-Identifier: Apache-2.0 */
/* What the jailed process gives up, each loss looked at afterwards. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/jail_internal.h"

static int compare_fds(const void *a, const void *b)
{
    const int x = *(const int *)a;
    const int y = *(const int *)b;

    return (x > y) - (x < y);
}

static int close_between(unsigned first, unsigned last)
{
    if (first > last) {
        return 0;
    }
    return syscall(SYS_close_range, first, last, 0) < 0 ? -errno : 0;
}

drupe_vm_err_t jail_close_others(int *keep, size_t count, struct drupe_error *err)
{
    unsigned next = STDERR_FILENO + 1;
    int r = 0;

    qsort(keep, count, sizeof(*keep), compare_fds);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (keep[i] >= (int)next) {
            r = close_between(next, (unsigned)keep[i] - 1);
            next = (unsigned)keep[i] + 1;
        }
    }
    r = r == 0 ? close_between(next, UINT32_MAX) : r;
    return r < 0 ? jail_failed(err, "descriptors", -r, "close_range") : DRUPE_OK;
}

static int limit(int resource, rlim_t value)
{
    const struct rlimit both = { .rlim_cur = value, .rlim_max = value };

    return setrlimit((__rlimit_resource_t)resource, &both) < 0 ? -errno : 0;
}

drupe_vm_err_t jail_limits_set(const struct jail_setup *s, struct drupe_error *err)
{
    struct rlimit files;
    rlim_t files_max = s->files_max;
    int r = limit(RLIMIT_CORE, 0);

    /* An ordinary user cannot raise it; lower is as good. */
    if (r == 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files_max = min_of(files_max, files.rlim_max);
    }
    r = r == 0 ? limit(RLIMIT_NOFILE, files_max) : r;
    r = r == 0 ? limit(RLIMIT_MSGQUEUE, 0) : r;
    if (r == 0 && s->file_size_max != 0) {
        r = limit(RLIMIT_FSIZE, s->file_size_max);
    }
    return r < 0 ? jail_failed(err, "rlimits", -r, "setrlimit") : DRUPE_OK;
}

drupe_vm_err_t jail_session_begin(struct jail_setup *s, struct drupe_error *err)
{
    /* No terminal to push input into. A leader of a group has to be left by fork; that is what
     * EPERM says, and then it has a session of its own already or a starter that chose so. */
    if (setsid() < 0 && errno != EPERM) {
        return jail_failed(err, "session", errno, "setsid");
    }
    for (int fd = 0; s->null_fd >= 0 && fd <= STDERR_FILENO; fd++) {
        if (dup2(s->null_fd, fd) < 0) {
            return jail_failed(err, "session", errno, "standard streams to /dev/null");
        }
    }
    if (s->null_fd > STDERR_FILENO) {
        (void)close(s->null_fd);
        s->null_fd = -1;
    }
    return DRUPE_OK;
}

/* Raw calls: glibc's would ask every thread of the process, and there is one. */
drupe_vm_err_t jail_ids_drop(const struct jail_setup *s, struct drupe_error *err)
{
    uid_t uids[3] = { 0 };
    gid_t gids[3] = { 0 };

    if (!s->is_root) {
        return s->uid != 0 ? DRUPE_OK : jail_failed(err, "ids", EPERM, "the id is 0");
    }
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0 ||
        syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0) {
        return jail_failed(err, "ids", errno, "become %u:%u", s->uid, s->gid);
    }
    if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 ||
        getresgid(&gids[0], &gids[1], &gids[2]) < 0 || getgroups(0, NULL) != 0) {
        return jail_failed(err, "ids", errno, "read the ids again");
    }
    for (int i = 0; i < 3; i++) {
        if (uids[i] != s->uid || gids[i] != s->gid || uids[i] == 0 || gids[i] == 0) {
            return jail_failed(err, "ids", EPERM, "the ids are not those that were set");
        }
    }
    return DRUPE_OK;
}

static int drop_bounding_set(void)
{
    unsigned long cap = 0;

    while (prctl(PR_CAPBSET_DROP, cap) == 0) {
        cap++;
    }
    return cap > 0 && errno == EINVAL ? 0 : -errno; /* EINVAL: beyond the last */
}

#define CAP_BIT(cap) (1u << (cap))

/*
 * The server of shared folders acts for a guest whose root is root in them, under ids that own
 * nothing there. Landlock confines what these reach to the folders; without it they are dropped.
 */
static uint32_t folder_capabilities(const struct jail_setup *s)
{
    return s->is_root && s->folder_count > 0 && jail_landlock_version() > 0
               ? CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_FOWNER) |
                     CAP_BIT(CAP_FSETID)
               : 0;
}

static int drop_capabilities(uint32_t kept)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    memset(caps, 0, sizeof(caps));
    caps[0].permitted = kept;
    caps[0].effective = kept;
    if (syscall(SYS_capset, &header, caps) < 0 || syscall(SYS_capget, &header, caps) < 0) {
        return -errno;
    }
    if (caps[0].effective != kept || caps[0].permitted != kept || caps[0].inheritable != 0 ||
        (caps[1].effective | caps[1].permitted | caps[1].inheritable) != 0) {
        return -EPERM;
    }
    return 0;
}

bool jail_capabilities_forget(void)
{
    return drop_capabilities(0) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/*
 * Ids and capabilities, in the one order that works: the bounding set needs CAP_SETPCAP, which goes
 * with the ids.
 */
drupe_vm_err_t jail_privileges_drop(const struct jail_setup *s, struct drupe_error *err)
{
    const uint32_t kept = folder_capabilities(s);
    const unsigned long keep_over_ids = kept != 0 ? SECBIT_KEEP_CAPS : 0;
    drupe_vm_err_t e = DRUPE_OK;
    int r = drop_bounding_set();

    if (r < 0) {
        return jail_failed(err, "capabilities", -r, "empty the bounding set");
    }
    /* Locked as well: no exec as id 0 gives anything back. */
    if (prctl(PR_SET_SECUREBITS, keep_over_ids | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
                                     SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED) < 0 &&
        errno != EPERM) {
        return jail_failed(err, "capabilities", errno, "lock them");
    }
    e = jail_ids_drop(s, err);
    if (e != DRUPE_OK) {
        return e;
    }
    r = drop_capabilities(kept);
    if (r < 0) {
        return jail_failed(err, "capabilities", -r, "drop all");
    }
    /*
     * A process that is not dumpable cannot read its own page map. Ids that no other process has
     * leave nobody who could look in instead.
     */
    if (prctl(PR_SET_DUMPABLE, s->is_root && s->wants_userfaultfd ? 1 : 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
        return jail_failed(err, "no_new_privs", errno, "prctl");
    }
    return DRUPE_OK;
}

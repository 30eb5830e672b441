// SPDX-License-Identifier: Apache-2.0
/* The calls that read and change credentials: what a setter accepts, the getter shows. */
#include <proc/proc_internal.h>

#include <core/string.h>
#include <mm/slab.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define CAP_SETGID  6u
#define CAP_SETUID  7u
#define CAP_SETPCAP 8u
#define NGROUPS_MAX 65536u
#define UNCHANGED   UINT32_MAX

#define SECBIT_NOROOT          (1u << 0)
#define SECBIT_NO_SETUID_FIXUP (1u << 2)
#define SECBIT_KEEP_CAPS       (1u << 4)

long sys_getuid(void)
{
    return current->cred->uid;
}

long sys_geteuid(void)
{
    return current->cred->euid;
}

long sys_getgid(void)
{
    return current->cred->gid;
}

long sys_getegid(void)
{
    return current->cred->egid;
}

long sys_getresuid(void __user *real, void __user *effective, void __user *saved)
{
    const struct cred *c = current->cred;

    if (put_user32(c->uid, real) < 0 || put_user32(c->euid, effective) < 0 ||
        put_user32(c->suid, saved) < 0) {
        return -EFAULT;
    }
    return 0;
}

long sys_getresgid(void __user *real, void __user *effective, void __user *saved)
{
    const struct cred *c = current->cred;

    if (put_user32(c->gid, real) < 0 || put_user32(c->egid, effective) < 0 ||
        put_user32(c->sgid, saved) < 0) {
        return -EFAULT;
    }
    return 0;
}

/* --- setters -------------------------------------------------------------------------------------
 */

/* capabilities(7): "Effect of user ID changes on capabilities". */
static void fix_capabilities(struct cred *c, const struct cred *old)
{
    bool had_root = old->uid == 0 || old->euid == 0 || old->suid == 0;
    bool has_root = c->uid == 0 || c->euid == 0 || c->suid == 0;

    if (c->securebits & SECBIT_NO_SETUID_FIXUP) {
        return;
    }
    if (had_root && !has_root) {
        if (!(c->securebits & SECBIT_KEEP_CAPS)) {
            c->cap_permitted = 0;
            c->cap_effective = 0;
        }
        c->cap_ambient = 0;
    }
    if (old->euid == 0 && c->euid != 0) {
        c->cap_effective = 0;
    } else if (old->euid != 0 && c->euid == 0) {
        c->cap_effective = c->cap_permitted;
    }
}

static struct cred *copy_own(void)
{
    return cred_copy(current->cred);
}

static long install_uids(struct cred *c)
{
    c->fsuid = c->euid;
    fix_capabilities(c, current->cred);
    cred_install(c);
    return 0;
}

static long install_gids(struct cred *c)
{
    c->fsgid = c->egid;
    cred_install(c);
    return 0;
}

static bool is_own_uid(uid_t uid)
{
    const struct cred *c = current->cred;

    return uid == UNCHANGED || uid == c->uid || uid == c->euid || uid == c->suid;
}

static bool is_own_gid(gid_t gid)
{
    const struct cred *c = current->cred;

    return gid == UNCHANGED || gid == c->gid || gid == c->egid || gid == c->sgid;
}

long sys_setuid(unsigned uid)
{
    bool is_capable = cred_is_capable(current->cred, CAP_SETUID);
    struct cred *c;

    if (uid == UNCHANGED) {
        return -EINVAL;
    }
    if (!is_capable && uid != current->cred->uid && uid != current->cred->suid) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    if (is_capable) {
        c->uid = uid;
        c->suid = uid;
    }
    c->euid = uid;
    return install_uids(c);
}

long sys_setgid(unsigned gid)
{
    bool is_capable = cred_is_capable(current->cred, CAP_SETGID);
    struct cred *c;

    if (gid == UNCHANGED) {
        return -EINVAL;
    }
    if (!is_capable && gid != current->cred->gid && gid != current->cred->sgid) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    if (is_capable) {
        c->gid = gid;
        c->sgid = gid;
    }
    c->egid = gid;
    return install_gids(c);
}

long sys_setreuid(unsigned real, unsigned effective)
{
    const struct cred *old = current->cred;
    struct cred *c;

    if (!cred_is_capable(old, CAP_SETUID) &&
        ((real != UNCHANGED && real != old->uid && real != old->euid) || !is_own_uid(effective))) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    c->uid = real != UNCHANGED ? real : c->uid;
    c->euid = effective != UNCHANGED ? effective : c->euid;
    if (real != UNCHANGED || (effective != UNCHANGED && effective != old->uid)) {
        c->suid = c->euid;
    }
    return install_uids(c);
}

long sys_setregid(unsigned real, unsigned effective)
{
    const struct cred *old = current->cred;
    struct cred *c;

    if (!cred_is_capable(old, CAP_SETGID) &&
        ((real != UNCHANGED && real != old->gid && real != old->egid) || !is_own_gid(effective))) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    c->gid = real != UNCHANGED ? real : c->gid;
    c->egid = effective != UNCHANGED ? effective : c->egid;
    if (real != UNCHANGED || (effective != UNCHANGED && effective != old->gid)) {
        c->sgid = c->egid;
    }
    return install_gids(c);
}

long sys_setresuid(unsigned real, unsigned effective, unsigned saved)
{
    struct cred *c;

    if (!cred_is_capable(current->cred, CAP_SETUID) &&
        !(is_own_uid(real) && is_own_uid(effective) && is_own_uid(saved))) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    c->uid = real != UNCHANGED ? real : c->uid;
    c->euid = effective != UNCHANGED ? effective : c->euid;
    c->suid = saved != UNCHANGED ? saved : c->suid;
    return install_uids(c);
}

long sys_setresgid(unsigned real, unsigned effective, unsigned saved)
{
    struct cred *c;

    if (!cred_is_capable(current->cred, CAP_SETGID) &&
        !(is_own_gid(real) && is_own_gid(effective) && is_own_gid(saved))) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    c->gid = real != UNCHANGED ? real : c->gid;
    c->egid = effective != UNCHANGED ? effective : c->egid;
    c->sgid = saved != UNCHANGED ? saved : c->sgid;
    return install_gids(c);
}

long sys_setfsuid(unsigned uid)
{
    uid_t old = current->cred->fsuid;
    struct cred *c;

    if (uid == UNCHANGED || uid == old ||
        !(is_own_uid(uid) || cred_is_capable(current->cred, CAP_SETUID))) {
        return old;
    }
    c = copy_own();
    if (c) {
        c->fsuid = uid;
        cred_install(c);
    }
    return old;
}

long sys_setfsgid(unsigned gid)
{
    gid_t old = current->cred->fsgid;
    struct cred *c;

    if (gid == UNCHANGED || gid == old ||
        !(is_own_gid(gid) || cred_is_capable(current->cred, CAP_SETGID))) {
        return old;
    }
    c = copy_own();
    if (c) {
        c->fsgid = gid;
        cred_install(c);
    }
    return old;
}

/* --- supplementary groups
 * ------------------------------------------------------------------------- */

long sys_getgroups(int size, void __user *list)
{
    const struct cred *c = current->cred;

    if (size < 0) {
        return -EINVAL;
    }
    if (size > 0) {
        if ((uint32_t)size < c->group_count) {
            return -EINVAL;
        }
        if (c->group_count > 0 &&
            copy_to_user(list, c->groups, c->group_count * sizeof(*c->groups)) < 0) {
            return -EFAULT;
        }
    }
    return c->group_count;
}

/* Heap sort: no recursion, no worst case that a program could choose. */
static void sort_gids(gid_t *a, uint32_t count)
{
    for (uint32_t end = count, start = count / 2; end > 1;) {
        uint32_t root;
        gid_t value;

        if (start > 0) {
            start--;
        } else {
            gid_t last = a[--end];

            a[end] = a[0];
            a[0] = last;
        }
        root = start;
        value = a[root];
        for (uint32_t child = 2 * root + 1; child < end; child = 2 * root + 1) {
            child += child + 1 < end && a[child + 1] > a[child];
            if (a[child] <= value) {
                break;
            }
            a[root] = a[child];
            root = child;
        }
        a[root] = value;
    }
}

long sys_setgroups(int size, void __user *list)
{
    gid_t *groups = NULL;
    struct cred *c;

    if (!cred_is_capable(current->cred, CAP_SETGID)) {
        return -EPERM;
    }
    if (size < 0 || (uint32_t)size > NGROUPS_MAX) {
        return -EINVAL;
    }
    if (size > 0) {
        groups = kmalloc_array((size_t)size, sizeof(*groups), GFP_KERNEL);
        if (!groups) {
            return -ENOMEM;
        }
        if (copy_from_user(groups, list, (size_t)size * sizeof(*groups)) < 0) {
            kfree(groups);
            return -EFAULT;
        }
        sort_gids(groups, (uint32_t)size);
    }
    c = copy_own();
    if (!c) {
        kfree(groups);
        return -ENOMEM;
    }
    kfree(c->groups);
    c->groups = groups;
    c->group_count = (uint32_t)size;
    cred_install(c);
    return 0;
}

/* --- capabilities
 * ----------------------------------------------------------------------------------- */

#define CAPABILITY_VERSION_1 0x19980330u
#define CAPABILITY_VERSION_2 0x20071026u
#define CAPABILITY_VERSION_3 0x20080522u

struct cap_header {
    uint32_t version;
    int32_t pid;
};

struct cap_words {
    uint32_t effective;
    uint32_t permitted;
    uint32_t inheritable;
};

/* Words per set of the version asked for; an unknown one is answered with ours (spec R-ID-3). */
static int cap_version(void __user *to, struct cap_header *h)
{
    if (copy_from_user(h, to, sizeof(*h)) < 0) {
        return -EFAULT;
    }
    switch (h->version) {
    case CAPABILITY_VERSION_1:
        return 1;
    case CAPABILITY_VERSION_2:
    case CAPABILITY_VERSION_3:
        return 2;
    default:
        return put_user32(CAPABILITY_VERSION_3, to) < 0 ? -EFAULT : -EINVAL;
    }
}

long sys_capget(void __user *header, void __user *data)
{
    struct cap_header h;
    struct cap_words w[2];
    const struct cred *c;
    uint64_t flags;
    struct task *t;
    int words = cap_version(header, &h);

    if (words < 0) {
        return words == -EINVAL && !data ? 0 : words;
    }
    if (h.pid < 0) {
        return -EINVAL;
    }
    t = h.pid == 0 ? task_get(current) : task_find(h.pid);
    if (!t) {
        return -ESRCH;
    }
    flags = spin_lock_irqsave(&process_tree_lock);
    c = cred_get(t->cred);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    task_put(t);
    for (unsigned i = 0; i < 2; i++) {
        w[i] = (struct cap_words){ (uint32_t)(c->cap_effective >> (32 * i)),
                                   (uint32_t)(c->cap_permitted >> (32 * i)),
                                   (uint32_t)(c->cap_inheritable >> (32 * i)) };
    }
    cred_put(c);
    return copy_to_user(data, w, (size_t)words * sizeof(w[0]));
}

long sys_capset(void __user *header, void __user *data)
{
    const struct cred *old = current->cred;
    struct cap_header h;
    struct cap_words w[2] = { 0 };
    uint64_t effective;
    uint64_t permitted;
    uint64_t inheritable;
    struct cred *c;
    int words = cap_version(header, &h);

    if (words < 0) {
        return words;
    }
    if (h.pid != 0 && h.pid != current->tid) {
        return -EPERM;
    }
    if (copy_from_user(w, data, (size_t)words * sizeof(w[0])) < 0) {
        return -EFAULT;
    }
    effective = w[0].effective | (uint64_t)w[1].effective << 32;
    permitted = w[0].permitted | (uint64_t)w[1].permitted << 32;
    inheritable = w[0].inheritable | (uint64_t)w[1].inheritable << 32;
    if ((permitted & ~old->cap_permitted) || (effective & ~permitted) ||
        (inheritable & ~(old->cap_inheritable | old->cap_bounding)) ||
        ((inheritable & ~(old->cap_inheritable | old->cap_permitted)) &&
         !cred_is_capable(old, CAP_SETPCAP))) {
        return -EPERM;
    }
    c = copy_own();
    if (!c) {
        return -ENOMEM;
    }
    c->cap_effective = effective;
    c->cap_permitted = permitted;
    c->cap_inheritable = inheritable;
    c->cap_ambient &= permitted & inheritable;
    cred_install(c);
    return 0;
}

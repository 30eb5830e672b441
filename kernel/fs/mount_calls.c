/* SPDX-License-Identifier: Apache-2.0 */
/* mount(2) and umount2(2). */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <mm/page.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)
#define MS_MGC_MASK 0xffff0000u
#define MS_MGC_VAL  0xc0ed0000u

/* What mount(2) was given, in kernel memory. */
struct request {
    char *source; /* NULL: none */
    char *target;
    char *type;
    char *options;
    unsigned flags;
};

static int optional_name(const void __user *from, char **out)
{
    *out = NULL;
    return from ? name_get(from, out) : 0;
}

static void optional_put(char *name)
{
    if (name) {
        name_put(name);
    }
}

/* The fourth argument of old: at most a page of text, maybe shorter at the end of memory. */
static int options_get(const void __user *from, char **out)
{
    struct page *p;
    char *text;
    size_t missing;

    *out = NULL;
    if (!from) {
        return 0;
    }
    p = page_alloc(0, GFP_KERNEL);
    if (!p) {
        return -ENOMEM;
    }
    text = page_address(p);
    missing = copy_from_user_partial(text, from, PAGE_SIZE);
    if (missing == PAGE_SIZE) {
        page_put(p);
        return -EFAULT;
    }
    text[PAGE_SIZE - 1 - (missing ? missing - 1 : 0)] = '\0';
    *out = text;
    return 0;
}

static int mount_from(const struct request *r, const struct path *on,
                      int (*act)(const struct path *from, const struct path *on))
{
    struct path from;
    int err;

    if (!r->source || !*r->source) {
        return -EINVAL;
    }
    err = path_lookup(AT_FDCWD, r->source, LOOKUP_FOLLOW, &from);
    if (err == 0) {
        err = act(&from, on);
        path_put(&from);
    }
    return err;
}

static int run(const struct request *r)
{
    struct path on;
    int err = path_lookup(AT_FDCWD, r->target, LOOKUP_FOLLOW, &on);

    if (err < 0) {
        return err;
    }
    if (r->flags & MS_REMOUNT) {
        err = mount_remount(&on, r->flags, (r->flags & MS_BIND) != 0);
    } else if (r->flags & MS_BIND) {
        err = mount_from(r, &on, mount_bind);
    } else if (r->flags & PROPAGATION) {
        /* One mount tree: every mount is private already. */
        err = r->flags & (MS_SHARED | MS_SLAVE) ? -EINVAL : 0;
    } else if (r->flags & MS_MOVE) {
        err = mount_from(r, &on, mount_move);
    } else if (!r->type) {
        err = -EINVAL;
    } else {
        err = mount_file_system(r->type, r->source, &on, r->flags, r->options);
    }
    path_put(&on);
    return err;
}

long sys_mount(const char __user *source, const char __user *target, const char __user *type,
               unsigned long flags, void __user *options)
{
    struct request r = { .flags = (unsigned)flags };
    int err;

    if (!cred_is_capable(current->cred, CAP_SYS_ADMIN)) {
        return -EPERM;
    }
    if ((r.flags & MS_MGC_MASK) == MS_MGC_VAL) {
        r.flags &= ~MS_MGC_MASK;
    }
    err = optional_name(type, &r.type);
    if (err == 0) {
        err = optional_name(source, &r.source);
    }
    if (err == 0) {
        err = options_get(options, &r.options);
    }
    if (err == 0) {
        err = name_get(target, &r.target);
    }
    if (err == 0) {
        err = run(&r);
        name_put(r.target);
    }
    optional_put(r.options);
    optional_put(r.source);
    optional_put(r.type);
    return err;
}

#define MNT_FORCE       1u
#define MNT_DETACH      2u
#define UMOUNT_NOFOLLOW 8u

long sys_umount2(const char __user *target, int flags)
{
    struct path p;
    char *name;
    int err;

    if ((unsigned)flags & ~(MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW)) {
        return -EINVAL;
    }
    if (!cred_is_capable(current->cred, CAP_SYS_ADMIN)) {
        return -EPERM;
    }
    err = name_get(target, &name);
    if (err < 0) {
        return err;
    }
    err = path_lookup(AT_FDCWD, name, (unsigned)flags & UMOUNT_NOFOLLOW ? 0u : LOOKUP_FOLLOW, &p);
    name_put(name);
    if (err == 0) {
        err = mount_detach(&p, (unsigned)flags);
        path_put(&p);
    }
    return err;
}

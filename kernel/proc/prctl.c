// SPDX-License-Identifier: Apache-2.0
/* prctl(2) and its relatives: odds and ends of a task's state. */
#include <arch/ops.h>
#include <core/string.h>
#include <mm/mm.h>
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define PR_SET_PDEATHSIG       1
#define PR_GET_PDEATHSIG       2
#define PR_GET_DUMPABLE        3
#define PR_SET_DUMPABLE        4
#define PR_GET_KEEPCAPS        7
#define PR_SET_KEEPCAPS        8
#define PR_GET_TIMING          13
#define PR_SET_NAME            15
#define PR_GET_NAME            16
#define PR_GET_SECCOMP         21
#define PR_CAPBSET_READ        23
#define PR_CAPBSET_DROP        24
#define PR_GET_SECUREBITS      27
#define PR_SET_SECUREBITS      28
#define PR_SET_TIMERSLACK      29
#define PR_GET_TIMERSLACK      30
#define PR_SET_CHILD_SUBREAPER 36
#define PR_GET_CHILD_SUBREAPER 37
#define PR_SET_NO_NEW_PRIVS    38
#define PR_GET_NO_NEW_PRIVS    39
#define PR_CAP_AMBIENT         47
#define PR_SET_VMA             0x53564d41

#define PR_CAP_AMBIENT_IS_SET    1
#define PR_CAP_AMBIENT_RAISE     2
#define PR_CAP_AMBIENT_LOWER     3
#define PR_CAP_AMBIENT_CLEAR_ALL 4

#define CAP_SETPCAP 8u

#define SECBIT_KEEP_CAPS        (1u << 4)
#define SECBIT_KEEP_CAPS_LOCKED (1u << 5)
#define SECBITS_ALL             0xffu
#define SECBITS_LOCKS           0xaau

#define TIMER_SLACK_DEFAULT_NS 50000u

static long set_name(const void __user *from)
{
    char name[TASK_NAME_MAX] = { 0 };
    ssize_t length = strncpy_from_user(name, from, sizeof(name));

    if (length == -EFAULT) {
        return -EFAULT;
    }
    name[TASK_NAME_MAX - 1] = '\0'; /* a longer one is cut */
    memcpy(current->name, name, sizeof(name));
    return 0;
}

static long set_securebits(uint32_t bits)
{
    const struct cred *old = current->cred;
    uint32_t locked = (old->securebits & SECBITS_LOCKS) >> 1;
    struct cred *c;

    if (!cred_is_capable(old, CAP_SETPCAP) || (bits & ~SECBITS_ALL) ||
        ((bits ^ old->securebits) & locked) || (old->securebits & SECBITS_LOCKS & ~bits)) {
        return -EPERM;
    }
    c = cred_copy(old);
    if (!c) {
        return -ENOMEM;
    }
    c->securebits = bits;
    cred_install(c);
    return 0;
}

static long set_keepcaps(unsigned long on)
{
    struct cred *c;

    if (on > 1) {
        return -EINVAL;
    }
    if (current->cred->securebits & SECBIT_KEEP_CAPS_LOCKED) {
        return -EPERM;
    }
    c = cred_copy(current->cred);
    if (!c) {
        return -ENOMEM;
    }
    c->securebits = on ? c->securebits | SECBIT_KEEP_CAPS : c->securebits & ~SECBIT_KEEP_CAPS;
    cred_install(c);
    return 0;
}

static long drop_bounding(unsigned long cap)
{
    struct cred *c;

    if (!cred_is_capable(current->cred, CAP_SETPCAP)) {
        return -EPERM;
    }
    if (cap > CAP_LAST) {
        return -EINVAL;
    }
    c = cred_copy(current->cred);
    if (!c) {
        return -ENOMEM;
    }
    c->cap_bounding &= ~(UINT64_C(1) << cap);
    cred_install(c);
    return 0;
}

static long change_ambient(unsigned long what, unsigned long cap)
{
    const struct cred *old = current->cred;
    struct cred *c;

    if (what == PR_CAP_AMBIENT_CLEAR_ALL ? cap != 0 : cap > CAP_LAST) {
        return -EINVAL;
    }
    if (what == PR_CAP_AMBIENT_IS_SET) {
        return (long)(old->cap_ambient >> cap & 1);
    }
    if (what < PR_CAP_AMBIENT_IS_SET || what > PR_CAP_AMBIENT_CLEAR_ALL) {
        return -EINVAL;
    }
    if (what == PR_CAP_AMBIENT_RAISE && !((old->cap_permitted & old->cap_inheritable) >> cap & 1)) {
        return -EPERM;
    }
    c = cred_copy(old);
    if (!c) {
        return -ENOMEM;
    }
    if (what == PR_CAP_AMBIENT_RAISE) {
        c->cap_ambient |= UINT64_C(1) << cap;
    } else if (what == PR_CAP_AMBIENT_LOWER) {
        c->cap_ambient &= ~(UINT64_C(1) << cap);
    } else {
        c->cap_ambient = 0;
    }
    cred_install(c);
    return 0;
}

long sys_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    struct task *self = current;
    struct process *p = self->process;

    switch (option) {
    case PR_SET_PDEATHSIG:
        if (a > SIGNAL_MAX) {
            return -EINVAL;
        }
        self->parent_death_signal = (int)a;
        return 0;
    case PR_GET_PDEATHSIG:
        return put_user32((uint32_t)self->parent_death_signal, (void __user *)a);
    case PR_GET_DUMPABLE:
        return p->is_dumpable;
    case PR_SET_DUMPABLE:
        if (a > 1) {
            return -EINVAL;
        }
        p->is_dumpable = a != 0;
        return 0;
    case PR_GET_KEEPCAPS:
        return (self->cred->securebits & SECBIT_KEEP_CAPS) != 0;
    case PR_SET_KEEPCAPS:
        return set_keepcaps(a);
    case PR_GET_TIMING:
        return 0; /* PR_TIMING_STATISTICAL, the only one */
    case PR_SET_NAME:
        return set_name((void __user *)a);
    case PR_GET_NAME:
        return copy_to_user((void __user *)a, self->name, sizeof(self->name));
    case PR_GET_SECCOMP:
        return 0; /* never in a filter: seccomp(2) is refused */
    case PR_CAPBSET_READ:
        return a > CAP_LAST ? -EINVAL : (long)(self->cred->cap_bounding >> a & 1);
    case PR_CAPBSET_DROP:
        return drop_bounding(a);
    case PR_GET_SECUREBITS:
        return self->cred->securebits;
    case PR_SET_SECUREBITS:
        return set_securebits((uint32_t)a);
    case PR_SET_TIMERSLACK:
        self->timer_slack_ns = a ? a : TIMER_SLACK_DEFAULT_NS;
        return 0;
    case PR_GET_TIMERSLACK:
        return (long)min_of(self->timer_slack_ns, (uint64_t)INT64_MAX);
    case PR_SET_CHILD_SUBREAPER:
        p->is_subreaper = a != 0;
        return 0;
    case PR_GET_CHILD_SUBREAPER:
        return put_user32(p->is_subreaper, (void __user *)a);
    case PR_SET_NO_NEW_PRIVS:
        if (a != 1 || b || c || d) {
            return -EINVAL;
        }
        p->no_new_privs = true;
        return 0;
    case PR_GET_NO_NEW_PRIVS:
        return a || b || c || d ? -EINVAL : p->no_new_privs;
    case PR_CAP_AMBIENT:
        return c || d ? -EINVAL : change_ambient(a, b);
    case PR_SET_VMA: /* names of anonymous memory: as a Linux built without them */
    default:
        return -EINVAL;
    }
}

long sys_personality(unsigned persona)
{
    uint32_t old = current->personality;

    if (persona != 0xffffffffu) {
        current->personality = persona;
    }
    return old;
}

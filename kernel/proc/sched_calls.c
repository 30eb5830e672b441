// SPDX-License-Identifier: Apache-2.0
/* Priorities, policies, affinity: the system calls around sched/. */
#include <proc/proc_internal.h>

#include <core/string.h>
#include <proc/cred.h>
#include <sched/cpu.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define CAP_SYS_NICE 23u

#define SCHED_OTHER         0u
#define SCHED_FIFO          1u
#define SCHED_RR            2u
#define SCHED_BATCH         3u
#define SCHED_IDLE          5u
#define SCHED_RESET_ON_FORK 0x40000000u

static bool may_schedule(struct task *t)
{
    const struct cred *mine = current->cred;
    uint64_t flags;
    bool is_allowed;

    if (cred_is_capable(mine, CAP_SYS_NICE)) {
        return true;
    }
    flags = spin_lock_irqsave(&process_tree_lock);
    is_allowed = mine->euid == t->cred->euid || mine->euid == t->cred->uid;
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return is_allowed;
}

static struct task *task_of_arg(pid_t pid)
{
    return pid == 0 ? task_get(current) : task_find(pid);
}

long sys_sched_yield(void)
{
    sched_yield_cpu();
    return 0;
}

/* --- affinity
 * ------------------------------------------------------------------------------------- */

long sys_sched_setaffinity(pid_t pid, unsigned size, void __user *mask)
{
    uint64_t bits = 0;
    struct task *t;
    long err;

    if (copy_from_user(&bits, mask, min_of(size, sizeof(bits))) < 0) {
        return -EFAULT;
    }
    t = task_of_arg(pid);
    if (!t) {
        return -ESRCH;
    }
    err = may_schedule(t) ? sched_set_affinity(t, bits) : -EPERM;
    task_put(t);
    return err;
}

long sys_sched_getaffinity(pid_t pid, unsigned size, void __user *mask)
{
    uint64_t bits;
    struct task *t;

    if (size < sizeof(bits) || size % sizeof(bits)) {
        return -EINVAL;
    }
    t = task_of_arg(pid);
    if (!t) {
        return -ESRCH;
    }
    /* relaxed: CPUs only come at boot. */
    bits = t->sched.affinity & atomic_load_explicit(&cpu_online_mask, memory_order_relaxed);
    task_put(t);
    return copy_to_user(mask, &bits, sizeof(bits)) < 0 ? -EFAULT : (long)sizeof(bits);
}

long sys_getcpu(void __user *cpu, void __user *node, void __user *cache)
{
    (void)cache; /* unused since Linux 2.6.24 */
    if (cpu && put_user32(current->sched.cpu, cpu) < 0) {
        return -EFAULT;
    }
    if (node && put_user32(0, node) < 0) {
        return -EFAULT;
    }
    return 0;
}

/* --- nice
 * ------------------------------------------------------------------------------------------ */

#define PRIO_PROCESS 0
#define PRIO_PGRP    1
#define PRIO_USER    2

static int set_nice(struct task *t, int nice)
{
    uint64_t limit = limit_of(RLIMIT_NICE);

    if (!may_schedule(t)) {
        return -EPERM;
    }
    if (nice < t->sched.nice && (uint64_t)(20 - nice) > limit &&
        !cred_is_capable(current->cred, CAP_SYS_NICE)) {
        return -EACCES;
    }
    sched_set_priority(t, t->sched.policy, (int8_t)nice, t->sched.rt_priority);
    return 0;
}

/* Is the leader of p among those that (which, who) names? Tree lock held. */
static bool is_meant_locked(const struct process *p, int which, pid_t who)
{
    if (which == PRIO_PGRP) {
        return p->pgid == (who ? who : current->process->pgid);
    }
    return p->leader->cred->uid == (who ? (uid_t)who : current->cred->uid);
}

/* The next process after pid `after` that is meant: its leader, counted; NULL: no more. */
static struct task *next_meant(int which, pid_t who, pid_t after)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *best = NULL;
    struct task *leader = NULL;
    struct process *p;

    list_for_each_entry(p, &process_list, all) {
        if (p->pid > after && !p->is_zombie && is_meant_locked(p, which, who) &&
            (!best || p->pid < best->pid)) {
            best = p;
        }
    }
    if (best) {
        leader = task_get(best->leader);
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return leader;
}

long sys_setpriority(int which, pid_t who, int nice)
{
    struct task *t;
    int err = -ESRCH;

    if (which < PRIO_PROCESS || which > PRIO_USER) {
        return -EINVAL;
    }
    nice = min_of(max_of(nice, -20), 19);
    if (which == PRIO_PROCESS) {
        t = task_of_arg(who);
        if (t) {
            err = set_nice(t, nice);
            task_put(t);
        }
        return err;
    }
    for (pid_t after = 0; (t = next_meant(which, who, after)) != NULL;) {
        int one = set_nice(t, nice);

        err = err == -ESRCH || one < 0 ? one : err;
        after = t->tid;
        task_put(t);
    }
    return err;
}

/* The raw call answers 20 - nice, so that errors stay negative. */
long sys_getpriority(int which, pid_t who)
{
    struct task *t;
    long best = -ESRCH;

    if (which < PRIO_PROCESS || which > PRIO_USER) {
        return -EINVAL;
    }
    if (which == PRIO_PROCESS) {
        t = task_of_arg(who);
        if (t) {
            best = 20 - t->sched.nice;
            task_put(t);
        }
        return best;
    }
    for (pid_t after = 0; (t = next_meant(which, who, after)) != NULL;) {
        best = max_of(best, 20 - (long)t->sched.nice);
        after = t->tid;
        task_put(t);
    }
    return best;
}

/* --- policies
 * -------------------------------------------------------------------------------------- */

static bool is_realtime(uint32_t policy)
{
    return policy == SCHED_FIFO || policy == SCHED_RR;
}

static int set_policy(struct task *t, uint32_t policy, int priority, int nice)
{
    if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE &&
        !is_realtime(policy)) {
        return -EINVAL;
    }
    if (is_realtime(policy) ? priority < 1 || priority > 99 : priority != 0) {
        return -EINVAL;
    }
    if (!may_schedule(t)) {
        return -EPERM;
    }
    if (is_realtime(policy) && (uint64_t)priority > limit_of(RLIMIT_RTPRIO) &&
        !cred_is_capable(current->cred, CAP_SYS_NICE)) {
        return -EPERM;
    }
    sched_set_priority(t, (uint8_t)policy, (int8_t)nice, (uint8_t)priority);
    return 0;
}

static long change_policy(pid_t pid, int64_t policy, void __user *param)
{
    uint32_t priority;
    struct task *t;
    long err;

    if (pid < 0 || !param) {
        return -EINVAL;
    }
    if (get_user32(&priority, param) < 0) {
        return -EFAULT;
    }
    t = task_of_arg(pid);
    if (!t) {
        return -ESRCH;
    }
    err = set_policy(t, policy < 0 ? t->sched.policy : (uint32_t)policy & ~SCHED_RESET_ON_FORK,
                     (int)priority, t->sched.nice);
    task_put(t);
    return err;
}

long sys_sched_setscheduler(pid_t pid, int policy, void __user *param)
{
    return policy < 0 ? -EINVAL : change_policy(pid, policy, param);
}

long sys_sched_setparam(pid_t pid, void __user *param)
{
    return change_policy(pid, -1, param);
}

long sys_sched_getscheduler(pid_t pid)
{
    struct task *t = pid < 0 ? NULL : task_of_arg(pid);
    long policy;

    if (!t) {
        return pid < 0 ? -EINVAL : -ESRCH;
    }
    policy = t->sched.policy;
    task_put(t);
    return policy;
}

long sys_sched_getparam(pid_t pid, void __user *param)
{
    struct task *t;
    uint32_t priority;

    if (pid < 0 || !param) {
        return -EINVAL;
    }
    t = task_of_arg(pid);
    if (!t) {
        return -ESRCH;
    }
    priority = t->sched.rt_priority;
    task_put(t);
    return put_user32(priority, param);
}

struct user_sched_attr { /* the ABI's struct sched_attr, version 0 */
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

long sys_sched_setattr(pid_t pid, void __user *attr, unsigned flags)
{
    struct user_sched_attr a;
    struct task *t;
    long err;

    if (pid < 0 || flags || !attr) {
        return -EINVAL;
    }
    if (copy_from_user(&a, attr, sizeof(a)) < 0) {
        return -EFAULT;
    }
    if (a.size && a.size < sizeof(a)) {
        return -EINVAL;
    }
    if (a.policy > INT32_MAX || (a.flags & ~UINT64_C(1))) {
        return -EINVAL;
    }
    t = task_of_arg(pid);
    if (!t) {
        return -ESRCH;
    }
    err = set_policy(t, a.policy, (int)a.priority, min_of(max_of(a.nice, -20), 19));
    task_put(t);
    return err;
}

long sys_sched_getattr(pid_t pid, void __user *attr, unsigned size, unsigned flags)
{
    struct user_sched_attr a = { .size = sizeof(a) };
    struct task *t;

    if (pid < 0 || flags || !attr || size < sizeof(a) || size > PAGE_SIZE) {
        return -EINVAL;
    }
    t = task_of_arg(pid);
    if (!t) {
        return -ESRCH;
    }
    a.policy = t->sched.policy;
    a.nice = is_realtime(a.policy) ? 0 : t->sched.nice;
    a.priority = t->sched.rt_priority;
    task_put(t);
    return copy_to_user(attr, &a, sizeof(a));
}

long sys_sched_get_priority_max(int policy)
{
    switch (policy) {
    case SCHED_FIFO:
    case SCHED_RR:
        return 99;
    case SCHED_OTHER:
    case SCHED_BATCH:
    case SCHED_IDLE:
        return 0;
    default:
        return -EINVAL;
    }
}

long sys_sched_get_priority_min(int policy)
{
    long max = sys_sched_get_priority_max(policy);

    return max > 0 ? 1 : max;
}

long sys_sched_rr_get_interval(pid_t pid, void __user *interval)
{
    struct task *t = pid < 0 ? NULL : task_of_arg(pid);
    uint64_t ts[2] = { 0, 0 };

    if (!t) {
        return pid < 0 ? -EINVAL : -ESRCH;
    }
    if (t->sched.policy != SCHED_FIFO) {
        ts[1] = SCHED_SLICE_NS;
    }
    task_put(t);
    return copy_to_user(interval, ts, sizeof(ts));
}

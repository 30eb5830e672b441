// SPDX-License-Identifier: Apache-2.0
/* Resource limits and resource usage. */
#include <proc/proc_internal.h>

#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define CAP_SYS_RESOURCE 24u
#define NR_OPEN          1048576u
#define USER_HZ          100u

/* A process that the current one may look into, counted; pid 0: itself. NULL: *err. */
static struct process *find_for_limits(pid_t pid, long *err)
{
    const struct cred *mine = current->cred;
    struct process *p;
    struct task *t;
    const struct cred *its;
    uint64_t flags;
    bool is_allowed;

    if (pid == 0 || pid == current->tid || pid == current->process->pid) {
        return process_get(current->process);
    }
    t = task_find(pid);
    if (!t || !t->process) {
        *err = -ESRCH;
        if (t) {
            task_put(t);
        }
        return NULL;
    }
    p = process_get(t->process);
    flags = spin_lock_irqsave(&process_tree_lock);
    its = t->cred;
    is_allowed = cred_is_capable(mine, CAP_SYS_RESOURCE) ||
                 (mine->uid == its->euid && mine->uid == its->suid && mine->uid == its->uid &&
                  mine->gid == its->egid && mine->gid == its->sgid && mine->gid == its->gid);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    task_put(t);
    if (!is_allowed) {
        *err = -EPERM;
        process_put(p);
        return NULL;
    }
    return p;
}

static long change_limit(struct process *p, unsigned which, const struct rlimit *new)
{
    bool is_capable = cred_is_capable(current->cred, CAP_SYS_RESOURCE);
    uint64_t flags;

    if (new->soft > new->hard) {
        return -EINVAL;
    }
    if (which == RLIMIT_NOFILE && new->hard > NR_OPEN) {
        return -EPERM;
    }
    flags = spin_lock_irqsave(&p->signal_lock);
    if (new->hard > p->limits[which].hard && !is_capable) {
        spin_unlock_irqrestore(&p->signal_lock, flags);
        return -EPERM;
    }
    p->limits[which] = *new;
    spin_unlock_irqrestore(&p->signal_lock, flags);
    return 0;
}

static struct rlimit read_limit(struct process *p, unsigned which)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct rlimit limit = p->limits[which];

    spin_unlock_irqrestore(&p->signal_lock, flags);
    return limit;
}

long sys_prlimit64(pid_t pid, unsigned which, void __user *new_limit, void __user *old_limit)
{
    struct rlimit new;
    struct rlimit old;
    struct process *p;
    long err = 0;

    if (which >= RLIMIT_COUNT) {
        return -EINVAL;
    }
    if (new_limit && copy_from_user(&new, new_limit, sizeof(new)) < 0) {
        return -EFAULT;
    }
    p = find_for_limits(pid, &err);
    if (!p) {
        return err;
    }
    old = read_limit(p, which);
    if (new_limit) {
        err = change_limit(p, which, &new);
    }
    process_put(p);
    if (err == 0 && old_limit && copy_to_user(old_limit, &old, sizeof(old)) < 0) {
        err = -EFAULT;
    }
    return err;
}

long sys_getrlimit(unsigned which, void __user *limit)
{
    return sys_prlimit64(0, which, NULL, limit);
}

long sys_setrlimit(unsigned which, void __user *limit)
{
    return limit ? sys_prlimit64(0, which, limit, NULL) : -EFAULT;
}

/* --- usage
 * ---------------------------------------------------------------------------------------- */

struct user_rusage { /* the ABI's struct rusage */

    struct {
        int64_t sec;
        int64_t usec;
    } user, system;

    int64_t max_rss; /* KiB */
    int64_t unused1[3];
    int64_t min_faults, maj_faults;
    int64_t unused2[6];
    int64_t switches_voluntary, switches_forced;
};

static_assert(sizeof(struct user_rusage) == 144, "struct rusage is ABI");

int rusage_to_user(void __user *to, const struct rusage_sum *sum)
{
    struct user_rusage r = {
        .user = { (int64_t)(sum->user_ns / NSEC_PER_SEC),
                  (int64_t)(sum->user_ns % NSEC_PER_SEC / 1000) },
        .system = { (int64_t)(sum->system_ns / NSEC_PER_SEC),
                    (int64_t)(sum->system_ns % NSEC_PER_SEC / 1000) },
        .max_rss = (int64_t)(sum->max_rss_pages << (PAGE_SHIFT - 10)),
        .min_faults = (int64_t)sum->min_faults,
        .maj_faults = (int64_t)sum->maj_faults,
        .switches_voluntary = (int64_t)sum->switches_voluntary,
        .switches_forced = (int64_t)sum->switches_forced,
    };

    return copy_to_user(to, &r, sizeof(r));
}

#define RUSAGE_SELF     0
#define RUSAGE_CHILDREN (-1)
#define RUSAGE_THREAD   1

static struct rusage_sum children_usage(struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct rusage_sum sum = p->children_usage;

    spin_unlock_irqrestore(&process_tree_lock, flags);
    return sum;
}

long sys_getrusage(int who, void __user *to)
{
    struct rusage_sum sum = { 0 };

    switch (who) {
    case RUSAGE_SELF:
        rusage_of_process(current->process, &sum);
        break;
    case RUSAGE_CHILDREN:
        sum = children_usage(current->process);
        break;
    case RUSAGE_THREAD:
        rusage_add_task(&sum, current);
        break;
    default:
        return -EINVAL;
    }
    return rusage_to_user(to, &sum);
}

static int64_t to_ticks(uint64_t ns)
{
    return (int64_t)(ns / (NSEC_PER_SEC / USER_HZ));
}

long sys_times(void __user *to)
{
    struct rusage_sum own;
    struct rusage_sum children;

    if (to) {
        int64_t ticks[4];

        rusage_of_process(current->process, &own);
        children = children_usage(current->process);
        ticks[0] = to_ticks(own.user_ns);
        ticks[1] = to_ticks(own.system_ns);
        ticks[2] = to_ticks(children.user_ns);
        ticks[3] = to_ticks(children.system_ns);
        if (copy_to_user(to, ticks, sizeof(ticks)) < 0) {
            return -EFAULT;
        }
    }
    return to_ticks(clock_monotonic_ns());
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Waiting for children: wait4(2) and waitid(2) are one search over the children under the tree
 * lock, repeated whenever a child's change wakes child_wait.
 */
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>

#include <core/string.h>
#include <ipc/pidfd.h>
#include <proc/wait.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define WNOHANG    0x00000001u
#define WUNTRACED  0x00000002u
#define WSTOPPED   WUNTRACED
#define WEXITED    0x00000004u
#define WCONTINUED 0x00000008u
#define WNOWAIT    0x01000000u
#define WNOTHREAD  0x20000000u
#define WALL       0x40000000u
#define WCLONE     0x80000000u

enum wait_who {
    WAIT_ANY,
    WAIT_PID,
    WAIT_PGID,
};

struct wait_query {
    enum wait_who who;
    pid_t id;
    uint32_t options;
};

struct wait_result {
    pid_t pid;
    uid_t uid;
    int status; /* of wait4 */
    int cause;  /* CLD_* */
    struct rusage_sum usage;
};

static bool matches(const struct wait_query *q, const struct process *p)
{
    bool is_clone_child = p->exit_signal != SIGCHLD;

    if (!(q->options & WALL) && is_clone_child != ((q->options & WCLONE) != 0)) {
        return false;
    }
    switch (q->who) {
    case WAIT_ANY:
        return true;
    case WAIT_PID:
        return p->pid == q->id;
    case WAIT_PGID:
        return p->pgid == q->id;
    }
    return false;
}

static void describe_locked(struct process *p, int status, int cause, struct wait_result *out)
{
    out->pid = p->pid;
    out->uid = p->leader->cred->uid;
    out->status = status;
    out->cause = cause;
    rusage_of_process(p, &out->usage);
    rusage_add(&out->usage, &p->children_usage);
}

/* Has p news that q asks for? Takes them, but for a zombie's, which the caller reaps. */
static bool look_locked(const struct wait_query *q, struct process *p, struct wait_result *out)
{
    bool take = !(q->options & WNOWAIT);
    uint32_t report = 0;
    int cause;

    if (p->is_zombie) {
        if (!(q->options & WEXITED)) {
            return false;
        }
        cause = p->wait_status & 0x7f ? CLD_KILLED : CLD_EXITED;
        describe_locked(p, p->wait_status, cause, out);
        return true;
    }
    spin_lock(&p->signal_lock);
    if ((q->options & WUNTRACED) && (p->stop_state & STOP_REPORT)) {
        report = STOP_REPORT;
    } else if ((q->options & WCONTINUED) && (p->stop_state & CONT_REPORT)) {
        report = CONT_REPORT;
    }
    if (take) {
        p->stop_state &= ~report;
    }
    spin_unlock(&p->signal_lock);
    if (report == STOP_REPORT) {
        describe_locked(p, wait_status_stopped(p->stop_signal), CLD_STOPPED, out);
    } else if (report == CONT_REPORT) {
        describe_locked(p, WAIT_STATUS_CONTINUED, CLD_CONTINUED, out);
    }
    return report != 0;
}

/* 1: *out is filled; 0: nothing yet; -ECHILD. */
static int search(const struct wait_query *q, struct wait_result *out)
{
    struct process *self = current->process;
    struct process *reaped = NULL;
    struct process *p;
    int result = -ECHILD;
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);

    list_for_each_entry(p, &self->children, sibling) {
        if (!matches(q, p)) {
            continue;
        }
        result = 0;
        if (!look_locked(q, p, out)) {
            continue;
        }
        result = 1;
        if (p->is_zombie && !(q->options & WNOWAIT)) {
            rusage_add(&self->children_usage, &out->usage);
            process_unlink_locked(p);
            reaped = p;
        }
        break;
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    if (reaped) {
        process_reaped(reaped);
    }
    return result;
}

/* 1, 0 (WNOHANG), or -errno. */
static int wait_for_child(const struct wait_query *q, struct wait_result *out)
{
    struct waiter w;
    int result = search(q, out);
    int err = 0;

    if (result != 0 || (q->options & WNOHANG)) {
        return result;
    }
    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&current->process->child_wait, &w, 0);
    current->wait_reason = "child";
    while ((result = search(q, out)) == 0 && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return result ? result : err;
}

static pid_t wait_any(uint32_t options, int *status)
{
    struct wait_query q = { .who = WAIT_ANY, .options = WEXITED | WALL | options };
    struct wait_result r;
    int result = wait_for_child(&q, &r);

    if (result <= 0) {
        return result;
    }
    *status = r.status;
    return r.pid;
}

pid_t wait_any_child(int *status)
{
    return wait_any(0, status);
}

pid_t wait_any_child_now(int *status)
{
    return wait_any(WNOHANG, status);
}

long sys_wait4(pid_t pid, void __user *status, int options, void __user *usage)
{
    struct wait_query q = { .options = (uint32_t)options | WEXITED };
    struct wait_result r;
    int result;

    if ((uint32_t)options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE)) {
        return -EINVAL;
    }
    if (pid == INT32_MIN) {
        return -ESRCH;
    }
    if (pid == -1) {
        q.who = WAIT_ANY;
    } else if (pid > 0) {
        q.who = WAIT_PID;
        q.id = pid;
    } else {
        q.who = WAIT_PGID;
        q.id = pid == 0 ? current->process->pgid : -pid;
    }
    result = wait_for_child(&q, &r);
    if (result <= 0) {
        return result;
    }
    if (status && put_user32((uint32_t)r.status, status) < 0) {
        return -EFAULT;
    }
    if (usage && rusage_to_user(usage, &r.usage) < 0) {
        return -EFAULT;
    }
    return r.pid;
}

#define P_ALL   0
#define P_PID   1
#define P_PGID  2
#define P_PIDFD 3

static int waitid_query(int type, pid_t id, struct wait_query *q)
{
    switch (type) {
    case P_ALL:
        q->who = WAIT_ANY;
        return 0;
    case P_PID:
        q->who = WAIT_PID;
        q->id = id;
        return id > 0 ? 0 : -EINVAL;
    case P_PGID:
        q->who = WAIT_PGID;
        q->id = id ? id : current->process->pgid;
        return id >= 0 ? 0 : -EINVAL;
    case P_PIDFD:
        q->who = WAIT_PID;
        q->id = pidfd_to_pid(id);
        return q->id > 0 ? 0 : q->id;
    default:
        return -EINVAL;
    }
}

static int waitid_status(const struct wait_result *r)
{
    switch (r->cause) {
    case CLD_EXITED:
        return r->status >> 8 & 0xff;
    case CLD_KILLED:
        return r->status & 0x7f;
    case CLD_STOPPED:
        return r->status >> 8 & 0xff;
    default:
        return SIGCONT;
    }
}

long sys_waitid(int type, pid_t id, void __user *to, int options, void __user *usage)
{
    struct wait_query q = { .options = (uint32_t)options };
    struct wait_result r = { 0 };
    struct siginfo info = { 0 };
    int result;

    if (((uint32_t)options &
         ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WALL | WCLONE)) ||
        !((uint32_t)options & (WEXITED | WSTOPPED | WCONTINUED))) {
        return -EINVAL;
    }
    result = waitid_query(type, id, &q);
    if (result < 0) {
        return result;
    }
    result = wait_for_child(&q, &r);
    if (result < 0) {
        return result;
    }
    if (result > 0) {
        info.signo = SIGCHLD;
        info.code = r.cause;
        info.pid = r.pid;
        info.uid = r.uid;
        info.status = waitid_status(&r);
        if (usage && rusage_to_user(usage, &r.usage) < 0) {
            return -EFAULT;
        }
    }
    /* Linux writes these fields and no others. */
    if (to && copy_to_user(to, &info, offsetof(struct siginfo, utime)) < 0) {
        return -EFAULT;
    }
    return 0;
}

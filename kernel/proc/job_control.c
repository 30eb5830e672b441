// SPDX-License-Identifier: Apache-2.0
/*
 * Stopping and continuing whole processes. Stopping is cooperative: the signal's taker announces
 * the stop, each thread joins in at its next return to user mode, and the last one tells the
 * parent. SIGCONT ends a stop when it is sent; the first thread that runs again tells the parent.
 */
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>

#include <sched/task.h>

static void announce_locked(struct process *p, int signo)
{
    struct task *t;

    p->stop_state = STOP_PENDING;
    p->stop_signal = signo;
    p->stop_left = 0;
    list_for_each_entry(t, &p->threads, thread_link) {
        if (!t->is_exiting) {
            p->stop_left++;
            signal_wake_task(t, false);
        }
    }
}

void stop_begin(int signo)
{
    struct process *p = current->process;
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);

    if (signo == SIGSTOP || !group_is_orphaned_locked(p->pgid, NULL)) {
        spin_lock(&p->signal_lock);
        if (!p->is_exiting && !(p->stop_state & (STOP_PENDING | STOP_COMPLETE))) {
            announce_locked(p, signo);
        }
        spin_unlock(&p->signal_lock);
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
}

bool stop_leave_locked(struct process *p)
{
    if (!(p->stop_state & STOP_PENDING) || --p->stop_left > 0) {
        return false;
    }
    p->stop_state = STOP_COMPLETE | STOP_REPORT;
    return true;
}

void stop_join_locked(struct process *p, struct task *t)
{
    if (p->stop_state & STOP_PENDING) {
        p->stop_left++;
        atomic_fetch_or_explicit(&t->work, WORK_SIGNAL, memory_order_relaxed); /* not yet running */
    }
}

void stop_take_part(void)
{
    struct task *self = current;
    struct process *p = self->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    bool is_last;

    if (p->stop_state & CONT_NOTIFY) {
        p->stop_state &= ~(uint32_t)CONT_NOTIFY;
        spin_unlock_irqrestore(&p->signal_lock, flags);
        stop_notify_parent(p, CLD_CONTINUED, SIGCONT);
        return;
    }
    if (!(p->stop_state & (STOP_PENDING | STOP_COMPLETE)) || p->is_exiting) {
        spin_unlock_irqrestore(&p->signal_lock, flags);
        return;
    }
    is_last = stop_leave_locked(p);
    /* Under the lock: who ends the stop sees a task that is to be woken. */
    atomic_store_explicit(&self->sched.state, TASK_STOPPED, memory_order_seq_cst);
    spin_unlock_irqrestore(&p->signal_lock, flags);
    if (is_last) {
        stop_notify_parent(p, CLD_STOPPED, p->stop_signal);
    }
    self->wait_reason = "stopped";
    schedule();
    self->wait_reason = NULL;
}

void stop_end_locked(struct process *p, bool is_continued)
{
    struct task *t;

    if (!(p->stop_state & (STOP_PENDING | STOP_COMPLETE))) {
        return;
    }
    p->stop_state = is_continued && (p->stop_state & STOP_COMPLETE) ? CONT_REPORT | CONT_NOTIFY : 0;
    list_for_each_entry(t, &p->threads, thread_link) {
        (void)sched_wake(t, 1u << TASK_STOPPED);
    }
}

void signal_child_locked(struct process *parent, struct process *p, int signo, int code, int status)
{
    struct rusage_sum usage;
    struct siginfo info = { .signo = signo, .code = code };

    rusage_of_process(p, &usage);
    info.pid = p->pid;
    info.uid = p->leader->cred->uid;
    info.status = status;
    info.utime = (int64_t)(usage.user_ns / (NSEC_PER_SEC / 100)); /* USER_HZ */
    info.stime = (int64_t)(usage.system_ns / (NSEC_PER_SEC / 100));
    /* It only fails for queued real-time signals, and then the parent still has wait(2). */
    (void)signal_send_process(parent, signo, &info);
}

void stop_notify_parent(struct process *p, int code, int signo)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *parent = p->parent;

    if (parent) {
        if (!(sigaction_get(parent->actions, SIGCHLD).flags & SA_NOCLDSTOP)) {
            signal_child_locked(parent, p, SIGCHLD, code, signo);
        }
        wake_all(&parent->child_wait, 0);
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
}

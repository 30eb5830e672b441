// SPDX-License-Identifier: Apache-2.0
/*
 * Sending signals. Everything happens under the target's signal_lock: what is ignored is dropped,
 * the rest pends, and a thread that takes it is woken. A signal that will certainly end the process
 * begins the end at once (group exit), so that also threads in killable sleeps leave.
 *
 * Invariant: when a signal that task t takes pends, t's WORK_SIGNAL is set. It may be set without
 * one; only t itself clears it.
 */
#include <proc/signal_internal.h>

#include <arch/ops.h>
#include <proc/proc_internal.h>
#include <sched/task.h>

bool signal_is_pending(const struct task *t)
{
    /* relaxed: the sleep protocol's fences order it against the sender's wake. */
    return (atomic_load_explicit(&t->work, memory_order_relaxed) & (WORK_SIGNAL | WORK_KILL)) != 0;
}

bool fatal_signal_is_pending(const struct task *t)
{
    return (atomic_load_explicit(&t->work, memory_order_relaxed) & WORK_KILL) != 0; /* as above */
}

void signal_wake_task(struct task *t, bool fatal)
{
    uint32_t states = 1u << TASK_SLEEPING;

    if (fatal) {
        states |= 1u << TASK_KILLABLE | 1u << TASK_STOPPED;
    }
    /* seq_cst: before the state is read in sched_wake(); the sleeper does it the other way round.
     */
    atomic_fetch_or_explicit(&t->work, fatal ? WORK_SIGNAL | WORK_KILL : WORK_SIGNAL,
                             memory_order_seq_cst);
    if (!sched_wake(t, states)) {
        sched_kick(t);
    }
}

/* --- who takes it ------------------------------------------------------------------------------
 */

static bool task_takes(const struct task *t, int signo)
{
    return !t->is_exiting &&
           (!(t->signal_mask & signal_bit(signo)) || (t->wait_mask & signal_bit(signo)));
}

static struct task *choose_thread_locked(const struct process *p, const struct task *except,
                                         int signo)
{
    struct task *t;

    list_for_each_entry(t, &p->threads, thread_link) {
        if (t != except && task_takes(t, signo)) {
            return t;
        }
    }
    return NULL;
}

static bool is_ignored_locked(const struct process *p, const struct task *t, int signo)
{
    const struct sigaction_table *actions = p->actions;
    uint64_t bit = signal_bit(signo);

    if (p == init_process) {
        return true;
    }
    if (t && ((t->signal_mask | t->wait_mask) & bit)) {
        return false; /* it may be given a handler, or be waited for, before it is unblocked */
    }
    if (actions->ignored & bit) {
        return true;
    }
    return !(actions->caught & bit) && (SIGNALS_IGNORED & bit);
}

static bool is_fatal_locked(const struct process *p, int signo)
{
    uint64_t bit = signal_bit(signo);

    if (signo == SIGKILL) {
        return true;
    }
    return !(
        (p->actions->caught | p->actions->ignored | SIGNALS_IGNORED | SIGNALS_STOP | SIGNALS_CORE) &
        bit);
}

static void remove_everywhere_locked(struct process *p, uint64_t signals)
{
    struct task *t;

    signal_queue_remove(&p->pending, signals);
    list_for_each_entry(t, &p->threads, thread_link) {
        signal_queue_remove(&t->pending, signals);
    }
}

void process_kill_threads_locked(struct process *p, const struct task *except)
{
    struct task *t;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a list has no NULL link */
    list_for_each_entry(t, &p->threads, thread_link) {
        if (t != except && !t->is_exiting) {
            signal_wake_task(t, true);
        }
    }
}

/* --- sending -----------------------------------------------------------------------------------
 */

int signal_send_locked(struct process *p, struct task *t, int signo, const struct siginfo *info)
{
    struct task *taker;
    int err;

    assert(signo >= 1 && signo <= SIGNAL_MAX);
    if (list_is_empty(&p->threads) || p->is_exiting || (t && t->is_exiting)) {
        return 0; /* dying: as good as delivered */
    }
    if (signo == SIGCONT) {
        remove_everywhere_locked(p, SIGNALS_STOP);
        stop_end_locked(p, true);
    } else if (SIGNALS_STOP & signal_bit(signo)) {
        remove_everywhere_locked(p, signal_bit(SIGCONT));
    }
    taker = t ? t : choose_thread_locked(p, NULL, signo);
    if (is_ignored_locked(p, t ? t : list_first(&p->threads, struct task, thread_link), signo)) {
        return 0;
    }
    err = signal_queue_add(p, t ? &t->pending : &p->pending, signo, info);
    if (err < 0) {
        return err;
    }
    if (!wait_queue_is_empty(&p->signal_wait)) {
        wake_all(&p->signal_wait, 0);
    }
    if (!taker || !task_takes(taker, signo)) {
        return 0; /* pends until somebody unblocks it */
    }
    if (is_fatal_locked(p, signo) && !(taker->signal_mask & signal_bit(signo)) &&
        !(taker->wait_mask & signal_bit(signo))) {
        p->is_exiting = true;
        p->group_exit_status = signo;
        stop_end_locked(p, false);
        process_kill_threads_locked(p, NULL);
        return 0;
    }
    signal_wake_task(taker, false);
    return 0;
}

int signal_send_task(struct task *t, int signo, const struct siginfo *info)
{
    struct process *p = t->process;
    uint64_t flags;
    int err;

    if (!p) {
        return 0; /* kernel threads take none */
    }
    flags = spin_lock_irqsave(&p->signal_lock);
    err = signal_send_locked(p, t, signo, info);
    spin_unlock_irqrestore(&p->signal_lock, flags);
    return err;
}

int signal_send_process(struct process *p, int signo, const struct siginfo *info)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    int err = signal_send_locked(p, NULL, signo, info);

    spin_unlock_irqrestore(&p->signal_lock, flags);
    return err;
}

int signal_send_group(pid_t pgid, int signo, const struct siginfo *info)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *p;
    int err = -ESRCH;

    list_for_each_entry(p, &process_list, all) {
        if (p->pgid == pgid && !p->is_zombie && p != init_process) {
            int sent = signal_send_process(p, signo, info);

            err = err == 0 ? 0 : sent;
        }
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return err;
}

void signal_retarget_locked(struct process *p, const struct task *leaving, uint64_t signals)
{
    signals &= p->pending.set;
    while (signals) {
        int signo = __builtin_ctzll(signals) + 1;
        struct task *t = choose_thread_locked(p, leaving, signo);

        if (t) {
            signal_wake_task(t, false);
        }
        signals &= signals - 1;
    }
}

void signal_force(int signo, const struct siginfo *info)
{
    struct task *self = current;
    struct process *p = self->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    uint64_t bit = signal_bit(signo);

    /* A fault that is blocked or ignored would come again for ever: it ends the program. */
    if ((self->signal_mask & bit) || (p->actions->ignored & bit)) {
        static const struct sigaction dfl = { .handler = SIG_DFL };

        if (sigaction_set_locked(p, signo, &dfl) < 0) {
            /* Not even memory to say so. */
            p->is_exiting = true;
            p->group_exit_status = signo;
            process_kill_threads_locked(p, NULL);
        }
        self->signal_mask &= ~bit;
    }
    if (signal_queue_add(p, &self->pending, signo, info) == 0) {
        atomic_fetch_or_explicit(&self->work, WORK_SIGNAL, memory_order_relaxed); /* own work */
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
}

void signal_fault(struct regs *regs, int signo, int code, uint64_t addr, uint32_t trap,
                  uint32_t error)
{
    struct siginfo info = { .signo = signo, .code = code, .addr = addr };

    (void)regs;
    current->fault_address = addr;
    current->fault_trap = trap;
    current->fault_error = error;
    signal_force(signo, &info);
}

/* --- taking ------------------------------------------------------------------------------------
 */

void signal_recalculate_locked(struct task *self)
{
    const struct process *p = self->process;
    uint64_t takes = (self->pending.set | p->pending.set) & ~self->signal_mask;

    if (takes || (p->stop_state & STOP_PENDING)) {
        atomic_fetch_or_explicit(&self->work, WORK_SIGNAL, memory_order_relaxed); /* own work, */
    } else {
        atomic_fetch_and_explicit(&self->work, ~(uint32_t)WORK_SIGNAL,
                                  memory_order_relaxed); /* and senders hold the lock */
    }
}

int signal_dequeue_locked(struct task *self, uint64_t set, struct siginfo *info)
{
    struct signal_queue *q = &self->pending;
    int signo = signal_choose(q->set & set);

    if (!signo) {
        q = &self->process->pending;
        signo = signal_choose(q->set & set);
    }
    if (signo) {
        signal_queue_take(q, signo, info);
    }
    return signo;
}

void signal_set_mask(uint64_t mask)
{
    struct task *self = current;
    struct process *p = self->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    uint64_t newly_blocked;

    mask &= ~SIGNALS_UNBLOCKABLE;
    newly_blocked = mask & ~self->signal_mask;
    self->signal_mask = mask;
    if (p->pending.set & newly_blocked) {
        signal_retarget_locked(p, self, newly_blocked);
    }
    signal_recalculate_locked(self);
    spin_unlock_irqrestore(&p->signal_lock, flags);
}

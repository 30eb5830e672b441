// SPDX-License-Identifier: Apache-2.0
/* The signal system calls: dispositions, masks, sending, waiting. */
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>

#include <arch/ops.h>
#include <arch/regs.h>
#include <ipc/pidfd.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define SIG_BLOCK   0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

#define MINSIGSTKSZ 2048u

static bool is_valid_signal(int signo)
{
    return signo >= 1 && signo <= SIGNAL_MAX;
}

static int mask_from_user(uint64_t *mask, const void __user *from, size_t size)
{
    if (size != SIGNAL_SET_BYTES) {
        return -EINVAL;
    }
    return get_user64(mask, from);
}

/* --- dispositions and masks ---------------------------------------------------------------------
 */

long sys_rt_sigaction(int signo, void __user *new_action, void __user *old_action, size_t size)
{
    struct process *p = current->process;
    struct sigaction new;
    struct sigaction old;
    uint64_t flags;
    int err = 0;

    if (size != SIGNAL_SET_BYTES || !is_valid_signal(signo)) {
        return -EINVAL;
    }
    if (new_action) {
        if (copy_from_user(&new, new_action, sizeof(new)) < 0) {
            return -EFAULT;
        }
        if (SIGNALS_UNBLOCKABLE & signal_bit(signo)) {
            return -EINVAL;
        }
        new.mask &= ~SIGNALS_UNBLOCKABLE;
    }
    flags = spin_lock_irqsave(&p->signal_lock);
    old = sigaction_get(p->actions, signo);
    if (new_action) {
        err = sigaction_set_locked(p, signo, &new);
        /* POSIX: what is ignored from now on does not stay pending. */
        if (err == 0 && (new.handler == SIG_IGN ||
                         (new.handler == SIG_DFL && (SIGNALS_IGNORED & signal_bit(signo))))) {
            struct task *t;

            signal_queue_remove(&p->pending, signal_bit(signo));
            list_for_each_entry(t, &p->threads, thread_link) {
                signal_queue_remove(&t->pending, signal_bit(signo));
            }
        }
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    if (err == 0 && old_action && copy_to_user(old_action, &old, sizeof(old)) < 0) {
        err = -EFAULT;
    }
    return err;
}

long sys_rt_sigprocmask(int how, void __user *new_mask, void __user *old_mask, size_t size)
{
    uint64_t old = current->signal_mask;
    uint64_t new;

    if (size != SIGNAL_SET_BYTES) {
        return -EINVAL;
    }
    if (new_mask) {
        if (get_user64(&new, new_mask) < 0) {
            return -EFAULT;
        }
        switch (how) {
        case SIG_BLOCK:
            new |= old;
            break;
        case SIG_UNBLOCK:
            new = old & ~new;
            break;
        case SIG_SETMASK:
            break;
        default:
            return -EINVAL;
        }
        signal_set_mask(new);
    }
    return old_mask ? put_user64(old, old_mask) : 0;
}

long sys_rt_sigpending(void __user *set, size_t size)
{
    struct task *self = current;
    uint64_t flags;
    uint64_t pending;

    if (size > SIGNAL_SET_BYTES) {
        return -EINVAL;
    }
    flags = spin_lock_irqsave(&self->process->signal_lock);
    pending = (self->pending.set | self->process->pending.set) & self->signal_mask;
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    return copy_to_user(set, &pending, size);
}

void signal_borrow_mask(uint64_t mask)
{
    current->saved_mask = current->signal_mask;
    atomic_fetch_or_explicit(&current->work, WORK_RESTORE_MASK, memory_order_relaxed); /* own */
    signal_set_mask(mask);
}

void signal_return_mask(bool is_interrupted)
{
    /* Interrupted: delivery runs the handler under the borrowed mask, then puts ours back. */
    if (!is_interrupted) {
        atomic_fetch_and_explicit(&current->work, ~(uint32_t)WORK_RESTORE_MASK,
                                  memory_order_relaxed); /* own work */
        signal_set_mask(current->saved_mask);
    }
}

static long sleep_until_signal(void)
{
    int err = sleep_until(TIME_FOREVER, WAIT_INTERRUPTIBLE);

    return err == -ERESTARTSYS ? -ERESTARTNOHAND : err;
}

long sys_rt_sigsuspend(void __user *set, size_t size)
{
    uint64_t mask;
    int err = mask_from_user(&mask, set, size);

    if (err < 0) {
        return err;
    }
    signal_borrow_mask(mask);
    return sleep_until_signal();
}

long sys_pause(void)
{
    return sleep_until_signal();
}

long sys_rt_sigreturn(void)
{
    struct regs *regs = current->regs;
    uint64_t mask;

    if (arch_signal_return(regs, &mask) < 0) {
        regs_forget_syscall(regs);
        signal_force(SIGSEGV, &(struct siginfo){ .signo = SIGSEGV, .code = SI_KERNEL });
        return 0;
    }
    signal_set_mask(mask);
    return (long)regs_result(regs); /* dispatch stores it where it stands already */
}

struct user_stack { /* the ABI's stack_t */
    uint64_t base;
    uint32_t flags;
    uint32_t unused;
    uint64_t size;
};

static int set_altstack(const struct user_stack *s, uint64_t sp)
{
    struct task *self = current;
    uint32_t mode = s->flags & ~SS_AUTODISARM;
    uint64_t flags;

    if (signal_altstack_state(self, sp) == SS_ONSTACK) {
        return -EPERM;
    }
    if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE) {
        return -EINVAL;
    }
    if (mode != SS_DISABLE && s->size < MINSIGSTKSZ) {
        return -ENOMEM;
    }
    flags = spin_lock_irqsave(&self->process->signal_lock);
    self->altstack_base = mode == SS_DISABLE ? 0 : s->base;
    self->altstack_size = mode == SS_DISABLE ? 0 : s->size;
    self->altstack_flags = s->flags & SS_AUTODISARM;
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    return 0;
}

long sys_sigaltstack(void __user *new_stack, void __user *old_stack)
{
    const struct task *self = current;
    uint64_t sp = regs_sp(self->regs);
    struct user_stack old = {
        .base = self->altstack_base,
        .flags = signal_altstack_state(self, sp) | (self->altstack_flags & SS_AUTODISARM),
        .size = self->altstack_size,
    };
    struct user_stack new;

    if (new_stack) {
        int err;

        if (copy_from_user(&new, new_stack, sizeof(new)) < 0) {
            return -EFAULT;
        }
        err = set_altstack(&new, sp);
        if (err < 0) {
            return err;
        }
    }
    return old_stack ? copy_to_user(old_stack, &old, sizeof(old)) : 0;
}

/* --- sending -------------------------------------------------------------------------------------
 */

static struct siginfo info_from_me(int signo, int code)
{
    struct siginfo info = { .signo = signo, .code = code };

    info.pid = current->process->pid;
    info.uid = current->cred->uid;
    return info;
}

/* signo 0 only asks whether it would be allowed. */
static int send_checked(struct process *p, struct task *t, int signo, const struct siginfo *info)
{
    int err = signal_permission(p, signo);

    if (err < 0 || signo == 0) {
        return err;
    }
    return t ? signal_send_task(t, signo, info) : signal_send_process(p, signo, info);
}

/* The next process with a pid above `after` that kill(pid <= 0) means; counted, NULL: no more. */
static struct process *next_target(pid_t after, pid_t pgid)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *best = NULL;
    struct process *p;

    list_for_each_entry(p, &process_list, all) {
        bool is_meant = pgid ? p->pgid == pgid : p != current->process;

        if (p->pid > after && p->pid > 1 && is_meant && (!best || p->pid < best->pid)) {
            best = p;
        }
    }
    if (best) {
        (void)process_get(best);
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return best;
}

/* To a group, or (pgid 0) to everybody but init and ourselves. */
static int kill_many(pid_t pgid, int signo, const struct siginfo *info)
{
    struct process *p;
    int result = -ESRCH;

    for (pid_t after = 0; (p = next_target(after, pgid)) != NULL;) {
        int err = send_checked(p, NULL, signo, info);

        /* One success is success; a lone refusal is told in a group's case. */
        if (err == 0 || (result == -ESRCH && (pgid || err != -EPERM))) {
            result = err;
        }
        after = p->pid;
        process_put(p);
    }
    return result;
}

static int kill_pid(pid_t pid, int signo, const struct siginfo *info)
{
    struct process *p = process_find(pid);
    int err;

    if (!p) {
        return -ESRCH;
    }
    err = send_checked(p, NULL, signo, info);
    process_put(p);
    return err;
}

long sys_kill(pid_t pid, int signo)
{
    struct siginfo info = info_from_me(signo, SI_USER);

    if (signo != 0 && !is_valid_signal(signo)) {
        return -EINVAL;
    }
    if (pid > 0) {
        return kill_pid(pid, signo, &info);
    }
    if (pid == -1) {
        return kill_many(0, signo, &info);
    }
    if (pid == INT32_MIN) {
        return -ESRCH;
    }
    return kill_many(pid == 0 ? current->process->pgid : -pid, signo, &info);
}

/* tgid 0: whatever process the thread is in. */
static long send_thread(pid_t tgid, pid_t tid, int signo, const struct siginfo *info)
{
    struct task *t;
    long err = -ESRCH;

    if (signo != 0 && !is_valid_signal(signo)) {
        return -EINVAL;
    }
    t = task_find(tid);
    if (!t) {
        return -ESRCH;
    }
    if (t->process && (tgid == 0 || t->process->pid == tgid)) {
        err = send_checked(t->process, t, signo, info);
    }
    task_put(t);
    return err;
}

long sys_tkill(pid_t tid, int signo)
{
    struct siginfo info = info_from_me(signo, SI_TKILL);

    return tid <= 0 ? -EINVAL : send_thread(0, tid, signo, &info);
}

long sys_tgkill(pid_t tgid, pid_t tid, int signo)
{
    struct siginfo info = info_from_me(signo, SI_TKILL);

    return tid <= 0 || tgid <= 0 ? -EINVAL : send_thread(tgid, tid, signo, &info);
}

/* A siginfo written by a program: it may not pretend to come from the kernel or from kill(). */
static int info_from_user(struct siginfo *info, const void __user *from, int signo, pid_t target)
{
    if (copy_from_user(info, from, sizeof(*info)) < 0) {
        return -EFAULT;
    }
    info->signo = signo;
    if ((info->code >= 0 || info->code == SI_TKILL) && target != current->process->pid) {
        return -EPERM;
    }
    return 0;
}

long sys_rt_sigqueueinfo(pid_t pid, int signo, void __user *from)
{
    struct siginfo info;
    int err;

    if (pid <= 0 || (signo != 0 && !is_valid_signal(signo))) {
        return -EINVAL;
    }
    err = info_from_user(&info, from, signo, pid);
    return err < 0 ? err : kill_pid(pid, signo, &info);
}

long sys_rt_tgsigqueueinfo(pid_t tgid, pid_t tid, int signo, void __user *from)
{
    struct siginfo info;
    int err;

    if (tgid <= 0 || tid <= 0) {
        return -EINVAL;
    }
    err = info_from_user(&info, from, signo, tgid);
    return err < 0 ? err : send_thread(tgid, tid, signo, &info);
}

long sys_pidfd_send_signal(int fd, int signo, void __user *from, unsigned flags)
{
    struct siginfo info = info_from_me(signo, SI_USER);
    struct process *p;
    int err = 0;

    if (flags) {
        return -EINVAL;
    }
    p = pidfd_to_process(fd, &err);
    if (!p) {
        return err;
    }
    if (signo != 0 && !is_valid_signal(signo)) {
        err = -EINVAL;
    } else if (from) {
        err = info_from_user(&info, from, signo, p->pid);
        if (err == 0 && info.signo != signo) {
            err = -EINVAL;
        }
    }
    if (err == 0) {
        err = p->is_zombie && !p->parent ? -ESRCH : send_checked(p, NULL, signo, &info);
    }
    process_put(p);
    return err;
}

/* --- waiting for a signal
 * -------------------------------------------------------------------------- */

static int take_waited(uint64_t set, struct siginfo *info)
{
    struct task *self = current;
    uint64_t flags = spin_lock_irqsave(&self->process->signal_lock);
    int signo = signal_dequeue_locked(self, set, info);

    self->wait_mask = signo ? 0 : set;
    signal_recalculate_locked(self);
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    return signo;
}

static void wait_no_more(void)
{
    struct task *self = current;
    uint64_t flags = spin_lock_irqsave(&self->process->signal_lock);

    self->wait_mask = 0;
    signal_recalculate_locked(self);
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
}

long sys_rt_sigtimedwait(void __user *set_from, void __user *info_to, void __user *timeout,
                         size_t size)
{
    uint64_t deadline = TIME_FOREVER;
    uint64_t set;
    struct siginfo info;
    int signo;
    int err = mask_from_user(&set, set_from, size);

    if (err == 0 && timeout) {
        err = deadline_from_user(&deadline, timeout);
    }
    if (err < 0) {
        return err;
    }
    set &= ~SIGNALS_UNBLOCKABLE;
    signo = take_waited(set, &info);
    while (!signo && err == 0) {
        struct waiter w;

        /* A signal of the set sets our work flag, which ends this sleep. */
        wait_begin(&w, WAIT_INTERRUPTIBLE, deadline);
        err = wait_sleep(&w);
        wait_end(&w);
        signo = take_waited(set, &info);
    }
    if (!signo) {
        wait_no_more();
        return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
    }
    if (info_to && copy_to_user(info_to, &info, sizeof(info)) < 0) {
        return -EFAULT;
    }
    return signo;
}

/* --- goes on with what a stop interrupted
 * ----------------------------------------------------------- */

long sys_restart_syscall(void)
{
    struct restart_block *r = &current->restart;
    long (*again)(struct restart_block * r) = r->again;

    r->again = NULL; /* once: a program may also call this out of the blue */
    return again ? again(r) : -EINTR;
}

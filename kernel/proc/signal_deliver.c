// SPDX-License-Identifier: Apache-2.0
/*
 * Delivery, at the return to user mode: default actions, frames for handlers, and how a system call
 * that a signal interrupted goes on (spec R-ABI-12, R-ABI-13).
 */
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/log.h>
#include <fs/vfs.h>
#include <mm/mm.h>
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

/* --- what a program died of --------------------------------------------------------------------
 */

#define REPORT_BURST     10u
#define REPORT_REFILL_NS NSEC_PER_SEC

static _Atomic uint32_t report_tokens = REPORT_BURST;
static _Atomic uint64_t report_refilled_ns;

/* At most a burst at once and one a second after it: a program must not fill the log by dying. */
static bool report_is_allowed(void)
{
    uint64_t now = clock_monotonic_ns();
    /* relaxed throughout: a limit may be off by one. */
    uint64_t last = atomic_load_explicit(&report_refilled_ns, memory_order_relaxed);
    uint32_t tokens = atomic_load_explicit(&report_tokens, memory_order_relaxed);

    if (now - last >= REPORT_REFILL_NS &&
        atomic_compare_exchange_strong_explicit(&report_refilled_ns, &last, now,
                                                memory_order_relaxed, memory_order_relaxed)) {
        uint64_t more = (now - last) / REPORT_REFILL_NS;

        tokens = (uint32_t)min_of((uint64_t)tokens + more, (uint64_t)REPORT_BURST);
        atomic_store_explicit(&report_tokens, tokens, memory_order_relaxed);
    }
    while (tokens > 0) {
        if (atomic_compare_exchange_weak_explicit(&report_tokens, &tokens, tokens - 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* One line: who, why, where; with the mapping that the instruction pointer is in. */
static void report_death(const struct regs *regs, const struct siginfo *info)
{
    const struct task *t = current;
    struct mm *mm = t->mm;
    uint64_t ip = regs_ip(regs);
    const char *name = "?";
    char buf[128];
    uint64_t start = 0;
    uint64_t offset = 0;
    struct vma *v;

    if (!mm || !report_is_allowed()) {
        return;
    }
    rwsem_read_lock(&mm->mmap_lock);
    v = vma_find(mm, ip);
    if (v && v->start <= ip) {
        start = v->start;
        offset = v->page_offset << PAGE_SHIFT;
        name = "[anonymous]";
        if (v->file && v->file->path.dentry) {
            const char *text = path_text(&v->file->path, buf, sizeof(buf));

            name = text ? text : "[long path]";
        }
    }
    rwsem_read_unlock(&mm->mmap_lock);
    log_warn("fatal: program=%.16s pid=%d tid=%d signal=%d code=%d addr=0x%llx ip=0x%llx sp=0x%llx "
             "in=%s+0x%llx syscall=%s",
             t->name, t->process->pid, t->tid, info->signo, info->code,
             (unsigned long long)(info->code > 0 && info->code != SI_KERNEL ? info->addr : 0),
             (unsigned long long)ip, (unsigned long long)regs_sp(regs), name,
             (unsigned long long)(start ? ip - start + offset : 0), syscall_name(t->last_syscall));
}

/* --- system calls that were interrupted --------------------------------------------------------
 */

/* Before a handler runs. */
static void end_or_rewind_call(struct regs *regs, const struct sigaction *action)
{
    if (regs_syscall(regs) < 0) {
        return;
    }
    switch ((int64_t)regs_result(regs)) {
    case -ERESTARTSYS:
        if (action->flags & SA_RESTART) {
            regs_restart(regs);
            break;
        }
        regs_set_result(regs, (uint64_t)-EINTR);
        break;
    case -ERESTARTNOINTR:
        regs_restart(regs);
        break;
    case -ERESTARTNOHAND:
    case -ERESTART_RESTARTBLOCK:
        regs_set_result(regs, (uint64_t)-EINTR);
        break;
    default:
        break;
    }
    regs_forget_syscall(regs);
}

/* No handler runs: the call goes on as if nothing had happened. */
static void rewind_call(struct regs *regs)
{
    if (regs_syscall(regs) < 0) {
        return;
    }
    switch ((int64_t)regs_result(regs)) {
    case -ERESTARTSYS:
    case -ERESTARTNOINTR:
    case -ERESTARTNOHAND:
        regs_restart(regs);
        break;
    case -ERESTART_RESTARTBLOCK:
        regs_restart(regs);
        regs_set_syscall(regs, syscall_restart_number);
        break;
    default:
        break;
    }
}

/* --- handlers ----------------------------------------------------------------------------------
 */

static bool is_on_altstack(const struct task *t, uint64_t sp)
{
    return sp > t->altstack_base && sp - t->altstack_base <= t->altstack_size;
}

uint32_t signal_altstack_state(const struct task *t, uint64_t sp)
{
    if (t->altstack_size == 0) {
        return SS_DISABLE;
    }
    if (t->altstack_flags & SS_AUTODISARM) {
        return 0; /* while it is in use it is not set */
    }
    return is_on_altstack(t, sp) ? SS_ONSTACK : 0;
}

static void choose_stack(const struct task *t, const struct regs *regs, struct signal_delivery *d)
{
    uint64_t sp = regs_sp(regs);
    uint32_t state = signal_altstack_state(t, sp);

    d->sp = sp;
    d->on_altstack = false;
    d->altstack_base = t->altstack_base;
    d->altstack_size = t->altstack_size;
    d->altstack_flags = state | (t->altstack_flags & SS_AUTODISARM);
    if ((d->action.flags & SA_ONSTACK) && state == 0) {
        d->sp = t->altstack_base + t->altstack_size;
        d->on_altstack = true;
    }
}

static void run_handler(struct regs *regs, struct signal_delivery *d)
{
    struct task *self = current;
    int signo = d->info.signo;
    uint64_t mask = self->signal_mask | d->action.mask;

    end_or_rewind_call(regs, &d->action);
    /* relaxed: own work */
    if (atomic_fetch_and_explicit(&self->work, ~(uint32_t)WORK_RESTORE_MASK, memory_order_relaxed) &
        WORK_RESTORE_MASK) {
        d->old_mask = self->saved_mask;
    } else {
        d->old_mask = self->signal_mask;
    }
    choose_stack(self, regs, d);
    if (arch_signal_frame(regs, d) < 0) {
        /* No room for the frame. If it was for SIGSEGV itself, nothing but the end remains. */
        if (signo == SIGSEGV) {
            report_death(regs, &d->info);
            process_exit_group(SIGSEGV);
        }
        signal_force(SIGSEGV, &(struct siginfo){ .signo = SIGSEGV, .code = SI_KERNEL });
        return;
    }
    if (self->altstack_flags & SS_AUTODISARM) {
        self->altstack_base = 0;
        self->altstack_size = 0;
        self->altstack_flags = 0;
    }
    if (!(d->action.flags & SA_NODEFER)) {
        mask |= signal_bit(signo);
    }
    signal_set_mask(mask);
}

/* --- the loop ----------------------------------------------------------------------------------
 */

enum decision {
    DECIDED_NOTHING,
    DECIDED_HANDLER,
    DECIDED_STOP,
    DECIDED_DEATH,
};

/* What to do about the signal just taken. signal_lock held. */
static enum decision decide_locked(struct process *p, struct signal_delivery *d)
{
    static const struct sigaction dfl = { .handler = SIG_DFL };
    int signo = d->info.signo;
    uint64_t bit = signal_bit(signo);

    d->action = sigaction_get(p->actions, signo);
    if (d->action.handler == SIG_IGN) {
        return DECIDED_NOTHING;
    }
    if (d->action.handler != SIG_DFL) {
        if ((d->action.flags & SA_RESETHAND) && sigaction_set_locked(p, signo, &dfl) < 0) {
            return DECIDED_DEATH; /* cannot keep the promise that it runs once */
        }
        return DECIDED_HANDLER;
    }
    if (SIGNALS_IGNORED & bit) {
        return DECIDED_NOTHING;
    }
    return SIGNALS_STOP & bit ? DECIDED_STOP : DECIDED_DEATH;
}

void signal_deliver(struct regs *regs)
{
    struct task *self = current;
    struct process *p = self->process;
    struct signal_delivery d;

    for (;;) {
        uint64_t flags = spin_lock_irqsave(&p->signal_lock);
        enum decision decision = DECIDED_NOTHING;
        int signo;

        /* relaxed: the lock orders it. */
        if (p->is_exiting ||
            (atomic_load_explicit(&self->work, memory_order_relaxed) & WORK_KILL)) {
            atomic_fetch_or_explicit(&self->work, WORK_KILL, memory_order_relaxed);
            spin_unlock_irqrestore(&p->signal_lock, flags);
            return; /* task_work_run() sees to it */
        }
        if (p->stop_state & (STOP_PENDING | STOP_COMPLETE | CONT_NOTIFY)) {
            spin_unlock_irqrestore(&p->signal_lock, flags);
            stop_take_part();
            continue;
        }
        signo = signal_dequeue_locked(self, ~self->signal_mask, &d.info);
        if (signo) {
            decision = decide_locked(p, &d);
        } else {
            signal_recalculate_locked(self);
        }
        spin_unlock_irqrestore(&p->signal_lock, flags);
        if (!signo) {
            break;
        }
        switch (decision) {
        case DECIDED_NOTHING:
            break;
        case DECIDED_HANDLER:
            d.fault_address = self->fault_address;
            d.trap = self->fault_trap;
            d.error = self->fault_error;
            run_handler(regs, &d);
            return;
        case DECIDED_STOP:
            stop_begin(signo);
            break;
        case DECIDED_DEATH:
            if (SIGNALS_CORE & signal_bit(signo)) {
                report_death(regs, &d.info);
            }
            process_exit_group(signo);
        }
    }
    rewind_call(regs);
}

static void restore_mask(struct task *self)
{
    /* relaxed: own work */
    if (atomic_fetch_and_explicit(&self->work, ~(uint32_t)WORK_RESTORE_MASK, memory_order_relaxed) &
        WORK_RESTORE_MASK) {
        signal_set_mask(self->saved_mask);
    }
}

void task_work_run(struct regs *regs)
{
    struct task *self = current;

    for (;;) {
        /* acquire: pairs with the senders' read-modify-write: what they queued is visible. */
        uint32_t work = atomic_load_explicit(&self->work, memory_order_acquire);

        if (!work) {
            return;
        }
        if (work & WORK_KILL) {
            task_exit(0); /* a group exit's status counts instead */
        }
        if (work & WORK_SET_TID) {
            atomic_fetch_and_explicit(&self->work, ~(uint32_t)WORK_SET_TID, memory_order_relaxed);
            if (put_user32((uint32_t)self->tid, (void __user *)self->set_child_tid) < 0) {
                self->set_child_tid = 0; /* as Linux: nobody to tell */
            }
        }
        if (work & WORK_RESCHED) {
            schedule();
        }
        if (work & WORK_SIGNAL) {
            signal_deliver(regs);
        } else if (work & WORK_RESTORE_MASK) {
            restore_mask(self);
        }
    }
}

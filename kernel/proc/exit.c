// SPDX-License-Identifier: Apache-2.0
/*
 * The end of threads and processes, in the order of spec R-PROC-7: no more signals; robust list and
 * child-tid word while the memory is there; files, directory, memory; only then the process becomes
 * a zombie and the parent is told, so that who waits for us finds everything released.
 */
#include <arch/ops.h>
#include <drivers/tty.h>
#include <fs/files.h>
#include <ipc/futex.h>
#include <mm/mm.h>
#include <proc/init.h>
#include <proc/pid.h>
#include <proc/posix_timer.h>
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

/* --- usage --------------------------------------------------------------------------------------
 */

void rusage_add_task(struct rusage_sum *sum, const struct task *t)
{
    uint64_t run = sched_run_ns(t);
    /* Entries and exits are not timed, which would cost each system call: all of it is the
     * program's. */
    uint64_t user = run;

    sum->user_ns += user;
    sum->system_ns += run - user;
    sum->min_faults += t->min_faults;
    sum->maj_faults += t->maj_faults;
    sum->switches_voluntary += t->sched.switches_voluntary;
    sum->switches_forced += t->sched.switches_forced;
    if (t->mm) {
        sum->max_rss_pages = max_of(sum->max_rss_pages, t->mm->hwm_pages);
    }
}

void rusage_add(struct rusage_sum *sum, const struct rusage_sum *more)
{
    sum->user_ns += more->user_ns;
    sum->system_ns += more->system_ns;
    sum->min_faults += more->min_faults;
    sum->maj_faults += more->maj_faults;
    sum->switches_voluntary += more->switches_voluntary;
    sum->switches_forced += more->switches_forced;
    sum->max_rss_pages = max_of(sum->max_rss_pages, more->max_rss_pages);
}

void rusage_of_process(struct process *p, struct rusage_sum *out)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct task *t;

    *out = p->dead_threads;
    list_for_each_entry(t, &p->threads, thread_link) {
        rusage_add_task(out, t);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
}

/* --- the last steps of a process ----------------------------------------------------------------
 */

/* Who takes over the children of a dying process: the nearest ancestor that asked to, or init. */
static struct process *new_parent_locked(const struct process *dying)
{
    struct process *p = dying->parent;

    while (p && p != init_process && !p->is_subreaper) {
        p = p->parent;
    }
    return p ? p : init_process;
}

static bool has_stopped_member_locked(pid_t pgid)
{
    const struct process *p;

    list_for_each_entry(p, &process_list, all) {
        if (p->pgid == pgid && (p->stop_state & (STOP_PENDING | STOP_COMPLETE))) {
            return true;
        }
    }
    return false;
}

/* POSIX: a group that nobody is left to continue, and that has stopped members, is hung up. */
static void hang_up_orphans_locked(pid_t pgid)
{
    struct process *p;

    if (!has_stopped_member_locked(pgid)) {
        return;
    }
    list_for_each_entry(p, &process_list, all) {
        if (p->pgid == pgid && !p->is_zombie) {
            /* Standard signals from the kernel: they always pend. */
            (void)signal_send_process(p, SIGHUP, NULL);
            (void)signal_send_process(p, SIGCONT, NULL);
        }
    }
}

static bool was_watched_locked(const struct process *child, const struct process *parent)
{
    return child->pgid != parent->pgid && child->sid == parent->sid;
}

static void reparent_children_locked(struct process *dying)
{
    struct process *heir = new_parent_locked(dying);
    struct process *child;
    struct process *next;

    list_for_each_entry_safe(child, next, &dying->children, sibling) {
        struct task *leader = child->leader;
        bool was_watched = was_watched_locked(child, dying);

        list_remove(&child->sibling);
        child->parent = heir;
        list_push_back(&heir->children, &child->sibling);
        if (leader->parent_death_signal && !child->is_zombie) {
            (void)signal_send_process(child, leader->parent_death_signal, NULL);
        }
        if (child->is_zombie) {
            child->exit_signal = SIGCHLD;
            signal_child_locked(heir, child, SIGCHLD, CLD_EXITED, child->wait_status >> 8);
            wake_all(&heir->child_wait, 0);
        } else if (was_watched && group_is_orphaned_locked(child->pgid, NULL)) {
            hang_up_orphans_locked(child->pgid);
        }
    }
}

/* Does the parent not want to know (SIGCHLD ignored, SA_NOCLDWAIT)? */
static bool is_auto_reaped_locked(const struct process *p, const struct process *parent)
{
    struct sigaction a = sigaction_get(parent->actions, SIGCHLD);

    if (p->exit_signal != SIGCHLD || parent == init_process) {
        return false;
    }
    return a.handler == SIG_IGN || (a.flags & SA_NOCLDWAIT);
}

static void tell_parent_locked(struct process *p, struct process *parent)
{
    int status = p->wait_status;
    int signo = status & 0x7f;

    if (p->exit_signal) {
        signal_child_locked(parent, p, p->exit_signal, signo ? CLD_KILLED : CLD_EXITED,
                            signo ? signo : status >> 8);
    }
    wake_all(&parent->child_wait, 0);
}

/* The last thread has left everything. After this a parent may reap p at any moment. */
static void become_zombie(struct process *p, int status)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *parent = p->parent;
    bool is_auto_reaped = is_auto_reaped_locked(p, parent);

    reparent_children_locked(p);
    p->wait_status = status;
    p->is_zombie = true;
    if (was_watched_locked(p, parent) && group_is_orphaned_locked(p->pgid, p)) {
        hang_up_orphans_locked(p->pgid);
    }
    tell_parent_locked(p, parent);
    if (is_auto_reaped) {
        process_unlink_locked(p);
    }
    wake_all(&p->exit_wait, 0);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    if (is_auto_reaped) {
        process_reaped(p);
    }
}

/* --- a thread's steps ----------------------------------------------------------------------------
 */

static void stop_taking_signals(struct task *self, struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    bool must_notify;

    self->is_exiting = true;
    signal_retarget_locked(p, self, ~self->signal_mask);
    signal_queue_flush(&self->pending);
    must_notify = stop_leave_locked(p);
    spin_unlock_irqrestore(&p->signal_lock, flags);
    if (must_notify) {
        stop_notify_parent(p, CLD_STOPPED, p->stop_signal);
    }
}

/* Words in memory that siblings wait for. */
static void release_user_words(struct task *self)
{
    futex_exit_robust_list();
    if (self->clear_child_tid) {
        void __user *word = (void __user *)self->clear_child_tid;

        /* Nobody to tell if the word is gone. */
        if (put_user32(0, word) == 0) {
            (void)futex_wake_word(word, 1);
        }
        self->clear_child_tid = 0;
    }
}

static void leave_memory(struct task *self)
{
    struct mm *mm = self->mm;
    uint64_t flags;

    if (!mm) {
        return;
    }
    flags = spin_lock_irqsave(&self->process->signal_lock); /* /proc looks under it */
    self->mm = NULL;
    mm_switch(NULL);
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    if (!init_ends_with(self->process)) {
        mm_put(mm);
    }
}

static void leave_files(struct task *self)
{
    struct files *files = self->files;
    struct fs_context *fs = self->fs;
    uint64_t flags = spin_lock_irqsave(&self->process->signal_lock); /* /proc looks under it */

    self->files = NULL;
    self->fs = NULL;
    spin_unlock_irqrestore(&self->process->signal_lock, flags);
    if (files) {
        files_put(files);
    }
    if (fs) {
        fs_context_put(fs);
    }
}

/* Out of the thread list. True: it was the last. */
static bool leave_process(struct task *self, struct process *p, struct rusage_sum *own)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    bool is_last;

    list_remove(&self->thread_link);
    rusage_add(&p->dead_threads, own);
    assert(p->thread_count > 0);
    is_last = --p->thread_count == 0;
    if (!is_last && p->exec_task && p->thread_count == 1) {
        wake_all(&p->exit_wait, 0);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    return is_last;
}

static void stop_process_timers(struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);

    p->real_deadline_ns = 0; /* the callback starts it no more */
    spin_unlock_irqrestore(&p->signal_lock, flags);
    (void)timer_cancel(&p->real_timer);
    posix_timers_destroy(p);
}

void task_exit(int wait_status)
{
    struct task *self = current;
    struct process *p = self->process;
    struct rusage_sum own = { 0 };
    bool is_last;

    assert(self != this_cpu()->idle);
    if (!p) { /* a kernel thread */
        pid_set_task(self->tid, NULL);
        pid_drop(self->tid);
        sched_exit();
    }
    assert(p != init_process);
    stop_taking_signals(self, p);
    if (self->mm) {
        release_user_words(self);
    }
    leave_files(self);
    rusage_add_task(&own, self);
    leave_memory(self);
    task_vfork_done();
    self->exit_code = wait_status;
    if (self != p->leader) {
        pid_set_task(self->tid, NULL);
        pid_drop(self->tid);
    }
    is_last = leave_process(self, p, &own);
    if (is_last) {
        stop_process_timers(p);
        tty_leave_session();
        become_zombie(p, p->is_exiting ? p->group_exit_status : wait_status);
    }
    sched_exit();
}

void process_exit_group(int wait_status)
{
    struct process *p = current->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);

    if (!p->is_exiting) {
        p->is_exiting = true;
        p->group_exit_status = wait_status;
        stop_end_locked(p, false);
        process_kill_threads_locked(p, current);
    }
    wait_status = p->group_exit_status;
    spin_unlock_irqrestore(&p->signal_lock, flags);
    task_exit(wait_status);
}

/* --- exec's part
 * ---------------------------------------------------------------------------------- */

/* The leader is gone and we are the only thread: take its place and its number. */
static void become_leader(struct task *self, struct process *p)
{
    struct task *old = p->leader;
    pid_t own = self->tid;
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);

    p->leader = task_get(self);
    pid_set_task(p->pid, self);
    self->tid = p->pid;
    pid_set_task(own, NULL);
    pid_drop(own);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    task_put(old);
}

int process_become_single(void)
{
    struct task *self = current;
    struct process *p = self->process;
    struct waiter w;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    int err = 0;

    if (p->is_exiting || p->exec_task) {
        spin_unlock_irqrestore(&p->signal_lock, flags);
        return -EINTR;
    }
    if (p->thread_count == 1 && p->leader == self) {
        spin_unlock_irqrestore(&p->signal_lock, flags);
        return 0;
    }
    p->exec_task = self;
    process_kill_threads_locked(p, self);
    spin_unlock_irqrestore(&p->signal_lock, flags);

    wait_begin(&w, WAIT_KILLABLE, TIME_FOREVER);
    wait_add(&p->exit_wait, &w, 0);
    while (*(volatile uint32_t *)&p->thread_count > 1 && err == 0) {
        err = wait_sleep(&w);
    }
    wait_end(&w);

    flags = spin_lock_irqsave(&p->signal_lock);
    p->exec_task = NULL;
    err = p->thread_count > 1 ? err : 0;
    spin_unlock_irqrestore(&p->signal_lock, flags);
    if (err == 0 && p->leader != self) {
        become_leader(self, p);
    }
    return err;
}

void process_exec_commit(void)
{
    struct task *self = current;
    struct process *p = self->process;
    uint64_t flags;

    task_vfork_done();
    posix_timers_destroy(p);
    sigaction_reset_caught(p);
    flags = spin_lock_irqsave(&p->signal_lock);
    self->altstack_base = 0;
    self->altstack_size = 0;
    self->altstack_flags = 0;
    spin_unlock_irqrestore(&p->signal_lock, flags);
    self->clear_child_tid = 0;
    self->set_child_tid = 0;
    self->robust_list = 0;
    self->parent_death_signal = 0;
    flags = spin_lock_irqsave(&process_tree_lock);
    p->did_exec = true;
    p->exit_signal = SIGCHLD;
    spin_unlock_irqrestore(&process_tree_lock, flags);
}

/* --- the calls
 * ------------------------------------------------------------------------------------ */

long sys_exit(int code)
{
    task_exit(wait_status_exited(code));
}

long sys_exit_group(int code)
{
    process_exit_group(wait_status_exited(code));
}

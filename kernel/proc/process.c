// SPDX-License-Identifier: Apache-2.0
/*
 * Processes as objects, and their place in the tree, in groups and in sessions. Groups and sessions
 * are only numbers that members hold; who is in one is found by going through all processes, which
 * only job control and kill(-pgid) do.
 */
#include <proc/proc_internal.h>

#include <mm/slab.h>
#include <proc/pid.h>
#include <proc/posix_timer.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>

struct spinlock process_tree_lock = SPINLOCK_INIT(RANK_PROCESS);
struct list process_list = LIST_INIT(process_list);
struct process *init_process;

#define PAGES_PER_PROCESS   40u /* stack, page tables, touched pages of a small one */
#define PROCESS_LIMIT_LEAST 24u

static _Atomic uint32_t processes_alive;

static struct slab_cache process_cache = SLAB_CACHE("process", struct process);

/* --- life ------------------------------------------------------------------------------------- */

bool process_limit_is_reached(void)
{
    struct page_stats stats;

    page_stats(&stats);
    /* relaxed: a limit, not a lock. */
    return atomic_load_explicit(&processes_alive, memory_order_relaxed) >=
           max_of(stats.total / PAGES_PER_PROCESS, (uint64_t)PROCESS_LIMIT_LEAST);
}

struct process *process_alloc(void)
{
    struct process *p = slab_alloc(&process_cache, GFP_ZERO);

    if (!p) {
        return NULL;
    }
    atomic_fetch_add_explicit(&processes_alive, 1, memory_order_relaxed);
    ref_init(&p->ref);
    list_init(&p->children);
    list_init(&p->sibling);
    list_init(&p->all);
    list_init(&p->threads);
    list_init(&p->pending.entries);
    spin_init(&p->signal_lock, RANK_SIGNAL);
    wait_queue_init(&p->signal_wait);
    wait_queue_init(&p->child_wait);
    wait_queue_init(&p->exit_wait);
    timer_init(&p->real_timer, itimer_real_expired);
    p->exit_signal = SIGCHLD;
    p->is_dumpable = true;
    p->start_ns = clock_monotonic_ns();
    return p;
}

struct process *process_get(struct process *p)
{
    ref_get(&p->ref);
    return p;
}

void process_put(struct process *p)
{
    if (!ref_put(&p->ref)) {
        return;
    }
    assert(list_is_empty(&p->threads) && !p->leader);
    assert(!list_is_linked(&p->all) && !p->timers);
    signal_queue_flush(&p->pending);
    if (p->actions) {
        sigaction_table_put(p->actions);
    }
    slab_free(&process_cache, p);
    atomic_fetch_sub_explicit(&processes_alive, 1, memory_order_relaxed);
}

void process_set_leader(struct process *p, struct task *t)
{
    p->pid = t->tid;
    p->leader = task_get(t);
    t->process = process_get(p);
    list_push_back(&p->threads, &t->thread_link);
    p->thread_count = 1;
    pid_hold(p->pid);
}

void process_link_locked(struct process *p, struct process *parent, pid_t pgid, pid_t sid)
{
    assert(spin_is_mine(&process_tree_lock));
    p->pgid = pgid;
    p->sid = sid;
    pid_hold(pgid);
    pid_hold(sid);
    p->parent = parent;
    if (parent) {
        list_push_back(&parent->children, &p->sibling);
    }
    list_push_back(&process_list, &p->all);
    pid_set_process(p->pid, p);
}

void process_unlink_locked(struct process *p)
{
    assert(spin_is_mine(&process_tree_lock));
    assert(p->is_zombie && list_is_empty(&p->children));
    list_remove(&p->sibling);
    list_remove(&p->all);
    p->parent = NULL;
    pid_set_process(p->pid, NULL);
    pid_set_task(p->pid, NULL);
    pid_drop(p->pgid);
    pid_drop(p->sid);
    pid_drop(p->pid); /* the process' use */
    pid_drop(p->pid); /* the leader's, as a task */
}

void process_reaped(struct process *p)
{
    struct task *leader = p->leader;

    p->leader = NULL;
    task_put(leader);
    process_put(p);
}

uint64_t limit_of(enum rlimit_index which)
{
    const struct process *p = current->process;

    return p ? *(const volatile uint64_t *)&p->limits[which].soft : RLIM_INFINITY;
}

/* --- groups and sessions ---------------------------------------------------------------------- */

bool group_is_orphaned_locked(pid_t pgid, const struct process *except)
{
    const struct process *p;

    list_for_each_entry(p, &process_list, all) {
        if (p->pgid != pgid || p == except || p->is_zombie || !p->parent ||
            p->parent == init_process) {
            continue;
        }
        if (p->parent->pgid != pgid && p->parent->sid == p->sid) {
            return false; /* somebody outside the group, in the session, looks after it */
        }
    }
    return true;
}

long sys_getpid(void)
{
    return current->process->pid;
}

long sys_gettid(void)
{
    return current->tid;
}

long sys_getppid(void)
{
    uint64_t flags;
    pid_t parent;

    flags = spin_lock_irqsave(&process_tree_lock);
    parent = current->process->parent ? current->process->parent->pid : 0;
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return parent;
}

/* The process that a pid argument means (0: the caller's), counted. */
static struct process *process_of_arg(pid_t pid)
{
    return pid == 0 ? process_get(current->process) : process_find(pid);
}

long sys_getpgid(pid_t pid)
{
    struct process *p = process_of_arg(pid);
    pid_t pgid;

    if (!p) {
        return -ESRCH;
    }
    pgid = p->pgid;
    process_put(p);
    return pgid;
}

long sys_getpgrp(void)
{
    return current->process->pgid;
}

long sys_getsid(pid_t pid)
{
    struct process *p = process_of_arg(pid);
    pid_t sid;

    if (!p) {
        return -ESRCH;
    }
    sid = p->sid;
    process_put(p);
    return sid;
}

static void set_group_locked(struct process *p, pid_t pgid)
{
    pid_t old = p->pgid;

    if (old != pgid) {
        pid_hold(pgid);
        p->pgid = pgid;
        pid_drop(old);
    }
}

static int setpgid_locked(struct process *p, pid_t pgid)
{
    const struct process *self = current->process;
    const struct process *other;
    bool has_group = pgid == p->pid;

    if (p->parent == self) {
        if (p->sid != self->sid) {
            return -EPERM;
        }
        if (p->did_exec) {
            return -EACCES;
        }
    } else if (p != self) {
        return -ESRCH;
    }
    if (p->is_session_leader) {
        return -EPERM;
    }
    list_for_each_entry(other, &process_list, all) {
        has_group = has_group || (other->pgid == pgid && other->sid == self->sid);
    }
    if (!has_group) {
        return -EPERM;
    }
    set_group_locked(p, pgid);
    return 0;
}

long sys_setpgid(pid_t pid, pid_t pgid)
{
    struct process *p;
    uint64_t flags;
    int err;

    if (pgid < 0) {
        return -EINVAL;
    }
    p = process_of_arg(pid);
    if (!p) {
        return -ESRCH;
    }
    flags = spin_lock_irqsave(&process_tree_lock);
    err = p->is_zombie && p->parent == NULL ? -ESRCH : setpgid_locked(p, pgid ? pgid : p->pid);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    process_put(p);
    return err;
}

long sys_setsid(void)
{
    struct process *p = current->process;
    const struct process *other;
    uint64_t flags;
    pid_t old_sid;

    flags = spin_lock_irqsave(&process_tree_lock);
    list_for_each_entry(other, &process_list, all) {
        if (other->pgid == p->pid) {
            spin_unlock_irqrestore(&process_tree_lock, flags);
            return -EPERM; /* a group leader, or its old group lives on */
        }
    }
    set_group_locked(p, p->pid);
    old_sid = p->sid;
    pid_hold(p->pid);
    p->sid = p->pid;
    pid_drop(old_sid);
    p->is_session_leader = true;
    p->tty = NULL;
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return p->pid;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * clone(2) in all its forms. Everything that can fail is done on a task that nobody can find yet;
 * then one step under the tree lock makes it visible, and cannot fail. Budget: fork and exit of a
 * small process 25,000 ring-0 instructions, of which most are the page tables'.
 */
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/pidfd.h>
#include <mm/mm.h>
#include <proc/pid.h>
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define CSIGNAL              0x000000ffu
#define CLONE_VM             0x00000100u
#define CLONE_FS             0x00000200u
#define CLONE_FILES          0x00000400u
#define CLONE_SIGHAND        0x00000800u
#define CLONE_PIDFD          0x00001000u
#define CLONE_PTRACE         0x00002000u
#define CLONE_VFORK          0x00004000u
#define CLONE_PARENT         0x00008000u
#define CLONE_THREAD         0x00010000u
#define CLONE_NEWNS          0x00020000u
#define CLONE_SYSVSEM        0x00040000u
#define CLONE_SETTLS         0x00080000u
#define CLONE_PARENT_SETTID  0x00100000u
#define CLONE_CHILD_CLEARTID 0x00200000u
#define CLONE_DETACHED       0x00400000u
#define CLONE_UNTRACED       0x00800000u
#define CLONE_CHILD_SETTID   0x01000000u
#define CLONE_IO             0x80000000u
#define CLONE_NEW_SPACES                                                                           \
    0x7e020080u /* NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET NEWTIME */
#define CLONE_CLEAR_SIGHAND UINT64_C(0x100000000)

struct clone_request {
    uint64_t flags;
    uint64_t pidfd;
    uint64_t child_tid;
    uint64_t parent_tid;
    uint64_t exit_signal;
    uint64_t stack; /* stack pointer, 0: the parent's */
    uint64_t tls;
};

/* Parents in vfork(); whoever ends one wakes them all, and they are rarely more than one. */
static struct wait_queue vfork_wait = { SPINLOCK_INIT(RANK_WAIT), LIST_INIT(vfork_wait.entries) };

static int check_flags(const struct clone_request *r)
{
    uint64_t f = r->flags;

    if ((f & CLONE_SIGHAND) && !(f & CLONE_VM)) {
        return -EINVAL;
    }
    if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND)) {
        return -EINVAL;
    }
    if ((f & CLONE_CLEAR_SIGHAND) && (f & CLONE_SIGHAND)) {
        return -EINVAL;
    }
    if ((f & CLONE_PIDFD) && (f & (CLONE_DETACHED | CLONE_THREAD))) {
        return -EINVAL;
    }
    if (f & CLONE_NEW_SPACES) {
        return -EINVAL; /* as a Linux without namespaces */
    }
    if (r->exit_signal > SIGNAL_MAX) {
        return -EINVAL;
    }
    /* Init's children are its own: it must be able to reap. */
    if ((f & CLONE_PARENT) && current->process->parent == NULL) {
        return -EINVAL;
    }
    return 0;
}

/* RLIMIT_NPROC counts the user's threads; only who has no privilege is counted at all. */
static int check_process_limit(void)
{
    const struct cred *cred = current->cred;
    uint64_t limit = limit_of(RLIMIT_NPROC);
    uint64_t count = 0;
    struct process *p;
    uint64_t flags;

    if (limit == RLIM_INFINITY || cred->uid == 0 || cred_is_capable(cred, 24) ||
        cred_is_capable(cred, 21)) {
        return 0; /* CAP_SYS_RESOURCE, CAP_SYS_ADMIN */
    }
    flags = spin_lock_irqsave(&process_tree_lock);
    list_for_each_entry(p, &process_list, all) {
        count += p->leader->cred->uid == cred->uid ? max_of(p->thread_count, 1u) : 0;
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return count >= limit ? -EAGAIN : 0;
}

/* --- the parts of a child, each shared or copied ------------------------------------------------
 */

static int take_memory(struct task *t, uint64_t flags)
{
    if (flags & CLONE_VM) {
        t->mm = mm_get(current->mm);
        return 0;
    }
    return mm_fork(current->mm, &t->mm);
}

static int take_files(struct task *t, uint64_t flags)
{
    if (flags & CLONE_FILES) {
        t->files = current->files;
        ref_get(&t->files->ref);
        return 0;
    }
    t->files = files_copy(current->files);
    return t->files ? 0 : -ENOMEM;
}

static int take_fs(struct task *t, uint64_t flags)
{
    t->fs = flags & CLONE_FS ? fs_context_get(current->fs) : fs_context_copy(current->fs);
    return t->fs ? 0 : -ENOMEM;
}

static void drop_parts(struct task *t)
{
    if (t->mm) {
        mm_put(t->mm);
        t->mm = NULL;
    }
    if (t->files) {
        files_put(t->files);
        t->files = NULL;
    }
    if (t->fs) {
        fs_context_put(t->fs);
        t->fs = NULL;
    }
}

static int take_parts(struct task *t, const struct clone_request *r)
{
    int err = take_files(t, r->flags);

    err = err < 0 ? err : take_fs(t, r->flags);
    err = err < 0 ? err : arch_thread_copy_fpu(t, current);
    err = err < 0 ? err : take_memory(t, r->flags); /* last: it costs most */
    if (err < 0) {
        drop_parts(t);
    }
    return err;
}

static void copy_fields(struct task *t, const struct clone_request *r)
{
    const struct task *self = current;

    memcpy(t->name, self->name, sizeof(t->name));
    t->cred = cred_get(self->cred);
    t->signal_mask = self->signal_mask;
    t->personality = self->personality;
    t->timer_slack_ns = self->timer_slack_ns;
    t->start_ns = clock_monotonic_ns();
    /* A thread in the same memory must not run handlers on our alternate stack (spec R-PROC-4). */
    if (!(r->flags & CLONE_VM) || (r->flags & CLONE_VFORK)) {
        t->altstack_base = self->altstack_base;
        t->altstack_size = self->altstack_size;
        t->altstack_flags = self->altstack_flags;
    }
    if (r->flags & CLONE_CHILD_CLEARTID) {
        t->clear_child_tid = r->child_tid;
    }
    if (r->flags & CLONE_CHILD_SETTID) {
        t->set_child_tid = r->child_tid;
        atomic_init(&t->work, WORK_SET_TID);
    }
}

/* A child process of its own: signals, limits. */
static struct process *create_process(uint64_t flags, int exit_signal)
{
    struct process *self = current->process;
    struct process *p = process_alloc();
    uint64_t irq;

    if (!p) {
        return NULL;
    }
    irq = spin_lock_irqsave(&self->signal_lock);
    p->actions = self->actions;
    ref_get(&p->actions->ref);
    memcpy(p->limits, self->limits, sizeof(p->limits));
    spin_unlock_irqrestore(&self->signal_lock, irq);
    if (flags & CLONE_CLEAR_SIGHAND) {
        sigaction_reset_caught(p);
    }
    p->exit_signal = exit_signal;
    p->oom_score_adj = self->oom_score_adj;
    p->is_dumpable = self->is_dumpable;
    p->no_new_privs = self->no_new_privs;
    return p;
}

/* --- the commit: nothing fails from here, but for being killed ourselves ------------------------
 */

static int link_thread(struct task *t)
{
    struct process *p = current->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);

    if (p->is_exiting || p->exec_task) {
        spin_unlock_irqrestore(&p->signal_lock, flags);
        return -EINTR; /* we are dying, nobody sees the answer */
    }
    t->process = process_get(p);
    list_push_back(&p->threads, &t->thread_link);
    p->thread_count++;
    stop_join_locked(p, t);
    spin_unlock_irqrestore(&p->signal_lock, flags);
    pid_set_task(t->tid, t);
    return 0;
}

static void link_process(struct task *t, struct process *p, uint64_t clone_flags)
{
    struct process *self = current->process;
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *parent = clone_flags & CLONE_PARENT ? self->parent : self;

    process_set_leader(p, t);
    p->tty = self->tty;
    process_link_locked(p, parent, self->pgid, self->sid);
    pid_set_task(t->tid, t);
    spin_unlock_irqrestore(&process_tree_lock, flags);
}

/* Killably: a parent that is killed leaves, the child goes on alone. */
static void wait_for_vfork(struct task *child)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_KILLABLE, TIME_FOREVER);
    wait_add(&vfork_wait, &w, 0);
    current->wait_reason = "vfork";
    /* acquire: pairs with the release in task_vfork_done(): the child has left our memory. */
    while (atomic_load_explicit(&child->is_vforked, memory_order_acquire) && err == 0) {
        err = wait_sleep(&w);
    }
    current->wait_reason = NULL;
    wait_end(&w);
}

void task_vfork_done(void)
{
    struct task *self = current;

    /* relaxed: written before we first ran. */
    if (atomic_load_explicit(&self->is_vforked, memory_order_relaxed)) {
        atomic_store_explicit(&self->is_vforked, false, memory_order_release);
        wake_all(&vfork_wait, 0);
    }
}

/* Descriptor first, so that it can still fail; published only when the child is. */
static int reserve_pidfd(const struct clone_request *r, struct process *p, struct file **file)
{
    int fd;
    int err;

    fd = fd_reserve(0, true);
    if (fd < 0) {
        return fd;
    }
    err = pidfd_file_create(p, 0, file);
    if (err == 0 && put_user32((uint32_t)fd, (void __user *)r->pidfd) < 0) {
        file_put(*file);
        err = -EFAULT;
    }
    if (err < 0) {
        fd_unreserve(fd);
        return err;
    }
    return fd;
}

static long start_child(struct task *t, struct process *p, const struct clone_request *r)
{
    struct file *pidfd_file = NULL;
    int pidfd = -1;
    pid_t tid = t->tid;
    bool is_vfork = (r->flags & CLONE_VFORK) != 0;

    if (r->flags & CLONE_PIDFD) {
        pidfd = reserve_pidfd(r, p, &pidfd_file);
        if (pidfd < 0) {
            return pidfd;
        }
    }
    if ((r->flags & CLONE_PARENT_SETTID) &&
        put_user32((uint32_t)tid, (void __user *)r->parent_tid) < 0) {
        /* As Linux: the child exists whether or not its number could be stored. */
    }
    if (p) {
        link_process(t, p, r->flags);
    } else {
        int err = link_thread(t);

        if (err < 0) {
            return err;
        }
    }
    if (pidfd >= 0) {
        fd_publish(pidfd, pidfd_file);
    }
    if (is_vfork) {
        atomic_init(&t->is_vforked, true);
        (void)task_get(t);
    }
    sched_start(t);
    if (is_vfork) {
        wait_for_vfork(t);
        task_put(t);
    }
    return tid;
}

static long clone_task(const struct clone_request *r)
{
    struct process *p = NULL;
    struct task *t = NULL;
    long result = check_flags(r);

    if (result == 0) {
        result = check_process_limit();
    }
    if (result == 0 && !(r->flags & CLONE_THREAD) && process_limit_is_reached()) {
        result = -EAGAIN;
    }
    if (result == 0) {
        result = task_create(&t);
    }
    if (result < 0) {
        return result;
    }
    assert(t);
    result = take_parts(t, r);
    if (result < 0) {
        task_discard(t);
        return result;
    }
    copy_fields(t, r);
    arch_thread_init_user(t, current->regs, r->stack, r->tls, (r->flags & CLONE_SETTLS) != 0);
    if (!(r->flags & CLONE_THREAD)) {
        p = create_process(r->flags, (int)r->exit_signal);
        result = p ? 0 : -ENOMEM;
    }
    if (result == 0) {
        result = start_child(t, p, r);
    }
    if (result < 0) {
        drop_parts(t);
        task_discard(t);
        if (p) {
            process_put(p);
        }
    }
    return result;
}

/* --- the calls ----------------------------------------------------------------------------------
 */

long sys_fork(void)
{
    struct clone_request r = { .exit_signal = SIGCHLD };

    return clone_task(&r);
}

long sys_vfork(void)
{
    struct clone_request r = { .flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD };

    return clone_task(&r);
}

long sys_clone(unsigned long flags, void __user *stack, void __user *parent_tid,
               void __user *child_tid, unsigned long tls)
{
    struct clone_request r = {
        .flags = (uint32_t)flags & ~CSIGNAL,
        .exit_signal = flags & CSIGNAL,
        .stack = (uint64_t)stack,
        .parent_tid = (uint64_t)parent_tid,
        .child_tid = (uint64_t)child_tid,
        .pidfd = (uint64_t)parent_tid, /* clone() has one word for both */
        .tls = tls,
    };

    if ((r.flags & CLONE_PIDFD) && (r.flags & CLONE_PARENT_SETTID)) {
        return -EINVAL;
    }
    return clone_task(&r);
}

struct user_clone_args { /* the ABI's struct clone_args, version 2 */
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size, cgroup;
};

#define CLONE_ARGS_SIZE_V0 64u

long sys_clone3(void __user *args, size_t size)
{
    struct user_clone_args a = { 0 };
    struct clone_request r;

    if (size > PAGE_SIZE) {
        return -E2BIG;
    }
    if (size < CLONE_ARGS_SIZE_V0) {
        return -EINVAL;
    }
    for (size_t at = sizeof(a); at < size; at++) {
        uint8_t byte;

        if (copy_from_user(&byte, (const char __user *)args + at, 1) < 0) {
            return -EFAULT;
        }
        if (byte) {
            return -E2BIG; /* a field that we do not know is set */
        }
    }
    if (copy_from_user(&a, args, min_of(size, sizeof(a))) < 0) {
        return -EFAULT;
    }
    if ((a.flags & (CSIGNAL | CLONE_DETACHED)) || (a.flags >> 33) || a.exit_signal > SIGNAL_MAX ||
        a.set_tid_size != 0 || (a.set_tid == 0) != (a.set_tid_size == 0)) {
        return -EINVAL;
    }
    if ((a.stack == 0) != (a.stack_size == 0)) {
        return -EINVAL;
    }
    if ((a.flags & (CLONE_THREAD | CLONE_PARENT)) && a.exit_signal) {
        return -EINVAL;
    }
    if (a.stack && !range_fits(a.stack, a.stack_size, USER_MAX)) {
        return -EINVAL;
    }
    r = (struct clone_request){
        .flags = a.flags,
        .pidfd = a.pidfd,
        .child_tid = a.child_tid,
        .parent_tid = a.parent_tid,
        .exit_signal = a.exit_signal,
        .stack = a.stack + a.stack_size,
        .tls = a.tls,
    };
    return clone_task(&r);
}

long sys_set_tid_address(void __user *address)
{
    current->clear_child_tid = (uint64_t)address;
    return current->tid;
}

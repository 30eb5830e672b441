// SPDX-License-Identifier: Apache-2.0
/*
 * Process 1 is the kernel's own: it has no memory and takes no signals. It mounts the root, starts
 * the workload as its child, reaps orphans, and when the workload has ended it kills the rest and
 * ends the machine with the workload's status.
 */
#include <proc/init.h>

#include <abi/boot.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <drivers/drivers.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/page.h>
#include <proc/pid.h>
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>
#include <proc/wait.h>
#include <sched/task.h>

#define STACK_LIMIT  (8u << 20)
#define NOFILE_SOFT  1024u
#define NOFILE_HARD  1048576u
#define MEMLOCK      (8u << 20)
#define KILL_WAIT_NS NSEC_PER_SEC

static struct process *workload; /* counted; NULL: not started */

void init_set_workload(struct process *p)
{
    workload = process_get(p);
}

bool init_ends_with(const struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    /* Two processes: init and the workload. New ones come only from the workload, which is here. */
    bool is_last = p == workload && p->thread_count == 1 && init_process->all.next == &p->all &&
                   p->all.next == &process_list && process_list.next == &init_process->all;

    spin_unlock_irqrestore(&process_tree_lock, flags);
    return is_last;
}

void workload_signal(int signo)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    pid_t pgid = workload ? workload->pgid : 0;

    spin_unlock_irqrestore(&process_tree_lock, flags);
    if (pgid > 0) {
        (void)signal_send_group(pgid, signo, NULL);
    }
}

/* Linux's defaults, with the task counts that our memory allows. */
static void set_default_limits(struct rlimit *limits)
{
    struct page_stats stats;
    uint64_t tasks;

    page_stats(&stats);
    tasks = max_of(stats.total / 32, UINT64_C(32));
    for (unsigned i = 0; i < RLIMIT_COUNT; i++) {
        limits[i] = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
    }
    limits[RLIMIT_STACK].soft = STACK_LIMIT;
    limits[RLIMIT_CORE].soft = 0;
    limits[RLIMIT_NPROC] = (struct rlimit){ tasks, tasks };
    limits[RLIMIT_NOFILE] = (struct rlimit){ NOFILE_SOFT, NOFILE_HARD };
    limits[RLIMIT_MEMLOCK] = (struct rlimit){ MEMLOCK, MEMLOCK };
    limits[RLIMIT_SIGPENDING] = (struct rlimit){ tasks, tasks };
    limits[RLIMIT_MSGQUEUE] = (struct rlimit){ 819200, 819200 };
    limits[RLIMIT_NICE] = (struct rlimit){ 0, 0 };
    limits[RLIMIT_RTPRIO] = (struct rlimit){ 0, 0 };
}

/* A decimal number up to `end`; moves *text behind it. */
static bool take_number(const char **text, const char *limit, char end, uint64_t *out)
{
    const char *p = *text;

    *out = 0;
    while (p < limit && *p >= '0' && *p <= '9') {
        if (!checked_mul(*out, UINT64_C(10), out) ||
            !checked_add(*out, (uint64_t)(*p - '0'), out)) {
            return false;
        }
        p++;
    }
    if (p == *text || (p < limit ? *p != end : end != '\0')) {
        return false;
    }
    *text = p + 1;
    return true;
}

/* drupe.rlimit=<number>:<soft>:<hard>, as often as wanted. */
static void set_given_limits(struct rlimit *limits)
{
    const char *text;
    size_t size;

    for (unsigned n = 0; (text = boot_option_at("drupe.rlimit=", n, &size)) != NULL; n++) {
        const char *end = text + size;
        const char *at = text;
        struct rlimit given;
        uint64_t which;

        if (!take_number(&at, end, ':', &which) || which >= RLIMIT_COUNT ||
            !take_number(&at, end, ':', &given.soft) || !take_number(&at, end, '\0', &given.hard) ||
            given.soft > given.hard) {
            log_warn("boot: drupe.rlimit=%.*s: want <number>:<soft>:<hard>; ignored", (int)size,
                     text);
            continue;
        }
        limits[which] = given;
    }
}

/* A process with one kernel task and everything but memory. parent NULL: init itself. */
static struct task *create_process(const char *name, int (*fn)(void *arg), void *arg,
                                   struct process *parent)
{
    struct process *p = process_alloc();
    struct task *t;
    uint64_t flags;

    if (!p) {
        return NULL;
    }
    if (task_create(&t) < 0) {
        process_put(p);
        return NULL;
    }
    p->actions = sigaction_default_table();
    set_default_limits(p->limits);
    set_given_limits(p->limits);
    (void)str_copy(t->name, name, sizeof(t->name));
    t->cred = cred_get(&init_cred);
    t->start_ns = clock_monotonic_ns();
    arch_thread_init_kernel(t, fn, arg);
    flags = spin_lock_irqsave(&process_tree_lock);
    process_set_leader(p, t);
    process_link_locked(p, parent, p->pid, p->pid);
    p->is_session_leader = true;
    pid_set_task(t->tid, t);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return t;
}

/* A task made by create_process() that never ran. */
static void discard_process(struct task *t)
{
    struct process *p = t->process;
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);

    list_remove(&t->thread_link);
    p->thread_count = 0;
    p->is_zombie = true;
    process_unlink_locked(p);
    spin_unlock_irqrestore(&process_tree_lock, flags);
    process_reaped(p);
    task_put(t);
}

struct task *process_create_kernel(const char *name, int (*fn)(void *arg), void *arg)
{
    struct task *t = create_process(name, fn, arg, init_process);

    if (!t) {
        return NULL;
    }
    t->files = files_create();
    t->fs = current->fs ? fs_context_copy(current->fs) : fs_context_create();
    if (!t->files || !t->fs) {
        if (t->files) {
            files_put(t->files);
            t->files = NULL;
        }
        if (t->fs) {
            fs_context_put(t->fs);
            t->fs = NULL;
        }
        discard_process(t);
        return NULL;
    }
    return t;
}

/* As a shell shows it: 128 + signal for a death by signal. */
static unsigned shell_status(int wait_status)
{
    int signo = wait_status & 0x7f;

    return signo ? 128u + (unsigned)signo : (unsigned)(wait_status >> 8) & 0xff;
}

/* Everybody but init gets SIGKILL, and a second to be gone: nothing may be half written. */
static void kill_rest(void)
{
    uint64_t deadline = clock_monotonic_ns() + KILL_WAIT_NS;
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *p;
    struct waiter w;
    int err = 0;

    list_for_each_entry(p, &process_list, all) {
        if (p != init_process && !p->is_zombie) {
            (void)signal_send_process(p, SIGKILL, NULL);
        }
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    wait_begin(&w, WAIT_KILLABLE, deadline);
    wait_add(&init_process->child_wait, &w, 0);
    while (err == 0) {
        int status;
        pid_t pid = wait_any_child_now(&status);

        if (pid == -ECHILD) {
            break;
        }
        if (pid == 0) {
            err = wait_sleep(&w);
        }
    }
    wait_end(&w);
}

static _Noreturn void run_machine(void)
{
    for (;;) {
        int status;
        pid_t pid = wait_any_child(&status);

        if (pid == workload->pid) {
            kill_rest();
            drivers_drain();
            machine_end(BOOT_STATUS_EXIT, shell_status(status));
        }
        assert(pid > 0); /* the workload is our child until it is reaped, and we take no signals */
    }
}

static int init_main(void *arg)
{
    struct task *self = current;
    const char *what = "root";
    int err;

    (void)arg;
    drivers_init();
    err = vfs_mount_root();
    if (err == 0) {
        what = "no memory for init's files";
        self->files = files_create();
        self->fs = fs_context_create();
        err = self->files && self->fs ? process_start_workload(&what) : -ENOMEM;
    }
    if (err < 0 || !workload) {
        log_error("init: cannot start: %s: error %d", what, -err);
        machine_end(BOOT_STATUS_ERROR, (unsigned)-err);
    }
    run_machine();
}

void init_start(void)
{
    struct task *t = create_process("init", init_main, NULL, NULL);

    if (!t || t->tid != 1) {
        panic(NULL, "init: not process 1");
    }
    init_process = t->process;
    sched_start(t);
}

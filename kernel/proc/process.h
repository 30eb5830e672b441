/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process: a thread group with one pid, one set of signal dispositions, one parent.
 *
 * Locks: process_tree_lock (RANK_PROCESS, a spinlock) guards parent, children, groups, sessions and
 * the zombie state; signal_lock guards dispositions, pending signals, threads and group exit. Death
 * is ordered as spec R-PROC-7.
 */
#pragma once

#include <core/lock.h>
#include <core/ref.h>
#include <core/types.h>
#include <proc/cred.h>
#include <proc/signal.h>
#include <sched/timer.h>
#include <sched/wait.h>

struct mm;
struct regs;
struct task;
struct tty;

enum rlimit_index { /* Linux's numbers, x86-64 and AArch64 alike */
    RLIMIT_CPU,
    RLIMIT_FSIZE,
    RLIMIT_DATA,
    RLIMIT_STACK,
    RLIMIT_CORE,
    RLIMIT_RSS,
    RLIMIT_NPROC,
    RLIMIT_NOFILE,
    RLIMIT_MEMLOCK,
    RLIMIT_AS,
    RLIMIT_LOCKS,
    RLIMIT_SIGPENDING,
    RLIMIT_MSGQUEUE,
    RLIMIT_NICE,
    RLIMIT_RTPRIO,
    RLIMIT_RTTIME,
    RLIMIT_COUNT
};

#define RLIM_INFINITY UINT64_MAX

struct rlimit {
    uint64_t soft;
    uint64_t hard;
};

struct rusage_sum { /* of dead threads, and of waited-for children */
    uint64_t user_ns, system_ns;
    uint64_t min_faults, maj_faults;
    uint64_t switches_voluntary, switches_forced;
    uint64_t max_rss_pages;
};

struct process {
    struct ref ref;
    pid_t pid;
    struct task *leader;

    /* process_tree_lock */
    struct process *parent; /* never NULL but for init; counted by being in its list */
    struct list children;   /* process->sibling */
    struct list sibling;
    struct list all; /* every process */
    pid_t pgid, sid;
    bool is_session_leader;
    bool is_subreaper;
    bool is_zombie;
    bool did_exec;
    int exit_signal; /* to the parent at death; SIGCHLD */
    int wait_status; /* once a zombie */
    struct rusage_sum children_usage;
    struct tty *tty; /* controlling terminal; counted */

    /* signal_lock */
    struct spinlock signal_lock;
    struct list threads; /* task->thread_link */
    uint32_t thread_count;
    struct sigaction_table *actions; /* counted: CLONE_SIGHAND */
    struct signal_queue pending;     /* process-directed */
    bool is_exiting;                 /* group exit under way; group_exit_status holds */
    int group_exit_status;
    struct task *exec_task; /* exec waits for the other threads */
    uint32_t stop_state;    /* job control: enum stop_state in proc/signal_internal.h */
    uint32_t stop_left;     /* threads that have yet to stop */
    int stop_signal;
    struct rusage_sum dead_threads;

    uint32_t queued_signals; /* entries in all queues; RLIMIT_SIGPENDING */

    struct wait_queue signal_wait; /* signalfd readers and pollers; woken when a signal is sent */
    struct wait_queue child_wait; /* wait4() sleepers of this process; woken when a child changes */
    struct wait_queue exit_wait;  /* pidfd pollers, exec */
    struct rlimit limits[RLIMIT_COUNT]; /* own to change, word-sized reads elsewhere */
    struct timer real_timer;            /* ITIMER_REAL; under signal_lock */
    uint64_t real_interval_ns;
    uint64_t real_deadline_ns;   /* 0: off */
    struct posix_timers *timers; /* timer_create(2) */
    uint64_t start_ns;
    int32_t oom_score_adj;
    bool is_dumpable;
    bool no_new_privs;
};

extern struct spinlock process_tree_lock;
extern struct list process_list;     /* process->all */
extern struct process *init_process; /* pid 1: the kernel's own reaper */

struct process *process_find(pid_t pid); /* counted, or NULL */
struct process *process_get(struct process *p);
void process_put(struct process *p);

/* Current task's process limit, soft. */
uint64_t limit_of(enum rlimit_index which);

/* --- life (proc/fork.c, proc/exit.c, proc/exec.c)
 * ---------------------------------------------------- */

/* exit_group from inside: never returns. status as wait(2) shows it. */
_Noreturn void process_exit_group(int wait_status);
_Noreturn void task_exit(int wait_status); /* this thread only */

/*
 * A new process, child of init and leader of its own session, whose one task begins in the kernel
 * in fn(arg): to exec_file() and arch_enter_user(). It has a fresh descriptor table, init's
 * directory, credentials and limits, no address space. Not yet running: sched_start() it. NULL: no
 * memory.
 */
struct task *process_create_kernel(const char *name, int (*fn)(void *arg), void *arg) MUST_CHECK;

/*
 * exec's last step, after the new address space is in place and nothing can fail any more: resets
 * caught signals, alternate stack, timers, child-tid and robust-list addresses; wakes a vfork
 * parent; marks the process as having exec'ed. Names and close-on-exec are exec's own.
 */
void process_exec_commit(void);
/* Wake the parent that vfork() put to sleep, if any. Of the current task. */
void task_vfork_done(void);

/* Create process 1, the kernel's own reaper, and start it: it mounts the root, starts the workload
 * and ends the machine with it. From kernel_main(), when tasks can run. */
void init_start(void);

/* exec's step: kill and await all other threads, become the leader. 0 or -EINTR when we are being
 * killed ourselves. */
int process_become_single(void) MUST_CHECK;

/*
 * Run `path` in the current task, replacing its image. argv/envp are kernel strings,
 * NULL-terminated. 0: the user frame is rewritten, return to it; -errno: nothing changed; past the
 * point of no return failure kills the process.
 */
int exec_file(const char *path, const char *const *argv, const char *const *envp) MUST_CHECK;
/* The same for a file that was found already; `name` is what the program is called. */
struct path;
int exec_path(const struct path *at, const char *name, const char *const *argv,
              const char *const *envp) MUST_CHECK;

/* The first user process, as boot arguments say: its own task, child of init. 0, or -errno with
 * *what naming the reason. */
int process_start_workload(const char **what) MUST_CHECK;

/* Called on each return to user mode while task->work is not 0, interrupts on; loops until it is.
 */
void task_work_run(struct regs *regs);

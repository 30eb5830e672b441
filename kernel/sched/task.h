/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task is what the scheduler runs: a thread of a process, or a kernel thread (process == NULL).
 * Fields are grouped by who may touch them. Looked up once, referenced, then used (rule A1).
 */
#pragma once

#include <arch/thread.h>
#include <core/ref.h>
#include <core/types.h>
#include <proc/signal_queue.h>
#include <sched/sched.h>
#include <sched/timer.h>

struct cred;
struct files;
struct fs_context;
struct mm;
struct process;
struct regs;

#define TASK_NAME_MAX 16

/* Work to do before returning to user mode; bits of task->work, set by anybody, cleared by the
 * task. */
enum task_work {
    WORK_RESCHED = 1u << 0,
    WORK_SIGNAL = 1u << 1,       /* look for signals */
    WORK_KILL = 1u << 2,         /* the group is exiting: leave now */
    WORK_RESTORE_MASK = 1u << 3, /* put task->saved_mask back after delivery (sigsuspend, ppoll) */
    WORK_SET_TID = 1u << 4,      /* a new thread: store its tid at set_child_tid */
};

struct restart_block {
    long (*again)(struct restart_block *r); /* what restart_syscall(2) runs */
    uint64_t arg[6];
    uint64_t deadline_ns;
};

struct task {
    /* Architecture: kernel stack pointer, FPU, FS/GS base. First: assembly knows its place. */
    struct arch_thread arch;
    struct sched_entity sched;

    struct ref ref;
    pid_t tid;
    _Atomic uint32_t work;    /* enum task_work */
    char name[TASK_NAME_MAX]; /* own to write; readers may see a mix, never past the end */
    void *kstack;             /* top, from kstack_alloc() */
    struct regs *regs;        /* the user frame at the stack's top; free room in kernel threads */

    /* Own to change while running; others look under process->signal_lock or after its death. */
    struct process *process; /* counted */
    struct mm *mm;           /* counted; NULL: kernel thread */
    struct files *files;     /* counted; NULL once left */
    struct fs_context *fs;   /* counted: cwd, root, umask */
    const struct cred *cred; /* counted, immutable */
    struct list thread_link; /* process->threads, under process->signal_lock */

    /* Under process->signal_lock. */
    uint64_t signal_mask;        /* bit n - 1 for signal n */
    struct signal_queue pending; /* thread-directed */
    uint64_t wait_mask;          /* blocked signals that sigtimedwait() takes nevertheless */
    bool is_exiting;             /* takes no more signals */
    uint64_t saved_mask;
    uint64_t altstack_base, altstack_size;
    uint32_t altstack_flags;

    /* Own: of the last fault, for the signal frame. */
    uint64_t fault_address;
    uint32_t fault_trap, fault_error;

    /* Own. */
    uint64_t clear_child_tid; /* user address, 0: none */
    uint64_t set_child_tid;   /* user address, for WORK_SET_TID */
    uint64_t robust_list;     /* user address of the head */
    struct restart_block restart;
    _Atomic bool is_vforked; /* our parent sleeps until we exec or exit (task_vfork_done()) */
    uint64_t start_ns;       /* monotonic */
    uint64_t min_faults, maj_faults;
    int exit_code; /* wait status, once dead */
    uint32_t personality;
    uint64_t timer_slack_ns;
    int parent_death_signal;

    /* What this task waits for: for hang reports and /proc wchan. */
    const char *wait_reason;
    /* Last system call: for fatal-signal reports. */
    int32_t last_syscall; /* number; its arguments are still in *regs */

    uint64_t held_locks; /* debug builds: bit per rank */
};

static inline struct task *current_task(void);
#define current (current_task())

#include <arch/current.h> /* defines current_task() from the per-CPU register */

static inline struct task *task_get(struct task *t)
{
    ref_get(&t->ref);
    return t;
}

void task_put(struct task *t);

/* Tasks alive, kernel threads and zombies included; for sysinfo and /proc/loadavg. */
unsigned task_count(void);

/* By tid in the one number space of pids and tids; with a reference, or NULL. */
struct task *task_find(pid_t tid);

/* A kernel thread that runs fn(arg) and may return. NULL: no memory. */
struct task *kernel_thread(const char *name, int (*fn)(void *arg), void *arg) MUST_CHECK;

/* Would a deliverable signal (or a kill) end an interruptible sleep of t now? */
bool signal_is_pending(const struct task *t);
bool fatal_signal_is_pending(const struct task *t);

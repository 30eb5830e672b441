/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files that make up signals. */
#pragma once

#include <core/types.h>
#include <proc/process.h>
#include <proc/signal.h>

struct posix_timer;
struct task;
struct timer;

#define SIGNAL_SET_BYTES 8u /* the only sigsetsize there is */
#define SIG_DFL          UINT64_C(0)
#define SIG_IGN          UINT64_C(1)

#define SIGNALS_UNBLOCKABLE (signal_bit(SIGKILL) | signal_bit(SIGSTOP))
#define SIGNALS_STOP                                                                               \
    (signal_bit(SIGSTOP) | signal_bit(SIGTSTP) | signal_bit(SIGTTIN) | signal_bit(SIGTTOU))
#define SIGNALS_IGNORED                                                                            \
    (signal_bit(SIGCHLD) | signal_bit(SIGCONT) | signal_bit(SIGURG) | signal_bit(SIGWINCH))
#define SIGNALS_SYNCHRONOUS                                                                        \
    (signal_bit(SIGSEGV) | signal_bit(SIGBUS) | signal_bit(SIGILL) | signal_bit(SIGTRAP) |         \
     signal_bit(SIGFPE) | signal_bit(SIGSYS))
#define SIGNALS_CORE                                                                               \
    (SIGNALS_SYNCHRONOUS | signal_bit(SIGQUIT) | signal_bit(SIGABRT) | signal_bit(SIGXCPU) |       \
     signal_bit(SIGXFSZ))

/* process->stop_state: job control. */
enum stop_state {
    STOP_PENDING = 1u << 0,  /* threads are to stop; stop_left have not yet */
    STOP_COMPLETE = 1u << 1, /* all have */
    STOP_REPORT = 1u << 2,   /* wait(WUNTRACED) may report it, once */
    CONT_REPORT = 1u << 3,   /* wait(WCONTINUED) may, once */
    CONT_NOTIFY = 1u << 4,   /* a woken thread has yet to tell the parent */
};

/* --- signal_queue.c: signal_lock held where a queue is shared ----------------------------------
 */

struct signal_entry {
    struct list link;
    struct posix_timer *timer; /* not NULL: belongs to that timer, is never freed here */
    struct process *owner;     /* whose queued_signals counts it; outlives its queues */
    struct siginfo info;
};

void signal_queue_flush(struct signal_queue *q);
void signal_queue_remove(struct signal_queue *q, uint64_t signals);
/* The signal of `set` to deliver first: synchronous faults, then the lowest; 0: none. */
int signal_choose(uint64_t set);
/* Take signal signo, which is pending, off the queue. */
void signal_queue_take(struct signal_queue *q, int signo, struct siginfo *info);
/*
 * Add. A standard signal that pends already is not added again. info NULL: from the kernel. When
 * memory or the limit refuses an entry: -EAGAIN if the sender asked for queueing, else the signal
 * pends without its info.
 */
int signal_queue_add(struct process *p, struct signal_queue *q, int signo,
                     const struct siginfo *info) MUST_CHECK;

/* --- dispositions ------------------------------------------------------------------------------
 */

struct sigaction_table *sigaction_default_table(void); /* counted */
void sigaction_table_put(struct sigaction_table *table);
/* Replace the action of a signal, copying a shared table first. signal_lock held. -ENOMEM. */
int sigaction_set_locked(struct process *p, int signo, const struct sigaction *action) MUST_CHECK;
/* exec: caught signals become default. */
void sigaction_reset_caught(struct process *p);

/* --- signal.c ----------------------------------------------------------------------------------
 */

/* Send with p->signal_lock held; t NULL: to the process. */
int signal_send_locked(struct process *p, struct task *t, int signo, const struct siginfo *info);
/* Make t look at its signals: `fatal` also ends killable sleeps and stops. */
void signal_wake_task(struct task *t, bool fatal);
/* Set or clear the current task's WORK_SIGNAL as its queues and mask say. signal_lock held. */
void signal_recalculate_locked(struct task *self);
/* Replace the current task's mask; hands signals that it no longer takes to its siblings. */
void signal_set_mask(uint64_t mask);
/*
 * For calls that wait under a mask of their own (sigsuspend, ppoll, pselect, epoll_pwait): borrow
 * it; give it back at once, or leave that to delivery when a signal ends the wait.
 */
void signal_borrow_mask(uint64_t mask);
void signal_return_mask(bool is_interrupted);
/* A signal that cannot be blocked, ignored or lost: of a fault of the current task. */
void signal_force(int signo, const struct siginfo *info);
/* SS_ONSTACK, SS_DISABLE or 0: the alternate stack as seen from stack pointer sp. */
uint32_t signal_altstack_state(const struct task *t, uint64_t sp);
/* The current task leaves: others take over what it would have. signal_lock held. */
void signal_retarget_locked(struct process *p, const struct task *leaving, uint64_t signals);

/* Take a pending signal of `set` (thread's, then process'), for sigtimedwait and signalfd. The
 * signal, or 0. signal_lock held. */
int signal_dequeue_locked(struct task *self, uint64_t set, struct siginfo *info);

/* May the current task signal p? 0 or -EPERM. */
int signal_permission(const struct process *p, int signo) MUST_CHECK;

/* --- job_control.c -----------------------------------------------------------------------------
 */

/* A stop signal's default action, in the current task: ignored in an orphaned group (but
 * SIGSTOP). */
void stop_begin(int signo);
/* A thread leaves (joins) a process that may be about to stop. signal_lock held. True:
 * it was the last that had to stop; the caller then calls stop_notify_parent(). */
bool stop_leave_locked(struct process *p) MUST_CHECK;
void stop_join_locked(struct process *p, struct task *t);
/* Take part in a stop under way: sleeps until it is over. No lock held. */
void stop_take_part(void);
/* SIGCONT, SIGKILL: end a stop. signal_lock held. */
void stop_end_locked(struct process *p, bool is_continued);
/* Tell the parent about a stop or continuation (SIGCHLD and wait). No lock held. */
void stop_notify_parent(struct process *p, int code, int signo);

/* A word to `parent` about `p`: SIGCHLD with the ABI's fields. process_tree_lock held. */
void signal_child_locked(struct process *parent, struct process *p, int signo, int code,
                         int status);

/* --- itimer.c ----------------------------------------------------------------------------------
 */

void itimer_real_expired(struct timer *t);

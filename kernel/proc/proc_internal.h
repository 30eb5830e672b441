/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of proc/. */
#pragma once

#include <proc/process.h>

struct task;

/* --- task.c ----------------------------------------------------------------------------------- */

/*
 * A task with kernel stack and tid, one reference (the scheduler drops it when it has died), not
 * linked anywhere. 0 or -EAGAIN (limit), -ENOMEM.
 */
int task_create(struct task **out) MUST_CHECK;
/* Undo task_create() of a task that never ran. */
void task_discard(struct task *t);

/* --- process.c -------------------------------------------------------------------------------- */

struct process *process_alloc(void) MUST_CHECK;
/* As many processes as memory can hold: a fork bomb meets EAGAIN before the OOM killer. */
bool process_limit_is_reached(void);
/* Make t the leader of p under t's tid. */
void process_set_leader(struct process *p, struct task *t);
/* Into the tree, with group and session held. process_tree_lock held. */
void process_link_locked(struct process *p, struct process *parent, pid_t pgid, pid_t sid);
/* Out of the tree for good: number, group, session and the leader are given back. Lock held; the
 * caller then calls process_reaped(). */
void process_unlink_locked(struct process *p);
void process_reaped(struct process *p);
/* Would stopping a member of this group leave nobody to continue it? Lock held. */
bool group_is_orphaned_locked(pid_t pgid, const struct process *except);

/* --- exit.c, wait.c --------------------------------------------------------------------------- */

/* Ask every other thread of p to leave. signal_lock held. */
void process_kill_threads_locked(struct process *p, const struct task *except);

/* Words of wait(2). */
static inline int wait_status_exited(int code)
{
    return (code & 0xff) << 8;
}

static inline int wait_status_stopped(int signo)
{
    return signo << 8 | 0x7f;
}

#define WAIT_STATUS_CONTINUED 0xffff

void rusage_add_task(struct rusage_sum *sum, const struct task *t);
void rusage_add(struct rusage_sum *sum, const struct rusage_sum *more);
/* All of p's own threads, dead and alive. */
void rusage_of_process(struct process *p, struct rusage_sum *out);
/* The ABI's struct rusage to user memory: 0 or -EFAULT. */
int rusage_to_user(void __user *to, const struct rusage_sum *sum) MUST_CHECK;

/* --- cred.c ----------------------------------------------------------------------------------- */

extern struct cred init_cred;

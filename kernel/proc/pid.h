/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one number space of tids, pids, process groups and sessions. A number is free again when the
 * last of its users (task, process, group member, session member) has dropped it, so that a group's
 * number is never given to a stranger. Lookups return counted objects.
 */
#pragma once

#include <core/types.h>

struct process;
struct task;

#define PID_MAX      32768 /* numbers are below; Linux's default */
#define PID_RESERVED 300   /* after a wrap, search begins here */

/* A fresh number with one use, or -EAGAIN (all in use), -ENOMEM. May sleep. */
pid_t pid_alloc(void) MUST_CHECK;
/* One use more or less of a number that is in use. Any context. */
void pid_hold(pid_t n);
void pid_drop(pid_t n);

/* What the number names; NULL: nothing (any more). No reference is taken or dropped. */
void pid_set_task(pid_t n, struct task *t);
void pid_set_process(pid_t n, struct process *p);

/* The next number in use at or after n, or 0: for listing. */
pid_t pid_next(pid_t n);

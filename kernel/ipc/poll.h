/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness: one implementation for poll, select, epoll and blocking I/O (spec R-EV-1). A file's
 * poll method calls poll_wait() for each queue that announces changes; what registers there depends
 * on who asks.
 */
#pragma once

#include <core/types.h>
#include <sched/wait.h>

#define POLLIN     0x0001u
#define POLLPRI    0x0002u
#define POLLOUT    0x0004u
#define POLLERR    0x0008u
#define POLLHUP    0x0010u
#define POLLNVAL   0x0020u
#define POLLRDNORM 0x0040u
#define POLLRDBAND 0x0080u
#define POLLWRNORM 0x0100u
#define POLLWRBAND 0x0200u
#define POLLMSG    0x0400u
#define POLLRDHUP  0x2000u

struct file;

struct poll_table {
    /* Register on q; NULL: the caller only wants the state now. */
    void (*add)(struct poll_table *pt, struct file *f, struct wait_queue *q);
    uint32_t events; /* that the asker cares for */
};

static inline void poll_wait(struct poll_table *pt, struct file *f, struct wait_queue *q)
{
    if (pt && pt->add) {
        pt->add(pt, f, q);
    }
}

/* The last reference to f is going: leave every epoll that watches it (called by file_put). */
void epoll_file_released(struct file *f);

/*
 * The signal mask that a wait brings along (ppoll, pselect6, epoll_pwait): in force for the wait
 * alone. begin: 1 borrowed, 0 none given, -errno. end: gives it back and turns the inner result
 * into the call's.
 */
int wait_mask_begin(const void __user *mask, size_t size) MUST_CHECK;
long wait_mask_end(int was_borrowed, long result);

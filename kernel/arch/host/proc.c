/* SPDX-License-Identifier: Apache-2.0 */
/* What file calls ask of processes, for unit tests: one user, no epolls, signals that are counted.
 */
#include <ipc/poll.h>
#include <proc/cred.h>
#include <proc/signal.h>

#include <host/host.h>

unsigned host_signals_sent;

HOST_STAND_IN bool cred_in_group(const struct cred *c, gid_t gid)
{
    return c->fsgid == gid;
}

/* The tests' credentials never differ between real and effective ids. */
HOST_STAND_IN struct cred *cred_copy(const struct cred *from)
{
    (void)from;
    return NULL;
}

HOST_STAND_IN void cred_put(const struct cred *c)
{
    (void)c;
}

HOST_STAND_IN void epoll_file_released(struct file *f)
{
    (void)f;
}

HOST_STAND_IN int signal_send_task(struct task *t, int signo, const struct siginfo *info)
{
    (void)t;
    (void)signo;
    (void)info;
    host_signals_sent++;
    return 0;
}

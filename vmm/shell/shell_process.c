/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of a shell. It is in its jail from the first instruction; makes the machine, whose
 * threads confine themselves; confines its own thread to the list of those that build; and waits.
 * Nothing of a guest has run by then. Once one runs, the list is that of a starter's listener.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/fmt.h>

#include "shell/shell_internal.h"
#include "vm_internal.h"

#define STATUS_FAILED 1

struct process {
    drupe_vm_t *vm;
    int fd;
    bool is_over;
};

static bool send_answer(const struct process *p, const struct shell_answer *a)
{
    ssize_t n = 0;

    do {
        n = send(p->fd, a, sizeof(*a), MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(*a);
}

/* ---- Requests ---- */

struct request {
    struct shell_request says;
    int fds[SHELL_FDS_MAX];
    unsigned fd_count;
};

static void take_fds(struct request *r, struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            r->fd_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(r->fds, CMSG_DATA(c), r->fd_count * sizeof(int));
        }
    }
}

/* False when the starter is gone. */
static bool receive(const struct process *p, struct request *r)
{
    struct iovec iov = { &r->says, sizeof(r->says) };
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(r->fds))];
    struct msghdr m = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = 0;

    r->fd_count = 0;
    do {
        n = recvmsg(p->fd, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        take_fds(r, &m);
    }
    return n == (ssize_t)sizeof(r->says);
}

static void load(const struct process *p, const struct request *r)
{
    static const int no_bases[1];
    const struct drupe_restore_options options = {
        .struct_size = sizeof(options),
        .base_fds = no_bases, /* none is looked for: a jail opens no files */
        .fd = r->fd_count > 0 ? r->fds[0] : -1,
        .memory_fd = r->fd_count > 1 ? r->fds[1] : -1,
        .is_clone = (r->says.a & SHELL_LOAD_CLONE) != 0,
        .is_memory_trusted = (r->says.a & SHELL_LOAD_TRUSTED) != 0,
    };
    struct shell_answer a;

    memset(&a, 0, sizeof(a));
    a.kind = SHELL_LOADED;
    a.code = drupe_vm_restore(p->vm, &options, &a.error);
    (void)send_answer(p, &a); /* a starter that is gone is seen by the next receive */
}

static void end_with(struct process *p, const struct drupe_error *err)
{
    struct shell_answer a;

    memset(&a, 0, sizeof(a));
    a.kind = SHELL_ENDED;
    a.outcome.kind = DRUPE_END_MONITOR;
    (void)fmt_snprintf(a.outcome.text, sizeof(a.outcome.text), "%s", err->text);
    (void)send_answer(p, &a);
    p->is_over = true;
}

static void take_streams(struct process *p, const struct request *r)
{
    struct drupe_vm_streams s = { -1, -1, -1, -1 };
    int *const slots[SHELL_STREAM_COUNT] = { &s.host_stdin, &s.host_stdout, &s.host_stderr,
                                             &s.serial_log };
    struct drupe_error err;
    unsigned next = 0;

    for (unsigned i = 0; i < SHELL_STREAM_COUNT && next < r->fd_count; i++) {
        if ((r->says.a & (1u << i)) != 0) {
            *slots[i] = r->fds[next++];
        }
    }
    if (drupe_vm_set_streams(p->vm, &s, &err) != DRUPE_OK) {
        end_with(p, &err);
    }
}

/* The guest runs when this returns, and from here on the process is no more than its listener. */
static void resume(struct process *p)
{
    struct drupe_error err;

    if (drupe_vm_resume(p->vm, &err) != DRUPE_OK ||
        drupe_jail_confine(DRUPE_JAIL_THREAD_MAIN, &err) != DRUPE_OK) {
        end_with(p, &err);
    }
}

static void tell_stats(const struct process *p)
{
    struct shell_answer a;

    memset(&a, 0, sizeof(a));
    a.kind = SHELL_STATED;
    (void)!drupe_vm_stats(p->vm, &a.stats, NULL); /* zeros while there is no machine */
    (void)send_answer(p, &a);
}

static void serve_request(struct process *p, const struct request *r)
{
    switch ((enum shell_request_kind)r->says.kind) {
    case SHELL_LOAD:
        load(p, r);
        break;
    case SHELL_STREAMS:
        take_streams(p, r);
        break;
    case SHELL_RESUME:
        resume(p);
        break;
    case SHELL_SIGNAL:
        (void)!drupe_vm_signal(p->vm, (int)r->says.a, NULL); /* not running (any more) */
        break;
    case SHELL_RESIZE:
        (void)!drupe_vm_resize_tty(p->vm, r->says.a, r->says.b, NULL);
        break;
    case SHELL_STATS:
        tell_stats(p);
        break;
    }
    for (unsigned i = 0; i < r->fd_count; i++) {
        (void)close(r->fds[i]);
    }
}

/* ---- Life ---- */

static int report_end(const struct process *p)
{
    struct shell_answer a;

    memset(&a, 0, sizeof(a));
    a.kind = SHELL_ENDED;
    if (drupe_vm_outcome(p->vm, &a.outcome, NULL) != DRUPE_OK) {
        a.outcome.kind = DRUPE_END_MONITOR;
    }
    return send_answer(p, &a) ? 0 : STATUS_FAILED;
}

static int serve(struct process *p)
{
    struct pollfd polls[] = { { drupe_vm_event_fd(p->vm), POLLIN, 0 }, { p->fd, POLLIN, 0 } };
    struct request r;

    while (!p->is_over) {
        if (poll(polls, array_size(polls), -1) < 0 && errno != EINTR) {
            return STATUS_FAILED;
        }
        if (polls[0].revents != 0) {
            return report_end(p);
        }
        if (polls[1].revents != 0) {
            if (!receive(p, &r)) {
                return STATUS_FAILED; /* nobody waits: the machine goes with this process */
            }
            serve_request(p, &r);
        }
    }
    return STATUS_FAILED;
}

static drupe_vm_err_t get_ready(const struct shell_start *start, struct drupe_error *err)
{
    drupe_vm_err_t r = vm_forked(start->vm, err);

    if (r == DRUPE_OK) {
        r = drupe_vm_prepare(start->vm, err);
    }
    if (r == DRUPE_OK) {
        r = drupe_jail_confine(DRUPE_JAIL_THREAD_SETUP, err);
    }
    if (r == DRUPE_OK && start->restore != NULL) {
        r = drupe_vm_restore(start->vm, start->restore, err);
    }
    return r;
}

int shell_process(void *ctx)
{
    const struct shell_start *start = ctx;
    struct process p = { .vm = start->vm, .fd = start->fd };
    struct shell_answer a;

    memset(&a, 0, sizeof(a));
    a.kind = SHELL_READY;
    a.code = get_ready(start, &a.error);
    if (!send_answer(&p, &a) || a.code != DRUPE_OK) {
        return STATUS_FAILED;
    }
    return serve(&p);
}

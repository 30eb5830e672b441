/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread owns the child: it starts it (so that the child can be told to die with it), moves
 * bytes, reads the status, and reports when the child is gone and everything it wrote has been
 * delivered.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "abi/boot.h"
#include "backends/qemu/qemu.h"
#include "outcome.h"

/* After a status QEMU has this long to end by itself, so that output under way arrives. */
#define END_GRACE_MS 200
#define EXEC_FAILED  127

/* ---- The child ---- */

/* Between fork and exec: only async-signal-safe calls. */
_Noreturn static void run_child(struct qemu_machine *m, pid_t parent)
{
    sigset_t none;
    int null_fd = m->child_fds[0]; /* the kernel's */

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(EXEC_FAILED); /* it died before we could ask */
    }
    /* A group of its own: Ctrl-C on the terminal is for the workload, not for QEMU. */
    (void)setpgid(0, 0);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (unsigned i = 0; i < QEMU_FDS; i++) {
        if (m->child_fds[i] >= 0 && dup2(m->child_fds[i], (int)(QEMU_FD_KERNEL + i)) < 0) {
            _exit(EXEC_FAILED);
        }
    }
    /* 0 must be something harmless, which nobody reads there. */
    (void)dup2(null_fd, 0);
    (void)dup2(m->child_messages, 1);
    (void)dup2(m->child_messages, 2);
    (void)execv(m->path, m->args.argv);
    _exit(EXEC_FAILED);
}

static bool start_child(struct qemu_machine *m)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid < 0) {
        return false;
    }
    if (pid == 0) {
        run_child(m, parent);
    }
    m->pid = pid;
    m->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    for (unsigned i = 0; i < QEMU_FDS; i++) {
        if (m->child_fds[i] >= 0) {
            (void)close(m->child_fds[i]);
            m->child_fds[i] = -1;
        }
    }
    (void)close(m->child_messages);
    m->child_messages = -1;
    return true;
}

static int reap_child(struct qemu_machine *m)
{
    int status = 0;

    (void)kill(m->pid, SIGKILL);
    while (waitpid(m->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (m->pid_fd >= 0) {
        (void)close(m->pid_fd);
        m->pid_fd = -1;
    }
    return status;
}

/* ---- Bytes ---- */

static void end_input(struct qemu_pipe *p)
{
    if (p->from >= 0) {
        (void)close(p->from);
        p->from = -1;
    }
    if (p->used == 0 && p->is_to_guest && !p->is_two_way && p->to >= 0) {
        (void)shutdown(p->to, SHUT_WR); /* end of file for the guest */
    }
}

/* Status bytes as in status_port.c: a byte out of order starts over. */
static void take_status(struct qemu_machine *m, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size && !m->has_status; i++) {
        m->status[m->status_count++] = bytes[i];
        if (m->status[0] != BOOT_STATUS_MAGIC) {
            m->status_count = 0;
        } else if (m->status_count == sizeof(m->status)) {
            m->has_status = bytes[i] == 0;
            m->status_count = 0;
        }
    }
}

/* The last line that QEMU said, for the outcome's text. */
static void take_message(struct qemu_machine *m, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            if (m->message_size > 0) {
                log_write(&m->log, DRUPE_LOG_WARN, "qemu", "text=\"%s\"", m->message);
            }
            m->message_size = 0;
        } else if (m->message_size + 1 < sizeof(m->message)) {
            m->message[m->message_size++] = (char)(bytes[i] < ' ' ? '?' : bytes[i]);
            m->message[m->message_size] = '\0';
        }
    }
}

static void fill(struct qemu_machine *m, enum qemu_stream s)
{
    struct qemu_pipe *p = &m->pipes[s];
    ssize_t n = read(p->from, p->buffer, sizeof(p->buffer));

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (n <= 0) {
        end_input(p);
    } else if (s == STREAM_STATUS) {
        take_status(m, p->buffer, (size_t)n);
    } else if (s == STREAM_MESSAGES) {
        take_message(m, p->buffer, (size_t)n);
    } else if (p->to >= 0) {
        p->at = 0;
        p->used = (size_t)n;
    }
}

static void drain(struct qemu_pipe *p)
{
    ssize_t n = write(p->to, p->buffer + p->at, p->used);

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (n <= 0) { /* nobody reads it any more */
        p->used = 0;
        if (p->is_to_guest) {
            end_input(p); /* the socket stays open until destroy */
        } else {
            p->to = -1;
        }
        return;
    }
    p->at += (size_t)n;
    p->used -= (size_t)n;
    if (p->used == 0 && p->from < 0) {
        end_input(p);
    }
}

static bool has_output_left(const struct qemu_machine *m)
{
    for (unsigned s = STREAM_STDOUT; s < STREAMS; s++) {
        if (m->pipes[s].from >= 0 || m->pipes[s].used > 0) {
            return true;
        }
    }
    return false;
}

/* ---- The loop ---- */

static int poll_once(struct qemu_machine *m, bool is_child_gone, int timeout_ms)
{
    struct pollfd fds[STREAMS + 2];
    int n = 0;

    for (unsigned s = 0; s < STREAMS; s++) {
        struct qemu_pipe *p = &m->pipes[s];

        fds[s] = (struct pollfd){ .fd = p->used > 0 ? p->to : p->from,
                                  .events = p->used > 0 ? POLLOUT : POLLIN };
        if (p->is_to_guest && is_child_gone) {
            fds[s].fd = -1;
        }
    }
    fds[STREAMS] = (struct pollfd){ .fd = m->wake_fd, .events = POLLIN };
    fds[STREAMS + 1] = (struct pollfd){ .fd = is_child_gone ? -1 : m->pid_fd, .events = POLLIN };
    n = poll(fds, array_size(fds), timeout_ms);
    for (unsigned s = 0; n > 0 && s < STREAMS; s++) {
        if (fds[s].revents == 0) {
            continue;
        }
        if (m->pipes[s].used > 0) {
            drain(&m->pipes[s]);
        } else {
            fill(m, (enum qemu_stream)s);
        }
    }
    if (n < 0 && errno != EINTR) {
        return -1;
    }
    return n > 0 && fds[STREAMS + 1].revents != 0 ? 0 : 1;
}

/* Pump until the child is gone and its output delivered, or somebody kills the machine. */
static void pump(struct qemu_machine *m)
{
    bool is_child_gone = m->pid_fd < 0;

    while (!atomic_load(&m->is_killed) && (!is_child_gone || has_output_left(m))) {
        bool has_ended = m->has_status;
        int r = poll_once(m, is_child_gone, has_ended ? END_GRACE_MS : -1);

        if (r < 0) {
            return;
        }
        is_child_gone = is_child_gone || r == 0;
        if (has_ended && !is_child_gone) {
            (void)kill(m->pid, SIGKILL);
        }
    }
}

static void report(struct qemu_machine *m, int child_status)
{
    struct drupe_vm_outcome o = { .kind = DRUPE_END_RESET };

    if (m->has_status) {
        outcome_from_status(&o, m->status[1], m->status[2]);
    } else if (atomic_load(&m->is_killed)) {
        o.kind = DRUPE_END_STOPPED;
        (void)fmt_snprintf(o.text, sizeof(o.text), "stopped by request");
    } else if (WIFEXITED(child_status) && WEXITSTATUS(child_status) == 0) {
        outcome_from_status(&o, 0, 0);
    } else {
        o.kind = DRUPE_END_MONITOR;
        (void)fmt_snprintf(o.text, sizeof(o.text), "QEMU ended with %s %d: %s",
                           WIFEXITED(child_status) ? "status" : "signal",
                           WIFEXITED(child_status) ? WEXITSTATUS(child_status)
                                                   : WTERMSIG(child_status),
                           m->message);
    }
    m->events.ended(m->events.ctx, &o);
}

void *qemu_pump_main(void *machine)
{
    struct qemu_machine *m = machine;
    bool is_released = false;
    int child_status = 0;

    (void)pthread_mutex_lock(&m->lock);
    while (!m->is_gate_open) {
        (void)pthread_cond_wait(&m->gate, &m->lock);
    }
    is_released = m->is_released;
    (void)pthread_mutex_unlock(&m->lock);
    if (!is_released) {
        return NULL;
    }
    if (start_child(m)) {
        pump(m);
        child_status = reap_child(m);
    } else {
        (void)fmt_snprintf(m->message, sizeof(m->message), "fork failed");
        child_status = EXEC_FAILED << 8;
    }
    report(m, child_status);
    return NULL;
}

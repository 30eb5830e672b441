/* SPDX-License-Identifier: Apache-2.0 */
/* From the start of the machine to its end: one poll loop over console, signals and the clock. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "cli.h"
#include "run_internal.h"
#include "run_monitor.h"

#define STOP_GRACE_S  UINT64_C(5)
#define SIGNAL_STATUS 128

static void fill_signals(sigset_t *set)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };

    (void)sigemptyset(set);
    for (size_t i = 0; i < array_size(signals); i++) {
        (void)sigaddset(set, signals[i]);
    }
}

void run_block_signals(void)
{
    sigset_t set;

    fill_signals(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    /* A reader of our output may go away; the workload then sees EPIPE, and we still report its
     * status. */
    (void)signal(SIGPIPE, SIG_IGN);
}

int refuse_vm(const char *verb, const struct drupe_error *err)
{
    if (err->code == DRUPE_CONFIG_INVALID) {
        return complain(STATUS_USAGE, "%s: %s", verb, err->text);
    }
    if (err->code == DRUPE_UNAVAILABLE) {
        return complain(STATUS_HOST, "%s: %s; drupe doctor says what to do", verb, err->text);
    }
    if (err->code == DRUPE_CRASHED || err->code == DRUPE_BOOT_TIMEOUT) {
        return complain(STATUS_GUEST, "%s: %s", verb, err->text);
    }
    return complain(STATUS_FAILED, "%s: %s", verb,
                    err->text[0] ? err->text : drupe_vm_err_name(err->code));
}

/* ---- The loop
 * ---------------------------------------------------------------------------------------- */

enum {
    POLL_END,
    POLL_SIGNAL,
    POLL_INPUT,
    POLL_GUEST_INPUT,
    POLL_PUMPS,
    POLL_TOTAL = POLL_PUMPS + PUMP_COUNT
};

struct loop {
    struct monitor *monitor;
    struct console *console;
    int signal_fd;
    int stop_signal;     /* the signal that asked us to stop; 0: none */
    uint64_t kill_ns;    /* when patience after that ends */
    uint64_t timeout_ns; /* --timeout */
    bool is_over;        /* the VM is to be stopped now */
    bool is_timeout;
};

static void take_stop_signal(struct loop *l, int signo)
{
    if (l->stop_signal != 0) {
        l->is_over = true;
        return;
    }
    l->stop_signal = signo;
    l->kill_ns = clock_ns() + STOP_GRACE_S * NS_PER_S;
    if (monitor_signal(l->monitor, signo) != DRUPE_OK) {
        l->kill_ns = clock_ns(); /* it does not run (any more): nothing to wait for */
    }
}

static void take_signals(struct loop *l)
{
    struct signalfd_siginfo info;

    while (read(l->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGWINCH) {
            take_stop_signal(l, (int)info.ssi_signo);
        } else if (l->console->is_tty) {
            console_read_size(l->console);
            monitor_resize(l->monitor, l->console->rows, l->console->cols);
        }
    }
}

static void fill_polls(const struct loop *l, struct pollfd *polls)
{
    const struct console *c = l->console;
    bool has_input = c->input_size > 0;
    bool is_reading = c->stdin_writer >= 0 && !has_input;

    polls[POLL_END] = (struct pollfd){ monitor_event_fd(l->monitor), POLLIN, 0 };
    polls[POLL_SIGNAL] = (struct pollfd){ l->signal_fd, POLLIN, 0 };
    polls[POLL_INPUT] = (struct pollfd){ is_reading ? STDIN_FILENO : -1, POLLIN, 0 };
    polls[POLL_GUEST_INPUT] = (struct pollfd){ has_input ? c->stdin_writer : -1, POLLOUT, 0 };
    for (int i = 0; i < PUMP_COUNT; i++) {
        polls[POLL_PUMPS + i] = (struct pollfd){ c->pumps[i].from, POLLIN, 0 };
    }
}

static int poll_timeout_ms(const struct loop *l)
{
    return clock_poll_ms(min_of(l->timeout_ns, l->kill_ns));
}

static void check_clock(struct loop *l)
{
    uint64_t now = clock_ns();

    if (now >= l->timeout_ns) {
        l->is_timeout = true;
        l->is_over = true;
    } else if (now >= l->kill_ns) {
        l->is_over = true;
    }
}

/* Serve until the VM has ended (true) or is to be stopped (false). */
static bool serve(struct loop *l)
{
    struct pollfd polls[POLL_TOTAL];

    while (!l->is_over) {
        fill_polls(l, polls);
        if (poll(polls, POLL_TOTAL, poll_timeout_ms(l)) < 0 && errno != EINTR) {
            return false;
        }
        for (int i = 0; i < PUMP_COUNT; i++) {
            if (polls[POLL_PUMPS + i].revents && !pump_move(&l->console->pumps[i])) {
                l->console->pumps[i].from = -1;
            }
        }
        if (polls[POLL_END].revents) {
            return true;
        }
        if (polls[POLL_SIGNAL].revents) {
            take_signals(l);
        }
        if (polls[POLL_GUEST_INPUT].revents) {
            console_write_input(l->console);
        }
        if (polls[POLL_INPUT].revents && console_read_input(l->console)) {
            l->stop_signal = SIGINT;
            l->is_over = true;
        }
        check_clock(l);
    }
    return false;
}

/* ---- The end
 * ----------------------------------------------------------------------------------------- */

static int report_outcome(const struct loop *l)
{
    struct drupe_vm_outcome end;
    struct drupe_error err;

    if (monitor_outcome(l->monitor, &end, &err) != DRUPE_OK) {
        return refuse_vm("run", &err);
    }
    const char *text = end.text[0] ? end.text : "no details";

    switch (end.kind) {
    case DRUPE_END_EXIT:
    case DRUPE_END_REBOOT:
        return end.status;
    case DRUPE_END_STOPPED:
        return l->stop_signal ? SIGNAL_STATUS + l->stop_signal : STATUS_FAILED;
    case DRUPE_END_BOOT_ERROR:
        return complain(STATUS_FAILED, "run: the machine could not start the program: %s", text);
    case DRUPE_END_PANIC:
        return complain(STATUS_GUEST, "run: the guest kernel stopped on an error of its own: %s",
                        text);
    case DRUPE_END_RESET:
        return complain(STATUS_GUEST, "run: the machine was reset without a status: %s", text);
    case DRUPE_END_MONITOR:
        return complain(STATUS_GUEST, "run: the machine failed: %s", text);
    case DRUPE_END_NONE:
        break;
    }
    return complain(STATUS_GUEST, "run: the machine ended in an unknown way");
}

static int stop_vm(struct loop *l)
{
    struct drupe_error err;
    bool is_stopped = monitor_stop(l->monitor, &err) == DRUPE_OK;

    console_drain(l->console);
    console_stop(l->console);
    if (l->is_timeout) {
        return complain(STATUS_TIMEOUT, "run: stopped after --timeout");
    }
    if (!is_stopped && err.code != DRUPE_NOT_RUNNING) {
        return refuse_vm("run", &err);
    }
    return SIGNAL_STATUS + l->stop_signal;
}

int run_vm(struct monitor *m, drupe_vm_t *vm, struct console *c, uint64_t timeout_s)
{
    struct loop l = {
        .monitor = m, .console = c, .kill_ns = CLOCK_NEVER, .timeout_ns = CLOCK_NEVER
    };
    struct drupe_error err;
    sigset_t set;

    fill_signals(&set);
    l.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l.signal_fd < 0) {
        return complain(STATUS_FAILED, "run: signalfd: %s", strerror(errno));
    }
    if (timeout_s > 0) {
        l.timeout_ns = clock_ns() + timeout_s * NS_PER_S;
    }
    console_start(c);
    if (monitor_start(m, vm, &err) != DRUPE_OK) {
        console_drain(c);
        console_stop(c);
        (void)close(l.signal_fd);
        return refuse_vm("run", &err);
    }
    bool has_ended = serve(&l);
    int status = 0;

    if (has_ended) {
        console_drain(c);
        console_stop(c);
        status = report_outcome(&l);
    } else {
        status = stop_vm(&l);
    }
    (void)close(l.signal_fd);
    return status;
}

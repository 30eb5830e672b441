/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload's console. Without a terminal and without a log the machine gets our own descriptors
 * and nothing passes through here; pumps exist only where bytes must be looked at or copied.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/clock.h>

#include "cli.h"
#include "run_internal.h"

#define INTERRUPT_BYTE      3
#define INTERRUPT_WINDOW_NS NS_PER_S

/* For atexit(): the one console whose terminal is in raw mode. */
static struct console *raw_console;

static void restore_terminal(void)
{
    if (raw_console) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw_console->saved);
        raw_console = NULL;
    }
}

/* ---- Opening
 * -------------------------------------------------------------------------------------- */

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int open_log(struct console *c, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash && slash != path) {
        CLEANUP_FREE char *dir = text_copy_sized(path, (size_t)(slash - path));
        int err = dirs_make(dir, 0755);

        if (err < 0) {
            return complain(STATUS_FAILED, "run: %s: %s", dir, strerror(-err));
        }
    }
    c->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (c->log < 0) {
        return complain(STATUS_FAILED, "run: %s: %s", path, strerror(errno));
    }
    /* The lock tells `drupe logs --follow` that the machine runs, and keeps two runs out of one
     * file. */
    if (flock(c->log, LOCK_EX | LOCK_NB) < 0) {
        warn("another run writes %s; the console of this one is not logged", path);
        (void)close(c->log);
        c->log = -1;
        return 0;
    }
    struct stat st;

    if (fstat(c->log, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)!ftruncate(c->log, 0);
    }
    return 0;
}

/* A pipe whose read end the pump empties; returns the write end, or -1. */
static int make_pump(struct console *c, int which, int to)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -1;
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    c->pumps[which] = (struct pump){ .from = ends[0], .to = to, .log = c->log };
    return ends[1];
}

static int open_streams(struct console *c)
{
    c->vm_stdin = is_open(STDIN_FILENO) ? dup(STDIN_FILENO) : -1;
    if (c->log < 0) {
        c->vm_stdout = is_open(STDOUT_FILENO) ? dup(STDOUT_FILENO) : -1;
        c->vm_stderr = is_open(STDERR_FILENO) ? dup(STDERR_FILENO) : -1;
        return 0;
    }
    c->vm_stdout = make_pump(c, PUMP_STDOUT, STDOUT_FILENO);
    c->vm_stderr = make_pump(c, PUMP_STDERR, STDERR_FILENO);
    return c->vm_stdout < 0 || c->vm_stderr < 0 ? -errno : 0;
}

static int open_tty(struct console *c)
{
    int ends[2];

    if (tcgetattr(STDIN_FILENO, &c->saved) < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    c->vm_stdin = ends[0];
    c->stdin_writer = ends[1];
    (void)fcntl(c->stdin_writer, F_SETFL, O_NONBLOCK);
    console_read_size(c);
    if (c->log < 0) {
        c->vm_stdout = dup(STDOUT_FILENO);
    } else {
        c->vm_stdout = make_pump(c, PUMP_STDOUT, STDOUT_FILENO);
    }
    return c->vm_stdout < 0 ? -errno : 0;
}

/* Kernel messages go to standard error and to the log, never into the workload's output. */
static int open_serial(struct console *c)
{
    if (c->log < 0 && !c->is_tty) {
        c->vm_serial = is_open(STDERR_FILENO) ? dup(STDERR_FILENO) : -1;
        return 0;
    }
    c->vm_serial = make_pump(c, PUMP_SERIAL, is_open(STDERR_FILENO) ? STDERR_FILENO : -1);
    c->pumps[PUMP_SERIAL].adds_cr = c->is_tty && isatty(STDERR_FILENO);
    return c->vm_serial < 0 ? -errno : 0;
}

int console_open(struct console *c, const char *log_path, bool may_be_terminal)
{
    *c = (struct console){ .log = -1,
                           .stdin_writer = -1,
                           .vm_stdin = -1,
                           .vm_stdout = -1,
                           .vm_stderr = -1,
                           .vm_serial = -1 };
    for (int i = 0; i < PUMP_COUNT; i++) {
        c->pumps[i].from = -1;
    }
    c->is_tty = may_be_terminal && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

    int status = log_path ? open_log(c, log_path) : 0;

    if (status != 0) {
        return status;
    }
    int err = c->is_tty ? open_tty(c) : open_streams(c);

    if (err == 0) {
        err = open_serial(c);
    }
    return err < 0
               ? complain(STATUS_FAILED, "run: the console cannot be set up: %s", strerror(-err))
               : 0;
}

void console_read_size(struct console *c)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        c->rows = size.ws_row;
        c->cols = size.ws_col;
    }
}

/* ---- Start and stop
 * -------------------------------------------------------------------------------- */

void console_start(struct console *c)
{
    if (!c->is_tty) {
        return;
    }
    struct termios raw = c->saved;

    cfmakeraw(&raw);
    raw_console = c;
    (void)atexit(restore_terminal);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

void console_stop(struct console *c)
{
    (void)c;
    restore_terminal();
}

void console_handed_over(struct console *c)
{
    int *fds[] = { &c->vm_stdin, &c->vm_stdout, &c->vm_stderr, &c->vm_serial };

    for (size_t i = 0; i < array_size(fds); i++) {
        cleanup_fd(fds[i]);
        *fds[i] = -1;
    }
}

/* ---- Output
 * ----------------------------------------------------------------------------------------- */

/* The host's terminal may be set non-blocking by whoever shares it. */
static int write_waiting(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EAGAIN) {
            struct pollfd p = { fd, POLLOUT, 0 };

            (void)poll(&p, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

static int write_with_cr(int fd, const char *bytes, size_t size)
{
    CLEANUP_BUFFER text = { 0 };

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\r')) {
            buffer_add(&text, "\r", 1);
        }
        buffer_add(&text, bytes + i, 1);
    }
    return write_waiting(fd, text.data, text.size);
}

bool pump_move(struct pump *p)
{
    char bytes[PUMP_SIZE];
    ssize_t n = read(p->from, bytes, sizeof(bytes));

    if (n < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    if (n == 0) {
        return false;
    }
    if (p->log >= 0 && fd_write_all(p->log, bytes, (size_t)n) < 0) {
        warn("the console log cannot be written: %s", strerror(errno));
        p->log = -1;
    }
    if (p->to >= 0) {
        int err = p->adds_cr ? write_with_cr(p->to, bytes, (size_t)n)
                             : write_waiting(p->to, bytes, (size_t)n);

        /* Nobody reads any more: the log goes on without. */
        if (err < 0) {
            p->to = -1;
        }
    }
    return true;
}

void console_drain(struct console *c)
{
    for (int i = 0; i < PUMP_COUNT; i++) {
        struct pollfd p = { c->pumps[i].from, POLLIN, 0 };

        while (p.fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & POLLIN) && pump_move(&c->pumps[i])) {
        }
    }
}

/* ---- Terminal input
 * ---------------------------------------------------------------------------------- */

bool console_read_input(struct console *c)
{
    ssize_t n = read(STDIN_FILENO, c->input, sizeof(c->input));
    uint64_t now = clock_ns();

    if (n <= 0) {
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            cleanup_fd(&c->stdin_writer);
            c->stdin_writer = -1;
        }
        return false;
    }
    c->input_size = (size_t)n;
    for (ssize_t i = 0; i < n; i++) {
        if (c->input[i] != INTERRUPT_BYTE) {
            continue;
        }
        if (c->interrupt_ns != 0 && now - c->interrupt_ns < INTERRUPT_WINDOW_NS) {
            return true;
        }
        c->interrupt_ns = now;
    }
    return false;
}

void console_write_input(struct console *c)
{
    ssize_t n = write(c->stdin_writer, c->input, c->input_size);

    if (n > 0) {
        c->input_size -= (size_t)n;
        memmove(c->input, c->input + n, c->input_size);
    } else if (n < 0 && errno != EINTR && errno != EAGAIN) {
        cleanup_fd(&c->stdin_writer);
        c->stdin_writer = -1;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* drupe exec: a program beside the workload of a running machine, with its streams and its status.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <drupe/agent.h>

#include "cli.h"
#include "options.h"
#include "run_internal.h"
#include "vm_agent.h"
#include "vm_dir.h"

#define CHUNK_SIZE    65536
#define TIMEOUT_S_MAX (DRUPE_EXEC_TIMEOUT_MS_MAX / 1000)

struct session {
    drupe_agent_t *agent;
    drupe_exec_t *exec;
    int signal_fd;
    bool has_stdin; /* more may come */
    bool has_tty;
    struct termios saved;
    char input[CHUNK_SIZE]; /* read and not yet taken */
    size_t input_at;
    size_t input_size;
    bool is_output_lost; /* nobody reads ours any more */
};

/* ---- Streams ---- */

static void take_output(void *ctx, bool is_stderr, const void *bytes, size_t size)
{
    struct session *s = ctx;

    if (fd_write_all(is_stderr ? STDERR_FILENO : STDOUT_FILENO, bytes, size) < 0 && !is_stderr) {
        s->is_output_lost = true;
    }
}

static void read_input(struct session *s)
{
    ssize_t n = read(STDIN_FILENO, s->input, sizeof(s->input));

    if (n > 0) {
        s->input_at = 0;
        s->input_size = (size_t)n;
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        s->has_stdin = false;
    }
}

/* As much as the guest has room for; its end when there is no more. */
static drupe_vm_err_t pass_input(struct session *s, bool *is_closed, struct drupe_error *err)
{
    size_t taken = 0;
    drupe_vm_err_t r = DRUPE_OK;

    if (s->input_size > 0) {
        r = drupe_exec_write(s->exec, s->input + s->input_at, s->input_size, &taken, err);
        s->input_at += taken;
        s->input_size -= taken;
    }
    if (r == DRUPE_OK && s->input_size == 0 && !s->has_stdin && !*is_closed) {
        r = drupe_exec_close_stdin(s->exec, err);
        *is_closed = true;
    }
    return r;
}

/* ---- Signals and the terminal ---- */

static void window_size(uint16_t *rows, uint16_t *cols)
{
    struct winsize size;

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        *rows = size.ws_row;
        *cols = size.ws_col;
    }
}

static void take_signals(const struct session *s)
{
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        uint16_t rows = 0;
        uint16_t cols = 0;

        if (info.ssi_signo != SIGWINCH) {
            (void)!drupe_exec_kill(s->exec, (int)info.ssi_signo, NULL); /* its end follows */
        } else if (s->has_tty) {
            window_size(&rows, &cols);
            (void)!drupe_exec_resize(s->exec, rows, cols, NULL); /* it keeps the old size */
        }
    }
}

static int open_signals(struct session *s)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < array_size(signals); i++) {
        (void)sigaddset(&set, signals[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd < 0 ? complain(STATUS_FAILED, "exec: signalfd: %s", strerror(errno)) : 0;
}

static void enter_terminal(struct session *s)
{
    struct termios raw;

    if (!s->has_tty || tcgetattr(STDIN_FILENO, &s->saved) < 0) {
        s->has_tty = false;
        return;
    }
    raw = s->saved;
    cfmakeraw(&raw);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static void leave_terminal(const struct session *s)
{
    if (s->has_tty) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
    }
}

/* ---- The loop ---- */

static drupe_vm_err_t serve(struct session *s, struct drupe_exec_result *result,
                            struct drupe_error *err)
{
    bool is_closed = !s->has_stdin;

    for (;;) {
        drupe_vm_err_t r = drupe_exec_wait(s->exec, 0, result, err);

        if (r != DRUPE_TIMEOUT) {
            return r;
        }
        r = pass_input(s, &is_closed, err);
        if (r != DRUPE_OK) {
            return r;
        }
        struct pollfd polls[] = {
            { drupe_agent_fd(s->agent), POLLIN, 0 },
            { s->signal_fd, POLLIN, 0 },
            { s->has_stdin && s->input_size == 0 ? STDIN_FILENO : -1, POLLIN, 0 },
        };

        if (poll(polls, array_size(polls), -1) < 0) {
            continue; /* EINTR */
        }
        if (polls[1].revents) {
            take_signals(s);
        }
        if (polls[2].revents) {
            read_input(s);
        }
        if (s->is_output_lost) {
            (void)!drupe_exec_kill(s->exec, SIGPIPE, NULL); /* as if its own reader were gone */
        }
    }
}

static int refuse(const struct drupe_error *err)
{
    if (err->code == DRUPE_CONFIG_INVALID) {
        return complain(STATUS_USAGE, "exec: %s", err->text);
    }
    if (err->code == DRUPE_UNSUPPORTED || err->code == DRUPE_NOT_FOUND) {
        return complain(STATUS_FAILED, "exec: the machine has no agent: %s", err->text);
    }
    return complain(STATUS_FAILED, "exec: %s",
                    err->text[0] ? err->text : drupe_vm_err_name(err->code));
}

static int run_program(struct session *s, const struct drupe_exec_options *options)
{
    struct drupe_exec_result result = { 0 };
    struct drupe_error err = { 0 };
    drupe_vm_err_t r = drupe_exec_start(s->agent, options, take_output, s, &s->exec, &err);

    if (r != DRUPE_OK) {
        return refuse(&err);
    }
    s->has_stdin = options->want_stdin;
    enter_terminal(s);
    r = serve(s, &result, &err);
    leave_terminal(s);
    drupe_exec_free(s->exec);
    if (r == DRUPE_EXEC_TIMEOUT) {
        return complain(STATUS_TIMEOUT, "exec: stopped after --timeout");
    }
    return r == DRUPE_OK ? result.exit_code : refuse(&err);
}

/* ---- The verb ---- */

struct wish {
    struct strings env;
    const char *cwd;
    uint64_t uid;
    uint64_t timeout_s;
    bool has_stdin;
    bool has_tty;
};

/* NAME=value, or NAME for the value that it has here. */
static int add_variables(const struct strings *given, struct strings *out)
{
    for (size_t i = 0; i < given->count; i++) {
        const char *text = given->items[i];
        const char *value = strchr(text, '=') ? NULL : getenv(text);

        if (text[0] == '=' || (!strchr(text, '=') && !value)) {
            return complain(STATUS_USAGE, "exec: --env %s: give NAME=value, or NAME to pass it on",
                            text);
        }
        if (value) {
            strings_take(out, text_format("%s=%s", text, value));
        } else {
            strings_add(out, text);
        }
    }
    return 0;
}

static int exec_in(const struct vm_record *r, const struct wish *w, char *const *argv)
{
    struct session s = { .has_tty = w->has_tty };
    struct drupe_exec_options options;
    CLEANUP_STRINGS env = { 0 };
    int status = add_variables(&w->env, &env);

    if (status == 0) {
        status = open_signals(&s);
    }
    if (status == 0) {
        status = vm_agent_connect("exec", r, &s.agent);
    }
    if (status != 0) {
        return status;
    }
    drupe_exec_options_init(&options);
    options.argv = (const char *const *)argv;
    options.cwd = w->cwd;
    options.uid = (uint32_t)w->uid;
    options.gid = (uint32_t)w->uid;
    options.timeout_ms = w->timeout_s ? (uint32_t)(w->timeout_s * 1000) : DRUPE_EXEC_TIMEOUT_NEVER;
    options.max_output_bytes = DRUPE_EXEC_OUTPUT_NO_LIMIT;
    options.want_stdin = w->has_stdin;
    options.has_tty = w->has_tty;
    if (w->has_tty) {
        window_size(&options.tty_rows, &options.tty_cols);
        strings_take(&env, text_format("TERM=%s", getenv("TERM") ? getenv("TERM") : "linux"));
    }
    options.env = (const char *const *)env.items;
    status = run_program(&s, &options);
    drupe_agent_close(s.agent);
    return status;
}

static int run_exec(int argc, char **argv)
{
    struct wish w = { 0 };
    CLEANUP_RECORD r = { 0 };
    const struct option_spec specs[] = {
        { .name = "interactive", .letter = 'i', .kind = OPTION_FLAG, .out = &w.has_stdin },
        { .name = "tty", .letter = 't', .kind = OPTION_FLAG, .out = &w.has_tty },
        { .name = "env", .letter = 'e', .kind = OPTION_LIST, .out = &w.env },
        { .name = "cwd", .letter = 'w', .kind = OPTION_TEXT, .out = &w.cwd },
        { .name = "workdir", .kind = OPTION_TEXT, .out = &w.cwd },
        { .name = "uid",
          .letter = 'u',
          .kind = OPTION_NUMBER,
          .out = &w.uid,
          .max = UINT32_MAX - 1 },
        { .name = "user", .kind = OPTION_NUMBER, .out = &w.uid, .max = UINT32_MAX - 1 },
        { .name = "timeout",
          .kind = OPTION_NUMBER,
          .out = &w.timeout_s,
          .min = 1,
          .max = TIMEOUT_S_MAX },
    };
    struct operands operands;
    int status = options_of_verb(&verb_exec, specs, array_size(specs), argc, argv, &operands);

    if (status < 0) {
        int first = operands.first + 1;

        if (first < argc && strcmp(argv[first], "--") == 0) {
            first++;
        }
        if (first >= argc) {
            status =
                complain(STATUS_USAGE, "exec: give a machine and a command; see drupe exec --help");
        } else if (w.has_tty && !isatty(STDIN_FILENO)) {
            status = complain(STATUS_USAGE, "exec: --tty: standard input is no terminal");
        } else {
            status = vm_find("exec", argv[operands.first], &r);
            status = status != 0 ? status : exec_in(&r, &w, argv + first);
        }
    }
    strings_free(&w.env);
    return status;
}

const struct verb verb_exec = {
    .name = "exec",
    .summary = "run a command in a running machine",
    .help =
        "usage: drupe exec [OPTIONS] MACHINE [--] COMMAND [ARGUMENTS]\n\n"
        "The command's output and exit status are drupe's: 128 + n after signal n, 127 when there "
        "is no such\nprogram, 126 when it may not be executed, 125 when it could not be set up. "
        "SIGINT, SIGTERM, SIGHUP\nand SIGQUIT are passed on to it.\n\n"
        "options:\n"
        "  -i, --interactive       pass standard input on; otherwise it is empty\n"
        "  -t, --tty               give it a terminal (with -i: a shell, say)\n"
        "  -e, --env NAME[=VALUE]  set a variable, or pass this shell's on; may be repeated\n"
        "  -w, --cwd DIR           its working directory (default /); also --workdir\n"
        "  -u, --uid N             its user and group (default 0); also --user\n"
        "      --timeout SECONDS   then SIGTERM, two seconds later SIGKILL; the status is 124\n\n"
        "examples:\n"
        "  drupe exec web -- ps\n"
        "  drupe exec -it web sh\n"
        "  tar c . | drupe exec -i web -- tar x -C /srv\n",
    .run = run_exec,
};

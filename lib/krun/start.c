/* SPDX-License-Identifier: Apache-2.0 */
/* krun_start_enter(): a context becomes a machine, and the machine's end the process's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "context.h"
#include "libkrun.h"

#define STATUS_SETUP 125
#define ROOT_TAG     "root"
#define CMDLINE_SIZE (DRUPE_CMDLINE_SIZE_MAX + 1u)

/* The library's own kernel; a build without one has an empty range. */
extern const char krun_kernel_image[] __attribute__((visibility("hidden")));
extern const char krun_kernel_image_end[] __attribute__((visibility("hidden")));

/* What must live until create has copied it. */
struct start {
    drupe_vm_config_t cfg;
    const char **argv;
    char cmdline[CMDLINE_SIZE];
    int output; /* -1: none */
};

static struct termios saved_terminal;

static void restore_terminal(void)
{
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

/* The guest's terminal does what this one did. */
static void enter_raw_mode(void)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &saved_terminal) == 0 && atexit(restore_terminal) == 0) {
        raw = saved_terminal;
        cfmakeraw(&raw);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
}

static int set_console(const struct krun_ctx *c, struct start *s)
{
    struct winsize size;

    if (c->console_output != NULL) {
        s->output = open(c->console_output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        s->cfg.host_stdout = s->output;
        s->cfg.host_stderr = s->output;
        return s->output < 0 ? -errno : 0;
    }
    s->cfg.host_stdin = STDIN_FILENO;
    s->cfg.host_stdout = STDOUT_FILENO;
    s->cfg.host_stderr = STDERR_FILENO;
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        s->cfg.stdio = DRUPE_STDIO_TTY;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
            s->cfg.tty_rows = size.ws_row;
            s->cfg.tty_cols = size.ws_col;
        }
    }
    return 0;
}

static int set_kernel(const struct krun_ctx *c, struct start *s)
{
    const size_t size = (uintptr_t)krun_kernel_image_end - (uintptr_t)krun_kernel_image;

    if (c->kernel != NULL) {
        s->cfg.kernel_path = c->kernel;
        return 0;
    }
    s->cfg.kernel_image = krun_kernel_image;
    s->cfg.kernel_image_size = size;
    return size > 0 ? 0 : -ENOENT;
}

/* The user's words, then the limits of the first process. */
static int set_cmdline(const struct krun_ctx *c, struct start *s)
{
    int used = snprintf(s->cmdline, sizeof(s->cmdline), "%s", c->cmdline != NULL ? c->cmdline : "");

    for (size_t i = 0; i < c->rlimit_count && used >= 0 && (size_t)used < sizeof(s->cmdline); i++) {
        const struct krun_rlimit *l = &c->rlimits[i];

        used += snprintf(s->cmdline + used, sizeof(s->cmdline) - (size_t)used,
                         " drupe.rlimit=%u:%llu:%llu", l->resource, (unsigned long long)l->soft,
                         (unsigned long long)l->hard);
    }
    s->cfg.cmdline_extra = s->cmdline;
    return used < 0 || (size_t)used >= sizeof(s->cmdline) ? -E2BIG : 0;
}

static int set_program(const struct krun_ctx *c, struct start *s)
{
    if (c->program == NULL) {
        return c->kernel != NULL ? 0 : -EINVAL;
    }
    s->argv = calloc(c->argv.count + 2, sizeof(*s->argv));
    if (s->argv == NULL) {
        return -ENOMEM;
    }
    s->argv[0] = c->program;
    for (size_t i = 0; i < c->argv.count; i++) {
        s->argv[i + 1] = c->argv.items[i];
    }
    s->cfg.argv = s->argv;
    s->cfg.env = (const char *const *)c->env.items;
    s->cfg.cwd = c->workdir;
    return 0;
}

static void set_shares(struct krun_ctx *c, struct start *s)
{
    c->shares[0] = (struct drupe_share){ .host_path = c->root, .tag = ROOT_TAG, .guest_path = "/" };
    s->cfg.shares = c->root != NULL ? c->shares : c->shares + 1;
    s->cfg.share_count = c->root != NULL ? c->share_count : c->share_count - 1;
}

static int configure(struct krun_ctx *c, struct start *s)
{
    int err;

    drupe_vm_config_init(&s->cfg);
    s->cfg.accel = DRUPE_ACCEL_KVM;
    s->cfg.vcpus = c->vcpus;
    s->cfg.memory_mib = c->ram_mib;
    s->cfg.disks = c->disks;
    s->cfg.disk_count = c->disk_count;
    s->cfg.is_quiet = true;
    s->cfg.log = krun_log;
    set_shares(c, s);
    err = set_program(c, s);
    err = err < 0 ? err : set_kernel(c, s);
    err = err < 0 ? err : set_cmdline(c, s);
    return err < 0 ? err : set_console(c, s);
}

/* One errno for each of the monitor's errors; the text goes to the log. */
static int32_t errno_of(const struct drupe_error *e)
{
    krun_log(NULL, DRUPE_LOG_ERROR, e->text);
    if (e->os_errno > 0) {
        return -e->os_errno;
    }
    switch (e->code) {
    case DRUPE_CONFIG_INVALID:
        return -EINVAL;
    case DRUPE_NOT_FOUND:
        return -ENOENT;
    case DRUPE_NO_ACCESS:
        return -EACCES;
    case DRUPE_UNAVAILABLE:
        return -ENODEV;
    case DRUPE_NO_MEMORY:
        return -ENOMEM;
    case DRUPE_UNSUPPORTED:
        return -ENOTSUP;
    default:
        return -EIO;
    }
}

static int drop_ids(const struct krun_ctx *c)
{
    if (c->has_gid && setgid(c->gid) < 0) {
        return -errno;
    }
    return c->has_uid && setuid(c->uid) < 0 ? -errno : 0;
}

/* Until the machine has ended, by itself or because somebody wrote to the eventfd. */
static void wait_end(drupe_vm_t *vm, int shutdown_fd)
{
    struct pollfd polls[2] = { { drupe_vm_event_fd(vm), POLLIN, 0 }, { shutdown_fd, POLLIN, 0 } };

    for (;;) {
        if (poll(polls, array_size(polls), -1) < 0) {
            continue; /* EINTR */
        }
        if (polls[0].revents != 0) {
            return;
        }
        if (polls[1].revents != 0) {
            struct drupe_error err;

            if (drupe_vm_stop(vm, 1000, &err) != DRUPE_OK && err.code != DRUPE_NOT_RUNNING) {
                krun_log(NULL, DRUPE_LOG_ERROR, err.text);
            }
            polls[1].fd = -1;
        }
    }
}

static int exit_status(drupe_vm_t *vm)
{
    struct drupe_vm_outcome end;

    if (drupe_vm_outcome(vm, &end, NULL) != DRUPE_OK) {
        return STATUS_SETUP;
    }
    switch (end.kind) {
    case DRUPE_END_EXIT:
    case DRUPE_END_REBOOT:
        return end.status;
    case DRUPE_END_STOPPED:
        return 0;
    case DRUPE_END_BOOT_ERROR:
        /* The kernel says 126 and 127 as a shell does. */
        return end.status == 126 || end.status == 127 ? end.status : STATUS_SETUP;
    default:
        krun_log(NULL, DRUPE_LOG_ERROR, end.text);
        return STATUS_SETUP;
    }
}

/* Create, start and see it through. Returns only if it could not be started. */
static int32_t run(struct krun_ctx *c, struct start *s)
{
    struct krun_ports *ports = NULL;
    struct drupe_error error = { 0 };
    drupe_vm_t *vm = NULL;
    int err = krun_ports_begin(c, &s->cfg, &ports);

    if (err == 0 && drupe_vm_create(&s->cfg, &vm, &error) != DRUPE_OK) {
        err = errno_of(&error);
    }
    err = err < 0 ? err : drop_ids(c);
    err = err < 0 ? err : krun_ports_open(ports);
    if (err == 0 && drupe_vm_start(vm, &error) != DRUPE_OK) {
        err = errno_of(&error);
    }
    if (err == 0) {
        if (s->cfg.stdio == DRUPE_STDIO_TTY) {
            enter_raw_mode();
        }
        wait_end(vm, c->shutdown_fd);
        krun_ports_end(ports);
        exit(exit_status(vm)); /* NOLINT(concurrency-mt-unsafe): what the interface asks for */
    }
    drupe_vm_destroy(vm);
    krun_ports_end(ports);
    return err;
}

int32_t krun_start_enter(uint32_t ctx_id)
{
    struct krun_ctx *c = krun_ctx_take(ctx_id);
    struct start *s;
    int32_t err;

    if (c == NULL) {
        return -ENOENT;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        krun_ctx_free(c);
        return -ENOMEM;
    }
    s->output = -1;
    err = configure(c, s);
    err = err < 0 ? err : run(c, s);
    if (s->output >= 0) {
        (void)close(s->output);
    }
    free(s->argv);
    free(s);
    krun_ctx_free(c);
    return err;
}

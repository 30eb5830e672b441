/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The libkrun backend: the host's libkrun.so.1, loaded when asked for. krun_start_enter() ends the
 * whole process with the guest's status, so that it is called in a forked child, whose end is the
 * machine's. The library brings a kernel of its own; its interface knows neither pause nor
 * snapshots.
 *
 * The child is a fork of a process that may have threads, and runs library code without exec:
 * glibc's own locks survive that, others (a log callback's) are not touched.
 */
#include "backends/libkrun.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/fmt.h>

#include "backends/child.h"
#include "config.h"
#include "error.h"

#define LIBRARY      "libkrun.so.1"
#define STATUS_SETUP 125
#define FD_PATH_SIZE 32u
#define FORMAT_ELF   1u

/* Weak, so that a static program links without them: there they are NULL. */
#pragma weak dlopen
#pragma weak dlsym

struct krun_calls {
    int32_t (*create_ctx)(void);
    int32_t (*set_vm_config)(uint32_t, uint8_t, uint32_t);
    int32_t (*set_root)(uint32_t, const char *);
    int32_t (*add_disk)(uint32_t, const char *, const char *, bool);
    int32_t (*add_virtiofs3)(uint32_t, const char *, const char *, uint64_t, bool);
    int32_t (*set_kernel)(uint32_t, const char *, uint32_t, const char *, const char *);
    int32_t (*set_workdir)(uint32_t, const char *);
    int32_t (*set_exec)(uint32_t, const char *, const char *const[], const char *const[]);
    int32_t (*get_max_vcpus)(void);
    int32_t (*start_enter)(uint32_t);
};

/* What the child says when the guest was not even entered: nothing else can tell a status 125 of
 * the guest's from one of the library's. */
struct failure {
    int32_t error;
    char what[32];
};

struct krun_machine {
    const struct config *config;
    struct log log;
    struct child child;
    struct krun_calls calls;
    int failure_fds[2]; /* a pipe; the child writes */
};

static void *load(void)
{
    /* Kept loaded: libraries with threads of their own don't survive being taken away. */
    return dlopen == NULL ? NULL : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
}

bool libkrun_is_there(void)
{
    return load() != NULL;
}

static drupe_vm_err_t krun_prepare(struct config *c, struct drupe_error *err)
{
    (void)c;
    if (!libkrun_is_there()) {
        return error_set(err, DRUPE_UNAVAILABLE, 0, "no libkrun: " LIBRARY " cannot be loaded");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t find_calls(struct krun_calls *calls, struct drupe_error *err)
{
    const struct {
        const char *name;
        void *slot; /* POSIX: a function's address fits */
        bool is_optional;
    } names[] = {
        { "krun_create_ctx", &calls->create_ctx, false },
        { "krun_set_vm_config", &calls->set_vm_config, false },
        { "krun_set_root", &calls->set_root, false },
        { "krun_add_disk", &calls->add_disk, true },
        { "krun_add_virtiofs3", &calls->add_virtiofs3, true },
        { "krun_set_kernel", &calls->set_kernel, true },
        { "krun_set_workdir", &calls->set_workdir, false },
        { "krun_set_exec", &calls->set_exec, false },
        { "krun_get_max_vcpus", &calls->get_max_vcpus, true },
        { "krun_start_enter", &calls->start_enter, false },
    };

    void *library = load();

    for (size_t i = 0; i < array_size(names); i++) {
        void *at = library == NULL ? NULL : dlsym(library, names[i].name);

        if (at == NULL && !names[i].is_optional) {
            return error_set(err, DRUPE_UNAVAILABLE, 0, LIBRARY " has no %s", names[i].name);
        }
        memcpy(names[i].slot, &at, sizeof(at));
    }
    return DRUPE_OK;
}

/* ---- What it cannot do ---- */

static drupe_vm_err_t check_shares(const struct config *c, const char **what)
{
    for (unsigned i = 0; i < c->share_count; i++) {
        const char *path = c->shares[i].guest_path;
        bool is_root = path != NULL && strcmp(path, "/") == 0;

        if (path != NULL && !is_root) {
            *what = "a shared folder that is mounted";
        } else if (is_root && c->shares[i].is_read_only) {
            *what = "a read-only root directory";
        }
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check(const struct config *c, const struct krun_calls *calls,
                            struct drupe_error *err)
{
    const char *what = NULL;
    int32_t max = calls->get_max_vcpus == NULL ? UINT8_MAX : calls->get_max_vcpus();

    (void)check_shares(c, &what);
    if (c->root.fd >= 0) {
        what = "a root image (its root is a directory)";
    } else if (c->initrd.fd >= 0 || c->cmdline != NULL) {
        what = "an initrd or a command line";
    } else if (c->vsock_path != NULL) {
        what = "a vsock device with Firecracker's convention, and with it an agent";
    } else if (c->net_count > 0) {
        what = "a network interface on a tap";
    } else if (c->balloon.is_present || c->cpuid_count > 0 || c->has_boot_timer) {
        what = "a balloon, CPUID modifiers, a boot timer";
    } else if (c->uid != 0 || c->gid != 0) {
        what = "a workload that is not root";
    }
    for (unsigned i = 0; i < c->disk_count; i++) {
        what = c->disks[i].memory_size != 0 ? "a disk in memory" : what;
    }
    if (what == NULL && ((c->disk_count > 0 && calls->add_disk == NULL) ||
                         (c->kernel.fd >= 0 && calls->set_kernel == NULL))) {
        what = "disks or a kernel with this " LIBRARY;
    }
    if (what != NULL) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "%s: not supported on the libkrun backend",
                         what);
    }
    if (c->vcpus > UINT8_MAX || max <= 0 || c->vcpus > (unsigned)max) {
        return error_field(err, "vcpus", "vcpus is %u; libkrun's limit is %d here", c->vcpus,
                           (int)max);
    }
    return DRUPE_OK;
}

/* ---- The child ---- */

static const char *fd_path(char out[FD_PATH_SIZE], int fd)
{
    (void)fmt_snprintf(out, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
    return out;
}

_Noreturn static void fail(const struct krun_machine *m, const char *what, int32_t error)
{
    struct failure f = { .error = error };

    (void)fmt_snprintf(f.what, sizeof(f.what), "%s", what);
    (void)!write(m->failure_fds[1], &f, sizeof(f)); /* a pipe takes so little in one piece */
    _exit(STATUS_SETUP);
}

static void require(const struct krun_machine *m, const char *what, int32_t r)
{
    if (r < 0) {
        fail(m, what, r);
    }
}

static void add_files(const struct krun_machine *m, uint32_t ctx)
{
    const struct config *c = m->config;
    char path[FD_PATH_SIZE];

    for (unsigned i = 0; i < c->share_count; i++) {
        const struct config_share *s = &c->shares[i];

        if (s->guest_path != NULL) {
            require(m, "krun_set_root", m->calls.set_root(ctx, fd_path(path, s->fd)));
        } else if (m->calls.add_virtiofs3 == NULL) {
            fail(m, "krun_add_virtiofs3", -ENOSYS);
        } else {
            require(m, "krun_add_virtiofs3",
                    m->calls.add_virtiofs3(ctx, s->tag, fd_path(path, s->fd), 0, s->is_read_only));
        }
    }
    for (unsigned i = 0; i < c->disk_count; i++) {
        char id[16];

        (void)fmt_snprintf(id, sizeof(id), "disk%u", i);
        require(
            m, "krun_add_disk",
            m->calls.add_disk(ctx, id, fd_path(path, c->disks[i].fd), c->disks[i].is_read_only));
    }
    if (c->kernel.fd >= 0) {
        require(m, "krun_set_kernel",
                m->calls.set_kernel(ctx, fd_path(path, c->kernel.fd), FORMAT_ELF, NULL,
                                    c->cmdline_extra));
    }
}

static void run_krun(void *ctx_of_child)
{
    const struct krun_machine *m = ctx_of_child;
    const struct config *c = m->config;
    int32_t ctx = 0;

    /* What the embedder had not written yet is its own to write: exit() would write it again. */
    __fpurge(stdin);
    __fpurge(stdout);
    __fpurge(stderr);
    ctx = m->calls.create_ctx();
    require(m, "krun_create_ctx", ctx);
    require(
        m, "krun_set_vm_config",
        m->calls.set_vm_config((uint32_t)ctx, (uint8_t)c->vcpus, (uint32_t)(c->memory_size >> 20)));
    add_files(m, (uint32_t)ctx);
    if (c->cwd[0] != '\0') {
        require(m, "krun_set_workdir", m->calls.set_workdir((uint32_t)ctx, c->cwd));
    }
    if (c->argv.count > 0) {
        require(m, "krun_set_exec",
                m->calls.set_exec((uint32_t)ctx, c->argv.items[0],
                                  (const char *const *)c->argv.items + 1,
                                  (const char *const *)c->env.items));
    }
    fail(m, "krun_start_enter", m->calls.start_enter((uint32_t)ctx)); /* returns only so */
}

static void take_output(void *ctx, const uint8_t *bytes, size_t size)
{
    (void)ctx;
    (void)bytes;
    (void)size; /* standard output is the host's own descriptor */
}

static void judge(void *ctx, int wait_status, struct drupe_vm_outcome *out)
{
    struct krun_machine *m = ctx;
    struct failure f;

    if (read(m->failure_fds[0], &f, sizeof(f)) == (ssize_t)sizeof(f)) {
        f.what[sizeof(f.what) - 1] = '\0';
        out->kind = DRUPE_END_BOOT_ERROR;
        out->status = STATUS_SETUP;
        (void)fmt_snprintf(out->text, sizeof(out->text), "%s: %s", f.what,
                           strerrordesc_np(-f.error) == NULL ? "failed"
                                                             : strerrordesc_np(-f.error));
    } else if (WIFEXITED(wait_status)) {
        int status = WEXITSTATUS(wait_status);

        out->kind = DRUPE_END_EXIT;
        out->status = status;
        (void)fmt_snprintf(out->text, sizeof(out->text), "%s",
                           status == STATUS_SETUP ? "libkrun could not set up the machine"
                           : status == 126        ? "the program cannot be executed"
                           : status == 127        ? "there is no such program"
                                                  : "the workload ended");
    } else {
        out->kind = DRUPE_END_MONITOR;
        child_describe_end(&m->child, wait_status, out->text, sizeof(out->text));
    }
}

static const struct child_ops krun_child_ops = {
    .run = run_krun,
    .output = take_output,
    .outcome = judge,
};

/* ---- The machine ---- */

static void krun_destroy(void *machine)
{
    struct krun_machine *m = machine;

    child_deinit(&m->child);
    for (unsigned i = 0; i < array_size(m->failure_fds); i++) {
        if (m->failure_fds[i] >= 0) {
            (void)close(m->failure_fds[i]);
        }
    }
    log_deinit(&m->log);
    free(m);
}

static drupe_vm_err_t build(struct krun_machine *m, struct drupe_error *err)
{
    const struct config *c = m->config;
    drupe_vm_err_t r = find_calls(&m->calls, err);

    if (r == DRUPE_OK) {
        r = check(c, &m->calls, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    if (pipe2(m->failure_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        return error_set(err, DRUPE_NO_MEMORY, errno, "make a pipe");
    }
    m->child.std[0] = c->host_stdin >= 0 ? c->host_stdin : CHILD_NULL;
    m->child.std[1] = c->host_stdout >= 0 ? c->host_stdout : CHILD_NULL;
    m->child.std[2] = c->host_stderr >= 0 ? c->host_stderr : CHILD_NULL;
    if (c->stdio == DRUPE_STDIO_TTY) {
        m->child.std[2] = m->child.std[1];
    }
    return child_start(&m->child, err);
}

static drupe_vm_err_t krun_create(const struct config *c, const struct backend_events *events,
                                  void **out, struct drupe_error *err)
{
    struct krun_machine *m = calloc(1, sizeof(*m));
    drupe_vm_err_t r = DRUPE_OK;

    if (m == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the machine");
    }
    m->config = c;
    m->failure_fds[0] = -1;
    m->failure_fds[1] = -1;
    log_init(&m->log, c->log, c->log_ctx);
    child_init(&m->child, &krun_child_ops, m, "libkrun", events, &m->log);
    r = build(m, err);
    if (r != DRUPE_OK) {
        krun_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static void krun_release(void *machine)
{
    struct krun_machine *m = machine;

    child_release(&m->child);
}

static void krun_kill(void *machine)
{
    struct krun_machine *m = machine;

    child_kill(&m->child);
}

static drupe_vm_err_t krun_signal(void *machine, int signo, struct drupe_error *err)
{
    (void)machine;
    return error_set(err, DRUPE_UNSUPPORTED, 0, "signal %d: not supported on the libkrun backend",
                     signo);
}

static drupe_vm_err_t krun_resize_tty(void *machine, unsigned rows, unsigned cols,
                                      struct drupe_error *err)
{
    (void)machine;
    return error_set(err, DRUPE_UNSUPPORTED, 0,
                     "a terminal of %u x %u: not supported on the libkrun backend", rows, cols);
}

static void krun_stats(void *machine, struct drupe_vm_stats *out)
{
    const struct krun_machine *m = machine;

    out->vcpu_count = m->config->vcpus;
}

const struct backend backend_libkrun = {
    .name = "libkrun",
    .prepare = krun_prepare,
    .create = krun_create,
    .release = krun_release,
    .kill = krun_kill,
    .signal = krun_signal,
    .resize_tty = krun_resize_tty,
    .stats = krun_stats,
    .destroy = krun_destroy,
};

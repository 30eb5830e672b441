/* SPDX-License-Identifier: Apache-2.0 */
/* drupe run: decide what runs, and give it to the monitor. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <drupe/vm.h>

#include "cli.h"
#include "host_program.h"
#include "image/erofs.h"
#include "manifest.h"
#include "options.h"
#include "project.h"
#include "run_internal.h"

extern const char drupe_kernel_image[] __attribute__((visibility("hidden")));
extern const char drupe_kernel_image_end[] __attribute__((visibility("hidden")));

#define TIMEOUT_S_MAX UINT64_C(31536000)

struct run_options {
    const char *root;
    const char *kernel;
    const char *kernel_args;
    const char *log;
    const char *accel;
    const char *cwd;
    uint64_t memory_mib; /* 0: not given, like the next two */
    uint64_t vcpus;
    uint64_t timeout_s;
    struct strings env;
    struct strings volumes;
    bool has_timeout;
    bool is_verbose;
};

/* What to run, and in what; owned. */
struct job {
    char *image;
    struct strings argv;
    struct strings env;
    char *cwd;
    char *kernel_args;
    char *log; /* NULL: none */
    uint64_t memory_mib;
    uint64_t vcpus;
    uint64_t timeout_s;
};

static void job_free(struct job *j)
{
    free(j->image);
    free(j->cwd);
    free(j->kernel_args);
    free(j->log);
    strings_free(&j->argv);
    strings_free(&j->env);
}

#define CLEANUP_JOB __attribute__((cleanup(job_free))) struct job

/* ---- Environment
 * -------------------------------------------------------------------------------------- */

static bool has_variable(const struct strings *env, const char *assignment)
{
    size_t size = strcspn(assignment, "=") + 1;

    for (size_t i = 0; i < env->count; i++) {
        if (strncmp(env->items[i], assignment, size) == 0) {
            return true;
        }
    }
    return false;
}

static void add_default(struct strings *env, const char *assignment)
{
    if (!has_variable(env, assignment)) {
        strings_add(env, assignment);
    }
}

/*
 * Python's defaults in an image: no bytecode written (it is packed), no search for a user's
 * packages, and UTF-8 without a locale, which Debian's minimal packages do not bring.
 */
static void add_python_variables(struct job *j)
{
    const char *program = j->argv.count > 0 ? j->argv.items[0] : "";
    const char *slash = strrchr(program, '/');

    if (strncmp(slash ? slash + 1 : program, "python", 6) == 0) {
        add_default(&j->env, "PYTHONDONTWRITEBYTECODE=1");
        add_default(&j->env, "PYTHONNOUSERSITE=1");
        add_default(&j->env, "PYTHONUTF8=1");
        add_default(&j->env, "PYTHONCOERCECLOCALE=0");
    }
}

/* --env NAME=value, or --env NAME for the value that it has here. The last one of a name wins. */
static int add_variables(const struct run_options *o, struct job *j)
{
    for (size_t i = o->env.count; i-- > 0;) {
        const char *text = o->env.items[i];
        const char *equals = strchr(text, '=');

        if (equals == text || *text == '\0') {
            return complain(STATUS_USAGE, "run: --env %s: give NAME=value, or NAME to pass it on",
                            text);
        }
        const char *value = equals ? NULL : getenv(text);

        if (!equals && !value) {
            return complain(STATUS_USAGE, "run: --env %s: not set here; give %s=value", text, text);
        }
        CLEANUP_FREE char *whole = equals ? text_copy(text) : text_format("%s=%s", text, value);

        add_default(&j->env, whole);
    }
    add_default(&j->env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    add_default(&j->env, "HOME=/root");
    add_python_variables(j);
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && getenv("TERM")) {
        CLEANUP_FREE char *term = text_format("TERM=%s", getenv("TERM"));

        add_default(&j->env, term);
    }
    if (j->env.count > DRUPE_ENV_COUNT_MAX) {
        return complain(STATUS_USAGE, "run: --env: more than %u variables", DRUPE_ENV_COUNT_MAX);
    }
    return 0;
}

/* ---- What runs
 * ------------------------------------------------------------------------------------------ */

static void add_operands(struct job *j, int argc, char **argv, int first)
{
    for (int i = first; i < argc; i++) {
        strings_add(&j->argv, argv[i]);
    }
}

/* Keys that the manifest may hold, but this version does not act on: say so rather than pretend. */
static int check_unsupported(const struct manifest *m)
{
    if (strcmp(m->net, "none") != 0) {
        return complain(STATUS_USAGE,
                        "%s: run.net = \"%s\": networks are not supported yet; use \"none\"",
                        MANIFEST_NAME, m->net);
    }
    if (m->has_caps) {
        warn("%s: caps.allow is not enforced by this version", MANIFEST_NAME);
    }
    if (m->limit_heap_mib || m->limit_tasks || m->limit_handles) {
        warn("%s: limits are not enforced by this version", MANIFEST_NAME);
    }
    return 0;
}

static void add_entry(struct job *j, const struct manifest *m)
{
    CLEANUP_FREE char *program = project_program(m);

    if (m->language == LANGUAGE_PYTHON) {
        strings_add(&j->argv, "/usr/bin/python3");
        strings_add(&j->argv, "-u");
        strings_add(&j->argv, program);
    } else {
        strings_take(&j->argv, path_join("/app", program));
    }
}

static int job_from_project(struct job *j, const struct run_options *o, int argc, char **argv,
                            int first)
{
    CLEANUP_MANIFEST m = { 0 };
    int status = manifest_load(&m);

    if (status == 0) {
        status = check_unsupported(&m);
    }
    if (status != 0) {
        return status;
    }
    j->image = o->root ? text_copy(o->root) : project_image(&m);
    if (access(j->image, F_OK) < 0 && !o->root) {
        return complain(STATUS_FAILED, "run: %s is not there; run %sdrupe pack first", j->image,
                        m.language == LANGUAGE_C ? "drupe build and " : "");
    }
    CLEANUP_FREE char *newer = o->root ? NULL : project_newer_file(&m, j->image);

    if (newer) {
        warn("%s is older than %s; drupe pack takes the change in", j->image, newer);
    }
    if (first < argc) {
        add_operands(j, argc, argv, first);
    } else {
        add_entry(j, &m);
    }
    j->cwd = text_copy("/app");
    j->kernel_args = text_copy(m.kernel_args);
    j->log = text_copy(PROJECT_LOG);
    j->memory_mib = (uint64_t)m.memory_mib;
    j->vcpus = (uint64_t)m.vcpus;
    j->timeout_s = (uint64_t)m.timeout_s;
    return 0;
}

static int job_from_host_program(struct job *j, int argc, char **argv, int first)
{
    char *argv0 = NULL;
    int status = host_image(argv[first], &j->image, &argv0);

    if (status == 0) {
        strings_take(&j->argv, argv0);
        add_operands(j, argc, argv, first + 1);
    }
    return status;
}

/*
 * Three ways: the project here (its entry, or a command behind --), a command in an image (--root),
 * a program of this host.
 */
static int job_choose(struct job *j, const struct run_options *o, int argc, char **argv,
                      const struct operands *operands)
{
    int first = operands->first;
    bool has_command = first < argc;

    if (o->root && has_command) {
        j->image = text_copy(o->root);
        add_operands(j, argc, argv, first);
        return 0;
    }
    if (has_command && !operands->is_after_dashes) {
        return job_from_host_program(j, argc, argv, first);
    }
    if (manifest_is_here()) {
        return job_from_project(j, o, argc, argv, first);
    }
    if (o->root) {
        return complain(STATUS_USAGE, "run: --root %s: say what to run in it, behind --", o->root);
    }
    if (has_command) {
        return complain(STATUS_USAGE,
                        "run: no %s here; give --root IMAGE for a command in an image, or "
                        "drupe run PROGRAM without --",
                        MANIFEST_NAME);
    }
    return complain(STATUS_USAGE,
                    "run: nothing to run: no %s here; give a program, or make a project with "
                    "drupe init",
                    MANIFEST_NAME);
}

static int check_image(const char *path)
{
    if (!path) {
        return complain(STATUS_FAILED, "run: no image");
    }
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return complain(STATUS_FAILED, "run: image %s: %s", path, strerror(errno));
    }
    const char *why = erofs_check(fd);

    return why ? complain(STATUS_FAILED, "run: image %s: %s", path, why) : 0;
}

/* ---- To the monitor
 * --------------------------------------------------------------------------------------- */

static int parse_accel(const char *text, enum drupe_accel *out)
{
    static const struct {
        const char *name;
        enum drupe_accel value;
    } names[] = { { "auto", DRUPE_ACCEL_AUTO },
                  { "kvm", DRUPE_ACCEL_KVM },
                  { "qemu", DRUPE_ACCEL_QEMU } };

    for (size_t i = 0; i < array_size(names); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *out = names[i].value;
            return 0;
        }
    }
    return complain(STATUS_USAGE, "run: --accel %s: use auto, kvm or qemu", text);
}

static int set_kernel(drupe_vm_config_t *cfg, const char *path)
{
    size_t size = (uintptr_t)drupe_kernel_image_end - (uintptr_t)drupe_kernel_image;

    if (path) {
        cfg->kernel_path = path;
        return 0;
    }
    if (size == 0) {
        return complain(STATUS_FAILED,
                        "run: this drupe was built without a kernel; give one with --kernel");
    }
    cfg->kernel_image = drupe_kernel_image;
    cfg->kernel_image_size = size;
    return 0;
}

static void log_message(void *ctx, enum drupe_log_level level, const char *text)
{
    const bool *is_verbose = ctx;

    if (*is_verbose || level <= DRUPE_LOG_WARN) {
        warn("%s", text);
    }
}

static int start(const struct job *j, const struct run_options *o)
{
    drupe_vm_config_t cfg;
    struct console console;
    struct drupe_error err = { 0 };
    drupe_vm_t *vm = NULL;
    bool is_verbose = o->is_verbose;

    drupe_vm_config_init(&cfg);
    int status = parse_accel(o->accel, &cfg.accel);

    if (status == 0) {
        status = set_kernel(&cfg, o->kernel);
    }
    if (status == 0) {
        status = console_open(&console, j->log);
    }
    if (status != 0) {
        return status;
    }
    cfg.vcpus = (unsigned)j->vcpus;
    cfg.memory_mib = (unsigned)j->memory_mib;
    cfg.cmdline_extra = j->kernel_args;
    cfg.root_path = j->image;
    cfg.argv = (const char *const *)j->argv.items;
    cfg.env = (const char *const *)j->env.items;
    cfg.cwd = j->cwd;
    cfg.stdio = console.is_tty ? DRUPE_STDIO_TTY : DRUPE_STDIO_STREAM;
    cfg.host_stdin = console.vm_stdin;
    cfg.host_stdout = console.vm_stdout;
    cfg.host_stderr = console.vm_stderr;
    cfg.tty_rows = console.rows;
    cfg.tty_cols = console.cols;
    cfg.serial_log = console.vm_serial;
    cfg.is_quiet = !o->is_verbose;
    cfg.log = log_message;
    cfg.log_ctx = &is_verbose;
    run_block_signals();
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK) {
        return refuse_vm(&err);
    }
    console_handed_over(&console);
    status = run_vm(vm, &console, j->timeout_s);
    /* A KVM machine goes fastest with the process; QEMU is a process of its own and has files. */
    if (strncmp(drupe_vm_id(vm), "kvm-", 4) != 0) {
        drupe_vm_destroy(vm);
    }
    return status;
}

static int prepare(struct job *j, const struct run_options *o)
{
    if (o->volumes.count > 0) {
        return complain(STATUS_USAGE, "run: -v %s: sharing folders is not supported yet",
                        o->volumes.items[0]);
    }
    if (o->memory_mib) {
        j->memory_mib = o->memory_mib;
    }
    if (o->vcpus) {
        j->vcpus = o->vcpus;
    }
    if (o->timeout_s) {
        j->timeout_s = o->timeout_s;
    }
    if (o->log) {
        free(j->log);
        j->log = text_copy(o->log);
    }
    if (o->kernel_args) {
        free(j->kernel_args);
        j->kernel_args = text_copy(o->kernel_args);
    }
    if (o->cwd) {
        free(j->cwd);
        j->cwd = text_copy(o->cwd);
    }
    int status = add_variables(o, j);

    if (status == 0) {
        status = check_image(j->image);
    }
    /* The superblock's checksum has just been verified here, where it costs nothing. */
    CLEANUP_FREE char *given = j->kernel_args;

    j->kernel_args =
        text_format("rootflags=nochecksum%s%s", given && *given ? " " : "", given ? given : "");
    return status;
}

static int run_run(int argc, char **argv)
{
    struct run_options o = { .accel = "auto",
                             .kernel = getenv("UKERNEL_KERNEL"),
                             .root = getenv("UKERNEL_ROOTFS") };
    bool is_real = false;
    const struct option_spec specs[] = {
        { .name = "root", .kind = OPTION_TEXT, .out = &o.root },
        { .name = "rootfs", .kind = OPTION_TEXT, .out = &o.root },
        { .name = "kernel", .kind = OPTION_TEXT, .out = &o.kernel },
        { .name = "kernel-args", .kind = OPTION_TEXT, .out = &o.kernel_args },
        { .name = "accel", .kind = OPTION_TEXT, .out = &o.accel },
        { .name = "memory",
          .letter = 'm',
          .kind = OPTION_NUMBER,
          .out = &o.memory_mib,
          .min = DRUPE_MEMORY_MIB_MIN,
          .max = DRUPE_MEMORY_MIB_MAX },
        { .name = "cpus",
          .letter = 'c',
          .kind = OPTION_NUMBER,
          .out = &o.vcpus,
          .min = 1,
          .max = DRUPE_VCPUS_MAX },
        { .name = "vcpu",
          .kind = OPTION_NUMBER,
          .out = &o.vcpus,
          .min = 1,
          .max = DRUPE_VCPUS_MAX },
        { .name = "timeout",
          .letter = 't',
          .kind = OPTION_NUMBER,
          .out = &o.timeout_s,
          .min = 1,
          .max = TIMEOUT_S_MAX },
        { .name = "env", .letter = 'e', .kind = OPTION_LIST, .out = &o.env },
        { .name = "volume", .letter = 'v', .kind = OPTION_LIST, .out = &o.volumes },
        { .name = "cwd", .letter = 'w', .kind = OPTION_TEXT, .out = &o.cwd },
        { .name = "log", .kind = OPTION_TEXT, .out = &o.log },
        { .name = "console-log", .kind = OPTION_TEXT, .out = &o.log },
        { .name = "verbose", .kind = OPTION_FLAG, .out = &o.is_verbose },
        { .name = "real", .kind = OPTION_FLAG, .out = &is_real },
    };
    CLEANUP_JOB job = { .memory_mib = 256, .vcpus = 1 };
    struct operands operands;
    int status = options_of_verb(&verb_run, specs, array_size(specs), argc, argv, &operands);

    if (status < 0) {
        status = job_choose(&job, &o, argc, argv, &operands);
        if (status == 0) {
            status = prepare(&job, &o);
        }
        if (status == 0) {
            status = start(&job, &o);
        }
    }
    strings_free(&o.env);
    strings_free(&o.volumes);
    return status;
}

const struct verb verb_run = {
    .name = "run",
    .summary = "run a project, a command in an image, or a program of this host",
    .help =
        "usage: drupe run [OPTIONS]                      the project here: its entry\n"
        "       drupe run [OPTIONS] -- COMMAND...        a command in the project's image\n"
        "       drupe run [OPTIONS] --root IMAGE -- COMMAND...\n"
        "       drupe run [OPTIONS] PROGRAM [ARGUMENTS]  a program of this host, with its "
        "libraries\n\n"
        "Standard input and output are the program's; its exit status is drupe's (128+n when "
        "signal n\n"
        "ended it). On a terminal the program has a terminal, and Ctrl-C twice within a second "
        "stops the\n"
        "machine. Inside a project the console is also written to logs/console.log.\n\n"
        "options:\n"
        "      --root IMAGE        the root file system, an EROFS image\n"
        "      --kernel FILE       another guest kernel than the one inside drupe\n"
        "      --kernel-args TEXT  more words for the kernel's command line\n"
        "      --accel WHICH       auto (default), kvm or qemu\n"
        "  -m, --memory MIB        4 to 16384 (default 256)\n"
        "  -c, --cpus N            1 to 32 (default 1)\n"
        "  -t, --timeout SECONDS   stop the machine after that time; the status is then 124\n"
        "  -e, --env NAME[=VALUE]  set a variable, or pass this shell's on; may be repeated\n"
        "  -w, --cwd DIR           the program's working directory\n"
        "  -v HOST:GUEST[:ro]      share a folder (not supported yet)\n"
        "      --log FILE          write console and kernel messages there as well\n"
        "      --verbose           all kernel messages on standard error\n\n"
        "exit status: the program's; 1 failure, 2 usage, 3 no KVM and no QEMU, 4 the machine died\n"
        "without a status, 124 timeout\n\n"
        "examples:\n"
        "  drupe run --timeout 10\n"
        "  drupe run /bin/busybox sh -c 'ls /'\n"
        "  drupe run --root dist/app.erofs --cpus 4 -- python3 -c 'print(6 * 7)'\n",
    .run = run_run,
};

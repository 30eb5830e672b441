/* SPDX-License-Identifier: Apache-2.0 */
/* drupe run: what runs, in what image, with which environment. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <drupe/vm.h>

#include "cli.h"
#include "host_program.h"
#include "image/erofs.h"
#include "manifest.h"
#include "project.h"
#include "run_internal.h"

extern const char drupe_kernel_image[] __attribute__((visibility("hidden")));
extern const char drupe_kernel_image_end[] __attribute__((visibility("hidden")));
extern const char drupe_agent_image[] __attribute__((visibility("hidden")));
extern const char drupe_agent_image_end[] __attribute__((visibility("hidden")));

void job_free(struct job *j)
{
    free(j->image);
    free(j->cwd);
    free(j->kernel_args);
    free(j->log);
    strings_free(&j->argv);
    strings_free(&j->env);
    job_free_shares(j);
    job_free_disks(j);
    job_free_nets(j);
}

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
            return complain(STATUS_USAGE, "%s: --env %s: give NAME=value, or NAME to pass it on",
                            verb_running(), text);
        }
        const char *value = equals ? NULL : getenv(text);

        if (!equals && !value) {
            return complain(STATUS_USAGE, "%s: --env %s: not set here; give %s=value",
                            verb_running(), text, text);
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
        return complain(STATUS_USAGE, "%s: --env: more than %u variables", verb_running(),
                        DRUPE_ENV_COUNT_MAX);
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
        return complain(STATUS_FAILED, "%s: %s is not there; run %sdrupe pack first",
                        verb_running(), j->image,
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
        return complain(STATUS_USAGE, "%s: --root %s: say what to run in it, behind --",
                        verb_running(), o->root);
    }
    if (has_command) {
        return complain(STATUS_USAGE,
                        "%s: no %s here; give --root IMAGE for a command in an image, or "
                        "drupe run PROGRAM without --",
                        verb_running(), MANIFEST_NAME);
    }
    return complain(STATUS_USAGE,
                    "%s: nothing to run: no %s here; give a program, or make a project with "
                    "drupe init",
                    verb_running(), MANIFEST_NAME);
}

static int check_image(const char *path)
{
    if (!path) {
        return complain(STATUS_FAILED, "%s: no image", verb_running());
    }
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return complain(STATUS_FAILED, "%s: image %s: %s", verb_running(), path, strerror(errno));
    }
    const char *why = erofs_check(fd);

    return why ? complain(STATUS_FAILED, "%s: image %s: %s", verb_running(), path, why) : 0;
}

static int prepare(struct job *j, const struct run_options *o)
{
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
        status = job_share_root(j);
    }
    if (status == 0 && j->share_count == 0) {
        status = check_image(j->image);
    }
    if (status == 0 && j->image) {
        /* A snapshot remembers it, and may be restored from another folder. */
        char *absolute = realpath(j->image, NULL);

        if (absolute) {
            free(j->image);
            j->image = absolute;
        }
    }
    if (status == 0) {
        status = job_share_volumes(j, "run", &o->volumes);
    }
    if (status == 0) {
        status = job_add_disks(j, o);
    }
    if (status == 0) {
        status = job_add_nets(j, "run", &o->nets);
    }
    if (status == 0) {
        status = job_check_kernel_nets(j, o);
    }
    /* The superblock's checksum has just been verified here, where it costs nothing. */
    CLEANUP_FREE char *given = j->kernel_args;

    j->kernel_args =
        text_format("rootflags=nochecksum%s%s", given && *given ? " " : "", given ? given : "");
    return status;
}

int job_make(struct job *j, const struct run_options *o, int argc, char **argv,
             const struct operands *operands)
{
    int status = job_choose(j, o, argc, argv, operands);

    return status != 0 ? status : prepare(j, o);
}

/* ---- To the monitor ---- */

static int parse_accel(const char *text, enum drupe_accel *out)
{
    static const struct {
        const char *name;
        enum drupe_accel value;
    } names[] = { { "auto", DRUPE_ACCEL_AUTO },
                  { "kvm", DRUPE_ACCEL_KVM },
                  { "qemu", DRUPE_ACCEL_QEMU },
                  { "firecracker", DRUPE_ACCEL_FIRECRACKER },
                  { "libkrun", DRUPE_ACCEL_LIBKRUN } };

    for (size_t i = 0; i < array_size(names); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *out = names[i].value;
            return 0;
        }
    }
    return complain(STATUS_USAGE, "%s: --accel %s: use auto, kvm, qemu, firecracker or libkrun",
                    verb_running(), text);
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
                        "%s: this drupe was built without a kernel; give one with --kernel",
                        verb_running());
    }
    cfg->kernel_image = drupe_kernel_image;
    cfg->kernel_image_size = size;
    return 0;
}

void job_config_agent(drupe_vm_config_t *cfg, const char *vsock_path)
{
    cfg->vsock_path = vsock_path;
    cfg->agent_image = drupe_agent_image;
    cfg->agent_image_size = (uintptr_t)drupe_agent_image_end - (uintptr_t)drupe_agent_image;
}

int job_config(const struct job *j, const struct run_options *o, drupe_vm_config_t *cfg)
{
    int status = 0;

    drupe_vm_config_init(cfg);
    status = parse_accel(o->accel, &cfg->accel);
    if (status == 0) {
        status = set_kernel(cfg, o->kernel);
    }
    cfg->vcpus = (unsigned)j->vcpus;
    cfg->memory_mib = (unsigned)j->memory_mib;
    cfg->cmdline_extra = j->kernel_args;
    cfg->root_path = j->image;
    cfg->shares = j->shares;
    cfg->share_count = j->share_count;
    cfg->disks = j->disks;
    cfg->disk_count = j->disk_count;
    cfg->nets = j->nets;
    cfg->net_count = j->net_count;
    cfg->argv = (const char *const *)j->argv.items;
    cfg->env = (const char *const *)j->env.items;
    cfg->cwd = j->cwd;
    cfg->is_quiet = !o->is_verbose;
    cfg->is_dirty_tracked = o->is_tracked;
    return status;
}

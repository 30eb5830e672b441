/* SPDX-License-Identifier: Apache-2.0 */
/* drupe run: the options, and the way from them to a running machine. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <drupe/vm.h>

#include "cli.h"
#include "options.h"
#include "run_internal.h"
#include "run_monitor.h"
#include "template.h"
#include "thaw.h"

#define TIMEOUT_S_MAX UINT64_C(31536000)
#define LOG_LINE_MAX  1024

static void log_message(void *ctx, enum drupe_log_level level, const char *text)
{
    const bool *is_verbose = ctx;

    if (*is_verbose || level <= DRUPE_LOG_WARN) {
        char line[LOG_LINE_MAX];
        int size = snprintf(line, sizeof(line), "drupe: %s\n", text);

        /* In one call and without stdio: the threads of a jailed monitor may do little more. */
        (void)!write(STDERR_FILENO, line, min_of((size_t)size, sizeof(line) - 1));
    }
}

static int start(const struct job *j, const struct run_options *o, const struct thaw *thaw)
{
    drupe_vm_config_t cfg;
    struct console console;
    struct drupe_error err = { 0 };
    drupe_vm_t *vm = NULL;
    struct monitor monitor = { .link = -1 };
    const struct monitor_limits limits = { .memory_mib = j->memory_mib, .vcpus = j->vcpus };
    bool is_verbose = o->is_verbose;

    run_block_signals();
    int status = job_config(j, o, &cfg);

    if (status == 0 && !o->has_no_jail && monitor_prepare(&monitor, &limits, &err) != DRUPE_OK) {
        status = refuse_vm("run", &err);
    }
    if (status == 0) {
        status = console_open(&console, j->log, !thaw);
    }
    if (status != 0) {
        monitor_end(&monitor);
        return status;
    }
    cfg.stdio = console.is_tty ? DRUPE_STDIO_TTY : DRUPE_STDIO_STREAM;
    if (thaw) {
        thaw_config(thaw, &cfg);
        monitor.restore = &thaw->restore;
    }
    cfg.host_stdin = console.vm_stdin;
    cfg.host_stdout = console.vm_stdout;
    cfg.host_stderr = console.vm_stderr;
    cfg.tty_rows = console.rows;
    cfg.tty_cols = console.cols;
    cfg.serial_log = console.vm_serial;
    cfg.log = log_message;
    cfg.log_ctx = &is_verbose;
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK) {
        monitor_end(&monitor);
        return refuse_vm("run", &err);
    }
    console_handed_over(&console);
    status = run_vm(&monitor, vm, &console, j->timeout_s);
    monitor_end(&monitor);
    return status;
}

/* A clone of a template, with our streams: its program goes on where the template stood still. */
static int start_template(const struct run_options *o)
{
    CLEANUP_FREE char *path = template_path(o->template_name);
    CLEANUP_JOB job = { 0 };
    struct thaw thaw;
    int status = thaw_open(&thaw, "run", path);

    if (status != 0) {
        return status;
    }
    thaw.restore.is_clone = true;
    thaw.restore.is_memory_trusted = true; /* it was verified when it was made, in our folder */
    job.timeout_s = o->timeout_s;
    status = thaw_job(&thaw, "run", o, &job);
    if (status == 0 &&
        (thaw.description.stdio != DRUPE_STDIO_STREAM || thaw.description.vsock_cid != 0)) {
        status = complain(STATUS_USAGE,
                          "run: --template %s: this is a background machine's; use drupe restore",
                          o->template_name);
    }
    if (status == 0) {
        status = start(&job, o, &thaw);
    }
    thaw_close(&thaw);
    return status;
}

static int run_run(int argc, char **argv)
{
    struct run_options o = { .accel = "auto",
                             .kernel = getenv("UKERNEL_KERNEL"),
                             .root = getenv("UKERNEL_ROOTFS") };
    bool is_real = false;
    const struct option_spec specs[] = {
        JOB_OPTIONS(o),
        { .name = "rootfs", .kind = OPTION_TEXT, .out = &o.root },
        { .name = "kernel-args", .kind = OPTION_TEXT, .out = &o.kernel_args },
        { .name = "accel", .kind = OPTION_TEXT, .out = &o.accel },
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
        { .name = "volume", .letter = 'v', .kind = OPTION_LIST, .out = &o.volumes },
        { .name = "disk", .kind = OPTION_LIST, .out = &o.disks },
        { .name = "scratch", .kind = OPTION_LIST, .out = &o.scratch },
        { .name = "net", .kind = OPTION_LIST, .out = &o.nets },
        { .name = "log", .kind = OPTION_TEXT, .out = &o.log },
        { .name = "console-log", .kind = OPTION_TEXT, .out = &o.log },
        { .name = "detach", .letter = 'd', .kind = OPTION_FLAG, .out = &o.is_detached },
        { .name = "name", .kind = OPTION_TEXT, .out = &o.name },
        { .name = "track-dirty", .kind = OPTION_FLAG, .out = &o.is_tracked },
        { .name = "template", .kind = OPTION_TEXT, .out = &o.template_name },
        { .name = "verbose", .kind = OPTION_FLAG, .out = &o.is_verbose },
        { .name = "no-jail", .kind = OPTION_FLAG, .out = &o.has_no_jail },
        { .name = "real", .kind = OPTION_FLAG, .out = &is_real },
    };
    CLEANUP_JOB job = { .memory_mib = 256, .vcpus = 1 };
    struct operands operands;
    int status = options_of_verb(&verb_run, specs, array_size(specs), argc, argv, &operands);

    if (status < 0 && !o.is_detached && (o.name || o.is_tracked)) {
        status =
            complain(STATUS_USAGE, "run: --%s is for a machine in the background: use it with -d",
                     o.name ? "name" : "track-dirty");
    } else if (status < 0 && o.template_name) {
        status = operands.first < argc || o.is_detached
                     ? complain(STATUS_USAGE,
                                "run: --template takes no command: the template's program goes on")
                     : start_template(&o);
    } else if (status < 0) {
        status = job_make(&job, &o, argc, argv, &operands);
        if (status == 0) {
            status = o.is_detached ? run_detached(&job, &o) : start(&job, &o, NULL);
        }
    }
    strings_free(&o.env);
    strings_free(&o.volumes);
    strings_free(&o.disks);
    strings_free(&o.scratch);
    strings_free(&o.nets);
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
        "      --root IMAGE        the root file system: an EROFS image, or a folder (FOLDER:ro: \n"
        "                          nothing in it can be changed)\n"
        "      --kernel FILE       another guest kernel than the one inside drupe\n"
        "      --kernel-args TEXT  more words for the kernel's command line\n"
        "      --accel WHICH       auto (default), kvm, qemu, firecracker (the one in PATH) or "
        "libkrun\n"
        "  -m, --memory MIB        4 to 16384, or 1G and the like (default 256)\n"
        "  -c, --cpus N            1 to 32 (default 1)\n"
        "  -t, --timeout SECONDS   stop the machine after that time; the status is then 124\n"
        "  -e, --env NAME[=VALUE]  set a variable, or pass this shell's on; may be repeated\n"
        "  -w, --cwd DIR           the program's working directory; also --workdir\n"
        "  -v HOST:GUEST[:ro]      share a folder of this host; may be repeated\n"
        "      --disk FILE[:ro][:direct]  a disk: /dev/vda, then vdb, ...; may be repeated; "
        "direct: "
        "past\n"
        "                          the host's page cache\n"
        "      --scratch MIB       a disk in memory behind those, compressed; goes with the "
        "machine\n"
        "      --net tap=NAME[,mac=MAC][,mtu=N]  a network interface on a tap of this host; needs "
        "--kernel\n"
        "  -d, --detach            run in the background and print the machine's id; see drupe ps\n"
        "      --name NAME         call it so (with -d)\n"
        "      --track-dirty       record which pages it writes, for drupe snapshot --diff (with "
        "-d)\n"
        "      --template NAME     a clone of a template (drupe template), with these streams\n"
        "      --log FILE          write console and kernel messages there as well\n"
        "      --no-jail           the monitor in this process, with this user's rights\n"
        "      --verbose           all kernel messages on standard error\n\n"
        "exit status: the program's; 1 failure, 2 usage, 3 no KVM and no QEMU, 4 the machine died\n"
        "without a status, 124 timeout\n\n"
        "examples:\n"
        "  drupe run --timeout 10\n"
        "  drupe run /bin/busybox sh -c 'ls /'\n"
        "  drupe run --root dist/app.erofs --cpus 4 -- python3 -c 'print(6 * 7)'\n",
    .run = run_run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* drupe doctor: what this host offers, and what to do about what it lacks. */

#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <drupe/vm.h>

#include "cli.h"
#include "doctor.h"
#include "files.h"
#include "options.h"

void doctor_report(enum finding finding, const char *subject, const char *format, ...)
{
    static const char *const words[] = { "ok", "warn", "missing" };
    static const char *const colours[] = { "\033[32m", "\033[33m", "\033[31m" };
    bool has_colour = isatty(STDOUT_FILENO);
    va_list args;

    (void)printf("%s%-8s%s%-10s ", has_colour ? colours[finding] : "", words[finding],
                 has_colour ? "\033[0m" : "", subject);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n");
}

static void report_kvm(const struct drupe_host_report *host)
{
    if (!host->has_kvm) {
        const char *advice = host->kvm_errno == EACCES ? "add yourself to the group kvm"
                             : host->kvm_errno == ENOENT
                                 ? "load the module kvm_intel or kvm_amd, or turn "
                                   "on (nested) virtualization"
                                 : "see the kernel's messages";

        doctor_report(host->has_qemu ? FINDING_WARN : FINDING_MISSING, "kvm", "/dev/kvm: %s; %s",
                      strerror(host->kvm_errno), advice);
        return;
    }
    doctor_report(FINDING_OK, "kvm", "/dev/kvm opens, up to %u vCPUs", host->vcpus_max);
    if (host->is_ring0_emulated) {
        doctor_report(
            FINDING_WARN, "ring 0",
            "interpreted: KVM has no hardware below it here; programs run at full speed, each "
            "system "
            "call costs about 60 us");
    } else {
        doctor_report(FINDING_OK, "ring 0", "runs on the hardware");
    }
    if (host->masked_features[0]) {
        doctor_report(FINDING_WARN, "cpu", "hidden from guests, because they do not work here: %s",
                      host->masked_features);
    }
}

static void report_qemu(const struct drupe_host_report *host)
{
    if (host->has_qemu) {
        doctor_report(FINDING_OK, "qemu", "%s (--accel qemu, or when KVM is missing)",
                      host->qemu_path);
    } else {
        doctor_report(host->has_kvm ? FINDING_WARN : FINDING_MISSING, "qemu",
                      "not found; install qemu-system-x86 to run without KVM");
    }
}

/* Backends that run only when asked for: missing is no fault. */
static void report_others(const struct drupe_host_report *host)
{
    if (host->firecracker_path[0]) {
        doctor_report(FINDING_OK, "firecracker", "%s (--accel firecracker)",
                      host->firecracker_path);
    } else {
        doctor_report(FINDING_OK, "firecracker", "not in PATH; --accel firecracker needs one");
    }
    doctor_report(FINDING_OK, "libkrun", "%s",
                  host->has_libkrun ? "libkrun.so.1 loads (--accel libkrun)"
                                    : "no libkrun.so.1; --accel libkrun needs one");
}

static void report_program(const char *program, const char *purpose, const char *advice)
{
    CLEANUP_FREE char *path = program_find(program);

    if (path) {
        doctor_report(FINDING_OK, program, "%s", path);
    } else {
        doctor_report(FINDING_WARN, program, "not found; needed %s; %s", purpose, advice);
    }
}

static uint64_t cache_bytes;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type == FTW_F) {
        cache_bytes += (uint64_t)st->st_blocks * 512;
    }
    return 0;
}

static void report_cache(void)
{
    CLEANUP_FREE char *dir = cache_dir(NULL);

    if (!dir) {
        doctor_report(FINDING_WARN, "cache", "cannot be made: %s; set DRUPE_CACHE to a directory",
                      strerror(errno));
        return;
    }
    cache_bytes = 0;
    (void)nftw(dir, add_size, 16, FTW_PHYS);
    doctor_report(FINDING_OK, "cache", "%s, %.1f MiB; may be removed at any time", dir,
                  (double)cache_bytes / (1 << 20));
}

static int run_doctor(int argc, char **argv)
{
    struct drupe_host_report host;
    struct operands operands;
    bool wants_filters = false;
    const struct option_spec specs[] = {
        { .name = "filters", .kind = OPTION_FLAG, .out = &wants_filters },
    };
    int status = options_of_verb(&verb_doctor, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "doctor: takes no arguments");
    }
    if (wants_filters) {
        return doctor_print_filters();
    }
    drupe_host_probe(&host);
    report_kvm(&host);
    report_qemu(&host);
    report_others(&host);
    doctor_report_jail();
    report_program("apt-get", "by drupe pack for env.packages", "use a Debian or Ubuntu host");
    report_program("cc", "by drupe build for C projects", "install gcc");
    report_cache();
    return host.has_kvm || host.has_qemu ? STATUS_OK : STATUS_HOST;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .summary = "say what this host offers and lacks",
    .help = "usage: drupe doctor [--filters]\n\n"
            "One line per finding: ok, warn or missing, and what to do. The status is 3 when no "
            "machine can\n"
            "run here at all.\n\n"
            "options:\n"
            "      --filters  print the system calls that a jailed monitor's threads may make\n\n"
            "example:\n"
            "  drupe doctor\n",
    .run = run_doctor,
};

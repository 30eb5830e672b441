/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drupe vmm: a monitor that is told over a socket what to run, with the flags, files and exit codes
 * that Firecracker's clients know.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <drupe/control.h>
#include <drupe/jail.h>

#include "cli.h"
#include "files.h"
#include "options.h"

extern const char drupe_kernel_image[] __attribute__((visibility("hidden")));
extern const char drupe_kernel_image_end[] __attribute__((visibility("hidden")));

#define SOCKET_DEFAULT   "/run/firecracker.socket"
#define FILE_SIZE_MAX    ((size_t)16 << 20)
#define PAYLOAD_SIZE_MAX (UINT64_C(1) << 30)
#define API_VERSION      "1.17.0"
#define SNAPSHOT_VERSION "v11.0.0"

struct vmm_options {
    const char *socket;
    const char *id;
    const char *config;
    const char *metadata;
    const char *log;
    const char *level;
    const char *module;
    const char *metrics;
    const char *filter;
    const char *snapshot;
    const char *accel;
    const char *kernel;
    uint64_t payload_size_max;
    uint64_t mmds_size_max;
    uint64_t start_us;
    uint64_t start_cpu_us;
    uint64_t parent_cpu_us;
    bool has_no_api;
    bool shows_level;
    bool shows_origin;
    bool has_no_seccomp;
    bool has_boot_timer;
    bool has_pci;
    bool wants_version;
    bool wants_snapshot_version;
};

static int bad_arguments(const char *text, const char *what)
{
    (void)complain(STATUS_USAGE, "vmm: %s%s; see drupe vmm --help", text, what);
    return DRUPE_CONTROL_BAD_ARGUMENTS;
}

/* Each option may be given once. NULL, or the one that is there again. */
static const char *repeated_option(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        size_t size = strcspn(argv[i], "=");

        for (int k = i + 1; strncmp(argv[i], "--", 2) == 0 && k < argc; k++) {
            if (strcspn(argv[k], "=") == size && memcmp(argv[i], argv[k], size) == 0) {
                return argv[k];
            }
        }
    }
    return NULL;
}

/* Options that exclude or need each other. 0 or an exit status after printing. */
static int check_options(const struct vmm_options *o)
{
    if (o->has_no_api && !o->config) {
        return bad_arguments("--no-api needs --config-file", "");
    }
    if (o->filter && o->has_no_seccomp) {
        return bad_arguments("--seccomp-filter and --no-seccomp exclude each other", "");
    }
    if (o->filter) {
        return bad_arguments("--seccomp-filter: compiled filters are not supported", "");
    }
    if (o->has_pci) {
        return bad_arguments("--enable-pci: devices are virtio-mmio, PCI is not supported", "");
    }
    return 0;
}

static int parse_accel(const char *text, enum drupe_accel *out)
{
    static const char *const names[] = {
        [DRUPE_ACCEL_AUTO] = "auto", [DRUPE_ACCEL_KVM] = "kvm", [DRUPE_ACCEL_QEMU] = "qemu"
    };

    for (size_t i = 0; i < array_size(names); i++) {
        if (strcmp(names[i], text) == 0) {
            *out = (enum drupe_accel)i;
            return 0;
        }
    }
    return bad_arguments("--accel is auto, kvm or qemu, not ", text);
}

static int read_text(const char *option, const char *path, struct buffer *out)
{
    int err = path ? file_read(path, FILE_SIZE_MAX, out) : 0;

    if (err < 0) {
        return complain(DRUPE_CONTROL_FAILED, "vmm: %s %s: %s", option, path, strerror(-err));
    }
    return 0;
}

/* The state file of a snapshot ends in what the API keeps there. */
static int describe_snapshot(const char *path)
{
    char magic[8] = "";
    FILE *f = fopen(path, "rbe");
    bool is_ours = f && fseek(f, -(long)sizeof(magic), SEEK_END) == 0 &&
                   fread(magic, sizeof(magic), 1, f) == 1 && memcmp(magic, "DRUPECFG", 8) == 0;

    if (f) {
        (void)fclose(f);
    }
    if (!is_ours) {
        return complain(DRUPE_CONTROL_FAILED, "vmm: %s is not a state file of this monitor", path);
    }
    (void)puts(SNAPSHOT_VERSION);
    return 0;
}

/*
 * What the threads may do from now on. The emulator is a program that would have to be started, so
 * that a host without KVM goes without. The probe learns now what it reads from files.
 */
static bool filter_process(enum drupe_accel accel, struct drupe_error *err)
{
    struct drupe_host_report host;

    drupe_host_probe(&host);
    return accel == DRUPE_ACCEL_QEMU || !host.has_kvm ||
           drupe_jail_filter_process(DRUPE_JAIL_FILTER_TRAP, err) == DRUPE_OK;
}

static int serve(const struct vmm_options *o, enum drupe_accel accel)
{
    CLEANUP_BUFFER config = { 0 };
    CLEANUP_BUFFER metadata = { 0 };
    struct drupe_control_options options;
    struct drupe_error err;
    int status = read_text("--config-file", o->config, &config);

    if (status != 0) {
        return DRUPE_CONTROL_BAD_CONFIG;
    }
    status = read_text("--metadata", o->metadata, &metadata);
    if (status != 0) {
        return status;
    }
    drupe_control_options_init(&options);
    options.id = o->id;
    options.socket_path = o->has_no_api ? NULL : o->socket;
    options.payload_size_max = (size_t)o->payload_size_max;
    options.mmds_size_max = (size_t)o->mmds_size_max;
    options.config_text = o->config ? (config.data ? config.data : "") : NULL;
    options.config_size = config.size;
    options.metadata_text = metadata.data;
    options.metadata_size = metadata.size;
    options.log_path = o->log;
    options.log_level = o->level;
    options.log_module = o->module;
    options.shows_log_level = o->shows_level;
    options.shows_log_origin = o->shows_origin;
    options.metrics_path = o->metrics;
    options.start_time_us = o->start_us;
    options.start_time_cpu_us = o->start_cpu_us;
    options.parent_cpu_time_us = o->parent_cpu_us;
    options.has_boot_timer = o->has_boot_timer;
    options.accel = accel;
    options.serial_in = STDIN_FILENO;
    options.serial_out = STDOUT_FILENO;
    options.kernel_path = o->kernel;
    if (!o->kernel) {
        options.kernel_image = drupe_kernel_image;
        options.kernel_image_size =
            (uintptr_t)drupe_kernel_image_end - (uintptr_t)drupe_kernel_image;
    }
    if (!o->has_no_seccomp && !filter_process(accel, &err)) {
        return complain(STATUS_FAILED, "vmm: %s", err.text);
    }
    status = drupe_control_run(&options, &err);
    if (status != DRUPE_CONTROL_OK) {
        (void)complain(STATUS_FAILED, "vmm: %s", err.text);
    }
    return status;
}

static int run_vmm(int argc, char **argv)
{
    struct vmm_options o = { .socket = SOCKET_DEFAULT,
                             .id = "anonymous-instance",
                             .payload_size_max = 51200,
                             .accel = "auto" };
    const struct option_spec specs[] = {
        { .name = "api-sock", .kind = OPTION_TEXT, .out = &o.socket },
        { .name = "id", .kind = OPTION_TEXT, .out = &o.id },
        { .name = "config-file", .kind = OPTION_TEXT, .out = &o.config },
        { .name = "no-api", .kind = OPTION_FLAG, .out = &o.has_no_api },
        { .name = "metadata", .kind = OPTION_TEXT, .out = &o.metadata },
        { .name = "log-path", .kind = OPTION_TEXT, .out = &o.log },
        { .name = "level", .kind = OPTION_TEXT, .out = &o.level },
        { .name = "module", .kind = OPTION_TEXT, .out = &o.module },
        { .name = "show-level", .kind = OPTION_FLAG, .out = &o.shows_level },
        { .name = "show-log-origin", .kind = OPTION_FLAG, .out = &o.shows_origin },
        { .name = "metrics-path", .kind = OPTION_TEXT, .out = &o.metrics },
        { .name = "seccomp-filter", .kind = OPTION_TEXT, .out = &o.filter },
        { .name = "no-seccomp", .kind = OPTION_FLAG, .out = &o.has_no_seccomp },
        { .name = "boot-timer", .kind = OPTION_FLAG, .out = &o.has_boot_timer },
        { .name = "enable-pci", .kind = OPTION_FLAG, .out = &o.has_pci },
        { .name = "http-api-max-payload-size",
          .kind = OPTION_NUMBER,
          .out = &o.payload_size_max,
          .min = 1,
          .max = PAYLOAD_SIZE_MAX },
        { .name = "mmds-size-limit",
          .kind = OPTION_NUMBER,
          .out = &o.mmds_size_max,
          .min = 1,
          .max = PAYLOAD_SIZE_MAX },
        { .name = "start-time-us", .kind = OPTION_NUMBER, .out = &o.start_us, .max = UINT64_MAX },
        { .name = "start-time-cpu-us",
          .kind = OPTION_NUMBER,
          .out = &o.start_cpu_us,
          .max = UINT64_MAX },
        { .name = "parent-cpu-time-us",
          .kind = OPTION_NUMBER,
          .out = &o.parent_cpu_us,
          .max = UINT64_MAX },
        { .name = "version", .kind = OPTION_FLAG, .out = &o.wants_version },
        { .name = "snapshot-version", .kind = OPTION_FLAG, .out = &o.wants_snapshot_version },
        { .name = "describe-snapshot", .kind = OPTION_TEXT, .out = &o.snapshot },
        { .name = "accel", .kind = OPTION_TEXT, .out = &o.accel },
        { .name = "kernel", .kind = OPTION_TEXT, .out = &o.kernel },
    };
    const char *repeated = repeated_option(argc, argv);
    enum drupe_accel accel = DRUPE_ACCEL_AUTO;
    struct operands operands;
    char error[256];
    int status = 0;

    if (repeated) {
        return bad_arguments("given twice: ", repeated);
    }
    if (options_parse(specs, array_size(specs), argc, argv, &operands, error, sizeof(error)) < 0) {
        return bad_arguments(error, "");
    }
    if (operands.wants_help) {
        (void)fputs(verb_vmm.help, stdout);
        return STATUS_OK;
    }
    if (operands.first < argc) {
        return bad_arguments("unexpected argument ", argv[operands.first]);
    }
    if (o.wants_version) {
        (void)puts("Firecracker v" API_VERSION);
        return STATUS_OK;
    }
    if (o.wants_snapshot_version) {
        (void)puts(SNAPSHOT_VERSION);
        return STATUS_OK;
    }
    if (o.snapshot) {
        return describe_snapshot(o.snapshot);
    }
    status = check_options(&o);
    if (status == 0) {
        status = parse_accel(o.accel, &accel);
    }
    return status == 0 ? serve(&o, accel) : status;
}

const struct verb verb_vmm = {
    .name = "vmm",
    .summary = "a monitor driven over its socket (Firecracker's API)",
    .help =
        "usage: drupe vmm [--api-sock PATH] [OPTIONS]\n\n"
        "Waits for a client on a Unix socket, which configures, starts, pauses, snapshots and\n"
        "loads one virtual machine through Firecracker's REST interface; ends when the machine\n"
        "does. The serial line is this process's standard input and output. The interface,\n"
        "with examples, is described in docs/control-api.md.\n\n"
        "  --api-sock PATH          where to listen (" SOCKET_DEFAULT "); must not exist\n"
        "  --id ID                  letters, digits, hyphens (anonymous-instance)\n"
        "  --config-file FILE       configure from JSON and start at once\n"
        "  --no-api                 no socket; needs --config-file\n"
        "  --metadata FILE          JSON for the metadata store\n"
        "  --log-path FILE, --level LEVEL, --module PREFIX, --show-level, --show-log-origin\n"
        "  --metrics-path FILE      one JSON line a minute, on demand, and at the end\n"
        "  --boot-timer             log when the guest says that it has started\n"
        "  --http-api-max-payload-size BYTES (51200), --mmds-size-limit BYTES (the same)\n"
        "  --accel auto|kvm|qemu    as for drupe run\n"
        "  --kernel FILE            what kernel_image_path \"drupe:kernel\" names (the embedded "
        "one)\n"
        "  --describe-snapshot FILE, --snapshot-version, --version\n\n"
        "Exit status: 0 the machine ended or a signal asked for it; 1 failure; 152 bad\n"
        "configuration file; 153 bad command line.\n\n"
        "example:\n"
        "  drupe vmm --api-sock /tmp/vm.sock &\n"
        "  curl --unix-socket /tmp/vm.sock http://localhost/\n",
    .run = run_vmm,
};

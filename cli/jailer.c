/* SPDX-License-Identifier: Apache-2.0 */
/* drupe jailer: Firecracker's jailer, with its flags and its layout. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <drupe/jailer.h>

#include "cli.h"
#include "files.h"
#include "options.h"

#define JAILER_VERSION "1.17.0"
#define ID_MAX         UINT64_C(4294967294)

struct jailer_options {
    const char *id;
    const char *exec_file;
    const char *uid;
    const char *gid;
    const char *base;
    const char *parent_cgroup;
    const char *netns;
    struct strings cgroups;
    struct strings limits;
    uint64_t cgroup_version;
    bool is_daemon;
    bool has_pid_namespace;
    bool wants_version;
};

/* Decimal and nothing else; -1 otherwise. */
static int64_t parse_id(const char *text)
{
    uint64_t value = 0;

    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || value > ID_MAX) {
            return -1;
        }
        value = value * 10 + (uint64_t)(*at - '0');
    }
    return *text && value <= ID_MAX ? (int64_t)value : -1;
}

static int check_options(const struct jailer_options *o)
{
    const struct {
        const char *name;
        const char *value;
    } needed[] = {
        { "id", o->id }, { "exec-file", o->exec_file }, { "uid", o->uid }, { "gid", o->gid }
    };

    for (size_t i = 0; i < array_size(needed); i++) {
        if (!needed[i].value) {
            return complain(STATUS_FAILED, "jailer: Argument '--%s' required, but not found.",
                            needed[i].name);
        }
    }
    if (parse_id(o->uid) < 0 || parse_id(o->gid) < 0) {
        return complain(STATUS_FAILED, "jailer: Invalid %s: %s",
                        parse_id(o->uid) < 0 ? "uid" : "gid",
                        parse_id(o->uid) < 0 ? o->uid : o->gid);
    }
    return 0;
}

/* Options that take one value may be given once. */
static const char *repeated_option(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const size_t size = strcspn(argv[i], "=");

        if (strcmp(argv[i], "--") == 0) {
            break;
        }
        if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i], "--cgroup", size) == 0 ||
            strncmp(argv[i], "--resource-limit", size) == 0) {
            continue;
        }
        for (int k = i + 1; k < argc && strcmp(argv[k], "--") != 0; k++) {
            if (strcspn(argv[k], "=") == size && memcmp(argv[i], argv[k], size) == 0) {
                return argv[k];
            }
        }
    }
    return NULL;
}

static int start(const struct jailer_options *o, char **args)
{
    struct drupe_error err;
    struct drupe_jailer_config cfg = {
        .struct_size = sizeof(cfg),
        .id = o->id,
        .exec_file = o->exec_file,
        .uid = (uint32_t)parse_id(o->uid),
        .gid = (uint32_t)parse_id(o->gid),
        .chroot_base = o->base,
        .cgroups = (const char *const *)o->cgroups.items,
        .cgroup_version = (unsigned)o->cgroup_version,
        .parent_cgroup = o->parent_cgroup,
        .netns = o->netns,
        .limits = (const char *const *)o->limits.items,
        .is_daemon = o->is_daemon,
        .has_pid_namespace = o->has_pid_namespace,
        .args = (const char *const *)args,
    };

    if (drupe_jailer_exec(&cfg, &err) != DRUPE_OK) {
        return complain(STATUS_FAILED, "jailer: %s", err.text);
    }
    return STATUS_OK;
}

static int run_jailer(int argc, char **argv)
{
    struct jailer_options o = { .cgroup_version = 1 };
    const struct option_spec specs[] = {
        { .name = "id", .kind = OPTION_TEXT, .out = &o.id },
        { .name = "exec-file", .kind = OPTION_TEXT, .out = &o.exec_file },
        { .name = "uid", .kind = OPTION_TEXT, .out = &o.uid },
        { .name = "gid", .kind = OPTION_TEXT, .out = &o.gid },
        { .name = "chroot-base-dir", .kind = OPTION_TEXT, .out = &o.base },
        { .name = "cgroup", .kind = OPTION_LIST, .out = &o.cgroups },
        { .name = "cgroup-version",
          .kind = OPTION_NUMBER,
          .out = &o.cgroup_version,
          .min = 1,
          .max = 2 },
        { .name = "parent-cgroup", .kind = OPTION_TEXT, .out = &o.parent_cgroup },
        { .name = "netns", .kind = OPTION_TEXT, .out = &o.netns },
        { .name = "resource-limit", .kind = OPTION_LIST, .out = &o.limits },
        { .name = "daemonize", .kind = OPTION_FLAG, .out = &o.is_daemon },
        { .name = "new-pid-ns", .kind = OPTION_FLAG, .out = &o.has_pid_namespace },
        { .name = "version", .kind = OPTION_FLAG, .out = &o.wants_version },
    };
    struct operands operands = { 0 };
    const char *repeated = repeated_option(argc, argv);
    int status =
        repeated ? complain(STATUS_FAILED, "jailer: The argument '%.*s' was used twice.",
                            (int)strcspn(repeated, "="), repeated)
                 : options_of_verb(&verb_jailer, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        /* printed */
    } else if (o.wants_version) {
        (void)printf("Jailer v%s\n", JAILER_VERSION);
        status = STATUS_OK;
    } else if (operands.first < argc && !operands.is_after_dashes) {
        status = complain(STATUS_FAILED,
                          "jailer: Found argument '%s' which wasn't expected, or isn't valid in "
                          "this context.",
                          argv[operands.first]);
    } else {
        status = check_options(&o);
        if (status == 0) {
            status = start(&o, argv + operands.first);
        }
    }
    strings_free(&o.cgroups);
    strings_free(&o.limits);
    return status;
}

const struct verb verb_jailer = {
    .name = "jailer",
    .summary = "Firecracker's jailer: run a monitor in a directory, with ids of its own",
    .help = "usage: drupe jailer --id ID --exec-file FILE --uid UID --gid GID [OPTIONS] [-- "
            "ARGUMENTS]\n\n"
            "Makes BASE/NAME/ID/root, copies FILE (a static executable, such as drupe-vmm) there, "
            "enters it\n"
            "with a mount namespace of its own, drops everything and becomes FILE with --id, "
            "--start-time-us,\n"
            "--start-time-cpu-us, --parent-cpu-time-us and the ARGUMENTS. For root only.\n\n"
            "options:\n"
            "      --chroot-base-dir DIR   BASE (default /srv/jailer)\n"
            "      --cgroup FILE=VALUE     set a cgroup's file; may be repeated\n"
            "      --cgroup-version N      1 (default) or 2\n"
            "      --parent-cgroup PATH    below the controllers' mounts (default: NAME)\n"
            "      --netns PATH            join that network namespace\n"
            "      --resource-limit R=N    fsize=BYTES or no-file=COUNT (default no-file=2048)\n"
            "      --daemonize             a session of its own, streams to /dev/null\n"
            "      --new-pid-ns            a PID namespace; the process's number is in NAME.pid in "
            "the root\n"
            "      --version\n\n"
            "example:\n"
            "  drupe jailer --id vm1 --exec-file /usr/bin/drupe-vmm --uid 1000 --gid 1000 -- "
            "--api-sock /api.sock\n",
    .run = run_jailer,
};

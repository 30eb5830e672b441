/* SPDX-License-Identifier: Apache-2.0 */
/* drupe restore, clone: machines from a file, and from a machine. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "background.h"
#include "freeze.h"
#include "jail_limits.h"
#include "options.h"
#include "run_internal.h"
#include "thaw.h"

#define CLONES_MAX 1000u

/* ---- Restoring ---- */

struct wish {
    const char *verb;
    const char *name;
    struct run_options outside; /* what is elsewhere now: root, folders, disks, accelerator */
    bool is_clone;
    bool is_left_paused;
    bool is_trusted;
    bool is_unjailed;
    uint64_t count;
};

/* Rows of an option table: what restore and clone have in common. */
#define WISH_OPTIONS(w)                                                                            \
    TEXT_OPTION("name", 0, &(w).name), FLAG_OPTION("paused", 0, &(w).is_left_paused),              \
        FLAG_OPTION("no-jail", 0, &(w).is_unjailed),                                               \
        LIST_OPTION("volume", 'v', &(w).outside.volumes),                                          \
        LIST_OPTION("disk", 0, &(w).outside.disks), LIST_OPTION("net", 0, &(w).outside.nets),      \
        FLAG_OPTION("track-dirty", 0, &(w).outside.is_tracked),                                    \
        NUMBER_OPTION("count", 'n', &(w).count, 1, CLONES_MAX)

static int create(struct background *m, const struct wish *w, const struct thaw *t)
{
    struct drupe_error err;
    drupe_vm_config_t cfg;
    CLEANUP_JOB job = { 0 };
    CLEANUP_FREE char *console = vm_path(&m->record, "console.log");
    CLEANUP_FREE char *vsock = vm_path(&m->record, "vsock.sock");
    CLEANUP_FD log = open(console, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    int status = log < 0 ? complain(STATUS_FAILED, "%s: %s: %s", w->verb, console, strerror(errno))
                         : thaw_job(t, w->verb, &w->outside, &job);

    if (status == 0) {
        status = job_config(&job, &w->outside, &cfg);
    }
    if (status != 0) {
        return status;
    }
    thaw_config(t, &cfg);
    cfg.host_stdout = log;
    cfg.host_stderr = log;
    cfg.serial_log = log;
    if (t->description.vsock_cid != 0) {
        cfg.vsock_path = vsock;
    }
    if (drupe_vm_create(&cfg, &m->vm, &err) != DRUPE_OK) {
        return refuse_vm(w->verb, &err);
    }
    background_describe(m, &job);
    return 0;
}

/* One machine from an open snapshot; its id is printed. */
static int thaw_one(const struct wish *w, struct thaw *t)
{
    struct background m;
    int status = 0;

    background_init(&m);
    t->restore.is_clone = w->is_clone;
    t->restore.is_memory_trusted = w->is_trusted;
    m.restore = &t->restore;
    m.is_left_paused = w->is_left_paused;
    m.is_jailed = !w->is_unjailed;
    m.memory_max = monitor_memory_max(t->description.memory_mib);
    status = vm_dir_create(&m.record, w->verb, w->name);
    if (status == 0) {
        status = background_open(&m, w->verb);
    }
    if (status == 0) {
        status = create(&m, w, t);
    }
    if (status == 0) {
        status = background_start(&m, w->verb);
    }
    if (status == 0) {
        (void)printf("%s\n", m.record.id);
    }
    background_deinit(&m, status != 0);
    return status;
}

/* "name" for one machine, "name-1", "name-2", ... for several. */
static int thaw_many(struct wish *w, struct thaw *t)
{
    const char *name = w->name;
    int status = 0;

    for (uint64_t i = 1; status == 0 && i <= w->count; i++) {
        CLEANUP_FREE char *own =
            name && w->count > 1 ? text_format("%s-%llu", name, (unsigned long long)i) : NULL;

        w->name = own ? own : name;
        status = thaw_one(w, t);
        w->is_trusted = true; /* the same open file, verified a moment ago */
    }
    w->name = name;
    thaw_close(t);
    return status;
}

static int run_restore(int argc, char **argv)
{
    struct wish w = { .verb = "restore", .outside.accel = "auto", .count = 1 };
    struct thaw t;
    const struct option_spec specs[] = {
        WISH_OPTIONS(w),
        { .name = "root", .kind = OPTION_TEXT, .out = &w.outside.root },
        { .name = "accel", .kind = OPTION_TEXT, .out = &w.outside.accel },
        { .name = "clone", .kind = OPTION_FLAG, .out = &w.is_clone },
        { .name = "trust", .kind = OPTION_FLAG, .out = &w.is_trusted },
    };
    struct operands operands;
    int status = options_of_verb(&verb_restore, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 1 != argc) {
        return complain(STATUS_USAGE, "restore: give one snapshot; see drupe restore --help");
    }
    if (w.count > 1 && !w.is_clone) {
        return complain(STATUS_USAGE,
                        "restore: --count %llu needs --clone: a machine that comes "
                        "back twice is two",
                        (unsigned long long)w.count);
    }
    status = thaw_open(&t, "restore", argv[operands.first]);
    return status != 0 ? status : thaw_many(&w, &t);
}

/* ---- Cloning a running machine ---- */

static int run_clone(int argc, char **argv)
{
    struct freeze f = { .verb = "clone", .is_aside = true, .base_fd = -1 };
    struct wish w = {
        .verb = "clone", .outside.accel = "auto", .is_clone = true, .is_trusted = true, .count = 1
    };
    struct thaw t;
    const struct option_spec specs[] = {
        WISH_OPTIONS(w),
        { .name = "live", .kind = OPTION_FLAG, .out = &f.is_live },
    };
    struct operands operands;
    CLEANUP_RECORD r = { 0 };
    int status = options_of_verb(&verb_clone, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 1 != argc) {
        return complain(STATUS_USAGE, "clone: give one machine; see drupe clone --help");
    }
    status = vm_find("clone", argv[operands.first], &r);
    if (status != 0) {
        return status;
    }
    /* A file without a name, which goes when the last clone does. */
    CLEANUP_FREE char *base = vm_dir_base();
    CLEANUP_FD fd = base ? open(base, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;

    if (fd < 0) {
        return complain(STATUS_FAILED, "clone: a temporary file in %s: %s", base ? base : "",
                        strerror(errno));
    }
    status = freeze(&f, &r, fd);
    if (status == 0) {
        status = thaw_open_fd(&t, "clone", fd_steal(&fd));
    }
    return status != 0 ? status : thaw_many(&w, &t);
}

const struct verb verb_restore = {
    .name = "restore",
    .summary = "bring a machine back from a file",
    .help =
        "usage: drupe restore [OPTIONS] FILE\n\n"
        "Prints the new machine's id. Memory is mapped from the file, not read: keep the file "
        "while "
        "the\nmachine runs. What a diff (drupe snapshot --diff) builds on is found where it was "
        "written, or in\nthe diff's folder.\n\n"
        "options:\n"
        "      --name NAME   call it so\n"
        "      --clone       it may run beside others from the same file: new random numbers, new\n"
        "                    generation id, the time of now\n"
        "  -n, --count N     so many clones; with --name they are NAME-1, NAME-2, ...\n"
        "      --paused      leave it paused; drupe resume lets it go\n"
        "      --root IMAGE  the root image or folder, if it is elsewhere now\n"
        "  -v, --volume HOST:GUEST[:ro]\n"
        "                    the shared folder that the guest has at GUEST is HOST now\n"
        "      --disk FILE[:ro][:direct]\n"
        "                    other files for its disks: all of them, in their order\n"
        "      --net tap=NAME[,mac=MAC][,mtu=N]\n"
        "                    taps for its network interfaces: all of them, in their order\n"
        "      --track-dirty record which pages it writes, for drupe snapshot --diff\n"
        "      --trust       do not compute the memory's hash first\n"
        "      --no-jail     no jail around the monitor\n"
        "      --accel WHICH auto (default) or kvm\n",
    .run = run_restore,
};

const struct verb verb_clone = {
    .name = "clone",
    .summary = "make running copies of a running machine",
    .help = "usage: drupe clone [OPTIONS] MACHINE\n\n"
            "A snapshot into a file without a name, and clones of it. Prints their ids.\n\n"
            "options:\n"
            "      --name NAME  call it so\n"
            "  -n, --count N    so many; with --name they are NAME-1, NAME-2, ...\n"
            "      --paused     leave them paused\n"
            "  -v, --volume HOST:GUEST[:ro], --disk FILE[:ro][:direct], --net tap=NAME,...\n"
            "                   as for drupe restore; a clone needs writable disks of its own\n"
            "      --live       as for drupe snapshot\n"
            "      --track-dirty  record which pages they write, for drupe snapshot --diff\n"
            "      --no-jail    no jail around the monitors\n",
    .run = run_clone,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots and restores, and VMs through the store. */
#include <stdio.h>
#include <string.h>

#include "../file.h"
#include "../machine.h"
#include "../scenario.h"
#include "../store_check.h"
#include "abi/snapshot.h"
#include "vm_internal.h"

#define SNAP "/tmp/snap"

static void start_new(struct box *b)
{
    box_new(b);
    box_start_surely(b);
}

static void end(struct box *b)
{
    if (b->vm != NULL && (box_state(b) == DRUPE_VM_RUNNING || box_state(b) == DRUPE_VM_PAUSED)) {
        (void)box_stop(b, 0);
    }
    box_destroy(b);
}

/* A snapshot that may be damaged behind the writer's back. True: it is there; *is_damaged says how.
 */
static bool take(struct box *b, const char *path, bool *is_damaged)
{
    *is_damaged = false;
    if (box_snapshot(b, path) != DRUPE_OK) {
        return false;
    }
    if (sim_fault_draw(OP_vm_snapshot, SIM_KIND(SNAPSHOT_CORRUPT), NULL) != SIM_FAULT_NONE) {
        long size = sim_disk_size(path);

        sim_disk_flip(path, sim_random_below(sim_disk_random(), (uint32_t)size),
                      sim_random_below(sim_disk_random(), 8));
        *is_damaged = true;
    }
    return true;
}

static bool is_restore_error(drupe_vm_err_t r)
{
    return r == DRUPE_RESTORE_FAILED || r == DRUPE_SNAPSHOT_CORRUPTED;
}

/* The VM runs, answers, and its counter goes on from `count`. */
static void must_go_on(struct box *b, unsigned count)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%u\n", count + 1);
    must(box_resume(b));
    box_prints(b, text, ARGV("count"));
}

/* ---- What a snapshot is ---- */

/* I3: registers and memory after the restore are those at the snapshot, wherever it is restored. */
static void snapshot_change_restore(void)
{
    struct box b;
    struct box other;
    uint8_t at_snapshot[32];
    uint8_t restored[32];

    start_new(&b);
    box_prints(&b, "", ARGV("write", "early", "kept"));
    box_prints(&b, "1\n", ARGV("count"));
    must(box_pause(&b));
    box_digest(&b, at_snapshot);
    must(box_snapshot(&b, SNAP));
    must(box_resume(&b));
    box_prints(&b, "", ARGV("write", "late", "lost"));
    box_prints(&b, "2\n", ARGV("count"));
    must(box_stop(&b, 0));
    must(box_restore(&b, SNAP));
    box_digest(&b, restored);
    sim_check(memcmp(restored, at_snapshot, 32) == 0, "I3: the restored VM differs");
    must_go_on(&b, 1);
    box_prints(&b, "early\n", ARGV("ls"));
    box_prints(&b, "kept", ARGV("cat", "early"));
    must(box_new_from(&other, SNAP));
    box_digest(&other, restored);
    sim_check(memcmp(restored, at_snapshot, 32) == 0, "I3: the second restored VM differs");
    must_go_on(&other, 1);
    end(&other);
    end(&b);
}

static void snapshot_by_state(void)
{
    struct box b;

    box_new(&b);
    must_fail(box_snapshot(&b, SNAP), DRUPE_BAD_STATE);
    must(box_start(&b));
    must(box_snapshot(&b, SNAP));
    sim_check(box_state(&b) == DRUPE_VM_RUNNING, "it does not run on");
    must_fail(box_restore(&b, SNAP), DRUPE_BAD_STATE);
    must(box_pause(&b));
    must(box_snapshot(&b, SNAP));
    sim_check(box_state(&b) == DRUPE_VM_PAUSED, "it does not stay paused");
    must_fail(box_restore(&b, SNAP), DRUPE_BAD_STATE);
    must(box_stop(&b, 0));
    must_fail(box_snapshot(&b, SNAP), DRUPE_BAD_STATE);
    must(box_restore(&b, SNAP));
    must(box_resume(&b));
    end(&b);
}

static void other_architecture(void)
{
    struct box b;
    struct box other;

    start_new(&b);
    must(box_snapshot(&b, SNAP));
    sim_host()->arch = SNAPSHOT_AARCH64;
    must_fail(box_new_from(&other, SNAP), DRUPE_ARCH_MISMATCH);
    sim_host()->arch = SNAPSHOT_X86_64;
    sim_host()->cpu_features = 0x7f;
    must_fail(box_new_from(&other, SNAP), DRUPE_ARCH_MISMATCH);
    sim_host()->cpu_features = 0x1ff;
    must(box_new_from(&other, SNAP));
    end(&other);
    end(&b);
}

static void other_size(void)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = SNAP, .fd = -1, .memory_fd = -1
    };
    struct box b;
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;

    start_new(&b);
    must(box_snapshot(&b, SNAP));
    box_config(&cfg);
    cfg.memory_mib = 8;
    must_fail(drupe_vm_create_from_snapshot(&cfg, &options, &vm, NULL), DRUPE_IMAGE_MISMATCH);
    box_config(&cfg);
    cfg.vcpus = 2;
    must_fail(drupe_vm_create_from_snapshot(&cfg, &options, &vm, NULL), DRUPE_IMAGE_MISMATCH);
    box_config(&cfg);
    cfg.root_path = "/images/disk.img"; /* the same bytes under another name are the same */
    must(drupe_vm_create_from_snapshot(&cfg, &options, &vm, NULL));
    drupe_vm_destroy(vm);
    vm = NULL;
    sim_disk_put("/images/other.erofs", "another image", 13, S_IFREG | 0644);
    box_config(&cfg);
    cfg.root_path = "/images/other.erofs";
    must_fail(drupe_vm_create_from_snapshot(&cfg, &options, &vm, NULL), DRUPE_IMAGE_MISMATCH);
    sim_check(vm == NULL, "I5: a failed restore left a VM");
    end(&b);
}

static void newer_version(void)
{
    struct box b;
    struct box other;
    uint8_t *bytes = NULL;
    size_t size = 0;

    start_new(&b);
    must(box_snapshot(&b, SNAP));
    bytes = sim_disk_get(SNAP, &size);
    bytes[4] = 3;
    sim_disk_put("/tmp/newer", bytes, size, S_IFREG | 0600);
    sim_free(bytes);
    must_fail(box_new_from(&other, "/tmp/newer"), DRUPE_SNAPSHOT_CORRUPTED);
    sim_check(strstr(box_error()->text, "3") != NULL && strstr(box_error()->text, "2") != NULL,
              "the refusal names no versions: %s", box_error()->text);
    end(&b);
}

static void metadata_survives(void)
{
    struct box b;
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = SNAP, .fd = -1, .memory_fd = -1
    };

    fault(FAULT_SNAPSHOT_CORRUPT, .01, .op = OP_vm_snapshot);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, 5);) {
        static struct drupe_snapshot_description d;
        bool is_damaged = false;

        sim_check(take(&b, SNAP, &is_damaged), "a snapshot fails without a fault");
        if (!is_damaged) {
            must(drupe_snapshot_describe(&options, &d, NULL));
            sim_check(d.memory_mib == 4 && d.vcpus == 1 &&
                          strcmp(d.root_path, "/images/root.erofs") == 0 && d.id[0] != '\0' &&
                          d.created_ms / 1000 >= (uint64_t)SIM_EPOCH_S,
                      "the metadata are different");
        }
    }
    end(&b);
}

/* ---- Rounds with faults ---- */

/* Snapshot and restore in turn; whatever fails, the VM is usable and nothing is half done (I5). */
static void pairs(unsigned least, double create, double corrupt, double restore)
{
    struct box b;

    fault(FAULT_SNAPSHOT_FAIL, create, .op = OP_vm_snapshot);
    fault(FAULT_SNAPSHOT_CORRUPT, corrupt, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, restore, .op = OP_vm_restore);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        bool is_damaged = false;
        drupe_vm_err_t r = DRUPE_OK;

        if (!take(&b, SNAP, &is_damaged)) {
            box_prints(&b, "usable\n", ARGV("echo", "usable"));
            continue;
        }
        must(box_stop(&b, 0));
        r = box_restore(&b, SNAP);
        sim_check(r == DRUPE_OK ? !is_damaged : is_restore_error(r), "restore of %s: %s",
                  is_damaged ? "a damaged snapshot" : "a snapshot", drupe_vm_err_name(r));
        if (r == DRUPE_OK) {
            must(box_resume(&b));
        } else {
            sim_check(box_state(&b) == DRUPE_VM_STOPPED, "I5: it is %s",
                      drupe_vm_state_name(box_state(&b)));
            must(box_start(&b));
        }
        box_prints(&b, "usable\n", ARGV("echo", "usable"));
    }
    end(&b);
}

static void twenty_pairs(void)
{
    pairs(20, .2, .2, .2);
}

static void corrupted_found(void)
{
    pairs(10, .1, .3, .1);
}

static void chaos_pairs(void)
{
    fault(FAULT_CRASH, .05, .op = OP_vm_restore, .is_optional = true);
    pairs(30, .15, .1, .15);
}

static void usable_after_failure(void)
{
    struct box b;
    unsigned failed = 0;

    fault(FAULT_SNAPSHOT_FAIL, .4, .op = OP_vm_snapshot);
    fault(FAULT_SNAPSHOT_TOO_LARGE, .3, .op = OP_vm_snapshot);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, 10) || round_wants(failed == 0);) {
        drupe_vm_err_t r = box_snapshot(&b, SNAP);

        sim_check(r == DRUPE_OK || r == DRUPE_SNAPSHOT_FAILED || r == DRUPE_SNAPSHOT_TOO_LARGE,
                  "snapshot: %s", drupe_vm_err_name(r));
        failed += r == DRUPE_OK ? 0 : 1;
        box_prints(&b, "usable\n", ARGV("echo", "usable"));
    }
    end(&b);
}

static void restores_into_new(void)
{
    struct box b;

    fault(FAULT_RESTORE_FAIL, .5, .op = OP_vm_restore);
    start_new(&b);
    box_prints(&b, "1\n", ARGV("count"));
    must(box_snapshot(&b, SNAP));
    for (unsigned round = 0; round_goes_on(&round, 5);) {
        struct box other;

        box_new(&other);
        if (box_restore(&other, SNAP) == DRUPE_OK) {
            must_go_on(&other, 1);
        } else {
            sim_check(box_state(&other) == DRUPE_VM_CREATED, "I5: it is %s",
                      drupe_vm_state_name(box_state(&other)));
            must(box_start(&other));
        }
        end(&other);
    }
    end(&b);
}

static void create_from_snapshot(void)
{
    struct box b;

    fault(FAULT_SNAPSHOT_CORRUPT, .2, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, .2, .op = OP_vm_restore);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, 5);) {
        struct box other;
        bool is_damaged = false;

        sim_check(take(&b, SNAP, &is_damaged), "a snapshot fails without a fault");
        drupe_vm_err_t r = box_new_from(&other, SNAP);

        sim_check(r == DRUPE_OK ? !is_damaged : is_restore_error(r), "create: %s",
                  drupe_vm_err_name(r));
        if (r == DRUPE_OK) {
            must_go_on(&other, 0);
            end(&other);
        }
    }
    end(&b);
}

static void full_lifecycle(void)
{
    struct box b;

    start_new(&b);
    box_prints(&b, "x\n", ARGV("echo", "x"));
    must(box_pause(&b));
    must(box_resume(&b));
    must(box_snapshot(&b, SNAP));
    must(box_stop(&b, 100));
    must(box_restore(&b, SNAP));
    must(box_resume(&b));
    box_prints(&b, "1\n", ARGV("count"));
    must(box_stop(&b, 0));
    box_destroy(&b);
}

/* Everything at once, seven kinds. */
static void seven_kinds(void)
{
    fault(FAULT_BOOT_FAIL, .1, .op = OP_vm_start);
    fault(FAULT_CRASH, .1, .op = OP_vm_exec);
    fault(FAULT_PAUSE_FAIL, .1, .op = OP_vm_pause);
    fault(FAULT_RESUME_FAIL, .1, .op = OP_vm_resume);
    fault(FAULT_EXEC_FAIL, .1, .op = OP_vm_exec);
    fault(FAULT_SNAPSHOT_FAIL, .1, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, .1, .op = OP_vm_restore);
    for (unsigned round = 0; round_goes_on(&round, 5);) {
        struct box b;

        start_new(&b);
        for (unsigned i = 0; i < 3; i++) {
            (void)box_exec(&b, 1000, NULL, ARGV("count"));
            if (box_pause(&b) == DRUPE_OK) {
                (void)box_resume(&b);
            }
            if (box_snapshot(&b, SNAP) == DRUPE_OK && box_stop(&b, 0) == DRUPE_OK) {
                (void)box_restore(&b, SNAP);
                (void)box_resume(&b);
            }
        }
        end(&b);
    }
}

/* ---- Files ---- */

static void files_through_snapshot(unsigned count, bool change_afterwards)
{
    struct box b;
    char name[32];
    char text[64];

    start_new(&b);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "file%u", i);
        (void)snprintf(text, sizeof(text), "text of %u", i);
        box_prints(&b, "", ARGV("write", name, text));
    }
    must(box_snapshot(&b, SNAP));
    for (unsigned i = 0; change_afterwards && i < count; i++) {
        (void)snprintf(name, sizeof(name), "file%u", i);
        if (i % 2 == 0) {
            box_prints(&b, "", ARGV("write", name, "changed"));
        } else {
            box_prints(&b, "", ARGV("rm", name));
        }
    }
    must(box_stop(&b, 0));
    must(box_restore(&b, SNAP));
    must(box_resume(&b));
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "file%u", i);
        (void)snprintf(text, sizeof(text), "text of %u", i);
        box_prints(&b, text, ARGV("cat", name));
    }
    end(&b);
}

static void hundred_files(void)
{
    files_through_snapshot(100, false);
}

static void fifty_files(void)
{
    files_through_snapshot(50, false);
}

static void restore_removes_changes(void)
{
    files_through_snapshot(10, true);
}

static void moves_data(void)
{
    struct box b;
    struct box other;

    start_new(&b);
    box_prints(&b, "", ARGV("write", "f", "moved"));
    must(box_snapshot(&b, SNAP));
    end(&b);
    must(box_new_from(&other, SNAP));
    must(box_resume(&other));
    box_prints(&other, "moved", ARGV("cat", "f"));
    end(&other);
}

/* ---- The disk under a snapshot ---- */

/* A path holds the old snapshot or the new one, whole, or an error was told. */
static void on_a_bad_disk(void)
{
    struct box b;
    struct box other;

    fault(FAULT_DISK_FULL, .02, .op = OP_file_write);
    fault(FAULT_WRITE_FAIL, .02, .op = OP_file_write);
    fault(FAULT_FSYNC_FAIL, .1, .op = OP_file_fsync);
    fault(FAULT_PARTIAL_WRITE, .2, .op = OP_file_write);
    fault(FAULT_SHORT_READ, .1, .op = OP_file_read);
    fault(FAULT_READ_FAIL, .02, .op = OP_file_read);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, 30);) {
        char path[64];
        unsigned before = sim_disk_count("/tmp");

        (void)snprintf(path, sizeof(path), "/tmp/s%u", round);
        drupe_vm_err_t r = box_snapshot(&b, path);

        sim_check(r == DRUPE_OK || r == DRUPE_SNAPSHOT_FAILED, "snapshot: %s (%s)",
                  drupe_vm_err_name(r), box_error()->text);
        sim_check((sim_disk_size(path) >= 0) == (r == DRUPE_OK), "a file is there after %s",
                  drupe_vm_err_name(r));
        sim_check(sim_disk_count("/tmp") == before + (r == DRUPE_OK ? 1 : 0),
                  "a failed snapshot left a file");
        if (r == DRUPE_OK) {
            r = box_new_from(&other, path);
            sim_check(r == DRUPE_OK || r == DRUPE_SNAPSHOT_CORRUPTED || r == DRUPE_RESTORE_FAILED ||
                          r == DRUPE_NO_ACCESS,
                      "restore: %s", drupe_vm_err_name(r));
            if (r == DRUPE_OK) {
                end(&other);
            }
        }
        box_prints(&b, "usable\n", ARGV("echo", "usable"));
    }
    end(&b);
}

static void on_a_lying_disk(void)
{
    struct box b;
    struct box other;
    uint8_t at_snapshot[32];
    uint8_t restored[32];

    fault(FAULT_STORAGE_CORRUPT, .02, .op = OP_file_write);
    fault(FAULT_MISDIRECTED_WRITE, .02, .op = OP_file_write);
    start_new(&b);
    must(box_pause(&b));
    box_digest(&b, at_snapshot);
    for (unsigned round = 0; round_goes_on(&round, 20);) {
        if (box_snapshot(&b, SNAP) == DRUPE_OK) {
            drupe_vm_err_t r = box_new_from(&other, SNAP);

            sim_check(r == DRUPE_OK || r == DRUPE_SNAPSHOT_CORRUPTED, "restore: %s",
                      drupe_vm_err_name(r));
            if (r == DRUPE_OK) {
                box_digest(&other, restored);
                sim_check(memcmp(restored, at_snapshot, 32) == 0, "I3: damage passed unnoticed");
                end(&other);
            }
        }
    }
    end(&b);
}

struct host_run {
    unsigned taken; /* snapshots that were answered with success */
};

static void run_host(void *arg)
{
    struct host_run *h = arg;
    struct box b;

    start_new(&b);
    for (unsigned i = 0; i < 5; i++) {
        if (box_snapshot(&b, SNAP) == DRUPE_OK) {
            h->taken++;
        }
        (void)box_exec(&b, 1000, NULL, ARGV("count"));
    }
    end(&b);
}

/* The monitor is killed, or the host loses power, at any step: the path holds a whole snapshot (the
 * last one answered, or a newer one) or none, and who comes next can go on. */
static void monitor_dies(void)
{
    for (unsigned round = 0; round_goes_on(&round, 8);) {
        struct host_run h = { .taken = 0 };
        unsigned proc = sim_proc_spawn("monitor", run_host, &h);
        struct box b;

        if (sim_fault_draw(OP_monitor_step, SIM_KIND(SIGKILL), NULL) != SIM_FAULT_NONE) {
            sim_proc_kill_after(proc, 1 + sim_random_below(sim_scenario_random(), 700));
        }
        sim_proc_wait(proc);
        box_forget();
        sim_faults_pause(true);
        sim_check(h.taken == 0 || sim_disk_size(SNAP) >= 0, "a snapshot that was told is gone");
        if (sim_disk_size(SNAP) >= 0) {
            must(box_new_from(&b, SNAP));
            must(box_resume(&b));
            box_prints(&b, "alive\n", ARGV("echo", "alive"));
            end(&b);
            sim_disk_remove(SNAP);
        }
        sim_faults_pause(false);
    }
}

static void monitor_killed(void)
{
    fault(FAULT_SIGKILL, .8, .op = OP_monitor_step);
    monitor_dies();
}

static void host_loses_power(void)
{
    fault(FAULT_CRASH_BEFORE_WRITE, .02, .op = OP_file_write);
    fault(FAULT_CRASH_AFTER_WRITE, .02, .op = OP_file_write);
    fault(FAULT_CRASH_IN_TRANSACTION, .1);
    monitor_dies();
}

/* ---- Through the store ---- */

static void remote_config(drupe_vm_config_t *cfg)
{
    box_config(cfg);
}

static drupe_vm_err_t out(struct box *b, drupe_store_t *s, const char *id,
                          enum drupe_package_kind kind)
{
    drupe_package_t p;
    struct drupe_error err;
    enum drupe_vm_state before = box_state(b);

    store_package(&p, id, kind);
    op_watch("teleport out", 120 * SIM_NS_PER_SEC);
    store_trouble(OP_teleport_upload, SIM_KIND(UPLOAD_FAIL));
    drupe_vm_err_t r = drupe_teleport_out(b->vm, s, &p, &err);

    sim_disk_trouble(0, 0, 0);
    sim_trace("teleport out %s: %s", id, drupe_vm_err_name(r));
    r = op_watched(r, &err);
    if (r == DRUPE_OK) {
        sim_check(box_state(b) == DRUPE_VM_STOPPED, "the source is %s",
                  drupe_vm_state_name(box_state(b)));
    } else {
        sim_check(box_state(b) == before || box_state(b) == DRUPE_VM_PAUSED ||
                      box_state(b) == DRUPE_VM_CRASHED,
                  "a failed teleport left the source %s", drupe_vm_state_name(box_state(b)));
    }
    sim_check(sx_lists(s, id) == (r == DRUPE_OK), "I6: %s after %s", id, drupe_vm_err_name(r));
    return r;
}

static drupe_vm_err_t in(struct box *b, drupe_store_t *s, const char *id)
{
    struct drupe_restore_target target = { .arch = "x86_64", .image_version = "1.4.2" };
    drupe_vm_config_t cfg;
    struct drupe_error err;

    memset(b, 0, sizeof(*b));
    remote_config(&cfg);
    op_watch("teleport in", 120 * SIM_NS_PER_SEC);
    store_trouble(OP_teleport_download, SIM_KIND(DOWNLOAD_FAIL));
    drupe_vm_err_t r = drupe_teleport_in(s, id, &target, &cfg, &b->vm, &err);

    sim_disk_trouble(0, 0, 0);
    sim_trace("teleport in %s: %s", id, drupe_vm_err_name(r));
    r = op_watched(r, &err);
    if (r == DRUPE_OK) {
        box_adopt(b);
    } else {
        sim_check(b->vm == NULL, "I5: a failed teleport left a VM");
    }
    sim_check(sim_disk_count(STORE_PATH "/incoming") == 0 || store_is_shared(),
              "something is left in incoming/");
    return r;
}

static bool is_teleport_error(drupe_vm_err_t r)
{
    switch (r) {
    case DRUPE_STORE_FAILED:
    case DRUPE_STORE_NOT_FOUND:
    case DRUPE_SNAPSHOT_FAILED:
    case DRUPE_SNAPSHOT_CORRUPTED:
    case DRUPE_RESTORE_FAILED:
    case DRUPE_PAUSE_FAILED:
        return true;
    default:
        return false;
    }
}

/* Start, work, out, destroy, in, go on. True when it came through. */
static bool travel(drupe_store_t *s, const char *id, enum drupe_package_kind kind)
{
    struct box b;
    struct box there;
    drupe_vm_err_t r = DRUPE_OK;

    start_new(&b);
    (void)box_exec(&b, 1000, NULL, ARGV("write", "luggage", id));
    r = out(&b, s, id, kind);
    sim_check(r == DRUPE_OK || is_teleport_error(r), "out: %s", drupe_vm_err_name(r));
    end(&b);
    if (r != DRUPE_OK) {
        return false;
    }
    r = in(&there, s, id);
    sim_check(r == DRUPE_OK || is_teleport_error(r), "in: %s", drupe_vm_err_name(r));
    if (r != DRUPE_OK) {
        return false;
    }
    bool is_running = box_resume(&there) == DRUPE_OK;

    if (is_running) {
        struct drupe_exec_output got;

        if (box_exec(&there, 1000, &got, ARGV("cat", "luggage")) == DRUPE_OK) {
            sim_check(got.result.exit_code != 0 || strcmp(got.stdout_bytes, id) == 0,
                      "I3: %s arrives with '%s'", id, got.stdout_bytes);
            drupe_exec_output_free(&got);
        }
    }
    end(&there);
    return is_running;
}

static void one_travel(void)
{
    drupe_store_t *s = NULL;
    struct box b;
    struct box there;
    uint8_t before[32];
    uint8_t after[32];

    store_watch(true);
    store_open(&s, 0);
    start_new(&b);
    box_prints(&b, "", ARGV("write", "f", "teleported"));
    must(box_pause(&b));
    box_digest(&b, before);
    must(out(&b, s, "p1", DRUPE_PACKAGE_TELEPORT));
    end(&b);
    must(in(&there, s, "p1"));
    box_digest(&there, after);
    sim_check(memcmp(before, after, 32) == 0, "I3: the VM changed on its way");
    must(box_resume(&there));
    box_prints(&there, "teleported", ARGV("cat", "f"));
    end(&there);
    drupe_store_close(s);
}

static void travels(unsigned least, enum drupe_package_kind kind)
{
    drupe_store_t *s = NULL;
    unsigned came = 0;

    store_watch(true);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, least) || round_wants(came == 0);) {
        char id[32];

        (void)snprintf(id, sizeof(id), "trip-%u", round);
        came += travel(s, id, kind) ? 1 : 0;
    }
    drupe_store_close(s);
}

static void twenty_travels(void)
{
    fault(FAULT_SNAPSHOT_FAIL, .2, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, .1, .op = OP_vm_restore);
    fault(FAULT_UPLOAD_FAIL, .2, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, .2, .op = OP_teleport_download);
    travels(20, DRUPE_PACKAGE_TELEPORT);
}

static void ten_travels(void)
{
    fault(FAULT_SNAPSHOT_FAIL, .2, .op = OP_vm_snapshot);
    fault(FAULT_UPLOAD_FAIL, .2, .op = OP_teleport_upload);
    travels(10, DRUPE_PACKAGE_TELEPORT);
}

static void out_and_in(void)
{
    fault(FAULT_UPLOAD_FAIL, .2, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, .2, .op = OP_teleport_download);
    fault(FAULT_SNAPSHOT_FAIL, .1, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, .1, .op = OP_vm_restore);
    travels(5, DRUPE_PACKAGE_TELEPORT);
}

static void suspends_with_crash(void)
{
    fault(FAULT_CRASH, .2, .op = OP_vm_exec);
    fault(FAULT_SNAPSHOT_FAIL, .2, .op = OP_vm_snapshot);
    drupe_store_t *s = NULL;

    store_watch(true);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, 10);) {
        struct box b;
        char id[32];

        (void)snprintf(id, sizeof(id), "suspend-%u", round);
        start_new(&b);
        (void)box_exec(&b, 1000, NULL, ARGV("count"));
        if (box_state(&b) == DRUPE_VM_RUNNING) {
            (void)out(&b, s, id, DRUPE_PACKAGE_SUSPEND);
        }
        end(&b);
    }
    drupe_store_close(s);
}

static void corruption_on_restore(void)
{
    drupe_store_t *s = NULL;

    fault(FAULT_SNAPSHOT_CORRUPT, .5, .op = OP_vm_snapshot);
    store_watch(false);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, 5);) {
        struct box b;
        struct box there;
        char id[32];
        char path[128];
        bool is_damaged = false;
        drupe_vm_err_t r = DRUPE_OK;

        (void)snprintf(id, sizeof(id), "damaged-%u", round);
        (void)snprintf(path, sizeof(path), STORE_PATH "/packages/%s", id);
        start_new(&b);
        must(out(&b, s, id, DRUPE_PACKAGE_TELEPORT));
        end(&b);
        if (sim_fault_draw(OP_vm_snapshot, SIM_KIND(SNAPSHOT_CORRUPT), NULL) != SIM_FAULT_NONE) {
            sim_disk_flip(path, sim_random_below(sim_disk_random(), (uint32_t)sim_disk_size(path)),
                          1);
            is_damaged = true;
        }
        r = in(&there, s, id);
        sim_check((r == DRUPE_OK) == !is_damaged, "a %s package: %s",
                  is_damaged ? "damaged" : "whole", drupe_vm_err_name(r));
        if (r == DRUPE_OK) {
            end(&there);
        }
    }
    drupe_store_close(s);
}

/* ---- Chaos and stress ---- */

static void chaos_faults(double p)
{
    fault(FAULT_BOOT_FAIL, p, .op = OP_vm_start);
    fault(FAULT_CRASH, p, .op = OP_vm_exec);
    fault(FAULT_PAUSE_FAIL, p, .op = OP_vm_pause);
    fault(FAULT_RESUME_FAIL, p, .op = OP_vm_resume);
    fault(FAULT_EXEC_FAIL, p, .op = OP_vm_exec);
    fault(FAULT_EXEC_TIMEOUT, p, .op = OP_vm_exec);
    fault(FAULT_SNAPSHOT_FAIL, p, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, p, .op = OP_vm_restore);
    fault(FAULT_UPLOAD_FAIL, p, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, p, .op = OP_teleport_download);
    fault(FAULT_VSOCK_RESET, p / 10, .op = OP_net_send);
    fault(FAULT_PAGE_STALL, p, .op = OP_vcpu_run, .param = 20);
}

static void chaos_workflow(drupe_store_t *s, unsigned n, unsigned *came)
{
    struct box b;
    struct box there;
    char id[32];

    (void)snprintf(id, sizeof(id), "flow-%u", n);
    start_new(&b);
    (void)box_exec(&b, 500, NULL, ARGV("count"));
    if (box_pause(&b) == DRUPE_OK) {
        (void)box_resume(&b);
    }
    (void)box_exec(&b, 500, NULL, ARGV("write", "f", id));
    if ((box_state(&b) == DRUPE_VM_RUNNING || box_state(&b) == DRUPE_VM_PAUSED) &&
        out(&b, s, id, DRUPE_PACKAGE_TELEPORT) == DRUPE_OK && in(&there, s, id) == DRUPE_OK) {
        *came += box_resume(&there) == DRUPE_OK ? 1 : 0;
        end(&there);
    }
    end(&b);
}

static void chaos_workflows(void)
{
    drupe_store_t *s = NULL;
    unsigned came = 0;

    chaos_faults(.1);
    store_watch(true);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, 20) || round_wants(came == 0);) {
        chaos_workflow(s, round, &came);
    }
    drupe_store_close(s);
}

static void chaos_ten_steps(void)
{
    drupe_store_t *s = NULL;
    unsigned came = 0;

    fault(FAULT_BOOT_FAIL, .1, .op = OP_vm_start);
    fault(FAULT_EXEC_FAIL, .1, .op = OP_vm_exec);
    fault(FAULT_SNAPSHOT_FAIL, .15, .op = OP_vm_snapshot);
    store_watch(true);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, 10);) {
        chaos_workflow(s, round, &came);
    }
    drupe_store_close(s);
}

static void stress_hundred_vms(void)
{
    fault(FAULT_EXEC_FAIL, .05, .op = OP_vm_exec);
    fault(FAULT_SNAPSHOT_FAIL, .05, .op = OP_vm_snapshot);
    fault(FAULT_PAUSE_FAIL, .05, .op = OP_vm_pause);
    for (unsigned i = 0; i < 100; i++) {
        struct box b;

        start_new(&b);
        for (unsigned n = 0; n < 10; n++) {
            (void)box_exec(&b, 1000, NULL, ARGV("count"));
        }
        (void)box_snapshot(&b, SNAP);
        if (box_pause(&b) == DRUPE_OK) {
            must(box_resume(&b));
        }
        end(&b);
    }
    uint64_t failed = sim_outcome()->tries - sim_outcome()->successes;

    sim_check(failed * 10 < sim_outcome()->tries * 3, "%llu of %llu operations failed",
              (unsigned long long)failed, (unsigned long long)sim_outcome()->tries);
}

struct crowd {
    drupe_store_t *store;
    unsigned came;
};

static void travel_task(unsigned index, void *ctx)
{
    struct crowd *c = ctx;
    char id[32];

    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(id, sizeof(id), "crowd-%u-%u", index, i);
        c->came += travel(c->store, id, DRUPE_PACKAGE_TELEPORT) ? 1 : 0;
    }
}

static void stress_travels(void)
{
    struct crowd c = { .came = 0 };

    fault(FAULT_SNAPSHOT_FAIL, .05, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, .05, .op = OP_vm_restore);
    store_watch(true);
    store_share(true);
    store_open(&c.store, 0);
    together(10, travel_task, &c);
    sim_check(c.came > 50, "%u of 100 teleports came through", c.came);
    drupe_store_close(c.store);
}

static void stress_service(void)
{
    drupe_store_t *s = NULL;
    unsigned came = 0;

    fault(FAULT_SNAPSHOT_FAIL, .2, .op = OP_vm_snapshot);
    fault(FAULT_RESTORE_FAIL, .2, .op = OP_vm_restore);
    fault(FAULT_UPLOAD_FAIL, .3, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, .3, .op = OP_teleport_download);
    store_watch(true);
    store_open(&s, 0);
    for (unsigned i = 0; i < 100; i++) {
        char id[32];

        (void)snprintf(id, sizeof(id), "stress-%u", i);
        came += travel(s, id, DRUPE_PACKAGE_TELEPORT) ? 1 : 0;
    }
    /* Four operations in a row succeed with .8 * .7 * .7 * .8 = .31 each. */
    sim_check(came >= 15, "%u of 100 came through", came);
    drupe_store_close(s);
}

static void stress_suspends(void)
{
    struct box b;
    unsigned ok = 0;

    fault(FAULT_SNAPSHOT_FAIL, .02, .op = OP_vm_snapshot);
    start_new(&b);
    for (unsigned i = 0; i < 500; i++) {
        must(box_pause(&b));
        ok += box_snapshot(&b, SNAP) == DRUPE_OK ? 1 : 0;
        must(box_resume(&b));
    }
    sim_check(ok > 400, "%u of 500 suspends succeeded", ok);
    end(&b);
}

static void stress_snapshots(void)
{
    struct box b;
    unsigned ok = 0;

    fault(FAULT_SNAPSHOT_FAIL, .03, .op = OP_vm_snapshot);
    start_new(&b);
    for (unsigned i = 0; i < 200; i++) {
        ok += box_snapshot(&b, SNAP) == DRUPE_OK ? 1 : 0;
    }
    sim_check(ok > 150, "%u of 200 snapshots succeeded", ok);
    end(&b);
}

const struct scenario scenarios_snapshot[] = {
    { "vm-teleport", "whole-way", 7001, one_travel, EACH },
    { "vm-teleport", "twenty-rounds", 7002, twenty_travels, SOME },
    { "vm-teleport", "ten-rounds-twice", 7010, ten_travels, SOME },
    { "snapshot-blob", "metadata-survives", 8101, metadata_survives, SOME },
    { "snapshot-blob", "newer-version-refused", 8102, newer_version, EACH },
    { "libkrun", "snapshot-change-restore", 0, snapshot_change_restore, EACH },
    { "libkrun", "twenty-snapshot-restore-pairs", 0, twenty_pairs, SOME },
    { "libkrun", "stress-hundred-vms", 0, stress_hundred_vms, FEW },
    { "libkrun", "snapshot-by-state", 0, snapshot_by_state, EACH },
    { "libkrun", "other-architecture", 0, other_architecture, EACH },
    { "libkrun", "other-memory-size", 0, other_size, EACH },
    { "libkrun-sandbox", "full-lifecycle", 0, full_lifecycle, EACH },
    { "libkrun-sandbox", "corrupted-snapshots-found", 0, corrupted_found, SOME },
    { "libkrun-sandbox", "usable-after-failure", 0, usable_after_failure, EACH },
    { "libkrun-sandbox", "restores-into-new", 0, restores_into_new, EACH },
    { "libkrun-sandbox", "seven-fault-kinds", 0, seven_kinds, SOME },
    { "libkrun-sandbox", "create-from-snapshot", 0, create_from_snapshot, EACH },
    { "sandbox", "lifecycle", 0, full_lifecycle, EACH },
    { "sandbox", "snapshot-restores-files", 12345, moves_data, EACH },
    { "sandbox", "hundred-files", 0, hundred_files, FEW },
    { "shared", "snapshot-moves-data", 777, moves_data, EACH },
    { "bug-hunt", "snapshot-by-state", 999, snapshot_by_state, EACH },
    { "bug-hunt", "fifty-files", 22222, fifty_files, EACH },
    { "bug-hunt", "restore-removes-changes", 33333, restore_removes_changes, EACH },
    { "snapshot-kinds", "suspend-with-crash", 0, suspends_with_crash, SOME },
    { "snapshot-kinds", "corruption-on-restore", 0, corruption_on_restore, SOME },
    { "snapshot-kinds", "determinism", 0, ten_travels, SOME },
    { "teleport-service", "out-and-in", 0, out_and_in, SOME },
    { "teleport-service", "stress-100", 0, stress_service, FEW },
    { "chaos", "twenty-workflows", 6001, chaos_workflows, FEW },
    { "chaos", "thirty-snapshot-restore", 6003, chaos_pairs, SOME },
    { "chaos", "ten-steps-twice", 6005, chaos_ten_steps, SOME },
    { "chaos", "stress-100-teleports", 6100, stress_travels, FEW },
    { "chaos", "stress-500-suspends", 6102, stress_suspends, FEW },
    { "chaos", "stress-200-snapshots", 6103, stress_snapshots, FEW },
    { "snapshot", "bad-disk", 0, on_a_bad_disk, SOME },
    { "snapshot", "lying-disk", 0, on_a_lying_disk, SOME },
    { "snapshot", "monitor-killed-at-any-step", 0, monitor_killed, SOME },
    { "snapshot", "host-loses-power", 0, host_loses_power, SOME },
    { NULL, NULL, 0, NULL, EACH },
};

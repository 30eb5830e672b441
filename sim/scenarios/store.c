/* SPDX-License-Identifier: Apache-2.0 */
/* The store: packages, rules, a faulty disk, loss of power. */
#include <stdio.h>
#include <string.h>

#include "../file.h"
#include "../store_check.h"
#include "../scenario.h"

#define BLOB_SIZE 20000u
#define ID_SIZE   64u

static void make_id(char id[ID_SIZE], const char *stem, unsigned n)
{
    (void)snprintf(id, ID_SIZE, "%s-%u", stem, n);
}

/* ---- Kinds and rules ---- */

static void round_trip(drupe_store_t *s, enum drupe_package_kind kind, unsigned n)
{
    static const char *const env[] = { "A=1", "B=two words", NULL };
    drupe_package_t p;
    drupe_package_t *got = NULL;
    char id[ID_SIZE];

    make_id(id, "trip", n);
    store_package(&p, id, kind);
    p.env = env;
    p.workspace = "git:abc";
    p.app_state = "state of the application";
    p.app_state_size = 24;
    if (kind != DRUPE_PACKAGE_CHECKPOINT) {
        store_blob_file("/tmp/blob", n, BLOB_SIZE);
        p.blob_path = "/tmp/blob";
    }
    must(sx_upload(s, &p));
    sim_check(sx_lists(s, id), "%s is not listed", id);
    must(sx_download(s, id, "/tmp/back", &got));
    sim_check(strcmp(got->owner, "owner") == 0 && got->kind == kind &&
                  strcmp(got->env[1], "B=two words") == 0 && got->env[2] == NULL &&
                  strcmp(got->workspace, "git:abc") == 0 && got->created_ms == p.created_ms &&
                  got->app_state_size == 24 &&
                  memcmp(got->app_state, "state of the application", 24) == 0,
              "%s comes back different", id);
    if (kind != DRUPE_PACKAGE_CHECKPOINT) {
        sim_check(store_blob_is("/tmp/back", n, BLOB_SIZE), "the blob of %s differs", id);
    }
    drupe_package_free(got);
    must_fail(sx_upload(s, &p), DRUPE_STORE_FAILED); /* the id exists */
    must(drupe_store_delete(s, id, NULL));
    must_fail(sx_download(s, id, NULL, &got), DRUPE_STORE_NOT_FOUND);
}

static void baseline(enum drupe_package_kind kind)
{
    drupe_store_t *s = NULL;

    store_watch(true);
    store_open(&s, 0);
    for (unsigned n = 0; n < 3; n++) {
        round_trip(s, kind, n);
    }
    drupe_store_close(s);
}

static void suspend_baseline(void)
{
    baseline(DRUPE_PACKAGE_SUSPEND);
}

static void teleport_baseline(void)
{
    baseline(DRUPE_PACKAGE_TELEPORT);
}

static void checkpoint_baseline(void)
{
    baseline(DRUPE_PACKAGE_CHECKPOINT);
}

static void architecture_rule(void)
{
    static const struct {
        enum drupe_package_kind kind;
        const char *from, *to;
        drupe_vm_err_t code;
    } cases[] = {
        { DRUPE_PACKAGE_TELEPORT, "x86_64", "x86_64", DRUPE_OK },
        { DRUPE_PACKAGE_TELEPORT, "x86_64", "amd64", DRUPE_OK },
        { DRUPE_PACKAGE_TELEPORT, "arm64", "aarch64", DRUPE_OK },
        { DRUPE_PACKAGE_TELEPORT, "x86_64", "aarch64", DRUPE_ARCH_MISMATCH },
        { DRUPE_PACKAGE_SUSPEND, "aarch64", "amd64", DRUPE_ARCH_MISMATCH },
        { DRUPE_PACKAGE_CHECKPOINT, "x86_64", "aarch64", DRUPE_OK },
        { DRUPE_PACKAGE_CHECKPOINT, "x86_64", "mips", DRUPE_CONFIG_INVALID },
    };

    drupe_store_t *s = NULL;

    store_watch(true);
    store_open(&s, 0);
    for (unsigned i = 0; i < array_size(cases); i++) {
        drupe_package_t p;
        drupe_package_t *got = NULL;
        char id[ID_SIZE];

        make_id(id, "arch", i);
        store_package(&p, id, cases[i].kind);
        p.arch = cases[i].from;
        must(sx_upload(s, &p));
        must_fail(sx_restore(s, id, cases[i].to, "1.4.2", NULL, &got), cases[i].code);
        drupe_package_free(got);
    }
    drupe_store_close(s);
}

static void version_rule(void)
{
    static const struct {
        const char *made, *here;
        drupe_vm_err_t code;
        bool is_patch_different;
    } cases[] = {
        { "1.4.2", "1.4.2", DRUPE_OK, false },
        { "1.4.2", "1.4.9", DRUPE_OK, true },
        { "1.4.2-beta", "1.4.2+x", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2-beta", "1.4.2-rc1", DRUPE_OK, false },
        { "1.4.2", "1.5.2", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2", "2.4.2", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2", "1.4", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2", "latest", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2", "", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2", "01.4.2", DRUPE_IMAGE_MISMATCH, false },
        { "1.4.2", "1.4.99999999999", DRUPE_IMAGE_MISMATCH, false },
    };

    for (unsigned i = 0; i < array_size(cases); i++) {
        bool is_different = false;

        must_fail(drupe_image_version_check(cases[i].made, cases[i].here, &is_different, NULL),
                  cases[i].code);
        sim_check(is_different == cases[i].is_patch_different, "patch of %s and %s", cases[i].made,
                  cases[i].here);
    }
}

/* The mismatch is the fault's: the answer must be the code that belongs to it, and only then. */
static void injected_mismatch(enum sim_fault kind, enum sim_op op, drupe_vm_err_t code)
{
    drupe_store_t *s = NULL;
    drupe_package_t p;
    unsigned refused = 0;
    unsigned ok = 0;

    store_watch(true);
    unsigned rule = fault(kind, .5, .op = op);

    store_open(&s, 0);
    store_blob_file("/tmp/blob", 1, BLOB_SIZE);
    store_package(&p, "one", DRUPE_PACKAGE_TELEPORT);
    p.blob_path = "/tmp/blob";
    must(sx_upload(s, &p));
    for (unsigned round = 0; round_goes_on(&round, 20);) {
        drupe_package_t *got = NULL;
        drupe_vm_err_t r = sx_restore(s, "one", "x86_64", "1.4.2", "/tmp/back", &got);

        sim_check(r == DRUPE_OK || r == code, "restore: %s", drupe_vm_err_name(r));
        refused += r == code ? 1 : 0;
        ok += r == DRUPE_OK ? 1 : 0;
        drupe_package_free(got);
    }
    sim_check(refused == sim_fault_stats(rule).fired, "I4: %u refused, %llu mismatches", refused,
              (unsigned long long)sim_fault_stats(rule).fired);
    drupe_store_close(s);
    (void)ok;
}

static void injected_arch(void)
{
    injected_mismatch(FAULT_ARCH_MISMATCH, OP_teleport_restore_validate, DRUPE_ARCH_MISMATCH);
}

static void injected_image(void)
{
    injected_mismatch(FAULT_IMAGE_MISMATCH, OP_teleport_image_validate, DRUPE_IMAGE_MISMATCH);
}

/* ---- Operations that fail ---- */

static void uploads_fail(enum drupe_package_kind kind, unsigned least, double p_fail)
{
    drupe_store_t *s = NULL;
    unsigned stored = 0;

    fault(FAULT_UPLOAD_FAIL, p_fail, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, p_fail, .op = OP_teleport_download);
    store_watch(true);
    store_open(&s, 0);
    store_blob_file("/tmp/blob", 7, BLOB_SIZE);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        drupe_package_t p;
        drupe_package_t *got = NULL;
        char id[ID_SIZE];

        make_id(id, "p", round);
        store_package(&p, id, kind);
        p.blob_path = kind == DRUPE_PACKAGE_CHECKPOINT ? NULL : "/tmp/blob";
        p.app_state = "s";
        p.app_state_size = 1;
        drupe_vm_err_t r = sx_upload(s, &p);

        sim_check(r == DRUPE_OK || r == DRUPE_STORE_FAILED, "upload: %s", drupe_vm_err_name(r));
        sim_check(sx_lists(s, id) == (r == DRUPE_OK), "I6: %s after %s", id, drupe_vm_err_name(r));
        stored += r == DRUPE_OK ? 1 : 0;
        r = sx_download(s, id, "/tmp/back", &got);
        sim_check(r == DRUPE_OK || r == DRUPE_STORE_FAILED || r == DRUPE_STORE_NOT_FOUND,
                  "download: %s", drupe_vm_err_name(r));
        if (r == DRUPE_OK && kind != DRUPE_PACKAGE_CHECKPOINT) {
            sim_check(store_blob_is("/tmp/back", 7, BLOB_SIZE), "a wrong blob");
        }
        drupe_package_free(got);
    }
    sim_check(sim_disk_count(STORE_PATH "/packages") == stored, "I6: %u packages, %u stored",
              sim_disk_count(STORE_PATH "/packages"), stored);
    sim_check(sim_disk_count(STORE_PATH "/incoming") == 0, "something is left in incoming/");
    drupe_store_close(s);
}

static void ten_uploads(void)
{
    uploads_fail(DRUPE_PACKAGE_TELEPORT, 10, .5);
}

static void teleport_store_faults(void)
{
    uploads_fail(DRUPE_PACKAGE_TELEPORT, 20, .3);
}

static void checkpoint_faults(void)
{
    uploads_fail(DRUPE_PACKAGE_CHECKPOINT, 20, .2);
}

static void timeouts(void)
{
    drupe_store_t *s = NULL;
    unsigned late = 0;

    fault(FAULT_TELEPORT_TIMEOUT, .4);
    store_watch(true);
    store_open(&s, 5000);
    store_blob_file("/tmp/blob", 3, 200000);
    for (unsigned round = 0; round_goes_on(&round, 10) || round_wants(late == 0);) {
        drupe_package_t p;
        drupe_package_t *got = NULL;
        char id[ID_SIZE];

        make_id(id, "slow", round);
        store_package(&p, id, DRUPE_PACKAGE_TELEPORT);
        p.blob_path = "/tmp/blob";
        drupe_vm_err_t r = sx_upload(s, &p);

        sim_check(r == DRUPE_OK || r == DRUPE_STORE_TIMEOUT, "upload: %s", drupe_vm_err_name(r));
        late += r == DRUPE_STORE_TIMEOUT ? 1 : 0;
        sim_check(sx_lists(s, id) == (r == DRUPE_OK), "I6: a late upload is visible");
        r = sx_download(s, id, "/tmp/back", &got);
        late += r == DRUPE_STORE_TIMEOUT ? 1 : 0;
        drupe_package_free(got);
    }
    drupe_store_close(s);
}

static void too_large(void)
{
    struct drupe_store_options options = { .struct_size = sizeof(options),
                                           .package_size_max = 10000 };
    drupe_store_t *s = NULL;
    drupe_package_t p;

    must(drupe_store_open(STORE_PATH, &options, &s, NULL));
    store_blob_file("/tmp/blob", 3, BLOB_SIZE);
    store_package(&p, "large", DRUPE_PACKAGE_TELEPORT);
    p.blob_path = "/tmp/blob";
    must_fail(sx_upload(s, &p), DRUPE_STORE_TOO_LARGE);
    must_fail(drupe_store_blob_upload(s, "large", "/tmp/blob", NULL), DRUPE_STORE_TOO_LARGE);
    sim_check(!sx_lists(s, "large"), "a package that is too large is stored");
    drupe_store_close(s);
}

/* ---- A disk that lies ---- */

static void damage_is_found(unsigned least)
{
    drupe_store_t *s = NULL;
    unsigned wrong = 0;
    unsigned found = 0;

    store_watch(false);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        drupe_package_t p;
        drupe_package_t *got = NULL;
        char id[ID_SIZE];

        make_id(id, "blob", round);
        store_blob_file("/tmp/blob", round, BLOB_SIZE);
        store_package(&p, id, DRUPE_PACKAGE_TELEPORT);
        p.blob_path = "/tmp/blob";
        if (sx_upload(s, &p) == DRUPE_OK) {
            drupe_vm_err_t r = sx_download(s, id, "/tmp/back", &got);

            /* What was read for the upload may be damaged, too: then the stored blob is another,
             * which only the source could tell. The faults below leave reads of the source alone.
             */
            if (r == DRUPE_OK) {
                wrong += got->blob_size == BLOB_SIZE ? 0 : 1;
            } else {
                found++;
            }
        }
        drupe_package_free(got);
        if (sim_disk_size("/tmp/back") >= 0) {
            (void)!drupe_store_delete(s, id, NULL);
        }
    }
    sim_check(wrong == 0, "%u blobs came back with another size", wrong);
    (void)found;
    drupe_store_close(s);
}

/* 50 blobs; the damage is done to the stored file by the scenario itself: zero may pass. */
static void fifty_blobs(void)
{
    drupe_store_t *s = NULL;
    unsigned rule = fault(FAULT_SNAPSHOT_CORRUPT, .3, .op = OP_teleport_blob_download);
    unsigned detected = 0;

    fault(FAULT_PARTIAL_WRITE, .2, .op = OP_file_write, .param = 50);
    store_watch(false);
    store_open(&s, 0);
    for (unsigned round = 0; round_goes_on(&round, 50);) {
        drupe_package_t p;
        drupe_package_t *got = NULL;
        char id[ID_SIZE];
        char path[128];
        drupe_vm_err_t r = DRUPE_OK;

        make_id(id, "blob", round);
        (void)snprintf(path, sizeof(path), STORE_PATH "/packages/%s", id);
        store_blob_file("/tmp/blob", round, BLOB_SIZE);
        store_package(&p, id, DRUPE_PACKAGE_TELEPORT);
        p.blob_path = "/tmp/blob";
        must(sx_upload(s, &p));
        if (sim_fault_draw(OP_teleport_blob_download, SIM_KIND(SNAPSHOT_CORRUPT), NULL) !=
            SIM_FAULT_NONE) {
            sim_disk_flip(path, sim_random_below(sim_disk_random(), (uint32_t)sim_disk_size(path)),
                          sim_random_below(sim_disk_random(), 8));
        }
        r = sx_download(s, id, "/tmp/back", &got);
        if (r == DRUPE_OK) {
            sim_check(store_blob_is("/tmp/back", round, BLOB_SIZE), "undetected damage");
        } else {
            sim_check(r == DRUPE_SNAPSHOT_CORRUPTED || r == DRUPE_IMAGE_MISMATCH, "damage: %s",
                      drupe_vm_err_name(r));
            detected++;
        }
        drupe_package_free(got);
    }
    sim_check(detected == sim_fault_stats(rule).fired, "%u of %llu damages found", detected,
              (unsigned long long)sim_fault_stats(rule).fired);
    drupe_store_close(s);
}

static void storage_errors(void)
{
    fault(FAULT_WRITE_FAIL, .05);
    fault(FAULT_READ_FAIL, .05);
    fault(FAULT_DISK_FULL, .05);
    fault(FAULT_FSYNC_FAIL, .1);
    fault(FAULT_STORAGE_LATENCY, .05);
    fault(FAULT_SHORT_READ, .2);
    fault(FAULT_PARTIAL_WRITE, .2, .param = 100);
    damage_is_found(60);
}

static void storage_damage(void)
{
    fault(FAULT_STORAGE_CORRUPT, .03);
    fault(FAULT_MISDIRECTED_WRITE, .03);
    damage_is_found(60);
}

/* ---- Loss of power ---- */

struct writer {
    unsigned first;
    unsigned told; /* uploads that were answered with success */
};

static void write_packages(void *arg)
{
    struct writer *w = arg;
    struct drupe_store_options options = { .struct_size = sizeof(options) };
    drupe_store_t *s = NULL;

    if (drupe_store_open(STORE_PATH, &options, &s, NULL) != DRUPE_OK) {
        return;
    }
    for (unsigned n = 0; n < 10; n++) {
        drupe_package_t p;
        char id[ID_SIZE];

        make_id(id, "p", w->first + n);
        store_package(&p, id, DRUPE_PACKAGE_SUSPEND);
        p.blob_path = "/tmp/blob";
        if (drupe_store_upload(s, &p, NULL) != DRUPE_OK) {
            break;
        }
        w->told = w->first + n + 1;
    }
    drupe_store_close(s);
}

/* The host loses power, or the process is killed, at any write: what was promised is there, what is
 * there is whole, and the store opens. */
static void crashes(void)
{
    drupe_store_t *s = NULL;
    struct writer w = { .first = 0 };

    store_watch(true);
    store_open(&s, 0);
    drupe_store_close(s);
    store_blob_file("/tmp/blob", 1, 9000);
    for (unsigned round = 0; round_goes_on(&round, 10); w.first += 10) {
        w.told = w.first;
        unsigned proc = sim_proc_spawn("writer", write_packages, &w);

        if (sim_fault_draw(OP_monitor_step, SIM_KIND(SIGKILL), NULL) != SIM_FAULT_NONE) {
            sim_proc_kill_after(proc, sim_random_below(sim_scenario_random(), 200) + 1);
        }
        sim_proc_wait(proc);
        store_open(&s, 0);
        for (unsigned n = w.first; n < w.first + 10; n++) {
            drupe_package_t *got = NULL;
            char id[ID_SIZE];

            make_id(id, "p", n);
            if (n < w.told || sx_lists(s, id)) {
                sim_faults_pause(true);
                must(sx_download(s, id, "/tmp/back", &got));
                sim_faults_pause(false);
                sim_check(store_blob_is("/tmp/back", 1, 9000), "I6: %s is not whole", id);
                drupe_package_free(got);
            }
        }
        sim_check(sim_disk_count(STORE_PATH "/incoming") == 0, "incoming/ was not swept");
        drupe_store_close(s);
    }
}

static void crashes_at_writes(void)
{
    fault(FAULT_CRASH_BEFORE_WRITE, .02, .op = OP_file_write);
    fault(FAULT_CRASH_AFTER_WRITE, .02, .op = OP_file_write);
    crashes();
}

static void crashes_in_transactions(void)
{
    fault(FAULT_CRASH_IN_TRANSACTION, .05);
    fault(FAULT_UNFLUSHED_LOSS, .5, .op = OP_power_loss);
    crashes();
}

static void killed_at_any_step(void)
{
    fault(FAULT_SIGKILL, .8, .op = OP_monitor_step);
    crashes();
}

/* ---- Several at once ---- */

static void owner_task(unsigned index, void *ctx)
{
    drupe_store_t *s = ctx;
    char owner[ID_SIZE];
    char blob[ID_SIZE];
    char back[ID_SIZE];

    make_id(owner, "owner", index);
    make_id(blob, "/tmp/blob", index);
    make_id(back, "/tmp/back", index);
    store_blob_file(blob, 100 + index, BLOB_SIZE);
    for (unsigned n = 0; n < 5; n++) {
        drupe_package_t p;
        drupe_package_t *got = NULL;
        char id[ID_SIZE];

        (void)snprintf(id, sizeof(id), "owner-%u-%u", index, n);
        store_package(&p, id, DRUPE_PACKAGE_TELEPORT);
        p.owner = owner;
        p.blob_path = blob;
        if (sx_upload(s, &p) == DRUPE_OK && sx_download(s, id, back, &got) == DRUPE_OK) {
            sim_check(strcmp(got->owner, owner) == 0 && store_blob_is(back, 100 + index, BLOB_SIZE),
                      "%s got another's package", owner);
        }
        drupe_package_free(got);
    }
}

static void five_owners(void)
{
    drupe_store_t *s = NULL;
    char **ids = NULL;
    size_t count = 0;

    fault(FAULT_UPLOAD_FAIL, .1, .op = OP_teleport_upload, .is_optional = true);
    fault(FAULT_DOWNLOAD_FAIL, .1, .op = OP_teleport_download, .is_optional = true);
    store_watch(true);
    store_open(&s, 0);
    together(5, owner_task, s);
    must(drupe_store_list(s, "owner-3", &ids, &count, NULL));
    for (size_t i = 0; i < count; i++) {
        sim_check(strncmp(ids[i], "owner-3-", 8) == 0, "%s is listed for owner-3", ids[i]);
    }
    drupe_store_list_free(ids, count);
    drupe_store_close(s);
}

static void blobs(void)
{
    drupe_store_t *s = NULL;
    struct drupe_error err;

    store_open(&s, 0);
    store_blob_file("/tmp/blob", 9, BLOB_SIZE);
    must(drupe_store_blob_upload(s, "b", "/tmp/blob", &err));
    must(drupe_store_blob_download(s, "b", "/tmp/back", &err));
    sim_check(store_blob_is("/tmp/back", 9, BLOB_SIZE), "a blob comes back different");
    sim_disk_flip(STORE_PATH "/blobs/b", 77, 3);
    must_fail(drupe_store_blob_download(s, "b", "/tmp/again", &err), DRUPE_SNAPSHOT_CORRUPTED);
    sim_check(sim_disk_size("/tmp/again") < 0, "a damaged blob was left behind");
    must(drupe_store_blob_delete(s, "b", &err));
    must_fail(drupe_store_blob_download(s, "b", "/tmp/again", &err), DRUPE_STORE_NOT_FOUND);
    must_fail(drupe_store_blob_download(s, "../main", "/tmp/again", &err), DRUPE_CONFIG_INVALID);
    drupe_store_close(s);
}

const struct scenario scenarios_store[] = {
    { "snapshot-kinds", "suspend-package", 0, suspend_baseline, EACH },
    { "snapshot-kinds", "teleport-package", 0, teleport_baseline, EACH },
    { "snapshot-kinds", "teleport-store-faults", 0, teleport_store_faults, EACH },
    { "snapshot-kinds", "checkpoint-baseline", 0, checkpoint_baseline, EACH },
    { "snapshot-kinds", "checkpoint-state-faults", 0, checkpoint_faults, EACH },
    { "snapshot-kinds", "architecture-rule", 0, architecture_rule, EACH },
    { "snapshot-kinds", "architecture-injected", 0, injected_arch, EACH },
    { "snapshot-kinds", "version-rule", 0, version_rule, EACH },
    { "snapshot-kinds", "version-injected", 0, injected_image, EACH },
    { "snapshot-blob", "fifty-through-faulty-store", 8103, fifty_blobs, SOME },
    { "teleport-service", "ten-uploads", 0, ten_uploads, EACH },
    { "teleport-service", "five-owners", 0, five_owners, EACH },
    { "teleport-service", "crash-at-writes", 0, crashes_at_writes, SOME },
    { "teleport-service", "crash-in-transactions", 0, crashes_in_transactions, SOME },
    { "teleport-service", "monitor-killed-at-any-step", 0, killed_at_any_step, SOME },
    { "store", "timeouts", 0, timeouts, EACH },
    { "store", "too-large", 0, too_large, EACH },
    { "store", "storage-errors", 0, storage_errors, EACH },
    { "store", "storage-damage", 0, storage_damage, EACH },
    { "store", "blobs", 0, blobs, EACH },
    { NULL, NULL, 0, NULL, EACH },
};

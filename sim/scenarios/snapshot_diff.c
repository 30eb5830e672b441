/* SPDX-License-Identifier: Apache-2.0 */
/* Incremental snapshots and their bases, live ones, memory in a file of its own. */
#include <stdio.h>
#include <string.h>

#include "../file.h"
#include "../machine.h"
#include "../scenario.h"
#include "vm_internal.h"

#define LINKS    4u
#define CHAIN    "/tmp/chain"
#define STATE    "/tmp/two.state"
#define MEMORY   "/tmp/two.mem"
#define HASH     32u
#define DIGESTED "/tmp/live"

static void start_tracked(struct box *b)
{
    for (unsigned i = 0; i < 1000; i++) {
        drupe_vm_config_t cfg;

        box_config(&cfg);
        cfg.is_dirty_tracked = true;
        must(box_create(b, &cfg));
        if (box_start(b) == DRUPE_OK) {
            return;
        }
        box_destroy(b);
    }
    sim_fail("it does not start");
}

static void end(struct box *b)
{
    if (box_state(b) == DRUPE_VM_RUNNING || box_state(b) == DRUPE_VM_PAUSED) {
        (void)box_stop(b, 0);
    }
    box_destroy(b);
}

static drupe_vm_err_t take(struct box *b, const struct drupe_snapshot_options *options)
{
    struct drupe_error err;
    enum drupe_vm_state before = box_state(b);
    drupe_vm_err_t r = DRUPE_OK;

    op_watch("snapshot", SIM_OP_LIMIT_NS);
    r = op_watched(drupe_vm_snapshot(b->vm, options, NULL, &err), &err);
    sim_trace("snapshot %s: %s", options->path, drupe_vm_err_name(r));
    sim_check(box_state(b) == before || ((unsigned)box_state(b) & DRUPE_VM_ENDED) != 0,
              "I2: a snapshot moved the VM to %s", drupe_vm_state_name(box_state(b)));
    return r;
}

static drupe_vm_err_t take_link(struct box *b, const char *path, bool is_diff, bool is_live)
{
    const struct drupe_snapshot_options options = {
        .struct_size = sizeof(options),
        .kind = is_diff ? DRUPE_SNAPSHOT_DIFF : DRUPE_SNAPSHOT_FULL,
        .is_live = is_live,
        .path = path,
        .fd = -1,
        .memory_fd = -1,
    };

    return take(b, &options);
}

static void link_path(char out[32], unsigned i)
{
    (void)snprintf(out, 32, CHAIN "%u", i);
}

/* Something happens in the guest between two snapshots. */
static void live_on(struct box *b, unsigned i)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "file%u", i % 3);
    if (i % 3 == 2) {
        (void)box_exec(b, 2000, NULL, ARGV("rm", "file1"));
    }
    (void)box_exec(b, 2000, NULL, ARGV("write", name, "some text that grows and shrinks"));
    (void)box_exec(b, 2000, NULL, ARGV("count"));
    sim_sleep(sim_random_below(sim_scenario_random(), 200) * SIM_NS_PER_MS);
}

static drupe_vm_err_t restore(struct box *b, const char *path, const char *memory_path)
{
    const struct drupe_restore_options options = { .struct_size = sizeof(options),
                                                   .path = path,
                                                   .fd = -1,
                                                   .memory_path = memory_path,
                                                   .memory_fd = -1 };
    struct drupe_error err;
    drupe_vm_config_t cfg;
    drupe_vm_err_t r = DRUPE_OK;

    memset(b, 0, sizeof(*b));
    box_config(&cfg);
    cfg.is_dirty_tracked = true;
    op_watch("create from snapshot", SIM_OP_LIMIT_NS);
    r = op_watched(drupe_vm_create_from_snapshot(&cfg, &options, &b->vm, &err), &err);
    sim_check(r == DRUPE_OK || b->vm == NULL, "I5: a failed restore left a VM");
    if (r == DRUPE_OK) {
        box_adopt(b);
    }
    return r;
}

/* I3 of one link. */
static void must_be(const char *path, const char *memory_path, const uint8_t digest[HASH])
{
    struct box b;
    uint8_t restored[HASH];

    must(restore(&b, path, memory_path));
    box_digest(&b, restored);
    sim_check(memcmp(restored, digest, HASH) == 0, "I3: %s is another machine", path);
    end(&b);
}

struct chain {
    uint8_t digests[LINKS][HASH];
    bool is_there[LINKS];
};

/* A full snapshot and diffs, each at a moment that is known. What fails is left out, and its pages
 * are in the next one. */
static void take_chain(struct box *b, struct chain *c, bool is_live)
{
    bool has_base = false;

    memset(c, 0, sizeof(*c));
    for (unsigned i = 0; i < LINKS; i++) {
        char path[32];

        live_on(b, i);
        link_path(path, i);
        if (box_pause(b) != DRUPE_OK) {
            continue;
        }
        box_digest(b, c->digests[i]);
        c->is_there[i] = take_link(b, path, has_base, is_live) == DRUPE_OK;
        has_base = has_base || c->is_there[i];
        sim_check((sim_disk_size(path) >= 0) == c->is_there[i], "I5: %s", path);
        (void)box_resume(b);
    }
}

static void check_chain(const struct chain *c)
{
    for (unsigned i = 0; i < LINKS; i++) {
        char path[32];

        link_path(path, i);
        if (c->is_there[i]) {
            must_be(path, NULL, c->digests[i]);
        }
    }
}

static void drop_chain(void)
{
    for (unsigned i = 0; i < LINKS; i++) {
        char path[32];

        link_path(path, i);
        sim_disk_remove(path);
    }
}

static void chain(void)
{
    struct box b;
    struct chain c;

    start_tracked(&b);
    must_fail(take_link(&b, CHAIN "0", true, false), DRUPE_CONFIG_INVALID); /* there is no base */
    take_chain(&b, &c, false);
    must(box_pause(&b));
    must_fail(take_link(&b, CHAIN "3", true, false), DRUPE_CONFIG_INVALID); /* its own base */
    end(&b);
    check_chain(&c);
}

/* A restored machine takes diffs of what it was restored from. */
static void chain_goes_on(void)
{
    struct box b;
    struct chain c;
    uint8_t digest[HASH];

    start_tracked(&b);
    take_chain(&b, &c, false);
    end(&b);
    must(restore(&b, CHAIN "3", NULL));
    must(box_resume(&b));
    live_on(&b, 1);
    must(box_pause(&b));
    box_digest(&b, digest);
    must(take_link(&b, "/tmp/later", true, false));
    end(&b);
    must_be("/tmp/later", NULL, digest);
    check_chain(&c);
}

static void chain_on_bad_disk(void)
{
    fault(FAULT_WRITE_FAIL, .03, .op = OP_file_write);
    fault(FAULT_DISK_FULL, .03, .op = OP_file_write);
    fault(FAULT_PARTIAL_WRITE, .1, .op = OP_file_write, .param = 100);
    fault(FAULT_FSYNC_FAIL, .1);
    fault(FAULT_SNAPSHOT_FAIL, .1, .op = OP_vm_snapshot);
    for (unsigned round = 0; round_goes_on(&round, 3);) {
        struct box b;
        struct chain c;

        start_tracked(&b);
        take_chain(&b, &c, sim_random_below(sim_scenario_random(), 2) == 0);
        end(&b);
        sim_faults_pause(true);
        check_chain(&c);
        drop_chain();
        sim_faults_pause(false);
    }
}

/* ---- Loss of power, SIGKILL ---- */

static void run_chain(void *arg)
{
    struct box b;

    start_tracked(&b);
    take_chain(&b, arg, false);
    end(&b);
}

/* What was answered with success is there and whole, with all that it builds on; what was not is
 * whole or absent. */
static void chain_dies(void)
{
    for (unsigned round = 0; round_goes_on(&round, 6);) {
        static struct chain c;
        unsigned proc = 0;

        memset(&c, 0, sizeof(c));
        proc = sim_proc_spawn("monitor", run_chain, &c);
        if (sim_fault_draw(OP_monitor_step, SIM_KIND(SIGKILL), NULL) != SIM_FAULT_NONE) {
            sim_proc_kill_after(proc, 1 + sim_random_below(sim_scenario_random(), 1500));
        }
        sim_proc_wait(proc);
        box_forget();
        sim_faults_pause(true);
        check_chain(&c);
        for (unsigned i = 0; i < LINKS; i++) {
            char path[32];
            struct box b;

            link_path(path, i);
            if (!c.is_there[i] && sim_disk_size(path) >= 0) {
                must(restore(&b, path, NULL));
                end(&b);
            }
        }
        drop_chain();
        sim_faults_pause(false);
    }
}

static void chain_killed(void)
{
    fault(FAULT_SIGKILL, .8, .op = OP_monitor_step);
    chain_dies();
}

static void chain_without_power(void)
{
    fault(FAULT_CRASH_BEFORE_WRITE, .01, .op = OP_file_write);
    fault(FAULT_CRASH_AFTER_WRITE, .01, .op = OP_file_write);
    fault(FAULT_CRASH_IN_TRANSACTION, .05);
    chain_dies();
}

/* ---- Broken bases ---- */

static void copy(const char *from, const char *to)
{
    size_t size = 0;
    void *bytes = sim_disk_get(from, &size);

    sim_check(bytes != NULL, "no %s", from);
    sim_disk_put(to, bytes, size, S_IFREG | 0600);
    sim_free(bytes);
}

static void broken_bases(void)
{
    struct box b;
    struct box other;
    struct chain c;
    drupe_vm_err_t r = DRUPE_OK;

    start_tracked(&b);
    take_chain(&b, &c, false);
    end(&b);
    /* moved, all of it, under other names: found by its id */
    sim_disk_mkdir("/moved");
    for (unsigned i = 0; i < LINKS; i++) {
        char path[32];
        char to[32];

        link_path(path, i);
        (void)snprintf(to, sizeof(to), "/moved/%u", LINKS - i);
        copy(path, to);
        sim_disk_remove(path);
    }
    must_be("/moved/1", NULL, c.digests[3]);
    /* a link is missing */
    copy("/moved/3", "/kept");
    sim_disk_remove("/moved/3");
    must_fail(restore(&other, "/moved/1", NULL), DRUPE_NOT_FOUND);
    must_be("/moved/4", NULL, c.digests[0]);
    /* another one is in its place */
    start_tracked(&b);
    must(take_link(&b, CHAIN "1", false, false));
    end(&b);
    must_fail(restore(&other, "/moved/1", NULL), DRUPE_IMAGE_MISMATCH);
    /* damaged */
    copy("/kept", "/moved/3");
    must_be("/moved/1", NULL, c.digests[3]);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t size = (uint32_t)sim_disk_size("/moved/3");
        size_t at = sim_random_below(sim_scenario_random(), size);
        unsigned bit = sim_random_below(sim_scenario_random(), 8);

        sim_disk_flip("/moved/3", at, bit);
        r = restore(&other, "/moved/1", NULL);
        if (r == DRUPE_OK) { /* a hole's bit, which no run names */
            uint8_t digest[HASH];

            box_digest(&other, digest);
            sim_check(memcmp(digest, c.digests[3], HASH) == 0, "I3: damage passed unnoticed");
            end(&other);
        } else {
            sim_check(r == DRUPE_SNAPSHOT_CORRUPTED || r == DRUPE_IMAGE_MISMATCH ||
                          r == DRUPE_NOT_FOUND || r == DRUPE_CONFIG_INVALID,
                      "a damaged base: %s", drupe_vm_err_name(r));
        }
        sim_disk_flip("/moved/3", at, bit);
    }
    must_be("/moved/1", NULL, c.digests[3]);
}

/* ---- Live ---- */

static unsigned counted(struct box *b)
{
    struct drupe_exec_output out;
    unsigned n = 0;

    must(box_exec(b, 5000, &out, ARGV("count")));
    (void)sscanf(out.stdout_bytes, "%u", &n); // NOLINT(cert-err34-c): the guest's own digits
    drupe_exec_output_free(&out);
    return n;
}

struct alive {
    struct box *b;
    bool is_over;
    unsigned most;
};

static void live_part(unsigned index, void *ctx)
{
    struct alive *a = ctx;

    if (index == 1) {
        while (!a->is_over) {
            struct drupe_exec_output out;

            if (box_exec(a->b, 5000, &out, ARGV("count")) == DRUPE_OK) {
                (void)sscanf(out.stdout_bytes, "%u", &a->most); // NOLINT(cert-err34-c): the same
                drupe_exec_output_free(&out);
            }
        }
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned before = a->most;
        struct box other;

        must(take_link(a->b, DIGESTED, i % 2 == 1, true));
        if (i % 2 == 0) {
            copy(DIGESTED, "/tmp/base");
            sim_disk_remove(DIGESTED);
        }
        must(restore(&other, i % 2 == 0 ? "/tmp/base" : DIGESTED, NULL));
        must(box_resume(&other));
        unsigned n = counted(&other);

        sim_check(n > before && n <= a->most + 2, "counted %u, between %u and %u", n, before,
                  a->most);
        end(&other);
    }
    a->is_over = true;
}

/* The guest goes on meanwhile; what is restored lies between before and after. */
static void live(void)
{
    struct box b;
    struct alive a = { .b = &b };

    start_tracked(&b);
    b.is_shared = true;
    together(2, live_part, &a);
    end(&b);
}

/* ---- Two files ---- */

static void two_files(void)
{
    const struct drupe_snapshot_options options = { .struct_size = sizeof(options),
                                                    .path = STATE,
                                                    .fd = -1,
                                                    .memory_path = MEMORY,
                                                    .memory_fd = -1 };
    struct box b;
    struct box other;
    uint8_t digest[HASH];
    uint32_t size = 0;

    start_tracked(&b);
    live_on(&b, 0);
    must(box_pause(&b));
    box_digest(&b, digest);
    must(take(&b, &options));
    end(&b);
    must_be(STATE, MEMORY, digest);
    must_fail(restore(&other, STATE, NULL), DRUPE_CONFIG_INVALID);
    must_fail(restore(&other, STATE, "/tmp/nothing"), DRUPE_NOT_FOUND);
    must_fail(restore(&other, STATE, STATE), DRUPE_SNAPSHOT_CORRUPTED);
    size = (uint32_t)sim_disk_size(MEMORY);
    sim_disk_flip(MEMORY, (64u << 10) + sim_random_below(sim_scenario_random(), 4096), 3);
    sim_check(size > 0, "an empty memory file");
    drupe_vm_err_t r = restore(&other, STATE, MEMORY);

    if (r == DRUPE_OK) {
        uint8_t now[HASH];

        box_digest(&other, now);
        sim_check(memcmp(now, digest, HASH) == 0, "I3: damage passed unnoticed");
        end(&other);
    } else {
        sim_check(r == DRUPE_SNAPSHOT_CORRUPTED, "damaged memory: %s", drupe_vm_err_name(r));
    }
}

const struct scenario scenarios_snapshot_diff[] = {
    { "diff", "chain", 0, chain, SOME },
    { "diff", "chain-goes-on-after-a-restore", 0, chain_goes_on, SOME },
    { "diff", "chain-on-a-bad-disk", 0, chain_on_bad_disk, SOME },
    { "diff", "chain-killed-at-any-step", 0, chain_killed, SOME },
    { "diff", "chain-without-power", 0, chain_without_power, SOME },
    { "diff", "broken-bases", 0, broken_bases, SOME },
    { "diff", "live", 0, live, SOME },
    { "diff", "memory-in-a-file-of-its-own", 0, two_files, EACH },
    { 0 },
};

/* SPDX-License-Identifier: Apache-2.0 */
/* I10: what belongs to one VM at a time. */
#include "../file.h"
#include "../scenario.h"

#define DISK "/images/disk.img"

static drupe_vm_err_t create(struct box *b, const char *path, bool is_read_only)
{
    struct drupe_disk disk = { .path = path, .is_read_only = is_read_only };
    drupe_vm_config_t cfg;

    box_config(&cfg);
    cfg.disks = &disk;
    cfg.disk_count = 1;
    return box_create(b, &cfg);
}

static void one_disk(void)
{
    struct box first;
    struct box second;

    must(create(&first, DISK, false));
    must_fail(create(&second, DISK, false), DRUPE_NO_ACCESS);
    must(create(&second, DISK, true)); /* who reads does not own */
    box_destroy(&second);
    must(box_start(&first));
    must_fail(create(&second, DISK, false), DRUPE_NO_ACCESS);
    must(box_stop(&first, 0)); /* it may be started again */
    must_fail(create(&second, DISK, false), DRUPE_NO_ACCESS);
    box_destroy(&first);
    must(create(&second, DISK, false));
    box_destroy(&second);
}

static void one_root(void)
{
    struct box first;
    struct box second;
    drupe_vm_config_t cfg;

    box_config(&cfg);
    cfg.root_mode = DRUPE_ROOT_DISK_RW;
    must(box_create(&first, &cfg));
    box_config(&cfg);
    cfg.root_mode = DRUPE_ROOT_DISK_RW;
    must_fail(box_create(&second, &cfg), DRUPE_NO_ACCESS);
    box_config(&cfg);
    cfg.disks = &(struct drupe_disk){ .path = "/images/root.erofs" };
    cfg.disk_count = 1;
    must_fail(box_create(&second, &cfg), DRUPE_NO_ACCESS);
    box_destroy(&first);
}

struct claim {
    unsigned owners;
    unsigned times;
};

static void one_claimer(unsigned index, void *ctx)
{
    struct claim *c = ctx;
    struct box b;

    (void)index;
    for (unsigned i = 0; i < 20; i++) {
        drupe_vm_err_t r = create(&b, DISK, false);

        if (r != DRUPE_OK) {
            sim_check(r == DRUPE_NO_ACCESS, "a claim: %s", drupe_vm_err_name(r));
            sim_sleep(SIM_NS_PER_MS);
            continue;
        }
        c->owners++;
        c->times++;
        sim_check(c->owners == 1, "I10: a disk has %u owners", c->owners);
        if (box_start(&b) == DRUPE_OK) {
            sim_sleep(sim_random_below(sim_scenario_random(), 20) * SIM_NS_PER_MS);
        }
        c->owners--;
        box_destroy(&b);
    }
}

static void many_claims(void)
{
    struct claim c = { 0 };

    together(6, one_claimer, &c);
    sim_check(c.times >= 20, "the disk was owned %u times", c.times);
}

static void hold(void *arg)
{
    struct box b;

    (void)arg;
    if (create(&b, DISK, false) == DRUPE_OK && box_start(&b) == DRUPE_OK) {
        sim_sleep(SIM_NS_PER_SEC);
    }
}

/* The owner's death sets the disk free, at whatever step it comes. */
static void owner_killed(void)
{
    for (unsigned round = 0; round < 10; round++) {
        unsigned proc = sim_proc_spawn("owner", hold, NULL);
        struct box b;

        sim_sleep(sim_random_below(sim_scenario_random(), 30) * SIM_NS_PER_MS);
        sim_proc_kill(proc);
        sim_proc_wait(proc);
        box_forget();
        must(create(&b, DISK, false));
        box_destroy(&b);
    }
}

const struct scenario scenarios_owners[] = {
    { "owners", "one-disk", 0, one_disk, EACH },
    { "owners", "one-root", 0, one_root, EACH },
    { "owners", "many-claims", 0, many_claims, EACH },
    { "owners", "owner-killed", 0, owner_killed, EACH },
    { 0 },
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The control API when clients race, the host fails, files are damaged, the monitor is killed. */
#include "api.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char stop_body[] = "{\"grace_ms\":0}";

/* ---- Races ---- */

static void one_racer(unsigned index, void *ctx)
{
    static const struct {
        const char *method;
        const char *path;
        const char *body;
    } moves[] = {
        { "GET", "/", NULL },
        { "PATCH", "/vm", api_paused_body },
        { "PATCH", "/vm", api_resumed_body },
        { "PUT", "/snapshot/create", api_create_body },
        { "PUT", "/drupe/snapshot", "{\"path\":\"/tmp/own\"}" },
        { "PUT", "/drupe/snapshot", "{\"path\":\"/tmp/own\",\"live\":true}" },
        { "PUT", "/actions", api_start_body },
        { "PUT", "/actions", "{\"action_type\":\"FlushMetrics\"}" },
        { "PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}" },
        { "GET", "/drupe/stats", NULL },
        { "PUT", "/machine-config", api_machine_body },
        { "PUT", "/drupe/signal", "{\"signal\":10}" },
        { "PUT", "/drupe/stop", "{\"grace_ms\":50}" },
    };

    unsigned most = *(unsigned *)ctx;
    struct api_client c;
    struct api_answer a;

    (void)index;
    if (!api_connect(&c, API_SOCKET)) {
        return; /* the machine has ended before */
    }
    for (unsigned i = 0; i < most; i++) {
        uint32_t n = array_size(moves) - (i < most / 2 ? 1 : 0);
        uint32_t k = sim_random_below(sim_scenario_random(), n);

        if (!api_ask(&c, moves[k].method, moves[k].path, moves[k].body, &a)) {
            break; /* the machine has ended, and its monitor with it */
        }
    }
    api_hang_up(&c);
}

static void race(unsigned most)
{
    struct api_monitor m;
    struct api_client c;

    api_begin(&m);
    api_open(&c);
    api_must(&c, 204, "PUT", "/metrics", "{\"metrics_path\":\"/tmp/metrics\"}");
    api_must(&c, 204, "PUT", "/logger", "{\"log_path\":\"/tmp/log\",\"level\":\"Debug\"}");
    api_configure(&c);
    (void)api_ask(&c, "PUT", "/actions", api_start_body, &(struct api_answer){ 0 });
    api_hang_up(&c);
    together(4, one_racer, &most);
    if (!m.has_ended) {
        sim_signal_raise(sim_proc_current(), API_TERM);
    }
    api_monitor_wait(&m, -1);
    sim_check(m.status == DRUPE_CONTROL_OK || m.status == DRUPE_CONTROL_FAILED, "status %d",
              m.status);
}

static void races(void)
{
    api_allow_breaks(true);
    for (unsigned round = 0; round < 4; round++) {
        race(20);
    }
}

static void races_with_a_dying_guest(void)
{
    api_allow_breaks(true);
    fault(FAULT_TRIPLE_FAULT, .05, .op = OP_vcpu_run);
    fault(FAULT_KVM_RUN_ERROR, .02, .op = OP_vcpu_run);
    fault(FAULT_PAUSE_FAIL, .1, .op = OP_vm_pause);
    fault(FAULT_RESUME_FAIL, .1, .op = OP_vm_resume);
    fault(FAULT_SNAPSHOT_FAIL, .1, .op = OP_vm_snapshot);
    for (unsigned round = 0; round_goes_on(&round, 4);) {
        race(20);
    }
}

/* ---- Everything that the monitor asks of the host fails now and then ---- */

/* A client's whole life, as far as it goes. */
static void one_life(unsigned number)
{
    struct api_monitor m;
    struct api_client c;
    struct api_answer a;
    char body[256];

    (void)snprintf(body, sizeof(body), "{\"metrics_path\":\"/tmp/metrics%u\"}", number);
    api_begin(&m);
    if (!api_connect(&c, API_SOCKET)) {
        if (!m.has_ended) {
            sim_signal_raise(sim_proc_current(), API_TERM);
        }
        api_monitor_wait(&m, -1);
        return;
    }
    (void)(api_ask(&c, "PUT", "/logger", "{\"log_path\":\"/tmp/log\"}", &a) &&
           api_ask(&c, "PUT", "/metrics", body, &a) &&
           api_ask(&c, "PUT", "/machine-config", api_machine_body, &a) &&
           api_ask(&c, "PUT", "/boot-source", api_boot_body, &a) &&
           api_ask(&c, "PUT", "/vsock", "{\"guest_cid\":3,\"uds_path\":\"/run/v.sock\"}", &a) &&
           api_ask(&c, "PUT", "/balloon", "{\"amount_mib\":1,\"deflate_on_oom\":false}", &a) &&
           api_ask(&c, "PUT", "/mmds", "{\"a\":{\"b\":[1,2,3]}}", &a) &&
           api_ask(&c, "PATCH", "/mmds", "{\"a\":{\"c\":null}}", &a) &&
           api_ask(&c, "GET", "/vm/config", NULL, &a) &&
           api_ask(&c, "PUT", "/actions", api_start_body, &a) &&
           api_ask(&c, "PATCH", "/vm", api_paused_body, &a) &&
           api_ask(&c, "PUT", "/snapshot/create", api_create_body, &a) &&
           api_ask(&c, "PATCH", "/vm", api_resumed_body, &a) &&
           api_ask(&c, "GET", "/drupe/stats", NULL, &a) &&
           api_ask(&c, "PUT", "/actions", "{\"action_type\":\"FlushMetrics\"}", &a) &&
           api_ask(&c, "PUT", "/drupe/snapshot", "{\"path\":\"/tmp/own\"}", &a) &&
           api_ask(&c, "PUT", "/drupe/stop", stop_body, &a));
    api_hang_up(&c);
    if (!m.has_ended) {
        sim_signal_raise(sim_proc_current(), API_TERM);
    }
    api_monitor_wait(&m, -1);
    sim_disk_remove("/run/v.sock");
}

static void lives_with(unsigned least)
{
    struct sim_held before;
    struct sim_held after;

    api_allow_breaks(true);
    sim_proc_held(sim_proc_current(), &before);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        one_life(round % 4);
        sim_proc_held(sim_proc_current(), &after);
        sim_check(after.fds == before.fds && after.allocations == before.allocations &&
                      after.mappings == before.mappings,
                  "I9: a life left %u descriptors, %u allocations, %u mappings",
                  after.fds - before.fds, after.allocations - before.allocations,
                  after.mappings - before.mappings);
    }
}

static void little_memory(void)
{
    fault(FAULT_OUT_OF_MEMORY, .002);
    lives_with(15);
}

static void few_descriptors(void)
{
    fault(FAULT_FD_EXHAUSTION, .03);
    lives_with(10);
}

static void bad_disk(void)
{
    fault(FAULT_WRITE_FAIL, .05);
    fault(FAULT_DISK_FULL, .03);
    fault(FAULT_PARTIAL_WRITE, .05, .param = 3);
    fault(FAULT_FSYNC_FAIL, .1);
    lives_with(8);
}

static void all_at_once(void)
{
    fault(FAULT_INTERRUPTED, .05);
    fault(FAULT_SHORT_TRANSFER, .05);
    fault(FAULT_VSOCK_RESET, .01, .op = OP_net_send);
    fault(FAULT_NET_PARTITION, .01, .param = 500);
    fault(FAULT_OUT_OF_MEMORY, .0005);
    fault(FAULT_FD_EXHAUSTION, .005);
    fault(FAULT_BOOT_FAIL, .1, .op = OP_vm_start);
    fault(FAULT_TRIPLE_FAULT, .01, .op = OP_vcpu_run);
    fault(FAULT_CLOCK_JUMP, .001);
    lives_with(8);
}

/* A load that fails ends the monitor, with an answer; one that does not is what was taken. */
static void broken_loads(void)
{
    struct api_monitor m;
    struct api_client c;
    struct api_answer a;
    unsigned refused = 0;

    api_begin(&m);
    api_open(&c);
    api_configure(&c);
    api_must(&c, 204, "PUT", "/actions", api_start_body);
    sim_sleep(50 * SIM_NS_PER_MS);
    api_must(&c, 204, "PATCH", "/vm", api_paused_body);
    api_must(&c, 204, "PUT", "/snapshot/create", api_create_body);
    api_hang_up(&c);
    api_terminate(&m);
    for (unsigned round = 0; round < 12; round++) {
        struct sim_random *random = sim_scenario_random();
        const char *path = sim_random_below(random, 4) == 0 ? "/tmp/vm.mem" : "/tmp/vm.state";
        size_t offset = sim_random_below(random, (uint32_t)sim_disk_size(path));
        unsigned bit = sim_random_below(random, 8);

        sim_disk_flip(path, offset, bit);
        api_begin(&m);
        api_open(&c);
        sim_check(api_ask(&c, "PUT", "/snapshot/load", api_load_body, &a), "no answer");
        refused += a.status == 400 ? 1 : 0;
        if (a.status == 204) { /* the bit is in a hole, in padding, or in the host's part */
            api_must(&c, 204, "PATCH", "/vm", api_resumed_body);
            api_terminate(&m);
        } else {
            api_monitor_wait(&m, DRUPE_CONTROL_FAILED);
        }
        api_hang_up(&c);
        sim_disk_flip(path, offset, bit);
    }
    sim_check(refused > 0, "no flipped bit was seen");
}

/* ---- SIGKILL ---- */

static void monitor_alone(void *arg)
{
    struct drupe_control_options options;
    struct drupe_error err;

    drupe_control_options_init(&options);
    options.socket_path = arg;
    options.kernel_path = "/images/kernel.elf";
    (void)!drupe_control_run(&options, &err);
}

/* Killed at any step: its clients see the end, what it wrote is whole or absent, and its socket's
 * name stands in the way of the next one until it is removed. */
static void monitor_killed(void)
{
    api_allow_breaks(true);
    for (unsigned round = 0; round < 12; round++) {
        unsigned proc = sim_proc_spawn("monitor", monitor_alone, (void *)(uintptr_t)API_SOCKET);
        uint64_t steps = 100 + sim_random_below(sim_scenario_random(), 1500);
        struct api_monitor m;
        struct api_client c;
        struct api_answer a = { 0 };

        sim_proc_kill_after(proc, steps);
        if (api_connect(&c, API_SOCKET)) {
            (void)(api_ask(&c, "PUT", "/machine-config", api_machine_body, &a) &&
                   api_ask(&c, "PUT", "/boot-source", api_boot_body, &a) &&
                   api_ask(&c, "PUT", "/actions", api_start_body, &a) &&
                   api_ask(&c, "PATCH", "/vm", api_paused_body, &a) &&
                   api_ask(&c, "PUT", "/snapshot/create", api_create_body, &a) &&
                   api_ask(&c, "PATCH", "/vm", api_resumed_body, &a));
            while (api_ask(&c, "GET", "/", NULL, &a)) {
            }
            api_hang_up(&c);
        }
        sim_proc_wait(proc);
        box_forget();
        api_begin(&m);
        if (sim_disk_size(API_SOCKET) < 0) { /* it did not get so far */
            api_terminate(&m);
            continue;
        }
        api_monitor_wait(&m, DRUPE_CONTROL_FAILED);
        sim_check(strstr(m.err.text, API_SOCKET) != NULL, "it says '%s'", m.err.text);
        api_begin(&m); /* the name is gone with api_monitor_wait() */
        api_open(&c);
        if (sim_disk_size("/tmp/vm.state") >= 0) {
            sim_check(api_ask(&c, "PUT", "/snapshot/load", api_load_body, &a), "no answer");
            sim_check(a.status == 204 || strstr(a.body, "not a snapshot of this monitor") != NULL,
                      "%s", a.body);
        }
        api_hang_up(&c);
        if (a.status == 400 && sim_disk_size("/tmp/vm.state") >= 0) {
            api_monitor_wait(&m, DRUPE_CONTROL_FAILED);
        } else {
            api_terminate(&m);
        }
        sim_disk_remove("/tmp/vm.state");
        sim_disk_remove("/tmp/vm.mem");
    }
}

const struct scenario scenarios_api_faults[] = {
    { "api", "races", 0, races, SOME },
    { "api", "races-with-a-dying-guest", 0, races_with_a_dying_guest, SOME },
    { "api", "little-memory", 0, little_memory, SOME },
    { "api", "few-descriptors", 0, few_descriptors, SOME },
    { "api", "bad-disk", 0, bad_disk, SOME },
    { "api", "all-faults", 0, all_at_once, SOME },
    { "api", "broken-loads", 0, broken_loads, EACH },
    { "api", "monitor-killed-at-any-step", 0, monitor_killed, SOME },
    { 0 },
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The life cycle alone: suites "libkrun", "libkrun sandbox", "bug hunt" and "shared", as far as
 * they need no agent. */
#include <string.h>
#include <time.h>

#include "../scenario.h"

/* ---- One VM ---- */

static void create_start_stop(void)
{
    struct box b;
    struct drupe_vm_outcome end;

    box_new(&b);
    must_fail(box_stop(&b, 0), DRUPE_NOT_RUNNING);
    must(box_start(&b));
    sim_sleep(100 * SIM_NS_PER_MS);
    must(box_stop(&b, 500));
    must(drupe_vm_outcome(b.vm, &end, NULL));
    sim_check(end.kind == DRUPE_END_EXIT && end.status == 143, "the workload did not hear SIGTERM");
    must(box_start(&b));
    must(box_stop(&b, 0));
    must(drupe_vm_outcome(b.vm, &end, NULL));
    sim_check(end.kind == DRUPE_END_STOPPED, "a stop without grace has outcome %d", (int)end.kind);
    box_destroy(&b);
}

static void boots_some_fail(unsigned least, double p)
{
    unsigned ok = 0;
    unsigned failed = 0;

    fault(FAULT_BOOT_FAIL, p, .op = OP_vm_start);
    for (unsigned round = 0; round_goes_on(&round, least) || round_wants(ok == 0 || failed == 0);) {
        struct box b;

        box_new(&b);
        if (box_start(&b) == DRUPE_OK) {
            ok++;
            sim_check(box_state(&b) == DRUPE_VM_RUNNING, "a VM that booted does not run");
        } else {
            failed++;
            sim_check(box_state(&b) == DRUPE_VM_CRASHED, "a failed boot did not crash the VM");
            must_fail(box_start(&b), DRUPE_NEEDS_RECREATE);
        }
        box_destroy(&b);
    }
}

static void boots_half_fail(void)
{
    boots_some_fail(20, .5);
}

static void boots_third_fail(void)
{
    boots_some_fail(20, .3);
}

static void pause_and_resume(unsigned least, double p)
{
    struct box b;

    fault(FAULT_PAUSE_FAIL, p, .op = OP_vm_pause);
    fault(FAULT_RESUME_FAIL, p, .op = OP_vm_resume);
    box_new(&b);
    must(box_start(&b));
    for (unsigned round = 0; round_goes_on(&round, least);) {
        if (box_pause(&b) != DRUPE_OK) {
            sim_check(box_state(&b) == DRUPE_VM_RUNNING, "a failed pause stopped it");
            continue;
        }
        while (box_resume(&b) != DRUPE_OK) {
            sim_check(box_state(&b) == DRUPE_VM_PAUSED, "a failed resume moved it");
        }
    }
    must(box_stop(&b, 0));
    box_destroy(&b);
}

static void pauses_with_failures(void)
{
    pause_and_resume(20, .3);
}

static void pauses_with_few_failures(void)
{
    pause_and_resume(10, .2);
}

/* Every operation in every state that a VM can be put into. */
static void check_all_operations(struct box *b, enum drupe_vm_state state)
{
    static const struct {
        drupe_vm_err_t start, stop, pause, resume;
    } answers[6] = {
        { DRUPE_OK, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING, DRUPE_BAD_STATE },
        { DRUPE_BUSY, DRUPE_OK, DRUPE_BUSY, DRUPE_BUSY },
        { DRUPE_ALREADY_RUNNING, DRUPE_OK, DRUPE_OK, DRUPE_BAD_STATE },
        { DRUPE_ALREADY_RUNNING, DRUPE_OK, DRUPE_BAD_STATE, DRUPE_OK },
        { DRUPE_OK, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING, DRUPE_BAD_STATE },
        { DRUPE_NEEDS_RECREATE, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING, DRUPE_BAD_STATE },
    };

    unsigned column = (unsigned)__builtin_ctz((unsigned)state);

    sim_check(box_state(b) == state, "the scenario wanted %s", drupe_vm_state_name(state));
    if (answers[column].start != DRUPE_OK) {
        must_fail(box_start(b), answers[column].start);
    }
    if (answers[column].stop != DRUPE_OK) {
        must_fail(box_stop(b, 0), answers[column].stop);
    }
    if (answers[column].pause != DRUPE_OK) {
        must_fail(box_pause(b), answers[column].pause);
    }
    if (answers[column].resume != DRUPE_OK) {
        must_fail(box_resume(b), answers[column].resume);
    }
    sim_check(box_state(b) == state, "refused calls moved it from %s", drupe_vm_state_name(state));
}

static void illegal_transitions(void)
{
    struct box b;

    box_new(&b);
    check_all_operations(&b, DRUPE_VM_CREATED);
    must(box_start(&b));
    check_all_operations(&b, DRUPE_VM_RUNNING);
    must(box_pause(&b));
    check_all_operations(&b, DRUPE_VM_PAUSED);
    must(box_stop(&b, 0));
    check_all_operations(&b, DRUPE_VM_STOPPED);
    box_recreate(&b);
    fault(FAULT_BOOT_FAIL, 1);
    must_fail(box_start(&b), DRUPE_BOOT_FAILED);
    check_all_operations(&b, DRUPE_VM_CRASHED);
    box_destroy(&b);
}

/* ---- Machines that die ---- */

static void dies_by(enum sim_fault kind, enum drupe_end_kind end)
{
    struct box b;
    struct drupe_vm_outcome outcome;
    enum drupe_vm_state state = DRUPE_VM_CREATED;

    fault(kind, .2, .op = OP_vcpu_run, .max = 1);
    box_new(&b);
    must(box_start(&b));
    op_watch("wait", SIM_OP_LIMIT_NS);
    must(drupe_vm_wait(b.vm, DRUPE_VM_ENDED, 9000, &state, NULL));
    sim_op_end();
    sim_check(state == DRUPE_VM_CRASHED, "it ended as %s", drupe_vm_state_name(state));
    must(drupe_vm_outcome(b.vm, &outcome, NULL));
    sim_check(outcome.kind == end && outcome.text[0] != '\0', "outcome %d", (int)outcome.kind);
    must_fail(box_start(&b), DRUPE_NEEDS_RECREATE);
    box_destroy(&b);
}

static void kvm_run_error(void)
{
    dies_by(FAULT_KVM_RUN_ERROR, DRUPE_END_MONITOR);
}

static void triple_fault(void)
{
    dies_by(FAULT_TRIPLE_FAULT, DRUPE_END_RESET);
}

static void guest_panic(void)
{
    dies_by(FAULT_CRASH, DRUPE_END_PANIC);
}

/* A vCPU that is deaf for three seconds: a pause fails in its bound and leaves the VM running. */
static void vcpu_stuck(void)
{
    struct box b;
    unsigned failed = 0;

    fault(FAULT_VCPU_STUCK, .1, .op = OP_vcpu_run);
    box_new(&b);
    must(box_start(&b));
    for (unsigned round = 0; round_goes_on(&round, 10) || round_wants(failed == 0);) {
        if (box_pause(&b) == DRUPE_OK) {
            must(box_resume(&b));
        } else {
            failed++;
        }
        sim_sleep(sim_random_below(sim_scenario_random(), 50) * SIM_NS_PER_MS);
    }
    must(box_stop(&b, 0));
    box_destroy(&b);
}

static void boot_timeout(void)
{
    struct box b;
    drupe_vm_config_t cfg;
    struct drupe_vm_outcome outcome;
    enum drupe_vm_state state = DRUPE_VM_CREATED;

    fault(FAULT_VCPU_STUCK, 1, .op = OP_vcpu_run, .max = 1, .param = 2000);
    box_config(&cfg);
    cfg.boot_timeout_ms = 500;
    must(box_create(&b, &cfg));
    must(box_start(&b));
    must(drupe_vm_wait(b.vm, DRUPE_VM_ENDED, 9000, &state, NULL));
    must(drupe_vm_outcome(b.vm, &outcome, NULL));
    sim_check(state == DRUPE_VM_CRASHED && outcome.kind == DRUPE_END_BOOT_ERROR,
              "a silent boot ends as %s, %d", drupe_vm_state_name(state), (int)outcome.kind);
    box_destroy(&b);
}

static void page_fault_stall(void)
{
    struct box b;

    fault(FAULT_PAGE_STALL, .3, .op = OP_vcpu_run);
    box_new(&b);
    must(box_start(&b));
    for (unsigned round = 0; round_goes_on(&round, 20);) {
        must(box_pause(&b));
        must(box_resume(&b));
        sim_sleep(30 * SIM_NS_PER_MS);
    }
    must(box_stop(&b, 2000));
    box_destroy(&b);
}

/* ---- The host's troubles ---- */

/* Memory, threads, descriptors run out at every place: named errors, nothing leaks. */
static void exhaustion(enum sim_fault kind)
{
    unsigned created = 0;

    fault(kind, .15);
    for (unsigned round = 0; round_goes_on(&round, 60) || round_wants(created == 0);) {
        struct box b;
        drupe_vm_config_t cfg;

        box_config(&cfg);
        drupe_vm_err_t r = box_create(&b, &cfg);

        sim_check(r == DRUPE_OK || r == DRUPE_NO_MEMORY, "create: %s", drupe_vm_err_name(r));
        if (r != DRUPE_OK) {
            continue;
        }
        created++;
        r = box_start(&b);
        sim_check(r == DRUPE_OK || r == DRUPE_NO_MEMORY, "start: %s", drupe_vm_err_name(r));
        box_destroy(&b);
    }
}

static void out_of_memory(void)
{
    exhaustion(FAULT_OUT_OF_MEMORY);
}

static void out_of_descriptors(void)
{
    exhaustion(FAULT_FD_EXHAUSTION);
}

static void cpu_starvation(void)
{
    fault(FAULT_CPU_STARVATION, .05, .param = 20);
    for (unsigned round = 0; round_goes_on(&round, 5);) {
        struct box b;

        box_new(&b);
        must(box_start(&b));
        must(box_pause(&b));
        must(box_resume(&b));
        must(box_stop(&b, 100));
        box_destroy(&b);
    }
}

/* The wall clock jumps and lies; waits and timeouts go by the monotonic one. */
static void clock_trouble(void)
{
    struct box b;
    struct drupe_error err;

    fault(FAULT_CLOCK_JUMP, .3);
    fault(FAULT_CLOCK_SKEW, .3);
    box_new(&b);
    must(box_start(&b));
    for (unsigned round = 0; round_goes_on(&round, 10);) {
        struct timespec t;
        uint64_t before_ns = sim_now_ns();

        (void)clock_gettime(CLOCK_REALTIME, &t);
        op_watch("wait", SIM_OP_LIMIT_NS);
        must_fail(op_watched(drupe_vm_wait(b.vm, DRUPE_VM_ENDED, 700, NULL, &err), &err),
                  DRUPE_TIMEOUT);
        sim_check(sim_now_ns() - before_ns >= 700 * SIM_NS_PER_MS &&
                      sim_now_ns() - before_ns < 900 * SIM_NS_PER_MS,
                  "a wait of 700 ms took %llu ns", (unsigned long long)(sim_now_ns() - before_ns));
    }
    must(box_stop(&b, 0));
    box_destroy(&b);
}

/* ---- Missing files, missing KVM ---- */

static void missing_files(void)
{
    static const struct {
        const char *kernel, *root;
        drupe_vm_err_t code;
    } cases[] = {
        { "/images/none.elf", "/images/root.erofs", DRUPE_NOT_FOUND },
        { "/images/kernel.elf", "/images/none.erofs", DRUPE_NOT_FOUND },
        { "/images/kernel.elf", "/images", DRUPE_NO_ACCESS },
        { "/images/kernel.elf/x", NULL, DRUPE_NOT_FOUND },
        { "", NULL, DRUPE_CONFIG_INVALID },
    };

    for (unsigned i = 0; i < array_size(cases); i++) {
        struct box b;
        drupe_vm_config_t cfg;

        box_config(&cfg);
        cfg.kernel_path = cases[i].kernel;
        cfg.root_path = cases[i].root;
        must_fail(box_create(&b, &cfg), cases[i].code);
    }
}

/* ---- Many at once ---- */

static void lifecycles(unsigned index, void *ctx)
{
    unsigned *done = ctx;

    (void)index;
    for (unsigned i = 0; i < 10; i++) {
        struct box b;

        box_new(&b);
        if (box_start(&b) == DRUPE_OK) {
            must(box_stop(&b, 0));
        }
        box_destroy(&b);
        (*done)++;
    }
}

static void ten_by_ten(void)
{
    unsigned done = 0;

    fault(FAULT_BOOT_FAIL, .1, .op = OP_vm_start);
    together(10, lifecycles, &done);
    sim_check(done == 100, "%u life cycles of 100", done);
}

/* Everybody does everything to one VM: the answers are those of the table, nobody hangs. */
static void meddle(unsigned index, void *ctx)
{
    struct box *b = ctx;

    (void)index;
    for (unsigned i = 0; i < 20; i++) {
        switch (sim_random_below(sim_scenario_random(), 6)) {
        case 0:
            (void)box_start(b);
            break;
        case 1:
            (void)box_stop(b, sim_random_below(sim_scenario_random(), 3) * 20);
            break;
        case 2:
            (void)box_pause(b);
            break;
        case 3:
            (void)box_resume(b);
            break;
        case 4:
            (void)!drupe_vm_wait(b->vm, (unsigned)DRUPE_VM_RUNNING, 20, NULL, NULL);
            break;
        default: {
            struct drupe_vm_stats stats;

            (void)!drupe_vm_stats(b->vm, &stats, NULL);
            sim_sleep(sim_random_below(sim_scenario_random(), 30) * SIM_NS_PER_MS);
            break;
        }
        }
    }
}

static void many_hands(void)
{
    struct box b;

    fault(FAULT_PAUSE_FAIL, .1, .is_optional = true);
    fault(FAULT_RESUME_FAIL, .1, .is_optional = true);
    box_new(&b);
    b.is_shared = true;
    together(6, meddle, &b);
    box_destroy(&b);
}

static void many_hands_dying(void)
{
    struct box b;

    fault(FAULT_CRASH, .02, .op = OP_vcpu_run, .is_optional = true);
    box_new(&b);
    b.is_shared = true;
    together(6, meddle, &b);
    box_destroy(&b);
}

/* ---- Stress ---- */

static void stress_cycles(void)
{
    struct box b;

    fault(FAULT_CRASH, .02, .op = OP_vcpu_run);
    box_new(&b);
    for (unsigned i = 0; i < 500; i++) {
        if (box_start(&b) != DRUPE_OK) {
            box_recreate(&b);
            box_start_surely(&b);
        }
        if (box_pause(&b) == DRUPE_OK) {
            (void)box_resume(&b);
        }
        sim_sleep(5 * SIM_NS_PER_MS);
        (void)box_stop(&b, 0);
    }
    box_destroy(&b);
}

static void stress_lifecycles(unsigned count, double p, unsigned failed_max)
{
    unsigned failed = 0;

    fault(FAULT_BOOT_FAIL, p, .op = OP_vm_start);
    fault(FAULT_CRASH, p, .op = OP_vcpu_run);
    for (unsigned i = 0; i < count; i++) {
        struct box b;
        bool is_ok = false;

        box_new(&b);
        is_ok = box_start(&b) == DRUPE_OK;
        if (is_ok) {
            sim_sleep(15 * SIM_NS_PER_MS);
            is_ok = box_stop(&b, 0) == DRUPE_OK;
        }
        failed += is_ok ? 0 : 1;
        box_destroy(&b);
    }
    sim_check(failed < failed_max, "%u of %u life cycles failed", failed, count);
}

static void stress_100(void)
{
    stress_lifecycles(100, .05, 50);
}

static void stress_1000(void)
{
    stress_lifecycles(1000, .02, 100);
}

static void rapid_lifecycles(void)
{
    for (unsigned i = 0; i < 100; i++) {
        struct box b;

        box_new(&b);
        must(box_start(&b));
        must(box_stop(&b, 0));
        box_destroy(&b);
    }
}

/* ---- Bug hunt ---- */

static void double_start(void)
{
    struct box b;

    box_new(&b);
    must(box_start(&b));
    must_fail(box_start(&b), DRUPE_ALREADY_RUNNING);
    box_destroy(&b);
}

static void double_stop(void)
{
    struct box b;

    box_new(&b);
    must(box_start(&b));
    must(box_stop(&b, 0));
    must_fail(box_stop(&b, 0), DRUPE_NOT_RUNNING);
    box_destroy(&b);
}

static void operations_on_stopped(void)
{
    struct box b;

    box_new(&b);
    must(box_start(&b));
    must(box_stop(&b, 0));
    check_all_operations(&b, DRUPE_VM_STOPPED);
    must(box_start(&b));
    must(box_stop(&b, 0));
    box_destroy(&b);
}

static void boot_fault_at_the_edge(void)
{
    struct box b;

    fault(FAULT_BOOT_FAIL, 1, .op = OP_vm_start);
    box_new(&b);
    must_fail(box_start(&b), DRUPE_BOOT_FAILED);
    sim_check(box_state(&b) == DRUPE_VM_CRASHED, "a failed boot leads to %s",
              drupe_vm_state_name(box_state(&b)));
    box_destroy(&b);
}

const struct scenario scenarios_lifecycle[] = {
    { "libkrun", "create-start-stop", 0, create_start_stop, EACH },
    { "libkrun", "boots-some-fail", 0, boots_half_fail, EACH },
    { "libkrun", "pauses-with-failures", 0, pauses_with_failures, EACH },
    { "libkrun", "illegal-transitions", 0, illegal_transitions, EACH },
    { "libkrun", "ten-tasks-ten-lifecycles", 0, ten_by_ten, EACH },
    { "libkrun", "stress-500-cycles", 0, stress_cycles, FEW },
    { "libkrun-sandbox", "boots-both-outcomes", 0, boots_third_fail, EACH },
    { "libkrun-sandbox", "pauses", 0, pauses_with_few_failures, EACH },
    { "libkrun-sandbox", "stress-100-lifecycles", 0, stress_100, FEW },
    { "sandbox", "rapid-lifecycles", 0, rapid_lifecycles, EACH },
    { "shared", "boot-fault-at-io-edge", 0, boot_fault_at_the_edge, EACH },
    { "bug-hunt", "double-start", 123, double_start, EACH },
    { "bug-hunt", "double-stop", 456, double_stop, EACH },
    { "bug-hunt", "operations-on-stopped", 789, operations_on_stopped, EACH },
    { "chaos", "stress-1000-lifecycles", 6101, stress_1000, FEW },
    { "firecracker", "missing-files", 0, missing_files, EACH },
    { "machine", "kvm-run-error", 0, kvm_run_error, EACH },
    { "machine", "triple-fault", 0, triple_fault, EACH },
    { "machine", "guest-panic", 0, guest_panic, EACH },
    { "machine", "vcpu-stuck", 0, vcpu_stuck, EACH },
    { "machine", "boot-timeout", 0, boot_timeout, EACH },
    { "machine", "page-fault-stall", 0, page_fault_stall, EACH },
    { "host", "out-of-memory", 0, out_of_memory, EACH },
    { "host", "out-of-descriptors", 0, out_of_descriptors, EACH },
    { "host", "cpu-starvation", 0, cpu_starvation, EACH },
    { "host", "clock-jump-and-skew", 0, clock_trouble, EACH },
    { "threads", "many-hands-on-one-vm", 0, many_hands, EACH },
    { "threads", "many-hands-on-a-dying-vm", 0, many_hands_dying, EACH },
    { NULL, NULL, 0, NULL, EACH },
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Programs in the guest, by exec protocol 2 through the library's own client. */
#include <stdio.h>
#include <string.h>

#include "../machine.h"
#include "../scenario.h"
#include "vm_internal.h"

#define TEXT_SIZE 64u

static void start_new(struct box *b)
{
    box_new(b);
    must(box_start(b));
}

static void end(struct box *b)
{
    if (box_state(b) == DRUPE_VM_RUNNING || box_state(b) == DRUPE_VM_PAUSED) {
        must(box_stop(b, 0));
    }
    box_destroy(b);
}

/* ---- vm exec ---- */

static void echo(void)
{
    struct box b;

    start_new(&b);
    box_prints(&b, "hello big world\n", ARGV("echo", "hello", "big world"));
    box_prints(&b, "\"\\\x01\n", ARGV("echo", "\"\\\x01"));
    box_prints(&b, "6\n", ARGV("sum", "1", "2", "3"));
    end(&b);
}

static void exec_fault(void)
{
    struct box b;

    fault(FAULT_EXEC_FAIL, 1, .op = OP_vm_exec);
    start_new(&b);
    must_fail(box_exec(&b, 1000, NULL, ARGV("true")), DRUPE_EXEC_FAILED);
    sim_check(box_state(&b) == DRUPE_VM_RUNNING, "a failed exec moved the VM");
    end(&b);
}

static void numbered(void)
{
    struct box b;

    start_new(&b);
    box_prints(&b, "1\n", ARGV("count"));
    box_prints(&b, "2\n", ARGV("count"));
    end(&b);
}

static void codes(void)
{
    struct box b;
    struct drupe_exec_output out;

    start_new(&b);
    must(box_exec(&b, 1000, &out, ARGV("no-such-program")));
    sim_check(out.result.exit_code == 127, "absent: %d", out.result.exit_code);
    drupe_exec_output_free(&out);
    must(box_exec(&b, 1000, &out, ARGV("false")));
    sim_check(out.result.exit_code == 1, "false: %d", out.result.exit_code);
    drupe_exec_output_free(&out);
    must(box_exec(&b, 1000, &out, ARGV("exit", "255")));
    sim_check(out.result.exit_code == 255 && out.result.signal == 0, "exit 255: %d",
              out.result.exit_code);
    drupe_exec_output_free(&out);
    must_fail(box_exec(&b, 0, NULL, ARGV("true")), DRUPE_CONFIG_INVALID);
    must(box_pause(&b));
    must_fail(box_exec(&b, 1000, NULL, ARGV("true")), DRUPE_NOT_RUNNING);
    must(box_resume(&b));
    box_prints(&b, "x\n", ARGV("echo", "x"));
    end(&b);
}

/* ---- Faults ---- */

static void with_crashes(unsigned least, double p)
{
    struct box b;
    unsigned crashed = 0;

    fault(FAULT_CRASH, p, .op = OP_vm_exec);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, least) || round_wants(crashed == 0);) {
        drupe_vm_err_t r = box_exec(&b, 2000, NULL, ARGV("count"));

        if (r == DRUPE_OK) {
            continue;
        }
        crashed++;
        sim_check(r == DRUPE_CRASHED, "an exec in a VM that dies: %s", drupe_vm_err_name(r));
        sim_check(box_state(&b) == DRUPE_VM_CRASHED, "it is %s",
                  drupe_vm_state_name(box_state(&b)));
        must_fail(box_start(&b), DRUPE_NEEDS_RECREATE);
        box_recreate(&b);
        must(box_start(&b));
    }
    end(&b);
}

static void fifty_with_crashes(void)
{
    with_crashes(50, .1);
}

static void ten_with_crashes(void)
{
    with_crashes(10, .2);
}

static void with_timeouts(unsigned least, double p)
{
    struct box b;
    unsigned late = 0;

    fault(FAULT_EXEC_TIMEOUT, p, .op = OP_vm_exec);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        drupe_vm_err_t r = box_exec(&b, 1000, NULL, ARGV("echo", "x"));

        sim_check(r == DRUPE_OK || r == DRUPE_EXEC_TIMEOUT, "exec: %s", drupe_vm_err_name(r));
        if (r == DRUPE_EXEC_TIMEOUT) {
            late++;
            sim_check(strstr(box_error()->text, "time") != NULL, "a timeout says '%s'",
                      box_error()->text);
        }
        sim_check(sim_machine_processes(b.vm->machine) == 0, "I8: a process is left");
    }
    sim_check(late > 0, "no exec timed out");
    end(&b);
}

static void thirty_with_timeouts(void)
{
    with_timeouts(30, .3);
}

static void ten_with_timeouts(void)
{
    with_timeouts(10, .3);
}

static void with_failures(unsigned least, double p)
{
    struct box b;
    unsigned ok = 0;
    unsigned failed = 0;

    fault(FAULT_EXEC_FAIL, p, .op = OP_vm_exec);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, least) || round_wants(ok == 0);) {
        drupe_vm_err_t r = box_exec(&b, 1000, NULL, ARGV("true"));

        sim_check(r == DRUPE_OK || r == DRUPE_EXEC_FAILED, "exec: %s", drupe_vm_err_name(r));
        ok += r == DRUPE_OK ? 1 : 0;
        failed += r == DRUPE_OK ? 0 : 1;
        sim_check(box_state(&b) == DRUPE_VM_RUNNING, "a failed exec moved the VM");
    }
    sim_check(ok > 0 && failed > 0, "%u succeeded, %u failed", ok, failed);
    end(&b);
}

static void thirty_with_failures(void)
{
    with_failures(30, .3);
}

static void ten_with_failures(void)
{
    with_failures(10, .3);
}

static void twenty_with_failures(void)
{
    with_failures(20, .5);
}

/* ---- Rounds ---- */

static void start_exec_rounds(unsigned least)
{
    fault(FAULT_BOOT_FAIL, .2, .op = OP_vm_start);
    fault(FAULT_EXEC_FAIL, .2, .op = OP_vm_exec);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        struct box b;

        box_new(&b);
        if (box_start(&b) == DRUPE_OK) {
            (void)box_exec(&b, 1000, NULL, ARGV("count"));
        }
        end(&b);
    }
}

static void ten_rounds(void)
{
    start_exec_rounds(10);
}

static void pauses_and_execs(void)
{
    unsigned fired = 0;
    unsigned boot = fault(FAULT_BOOT_FAIL, .2, .op = OP_vm_start);

    fault(FAULT_EXEC_FAIL, .3, .op = OP_vm_exec);
    for (unsigned round = 0; round < 50; round++) {
        struct box b;

        box_new(&b);
        if (box_start(&b) == DRUPE_OK) {
            for (unsigned i = 0; i < 5; i++) {
                must(box_pause(&b));
                must(box_resume(&b));
            }
            for (unsigned i = 0; i < 10; i++) {
                (void)box_exec(&b, 1000, NULL, ARGV("echo", "x"));
            }
        }
        end(&b);
    }
    fired = (unsigned)sim_fault_stats(boot).fired;
    sim_check(fired > 0, "no fault fired");
}

static void pause_resume_exec(void)
{
    struct box b;

    start_new(&b);
    for (unsigned i = 0; i < 5; i++) {
        char text[TEXT_SIZE];

        must(box_pause(&b));
        sim_sleep(50 * SIM_NS_PER_MS);
        must(box_resume(&b));
        (void)snprintf(text, sizeof(text), "%u\n", i + 1);
        box_prints(&b, text, ARGV("count"));
    }
    end(&b);
}

/* ---- I7: output belongs to its exec ---- */

static void execs_of_one(unsigned index, void *ctx)
{
    struct box *b = ctx;

    for (unsigned i = 0; i < 20; i++) {
        char word[TEXT_SIZE];
        char line[TEXT_SIZE + 2];
        struct drupe_exec_output out;
        drupe_vm_err_t r = DRUPE_OK;

        (void)snprintf(word, sizeof(word), "task%u-exec%u", index, i);
        (void)snprintf(line, sizeof(line), "%s\n", word);
        r = box_exec(b, 5000, &out, ARGV("echo", word));
        sim_check(r == DRUPE_OK || r == DRUPE_EXEC_FAILED, "exec: %s", drupe_vm_err_name(r));
        if (r == DRUPE_OK) {
            sim_check(strcmp(out.stdout_bytes, line) == 0, "I7: '%s' printed '%s'", word,
                      out.stdout_bytes);
            drupe_exec_output_free(&out);
        }
    }
}

static void five_by_twenty(void)
{
    struct box b;

    fault(FAULT_EXEC_FAIL, .1, .op = OP_vm_exec);
    start_new(&b);
    b.is_shared = true;
    together(5, execs_of_one, &b);
    end(&b);
}

static void one_of_many(unsigned index, void *ctx)
{
    drupe_agent_t *agent = ctx;
    struct drupe_exec_options options;
    struct drupe_exec_output out;
    char word[TEXT_SIZE];
    char line[TEXT_SIZE + 2];

    (void)snprintf(word, sizeof(word), "stream%u", index);
    (void)snprintf(line, sizeof(line), "%s\n", word);
    drupe_exec_options_init(&options);
    options.argv = ARGV("echo", word);
    must(drupe_agent_exec(agent, &options, NULL, 0, &out, NULL));
    sim_check(strcmp(out.stdout_bytes, line) == 0, "I7: '%s' printed '%s'", word, out.stdout_bytes);
    drupe_exec_output_free(&out);
}

/* 64 streams over one connection. */
static void sixty_four_streams(void)
{
    struct box b;
    drupe_agent_t *agent = NULL;

    start_new(&b);
    must(drupe_agent_connect(b.vm->config.vsock_path, 5000, &agent, NULL));
    together(64, one_of_many, agent);
    drupe_agent_close(agent);
    end(&b);
}

/* ---- Sizes ---- */

static void long_argument(void)
{
    struct box b;
    struct drupe_exec_output out;
    size_t size = 100u << 10;
    char *text = sim_calloc(1, size + 1);

    for (size_t i = 0; i < size; i++) {
        text[i] = (char)('a' + sim_random_below(sim_scenario_random(), 26));
    }
    start_new(&b);
    must(box_exec(&b, 20000, &out, ARGV("echo", text)));
    sim_check(out.stdout_size == size + 1 && memcmp(out.stdout_bytes, text, size) == 0,
              "100 KiB come back as %zu bytes", out.stdout_size);
    drupe_exec_output_free(&out);
    sim_free(text);
    end(&b);
}

static void through_stdin(size_t size, size_t expected)
{
    struct box b;
    struct drupe_exec_output out;
    uint8_t *bytes = sim_calloc(1, size);

    sim_random_fill(sim_scenario_random(), bytes, size);
    start_new(&b);
    must(box_exec_input(&b, 60000, bytes, size, &out, ARGV("cat")));
    sim_check(out.stdout_size == expected && memcmp(out.stdout_bytes, bytes, expected) == 0,
              "%zu bytes come back as %zu", size, out.stdout_size);
    sim_check(out.result.is_stdout_cut == (expected < size), "the cut is not told");
    drupe_exec_output_free(&out);
    sim_free(bytes);
    end(&b);
}

static void almost_ten_mib(void)
{
    through_stdin(10380902, 10380902); /* 9.9 MiB */
}

static void more_than_ten_mib(void)
{
    through_stdin(10590618, 10u << 20); /* 10.1 MiB */
}

/* ---- A guest and a network that misbehave ---- */

/* Whatever happens on the way: a named error in time, the VM runs on, and once it is healed it
 * answers. */
static void troubled_with(unsigned least, bool any_error)
{
    struct box b;

    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        struct drupe_exec_output out;
        drupe_vm_err_t r = box_exec(&b, 1500, &out, ARGV("echo", "word"));

        sim_check(any_error || r == DRUPE_OK || r == DRUPE_EXEC_FAILED || r == DRUPE_EXEC_TIMEOUT ||
                      r == DRUPE_TIMEOUT || r == DRUPE_NOT_RUNNING || r == DRUPE_NO_MEMORY,
                  "exec: %s (%s)", drupe_vm_err_name(r), box_error()->text);
        if (r == DRUPE_OK || r == DRUPE_EXEC_TIMEOUT) {
            drupe_exec_output_free(&out);
        }
        if (any_error && box_state(&b) == DRUPE_VM_STOPPED) {
            must(box_start(&b)); /* one bit makes a SHUTDOWN of an EXEC */
        }
        sim_check(box_state(&b) == DRUPE_VM_RUNNING, "it is %s",
                  drupe_vm_state_name(box_state(&b)));
    }
    sim_faults_pause(true);
    sim_sleep(5 * SIM_NS_PER_SEC);
    box_prints(&b, "healed\n", ARGV("echo", "healed"));
    sim_check(sim_machine_processes(b.vm->machine) == 0, "I8: processes are left");
    end(&b);
}

static void troubled(unsigned least)
{
    troubled_with(least, false);
}

static void agent_hangs(void)
{
    fault(FAULT_AGENT_HANG, .1, .op = OP_agent_answer);
    troubled(10);
}

static void agent_talks_garbage(void)
{
    fault(FAULT_AGENT_GARBAGE, .1, .op = OP_agent_answer);
    troubled(20);
}

static void vsock_resets(void)
{
    fault(FAULT_VSOCK_RESET, .1, .op = OP_net_send);
    troubled(20);
}

static void slow_network(void)
{
    fault(FAULT_NET_DELAY, .1, .param = 300);
    fault(FAULT_NET_JITTER, .2, .param = 50);
    fault(FAULT_NET_LOSS, .1);
    fault(FAULT_NET_REORDER, .1);
    troubled(20);
}

static void partitions(void)
{
    fault(FAULT_NET_PARTITION, .05, .param = 2500);
    troubled(20);
}

static void corrupt_network(void)
{
    fault(FAULT_NET_CORRUPT, .1);
    troubled_with(20, true); /* a damaged request may be another one, refused with its own code */
}

static void no_connections(void)
{
    fault(FAULT_NET_EXHAUSTED, .5, .op = OP_net_connect);
    troubled(20);
}

static void no_memory(void)
{
    fault(FAULT_OUT_OF_MEMORY, .05, .op = OP_memory, .skip = 100);
    troubled(20);
}

static void health(void)
{
    struct box b;

    box_new(&b);
    sim_check(!drupe_vm_health(b.vm), "a VM that never ran is healthy");
    must(box_start(&b));
    sim_sleep(100 * SIM_NS_PER_MS);
    sim_check(drupe_vm_health(b.vm), "a running VM is not healthy");
    must(box_pause(&b));
    sim_check(!drupe_vm_health(b.vm), "a paused VM is healthy");
    must(box_resume(&b));
    sim_check(drupe_vm_health(b.vm), "a resumed VM is not healthy");
    must(box_stop(&b, 0));
    sim_check(!drupe_vm_health(b.vm), "a stopped VM is healthy");
    box_destroy(&b);
}

static void statistics(void)
{
    struct box b;
    struct drupe_vm_stats before;
    struct drupe_vm_stats after;

    start_new(&b);
    sim_sleep(30 * SIM_NS_PER_MS);
    must(drupe_vm_stats(b.vm, &before, NULL));
    for (unsigned i = 0; i < 5; i++) {
        char name[TEXT_SIZE];

        (void)snprintf(name, sizeof(name), "file%u", i);
        box_prints(&b, "", ARGV("write", name, "text"));
    }
    sim_sleep(300 * SIM_NS_PER_MS);
    must(drupe_vm_stats(b.vm, &after, NULL));
    sim_check(after.uptime_ns > before.uptime_ns &&
                  after.memory_resident > before.memory_resident &&
                  after.vcpu_time_ns[0] > before.vcpu_time_ns[0] &&
                  after.exits[DRUPE_EXIT_HLT] > before.exits[DRUPE_EXIT_HLT],
              "the figures do not grow");
    end(&b);
}

/* The guest ends while programs run in it. */
static void end_meanwhile(unsigned index, void *ctx)
{
    struct box *b = ctx;

    if (index == 0) {
        sim_sleep(sim_random_below(sim_scenario_random(), 400) * SIM_NS_PER_MS);
        (void)box_exec(b, 3000, NULL,
                       sim_random_chance(sim_scenario_random(), .5) ? ARGV("panic")
                                                                    : ARGV("poweroff"));
        return;
    }
    for (unsigned i = 0; i < 5; i++) {
        drupe_vm_err_t r = box_exec(b, 3000, NULL, ARGV("sleep", "100"));

        sim_check(r == DRUPE_OK || r == DRUPE_CRASHED || r == DRUPE_NOT_RUNNING, "exec: %s",
                  drupe_vm_err_name(r));
    }
}

static void guest_ends_under_execs(void)
{
    struct box b;

    start_new(&b);
    b.is_shared = true;
    together(4, end_meanwhile, &b);
    box_destroy(&b);
}

/* ---- Stress ---- */

static void stress_execs(unsigned vms, unsigned execs, double boot, double exec, double timeout)
{
    unsigned ok = 0;
    unsigned failed = 0;

    fault(FAULT_BOOT_FAIL, boot, .op = OP_vm_start);
    fault(FAULT_EXEC_FAIL, exec, .op = OP_vm_exec);
    fault(FAULT_EXEC_TIMEOUT, timeout, .op = OP_vm_exec);
    for (unsigned i = 0; i < vms; i++) {
        struct box b;

        box_new(&b);
        if (box_start(&b) != DRUPE_OK) {
            failed++;
            box_destroy(&b);
            continue;
        }
        for (unsigned n = 0; n < execs; n++) {
            drupe_vm_err_t r = box_exec(&b, 200, NULL, ARGV("echo", "x"));

            ok += r == DRUPE_OK ? 1 : 0;
            failed += r == DRUPE_OK ? 0 : 1;
        }
        end(&b);
    }
    sim_check(ok > 0 && failed > 0, "%u succeeded, %u failed", ok, failed);
}

static void hundred_by_ten(void)
{
    stress_execs(100, 10, .3, .4, .1);
}

static void thousand_execs(void)
{
    struct box b;

    start_new(&b);
    for (unsigned i = 0; i < 1000; i++) {
        must(box_exec(&b, 1000, NULL, ARGV("true")));
    }
    end(&b);
}

static void stress_many_execs(void)
{
    struct box b;
    unsigned ok = 0;
    unsigned tries = 0;

    fault(FAULT_EXEC_FAIL, .02, .op = OP_vm_exec);
    fault(FAULT_CRASH, .01, .op = OP_vm_exec);
    start_new(&b);
    for (unsigned round = 0; round_goes_on(&round, 300);) {
        tries++;
        ok += box_exec(&b, 1000, NULL, ARGV("true")) == DRUPE_OK ? 1 : 0;
        if (box_state(&b) != DRUPE_VM_RUNNING) {
            box_recreate(&b);
            must(box_start(&b));
        }
    }
    sim_check(ok * 2 > tries, "%u of %u succeeded", ok, tries);
    end(&b);
}

static void chaos_lifecycles(void)
{
    fault(FAULT_BOOT_FAIL, .1, .op = OP_vm_start);
    fault(FAULT_PAUSE_FAIL, .1, .op = OP_vm_pause);
    fault(FAULT_RESUME_FAIL, .1, .op = OP_vm_resume);
    fault(FAULT_EXEC_FAIL, .1, .op = OP_vm_exec);
    fault(FAULT_EXEC_TIMEOUT, .1, .op = OP_vm_exec);
    fault(FAULT_CRASH, .1, .op = OP_vm_exec);
    for (unsigned round = 0; round_goes_on(&round, 50);) {
        struct box b;

        box_new(&b);
        if (box_start(&b) == DRUPE_OK) {
            for (unsigned i = 0; i < 6; i++) {
                (void)box_exec(&b, 200, NULL, ARGV("count"));
            }
            if (box_pause(&b) == DRUPE_OK) {
                (void)box_resume(&b);
            }
        }
        box_destroy(&b);
    }
}

const struct scenario scenarios_exec[] = {
    { "vm-exec", "echo", 101, echo, EACH },
    { "vm-exec", "fault-surfaces", 202, exec_fault, EACH },
    { "vm-exec", "numbered-results", 303, numbered, EACH },
    { "libkrun", "fifty-execs-with-crashes", 0, fifty_with_crashes, EACH },
    { "libkrun", "pause-resume-exec", 0, pause_resume_exec, EACH },
    { "libkrun", "thirty-execs-with-timeouts", 0, thirty_with_timeouts, EACH },
    { "libkrun", "thirty-execs-with-failures", 0, thirty_with_failures, EACH },
    { "libkrun", "ten-start-exec-rounds", 42, ten_rounds, EACH },
    { "libkrun", "five-tasks-twenty-execs", 0, five_by_twenty, SOME },
    { "libkrun", "long-argument", 0, long_argument, EACH },
    { "libkrun", "stdin-9.9-mib", 0, almost_ten_mib, FEW },
    { "libkrun", "stdin-10.1-mib", 0, more_than_ten_mib, FEW },
    { "libkrun", "health", 0, health, EACH },
    { "libkrun", "statistics", 0, statistics, EACH },
    { "libkrun-sandbox", "ten-execs-with-crashes", 0, ten_with_crashes, EACH },
    { "libkrun-sandbox", "ten-execs-with-timeouts", 0, ten_with_timeouts, EACH },
    { "libkrun-sandbox", "ten-execs-with-failures", 0, ten_with_failures, EACH },
    { "libkrun-sandbox", "determinism", 42, ten_rounds, EACH },
    { "libkrun-sandbox", "stress-many-execs", 0, stress_many_execs, FEW },
    { "sandbox", "exit-codes", 0, codes, EACH },
    { "sandbox", "exec-determinism", 42, numbered, EACH },
    { "sandbox", "thousand-execs", 0, thousand_execs, FEW },
    { "shared", "determinism", 42, ten_rounds, EACH },
    { "shared", "twenty-execs-both-outcomes", 12345, twenty_with_failures, EACH },
    { "bug-hunt", "pauses-and-execs", 42, pauses_and_execs, FEW },
    { "bug-hunt", "hundred-by-ten", 11111, hundred_by_ten, FEW },
    { "chaos", "fifty-lifecycles", 6002, chaos_lifecycles, SOME },
    { "exec", "64-streams", 0, sixty_four_streams, EACH },
    { "exec", "guest-ends-under-execs", 0, guest_ends_under_execs, EACH },
    { "exec", "agent-hangs", 0, agent_hangs, EACH },
    { "exec", "agent-garbage", 0, agent_talks_garbage, EACH },
    { "exec", "vsock-resets", 0, vsock_resets, EACH },
    { "exec", "slow-network", 0, slow_network, EACH },
    { "exec", "network-partitions", 0, partitions, EACH },
    { "exec", "network-corruption", 0, corrupt_network, EACH },
    { "exec", "connection-exhaustion", 0, no_connections, EACH },
    { "exec", "out-of-memory", 0, no_memory, EACH },
    { NULL, NULL, 0, NULL, EACH },
};

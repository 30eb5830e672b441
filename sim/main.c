/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program `sim`: runs scenarios by seed, each twice, and compares the traces.
 *
 *     sim [--seeds N] [--scenario NAME] [--trace] [--no-keep] [--seeds-dir DIR] | --list
 *
 * DST_SEED=n runs that seed alone. A seed's scenarios run in a child process, so that one that
 * crashes is a failure among others.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/compiler.h>

#include "scenario.h"

#define SCENARIOS_MAX 256u
#define SEED_LIMIT_S  600u

/* Kinds that section 10 requires (its stars, and what its rule adds). */
static const enum sim_fault required[] = {
    FAULT_WRITE_FAIL,        FAULT_READ_FAIL,
    FAULT_STORAGE_CORRUPT,   FAULT_STORAGE_LATENCY,
    FAULT_DISK_FULL,         FAULT_MISDIRECTED_WRITE,
    FAULT_PARTIAL_WRITE,     FAULT_FSYNC_FAIL,
    FAULT_UNFLUSHED_LOSS,    FAULT_CRASH_BEFORE_WRITE,
    FAULT_CRASH_AFTER_WRITE, FAULT_CRASH_IN_TRANSACTION,
    FAULT_NET_PARTITION,     FAULT_NET_DELAY,
    FAULT_NET_LOSS,          FAULT_NET_REORDER,
    FAULT_NET_CORRUPT,       FAULT_NET_JITTER,
    FAULT_NET_EXHAUSTED,     FAULT_CLOCK_SKEW,
    FAULT_CLOCK_JUMP,        FAULT_OUT_OF_MEMORY,
    FAULT_CPU_STARVATION,    FAULT_FD_EXHAUSTION,
    FAULT_BOOT_FAIL,         FAULT_CRASH,
    FAULT_PAUSE_FAIL,        FAULT_RESUME_FAIL,
    FAULT_EXEC_FAIL,         FAULT_EXEC_TIMEOUT,
    FAULT_SNAPSHOT_FAIL,     FAULT_SNAPSHOT_CORRUPT,
    FAULT_RESTORE_FAIL,      FAULT_SNAPSHOT_TOO_LARGE,
    FAULT_UPLOAD_FAIL,       FAULT_DOWNLOAD_FAIL,
    FAULT_TELEPORT_TIMEOUT,  FAULT_ARCH_MISMATCH,
    FAULT_IMAGE_MISMATCH,    FAULT_KVM_RUN_ERROR,
    FAULT_TRIPLE_FAULT,      FAULT_VCPU_STUCK,
    FAULT_SHORT_READ,        FAULT_AGENT_HANG,
    FAULT_AGENT_GARBAGE,     FAULT_VSOCK_RESET,
    FAULT_SIGKILL,           FAULT_PAGE_STALL,
};

/* What a child tells its parent. */
struct record {
    unsigned scenario;
    bool is_begin; /* the rest follows in another one, unless the child dies */
    bool is_failed;
    uint64_t seed;
    uint64_t steps;
    uint64_t simulated_ns;
    uint64_t real_us;
    uint64_t fault_counts[64];
    char text[700];
};

struct tally {
    unsigned runs;
    unsigned failures;
    uint64_t steps;
    uint64_t faults;
    uint64_t real_us;
};

static const struct scenario *scenarios[SCENARIOS_MAX];
static unsigned scenario_count;
static struct tally tallies[SCENARIOS_MAX];
static uint64_t fault_totals[64];
static const char *only;
static const char *seeds_dir = "sim/seeds";
static bool is_traced;
static bool is_keeping = true;

static uint64_t real_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void full_name(const struct scenario *s, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/%s", s->suite, s->name);
}

static void collect(void)
{
    for (unsigned i = 0; scenario_suites[i] != NULL; i++) {
        for (const struct scenario *s = scenario_suites[i]; s->name != NULL; s++) {
            if (scenario_count < SCENARIOS_MAX) {
                scenarios[scenario_count++] = s;
            }
        }
    }
}

/* ---- One scenario ---- */

static void scenario_main(void *arg)
{
    ((const struct scenario *)arg)->run();
}

static void run_world(const struct scenario *s, uint64_t seed, bool trace, uint32_t disabled_rules,
                      struct sim_result *out)
{
    struct sim_options options = { .seed = seed,
                                   .is_traced = trace,
                                   .disabled_rules = disabled_rules };

    sim_run(&options, scenario_main, (void *)(uintptr_t)s, out);
}

/* Which rules can go while it still fails: what is left caused it. */
static void shrink(const struct scenario *s, uint64_t seed, const struct sim_result *failed,
                   char *text, size_t size)
{
    struct sim_result r;
    uint32_t disabled = 0;
    size_t n = (size_t)snprintf(text, size, "%s", failed->text);

    for (unsigned i = 0; i < 32 && i < failed->rule_count; i++) {
        run_world(s, seed, false, disabled | UINT32_C(1) << i, &r);
        disabled |= r.is_failed ? UINT32_C(1) << i : 0;
    }
    for (unsigned i = 0; i < failed->rule_count && n < size; i++) {
        if ((disabled >> i & 1) == 0) {
            n += (size_t)snprintf(text + n, size - n, "%s%s",
                                  n == strlen(failed->text) ? " [needs " : ", ",
                                  sim_fault_name((enum sim_fault)failed->rule_kinds[i]));
        }
    }
    if (n > strlen(failed->text) && n < size) {
        (void)snprintf(text + n, size - n, "]");
    }
}

static void run_scenario(unsigned index, uint64_t seed, struct record *out)
{
    struct sim_result first;
    struct sim_result second;
    uint64_t began_us = real_us();

    memset(out, 0, sizeof(*out));
    out->scenario = index;
    out->seed = seed;
    run_world(scenarios[index], seed, is_traced, 0, &first);
    if (first.is_failed) {
        out->is_failed = true;
        shrink(scenarios[index], seed, &first, out->text, sizeof(out->text));
    } else {
        run_world(scenarios[index], seed, false, 0, &second);
        if (memcmp(first.trace_hash, second.trace_hash, sizeof(first.trace_hash)) != 0) {
            out->is_failed = true;
            (void)snprintf(out->text, sizeof(out->text),
                           "two runs differ: %" PRIu64 " and %" PRIu64 " steps", first.steps,
                           second.steps);
        }
    }
    out->steps = first.steps;
    out->simulated_ns = first.time_ns;
    memcpy(out->fault_counts, first.fault_counts, sizeof(out->fault_counts));
    out->real_us = real_us() - began_us;
    if (is_traced) {
        (void)printf("trace ");
        for (size_t i = 0; i < sizeof(first.trace_hash); i++) {
            (void)printf("%02x", first.trace_hash[i]);
        }
        (void)printf(" after %" PRIu64 " steps\n", first.steps);
    }
}

/* ---- A child a seed ---- */

/* 0 as `seed`: the catalogue's own seeds, of the scenarios that have one. */
struct plan {
    uint64_t seed;
    unsigned number; /* of the seed in the run: who takes long runs with every n-th */
    int scenario;    /* only this one; -1: all */
};

static bool send(int fd, const struct record *r)
{
    const char *at = (const char *)r;
    size_t left = sizeof(*r);

    while (left > 0) {
        ssize_t n = write(fd, at, left);

        if (n <= 0) {
            return false;
        }
        at += n;
        left -= (size_t)n;
    }
    return true;
}

static bool is_chosen(unsigned i, const struct plan *plan)
{
    char name[160];

    full_name(scenarios[i], name, sizeof(name));
    if (plan->scenario >= 0) {
        return (unsigned)plan->scenario == i;
    }
    if (only != NULL && strstr(name, only) == NULL) {
        return false;
    }
    return plan->number % (unsigned)scenarios[i]->share == 0 &&
           (plan->seed != 0 || scenarios[i]->seed != 0);
}

static _Noreturn void child_main(int fd, const struct plan *plan)
{
    struct record r;
    bool is_told = true;

    (void)alarm(SEED_LIMIT_S);
    for (unsigned i = 0; i < scenario_count && is_told; i++) {
        if (!is_chosen(i, plan)) {
            continue;
        }
        uint64_t seed = plan->seed == 0 ? scenarios[i]->seed : plan->seed;

        r = (struct record){ .scenario = i, .is_begin = true, .seed = seed };
        is_told = send(fd, &r);
        run_scenario(i, seed, &r);
        is_told = is_told && send(fd, &r);
    }
    (void)fflush(stdout);
    _exit(is_told ? 0 : 1);
}

static bool receive(int fd, struct record *r)
{
    char *at = (char *)r;
    size_t left = sizeof(*r);

    while (left > 0) {
        ssize_t n = read(fd, at, left);

        if (n <= 0) {
            return false;
        }
        at += n;
        left -= (size_t)n;
    }
    return true;
}

/* ---- Failing seeds are kept ---- */

static void keep_seed(const struct scenario *s, uint64_t seed)
{
    char path[512];
    FILE *f = NULL;

    (void)snprintf(path, sizeof(path), "%s/%s.%s", seeds_dir, s->suite, s->name);
    f = fopen(path, "a");
    if (f == NULL) {
        (void)fprintf(stderr, "sim: keep the seed in %s: %s\n", path, strerror(errno));
        return;
    }
    (void)fprintf(f, "%" PRIu64 "\n", seed);
    (void)fclose(f);
}

static void note(const struct record *r)
{
    struct tally *t = &tallies[r->scenario];
    char name[160];

    t->runs++;
    t->steps += r->steps;
    t->real_us += r->real_us;
    for (unsigned k = 0; k < array_size(r->fault_counts); k++) {
        t->faults += r->fault_counts[k];
        fault_totals[k] += r->fault_counts[k];
    }
    if (r->is_failed) {
        t->failures++;
        full_name(scenarios[r->scenario], name, sizeof(name));
        (void)printf("FAILED %s seed %" PRIu64 ": %s\n", name, r->seed, r->text);
        (void)printf("       DST_SEED=%" PRIu64 " build/sim --scenario %s --trace\n", r->seed,
                     name);
        if (is_keeping && t->failures <= 3) {
            keep_seed(scenarios[r->scenario], r->seed);
        }
    }
}

static void run_plan(const struct plan *plan)
{
    struct record r;
    struct record begun = { .is_begin = false };
    int fds[2];
    int status = 0;

    (void)fflush(stdout);
    if (pipe(fds) < 0) {
        perror("sim: pipe");
        exit(1);
    }
    pid_t pid = fork();

    if (pid < 0) {
        perror("sim: fork");
        exit(1);
    }
    if (pid == 0) {
        (void)close(fds[0]);
        child_main(fds[1], plan);
    }
    (void)close(fds[1]);
    while (receive(fds[0], &r)) {
        begun.is_begin = r.is_begin;
        if (r.is_begin) {
            begun = r;
        } else {
            note(&r);
        }
    }
    (void)close(fds[0]);
    (void)waitpid(pid, &status, 0);
    if (begun.is_begin) {
        begun.is_failed = true;
        (void)snprintf(begun.text, sizeof(begun.text), "the program ended with %s %d",
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        note(&begun);
    }
}

/* ---- The whole ---- */

static void run_kept_seeds(void)
{
    for (unsigned i = 0; i < scenario_count; i++) {
        char path[512];
        char line[32];
        FILE *f = NULL;
        struct plan plan = { .scenario = (int)i };

        (void)snprintf(path, sizeof(path), "%s/%s.%s", seeds_dir, scenarios[i]->suite,
                       scenarios[i]->name);
        f = fopen(path, "r");
        while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
            plan.seed = strtoull(line, NULL, 10);
            if (plan.seed != 0 && is_chosen(i, &(struct plan){ .seed = 1, .scenario = -1 })) {
                run_plan(&plan);
            }
        }
        if (f != NULL) {
            (void)fclose(f);
        }
    }
}

static unsigned report(bool is_whole)
{
    unsigned failures = 0;
    struct tally all = { 0 };

    for (unsigned i = 0; i < scenario_count; i++) {
        const struct tally *t = &tallies[i];
        char name[160];

        if (t->runs == 0) {
            continue;
        }
        full_name(scenarios[i], name, sizeof(name));
        (void)printf("%-6s %-52s %5u runs %10" PRIu64 " steps %8" PRIu64 " faults %7" PRIu64
                     " ms\n",
                     t->failures == 0 ? "ok" : "FAILED", name, t->runs, t->steps, t->faults,
                     t->real_us / 1000);
        all.runs += t->runs;
        all.failures += t->failures;
        all.steps += t->steps;
        all.faults += t->faults;
        all.real_us += t->real_us;
    }
    failures = all.failures;
    for (unsigned k = 0; is_whole && k < array_size(required); k++) {
        if (fault_totals[required[k]] == 0) {
            (void)printf("FAILED %s: no scenario made it fire\n", sim_fault_name(required[k]));
            failures++;
        }
    }
    (void)printf("total: %u scenarios, %u runs (each twice), %u failed, %" PRIu64 " steps, %" PRIu64
                 " faults, %.1f s\n",
                 scenario_count, all.runs, failures, all.steps, all.faults,
                 (double)all.real_us / 1e6);
    return failures;
}

static void run_seeds(const uint64_t *fixed, unsigned fixed_count, uint64_t base, unsigned count)
{
    uint64_t shown_us = real_us();

    for (unsigned i = 0; i < count; i++) {
        struct plan plan = { .seed = i < fixed_count ? fixed[i] : base + i,
                             .number = i,
                             .scenario = -1 };

        run_plan(&plan);
        if (real_us() - shown_us > 10000000u) {
            shown_us = real_us();
            (void)fprintf(stderr, "sim: %u of %u seeds\n", i + 1, count);
        }
    }
}

static const char *shares(const struct scenario *s)
{
    return s->share == EACH ? "" : s->share == SOME ? "  one seed in 5" : "  one seed in 40";
}

static void list(void)
{
    char name[160];

    for (unsigned i = 0; i < scenario_count; i++) {
        full_name(scenarios[i], name, sizeof(name));
        if (scenarios[i]->seed == 0) {
            (void)printf("%-52s env%s\n", name, shares(scenarios[i]));
        } else {
            (void)printf("%-52s %" PRIu64 "%s\n", name, scenarios[i]->seed, shares(scenarios[i]));
        }
    }
}

static _Noreturn void usage(void)
{
    (void)fputs("usage: sim [--seeds N] [--scenario NAME] [--trace] [--no-keep]\n"
                "           [--seeds-dir DIR] | --list\n",
                stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    static const uint64_t fixed[] = { 42, 123, 456, 789, 1000, 12345 };
    const char *given = getenv("DST_SEED");
    uint64_t base = 0;
    unsigned count = array_size(fixed);

    /* Simulated disks come and go by megabytes: keep the pages. */
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    json_object_seed(1); /* once in a program: not when the first world happens to need it */
    collect();
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;

        if (strcmp(argv[i], "--list") == 0) {
            list();
            return 0;
        }
        if (strcmp(argv[i], "--trace") == 0) {
            is_traced = true;
        } else if (strcmp(argv[i], "--no-keep") == 0) {
            is_keeping = false;
        } else if (has_value && strcmp(argv[i], "--seeds") == 0) {
            count = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (has_value && strcmp(argv[i], "--scenario") == 0) {
            only = argv[++i];
        } else if (has_value && strcmp(argv[i], "--seeds-dir") == 0) {
            seeds_dir = argv[++i];
        } else {
            usage();
        }
    }
    if (given != NULL) {
        base = strtoull(given, NULL, 10);
        (void)printf("seed %" PRIu64 "\n", base);
        run_plan(&(struct plan){ .seed = base, .scenario = -1 });
        return report(false) == 0 ? 0 : 1;
    }
    if (getrandom(&base, sizeof(base), 0) != (ssize_t)sizeof(base)) {
        perror("sim: getrandom");
        return 1;
    }
    base >>= 16; /* easier to type; the streams are keyed by its hash */
    (void)printf("seed %" PRIu64 " (and those behind it; 42 123 456 789 1000 12345 first)\n", base);
    (void)fflush(stdout);
    run_plan(&(struct plan){ .seed = 0, .scenario = -1 });
    run_kept_seeds();
    run_seeds(fixed, array_size(fixed), base, count);
    return report(only == NULL) == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones in jailed shells that stand ready: from the request to the guest's first instruction, and
 * how many a second all on the calling CPU, shells being made behind them. Medians and the best of
 * one run.
 *
 *   shell GUEST_ELF SNAPSHOT [rate]     of the monitor's test guest, which prints numbers, or
 * (rate) waits for a signal and ends
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "drupe/shell.h"
#include "drupe/vm.h"

#define MEMORY_MIB 256u
#define ROUNDS     100u
#define RATE_S     2.0
#define READY      4u
#define WAIT_MS    60000

struct bench {
    drupe_vm_config_t cfg;
    const char *argv[3];
    const char *snapshot;
    struct drupe_restore_options restore;
    int output[2];
    char prefix[40];
};

struct series {
    double us[ROUNDS];
    unsigned count;
};

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void need(drupe_vm_err_t r, const struct drupe_error *err, const char *what)
{
    if (r != DRUPE_OK) {
        (void)fprintf(stderr, "shell: %s: %s %s\n", what, drupe_vm_err_name(r), err->text);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print(const char *what, struct series *s)
{
    qsort(s->us, s->count, sizeof(s->us[0]), compare);
    (void)printf("%-64s %7.0f us   (best %.0f, %u times)\n", what, s->us[s->count / 2], s->us[0],
                 s->count);
    (void)fflush(stdout);
}

static void drain(const struct bench *b)
{
    char text[4096];

    while (read(b->output[0], text, sizeof(text)) > 0) {
    }
}

static void wait_output(const struct bench *b)
{
    struct pollfd p = { .fd = b->output[0], .events = POLLIN };

    if (poll(&p, 1, WAIT_MS) != 1) {
        (void)fprintf(stderr, "shell: the guest prints nothing\n");
        exit(1);
    }
}

static void make_template(struct bench *b, const char *mode)
{
    const struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = b->snapshot, .fd = -1, .memory_fd = -1
    };
    struct drupe_error err;
    drupe_vm_t *vm = NULL;

    drain(b); /* of the template before */
    b->argv[1] = mode;
    need(drupe_vm_create(&b->cfg, &vm, &err), &err, "create");
    need(drupe_vm_start(vm, &err), &err, "start");
    wait_output(b);
    need(drupe_vm_snapshot(vm, &options, NULL, &err), &err, "snapshot");
    drupe_vm_destroy(vm);
    drain(b);
}

/* `is_loaded`: every shell has restored the snapshot already. */
static drupe_shells_t *open_shells(const struct bench *b, bool is_loaded, unsigned ready)
{
    struct drupe_shells_options options;
    struct drupe_jail_config jail;
    struct drupe_error err;
    drupe_shells_t *shells = NULL;

    drupe_jail_config_init(&jail);
    jail.id = b->prefix;
    jail.memory_max = (uint64_t)(MEMORY_MIB + 64) << 20;
    jail.pids_max = 16;
    jail.are_limits_optional = true;
    drupe_shells_options_init(&options);
    options.shape = &b->cfg;
    options.restore = is_loaded ? &b->restore : NULL;
    options.jail = &jail;
    options.ready = ready;
    need(drupe_shells_create(&options, &shells, &err), &err, "shells");
    need(drupe_shells_wait(shells, ready, WAIT_MS, &err), &err, "shells");
    return shells;
}

static drupe_vm_t *run_clone(const struct bench *b, drupe_shells_t *shells, bool is_loaded)
{
    const struct drupe_vm_streams streams = {
        .host_stdin = -1,
        .host_stdout = -1,
        .host_stderr = -1,
        .serial_log = b->output[1],
    };
    struct drupe_error err;
    drupe_vm_t *vm = NULL;

    need(drupe_shells_take(shells, is_loaded ? NULL : &b->restore, &streams, WAIT_MS, &vm, &err),
         &err, "take");
    need(drupe_vm_resume(vm, &err), &err, "resume");
    return vm;
}

/* When the first vCPU went into the guest; waits for that. */
static double entered_us(drupe_vm_t *vm)
{
    struct drupe_vm_stats stats = { .entered_ns = 0 };
    struct drupe_error err;

    while (stats.entered_ns == 0) {
        need(drupe_vm_stats(vm, &stats, &err), &err, "statistics");
    }
    return (double)stats.entered_ns / 1e3;
}

static void measure_latency(const struct bench *b, bool is_loaded, const char *what)
{
    drupe_shells_t *shells = open_shells(b, is_loaded, READY);
    struct series first = { .count = 0 };
    struct series output = { .count = 0 };
    char line[80];

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct drupe_error err;
        double begin = 0;
        drupe_vm_t *vm = NULL;

        need(drupe_shells_wait(shells, READY, WAIT_MS, &err), &err, "shells");
        drain(b);
        begin = now_us();
        vm = run_clone(b, shells, is_loaded);
        wait_output(b);
        output.us[output.count++] = now_us() - begin;
        first.us[first.count++] = entered_us(vm) - begin;
        drupe_vm_destroy(vm);
    }
    drupe_shells_destroy(shells);
    print(what, &first);
    (void)snprintf(line, sizeof(line), "  to its first output");
    print(line, &output);
}

/* CPU time of this process and of its children that have ended. */
static double spent_us(void)
{
    double us = 0;

    for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
        struct rusage r;

        (void)getrusage(who, &r);
        us += (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
              (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
    }
    return us;
}

/*
 * One after the other: each goes on, is told to end, and does. On a host with other work the second
 * figure says what the first would be without that.
 */
static void measure_rate(const struct bench *b, unsigned ready)
{
    drupe_shells_t *shells = open_shells(b, true, ready);
    double begin = now_us();
    double spent = spent_us();
    struct drupe_error err;
    unsigned count = 0;
    char line[80];

    while (now_us() - begin < RATE_S * 1e6) {
        drupe_vm_t *vm = NULL;

        vm = run_clone(b, shells, true);
        need(drupe_vm_signal(vm, SIGINT, &err), &err, "signal");
        need(drupe_vm_wait(vm, DRUPE_VM_ENDED, WAIT_MS, NULL, &err), &err, "wait");
        drupe_vm_destroy(vm);
        count++;
    }
    (void)snprintf(line, sizeof(line), "jailed clones a second on one CPU, %u kept ready", ready);
    (void)printf("%-64s %7.0f", line, count / ((now_us() - begin) / 1e6));
    drupe_shells_destroy(shells);
    (void)printf("      (%.0f us of CPU time each: %.0f a second)\n", (spent_us() - spent) / count,
                 count / ((spent_us() - spent) / 1e6));
}

/* ---- Memory ---- */

static unsigned long sum_lines(const char *path, const char *prefix)
{
    FILE *f = fopen(path, "re");
    char line[160];
    unsigned long total = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *colon = strchr(line, ':');

        if (colon != NULL && strncmp(line, prefix, strlen(prefix)) == 0) {
            total += strtoul(colon + 1, NULL, 10);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return total;
}

/* Children of any thread of this process, and what all of them have for themselves, KiB. */
static unsigned children(unsigned long *private_kib)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *e = NULL;
    unsigned count = 0;

    *private_kib = 0;
    while (tasks != NULL && (e = readdir(tasks)) != NULL) {
        char path[300];
        char text[4096] = "";
        FILE *f = NULL;
        char *at = text;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/children", e->d_name);
        f = fopen(path, "re");
        if (f != NULL) {
            text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
            (void)fclose(f);
        }
        for (char *word = strtok_r(text, " \n", &at); word != NULL;
             word = strtok_r(NULL, " \n", &at)) {
            (void)snprintf(path, sizeof(path), "/proc/%s/smaps_rollup", word);
            *private_kib += sum_lines(path, "Private_");
            count++;
        }
    }
    if (tasks != NULL) {
        (void)closedir(tasks);
    }
    return count;
}

static unsigned long kernel_kib(const struct bench *b)
{
    char path[200];
    char text[32] = "0";
    FILE *f = NULL;

    (void)snprintf(path, sizeof(path),
                   "/sys/fs/cgroup/memory/drupe/%s-0/memory.kmem.usage_in_bytes", b->prefix);
    f = fopen(path, "re");
    if (f != NULL) {
        text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
        (void)fclose(f);
    }
    return strtoul(text, NULL, 10) >> 10;
}

static void measure_memory(const struct bench *b)
{
    drupe_shells_t *shells = open_shells(b, true, READY);
    unsigned long kib = 0;
    unsigned count = children(&kib);

    (void)printf("%-64s %7lu KiB   (%u of them)\n",
                 "private memory of a jailed clone that stands ready", count == 0 ? 0 : kib / count,
                 count);
    (void)printf("%-64s %7lu KiB\n", "  kernel memory that its control group is charged for",
                 kernel_kib(b));

    drupe_shells_destroy(shells);
}

int main(int argc, char **argv)
{
    static struct bench b;

    const bool is_rate_only = argc == 4 && strcmp(argv[3], "rate") == 0;

    if ((argc != 3 && !is_rate_only) || pipe2(b.output, O_CLOEXEC | O_NONBLOCK) < 0) {
        (void)fprintf(stderr, "usage: shell GUEST_ELF SNAPSHOT [rate]\n");
        return 2;
    }
    drupe_vm_config_init(&b.cfg);
    b.cfg.accel = DRUPE_ACCEL_KVM;
    b.cfg.memory_mib = MEMORY_MIB;
    b.cfg.kernel_path = argv[1];
    b.cfg.is_quiet = true;
    b.cfg.serial_log = b.output[1];
    b.cfg.argv = b.argv;
    b.argv[0] = "guest";
    b.snapshot = argv[2];
    b.restore = (struct drupe_restore_options){ .struct_size = sizeof(b.restore),
                                                .path = b.snapshot,
                                                .fd = -1,
                                                .memory_fd = -1,
                                                .is_clone = true,
                                                .is_memory_trusted = true };
    (void)snprintf(b.prefix, sizeof(b.prefix), "bench-%d", (int)getpid());
    if (!is_rate_only) {
        make_template(&b, "count");
        measure_latency(&b, true, "clone from a ready shell to its first guest instruction");
        measure_latency(&b, false, "the same, its snapshot comes with the request");
        measure_memory(&b);
    }
    make_template(&b, "signal");
    measure_rate(&b, 1);
    measure_rate(&b, READY);
    (void)unlink(b.snapshot);
    return 0;
}

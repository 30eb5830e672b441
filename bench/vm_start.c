/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor's start: libdrupe runs a guest whose first act is to report its status. With -v it
 * prints where the time went and what the monitor holds in memory beyond the guest's RAM.
 *
 *   vm_start [-v] KERNEL [MEMORY_MIB [VCPUS]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drupe/vm.h"

#define MEMORY_MIB 128u

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Private memory of this process in KiB. */
static unsigned long private_kib(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    char line[128];
    unsigned long total = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *colon = strchr(line, ':');

        if (colon != NULL && strncmp(line, "Private_", 8) == 0) {
            total += strtoul(colon + 1, NULL, 10);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return total;
}

int main(int argc, char **argv)
{
    bool is_verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    char **args = argv + (is_verbose ? 2 : 1);
    const char *const workload[] = { "guest", "exit", NULL };
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;
    struct drupe_error err = { .code = DRUPE_OK };
    struct drupe_vm_outcome end;
    struct drupe_vm_stats stats;
    double begin = now_us();
    double started = 0;
    unsigned long kib = 0;

    if (args[0] == NULL) {
        (void)fprintf(stderr, "usage: vm_start [-v] KERNEL [MEMORY_MIB [VCPUS]]\n");
        return 2;
    }
    drupe_vm_config_init(&cfg);
    cfg.accel = DRUPE_ACCEL_KVM;
    cfg.kernel_path = args[0];
    cfg.memory_mib = args[1] == NULL ? MEMORY_MIB : (unsigned)strtoul(args[1], NULL, 10);
    cfg.vcpus = args[1] == NULL || args[2] == NULL ? 1 : (unsigned)strtoul(args[2], NULL, 10);
    cfg.argv = workload;
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK || drupe_vm_start(vm, &err) != DRUPE_OK) {
        (void)fprintf(stderr, "vm_start: %s\n", err.text);
        return 1;
    }
    started = now_us();
    if (drupe_vm_wait(vm, DRUPE_VM_ENDED, DRUPE_WAIT_FOREVER, NULL, &err) != DRUPE_OK ||
        drupe_vm_outcome(vm, &end, &err) != DRUPE_OK || end.kind != DRUPE_END_EXIT) {
        return 1;
    }
    if (is_verbose && drupe_vm_stats(vm, &stats, &err) == DRUPE_OK) {
        kib = private_kib();
        printf("create+start %.0f us, run %.0f us, private %lu KiB of which guest RAM %llu KiB\n",
               started - begin, now_us() - started, kib,
               (unsigned long long)(stats.memory_resident >> 10));
        (void)fflush(stdout);
    }
    _exit(end.status);
}

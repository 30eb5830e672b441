/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container runtime does with libkrun, and nothing else: a directory as root, a program in
 * it, its exit status.
 *
 *     crun [-m MIB] [-c CPUS] [-w DIR] [-e NAME=VALUE] ROOT PROGRAM [ARGUMENTS]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libkrun.h>

#define ENV_MAX 64

static int fail(const char *what, int32_t err)
{
    (void)fprintf(stderr, "crun: %s: %s\n", what, strerror(-err));
    return 125;
}

int main(int argc, char **argv)
{
    const char *env[ENV_MAX + 1] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/" };
    const char *directory = NULL;
    unsigned long memory_mib = 256;
    unsigned long cpus = 1;
    size_t env_count = 2;
    int32_t err;
    int option;

    while ((option = getopt(argc, argv, "+m:c:w:e:")) != -1) {
        if (option == 'm') {
            memory_mib = strtoul(optarg, NULL, 10);
        } else if (option == 'c') {
            cpus = strtoul(optarg, NULL, 10);
        } else if (option == 'w') {
            directory = optarg;
        } else if (option == 'e' && env_count < ENV_MAX) {
            env[env_count++] = optarg;
        } else {
            return 125;
        }
    }
    if (argc - optind < 2 || cpus > UINT8_MAX || memory_mib > UINT32_MAX) {
        (void)fprintf(stderr, "usage: crun [-m MIB] [-c CPUS] [-w DIR] [-e NAME=VALUE] ROOT "
                              "PROGRAM [ARGUMENTS]\n");
        return 125;
    }
    const int32_t made = krun_create_ctx();

    if (made < 0) {
        return fail("krun_create_ctx", made);
    }
    const uint32_t ctx = (uint32_t)made;

    err = krun_set_vm_config(ctx, (uint8_t)cpus, (uint32_t)memory_mib);
    if (err < 0) {
        return fail("krun_set_vm_config", err);
    }
    err = krun_set_root(ctx, argv[optind]);
    if (err < 0) {
        return fail("krun_set_root", err);
    }
    err = directory != NULL ? krun_set_workdir(ctx, directory) : 0;
    if (err < 0) {
        return fail("krun_set_workdir", err);
    }
    err = krun_set_exec(ctx, argv[optind + 1], (const char *const *)&argv[optind + 2], env);
    if (err < 0) {
        return fail("krun_set_exec", err);
    }
    return fail("krun_start_enter", krun_start_enter(ctx)); /* returns only if it failed */
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run a command many times and print how long it takes from spawn to exit, in microseconds.
 *
 *   repeat COUNT COMMAND [ARGUMENT...]       prints "p50 p90 min"
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#define COUNT_MAX 100000

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? strtol(argv[1], NULL, 10) : 0;
    double *us = NULL;

    if (count < 1 || count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: repeat COUNT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    us = calloc((size_t)count, sizeof(*us));
    for (long i = 0; us != NULL && i < count; i++) {
        double begin = now_us();
        int status = 0;
        pid_t pid = 0;

        if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0) {
            (void)fprintf(stderr, "repeat: %s failed with status 0x%x\n", argv[2],
                          (unsigned)status);
            free(us);
            return 1;
        }
        us[i] = now_us() - begin;
    }
    if (us == NULL) {
        return 1;
    }
    qsort(us, (size_t)count, sizeof(*us), by_value);
    printf("%.0f %.0f %.0f\n", us[count / 2], us[count * 9 / 10], us[0]);
    free(us);
    return 0;
}

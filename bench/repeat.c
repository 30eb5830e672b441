/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run a command many times and print how long it takes from spawn to exit, in microseconds.
 *
 *   repeat COUNT COMMAND [ARGUMENT...]       prints "p50 p90 min"
 *   repeat -o COUNT COMMAND [ARGUMENT...]    to the first byte of its output, "p50 p90 min"
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* Microseconds to its end, or with `has_output` to the first byte that it prints; < 0: it failed.
 */
static double run(char **argv, bool has_output)
{
    posix_spawn_file_actions_t actions;
    int output[2] = { -1, -1 };
    double begin = now_us();
    double us = 0;
    char bytes[4096];
    int status = 0;
    pid_t pid = 0;

    (void)posix_spawn_file_actions_init(&actions);
    if (has_output && (pipe2(output, O_CLOEXEC) < 0 ||
                       posix_spawn_file_actions_adddup2(&actions, output[1], 1) != 0)) {
        return -1;
    }
    status = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(output[1]);
    if (status != 0) {
        (void)fprintf(stderr, "repeat: %s: %s\n", argv[0], strerror(status));
        (void)close(output[0]);
        return -1;
    }
    if (has_output && read(output[0], bytes, sizeof(bytes)) > 0) {
        us = now_us() - begin;
        while (read(output[0], bytes, sizeof(bytes)) > 0) {
        }
    }
    (void)close(output[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        (void)fprintf(stderr, "repeat: %s failed with status 0x%x\n", argv[0], (unsigned)status);
        return -1;
    }
    return us > 0 ? us : now_us() - begin;
}

int main(int argc, char **argv)
{
    bool has_output = argc > 1 && strcmp(argv[1], "-o") == 0;
    char **rest = argv + has_output;
    long count = argc - has_output > 2 ? strtol(rest[1], NULL, 10) : 0;
    double *us = NULL;

    if (count < 1 || count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: repeat [-o] COUNT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    us = calloc((size_t)count, sizeof(*us));
    for (long i = 0; us != NULL && i < count; i++) {
        us[i] = run(rest + 2, has_output);
        if (us[i] < 0) {
            free(us);
            return 1;
        }
    }
    if (us == NULL) {
        return 1;
    }
    qsort(us, (size_t)count, sizeof(*us), by_value);
    printf("%.0f %.0f %.0f\n", us[count / 2], us[count * 9 / 10], us[0]);
    free(us);
    return 0;
}

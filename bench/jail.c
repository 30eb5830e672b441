/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a jail costs: preparing, spawning, ending, one after the other; means in microseconds. The
 * directories are on a tmpfs, as /run is on most hosts.
 *
 *   jail COUNT [own|shared] [no|limits] [reused]      reused: one jail, a process after the other
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <drupe/jail.h>

enum {
    PREPARE,
    READY,
    SPAWN,
    CONFINED_END,
    DESTROY,
    PHASES
};

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* As a monitor does it: confined, then gone. */
static int jailed(void *ctx)
{
    struct drupe_error err;

    (void)ctx;
    return drupe_jail_confine(DRUPE_JAIL_THREAD_MAIN, &err) == DRUPE_OK ? 0 : 1;
}

struct kind {
    bool is_shared;
    bool has_limits;
    bool is_reused;
};

static int make_jail(const struct kind *k, const char *id, const char *directory,
                     drupe_jail_t **out)
{
    struct drupe_jail_config cfg;
    struct drupe_error err = { .code = DRUPE_OK };

    drupe_jail_config_init(&cfg);
    cfg.id = id;
    cfg.directory = directory;
    cfg.shares_netns = k->is_shared;
    cfg.is_reusable = k->is_reused;
    if (k->has_limits) {
        cfg.memory_max = UINT64_C(320) << 20;
        cfg.pids_max = 16;
        cfg.cpu_percent = 100;
    }
    if (drupe_jail_prepare(&cfg, out, &err) != DRUPE_OK) {
        (void)fprintf(stderr, "jail: %s\n", err.text);
        return 1;
    }
    return 0;
}

/* *reused: the jail that is used again, NULL at first. */
static int run_one(const struct kind *k, unsigned number, drupe_jail_t **reused, double *us)
{
    drupe_jail_t *jail = *reused;
    struct drupe_error err = { .code = DRUPE_OK };
    char id[48];
    char directory[80];
    double at[PHASES + 1];
    pid_t pid = -1;
    int status = 0;

    (void)snprintf(id, sizeof(id), "bench-%d-%u", (int)getpid(), number);
    (void)snprintf(directory, sizeof(directory), "/dev/shm/%s", id);
    if (jail == NULL && mkdir(directory, 0700) < 0) {
        perror(directory);
        return 1;
    }
    at[PREPARE] = now_us();
    if (jail == NULL && make_jail(k, id, directory, &jail) != 0) {
        return 1;
    }
    at[READY] = now_us();
    status = drupe_jail_ready(jail, &err) == DRUPE_OK ? 0 : 1;
    at[SPAWN] = now_us();
    if (status != 0 ||
        drupe_jail_spawn(jail, NULL, NULL, 0, jailed, NULL, &pid, &err) != DRUPE_OK) {
        (void)fprintf(stderr, "jail: %s\n", err.text);
        drupe_jail_destroy(jail);
        return 1;
    }
    at[CONFINED_END] = now_us();
    (void)waitpid(pid, &status, 0);
    at[DESTROY] = now_us();
    if (!k->is_reused) {
        drupe_jail_destroy(jail);
    } else if (drupe_jail_reset(jail, &err) == DRUPE_OK) {
        *reused = jail;
    } else {
        (void)fprintf(stderr, "jail: %s\n", err.text);
        return 1;
    }
    at[PHASES] = now_us();
    (void)rmdir(directory);
    for (int i = 0; i < PHASES; i++) {
        us[i] += at[i + 1] - at[i];
    }
    return status;
}

int main(int argc, char **argv)
{
    const unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100;
    const struct kind k = {
        .is_shared = argc > 2 && strcmp(argv[2], "shared") == 0,
        .has_limits = argc > 3 && strcmp(argv[3], "limits") == 0,
        .is_reused = argc > 4 && strcmp(argv[4], "reused") == 0,
    };
    drupe_jail_t *reused = NULL;
    double us[PHASES] = { 0 };
    double begin = now_us();
    double took = 0;
    int status = 0;

    for (unsigned i = 0; i < count && status == 0; i++) {
        status = run_one(&k, i, &reused, us);
    }
    took = now_us() - begin;
    drupe_jail_destroy(reused);
    if (status != 0) {
        return 1;
    }
    printf("network namespace %-6s limits %-3s %-6s: prepare %.0f, then ready %.0f, spawn %.0f, "
           "end %.0f, destroy %.0f us; %.0f a second\n",
           k.is_shared ? "shared" : "own", k.has_limits ? "yes" : "no", k.is_reused ? "reused" : "",
           us[PREPARE] / count, us[READY] / count, us[SPAWN] / count, us[CONFINED_END] / count,
           us[DESTROY] / count, count * 1e6 / took);
    return 0;
}

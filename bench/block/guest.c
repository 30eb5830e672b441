/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a disk from inside a machine, and prints what it did: one line a run,
 *
 *     <name> <depth> <bytes> <operations> <nanoseconds>
 *
 *     guest DEVICE MILLISECONDS       every load, so long each
 *     guest DEVICE LOAD OPERATIONS    so many of one kind, one after the other
 *
 * As many processes as the depth says, each with one request under way. The kernel's block devices
 * have no cache, so each operation is one at the device. Random places come from a fixed seed: each
 * run asks for the same ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define DEPTH_MAX 16u
#define BLOCK_MAX (64u << 10)

struct load {
    const char *name;
    bool is_write;
    bool is_random;
    unsigned block;
    unsigned depth;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 24;
}

/* What the processes of one load share. */
struct crew {
    _Atomic unsigned ready;
    _Atomic uint64_t start_ns;  /* 0: not yet */
    int64_t results[DEPTH_MAX]; /* operations done, or -errno */
    uint64_t end_ns[DEPTH_MAX]; /* after the last one */
};

static int64_t work(const struct load *l, unsigned number, int fd, uint64_t size, uint64_t end_ns,
                    uint64_t limit)
{
    static char buffer[BLOCK_MAX] __attribute__((aligned(4096)));
    const uint64_t count = size / l->block;
    uint64_t seed = number;
    uint64_t at = count / l->depth * number;
    int64_t done = 0;

    while ((uint64_t)done < limit && (done == 0 || now_ns() < end_ns)) {
        const uint64_t block = l->is_random ? next_random(&seed) % count : at++ % count;
        const off_t offset = (off_t)(block * l->block);

        if (done == 0) {
            memset(buffer, (int)number + 1, l->block);
        }
        const ssize_t n = l->is_write ? pwrite(fd, buffer, l->block, offset)
                                      : pread(fd, buffer, l->block, offset);

        if (n != (ssize_t)l->block) {
            return n < 0 ? -errno : -EIO;
        }
        done++;
    }
    return done;
}

/* A child: says that it is there, and begins with the others. */
static _Noreturn void join_in(struct crew *c, const struct load *l, unsigned number, int fd,
                              uint64_t size, uint64_t for_ns)
{
    uint64_t start;

    (void)atomic_fetch_add(&c->ready, 1);
    while ((start = atomic_load(&c->start_ns)) == 0) {
        (void)usleep(10000);
    }
    c->results[number] = work(l, number, fd, size, start + for_ns, UINT64_MAX);
    c->end_ns[number] = now_ns();
    _exit(0);
}

static int run(const struct load *l, struct crew *c, int fd, uint64_t size, uint64_t for_ns)
{
    uint64_t done = 0;

    atomic_store(&c->ready, 0);
    atomic_store(&c->start_ns, 0);
    for (unsigned i = 1; i < l->depth; i++) {
        c->results[i] = -ECHILD;
        const pid_t child = fork();

        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child == 0) {
            join_in(c, l, i, fd, size, for_ns);
        }
    }
    while (atomic_load(&c->ready) < l->depth - 1) {
        (void)usleep(10000);
    }
    const uint64_t start = now_ns();

    atomic_store(&c->start_ns, start);
    c->results[0] = work(l, 0, fd, size, start + for_ns, UINT64_MAX);
    c->end_ns[0] = now_ns();
    while (wait(NULL) > 0) {
    }
    uint64_t end = start;

    for (unsigned i = 0; i < l->depth; i++) {
        if (c->results[i] < 0) {
            (void)fprintf(stderr, "%s: %s\n", l->name, strerror((int)-c->results[i]));
            return 1;
        }
        done += (uint64_t)c->results[i];
        end = c->end_ns[i] > end ? c->end_ns[i] : end;
    }
    printf("%s %u %llu %llu %llu\n", l->name, l->depth, (unsigned long long)done * l->block,
           (unsigned long long)done, (unsigned long long)(end - start));
    return fflush(stdout);
}

static const struct load loads[] = {
    { "read-64k", false, false, 64u << 10, 1 }, { "read-64k", false, false, 64u << 10, 16 },
    { "write-64k", true, false, 64u << 10, 1 }, { "write-64k", true, false, 64u << 10, 16 },
    { "random-read-4k", false, true, 4096, 1 }, { "random-read-4k", false, true, 4096, 16 },
    { "random-write-4k", true, true, 4096, 1 }, { "random-write-4k", true, true, 4096, 16 },
};

/* The first load of this name. */
static int run_counted(const char *name, uint64_t count, int fd, uint64_t size)
{
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        if (strcmp(loads[i].name, name) == 0) {
            const int64_t done = work(&loads[i], 0, fd, size, UINT64_MAX, count);

            return done == (int64_t)count ? 0 : 1;
        }
    }
    (void)fprintf(stderr, "no load %s\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t size = 0;
    int status = 0;

    if (argc != 3 && argc != 4) {
        (void)fprintf(stderr, "usage: guest DEVICE MILLISECONDS | DEVICE LOAD OPERATIONS\n");
        return 2;
    }
    const int fd = open(argv[1], O_RDWR | O_CLOEXEC);

    struct crew *crew =
        mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (crew == MAP_FAILED) {
        perror("memory");
        return 1;
    }
    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0 || size < (uint64_t)DEPTH_MAX * BLOCK_MAX) {
        perror(argv[1]);
        return 1;
    }
    if (argc == 4) {
        return run_counted(argv[2], strtoull(argv[3], NULL, 10), fd, size);
    }
    for (size_t i = 0; status == 0 && i < sizeof(loads) / sizeof(loads[0]); i++) {
        status = run(&loads[i], crew, fd, size, strtoull(argv[2], NULL, 10) * 1000000u);
    }
    (void)close(fd);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The platform on a POSIX host with Linux futexes: memory, time, threads. Files are in files.c. */
#include "platform/posix/posix.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void *posix_reserve(void *self, size_t size, size_t align)
{
    (void)self;
    size_t slack = align > 4096 ? align : 0;
    uint8_t *p =
        mmap(NULL, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    size_t head = (size_t)(-(uintptr_t)p & (align - 1));

    if (slack != 0) {
        if (head != 0) {
            (void)munmap(p, head);
        }
        if (slack != head) {
            (void)munmap(p + head + size, slack - head);
        }
    }
    return p + (slack != 0 ? head : 0);
}

static int posix_commit(void *self, void *addr, size_t size)
{
    (void)self;
    return mprotect(addr, size, PROT_READ | PROT_WRITE) == 0 ? PLATFORM_OK : PLATFORM_ENOMEM;
}

static void posix_purge(void *self, void *addr, size_t size)
{
    (void)self;
    (void)madvise(addr, size, MADV_DONTNEED);
}

static void posix_release(void *self, void *addr, size_t size)
{
    (void)self;
    (void)munmap(addr, size);
}

static uint64_t posix_mono_ns(void *self)
{
    (void)self;
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t posix_wall_ns(void *self)
{
    (void)self;
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static unsigned posix_cpu_count(void *self)
{
    (void)self;
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return (unsigned)CPU_COUNT(&set);
    }
    return 1;
}

struct start {
    void (*fn)(void *);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct start s = *(struct start *)arg;

    free(arg);
    s.fn(s.arg);
    return NULL;
}

static int posix_thread_start(void *self, unsigned index, void (*fn)(void *), void *arg,
                              uintptr_t *out)
{
    (void)self;
    (void)index; /* pinning starves a worker when another program holds its CPU */
    struct start *s = malloc(sizeof(*s));
    pthread_t thread;

    if (s == NULL) {
        return PLATFORM_ENOMEM;
    }
    *s = (struct start){ fn, arg };
    if (pthread_create(&thread, NULL, thread_main, s) != 0) {
        free(s);
        return PLATFORM_ENOMEM;
    }
    *out = (uintptr_t)thread;
    return PLATFORM_OK;
}

static void posix_thread_join(void *self, uintptr_t thread)
{
    (void)self;
    (void)pthread_join((pthread_t)thread, NULL);
}

static void posix_yield(void *self)
{
    (void)self;
    (void)sched_yield();
}

static void posix_wake_wait(void *self, struct platform_wake *w, uint64_t until_ns)
{
    for (;;) {
        /* acquire: pairs with the release in posix_wake_signal() */
        if (atomic_exchange_explicit(&w->state, 0, memory_order_acquire) != 0) {
            return;
        }
        struct timespec t;
        struct timespec *limit = NULL;

        if (until_ns != PLATFORM_FOREVER) {
            if (posix_mono_ns(self) >= until_ns) {
                return;
            }
            t.tv_sec = (time_t)(until_ns / 1000000000u);
            t.tv_nsec = (long)(until_ns % 1000000000u);
            limit = &t;
        }
        /* WAIT_BITSET takes an absolute monotonic deadline. */
        (void)syscall(SYS_futex, &w->state, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, limit, NULL,
                      FUTEX_BITSET_MATCH_ANY);
    }
}

static void posix_wake_signal(void *self, struct platform_wake *w)
{
    (void)self;
    if (atomic_exchange_explicit(&w->state, 1, memory_order_release) == 0) {
        (void)syscall(SYS_futex, &w->state, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
    }
}

static int posix_entropy(void *self, void *p, size_t n)
{
    (void)self;
    return getrandom(p, n, 0) == (ssize_t)n ? PLATFORM_OK : PLATFORM_EIO;
}

static void posix_fatal(void *self, const char *message)
{
    (void)self;
    (void)fprintf(stderr, "lona: %s\n", message);
    abort();
}

static const struct platform posix = {
    .reserve = posix_reserve,
    .commit = posix_commit,
    .purge = posix_purge,
    .release = posix_release,
    .mono_ns = posix_mono_ns,
    .wall_ns = posix_wall_ns,
    .cpu_count = posix_cpu_count,
    .thread_start = posix_thread_start,
    .thread_join = posix_thread_join,
    .yield_cpu = posix_yield,
    .wake_wait = posix_wake_wait,
    .wake_signal = posix_wake_signal,
    .console_write = posix_console_write,
    .console_read = posix_console_read,
    .file_read = posix_file_read,
    .file_free = posix_file_free,
    .file_write = posix_file_write,
    .file_remove = posix_file_remove,
    .file_kind = posix_file_kind,
    .dir_list = posix_dir_list,
    .env_get = posix_env_get,
    .entropy = posix_entropy,
    .fatal = posix_fatal,
};

const struct platform *platform_posix(void)
{
    return &posix;
}

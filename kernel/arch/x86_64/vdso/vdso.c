/* SPDX-License-Identifier: Apache-2.0 */
/* The vDSO: clocks without a system call. Runs in ring 3; what it can't answer it asks the kernel.
 */

#include <stdatomic.h>
#include <stddef.h>

#include "vdso_data.h"

#define SYS_gettimeofday  96
#define SYS_time          201
#define SYS_clock_gettime 228
#define SYS_getcpu        309

#define CLOCK_REALTIME         0
#define CLOCK_MONOTONIC        1
#define CLOCK_MONOTONIC_RAW    4
#define CLOCK_REALTIME_COARSE  5
#define CLOCK_MONOTONIC_COARSE 6
#define CLOCK_BOOTTIME         7

#define NSEC_PER_SEC 1000000000u

extern const struct vdso_data vdso_data __attribute__((visibility("hidden")));

struct timespec {
    int64_t sec;
    int64_t nsec;
};

struct timeval {
    int64_t sec;
    int64_t usec;
};

int __vdso_clock_gettime(int clock, struct timespec *ts);
int __vdso_gettimeofday(struct timeval *tv, void *tz);
int64_t __vdso_time(int64_t *t);
long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused);

static long system_call(long nr, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

static uint64_t read_counter(void)
{
    uint32_t low;
    uint32_t high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* 1 and *ns, or 0: ask the kernel. */
static int read_clock(int is_realtime, uint64_t *ns)
{
    const volatile struct vdso_data *d = &vdso_data; /* the kernel writes: read in each round */
    uint32_t before;
    uint64_t value;

    do {
        before = atomic_load_explicit(&d->sequence, memory_order_acquire);
        if (!d->has_counter) {
            return 0;
        }
        value = (uint64_t)((unsigned __int128)(read_counter() - d->counter_base) * d->mult >>
                           d->shift) +
                d->monotonic_base_ns + (is_realtime ? d->realtime_offset_ns : 0);
        if (d->generation != d->generation_known) {
            return 0; /* the counter went on while the machine stood still */
        }
        /* Keeps the reads above from moving below the second look at the sequence. */
        atomic_thread_fence(memory_order_acquire);
    } while ((before & 1) != 0 ||
             atomic_load_explicit(&d->sequence, memory_order_relaxed) != before);
    *ns = value;
    return 1;
}

int __vdso_clock_gettime(int clock, struct timespec *ts)
{
    uint64_t ns;
    int is_realtime = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    int is_known = is_realtime || clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
                   clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;

    if (!is_known || !read_clock(is_realtime, &ns)) {
        return (int)system_call(SYS_clock_gettime, clock, (long)ts, 0);
    }
    ts->sec = (int64_t)(ns / NSEC_PER_SEC);
    ts->nsec = (int64_t)(ns % NSEC_PER_SEC);
    return 0;
}

int __vdso_gettimeofday(struct timeval *tv, void *tz)
{
    uint64_t ns;

    if (tz || !tv || !read_clock(1, &ns)) {
        return (int)system_call(SYS_gettimeofday, (long)tv, (long)tz, 0);
    }
    tv->sec = (int64_t)(ns / NSEC_PER_SEC);
    tv->usec = (int64_t)(ns % NSEC_PER_SEC / 1000);
    return 0;
}

int64_t __vdso_time(int64_t *t)
{
    uint64_t ns;

    if (!read_clock(1, &ns)) {
        return system_call(SYS_time, (long)t, 0, 0);
    }
    if (t) {
        *t = (int64_t)(ns / NSEC_PER_SEC);
    }
    return (int64_t)(ns / NSEC_PER_SEC);
}

/* RDTSCP and LSL answer for the wrong machine where ring 3 runs natively under an interpreted ring
 * 0. */
long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
    return system_call(SYS_getcpu, (long)cpu, (long)node, (long)unused);
}

/* The names that Linux gives them besides. */
int clock_gettime(int clock, struct timespec *ts)
    __attribute__((weak, alias("__vdso_clock_gettime")));
int gettimeofday(struct timeval *tv, void *tz) __attribute__((weak, alias("__vdso_gettimeofday")));
int64_t time(int64_t *t) __attribute__((weak, alias("__vdso_time")));
long getcpu(unsigned *cpu, unsigned *node, void *unused)
    __attribute__((weak, alias("__vdso_getcpu")));

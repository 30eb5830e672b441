/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks and sleeps: which exist, order, resolution, absolute and relative, CPU time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static long long ns_of(clockid_t clock)
{
    struct timespec t = { 0, 0 };

    syscall(SYS_clock_gettime, clock, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(void)
{
    struct timespec t;
    long long a;
    long long b;

    for (int clock = -1; clock < 14; clock++) {
        errno = 0;
        if (clock == -1 || clock == 10 || clock >= 12) {
            printf("clock %d: %ld errno %d\n", clock,
                   syscall(SYS_clock_gettime, clock == -1 ? 77 : clock, &t), errno);
        } else {
            long r = syscall(SYS_clock_gettime, clock, &t);

            printf("clock %d: %ld, nanoseconds %s, res %ld\n", clock, r,
                   t.tv_nsec >= 0 && t.tv_nsec < 1000000000 ? "fine" : "wrong",
                   syscall(SYS_clock_getres, clock, &t));
        }
    }
    a = ns_of(CLOCK_MONOTONIC);
    for (int i = 0; i < 10000; i++) {
        b = ns_of(CLOCK_MONOTONIC);
        if (b < a) {
            printf("went back\n");
        }
        a = b;
    }
    struct timeval tv;

    gettimeofday(&tv, NULL);
    printf("realtime agrees: %d\n", llabs(tv.tv_sec - (long long)time(NULL)) <= 1 &&
                                        llabs(ns_of(CLOCK_REALTIME) / 1000000000 - tv.tv_sec) <= 1);
    a = ns_of(CLOCK_MONOTONIC);
    usleep(1000);
    b = ns_of(CLOCK_MONOTONIC);
    printf("1 ms sleep: %s\n", b - a >= 1000000 && b - a < 50000000 ? "about 1 ms" : "not");
    t = (struct timespec){ 0, 50000000 };
    a = ns_of(CLOCK_MONOTONIC);
    printf("clock_nanosleep %d", clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL));
    printf(" slept %d\n", ns_of(CLOCK_MONOTONIC) - a >= 50000000);
    a = ns_of(CLOCK_REALTIME) + 50000000;
    t = (struct timespec){ a / 1000000000, a % 1000000000 };
    printf("absolute realtime %d", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL));
    printf(" reached %d\n", ns_of(CLOCK_REALTIME) >= a);
    printf("past %d\n",
           clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){ 0, 1 }, NULL));
    t = (struct timespec){ 0, 1000000000 };
    printf("bad %d", nanosleep(&t, NULL));
    printf(" errno %d\n", errno);
    t = (struct timespec){ -1, 0 };
    printf("negative %d\n", clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL));
    t = (struct timespec){ 0, 0 };
    printf("cpu clock %d\n", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL));

    a = ns_of(CLOCK_PROCESS_CPUTIME_ID);
    b = ns_of(CLOCK_MONOTONIC);
    /* A machine with much to do takes its time. */
    while (ns_of(CLOCK_PROCESS_CPUTIME_ID) - a < 100000000 &&
           ns_of(CLOCK_MONOTONIC) - b < 20000000000) {
    }
    a = ns_of(CLOCK_PROCESS_CPUTIME_ID) - a;
    b = ns_of(CLOCK_MONOTONIC) - b;
    printf("busy used CPU %d, not more than there was %d\n", a >= 100000000, a < b + 100000000);
    a = ns_of(CLOCK_THREAD_CPUTIME_ID);
    usleep(100000);
    printf("sleeping used none %d\n", ns_of(CLOCK_THREAD_CPUTIME_ID) - a < 30000000);
    struct rusage r;
    struct tms tms;

    getrusage(RUSAGE_SELF, &r);
    printf("rusage %d\n", r.ru_utime.tv_sec * 1000 + r.ru_utime.tv_usec / 1000 +
                                  r.ru_stime.tv_sec * 1000 + r.ru_stime.tv_usec / 1000 >=
                              20);
    printf("times %d\n", times(&tms) > 0 && tms.tms_utime + tms.tms_stime >= 2);
    return 0;
}

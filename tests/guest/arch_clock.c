/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks of the vDSO and of the system calls are one clock, and it does not go back. */

#include <stdint.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t ns(const struct timespec *ts)
{
    return ts->tv_sec * 1000000000 + ts->tv_nsec;
}

static void compare(const char *name, clockid_t clock)
{
    struct timespec a, b, c;
    int back = 0;
    int far = 0;

    for (int i = 0; i < 200; i++) {
        syscall(SYS_clock_gettime, clock, &a);
        clock_gettime(clock, &b);
        syscall(SYS_clock_gettime, clock, &c);
        back += ns(&a) > ns(&b) || ns(&b) > ns(&c);
        far += ns(&c) - ns(&a) > 1000000000;
    }
    printf("%s: went back %d times, jumped %d times\n", name, back, far);
}

int main(void)
{
    struct timespec before, after, nap = { 0, 20000000 };
    struct timeval tv;
    time_t t = time(NULL);

    compare("monotonic", CLOCK_MONOTONIC);
    compare("realtime", CLOCK_REALTIME);
    gettimeofday(&tv, NULL);
    printf("time and gettimeofday agree: %d\n", tv.tv_sec - t <= 1);
    printf("this century: %d\n", t > 1700000000);
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("slept long enough: %d\n", ns(&after) - ns(&before) >= 20000000);
    printf("slept not too long: %d\n", ns(&after) - ns(&before) < 5000000000);
    printf("vDSO: %d\n", getauxval(AT_SYSINFO_EHDR) != 0);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The upper halves of vectors belong to their thread as well: over switches, faults, signals and
 * forks. Where a program must not use AVX, there is nothing to lose. */

#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 300

static int has_avx2(void)
{
    unsigned a, b, c, d, low, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX)) {
        return 0;
    }
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) != 0;
}

/* The value in both halves of a vector, a first touch and a system call, and what is there then. */
static int is_kept(uint64_t value, volatile char *fresh, long call, long argument)
{
    uint64_t low, high;

    __asm__ volatile("vmovq %[value], %%xmm7\n"
                     "vpbroadcastq %%xmm7, %%ymm7\n"
                     "movb $1, (%[fresh])\n"
                     "syscall\n"
                     "vmovq %%xmm7, %[low]\n"
                     "vextracti128 $1, %%ymm7, %%xmm6\n"
                     "vmovq %%xmm6, %[high]\n"
                     : [low] "=&r"(low), [high] "=&r"(high), "+a"(call)
                     : [value] "r"(value), [fresh] "r"(fresh), "D"((long)getpid()), "S"(argument)
                     : "rcx", "r11", "xmm6", "xmm7", "memory");
    return low == value && high == value;
}

static void *worker(void *arg)
{
    char *fresh =
        mmap(NULL, ROUNDS * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long bad = 0;

    for (int i = 0; i < ROUNDS; i++) {
        bad += !is_kept(((uint64_t)(uintptr_t)arg << 32) + (uint64_t)i, fresh + i * 4096,
                        24 /* sched_yield */, 0);
    }
    munmap(fresh, ROUNDS * 4096);
    return (void *)bad;
}

static void spoil(int signo)
{
    (void)signo;
    __asm__ volatile("vpcmpeqd %%ymm7, %%ymm7, %%ymm7" : : : "xmm7");
    sched_yield();
}

static void threads(void)
{
    pthread_t t[6];
    long bad = 0;

    for (uintptr_t i = 0; i < 6; i++) {
        pthread_create(&t[i], NULL, worker, (void *)(i + 1));
    }
    for (int i = 0; i < 6; i++) {
        void *result;

        pthread_join(t[i], &result);
        bad += (long)result;
    }
    printf("threads: %ld values lost\n", bad);
    fflush(stdout);
}

static void processes(void)
{
    int bad = 0;
    int status = 0;

    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            _exit(worker((void *)(uintptr_t)(i + 100)) != NULL);
        }
    }
    while (wait(&status) > 0) {
        bad += status != 0;
    }
    printf("processes: %d failed\n", bad);
    fflush(stdout);
}

static void signals(void)
{
    char byte = 0;
    int bad = 0;

    signal(SIGUSR1, spoil);
    for (int i = 0; i < ROUNDS; i++) {
        bad += !is_kept(0x1234567890abcdefu + (uint64_t)i, &byte, 62 /* kill */, SIGUSR1);
    }
    printf("signals: %d values lost\n", bad);
    fflush(stdout);
}

/* A child has its parent's, and neither changes the other's. */
static void forks(void)
{
    const pid_t parent = getpid();
    int bad = 0;

    for (int i = 0; i < 20; i++) {
        char byte = 0;
        int kept = is_kept((uint64_t)(i + 1) << 40, &byte, 57 /* fork */, 0);
        int status = 0;

        if (getpid() != parent) {
            spoil(0);
            _exit(!kept);
        }
        bad += !kept || wait(&status) < 0 || status != 0;
    }
    printf("forks: %d failed\n", bad);
}

int main(void)
{
    if (!has_avx2()) {
        printf("threads: 0 values lost\nprocesses: 0 failed\nsignals: 0 values lost\nforks: 0 "
               "failed\n");
        return 0;
    }
    threads();
    processes();
    signals();
    forks();
    return 0;
}

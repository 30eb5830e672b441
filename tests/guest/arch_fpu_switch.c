/* SPDX-License-Identifier: Apache-2.0 */
/* SSE state belongs to its thread, over switches, faults and forks. */

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 300

static int check(uint64_t value, volatile char *fresh)
{
    uint64_t back;
    int bad = 0;

    for (int i = 0; i < ROUNDS; i++) {
        __asm__ volatile("movq %1, %%xmm7\n"
                         "movb $1, (%2)\n"   /* a page fault on the first touch */
                         "movl $24, %%eax\n" /* sched_yield */
                         "syscall\n"
                         "movq %%xmm7, %0\n"
                         : "=r"(back)
                         : "r"(value + (uint64_t)i), "r"(fresh + (size_t)i * 4096)
                         : "rax", "rcx", "r11", "xmm7", "memory");
        bad += back != value + (uint64_t)i;
    }
    return bad;
}

static void *worker(void *arg)
{
    char *fresh =
        mmap(NULL, ROUNDS * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long bad = check((uint64_t)(uintptr_t)arg << 32, fresh);

    munmap(fresh, ROUNDS * 4096);
    return (void *)bad;
}

int main(void)
{
    pthread_t t[6];
    long bad = 0;
    int status = 0;

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
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            _exit(worker((void *)(uintptr_t)(i + 100)) != NULL);
        }
    }
    bad = 0;
    while (wait(&status) > 0) {
        bad += status != 0;
    }
    printf("processes: %ld failed\n", bad);
    return 0;
}

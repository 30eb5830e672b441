// SPDX-License-Identifier: Apache-2.0
/*
 * Pages touched one after the other when no clean memory is left: what one fault maps besides its
 * own page must not take the place of what is there.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define PAGE       4096ul
#define PAGES      64u
#define LEFT_SIZE  (6ul << 20)
#define TOUCH_SIZE (96ul << 20) /* at most: a small guest has less */

static unsigned char *map(size_t size)
{
    unsigned char *at =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

/* Every free frame has been somebody's. */
static void use_memory(void)
{
    struct sysinfo info;
    size_t size = TOUCH_SIZE;
    unsigned char *at;

    sysinfo(&info);
    if (info.freeram < size + LEFT_SIZE) {
        size = info.freeram > LEFT_SIZE ? info.freeram - LEFT_SIZE : PAGE;
    }
    at = map(size);
    if (at) {
        memset(at, 1, size);
        munmap(at, size);
    }
}

/* A CPU may remember what a PTE was; not after so many pages went. */
static void make_cpu_forget(void)
{
    unsigned char *at = map(PAGES * PAGE);

    if (at) {
        memset(at, 3, PAGES * PAGE);
        munmap(at, PAGES * PAGE);
    }
}

/* The page behind `at` stays what it is when `at` is touched after its forerunner, which has gone.
 */
static bool keeps_next(unsigned char *area, unsigned at)
{
    bool is_kept;

    area[(at + 1) * PAGE] = 0x5a;
    area[(at - 1) * PAGE] = 1;
    madvise(area + (at - 1) * PAGE, PAGE, MADV_DONTNEED);
    area[at * PAGE] = 2;
    make_cpu_forget();
    is_kept = area[(at + 1) * PAGE] == 0x5a;
    madvise(area, PAGES * PAGE, MADV_DONTNEED);
    return is_kept;
}

int main(void)
{
    unsigned char *area;
    unsigned kept = 0;

    use_memory();
    area = map(PAGES * PAGE);
    for (unsigned at = 1; area && at < PAGES - 1; at++) {
        kept += keeps_next(area, at);
    }
    printf("kept: %u of %u\n", kept, PAGES - 2);
    return 0;
}

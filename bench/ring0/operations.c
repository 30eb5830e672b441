/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One operation between two marks; bench/ring0/run counts the kernel's instructions between them.
 * No libc: nothing but the operation enters the kernel. Names: operations.names, in this order.
 * Each is done once before, so that what is counted is the usual case.
 */

#include <stddef.h>

#define SYS_read       0
#define SYS_write      1
#define SYS_open       2
#define SYS_close      3
#define SYS_mmap       9
#define SYS_munmap     11
#define SYS_pipe       22
#define SYS_getpid     39
#define SYS_fork       57
#define SYS_vfork      58
#define SYS_execve     59
#define SYS_exit       60
#define SYS_wait4      61
#define SYS_exit_group 231

#define PAGES 64

__attribute__((noinline)) void mark(void)
{
    __asm__ volatile("nop");
}

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define call0(nr)             call(nr, 0, 0, 0, 0, 0, 0)
#define call1(nr, a)          call(nr, (long)(a), 0, 0, 0, 0, 0)
#define call3(nr, a, b, c)    call(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define call4(nr, a, b, c, d) call(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static volatile char data[PAGES * 4096] = { 1 }; /* of the file */

static void fork_and(const char *program)
{
    long pid = call0(SYS_fork);

    if (pid == 0) {
        if (program) {
            const char *argv[] = { program, "child", NULL };
            const char *envp[] = { NULL };

            call3(SYS_execve, program, argv, envp);
        }
        call1(SYS_exit_group, 0);
    }
    call4(SYS_wait4, pid, 0, 0, 0);
}

static void operations(void)
{
    int fd[2];
    char byte = 0;
    volatile char *fresh =
        (volatile char *)call(SYS_mmap, 0, PAGES * 4096, 3, 0x22, -1, 0); /* private, anonymous */

    call1(SYS_pipe, fd);
    for (int round = 0; round < 2; round++) {
        if (round) {
            mark(); /* ends: boot and warming up */
        }
        call0(SYS_getpid);
        if (round) {
            mark();
        }
        call3(SYS_write, fd[1], &byte, 1);
        if (round) {
            mark();
        }
        call3(SYS_read, fd[0], &byte, 1);
        if (round) {
            mark();
        }
        fresh[(round * 3 + 1) * 4096] = 1;
        if (round) {
            mark();
        }
        (void)data[(size_t)(round * 40 + 2) * 4096];
        if (round) {
            mark();
        }
        data[(size_t)(round * 40 + 2) * 4096] = 1;
        if (round) {
            mark();
        }
        call1(SYS_close, call3(SYS_open, "/bin/operations", 0, 0));
        if (round) {
            mark();
        }
        fork_and(NULL);
        if (round) {
            mark();
        }
        fork_and("/bin/operations");
        if (round) {
            mark();
        }
    }
}

__attribute__((used)) static void start(const long *stack)
{
    if (stack[0] == 1) {
        mark(); /* ends: boot to the first instruction */
        operations();
    }
    call1(SYS_exit_group, 0);
}

__asm__(".globl _start\n_start: movq %rsp, %rdi\nandq $-16, %rsp\ncall start\n");

/* SPDX-License-Identifier: Apache-2.0 */
/* The signal frame: registers and flags survive, the red zone too, SSE state, alignment, nesting.
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int count;
static char alternate[65536];

static void handler(int n, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    int here = 0;

    (void)n;
    count++;
    printf("handler: frame %lu modulo 16, uc_flags has SS %d, link %p, fp aligned %d, code %d\n",
           (unsigned long)(frame % 16), (uc->uc_flags & 6) == 6, (void *)uc->uc_link,
           (uintptr_t)uc->uc_mcontext.fpregs % 64 == 0, info->si_code);
    printf("on the alternate stack: %d\n",
           (char *)&here >= alternate && (char *)&here < alternate + sizeof(alternate));
    __asm__ volatile("pcmpeqd %%xmm15, %%xmm15; movdqa %%xmm15, %%xmm0" : : : "xmm0", "xmm15");
}

static void nested(int n)
{
    count++;
    if (count < 5) {
        raise(n);
    }
}

static void move(int n, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)n;
    (void)info;
    uc->uc_mcontext.gregs[REG_RBX] = 0x1234567890abcdef;
    uc->uc_mcontext.gregs[REG_RIP] += 2; /* over the ud2 */
    uc->uc_mcontext.gregs[REG_EFL] |= 1;
}

int main(void)
{
    struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
    stack_t now;
    uint64_t out[2] = { 0 };
    uint64_t rbx;
    unsigned char carry;
    long result;

    sigaction(SIGUSR1, &sa, NULL);
    /* xmm0 and the red zone across a signal raised by a raw system call */
    __asm__ volatile("movq %[value], %%xmm0\n"
                     "movq %[value], -8(%%rsp)\n"
                     "movq %[value], -120(%%rsp)\n"
                     "syscall\n"
                     "movq %%xmm0, %[a]\n"
                     "movq -120(%%rsp), %[b]\n"
                     : "=a"(result), [a] "=&r"(out[0]), [b] "=&r"(out[1])
                     : [value] "r"(0x1122334455667788), "a"(200L), "D"((long)gettid()),
                       "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory", "xmm0");
    printf("tkill %ld, xmm0 %lx, red zone %lx\n", result, out[0], out[1]);

    sa.sa_flags |= SA_ONSTACK;
    sigaltstack(&ss, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    sigaltstack(NULL, &now);
    printf("alternate stack afterwards: flags %d size %zu\n", now.ss_flags, now.ss_size);

    sa = (struct sigaction){ .sa_handler = nested, .sa_flags = SA_NODEFER };
    count = 0;
    sigaction(SIGUSR2, &sa, NULL);
    raise(SIGUSR2);
    printf("nested %d times\n", count);

    sa = (struct sigaction){ .sa_sigaction = move, .sa_flags = SA_SIGINFO };
    sigaction(SIGILL, &sa, NULL);
    __asm__ volatile("clc; ud2; setc %1" : "=b"(rbx), "=r"(carry) : : "cc");
    printf("changed registers: rbx %lx carry %d\n", rbx, carry);
    return 0;
}

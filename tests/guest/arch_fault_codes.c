/* SPDX-License-Identifier: Apache-2.0 */
/* Faults become signals with Linux's number, code, address, trap number and error code. */

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int signo, code;
static volatile uintptr_t addr;
static volatile long trap, error;
static char *page;

static void handler(int n, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    signo = n;
    code = info->si_code;
    addr = (uintptr_t)info->si_addr;
    trap = uc->uc_mcontext.gregs[REG_TRAPNO];
    error = uc->uc_mcontext.gregs[REG_ERR];
    siglongjmp(back, 1);
}

/* Error codes of page faults only: emulators differ about the others. */
static void report(const char *what)
{
    printf("%s: signal %d code %d trap %ld error %ld\n", what, signo, code, trap,
           trap == 14 ? error : 0);
}

#define TRY(what, ...)                                                                             \
    do {                                                                                           \
        signo = 0;                                                                                 \
        if (sigsetjmp(back, 1) == 0) {                                                             \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        report(what);                                                                              \
    } while (0)

int main(void)
{
    struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
    static const int all[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };

    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        sigaction(all[i], &sa, NULL);
    }
    page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRY("read of NULL", *(volatile int *)0);
    printf("address %lx\n", (unsigned long)addr);
    TRY("write to NULL", *(volatile int *)8 = 1);
    printf("address %lx\n", (unsigned long)addr);
    TRY("write to read-only", page[5] = 1);
    printf("offset %ld\n", (long)(addr - (uintptr_t)page));
    TRY("write to a read-only page that was read", (void)*(volatile char *)(page + 4096);
        page[4097] = 1);
    mprotect(page, 4096, PROT_NONE);
    TRY("read of PROT_NONE", *(volatile char *)page);
    TRY("kernel address", *(volatile int *)0xffffffff80100000);
    TRY("not canonical", *(volatile int *)0x8000000000000000);
    TRY("division by zero", __asm__ volatile("xorl %%ecx, %%ecx; movl $1, %%eax; cdq; idivl %%ecx"
                                             :
                                             :
                                             : "eax", "ecx", "edx"));
    TRY("undefined instruction", __asm__ volatile("ud2"));
    TRY("privileged instruction", __asm__ volatile("hlt"));
    TRY("port", __asm__ volatile("outb %al, $0x80"));
    TRY("execute data", ((void (*)(void))(uintptr_t)(page + 4096))());
    TRY("x87 division", {
        unsigned short cw = 0x037f & ~4u;

        __asm__ volatile("fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(cw));
    });
    return 0;
}

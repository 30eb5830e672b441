/* SPDX-License-Identifier: Apache-2.0 */
/* A system call changes rax, rcx and r11 and nothing else; unknown numbers give ENOSYS. */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long call(long nr, uint64_t *changed)
{
    uint64_t in[12];
    uint64_t out[12];
    uint64_t *p = out;
    long result;

    for (unsigned i = 0; i < 12; i++) {
        in[i] = 0x1111111111111111u * (i + 1);
    }
    memset(out, 0, sizeof(out));
    __asm__ volatile(
        "leaq -128(%%rsp), %%rsp\n" /* not over the red zone */
        "pushq %%rbx; pushq %%rbp; pushq %%r12; pushq %%r13; pushq %%r14; pushq %%r15\n"
        "pushq %[out]\n"
        "movq %[in], %%rcx\n"
        "movq 0(%%rcx), %%rbx; movq 8(%%rcx), %%rbp; movq 16(%%rcx), %%r12\n"
        "movq 24(%%rcx), %%r13; movq 32(%%rcx), %%r14; movq 40(%%rcx), %%r15\n"
        "movq 48(%%rcx), %%rdi; movq 56(%%rcx), %%rsi; movq 64(%%rcx), %%rdx\n"
        "movq 72(%%rcx), %%r10; movq 80(%%rcx), %%r8; movq 88(%%rcx), %%r9\n"
        "syscall\n"
        "popq %%rcx\n"
        "movq %%rbx, 0(%%rcx); movq %%rbp, 8(%%rcx); movq %%r12, 16(%%rcx)\n"
        "movq %%r13, 24(%%rcx); movq %%r14, 32(%%rcx); movq %%r15, 40(%%rcx)\n"
        "movq %%rdi, 48(%%rcx); movq %%rsi, 56(%%rcx); movq %%rdx, 64(%%rcx)\n"
        "movq %%r10, 72(%%rcx); movq %%r8, 80(%%rcx); movq %%r9, 88(%%rcx)\n"
        "popq %%r15; popq %%r14; popq %%r13; popq %%r12; popq %%rbp; popq %%rbx\n"
        "leaq 128(%%rsp), %%rsp\n"
        : "=a"(result)
        : "0"(nr), [in] "r"(in), [out] "r"(p)
        : "rcx", "r11", "rdi", "rsi", "rdx", "r10", "r8", "r9", "memory");
    *changed = 0;
    for (unsigned i = 0; i < 12; i++) {
        *changed |= (uint64_t)(in[i] != out[i]) << i;
    }
    return result;
}

int main(void)
{
    static const long unknown[] = { 1000, 400, 511, 0x7fffffff, 0x80000000, -1, -2, 1L << 40 };
    uint64_t changed;
    long result = call(SYS_getpid, &changed);

    printf("getpid: right %d, changed %lx\n", result == getpid(), changed);
    for (unsigned i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        result = call(unknown[i], &changed);
        printf("number %ld: %ld, changed %lx\n", unknown[i], result, changed);
    }
    result = call(SYS_close, &changed); /* a descriptor that is not open */
    printf("close: %ld, changed %lx\n", result, changed);
    return 0;
}

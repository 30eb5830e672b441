/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a panic prints of the machine: registers and the functions on the stack. The kernel keeps no
 * frame pointers (they cost three instructions a call, and ring 0 is interpreted on some hosts), so
 * the stack is searched for words that can be return addresses: they point into the text, behind an
 * instruction that is a call. What an earlier call left behind is printed with the rest; nothing
 * that is there is missed.
 */

#include <arch/console.h>
#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/log.h>
#include <mm/slab.h>
#include <x86.h>

#define FRAMES_MAX 24u

extern const uint8_t kernel_text_start[];
extern const uint8_t kernel_text_end[];

void arch_print_regs(const struct regs *r)
{
    log_error("rip %016lx cs %lx flags %08lx rsp %016lx cr2 %016lx cr3 %lx", r->ip, r->cs, r->flags,
              r->sp, read_cr2(), read_cr3());
    log_error("rax %016lx rbx %016lx rcx %016lx rdx %016lx", r->ax, r->bx, r->cx, r->dx);
    log_error("rsi %016lx rdi %016lx rbp %016lx r8  %016lx", r->si, r->di, r->bp, r->r8);
    log_error("r9  %016lx r10 %016lx r11 %016lx r12 %016lx", r->r9, r->r10, r->r11, r->r12);
    log_error("r13 %016lx r14 %016lx r15 %016lx", r->r13, r->r14, r->r15);
}

static void print_frame(unsigned n, uint64_t ip)
{
    const char *name;
    size_t offset;

    if (symbol_lookup(ip, &name, &offset)) {
        log_error("#%u %016lx %s+0x%lx", n, ip, name, offset);
    } else {
        log_error("#%u %016lx", n, ip);
    }
}

/* A word of a stack that may not be there. */
static bool read_stack(uint64_t at, uint64_t *value)
{
    uint32_t half[2];

    if (at < DIRECT_MAP_BASE || !is_aligned(at, 8) ||
        arch_load_user32(&half[0], (const uint32_t *)at) < 0 ||
        arch_load_user32(&half[1], (const uint32_t *)at + 1) < 0) {
        return false;
    }
    *value = half[0] | (uint64_t)half[1] << 32;
    return true;
}

/* Is `ip` where a call returns to: a direct call, or one through a register or memory? */
static bool follows_call(uint64_t ip)
{
    if (ip < (uintptr_t)kernel_text_start + 8 || ip >= (uintptr_t)kernel_text_end) {
        return false;
    }
    const uint8_t *text = (const uint8_t *)ip;

    if (text[-5] == 0xe8) {
        return true;
    }
    for (int length = 2; length <= 7; length++) { /* ff /2, whatever addressing follows */
        if (text[-length] == 0xff && (text[1 - length] >> 3 & 7) == 2) {
            return true;
        }
    }
    return false;
}

void arch_print_backtrace(const struct regs *regs)
{
    uint64_t word = 0;
    uint64_t at = regs ? regs->sp : (uintptr_t)&word;
    uint64_t end = at + KSTACK_SIZE; /* no stack is larger; most end before, in an unmapped page */
    unsigned n = 0;

    if (regs) {
        print_frame(n++, regs->ip);
        if (regs_is_user(regs)) {
            return;
        }
    }
    for (at = align_up(at, 8); n < FRAMES_MAX && at < end && read_stack(at, &word); at += 8) {
        if (follows_call(word)) {
            print_frame(n++, word - 1); /* the call, not what follows it */
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways into the kernel and out of it. Every instruction here runs for each call, and where ring 0 is
 * interpreted each costs 0.3 us; so the fast path does nothing twice:
 *  - callee-saved registers are stored (fork and signal frames read them) but not reloaded, since C
 *    preserved them;
 *  - rcx and r11 come from the saved ip and flags, where SYSRET wants them;
 *  - a frame that somebody rewrote (exec, sigreturn, a signal) has orig_ax < 0 or went through the
 *    work path, and leaves by the full restore and IRET.
 *
 * SYSCALL from ring 3 may arrive as a page fault at the entry's own address (ring 0 without hardware
 * help cannot enter otherwise): entry_page_fault joins the same path.
 */
#include <asm_offsets.h>
#include <arch/layout.h>

#define FLAG_TF 0x100
#define FLAG_RF 0x10000
/* What a program may have in its flags: no IOPL, no NT, no VM. */
#define USER_FLAGS 0x250dd5
#define FLAGS_ALWAYS 0x202
#define CANONICAL_BITS 47
#define UNMAPPED_USER_ADDRESS 0x7ffffffff000

/* STAC and CLAC where SMAP is on: cpu.c writes them over these no-ops. */
.macro SMAP_SITE opcode
771:
    .byte 0x0f, 0x1f, 0x00
    .pushsection .smap_sites, "a", @progbits
    .balign 8
    .quad 771b
    .quad \opcode
    .popsection
.endm
.macro STAC
    SMAP_SITE 0xcb
.endm
.macro CLAC
    SMAP_SITE 0xca
.endm

.macro PUSH_AFTER_DI
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rax
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
.endm

.macro POP_ALL
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rax
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
.endm

.text

/* --- system calls ----------------------------------------------------------------------------- */

.globl entry_syscall
entry_syscall:
    swapgs
    movq %rsp, %gs:CPU_SCRATCH
    movq %gs:CPU_KERNEL_SP, %rsp
    pushq $SELECTOR_USER_DATA
    pushq %gs:CPU_SCRATCH
    pushq %r11
    pushq $SELECTOR_USER_CODE
    pushq %rcx
    pushq %rax
syscall_frame:
    pushq %rdi
    PUSH_AFTER_DI
    movq %rsp, %rdi
    sti
    call syscall_dispatch
    cli
    movq %gs:CPU_TASK, %rax
    cmpl $0, TASK_WORK(%rax)
    jne user_work
    movq REGS_IP(%rsp), %rcx
    cmpq $0, REGS_ORIG_AX(%rsp)
    jl restore_user
    movq %rcx, %rax
    shrq $CANONICAL_BITS, %rax
    jne restore_user
    movq REGS_FLAGS(%rsp), %r11
    testl $(FLAG_TF | FLAG_RF), %r11d
    jne restore_user
    movq REGS_AX(%rsp), %rax
    movq REGS_R10(%rsp), %r10
    movq REGS_R9(%rsp), %r9
    movq REGS_R8(%rsp), %r8
    movq REGS_DX(%rsp), %rdx
    movq REGS_SI(%rsp), %rsi
    movq REGS_DI(%rsp), %rdi
    movq REGS_SP(%rsp), %rsp
    swapgs
    sysretq

/* Interrupts off, frame at rsp: do what task->work asks, as long as it asks. */
user_work:
    movq %rsp, %rdi
    call arch_user_work /* returns with interrupts off */
.globl return_to_user
return_to_user:
    movq %gs:CPU_TASK, %rax
    cmpl $0, TASK_WORK(%rax)
    jne user_work
restore_user:
    POP_ALL
    addq $8, %rsp
    swapgs
.globl iret_instruction
iret_instruction:
    iretq

/* --- exceptions and interrupts ---------------------------------------------------------------- */

/* Stack: error code (in orig_ax' place), ip, cs, flags, sp, ss; rdi pushed, edi = vector. */
entry_common:
    cld
    CLAC
    PUSH_AFTER_DI
    movl %edi, %esi
    movq %rsp, %rdi
    movq REGS_ORIG_AX(%rsp), %rdx
    movq $-1, REGS_ORIG_AX(%rsp)
    testb $3, REGS_CS(%rsp)
    jz 1f
    swapgs
    call trap_entry /* returns with interrupts off */
    jmp return_to_user
1:
    call trap_entry
    POP_ALL
    addq $8, %rsp
    iretq

.macro STUB_ERROR vector
    pushq %rdi
    movl $\vector, %edi
    jmp entry_common
.endm

/*
 * IRET to an address that is not canonical faults here, in ring 0 with the program's GS base. The
 * frame gets an address that is canonical and never mapped instead: the fault then happens in ring 3.
 */
entry_general_protection:
    cmpq $iret_instruction, 8(%rsp)
    je 1f
    STUB_ERROR 13
1:
    pushq %rax
    pushq %rcx
    movq 48(%rsp), %rax /* rsp of the IRET: its frame */
    movabsq $UNMAPPED_USER_ADDRESS, %rcx
    movq %rcx, (%rax)
    popq %rcx
    popq %rax
    addq $8, %rsp
    iretq

/* Set as gate 14 by syscall_fault_seen(). */
.globl entry_page_fault
entry_page_fault:
    cmpq $entry_syscall, 8(%rsp)
    je 1f
2:
    STUB_ERROR 14
1:
    testb $3, 16(%rsp)
    jz 2b
    /* A program may also have jumped here by itself: its r11 is not to be believed. */
    cld
    CLAC
    swapgs
    andl $USER_FLAGS, %r11d
    orl $FLAGS_ALWAYS, %r11d
    movq %rax, (%rsp)
    movq %rcx, 8(%rsp)
    movq %r11, 24(%rsp)
    jmp syscall_frame

/*
 * The page-fault gate until the first system call that arrives as a fault: then trap.c learns on what
 * kind of host it runs, and sets the gate above.
 */
.globl entry_page_fault_first
entry_page_fault_first:
    cmpq $entry_syscall, 8(%rsp)
    jne entry_page_fault
    testb $3, 16(%rsp)
    jz entry_page_fault
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    cld
    call syscall_fault_seen
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    jmp entry_page_fault

/*
 * NMI, double fault, machine check: on stacks of their own, from anywhere, with any GS base. The
 * stack's last word is the address of this CPU's struct cpu.
 */
entry_paranoid:
    cld
    CLAC
    PUSH_AFTER_DI
    movl %edi, %ebx
    movl $0xc0000101, %ecx /* MSR_GS_BASE */
    rdmsr
    movl %eax, %r12d
    movl %edx, %r13d
    movq %rsp, %rax
    orq $4095, %rax
    movq -7(%rax), %rax
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    movl %ebx, %esi
    movq %rsp, %rdi
    movq REGS_ORIG_AX(%rsp), %rdx
    movq $-1, REGS_ORIG_AX(%rsp)
    call trap_paranoid
    movl $0xc0000101, %ecx
    movl %r12d, %eax
    movl %r13d, %edx
    wrmsr
    POP_ALL
    addq $8, %rsp
    iretq

.balign 4096 /* see set_gate() */
.globl entry_vectors
entry_vectors:
.set vector, 0
.rept 256
    .balign 16
    .if vector == 2 || vector == 18
    pushq $0
    .endif
    .if vector == 2 || vector == 18 || vector == 8
    pushq %rdi
    .byte 0xbf /* movl $vector, %edi */
    .long vector
    jmp entry_paranoid
    .elseif vector == 13
    jmp entry_general_protection
    .elseif vector == 14
    jmp entry_page_fault_first
    .else
    .if vector != 10 && vector != 11 && vector != 12 && vector != 17 && vector != 21
    pushq $0
    .endif
    pushq %rdi
    .byte 0xbf
    .long vector
    jmp entry_common
    .endif
    .set vector, vector + 1
.endr

/* --- switching -------------------------------------------------------------------------------- */

/* void switch_stacks(uint64_t *save_sp, uint64_t load_sp); the frame is struct switch_frame */
.globl switch_stacks
switch_stacks:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

/* First time on the CPU: the user frame is at rsp. */
.globl thread_start_user
thread_start_user:
    call sched_switch_tail
    jmp return_to_user

/* r12 = function, r13 = argument */
.globl thread_start_kernel
thread_start_kernel:
    call sched_switch_tail
    sti
    movq %r13, %rdi
    call *%r12
    call sched_exit

/* _Noreturn void enter_user_at(struct regs *frame): interrupts off */
.globl enter_user_at
enter_user_at:
    movq %rdi, %rsp
    jmp return_to_user

/* --- user memory ------------------------------------------------------------------------------ */

/* A fault at `insn` goes on at `fixup`; is_served: the address space gets a chance first. */
.macro EXCEPTION insn, fixup, is_served
    .pushsection .exception_table, "a", @progbits
    .balign 8
    .quad \insn, \fixup, \is_served
    .popsection
.endm

/* size_t arch_copy_user(void *to, const void *from, size_t size): bytes not copied */
.globl arch_copy_user
arch_copy_user:
    STAC
    movq %rdx, %rcx
    shrq $3, %rcx
1:  rep movsq
    movl %edx, %ecx
    andl $7, %ecx
2:  rep movsb
3:  movq %rcx, %rax
    CLAC
    ret
4:  /* in the words: go on byte by byte, up to the very byte that faults */
    andl $7, %edx
    leaq (%rdx, %rcx, 8), %rcx
    jmp 2b
    EXCEPTION 1b, 4b, 1
    EXCEPTION 2b, 3b, 1

/* size_t arch_clear_user(void *to, size_t size) */
.globl arch_clear_user
arch_clear_user:
    STAC
    xorl %eax, %eax
    movq %rsi, %rcx
    shrq $3, %rcx
1:  rep stosq
    movl %esi, %ecx
    andl $7, %ecx
2:  rep stosb
3:  movq %rcx, %rax
    CLAC
    ret
4:  andl $7, %esi
    leaq (%rsi, %rcx, 8), %rcx
    jmp 2b
    EXCEPTION 1b, 4b, 1
    EXCEPTION 2b, 3b, 1

/*
 * ssize_t arch_strncpy_user(char *to, const char *from, size_t size): length without the NUL,
 * -EFAULT, or -ENAMETOOLONG. Eight bytes at a time; near the end of what is mapped, one.
 */
.globl arch_strncpy_user
arch_strncpy_user:
    STAC
    movq %rsi, %r11 /* start */
    movabsq $0x0101010101010101, %r9
    movabsq $0x8080808080808080, %r10
1:  cmpq $8, %rdx
    jb 5f
2:  movq (%rsi), %rax
    movq %rax, %rcx
    movq %rax, %r8
    subq %r9, %rcx
    notq %r8
    andq %r8, %rcx
    andq %r10, %rcx
    movq %rax, (%rdi)
    jne 3f /* flags of the AND: a MOV leaves them */
    addq $8, %rsi
    addq $8, %rdi
    subq $8, %rdx
    jmp 1b
3:  bsfq %rcx, %rcx /* bit 7 of the first zero byte */
    shrl $3, %ecx
    leaq (%rsi, %rcx), %rax
    subq %r11, %rax
    CLAC
    ret
5:  testq %rdx, %rdx
    jz 8f
6:  movb (%rsi), %al
    movb %al, (%rdi)
    testb %al, %al
    jz 7f
    incq %rsi
    incq %rdi
    decq %rdx
    jmp 5b
7:  movq %rsi, %rax
    subq %r11, %rax
    CLAC
    ret
8:  movq $-36, %rax /* -ENAMETOOLONG */
    CLAC
    ret
9:  movq $-14, %rax /* -EFAULT */
    CLAC
    ret
    EXCEPTION 2b, 6b, 1
    EXCEPTION 6b, 9b, 1

/* int arch_cmpxchg_user32(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old) */
.globl arch_cmpxchg_user32
arch_cmpxchg_user32:
    STAC
    movl %esi, %eax
1:  lock cmpxchgl %edx, (%rdi)
    CLAC
    movl %eax, (%rcx)
    xorl %eax, %eax
    ret
2:  movl $-14, %eax
    CLAC
    ret
    EXCEPTION 1b, 2b, 0

/* int arch_load_user32(uint32_t *value, const uint32_t *from) */
.globl arch_load_user32
arch_load_user32:
    STAC
1:  movl (%rsi), %eax
    CLAC
    movl %eax, (%rdi)
    xorl %eax, %eax
    ret
2:  movl $-14, %eax
    CLAC
    ret
    EXCEPTION 1b, 2b, 0

.section .note.GNU-stack, "", @progbits

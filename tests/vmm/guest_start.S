/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of the test guest, its interrupt stubs, and the way of a second CPU from real mode to C. */

#define TRAMPOLINE   0x8000
#define PML4         0x9000
#define AP_STACK     1024
#define AT(label)    (label - trampoline + TRAMPOLINE)

    .section .note.drupe, "a", @note
    .long 6, 4, 1
    .asciz "Drupe"
    .balign 4
    .long 1

    .text
    .globl _start
_start:
    cli
    movl $stack_end, %esp
    movq %rsi, %rdi
    call guest_main
1:  hlt
    jmp 1b

    /* Each handler counts and acknowledges at the local APIC. */
    .globl on_timer, on_line, on_fault
on_timer:
    lock incl timer_count
    jmp acknowledge
on_line:
    lock incl line_count
acknowledge:
    pushq %rax
    movl $0xfee000b0, %eax
    movl $0, (%rax)
    popq %rax
    iretq

on_fault:
    cli
    movq %rsp, %rdi
    andq $-16, %rsp
    call guest_fault

    .globl load_idt
load_idt:
    lidt (%rdi)
    ret

    .section .rodata
    .globl trampoline, trampoline_end
    .code16
trampoline:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AT(gdtr)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $AT(protected)
    .code32
protected:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $0x18, $AT(long_mode)
    .code64
long_mode:
    movl $1, %eax
    lock xaddl %eax, ap_started
    leal 1(%rax), %esp
    imull $AP_STACK, %esp
    addl $ap_stacks, %esp
    movl %eax, %edi
    movl $ap_main, %eax
    call *%rax
1:  cli
    hlt
    jmp 1b
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
gdtr:
    .word gdtr - gdt - 1
    .long AT(gdt)
trampoline_end:

    .bss
    .balign 16
    .skip 16384
stack_end:
    .globl ap_stacks
ap_stacks:
    .skip AP_STACK * 32

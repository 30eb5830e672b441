/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of the test guest, its interrupt stubs, and the way of a second CPU from real mode to C. */

#define TRAMPOLINE   0x8000
#define PML4         0x9000
#define AP_STACK     1024
#define AT(label)    (label - trampoline + TRAMPOLINE)

    .section .note.xen, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_start

    .text
    .globl _start
_start:
    cli
    movl $stack_end, %esp
    movq %rsi, %rdi
    call guest_main
1:  hlt
    jmp 1b

    /* PVH: 32-bit, paging off, ebx = start info. Make what the Linux protocol would have given. */
    .code32
pvh_start:
    cli
    movl $(PML4 + 0x1003), PML4
    movl $0, PML4 + 4
    movl $(PML4 + 0x2003), PML4 + 0x1000
    movl $0, PML4 + 0x1004
    xorl %edi, %edi
    movl $0x83, %eax
1:  movl %eax, PML4 + 0x2000(, %edi, 8)
    movl $0, PML4 + 0x2004(, %edi, 8)
    addl $0x200000, %eax
    incl %edi
    cmpl $512, %edi
    jb 1b
    movl $PML4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    lgdt pvh_gdtr
    ljmpl $0x10, $1f
    .code64
1:  movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $stack_end, %esp
    movl %ebx, %edi
    call guest_pvh
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
    .globl trampoline
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
    .globl trampoline_size
    .balign 4
trampoline_size:
    .long trampoline_end - trampoline

    .balign 8
pvh_gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
pvh_gdtr:
    .word pvh_gdtr - pvh_gdt - 1
    .quad pvh_gdt

    .bss
    .balign 16
    .skip 16384
stack_end:
    .globl ap_stacks
ap_stacks:
    .skip AP_STACK * 32

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First instructions. Both ways in (PVH: 32-bit, paging off; Linux: long mode, rsi = zero page) meet
 * in boot_high with the static tables below loaded, and end in boot_start() on the boot stack. The
 * tables are complete in the image: building them costs nothing at boot, whatever the size of RAM.
 *
 * APs come through the trampoline, which smp.c copies below 1 MiB and which shares the tail.
 */
#include <arch/layout.h>
#include <x86.h>

#define PHYS(symbol) (symbol - KERNEL_IMAGE_BASE)

#define TABLE_FLAGS (PTE_PRESENT | PTE_WRITABLE)
#define LARGE_FLAGS (PTE_PRESENT | PTE_WRITABLE | PTE_LARGE | PTE_ACCESSED | PTE_DIRTY)

.section .note.boot, "a", @note
.balign 4
    .long 4, 8, 18 /* "Xen", XEN_ELFNOTE_PHYS32_ENTRY: where PVH loaders enter */
    .asciz "Xen"
    .quad PHYS(boot_entry32)
.balign 4
    .long 6, 4, 1 /* BOOT_NOTE_TYPE of abi/boot.h */
    .asciz "Drupe"
.balign 4
    .long 1 /* BOOT_ARGS_VERSION */

.section .boot.text, "ax", @progbits

/* PVH: ebx = start info. Flat segments, interrupts off, paging off. */
.code32
.globl boot_entry32
boot_entry32:
    cld
    cli
    lgdt PHYS(boot_gdt_pointer)
    movl $CR4_BOOT, %eax
    movl %eax, %cr4
    movl $PHYS(boot_page_table), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $(EFER_SCE | EFER_LME | EFER_NXE), %eax
    wrmsr
    movl $CR0_KERNEL, %eax
    movl %eax, %cr0
    ljmp $SELECTOR_KERNEL_CODE, $PHYS(boot_long)

.code64
boot_long:
    movl %ebx, %esi
    movl $1, %edi /* protocol: PVH */
    jmp boot_segments

/* Linux: rsi = zero page, an identity map of the first GiB. */
.globl boot_entry64
boot_entry64:
    cld
    cli
    movl $MSR_EFER, %ecx
    rdmsr
    orl $(EFER_SCE | EFER_NXE), %eax
    wrmsr
    movl $CR4_BOOT, %eax
    movq %rax, %cr4
    movl $PHYS(boot_page_table), %eax
    movq %rax, %cr3
    movl $CR0_KERNEL, %eax
    movq %rax, %cr0
    xorl %edi, %edi /* protocol: Linux */

boot_segments:
    movq $boot_gdt_pointer, %rax
    lgdt (%rax)
    movl $SELECTOR_KERNEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq $boot_stack_top, %rsp
    xorl %ebp, %ebp
    pushq $0 /* the end of every backtrace */
    pushq $SELECTOR_KERNEL_CODE
    movq $boot_start, %rax
    pushq %rax
    lretq

/*
 * AP trampoline, copied to a page below 1 MiB: real mode, cs = page >> 4, ip = 0. Everything it
 * needs is addressed from its own start. smp.c fills in the page-table root's copy and the rest.
 */
.code16
.globl ap_trampoline, ap_trampoline_end
.balign 16
ap_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl ap_gdt_pointer - ap_trampoline
    movl $CR4_BOOT, %eax
    movl %eax, %cr4
    movl $PHYS(boot_page_table), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $(EFER_SCE | EFER_LME | EFER_NXE), %eax
    wrmsr
    movl $CR0_KERNEL, %eax
    movl %eax, %cr0
    ljmpl $SELECTOR_KERNEL_CODE, $PHYS(ap_long)
.balign 8
ap_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long PHYS(boot_gdt)
ap_trampoline_end:

.code64
ap_long:
    movq $boot_gdt_pointer, %rax
    lgdt (%rax)
    movl $SELECTOR_KERNEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq ap_stack(%rip), %rsp
    xorl %ebp, %ebp
    pushq $0
    pushq $SELECTOR_KERNEL_CODE
    movq $ap_start, %rax
    pushq %rax
    lretq

.data
.balign 16
boot_gdt: /* accessed bits set: the CPU has nothing to write here */
    .quad 0
    .quad 0x00cf9b000000ffff /* 0x08 32-bit code */
    .quad 0x00af9b000000ffff /* 0x10 SELECTOR_KERNEL_CODE */
    .quad 0x00cf93000000ffff /* 0x18 SELECTOR_KERNEL_DATA */
boot_gdt_end:
boot_gdt_pointer: /* by physical address: the identity map and the low 32 bits hold it everywhere */
    .word boot_gdt_end - boot_gdt - 1
    .quad PHYS(boot_gdt)

.balign 8
.globl ap_stack
ap_stack:
    .quad 0

/*
 * The direct map's table serves the identity map as well; NX stands in the top-level entry of the
 * direct map, so that only the identity map (which boot_page_table alone has) can be executed.
 */
.section .data.page_aligned, "aw", @progbits
.balign 4096
.globl boot_page_table
boot_page_table:
    .quad PHYS(direct_pdpt) + TABLE_FLAGS
    .fill 272, 8, 0
    .quad PHYS(direct_pdpt) + TABLE_FLAGS + PTE_NX /* 273: DIRECT_MAP_BASE */
    .fill 128, 8, 0
    .quad PHYS(vmalloc_pdpt) + TABLE_FLAGS + PTE_NX /* 402: VMALLOC_BASE */
    .fill 108, 8, 0
    .quad PHYS(image_pdpt) + TABLE_FLAGS /* 511: KERNEL_IMAGE_BASE */

.globl direct_pdpt
direct_pdpt:
    .quad PHYS(direct_pd0) + TABLE_FLAGS
    .fill 511, 8, 0

direct_pd0: /* the first GiB */
    .set address, 0
    .rept 512
    .quad address + LARGE_FLAGS + PTE_GLOBAL
    .set address, address + 0x200000
    .endr

image_pdpt:
    .fill 510, 8, 0
    .quad PHYS(image_pd) + TABLE_FLAGS
    .quad 0

.globl image_pd
image_pd: /* replaced by 4 KiB pages with the right permissions in pt_init() */
    .quad 0x000000 + LARGE_FLAGS
    .quad 0x200000 + LARGE_FLAGS
    .fill 510, 8, 0

.section .bss.page_aligned, "aw", @nobits
.balign 4096
.globl vmalloc_pdpt
vmalloc_pdpt:
    .skip 4096
.globl boot_stack, boot_stack_top, boot_stack_guard
boot_stack_guard: /* unmapped by pt_init() */
    .skip 4096
boot_stack:
    .skip 16384
boot_stack_top:

.section .note.GNU-stack, "", @progbits

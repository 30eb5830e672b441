/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcpy, memmove, memset by string instructions: one interpreted step moves eight bytes where ring 0
 * is interpreted, and hardware has fast paths for them.
 */

.macro FUNCTION name
.globl \name
.type \name, @function
\name:
.endm

.macro END name
.size \name, . - \name
.endm

.text

FUNCTION memcpy
    movq %rdi, %rax
    movq %rdx, %rcx
    shrq $3, %rcx
    rep movsq
    movl %edx, %ecx
    andl $7, %ecx
    rep movsb
    ret
END memcpy

FUNCTION memmove
    movq %rdi, %rax
    subq %rsi, %rax
    cmpq %rdx, %rax
    jae memcpy /* to < from, or no overlap */
    movq %rdi, %rax
    movq %rdx, %rcx
    leaq -1(%rdi, %rdx), %rdi
    leaq -1(%rsi, %rdx), %rsi
    std
    rep movsb
    cld
    ret
END memmove

FUNCTION memset
    movq %rdi, %r8
    movzbl %sil, %esi
    movabsq $0x0101010101010101, %rax
    imulq %rsi, %rax
    movq %rdx, %rcx
    shrq $3, %rcx
    rep stosq
    movl %edx, %ecx
    andl $7, %ecx
    rep stosb
    movq %r8, %rax
    ret
END memset

.section .note.GNU-stack, "", @progbits

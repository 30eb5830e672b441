/* SPDX-License-Identifier: Apache-2.0 */
/* Register state of an x86-64 vCPU at entry, shared by the machine and the probe. */
#pragma once

#include <linux/kvm.h>

#include <base/compiler.h>

/* Linux's boot selectors; the 32-bit code segment is PVH's. */
#define CPU_SELECTOR_CODE64 0x10u
#define CPU_SELECTOR_DATA   0x18u
#define CPU_SELECTOR_CODE32 0x20u
#define CPU_SELECTOR_TSS    0x28u
#define CPU_GDT_ENTRIES     7u

/* Change *sregs (as KVM_GET_SREGS gave it) to long mode with the page tables at `cr3`, flat
 * segments. */
void cpu_set_long_mode(struct kvm_sregs *sregs, uint64_t gdt_gpa, uint64_t cr3);
/* 32-bit protected mode, paging off, flat segments. */
void cpu_set_protected_mode(struct kvm_sregs *sregs, uint64_t gdt_gpa);

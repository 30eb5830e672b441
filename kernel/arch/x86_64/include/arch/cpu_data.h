/* SPDX-License-Identifier: Apache-2.0 */
/* The architecture's part of struct cpu, its first member: %gs:0 in ring 0. */
#pragma once

#include <base/compiler.h>

struct task;
struct cpu;

#define GDT_ENTRIES 10

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
} PACKED;

struct arch_cpu {
    struct task *task;  /* the running one */
    uint64_t kernel_sp; /* top of current's kernel stack: where entries from user mode begin */
    uint64_t scratch;   /* user rsp between SYSCALL and the stack switch */
    struct cpu *self;
    uint32_t apic_id;
    bool is_in_panic;
    uint64_t timer_target; /* last deadline given to the timer, in its own units */
    uint64_t fs_base;      /* as loaded: the last user task's */
    uint64_t gs_base;
    uint64_t gdt[GDT_ENTRIES];
    ALIGNED(16) struct tss tss;
};

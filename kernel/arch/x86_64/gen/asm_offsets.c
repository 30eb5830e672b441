/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled to assembly only: kernel/component.mk turns the marked lines into asm_offsets.h. */

#include <arch/regs.h>
#include <sched/task.h>

#define OFFSET(name, value) __asm__ volatile("\n#@ " #name " %c0" : : "i"(value))

void asm_offsets(void);

void asm_offsets(void)
{
    OFFSET(CPU_TASK, offsetof(struct cpu, arch.task));
    OFFSET(CPU_KERNEL_SP, offsetof(struct cpu, arch.kernel_sp));
    OFFSET(CPU_SCRATCH, offsetof(struct cpu, arch.scratch));
    OFFSET(TASK_SP, offsetof(struct task, arch.sp));
    OFFSET(TASK_WORK, offsetof(struct task, work));
    OFFSET(TASK_KSTACK, offsetof(struct task, kstack));
    OFFSET(REGS_AX, offsetof(struct regs, ax));
    OFFSET(REGS_CX, offsetof(struct regs, cx));
    OFFSET(REGS_DI, offsetof(struct regs, di));
    OFFSET(REGS_SI, offsetof(struct regs, si));
    OFFSET(REGS_DX, offsetof(struct regs, dx));
    OFFSET(REGS_R8, offsetof(struct regs, r8));
    OFFSET(REGS_R9, offsetof(struct regs, r9));
    OFFSET(REGS_R10, offsetof(struct regs, r10));
    OFFSET(REGS_R11, offsetof(struct regs, r11));
    OFFSET(REGS_ORIG_AX, offsetof(struct regs, orig_ax));
    OFFSET(REGS_IP, offsetof(struct regs, ip));
    OFFSET(REGS_CS, offsetof(struct regs, cs));
    OFFSET(REGS_FLAGS, offsetof(struct regs, flags));
    OFFSET(REGS_SP, offsetof(struct regs, sp));
    OFFSET(REGS_SS, offsetof(struct regs, ss));
    OFFSET(REGS_SIZE, sizeof(struct regs));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* arch_prctl(2): the program's FS and GS bases. */

#include <arch/internal.h>
#include <arch/ops.h>
#include <mm/mm.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>
#include <x86.h>

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

static uint64_t base_of(int option)
{
    if (cpu_features.has_fsgsbase) {
        return read_msr(option == ARCH_GET_FS ? MSR_FS_BASE : MSR_KERNEL_GS_BASE);
    }
    return option == ARCH_GET_FS ? current->arch.fs_base : current->arch.gs_base;
}

static long set_base(int option, uint64_t addr)
{
    if (addr >= USER_MAX + PAGE_SIZE) {
        return -EPERM; /* as Linux: a kernel address is not the program's to name */
    }
    uint64_t flags = irq_save();
    struct arch_cpu *c = &this_cpu()->arch;

    if (option == ARCH_SET_FS) {
        current->arch.fs_base = addr;
        c->fs_base = addr;
        write_msr(MSR_FS_BASE, addr);
    } else {
        current->arch.gs_base = addr;
        c->gs_base = addr;
        write_msr(MSR_KERNEL_GS_BASE, addr);
    }
    irq_restore(flags);
    return 0;
}

long sys_arch_prctl(int option, unsigned long addr)
{
    switch (option) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
        return set_base(option, addr);
    case ARCH_GET_FS:
    case ARCH_GET_GS:
        return put_user64(base_of(option), (void *)addr);
    default:
        return -EINVAL;
    }
}

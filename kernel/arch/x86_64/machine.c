/* SPDX-License-Identifier: Apache-2.0 */
/* The boot CPU's order of initialisation, and the end of the machine. */

#include <arch/internal.h>
#include <arch/ops.h>
#include <core/log.h>
#include <sched/cpu.h>
#include <core/boot.h>
#include <x86.h>

#define I8042_COMMAND   0x64
#define I8042_RESET     0xfe
#define EM_X86_64       62
#define AT_HWCAP        16
#define AT_HWCAP2       26
#define AT_MINSIGSTKSZ  51
#define HWCAP2_FSGSBASE 2

const uint16_t arch_elf_machine = EM_X86_64;
const char arch_platform[] = "x86_64";

void arch_init(void)
{
    cpu_init_features(true);
    machine_find();
    apic_init();
    counter_init();
    timer_start_cpu();
    vdso_init();
}

void arch_reset(void)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } PACKED no_idt = { 0, 0 };

    irq_disable();
    port_write8(I8042_COMMAND, I8042_RESET);
    for (unsigned n = 0; n < 1000; n++) {
        cpu_relax();
    }
    /* No keyboard controller: a fault that cannot be delivered resets every machine. */
    __asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
    for (;;) {
        __asm__ volatile("hlt");
    }
}

unsigned arch_auxv(uint64_t pairs[ARCH_AUXV_MAX][2])
{
    unsigned n = 0;

    pairs[n][0] = AT_HWCAP;
    pairs[n++][1] = cpu_features.hwcap;
    pairs[n][0] = AT_HWCAP2;
    pairs[n++][1] = cpu_features.has_fsgsbase ? HWCAP2_FSGSBASE : 0;
    pairs[n][0] = AT_MINSIGSTKSZ;
    pairs[n++][1] = signal_frame_size();
    return n;
}

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

/*
 * Where ring 0 is interpreted there is no XSAVE for us, but CPUID in ring 3 may announce AVX all
 * the same (seen: OSXSAVE set whatever our CR4 says), and the instructions work. A program that
 * believes it loses the upper halves of its vectors when another task runs: seen as a first store
 * of memcpy() with the wrong bytes. What asks by these variables is told. glibc: "Tunables" in its
 * manual; OpenSSL: OPENSSL_ia32cap(3), AVX, AVX2, AVX-512, VAES and VPCLMULQDQ masked.
 */
const char *const *arch_environment(void)
{
    static const char *const none[] = { NULL };
    static const char *const without_avx[] = {
        "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-"
        "AVX512DQ,"
        "-AVX_Fast_Unaligned_Load,-FMA,-FMA4",
        "OPENSSL_ia32cap=~0x1000000000000000:~0x600d0230020",
        NULL,
    };
    size_t length;

    return boot_option("drupe.nocpu=", &length) && !cpu_features.has_xsave ? without_avx : none;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What each CPU needs before it can take a trap: segments, task state, system-call registers, CR4.
 */

#include <arch/internal.h>
#include <arch/layout.h>
#include <core/boot.h>
#include <core/string.h>
#include <sched/task.h>
#include <x86.h>

#define SYSCALL_FLAGS_CLEARED 0x257fd5u /* all but RF: IF, DF, TF, AC, NT, IOPL, ... */

struct cpu_features cpu_features;

/* The boot CPU's stacks for NMI, #DF, #MC; smp.c allocates the others'. Last word: struct cpu. */
static ALIGNED(4096) uint8_t boot_ist[3][4096];

extern char entry_syscall[];

struct descriptor_pointer {
    uint16_t limit;
    uint64_t base;
} PACKED;

static void gdt_init(struct cpu *c)
{
    uint64_t tss = (uintptr_t)&c->arch.tss;
    uint64_t *g = c->arch.gdt;

    g[1] = 0x00cf9b000000ffff; /* 32-bit kernel code: Linux has it there */
    g[2] = 0x00af9b000000ffff; /* SELECTOR_KERNEL_CODE */
    g[3] = 0x00cf93000000ffff; /* SELECTOR_KERNEL_DATA */
    g[4] = 0x00cffb000000ffff; /* SELECTOR_USER_CODE32: never entered, SYSRET counts from it */
    g[5] = 0x00cff3000000ffff; /* SELECTOR_USER_DATA */
    g[6] = 0x00affb000000ffff; /* SELECTOR_USER_CODE */
    g[8] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
           (tss >> 24 & 0xff) << 56;
    g[9] = tss >> 32;
}

void cpu_set_ist(struct cpu *c, unsigned n, void *page)
{
    uint64_t *last = (uint64_t *)((char *)page + 4096 - sizeof(uint64_t));

    *last = (uintptr_t)c;
    c->arch.tss.ist[n] = (uintptr_t)(last - 1);
}

void cpu_init_base(struct cpu *c, unsigned index)
{
    struct descriptor_pointer p;

    c->index = index;
    c->arch.self = c;
    write_msr(MSR_GS_BASE, (uintptr_t)c);
    c->arch.tss.io_map_base = sizeof(struct tss);
    if (index == 0) {
        for (unsigned i = 0; i < array_size(boot_ist); i++) {
            cpu_set_ist(c, i, boot_ist[i]);
        }
        idt_init();
    }
    gdt_init(c);
    p = (struct descriptor_pointer){ sizeof(c->arch.gdt) - 1, (uintptr_t)c->arch.gdt };
    __asm__ volatile("lgdt %0" : : "m"(p));
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
    idt_load();
    write_msr(MSR_STAR,
              (uint64_t)SELECTOR_USER_CODE32 << 48 | (uint64_t)SELECTOR_KERNEL_CODE << 32);
    write_msr(MSR_LSTAR, (uintptr_t)entry_syscall);
    write_msr(MSR_SFMASK, SYSCALL_FLAGS_CLEARED);
    write_msr(MSR_KERNEL_GS_BASE, 0);
}

/* What the loader knows not to work in ring 0, whatever CPUID says: drupe.nocpu=<name>,<name>... */
static void hide_features(void)
{
    static const struct {
        const char *name;
        size_t length;
        bool *feature;
    } hideable[] = {
        { "smap", 4, &cpu_features.has_smap },
        { "smep", 4, &cpu_features.has_smep },
        { "umip", 4, &cpu_features.has_umip },
        { "xsave", 5, &cpu_features.has_xsave },
        { "fsgsbase", 8, &cpu_features.has_fsgsbase },
        { "x2apic", 6, &cpu_features.has_x2apic },
        { "tsc_deadline", 12, &cpu_features.has_tsc_deadline },
    };

    size_t length;
    const char *p = boot_option("drupe.nocpu=", &length);
    const char *end = p ? p + length : NULL;

    while (p < end) {
        const char *name = p;

        while (p < end && *p != ',') {
            p++;
        }
        for (size_t i = 0; i < array_size(hideable); i++) {
            if (hideable[i].length == (size_t)(p - name) &&
                memcmp(hideable[i].name, name, hideable[i].length) == 0) {
                *hideable[i].feature = false;
            }
        }
        p++;
    }
}

static void find_features(void)
{
    struct cpuid max = cpuid(0, 0);
    struct cpuid one = cpuid(1, 0);
    struct cpuid seven = max.eax >= 7 ? cpuid(7, 0) : (struct cpuid){ 0 };

    cpu_features.has_xsave = (one.ecx & 1u << 26) != 0;
    cpu_features.has_tsc_deadline = (one.ecx & 1u << 24) != 0;
    cpu_features.has_x2apic = (one.ecx & 1u << 21) != 0;
    cpu_features.has_fsgsbase = (seven.ebx & 1u << 0) != 0;
    cpu_features.has_smep = (seven.ebx & 1u << 7) != 0;
    cpu_features.has_smap = (seven.ebx & 1u << 20) != 0;
    cpu_features.has_umip = (seven.ecx & 1u << 2) != 0;
    cpu_features.hwcap = one.edx;
    hide_features();
}

/* entry.S: where STAC and CLAC belong, and what makes one or the other of them. */
struct smap_site {
    uint64_t at;
    uint64_t last_byte;
};

extern const struct smap_site smap_sites_start[];
extern const struct smap_site smap_sites_end[];

/* Turn entry.S' no-ops into STAC and CLAC, through the direct map: the text itself is read-only. */
static void patch_smap_sites(void)
{
    // cppcheck-suppress comparePointers ; the linker makes them one array
    for (const struct smap_site *s = smap_sites_start; s < smap_sites_end; s++) {
        uint8_t *p = arch_phys_to_virt(s->at - KERNEL_IMAGE_BASE);

        p[0] = 0x0f;
        p[1] = 0x01;
        p[2] = (uint8_t)s->last_byte;
    }
    (void)cpuid(0, 0); /* serialise: the patched bytes are what is fetched from here on */
}

void cpu_init_features(bool is_boot_cpu)
{
    uint64_t cr4 = CR4_BOOT;

    if (is_boot_cpu) {
        find_features();
        if (cpu_features.has_smap) {
            patch_smap_sites();
        }
    }
    cr4 |= cpu_features.has_fsgsbase ? CR4_FSGSBASE : 0;
    cr4 |= cpu_features.has_smep ? CR4_SMEP : 0;
    cr4 |= cpu_features.has_smap ? CR4_SMAP : 0;
    cr4 |= cpu_features.has_umip ? CR4_UMIP : 0;
    cr4 |= cpu_features.has_xsave ? CR4_OSXSAVE : 0;
    write_cr4(cr4);
    fpu_init(is_boot_cpu);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of arch/x86_64; nobody else includes it. */
#pragma once

#include <core/types.h>

struct cpu;
struct regs;
struct task;

/* --- boot.c */
extern uint64_t boot_rsdp; /* 0: look in low memory */
/* Copy from physical memory through the direct map, extending it; false: out of reach. */
bool phys_copy(void *to, paddr_t pa, size_t size) MUST_CHECK;

/* --- cpu.c */
struct cpu_features {
    bool has_fsgsbase;
    bool has_smap;
    bool has_smep;
    bool has_umip;
    bool has_xsave;
    bool has_tsc_deadline;
    bool has_x2apic;
    uint32_t hwcap; /* CPUID 1 EDX: AT_HWCAP */
};

extern struct cpu_features cpu_features;

void cpu_init_base(struct cpu *c, unsigned index); /* %gs, GDT, TSS, IDT, system-call registers */
void cpu_init_features(bool is_boot_cpu);          /* CR4, FPU */
void cpu_set_ist(struct cpu *c, unsigned n, void *page); /* 0 NMI, 1 #DF, 2 #MC */

/* --- trap.c */
void idt_init(void);
void idt_load(void);
void idt_set_interrupt(unsigned vector);

/* --- paging.c */
void pt_init(void);
void pt_kernel_half_drop(uint64_t *root); /* undo what pt_create() wrote into a root */
extern char boot_page_table[];

/* --- apic.c */
void apic_init(void);     /* boot CPU: finds the controllers */
void apic_init_cpu(void); /* each CPU */
uint32_t apic_id(void);
uint32_t apic_read(unsigned reg); /* register numbers: apic.c */
void apic_write(unsigned reg, uint32_t value);
void apic_send_ipi(uint32_t id, unsigned vector);
void apic_send_nmi_others(void);
void apic_send_init(uint32_t id);
void apic_send_startup(uint32_t id, unsigned page);
void apic_interrupt(unsigned vector, struct regs *regs);

/* --- acpi.c */
struct machine {
    uint32_t apic_ids[32]; /* of the CPUs, the boot CPU's among them */
    unsigned cpu_count;
    paddr_t local_apic;
    paddr_t io_apic;       /* 0: none */
    uint32_t io_apic_base; /* first interrupt line */

    struct {
        bool is_set;
        uint32_t line;
        bool is_level;
        bool is_active_low;
    } isa[16]; /* overrides */
};

extern struct machine machine;
void machine_find(void);

/* --- time.c */
void counter_init(void);
void timer_start_cpu(void);

/* --- fpu.c */
void fpu_init(bool is_boot_cpu);
void fpu_save(void *area);
void fpu_load(const void *area);
void *fpu_alloc(void);
void fpu_free(void *area);
void fpu_reset(void *area);
extern uint32_t fpu_size;  /* of an image, bytes */
extern uint64_t fpu_xmask; /* XCR0; 0: FXSAVE */

/* --- smp.c */
void ipi_call_interrupt(void);
extern _Atomic bool cpus_are_stopping;

/* --- signal.c */
uint64_t signal_frame_size(void); /* the most that a frame takes: AT_MINSIGSTKSZ */

/* --- vdso.c */
void vdso_init(void);
void vdso_forbid_counter(void); /* programs must not read the counter by themselves */

/* --- vectors */
#define VECTOR_IRQ_FIRST  0x30 /* IOAPIC lines */
#define VECTOR_IRQ_LAST   0xdf
#define VECTOR_TIMER      0xec
#define VECTOR_RESCHED    0xfd
#define VECTOR_CALL       0xfc
#define VECTOR_APIC_ERROR 0xfe
#define VECTOR_SPURIOUS   0xff

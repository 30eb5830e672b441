/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC (x2APIC where announced, else memory-mapped), IOAPIC, and what interrupts do. Device
 * lines go to the boot CPU, edge-triggered, one vector a line.
 */

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/lock.h>
#include <core/log.h>
#include <sched/task.h>
#include <sched/timer.h>
#include <x86.h>

/* Register numbers: offset / 16 of the memory-mapped form, MSR - 0x800 of the other. */
#define APIC_ID       0x02
#define APIC_TPR      0x08
#define APIC_EOI      0x0b
#define APIC_SVR      0x0f
#define APIC_ESR      0x28
#define APIC_ICR      0x30
#define APIC_ICR_HIGH 0x31
#define APIC_TIMER    0x32
#define APIC_LINT0    0x35
#define APIC_LINT1    0x36
#define APIC_ERROR    0x37

#define SVR_ENABLE  (1u << 8)
#define LVT_MASKED  (1u << 16)
#define ICR_PENDING (1u << 12)
#define ICR_ASSERT  (1u << 14)
#define ICR_LEVEL   (1u << 15)
#define ICR_NMI     (4u << 8)
#define ICR_INIT    (5u << 8)
#define ICR_STARTUP (6u << 8)
#define ICR_OTHERS  (3u << 18)
#define BASE_ENABLE (1u << 11)
#define BASE_X2APIC (1u << 10)

#define IOAPIC_VERSION 1
#define IOAPIC_TABLE   0x10

static bool is_x2apic;
static volatile uint8_t *local; /* memory-mapped registers */
static volatile uint8_t *io;
static unsigned io_lines;

struct irq_line {
    void (*fn)(void *arg);
    void *arg;
};

static struct irq_line lines[VECTOR_IRQ_LAST - VECTOR_IRQ_FIRST + 1]; /* by IOAPIC input */
static struct spinlock io_lock = SPINLOCK_INIT(RANK_NONE);

uint32_t apic_read(unsigned reg)
{
    return is_x2apic ? (uint32_t)read_msr(MSR_X2APIC + reg) : mmio_read32(local + (size_t)reg * 16);
}

void apic_write(unsigned reg, uint32_t value)
{
    if (is_x2apic) {
        write_msr(MSR_X2APIC + reg, value);
    } else {
        mmio_write32(local + (size_t)reg * 16, value);
    }
}

uint32_t apic_id(void)
{
    uint32_t id = apic_read(APIC_ID);

    return is_x2apic ? id : id >> 24;
}

static void send(uint32_t id, uint32_t command)
{
    if (is_x2apic) {
        write_msr(MSR_X2APIC + APIC_ICR, (uint64_t)id << 32 | command);
        return;
    }
    uint64_t flags = irq_save(); /* two writes that belong together */

    while (apic_read(APIC_ICR) & ICR_PENDING) {
        cpu_relax();
    }
    apic_write(APIC_ICR_HIGH, id << 24);
    apic_write(APIC_ICR, command);
    irq_restore(flags);
}

void apic_send_ipi(uint32_t id, unsigned vector)
{
    send(id, ICR_ASSERT | vector);
}

void apic_send_init(uint32_t id)
{
    send(id, ICR_INIT | ICR_ASSERT);
}

void apic_send_startup(uint32_t id, unsigned page)
{
    send(id, ICR_STARTUP | ICR_ASSERT | page);
}

void apic_send_nmi_others(void)
{
    send(0, ICR_OTHERS | ICR_NMI | ICR_ASSERT);
}

/* --- IOAPIC */

static uint32_t io_read(unsigned reg)
{
    mmio_write32(io, reg);
    return mmio_read32(io + 16);
}

static void io_write(unsigned reg, uint32_t value)
{
    mmio_write32(io, reg);
    mmio_write32(io + 16, value);
}

int irq_request(unsigned irq, void (*fn)(void *arg), void *arg)
{
    bool is_isa = irq < array_size(machine.isa) && machine.isa[irq].is_set;
    uint32_t line = is_isa ? machine.isa[irq].line : irq;
    unsigned input = line - machine.io_apic_base;

    if (!io || line < machine.io_apic_base || input >= io_lines || input >= array_size(lines)) {
        return -EINVAL;
    }
    uint64_t flags = spin_lock_irqsave(&io_lock);

    if (lines[input].fn) {
        spin_unlock_irqrestore(&io_lock, flags);
        return -EBUSY;
    }
    lines[input] = (struct irq_line){ fn, arg };
    idt_set_interrupt(VECTOR_IRQ_FIRST + input);
    io_write(IOAPIC_TABLE + 2 * input + 1, cpus[0].arch.apic_id << 24);
    io_write(IOAPIC_TABLE + 2 * input, VECTOR_IRQ_FIRST + input); /* edge, high, fixed, unmasked */
    spin_unlock_irqrestore(&io_lock, flags);
    return 0;
}

/* --- interrupts; off, and stay off */

void apic_interrupt(unsigned vector, struct regs *regs)
{
    struct cpu *c = this_cpu();

    (void)regs;
    c->interrupt_depth++;
    c->interrupts++;
    if (vector != VECTOR_SPURIOUS) {
        apic_write(APIC_EOI, 0); /* edges: the next one may be noted while this one is served */
    }
    switch (vector) {
    case VECTOR_TIMER:
        timer_interrupt();
        break;
    case VECTOR_CALL:
        ipi_call_interrupt();
        break;
    case VECTOR_RESCHED: /* the work flags, or the end of a halt, are the message */
    case VECTOR_SPURIOUS:
        break;
    case VECTOR_APIC_ERROR:
        apic_write(APIC_ESR, 0);
        log_warn("x86: local APIC error 0x%x", apic_read(APIC_ESR));
        break;
    default:
        if (vector >= VECTOR_IRQ_FIRST && vector <= VECTOR_IRQ_LAST) {
            const struct irq_line *l = &lines[vector - VECTOR_IRQ_FIRST];

            if (l->fn) {
                l->fn(l->arg);
            }
        }
        break;
    }
    c->interrupt_depth--;
}

/* --- start */

void apic_init_cpu(void)
{
    uint64_t base = read_msr(MSR_APIC_BASE);

    if (is_x2apic && !(base & BASE_X2APIC)) {
        write_msr(MSR_APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
    } else if (!(base & BASE_ENABLE)) {
        write_msr(MSR_APIC_BASE, base | BASE_ENABLE);
    }
    this_cpu()->arch.apic_id = apic_id();
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LINT0, LVT_MASKED);
    apic_write(APIC_LINT1, LVT_MASKED);
    apic_write(APIC_ERROR, VECTOR_APIC_ERROR);
    apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
}

static void mask_legacy_pic(void)
{
    port_write8(0x21, 0xff);
    port_write8(0xa1, 0xff);
}

void apic_init(void)
{
    is_x2apic = cpu_features.has_x2apic;
    if (!is_x2apic) {
        if (pt_direct_map(machine.local_apic, PAGE_SIZE, true) < 0) {
            panic(NULL, "local APIC at 0x%lx is out of reach", machine.local_apic);
        }
        local = arch_phys_to_virt(machine.local_apic);
    }
    mask_legacy_pic();
    apic_init_cpu();
    if (machine.io_apic != 0 && pt_direct_map(machine.io_apic, PAGE_SIZE, true) == 0) {
        io = arch_phys_to_virt(machine.io_apic);
        io_lines = (io_read(IOAPIC_VERSION) >> 16 & 0xff) + 1;
    }
}

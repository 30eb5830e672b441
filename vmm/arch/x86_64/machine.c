/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x86-64 machine: split irqchip (local APICs in KVM, the IOAPIC in the monitor), which is the
 * cheapest to make and to take down, and the tables that the entry states need.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "arch/x86_64/cpu.h"
#include "boot/acpi.h"
#include "error.h"
#include "kvm/machine.h"
#include "layout.h"

#define TSC_MEASURE_NS 5000000
#define PTE_PRESENT    UINT64_C(1)
#define PTE_WRITABLE   UINT64_C(2)
#define PTE_LARGE      UINT64_C(0x80)
#define LARGE_PAGE     UINT64_C(0x200000)
#define PTES_PER_TABLE 512u

drupe_vm_err_t arch_memory_prepare(struct machine *m, struct drupe_error *err)
{
    /* Only Intel CPUs without unrestricted guests use it; others don't mind. */
    if (ioctl(m->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0 && errno != EINVAL) {
        return error_set(err, DRUPE_INTERNAL, errno, "set KVM's TSS address");
    }
    return DRUPE_OK;
}

static void send_msi(void *ctx, uint64_t address, uint32_t data)
{
    struct machine *m = ctx;
    struct kvm_msi msi = { .address_lo = (uint32_t)address, .data = data };

    if (ioctl(m->vm_fd, KVM_SIGNAL_MSI, &msi) < 0) {
        log_write(&m->log, DRUPE_LOG_WARN, "ioapic",
                  "interrupt not delivered address=0x%x data=0x%x errno=%d", msi.address_lo, data,
                  errno);
    }
}

drupe_vm_err_t arch_irqchip_create(struct machine *m, struct drupe_error *err)
{
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { IOAPIC_LINES } };

    if (ioctl(m->vm_fd, KVM_ENABLE_CAP, &split) < 0) {
        return error_set(err, DRUPE_UNAVAILABLE, errno,
                         "make a split irqchip (Linux 4.4 or newer is needed)");
    }
    ioapic_init(&m->ioapic, send_msi, m);
    m->has_irqchip = true;
    return DRUPE_OK;
}

void arch_irqchip_destroy(struct machine *m)
{
    if (m->has_irqchip) {
        ioapic_deinit(&m->ioapic);
        m->has_irqchip = false;
    }
}

void arch_irq_raise(struct machine *m, unsigned irq)
{
    ioapic_raise(&m->ioapic, irq);
}

static int write_gdt(const struct machine *m)
{
    static const uint64_t gdt[CPU_GDT_ENTRIES] = {
        [CPU_SELECTOR_CODE64 / 8] = UINT64_C(0x00af9b000000ffff),
        [CPU_SELECTOR_DATA / 8] = UINT64_C(0x00cf93000000ffff),
        [CPU_SELECTOR_CODE32 / 8] = UINT64_C(0x00cf9b000000ffff),
        [CPU_SELECTOR_TSS / 8] = UINT64_C(0x00008b0000000067),
    };

    return gmem_write(&m->gmem, (gpa_t){ LAYOUT_GDT }, gdt, sizeof(gdt));
}

static int write_page_tables(const struct machine *m)
{
    uint64_t table[PTES_PER_TABLE];
    uint64_t entry = LAYOUT_PDPT | PTE_PRESENT | PTE_WRITABLE;
    int r = gmem_write(&m->gmem, (gpa_t){ LAYOUT_PML4 }, &entry, sizeof(entry));

    if (r < 0) {
        return r;
    }
    entry = LAYOUT_PD | PTE_PRESENT | PTE_WRITABLE;
    r = gmem_write(&m->gmem, (gpa_t){ LAYOUT_PDPT }, &entry, sizeof(entry));
    if (r < 0) {
        return r;
    }
    for (unsigned i = 0; i < PTES_PER_TABLE; i++) {
        table[i] = i * LARGE_PAGE | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
    }
    return gmem_write(&m->gmem, (gpa_t){ LAYOUT_PD }, table, sizeof(table));
}

static int write_acpi(const struct machine *m, uint64_t *rsdp_gpa)
{
    uint8_t tables[ACPI_SIZE_MAX];
    struct acpi_machine facts = {
        .gpa = LAYOUT_ACPI,
        .vcpus = m->config->vcpus,
        .lapic_gpa = (uint32_t)LAYOUT_LAPIC,
        .ioapic_gpa = (uint32_t)LAYOUT_IOAPIC,
        .ioapic_id = 0,
        .devices = { .virtio_gpa = LAYOUT_VIRTIO,
                     .virtio_size = (uint32_t)LAYOUT_VIRTIO_SIZE,
                     .virtio_irq = LAYOUT_IRQ_VIRTIO,
                     .virtio_count = machine_virtio_count(m),
                     .serial_port = LAYOUT_PORT_SERIAL,
                     .serial_irq = LAYOUT_IRQ_SERIAL,
                     .keyboard_port = LAYOUT_PORT_I8042,
                     .keyboard_irq = LAYOUT_IRQ_KEYBOARD },
    };
    size_t size = acpi_write(&facts, tables);

    *rsdp_gpa = LAYOUT_ACPI;
    return gmem_write(&m->gmem, (gpa_t){ LAYOUT_ACPI }, tables, size);
}

int arch_boot_tables_write(struct machine *m, bool is_pvh, uint64_t *rsdp_gpa)
{
    int r = write_gdt(m);

    if (r == 0 && !is_pvh) {
        r = write_page_tables(m);
    }
    if (r == 0) {
        r = write_acpi(m, rsdp_gpa);
    }
    return r;
}

uint64_t arch_host_tsc_khz(void)
{
    const struct timespec pause = { .tv_nsec = TSC_MEASURE_NS };
    struct timespec before;
    struct timespec after;
    uint64_t ticks = 0;
    uint64_t ns = 0;

    (void)clock_gettime(CLOCK_MONOTONIC_RAW, &before);
    ticks = __builtin_ia32_rdtsc();
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause,
                          NULL); /* how long it took is measured, not assumed */
    ticks = __builtin_ia32_rdtsc() - ticks;
    (void)clock_gettime(CLOCK_MONOTONIC_RAW, &after);
    ns = (uint64_t)(after.tv_sec - before.tv_sec) * UINT64_C(1000000000) + (uint64_t)after.tv_nsec -
         (uint64_t)before.tv_nsec;
    return ns == 0 ? 0 : ticks * UINT64_C(1000000) / ns;
}

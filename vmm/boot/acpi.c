/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: ACPI 6.4, sections 5.2.5 (RSDP), 5.2.8 (XSDT), 5.2.9 (FADT), 5.2.12 (MADT). */
#include "boot/acpi.h"

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#define HEADER_SIZE 36u
#define RSDP_SIZE   36u
#define FADT_SIZE   276u

#define MADT_LAPIC_SIZE  8u
#define MADT_IOAPIC_SIZE 12u
#define MADT_NMI_SIZE    6u

#define FADT_IAPC_BOOT_ARCH 109u
#define FADT_FLAGS          112u
#define FADT_RESET_REG      116u
#define FADT_RESET_VALUE    128u
#define FADT_X_DSDT         140u
#define FADT_HYPERVISOR_ID  268u

#define FADT_BOOT_8042       (1u << 1)
#define FADT_BOOT_NO_VGA     (1u << 2)
#define FADT_BOOT_NO_CMOS    (1u << 5)
#define FADT_FLAG_PWR_BUTTON (1u << 4)
#define FADT_FLAG_SLP_BUTTON (1u << 5)
#define FADT_FLAG_RESET_REG  (1u << 10)
#define FADT_FLAG_HW_REDUCED (1u << 20)
#define GAS_SYSTEM_IO        1u
#define GAS_ACCESS_BYTE      1u
#define RESET_PORT           0x64u
#define RESET_VALUE          0xfeu

struct table_writer {
    uint8_t *bytes;
    size_t size;
};

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum += bytes[i];
    }
    return (uint8_t)(0u - sum);
}

/* Room for `size` zero bytes, 8-aligned. Sizes are ours, so running out is a bug. */
static size_t reserve(struct table_writer *w, size_t size)
{
    size_t at = align_up(w->size, 8);

    assert(at + size <= ACPI_SIZE_MAX);
    memset(w->bytes + w->size, 0, at + size - w->size);
    w->size = at + size;
    return at;
}

/* Identifiers are bytes of fixed size, padded with blanks, without an end. */
static void put_id(uint8_t *to, const char *id, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)id[i];
    }
}

static void finish_table(uint8_t *t, const char *signature, uint8_t revision, size_t size)
{
    put_id(t, signature, 4);
    store_le32(t + 4, (uint32_t)size);
    t[8] = revision;
    put_id(t + 10, "DRUPE ", 6);
    put_id(t + 16, "MICROVM ", 8);
    store_le32(t + 24, 1);
    put_id(t + 28, "DRUP", 4);
    store_le32(t + 32, 1);
    t[9] = checksum(t, size);
}

static size_t write_dsdt(struct table_writer *w, const struct acpi_devices *devices)
{
    uint8_t aml[ACPI_DEVICES_SIZE_MAX];
    size_t size = acpi_devices_write(devices, aml);
    size_t at = reserve(w, HEADER_SIZE + size);

    memcpy(w->bytes + at + HEADER_SIZE, aml, size);
    finish_table(w->bytes + at, "DSDT", 2, HEADER_SIZE + size);
    return at;
}

static size_t write_fadt(struct table_writer *w, uint64_t dsdt_gpa)
{
    size_t at = reserve(w, FADT_SIZE);
    uint8_t *t = w->bytes + at;

    store_le16(t + FADT_IAPC_BOOT_ARCH, FADT_BOOT_8042 | FADT_BOOT_NO_VGA | FADT_BOOT_NO_CMOS);
    store_le32(t + FADT_FLAGS, FADT_FLAG_PWR_BUTTON | FADT_FLAG_SLP_BUTTON | FADT_FLAG_RESET_REG |
                                   FADT_FLAG_HW_REDUCED);
    t[FADT_RESET_REG] = GAS_SYSTEM_IO;
    t[FADT_RESET_REG + 1] = 8; /* register width in bits */
    t[FADT_RESET_REG + 3] = GAS_ACCESS_BYTE;
    store_le64(t + FADT_RESET_REG + 4, RESET_PORT);
    t[FADT_RESET_VALUE] = RESET_VALUE;
    store_le64(t + FADT_X_DSDT, dsdt_gpa);
    put_id(t + FADT_HYPERVISOR_ID, "DRUPE", 5);
    finish_table(t, "FACP", 6, FADT_SIZE);
    return at;
}

static size_t write_madt(struct table_writer *w, const struct acpi_machine *m)
{
    size_t size = HEADER_SIZE + 8 + m->vcpus * MADT_LAPIC_SIZE + MADT_IOAPIC_SIZE + MADT_NMI_SIZE;
    size_t at = reserve(w, size);
    uint8_t *t = w->bytes + at;
    uint8_t *entry = t + HEADER_SIZE + 8;

    store_le32(t + HEADER_SIZE, m->lapic_gpa);
    for (unsigned i = 0; i < m->vcpus; i++) {
        entry[0] = 0; /* processor local APIC */
        entry[1] = MADT_LAPIC_SIZE;
        entry[2] = (uint8_t)i;
        entry[3] = (uint8_t)i;
        store_le32(entry + 4, 1); /* enabled */
        entry += MADT_LAPIC_SIZE;
    }
    entry[0] = 1; /* IOAPIC; its interrupts begin at 0 */
    entry[1] = MADT_IOAPIC_SIZE;
    entry[2] = m->ioapic_id;
    store_le32(entry + 4, m->ioapic_gpa);
    entry += MADT_IOAPIC_SIZE;
    entry[0] = 4; /* NMI on LINT1 of every CPU */
    entry[1] = MADT_NMI_SIZE;
    entry[2] = 0xff;
    entry[5] = 1;
    finish_table(t, "APIC", 5, size);
    return at;
}

static size_t write_xsdt(struct table_writer *w, uint64_t gpa, const size_t *tables, size_t count)
{
    size_t at = reserve(w, HEADER_SIZE + count * 8);
    uint8_t *t = w->bytes + at;

    for (size_t i = 0; i < count; i++) {
        store_le64(t + HEADER_SIZE + i * 8, gpa + tables[i]);
    }
    finish_table(t, "XSDT", 1, HEADER_SIZE + count * 8);
    return at;
}

static void write_rsdp(uint8_t *t, uint64_t xsdt_gpa)
{
    put_id(t, "RSD PTR ", 8);
    put_id(t + 9, "DRUPE ", 6);
    t[15] = 2; /* ACPI 2.0 and later: has the XSDT */
    t[8] = checksum(t, 20);
    store_le32(t + 20, RSDP_SIZE);
    store_le64(t + 24, xsdt_gpa);
    t[32] = checksum(t, RSDP_SIZE);
}

size_t acpi_write(const struct acpi_machine *m, uint8_t to[ACPI_SIZE_MAX])
{
    struct table_writer w = { .bytes = to };
    size_t rsdp = reserve(&w, RSDP_SIZE);
    size_t dsdt = write_dsdt(&w, &m->devices);
    size_t tables[2] = { write_fadt(&w, m->gpa + dsdt), write_madt(&w, m) };
    size_t xsdt = write_xsdt(&w, m->gpa, tables, array_size(tables));

    assert(rsdp == 0);
    write_rsdp(to, m->gpa + xsdt);
    return w.size;
}

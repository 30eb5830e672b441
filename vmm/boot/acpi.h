/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of a machine without ACPI hardware: RSDP, XSDT, FADT (hardware-reduced, so that
 * an operating system expects no PM ports), MADT (CPUs and the IOAPIC), and a DSDT with the devices
 * that are announced on the command line as well. All of it is written at one guest-physical
 * address below 1 MiB.
 */
#pragma once

#include <base/compiler.h>

#include "boot/acpi_devices.h"

#define ACPI_SIZE_MAX 3072u

struct acpi_machine {
    uint64_t gpa; /* where the tables will stand; the RSDP comes first */
    unsigned vcpus;
    uint32_t lapic_gpa;
    uint32_t ioapic_gpa;
    uint8_t ioapic_id;
    struct acpi_devices devices;
};

/* Write the tables into `to`; returns the bytes used, at most ACPI_SIZE_MAX. */
size_t acpi_write(const struct acpi_machine *m, uint8_t to[ACPI_SIZE_MAX]);

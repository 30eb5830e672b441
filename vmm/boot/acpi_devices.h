/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of the DSDT: the machine's devices in AML, for kernels that look there and not on the
 * command line. ACPI 6.4, chapters 20 (AML) and 6.4 (resources).
 */
#pragma once

#include <base/compiler.h>

#define ACPI_DEVICES_SIZE_MAX 2048u

struct acpi_devices {
    uint64_t virtio_gpa; /* of the first window; below 4 GiB */
    uint32_t virtio_size;
    unsigned virtio_irq; /* of the first; one more for each */
    unsigned virtio_count;
    uint16_t serial_port; /* 8 ports; 0: none */
    unsigned serial_irq;
    uint16_t keyboard_port; /* it and the one 4 higher; 0: none */
    unsigned keyboard_irq;
};

/* Returns the bytes written, at most ACPI_DEVICES_SIZE_MAX. At most 16 virtio devices. */
size_t acpi_devices_write(const struct acpi_devices *d, uint8_t to[ACPI_DEVICES_SIZE_MAX]);

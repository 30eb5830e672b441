/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AML is written inside out: each device's objects go to a buffer of their own, and then, when
 * their size is known, behind the package length. Lengths are always written in two bytes.
 */
#include "boot/acpi_devices.h"

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#define VIRTIO_MAX 16u

#define AML_NAME     0x08u
#define AML_BYTE     0x0au
#define AML_DWORD    0x0cu
#define AML_STRING   0x0du
#define AML_SCOPE    0x10u
#define AML_BUFFER   0x11u
#define AML_EXTENDED 0x5bu
#define AML_DEVICE   0x82u
#define AML_ONE      0x01u

#define RESOURCE_IO         0x47u
#define RESOURCE_MEMORY32   0x86u
#define RESOURCE_INTERRUPT  0x89u
#define RESOURCE_END        0x79u
#define INTERRUPT_FLAGS     0x03u /* consumer, edge, active high, exclusive */
#define PACKAGE_LENGTH_MAX  0xfffu
#define PACKAGE_LENGTH_SIZE 2u

struct aml {
    uint8_t bytes[ACPI_DEVICES_SIZE_MAX];
    size_t size;
};

/* Sizes are ours, so running out is a bug. */
static void put(struct aml *a, const void *bytes, size_t size)
{
    assert(size <= sizeof(a->bytes) - a->size);
    memcpy(a->bytes + a->size, bytes, size);
    a->size += size;
}

static void put8(struct aml *a, uint8_t value)
{
    put(a, &value, 1);
}

static void put16(struct aml *a, uint16_t value)
{
    uint8_t bytes[2];

    store_le16(bytes, value);
    put(a, bytes, sizeof(bytes));
}

static void put32(struct aml *a, uint32_t value)
{
    uint8_t bytes[4];

    store_le32(bytes, value);
    put(a, bytes, sizeof(bytes));
}

static void put_length(struct aml *a, size_t size)
{
    size += PACKAGE_LENGTH_SIZE;
    assert(size <= PACKAGE_LENGTH_MAX);
    put8(a, (uint8_t)(0x40u | (size & 0x0f)));
    put8(a, (uint8_t)(size >> 4));
}

static void put_name(struct aml *a, const char *name)
{
    put8(a, AML_NAME);
    put(a, name, 4);
}

/* "PNP0501" as the number that stands for it. */
static void put_eisa_id(struct aml *a, const char *id)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 3; i++) {
        value = value << 5 | (uint32_t)(id[i] - 'A' + 1);
    }
    for (unsigned i = 3; i < 7; i++) {
        value = value << 4 | (uint32_t)(id[i] - '0');
    }
    put8(a, AML_DWORD);
    put32(a, __builtin_bswap32(value));
}

/* ---- Resources ---- */

static void put_ports(struct aml *a, uint16_t first, uint8_t count)
{
    put8(a, RESOURCE_IO);
    put8(a, 1); /* 16 bits decoded */
    put16(a, first);
    put16(a, first);
    put8(a, 1);
    put8(a, count);
}

static void put_memory(struct aml *a, uint32_t gpa, uint32_t size)
{
    put8(a, RESOURCE_MEMORY32);
    put16(a, 9);
    put8(a, 1); /* read and write */
    put32(a, gpa);
    put32(a, size);
}

static void put_interrupt(struct aml *a, unsigned irq)
{
    put8(a, RESOURCE_INTERRUPT);
    put16(a, 6);
    put8(a, INTERRUPT_FLAGS);
    put8(a, 1);
    put32(a, irq);
}

static void put_resources(struct aml *a, struct aml *resources)
{
    put8(resources, RESOURCE_END);
    put8(resources, 0); /* no checksum */
    put_name(a, "_CRS");
    put8(a, AML_BUFFER);
    put_length(a, resources->size + 2);
    put8(a, AML_BYTE);
    put8(a, (uint8_t)resources->size);
    put(a, resources->bytes, resources->size);
}

/* ---- Devices ---- */

static void put_device(struct aml *a, const char *name, const struct aml *objects)
{
    put8(a, AML_EXTENDED);
    put8(a, AML_DEVICE);
    put_length(a, objects->size + 4);
    put(a, name, 4);
    put(a, objects->bytes, objects->size);
}

static void put_virtio(struct aml *a, const struct acpi_devices *d, unsigned i)
{
    static const char digits[] = "0123456789ABCDEF";
    const char name[] = { 'V', '0', '0', digits[i] };
    struct aml objects = { .size = 0 };
    struct aml resources = { .size = 0 };

    put_name(&objects, "_HID");
    put8(&objects, AML_STRING);
    put(&objects, "LNRO0005", sizeof("LNRO0005"));
    put_name(&objects, "_UID");
    put8(&objects, AML_BYTE);
    put8(&objects, (uint8_t)i);
    put_name(&objects, "_CCA");
    put8(&objects, AML_ONE);
    put_memory(&resources, (uint32_t)d->virtio_gpa + i * d->virtio_size, d->virtio_size);
    put_interrupt(&resources, d->virtio_irq + i);
    put_resources(&objects, &resources);
    put_device(a, name, &objects);
}

static void put_serial(struct aml *a, const struct acpi_devices *d)
{
    struct aml objects = { .size = 0 };
    struct aml resources = { .size = 0 };

    put_name(&objects, "_HID");
    put_eisa_id(&objects, "PNP0501");
    put_name(&objects, "_UID");
    put8(&objects, AML_BYTE);
    put8(&objects, 0);
    put_ports(&resources, d->serial_port, 8);
    put_interrupt(&resources, d->serial_irq);
    put_resources(&objects, &resources);
    put_device(a, "COM1", &objects);
}

static void put_keyboard(struct aml *a, const struct acpi_devices *d)
{
    struct aml objects = { .size = 0 };
    struct aml resources = { .size = 0 };

    put_name(&objects, "_HID");
    put_eisa_id(&objects, "PNP0303");
    put_ports(&resources, d->keyboard_port, 1);
    put_ports(&resources, (uint16_t)(d->keyboard_port + 4), 1);
    put_interrupt(&resources, d->keyboard_irq);
    put_resources(&objects, &resources);
    put_device(a, "PS2_", &objects);
}

size_t acpi_devices_write(const struct acpi_devices *d, uint8_t to[ACPI_DEVICES_SIZE_MAX])
{
    struct aml devices = { .size = 0 };
    struct aml scope = { .size = 0 };

    assert(d->virtio_count <= VIRTIO_MAX);
    for (unsigned i = 0; i < d->virtio_count; i++) {
        put_virtio(&devices, d, i);
    }
    if (d->serial_port != 0) {
        put_serial(&devices, d);
    }
    if (d->keyboard_port != 0) {
        put_keyboard(&devices, d);
    }
    put8(&scope, AML_SCOPE);
    put_length(&scope, devices.size + 5);
    put(&scope, "\\_SB_", 5);
    put(&scope, devices.bytes, devices.size);
    memcpy(to, scope.bytes, scope.size);
    return scope.size;
}

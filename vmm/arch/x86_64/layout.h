/* SPDX-License-Identifier: Apache-2.0 */
/* Where things stand in a guest's physical address space (docs/boot.md). All addresses are gpa. */
#pragma once

#include <stdint.h>

/* Low memory: what the monitor writes before the first instruction. */
#define LAYOUT_GDT         UINT64_C(0x500)
#define LAYOUT_START_INFO  UINT64_C(0x6000) /* PVH */
#define LAYOUT_ZERO_PAGE   UINT64_C(0x7000) /* Linux boot protocol */
#define LAYOUT_STACK_TOP   UINT64_C(0x8ff0)
#define LAYOUT_PML4        UINT64_C(0x9000)
#define LAYOUT_PDPT        UINT64_C(0xa000)
#define LAYOUT_PD          UINT64_C(0xb000) /* identity map of the first 1 GiB, 2 MiB pages */
#define LAYOUT_CMDLINE     UINT64_C(0x20000)
#define LAYOUT_LOW_RAM_END UINT64_C(0x9fc00)
#define LAYOUT_IDENTITY    UINT64_C(0xd0000)
#define LAYOUT_ACPI        UINT64_C(0xe0000)
#define LAYOUT_HIGH_RAM    UINT64_C(0x100000)
#define LAYOUT_MAPPED_END  UINT64_C(0x40000000) /* where the identity map at entry ends */

/* The hole below 4 GiB. */
#define LAYOUT_BOOT_TIMER      UINT64_C(0xc0000000)
#define LAYOUT_BOOT_TIMER_SIZE UINT64_C(0x1000)
#define LAYOUT_DEVICES         UINT64_C(0xc0000000)
#define LAYOUT_VIRTIO          UINT64_C(0xd0000000)
#define LAYOUT_VIRTIO_SIZE     UINT64_C(0x1000)
#define LAYOUT_VIRTIO_SLOTS    11u
#define LAYOUT_IOAPIC          UINT64_C(0xfec00000)
#define LAYOUT_IOAPIC_SIZE     UINT64_C(0x1000)
#define LAYOUT_LAPIC           UINT64_C(0xfee00000)
#define LAYOUT_KVM_TSS         UINT64_C(0xfffbd000) /* three pages that KVM may use on old Intel CPUs */
#define LAYOUT_4GIB            UINT64_C(0x100000000)

#define LAYOUT_ROOT_ALIGN UINT64_C(0x40000000) /* 1 GiB */

/* Interrupt lines: virtio devices take 5 to 15, which every guest has without further description.
 */
#define LAYOUT_IRQ_KEYBOARD 1u
#define LAYOUT_IRQ_SERIAL   4u
#define LAYOUT_IRQ_VIRTIO   5u

/* Ports. */
#define LAYOUT_PORT_SERIAL      0x3f8u
#define LAYOUT_PORT_SERIAL_SIZE 8u
#define LAYOUT_PORT_I8042       0x60u
#define LAYOUT_PORT_I8042_SIZE  5u

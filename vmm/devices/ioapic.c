/* SPDX-License-Identifier: Apache-2.0 */
/* Registers: Intel 82093AA data sheet, section 3. MSI format: Intel SDM volume 3, 11.11. */
#include "devices/ioapic.h"

#include <string.h>

#include <base/assert.h>

#include "abi/snapshot.h"

#define OFFSET_INDEX  0x00u
#define OFFSET_WINDOW 0x10u
#define REG_ID        0x00u
#define REG_VERSION   0x01u
#define REG_ARBITER   0x02u
#define REG_TABLE     0x10u
#define VERSION       (0x11u | ((IOAPIC_LINES - 1u) << 16))

#define ENTRY_VECTOR   UINT64_C(0xff)
#define ENTRY_DELIVERY UINT64_C(0x700)
#define ENTRY_LOGICAL  (UINT64_C(1) << 11)
#define ENTRY_READ_ONLY                                                                            \
    ((UINT64_C(1) << 12) | (UINT64_C(1) << 14)) /* delivery status, remote IRR */
#define ENTRY_MASKED      (UINT64_C(1) << 16)
#define ENTRY_DESTINATION 56
#define ENTRY_WRITABLE    (UINT64_C(0xff0000000001afff) & ~ENTRY_READ_ONLY)

#define MSI_ADDRESS     UINT64_C(0xfee00000)
#define MSI_DESTINATION 12
#define MSI_LOGICAL     (UINT64_C(1) << 2)

void ioapic_init(struct ioapic *a, ioapic_msi_fn send, void *ctx)
{
    memset(a, 0, sizeof(*a));
    a->send = send;
    a->send_ctx = ctx;
    for (unsigned i = 0; i < IOAPIC_LINES; i++) {
        a->redirection[i] = ENTRY_MASKED;
    }
    (void)pthread_mutex_init(&a->lock, NULL);
}

void ioapic_deinit(struct ioapic *a)
{
    (void)pthread_mutex_destroy(&a->lock);
}

static void deliver_locked(struct ioapic *a, unsigned line)
{
    uint64_t entry = a->redirection[line];
    uint64_t address = MSI_ADDRESS | ((entry >> ENTRY_DESTINATION) << MSI_DESTINATION);

    if ((entry & ENTRY_MASKED) != 0) {
        a->pending |= 1u << line;
        return;
    }
    a->pending &= ~(1u << line);
    if ((entry & ENTRY_LOGICAL) != 0) {
        address |= MSI_LOGICAL;
    }
    a->send(a->send_ctx, address, (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY)));
}

void ioapic_raise(struct ioapic *a, unsigned line)
{
    if (line >= IOAPIC_LINES) {
        return;
    }
    (void)pthread_mutex_lock(&a->lock);
    deliver_locked(a, line);
    (void)pthread_mutex_unlock(&a->lock);
}

static uint32_t read_register_locked(const struct ioapic *a)
{
    unsigned line = (a->index - REG_TABLE) / 2u;

    if (a->index == REG_ID || a->index == REG_ARBITER) {
        return (uint32_t)a->id << 24;
    }
    if (a->index == REG_VERSION) {
        return VERSION;
    }
    if (a->index < REG_TABLE || line >= IOAPIC_LINES) {
        return 0;
    }
    return (uint32_t)(a->redirection[line] >> (a->index % 2u == 0 ? 0 : 32));
}

static void write_register_locked(struct ioapic *a, uint32_t value)
{
    unsigned line = (a->index - REG_TABLE) / 2u;
    uint64_t entry = 0;

    if (a->index == REG_ID) {
        a->id = (uint8_t)((value >> 24) & 0x0f);
        return;
    }
    if (a->index < REG_TABLE || line >= IOAPIC_LINES) {
        return;
    }
    entry = a->redirection[line];
    if (a->index % 2u == 0) {
        entry = (entry & ~UINT64_C(0xffffffff)) | value;
    } else {
        entry = (entry & UINT64_C(0xffffffff)) | ((uint64_t)value << 32);
    }
    a->redirection[line] = entry & ENTRY_WRITABLE;
    if ((a->pending & (1u << line)) != 0) {
        deliver_locked(a, line);
    }
}

void ioapic_save(struct ioapic *a, struct snapshot_ioapic *out)
{
    static_assert(sizeof(out->redirection) == sizeof(a->redirection), "24 lines");
    (void)pthread_mutex_lock(&a->lock);
    memcpy(out->redirection, a->redirection, sizeof(out->redirection));
    out->pending = a->pending;
    out->index = a->index;
    out->id = a->id;
    (void)pthread_mutex_unlock(&a->lock);
}

void ioapic_load(struct ioapic *a, const struct snapshot_ioapic *in)
{
    (void)pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < IOAPIC_LINES; i++) {
        a->redirection[i] = in->redirection[i] & ENTRY_WRITABLE;
    }
    a->pending = in->pending & ((1u << IOAPIC_LINES) - 1);
    a->index = in->index;
    a->id = in->id & 0x0f;
    (void)pthread_mutex_unlock(&a->lock);
}

uint64_t ioapic_read(void *device, uint64_t offset, unsigned size)
{
    struct ioapic *a = device;
    uint32_t value = 0;

    if (size != 4) {
        return 0;
    }
    (void)pthread_mutex_lock(&a->lock);
    if (offset == OFFSET_INDEX) {
        value = a->index;
    } else if (offset == OFFSET_WINDOW) {
        value = read_register_locked(a);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return value;
}

void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *a = device;

    /* The index is one byte wide; some guests write it as such. */
    if (size != 4 && !(offset == OFFSET_INDEX && size == 1)) {
        return;
    }
    (void)pthread_mutex_lock(&a->lock);
    if (offset == OFFSET_INDEX) {
        a->index = (uint8_t)value;
    } else if (offset == OFFSET_WINDOW) {
        write_register_locked(a, (uint32_t)value);
    }
    (void)pthread_mutex_unlock(&a->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An IOAPIC with 24 lines in the monitor, for KVM's split irqchip: a raised line becomes an MSI to
 * the local APICs in KVM. Devices raise edges only, so a line that the guest programs as level is
 * delivered as an edge, too; a line raised while masked is remembered and delivered when it is
 * unmasked (devices here are never re-raised, and drivers bear a spurious interrupt better than a
 * lost one).
 */
#pragma once

#include <pthread.h>

#include <base/compiler.h>

#define IOAPIC_LINES 24u

/* Deliver an MSI. Any thread; called with the IOAPIC's lock held. */
typedef void (*ioapic_msi_fn)(void *ctx, uint64_t address, uint32_t data);

struct snapshot_ioapic;

struct ioapic {
    ioapic_msi_fn send;
    void *send_ctx;
    pthread_mutex_t lock;
    /* under lock */
    uint64_t redirection[IOAPIC_LINES];
    uint32_t pending; /* raised while masked */
    uint8_t index;
    uint8_t id;
};

void ioapic_init(struct ioapic *a, ioapic_msi_fn send, void *ctx);
void ioapic_deinit(struct ioapic *a);

/* An edge on `line`; a line that doesn't exist is ignored. Any thread. */
void ioapic_raise(struct ioapic *a, unsigned line);

/* Into and out of a snapshot. load: hostile, but any table is one that a guest could write. */
void ioapic_save(struct ioapic *a, struct snapshot_ioapic *out);
void ioapic_load(struct ioapic *a, const struct snapshot_ioapic *in);

/* io_window accessors for its page. */
uint64_t ioapic_read(void *device, uint64_t offset, unsigned size);
void ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value);

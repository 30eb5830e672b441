/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status port of include/abi/boot.h: four bytes say how the machine ended. A byte out of order
 * starts over, so that noise can't be taken for a status.
 */
#pragma once

#include <pthread.h>

#include "devices/device.h"

struct snapshot_status;

struct status_port {
    const struct device_host *host;
    pthread_mutex_t lock;
    uint8_t bytes[4]; /* under lock */
    unsigned count;   /* under lock */
};

void status_port_init(struct status_port *d, const struct device_host *host);
void status_port_deinit(struct status_port *d);

/* Into and out of a snapshot. load: hostile; false for what no port can be. */
void status_port_save(struct status_port *d, struct snapshot_status *out);
bool status_port_load(struct status_port *d, const struct snapshot_status *in);

/* io_window accessors for one port. */
uint64_t status_port_read(void *device, uint64_t offset, unsigned size);
void status_port_write(void *device, uint64_t offset, unsigned size, uint64_t value);

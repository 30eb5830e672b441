/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of a keyboard controller as it takes to reset the machine (0xFE to port 0x64), to tell a
 * driver that looks for a keyboard that there is none, and to have Ctrl-Alt-Del arrive from it.
 */
#pragma once

#include <pthread.h>

#include "devices/device.h"

#define I8042_KEYS_MAX 8u

struct i8042 {
    const struct device_host *host;
    unsigned irq;
    pthread_mutex_t lock;
    /* under lock */
    uint8_t keys[I8042_KEYS_MAX]; /* scan codes that the guest has not read */
    unsigned head;
    unsigned count;
};

void i8042_init(struct i8042 *d, const struct device_host *host, unsigned irq);
void i8042_deinit(struct i8042 *d);

/* io_window accessors for ports 0x60..0x64. A reset is host->machine_end(kind 0). */
uint64_t i8042_read(void *device, uint64_t offset, unsigned size);
void i8042_write(void *device, uint64_t offset, unsigned size, uint64_t value);

/* Ctrl-Alt-Del in codes of set 2. False when the guest has not read the last one. Any thread. */
bool i8042_ctrl_alt_del(struct i8042 *d);

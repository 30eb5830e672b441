/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of a keyboard controller as it takes to reset the machine (0xFE to port 0x64) and to tell
 * a driver that looks for a keyboard that there is none. No state, so no lock.
 */
#pragma once

#include "devices/device.h"

struct i8042 {
    const struct device_host *host;
};

void i8042_init(struct i8042 *d, const struct device_host *host);

/* io_window accessors for ports 0x60..0x64. A reset is host->machine_end(kind 0). */
uint64_t i8042_read(void *device, uint64_t offset, unsigned size);
void i8042_write(void *device, uint64_t offset, unsigned size, uint64_t value);

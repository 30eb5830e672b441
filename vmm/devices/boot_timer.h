/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot timer: the guest writes BOOT_TIMER_MAGIC to its first byte when it considers itself
 * started, and the log says how long that took. Once a life.
 */
#pragma once

#include <stdatomic.h>

#include "devices/device.h"

#define BOOT_TIMER_MAGIC 123u

struct boot_timer {
    const struct device_host *host;
    _Atomic uint64_t start_ns; /* CLOCK_MONOTONIC; 0: not started, or reported */
};

void boot_timer_init(struct boot_timer *t, const struct device_host *host);
/* The guest is let go now. */
void boot_timer_start(struct boot_timer *t);

uint64_t boot_timer_read(void *device, uint64_t offset, unsigned size);
void boot_timer_write(void *device, uint64_t offset, unsigned size, uint64_t value);

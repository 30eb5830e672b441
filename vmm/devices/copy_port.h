/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy port of include/abi/boot.h: copies and clears pages of guest memory for a kernel whose
 * own instructions are interpreted. Stateless; any vCPU thread. A request that is not well formed
 * does nothing beyond its good entries.
 */
#pragma once

#include "devices/device.h"

/* io_window accessors; `device` is the struct device_host. Reads give all ones. */
uint64_t copy_port_read(void *device, uint64_t offset, unsigned size);
void copy_port_write(void *device, uint64_t offset, unsigned size, uint64_t value);

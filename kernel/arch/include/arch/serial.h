/* SPDX-License-Identifier: Apache-2.0 */
/* The first serial port beyond the early console: raw output and input. */
#pragma once

#include <core/types.h>

/* Send bytes as they are. Polled; any context. */
void serial_write_raw(const uint8_t *bytes, size_t size);

/* The next received byte, or -1. */
int serial_read(void);

/* Call fn(arg) in an interrupt when bytes arrive. 0, -ENODEV (no such port), or as irq_request().
 */
int serial_start_input(void (*fn)(void *arg), void *arg) MUST_CHECK;

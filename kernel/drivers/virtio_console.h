/* SPDX-License-Identifier: Apache-2.0 */
/* The console device's ports as the streams above them see them. */
#pragma once

#include <core/types.h>
#include <fs/vfs.h>

struct port;
struct tty;

#define CONSOLE_PORTS 4u

/* By number as in abi/boot.h; NULL if the device has no such port. */
struct port *console_port(unsigned number);

/* The terminal on port 0; NULL without a console device. */
struct tty *console_tty(void);

/* Plain streams: file->private is the port. */
extern const struct file_ops port_file_ops;

/* Wait until everything written to any port has been taken by the host. May sleep. */
void console_drain(void);

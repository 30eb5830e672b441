/* SPDX-License-Identifier: Apache-2.0 */
/* The serial line's input; its output is the early console (arch/console.h, arch/serial.h). */
#pragma once

#include <core/types.h>

struct tty;

void serial_init(bool is_signal_line);
struct tty *serial_tty(void);

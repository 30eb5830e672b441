/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Echo standard input (console port `in_port`) to standard output until its end. `device`: the
 * console's registers. */
void console_echo(uint64_t device, uint32_t in_port);

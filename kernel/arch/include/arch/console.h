/* SPDX-License-Identifier: Apache-2.0 */
/* The early console: the machine's first serial port, written synchronously, from the first line
 * on. */
#pragma once

#include <core/types.h>

/* Nothing is written while no console was asked for. The log's lock is held, or it is a panic. */
void console_write(const char *text, size_t length);

/* Print the frames of a backtrace beginning at regs, or here when NULL; panic only. */
struct regs;
void arch_print_backtrace(const struct regs *regs);
void arch_print_regs(const struct regs *regs);
/* Write one byte to the status port. */
void arch_status_write(unsigned port, uint8_t byte);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's log: a ring of lines that anybody may add to, from any context, and the console that
 * shows those at or above its level. Formatting allocates nothing. A line is never torn.
 */
#pragma once

#include <stdarg.h>

#include <core/types.h>

enum log_level {
    LOG_ERROR = 3, /* Linux's numbers, so that loglevel= means the same */
    LOG_WARN = 4,
    LOG_INFO = 6,
    LOG_DEBUG = 7,
};

void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

/* Who speaks: version, processor, memory. At boot, and in a panic's report. */
void log_banner(enum log_level level);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* Lines with a level number below `level` + 1 are shown on the console from now on. */
void log_set_console_level(int level);

/* Copy ring text from sequence *seq on (dmesg, /dev/kmsg, panic); advances *seq; returns bytes
 * copied, 0 at the end. */
size_t log_read(uint64_t *seq, char *buf, size_t size);

/* Does the console show such lines? The ring has them in any case. */
bool log_is_shown(enum log_level level);

struct regs;

/*
 * Stop the machine: print the reason, registers (may be NULL), symbolised backtrace and the last
 * log lines; report BOOT_STATUS_PANIC; reset. Allocates nothing, takes no lock that it could wait
 * on for ever.
 */
_Noreturn void panic(const struct regs *regs, const char *format, ...) PRINTF_LIKE(2, 3);

/* The name and offset of the function at `ip` from the embedded symbol table; false if outside. */
bool symbol_lookup(uintptr_t ip, const char **name, size_t *offset);

/* End the machine in order: kind and status as in abi/boot.h. */
_Noreturn void machine_end(unsigned kind, unsigned status);

/* SPDX-License-Identifier: Apache-2.0 */
/* Log and panic of unit tests: warnings are counted, KERNEL_LOG in the environment prints all. */
#include <core/log.h>

#include <host/host.h>
#include <stdio.h>
#include <stdlib.h>

HOST_STAND_IN void log_write(enum log_level level, const char *format, ...)
{
    if (level <= LOG_WARN) {
        host_lines_logged++;
    }
    if (getenv("KERNEL_LOG")) {
        va_list args;

        va_start(args, format);
        (void)vfprintf(stderr, format, args);
        va_end(args);
        (void)fputc('\n', stderr);
    }
}

HOST_STAND_IN _Noreturn void panic(const struct regs *regs, const char *format, ...)
{
    va_list args;

    (void)regs;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    abort();
}

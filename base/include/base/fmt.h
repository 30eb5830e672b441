/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printf formatting without libc: d i u x X o c s p % with flags `-0+ #`, width, precision (both
 * may be `*`) and lengths hh h l ll z t j. No floating point. Allocates nothing; safe in a panic.
 */
#pragma once

#include <stdarg.h>

#include <base/compiler.h>

/*
 * Format into buf, always terminated when size > 0. Returns the length the whole text has (without
 * the NUL), which is >= size when it was cut, like snprintf(3). A NULL %s prints "(null)".
 */
size_t fmt_vsnprintf(char *buf, size_t size, const char *format, va_list args);
size_t fmt_snprintf(char *buf, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);

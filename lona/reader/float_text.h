/* SPDX-License-Identifier: Apache-2.0 */
/* Floats and decimal text, exactly: no libc, no table, no rounding twice. */
#pragma once

#include "reader/printer.h"

/*
 * Nearest float of "digits[.digits][e[+-]digits]" (no sign, not empty, at most one of each part):
 * a double, or with is_double false an F32 widened. Too large gives infinity.
 */
double decimal_to_float(const char *text, size_t n, bool is_double);

/* As double_to_text() for an F32 value. */
size_t f32_to_text(float f, char *buf);

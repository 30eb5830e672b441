/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a failed assertion in a program with a libc. */

#include <stdio.h>
#include <stdlib.h>

#include <base/assert.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

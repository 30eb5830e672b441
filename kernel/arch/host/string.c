/* SPDX-License-Identifier: Apache-2.0 */
/* The one string function that libc lacks. */
#include <core/string.h>

#include <host/host.h>

HOST_STAND_IN size_t str_copy(char *to, const char *from, size_t size)
{
    size_t length = strlen(from);

    if (size > 0) {
        size_t n = min_of(length, size - 1);

        memcpy(to, from, n);
        to[n] = '\0';
    }
    return length;
}

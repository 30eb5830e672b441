/* SPDX-License-Identifier: Apache-2.0 */
/* User memory of unit tests: the test's own, but for one range that faults. */
#include <arch/ops.h>

#include <host/host.h>
#include <string.h>

uintptr_t host_bad_start;
uintptr_t host_bad_end;

/* Bytes of [p, p + size) before the bad range. */
static size_t good_bytes(const void *p, size_t size)
{
    uintptr_t at = (uintptr_t)p;

    if (host_bad_start == host_bad_end || at >= host_bad_end || at + size <= host_bad_start) {
        return size;
    }
    return at >= host_bad_start ? 0 : host_bad_start - at;
}

size_t arch_copy_user(void *to, const void *from, size_t size)
{
    size_t n = min_of(good_bytes(to, size), good_bytes(from, size));

    memcpy(to, from, n);
    return size - n;
}

size_t arch_clear_user(void *to, size_t size)
{
    size_t n = good_bytes(to, size);

    memset(to, 0, n);
    return size - n;
}

ssize_t arch_strncpy_user(char *to, const char *from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (good_bytes(from + i, 1) == 0) {
            return -EFAULT;
        }
        to[i] = from[i];
        if (to[i] == '\0') {
            return (ssize_t)i;
        }
    }
    return -ENAMETOOLONG;
}

int arch_cmpxchg_user32(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old)
{
    if (good_bytes(at, sizeof(*at)) < sizeof(*at)) {
        return -EFAULT;
    }
    *old = *at;
    if (*old == expected) {
        *at = desired;
    }
    return 0;
}

int arch_load_user32(uint32_t *value, const uint32_t *from)
{
    if (good_bytes(from, sizeof(*from)) < sizeof(*from)) {
        return -EFAULT;
    }
    *value = *from;
    return 0;
}

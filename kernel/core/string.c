/* SPDX-License-Identifier: Apache-2.0 */
/* Strings; see the header. Short loops: names and options are short, data goes through arch mem*.
 */

#include <base/bytes.h>
#include <core/string.h>

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a;
    const unsigned char *y = b;

    /* Eight at a time: comparing names is a large part of a path walk. */
    for (; n >= 8; n -= 8, x += 8, y += 8) {
        uint64_t v = load_be64(x);
        uint64_t w = load_be64(y);

        if (v != w) {
            return v < w ? -1 : 1;
        }
    }
    for (; n > 0; n--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}

void *memchr(const void *p, int byte, size_t n)
{
    const unsigned char *c = p;

    for (; n > 0; n--, c++) {
        if (*c == (unsigned char)byte) {
            return (void *)(uintptr_t)c;
        }
    }
    return NULL;
}

/* Eight bytes at a time, where they lie in one page: what is behind the end may not be there. */
size_t strlen(const char *s)
{
    const char *p = s;

    while (((uintptr_t)p & 4095) <= 4096 - 8) {
        uint64_t zero = bytes_zero(load_le64(p));

        if (zero) {
            return (size_t)(p - s) + bytes_first(zero);
        }
        p += 8;
    }
    while (*p) {
        p++;
        if (((uintptr_t)p & 4095) == 0) {
            return (size_t)(p - s) + strlen(p);
        }
    }
    return (size_t)(p - s);
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;

    while (n < max && s[n]) {
        n++;
    }
    return n;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n > 0; n--, a++, b++) {
        if (*a != *b || !*a) {
            return (unsigned char)*a - (unsigned char)*b;
        }
    }
    return 0;
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c) {
            return (char *)(uintptr_t)s;
        }
        if (!*s) {
            return NULL;
        }
    }
}

char *strrchr(const char *s, int c)
{
    const char *last = NULL;

    for (;; s++) {
        if (*s == (char)c) {
            last = s;
        }
        if (!*s) {
            return (char *)(uintptr_t)last;
        }
    }
}

size_t str_copy(char *to, const char *from, size_t size)
{
    size_t length = strlen(from);

    if (size > 0) {
        size_t n = min_of(length, size - 1);

        memcpy(to, from, n);
        to[n] = '\0';
    }
    return length;
}

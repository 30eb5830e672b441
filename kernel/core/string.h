/* SPDX-License-Identifier: Apache-2.0 */
/* The memory and string calls that the compiler may also emit. C17's meanings; arch/ supplies the
 * mem* ones. */
#pragma once

#include <base/compiler.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *p, int byte, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);

/* Copy with truncation; always terminated when size > 0. Returns strlen(from). */
size_t str_copy(char *to, const char *from, size_t size);

#ifdef KERNEL
/* Without a hosted library the compiler takes them for strangers: of known sizes it makes a few
 * moves. */
#define memcpy(to, from, n) __builtin_memcpy(to, from, n)
#define memset(to, byte, n) __builtin_memset(to, byte, n)
#endif

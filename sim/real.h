/* SPDX-License-Identifier: Apache-2.0 */
/* The C library behind the wraps, for the simulator itself. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): names that the linker's --wrap makes */
void *real_mmap(void *addr, size_t size, int protection, int flags, int fd,
                off_t offset) __asm__("__real_mmap");
int real_munmap(void *addr, size_t size) __asm__("__real_munmap");
void *real_malloc(size_t size) __asm__("__real_malloc");
void *real_calloc(size_t count, size_t size) __asm__("__real_calloc");
void *real_realloc(void *p, size_t size) __asm__("__real_realloc");
void real_free(void *p) __asm__("__real_free");
int real_posix_memalign(void **out, size_t alignment, size_t size) __asm__("__real_posix_memalign");
/* NOLINTEND(bugprone-reserved-identifier) */

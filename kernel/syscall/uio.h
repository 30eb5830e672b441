/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transfer in progress: user vectors or one kernel buffer behind one interface, so that every
 * read and write method handles single buffers, vectors and in-kernel callers (splice, exec) alike.
 */
#pragma once

#include <core/types.h>

#define UIO_MAX_SEGMENTS 1024u
#define UIO_MAX_BYTES    0x7ffff000u /* Linux's cap of one transfer */

struct user_iovec { /* the ABI's struct iovec */
    uint64_t base;
    uint64_t size;
};

struct uio {
    const struct user_iovec *segments; /* kernel copy of the vector */
    size_t segment_count;
    size_t segment_offset; /* consumed of segments[0] */
    size_t remaining;      /* bytes left in all */
    void *kernel;          /* not NULL: a kernel buffer instead (segments unused) */
    struct user_iovec single;
};

void uio_init_user(struct uio *u, void __user *base, size_t size);
void uio_init_kernel(struct uio *u, void *base, size_t size);

/* Import a user vector: checks count (-EINVAL), lengths and their sum; *heap is to be kfree()d
 * after use (may be NULL). */
int uio_import(struct uio *u, const void __user *vector, uint64_t count,
               struct user_iovec **heap) MUST_CHECK;

/*
 * Move up to `size` bytes between `buf` and the transfer and advance it. Returns bytes moved (0 at
 * the end of the transfer), or -EFAULT when not one byte could be moved. A short count means a
 * fault followed.
 */
ssize_t uio_copy_out(struct uio *u, const void *buf, size_t size); /* kernel to program: read() */
ssize_t uio_copy_in(struct uio *u, void *buf, size_t size);        /* program to kernel: write() */
ssize_t uio_zero_out(struct uio *u, size_t size);

/* The user memory that the transfer goes on with: bytes in one piece at *addr, 0 at the end or for
 * a kernel buffer. After moving some of it by other means: uio_advance(). */
size_t uio_piece(struct uio *u, uint64_t *addr);
void uio_advance(struct uio *u, size_t n);

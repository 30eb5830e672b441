/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers between kernel buffers and vectors of user memory (or one kernel buffer). */
#include <syscall/uio.h>

#include <core/string.h>
#include <mm/mm.h>
#include <mm/slab.h>
#include <syscall/uaccess.h>

void uio_init_user(struct uio *u, void __user *base, size_t size)
{
    u->single = (struct user_iovec){ .base = (uintptr_t)base, .size = size };
    u->segments = &u->single;
    u->segment_count = 1;
    u->segment_offset = 0;
    u->remaining = min_of(size, (size_t)UIO_MAX_BYTES);
    u->kernel = NULL;
}

void uio_init_kernel(struct uio *u, void *base, size_t size)
{
    u->segments = NULL;
    u->segment_count = 0;
    u->segment_offset = 0;
    u->remaining = size;
    u->kernel = base;
}

int uio_import(struct uio *u, const void __user *vector, uint64_t count, struct user_iovec **heap)
{
    struct user_iovec *copy;
    uint64_t total = 0;

    *heap = NULL;
    if (count > UIO_MAX_SEGMENTS) {
        return -EINVAL;
    }
    if (count <= 1) { /* no need of memory beyond the transfer's own */
        uio_init_user(u, NULL, 0);
        if (count == 1 && copy_from_user(&u->single, vector, sizeof(u->single)) < 0) {
            return -EFAULT;
        }
        copy = &u->single;
    } else {
        copy = kmalloc_array(count, sizeof(*copy), GFP_KERNEL);
        if (!copy) {
            return -ENOMEM;
        }
        if (copy_from_user(copy, vector, count * sizeof(*copy)) < 0) {
            kfree(copy);
            return -EFAULT;
        }
    }
    int err = 0;

    for (uint64_t i = 0; i < count && err == 0; i++) {
        if (copy[i].size > INT64_MAX) {
            err = -EINVAL;
        } else if (!range_fits(copy[i].base, copy[i].size, USER_MAX) && copy[i].size != 0) {
            err = -EFAULT;
        } else {
            copy[i].size = min_of(copy[i].size, UIO_MAX_BYTES - total); /* the rest is cut off */
            total += copy[i].size;
        }
    }
    if (err < 0) {
        if (copy != &u->single) {
            kfree(copy);
        }
        return err;
    }
    u->segments = copy;
    u->segment_count = count;
    u->segment_offset = 0;
    u->remaining = total;
    u->kernel = NULL;
    *heap = copy == &u->single ? NULL : copy;
    return 0;
}

/* The next contiguous piece of at most `size` user bytes; its length, 0 at the end. */
static size_t piece_next(struct uio *u, size_t size, void __user **at)
{
    while (u->segment_count > 0 && u->segment_offset == u->segments->size) {
        u->segments++;
        u->segment_count--;
        u->segment_offset = 0;
    }
    if (u->segment_count == 0) {
        return 0;
    }
    *at = (void __user *)(uintptr_t)(u->segments->base + u->segment_offset);
    return min_of(min_of(size, u->remaining), u->segments->size - u->segment_offset);
}

static void advance(struct uio *u, size_t n)
{
    u->remaining -= n;
    if (u->kernel) {
        u->kernel = (char *)u->kernel + n;
    } else {
        u->segment_offset += n;
    }
}

enum direction {
    OUT,
    IN,
    ZERO
};

/* Move one piece of `n` bytes; returns how many were moved. */
static size_t move(enum direction direction, void __user *user, void *buf, size_t n)
{
    size_t left = direction == OUT  ? copy_to_user_partial(user, buf, n)
                  : direction == IN ? copy_from_user_partial(buf, user, n)
                                    : clear_user(user, n);

    return n - left;
}

static ssize_t transfer(struct uio *u, enum direction direction, char *buf, size_t size)
{
    size_t done = 0;

    if (u->kernel) {
        done = min_of(size, u->remaining);
        if (direction == OUT) {
            memcpy(u->kernel, buf, done);
        } else if (direction == IN) {
            memcpy(buf, u->kernel, done);
        } else {
            memset(u->kernel, 0, done);
        }
        advance(u, done);
        return (ssize_t)done;
    }
    while (done < size && u->remaining > 0) {
        void __user *at = NULL;
        size_t n = piece_next(u, size - done, &at);

        if (n == 0) {
            break;
        }
        size_t moved = move(direction, at, buf ? buf + done : NULL, n);

        advance(u, moved);
        done += moved;
        if (moved < n) {
            return done > 0 ? (ssize_t)done : -EFAULT;
        }
    }
    return (ssize_t)done;
}

ssize_t uio_copy_out(struct uio *u, const void *buf, size_t size)
{
    return transfer(u, OUT, (char *)buf, size); /* OUT only reads it */
}

ssize_t uio_copy_in(struct uio *u, void *buf, size_t size)
{
    return transfer(u, IN, buf, size);
}

ssize_t uio_zero_out(struct uio *u, size_t size)
{
    return transfer(u, ZERO, NULL, size);
}

size_t uio_piece(struct uio *u, uint64_t *addr)
{
    void __user *at = NULL;
    size_t n = u->kernel ? 0 : piece_next(u, u->remaining, &at);

    *addr = (uintptr_t)at;
    return n;
}

void uio_advance(struct uio *u, size_t n)
{
    assert(n <= u->remaining);
    advance(u, n);
}

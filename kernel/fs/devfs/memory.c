/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/null, zero, full, random, urandom, kmsg. */
#include <core/log.h>
#include <core/random.h>
#include <fs/devfs/devfs.h>
#include <fs/dev.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <mm/mapping.h>
#include <mm/page.h>
#include <syscall/uaccess.h>

/* NOLINTBEGIN(readability-non-const-parameter): file_ops gives these functions their type. */
static ssize_t null_read(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return 0;
}

/* Takes everything without looking at it. */
static ssize_t null_write(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)pos;
    return (ssize_t)u->remaining;
}

/* Every place is the first one. */
static int64_t null_seek(struct file *f, int64_t offset, int whence)
{
    (void)offset;
    (void)whence;
    f->pos = 0;
    return 0;
}

static ssize_t zero_read(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)pos;
    return uio_zero_out(u, u->remaining);
}

static ssize_t full_write(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return -ENOSPC;
}

static ssize_t random_read(struct file *f, struct uio *u, int64_t *pos)
{
    uint8_t chunk[256];
    ssize_t done = 0;

    (void)f;
    (void)pos;
    while (u->remaining > 0) {
        size_t want = min_of(u->remaining, sizeof(chunk));
        ssize_t n;

        random_bytes(chunk, want);
        n = uio_copy_out(u, chunk, want);
        if (n <= 0) {
            return done > 0 ? done : n;
        }
        done += n;
        if ((size_t)n < want) {
            break;
        }
    }
    return done;
}

static ssize_t random_write(struct file *f, struct uio *u, int64_t *pos)
{
    uint8_t chunk[256];
    ssize_t done = 0;

    (void)f;
    (void)pos;
    while (u->remaining > 0) {
        ssize_t n = uio_copy_in(u, chunk, sizeof(chunk));

        if (n <= 0) {
            return done > 0 ? done : n;
        }
        random_add(chunk, (size_t)n);
        done += n;
    }
    return done;
}

#define RNDGETENTCNT 0x80045200u

static long random_ioctl(struct file *f, unsigned cmd, uint64_t arg)
{
    (void)f;
    return cmd == RNDGETENTCNT ? put_user32(256, (void __user *)(uintptr_t)arg) : -EINVAL;
}

/* MAP_PRIVATE of /dev/zero is anonymous memory; a shared one gets an object of its own. */
static int zero_mmap(struct file *f, uint32_t vma_flags, struct mapping **mapping)
{
    (void)f;
    (void)vma_flags;
    *mapping = NULL;
    return 0;
}

/* A line of a program goes into the log; a reader gets the ring's text from where it is. */
static ssize_t kmsg_write(struct file *f, struct uio *u, int64_t *pos)
{
    char line[512];
    ssize_t n;
    ssize_t taken = (ssize_t)u->remaining;

    (void)f;
    (void)pos;
    n = uio_copy_in(u, line, sizeof(line) - 1);
    if (n < 0) {
        return n;
    }
    while (n > 0 && line[n - 1] == '\n') {
        n--;
    }
    line[n] = '\0';
    const char *text = line;
    if (line[0] == '<') { /* "<6>text" */
        for (ssize_t i = 1; i < 5 && i < n; i++) {
            if (line[i] == '>') {
                text = line + i + 1;
                break;
            }
        }
    }
    log_info("%s", text);
    return taken;
}

static ssize_t kmsg_read(struct file *f, struct uio *u, int64_t *pos)
{
    char chunk[512];
    uint64_t seq = (uint64_t)(uintptr_t)f->private;
    size_t n = log_read(&seq, chunk, min_of(sizeof(chunk), u->remaining));
    ssize_t out;

    (void)pos;
    if (n == 0) {
        return -EAGAIN; /* the end; readers of the log poll again when they like */
    }
    out = uio_copy_out(u, chunk, n);
    if (out >= 0) {
        f->private = (void *)(uintptr_t)seq; /* NOLINT(performance-no-int-to-ptr) a number */
    }
    return out;
}

/* NOLINTEND(readability-non-const-parameter) */

static const struct file_ops null_ops = {
    .read = null_read, .write = null_write, .poll = page_poll, .seek = null_seek
};
static const struct file_ops zero_ops = {
    .read = zero_read,
    .write = null_write,
    .poll = page_poll,
    .mmap = zero_mmap,
    .seek = null_seek,
};
static const struct file_ops full_ops = {
    .read = zero_read, .write = full_write, .poll = page_poll, .seek = null_seek
};
static const struct file_ops random_ops = {
    .read = random_read,
    .write = random_write,
    .poll = page_poll,
    .ioctl = random_ioctl,
    .seek = null_seek,
};
static const struct file_ops kmsg_ops = { .read = kmsg_read,
                                          .write = kmsg_write,
                                          .poll = page_poll };

static struct device_node nodes[] = {
    { .name = "null", .mode = 0666, .ops = &null_ops },
    { .name = "zero", .mode = 0666, .ops = &zero_ops },
    { .name = "full", .mode = 0666, .ops = &full_ops },
    { .name = "random", .mode = 0666, .ops = &random_ops },
    { .name = "urandom", .mode = 0666, .ops = &random_ops },
    { .name = "kmsg", .mode = 0644, .ops = &kmsg_ops },
};

void devfs_init(void)
{
    static const uint8_t minors[] = { 3, 5, 7, 8, 9, 11 }; /* of major 1, as in Linux */

    static_assert(array_size(minors) == array_size(nodes), "one number each");
    for (unsigned i = 0; i < array_size(nodes); i++) {
        nodes[i].dev = dev_make(1, minors[i]);
        device_register(&nodes[i]);
    }
}

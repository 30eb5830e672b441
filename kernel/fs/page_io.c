/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what lies in a page cache. Bytes of a mapped image go to the program straight from their
 * frames: one copy, one call for the whole run.
 */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <ipc/poll.h>

/* Copies out of pages from `pos` on, at most `want` bytes; what uio_copy_out() returned. */
static ssize_t read_chunk(struct inode *inode, struct uio *u, uint64_t pos, uint64_t want)
{
    struct mapping *m = &inode->mapping;
    uint64_t index = pos >> PAGE_SHIFT;
    uint64_t offset = pos & ~PAGE_MASK;
    struct frame frame;
    paddr_t pa;
    ssize_t n;
    int err;

    if (m->ops->direct_run) {
        uint64_t pages = m->ops->direct_run(m, index, &pa);

        if (pages > 0) {
            uint64_t room = (pages << PAGE_SHIFT) - offset;

            return uio_copy_out(u, (const char *)phys_to_virt(pa) + offset, min_of(want, room));
        }
    }
    want = min_of(want, PAGE_SIZE - offset);
    err = m->ops->get(m, index, MAPPING_READ, &frame);
    if (err == -ENODATA) {
        return uio_zero_out(u, want);
    }
    if (err == -ERANGE) {
        return 0; /* truncated meanwhile */
    }
    if (err < 0) {
        return err;
    }
    n = uio_copy_out(u, (const char *)phys_to_virt(frame.pa) + offset, want);
    if (frame.page) {
        page_put(frame.page);
    }
    return n;
}

ssize_t page_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct inode *inode = f->inode;
    uint64_t at = (uint64_t)*pos;
    ssize_t done = 0;

    while (u->remaining > 0) {
        uint64_t size = __atomic_load_n(&inode->size, __ATOMIC_ACQUIRE);
        uint64_t want;
        ssize_t n;

        if (at >= size) {
            break;
        }
        want = min_of(size - at, (uint64_t)u->remaining);
        n = read_chunk(inode, u, at, want);
        if (n <= 0) {
            if (done == 0) {
                done = n;
            }
            break;
        }
        at += (uint64_t)n;
        done += n;
    }
    if (done > 0) {
        *pos = (int64_t)at;
        inode_accessed(inode, &f->path);
    }
    return done;
}

/* A regular file never makes anybody wait. */
uint32_t page_poll(struct file *f, struct poll_table *pt)
{
    (void)f;
    (void)pt;
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

int64_t seek_plain(struct file *f, int64_t offset, int whence, int64_t end)
{
    int64_t base = 0;
    int64_t target;

    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = f->pos;
        break;
    case SEEK_END:
        base = end;
        break;
    case SEEK_DATA:
        if (offset < 0 || offset >= end) {
            return -ENXIO;
        }
        break;
    case SEEK_HOLE:
        if (offset < 0 || offset >= end) {
            return -ENXIO;
        }
        offset = end; /* the hole behind the end */
        break;
    default:
        return -EINVAL;
    }
    if (!checked_add(base, offset, &target)) {
        return -EOVERFLOW;
    }
    if (target < 0) {
        return -EINVAL;
    }
    f->pos = target;
    return target;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices as files, without a cache. Whole sectors go between the device and the program's
 * own pages, held where they are: finding a page costs less than copying it, and one request takes
 * many. What cannot go that way (parts of sectors, kernel buffers, reads of processes with several
 * threads) is copied through pages of ours.
 */
#include <fs/devfs/devfs.h>

#include <fs/dev.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

#define SECTOR_SIZE 512u
#define PINS_MAX    32u
#define DIRECT_MIN  1024u /* below that, copying is cheaper */
#define CHUNK_ORDER 4u    /* 64 KiB to copy through, at most */

static uint64_t size_of(const struct block_device *b)
{
    return b->sectors * SECTOR_SIZE;
}

/* Neighbours become one segment. *size: whole sectors of what lies in the segments; how many. */
static unsigned to_segments(const struct mm_pin *pins, unsigned pin_count,
                            struct block_segment *segments, uint32_t *size)
{
    unsigned count = 0;
    uint32_t total = 0;
    uint32_t excess;

    for (unsigned i = 0; i < pin_count; i++) {
        if (count > 0 && (char *)segments[count - 1].at + segments[count - 1].size == pins[i].at) {
            segments[count - 1].size += pins[i].size;
        } else if (count < BLOCK_SEGMENTS_MAX) {
            segments[count++] = (struct block_segment){ pins[i].at, pins[i].size };
        } else {
            break;
        }
        total += pins[i].size;
    }
    excess = total % SECTOR_SIZE;
    *size = total - excess;
    while (count > 0 && excess > 0) {
        uint32_t cut = min_of(excess, segments[count - 1].size);

        segments[count - 1].size -= cut;
        excess -= cut;
        count -= segments[count - 1].size == 0;
    }
    return count;
}

/*
 * Bytes moved between the device and the program's pages; -EAGAIN: not this way. To read so, the
 * process has one thread: another one could fork, and the pages would be written behind the copy's
 * back.
 */
static ssize_t move_direct(struct block_device *b, struct uio *u, uint64_t pos, bool is_write)
{
    const struct process *process = current->process;
    struct block_segment segments[BLOCK_SEGMENTS_MAX];
    struct mm_pin pins[PINS_MAX];
    uint64_t addr;
    uint64_t want = min_of((uint64_t)uio_piece(u, &addr), size_of(b) - pos);
    uint32_t size;
    unsigned pinned;
    unsigned count;
    int err = -EAGAIN;

    if (!b->move || want < DIRECT_MIN || pos % SECTOR_SIZE != 0 || !process || !current->mm ||
        (!is_write && process->thread_count != 1)) {
        return -EAGAIN;
    }
    pinned = mm_pin(current->mm, addr, (size_t)align_down(want, (uint64_t)SECTOR_SIZE), !is_write,
                    pins, PINS_MAX);
    count = to_segments(pins, pinned, segments, &size);
    if (size > 0) {
        err = b->move(b, is_write, pos / SECTOR_SIZE, segments, count);
    }
    mm_unpin(pins, pinned);
    if (err < 0) {
        return err;
    }
    uio_advance(u, size);
    return (ssize_t)size;
}

/* Pages in a row for `want` bytes, or as many as there are. */
static struct page *chunk_alloc(uint64_t want, uint64_t *room)
{
    unsigned order = 0;
    struct page *p = NULL;

    while (order < CHUNK_ORDER && (PAGE_SIZE << order) < want) {
        order++;
    }
    for (; !(p = page_alloc(order, GFP_KERNEL)) && order > 0; order--) {
    }
    *room = PAGE_SIZE << order;
    return p;
}

/* Bytes read through the chunk. */
static ssize_t read_copied(struct block_device *b, struct uio *u, uint64_t pos, char *chunk,
                           uint64_t room)
{
    const uint64_t offset = pos % SECTOR_SIZE;
    const uint64_t want = min_of(min_of((uint64_t)u->remaining, size_of(b) - pos), room - offset);
    const int err = b->read(b, pos / SECTOR_SIZE, chunk,
                            (size_t)div_ceil(offset + want, (uint64_t)SECTOR_SIZE));

    return err < 0 ? err : uio_copy_out(u, chunk + offset, (size_t)want);
}

/*
 * Bytes written through the chunk: whole sectors, or a part of one. What a fault cuts off inside a
 * sector is not written.
 */
static ssize_t write_copied(struct block_device *b, struct uio *u, uint64_t pos, char *chunk,
                            uint64_t room)
{
    const uint64_t offset = pos % SECTOR_SIZE;
    const uint64_t left = min_of((uint64_t)u->remaining, size_of(b) - pos);
    const bool is_part = offset != 0 || left < SECTOR_SIZE;
    uint64_t want = is_part ? min_of(left, SECTOR_SIZE - offset)
                            : align_down(min_of(left, room), (uint64_t)SECTOR_SIZE);
    int err = is_part ? b->read(b, pos / SECTOR_SIZE, chunk, 1) : 0;
    ssize_t n = err < 0 ? err : uio_copy_in(u, chunk + offset, (size_t)want);

    if (n <= 0) {
        return n;
    }
    if (!is_part) {
        n = (ssize_t)align_down((uint64_t)n, (uint64_t)SECTOR_SIZE);
        if (n == 0) {
            return -EFAULT;
        }
    }
    err = b->write(b, pos / SECTOR_SIZE, chunk, is_part ? 1 : (size_t)n / SECTOR_SIZE);
    return err < 0 ? err : n;
}

static ssize_t block_transfer(struct file *f, struct uio *u, int64_t *pos, bool is_write)
{
    struct block_device *b = f->private;
    struct page *chunk = NULL;
    uint64_t room = 0;
    ssize_t done = 0;
    ssize_t n = 0;

    if (is_write && b->is_read_only) {
        return -EPERM;
    }
    while (u->remaining > 0 && (uint64_t)*pos < size_of(b)) {
        const size_t before = u->remaining;

        n = move_direct(b, u, (uint64_t)*pos, is_write);
        if (n == -EAGAIN) {
            chunk = chunk ? chunk : chunk_alloc(u->remaining, &room);
            if (!chunk) {
                n = -ENOMEM;
                break;
            }
            n = is_write ? write_copied(b, u, (uint64_t)*pos, page_address(chunk), room)
                         : read_copied(b, u, (uint64_t)*pos, page_address(chunk), room);
        }
        if (n <= 0) {
            break;
        }
        *pos += n;
        done += n;
        if (before - u->remaining != (size_t)n) {
            break; /* a fault inside a sector */
        }
    }
    if (chunk) {
        page_put(chunk);
    }
    if (done == 0 && n == 0 && is_write && u->remaining > 0) {
        return -ENOSPC;
    }
    return done > 0 ? done : n;
}

static ssize_t block_read(struct file *f, struct uio *u, int64_t *pos)
{
    return block_transfer(f, u, pos, false);
}

static ssize_t block_write(struct file *f, struct uio *u, int64_t *pos)
{
    return block_transfer(f, u, pos, true);
}

static int64_t block_seek(struct file *f, int64_t offset, int whence)
{
    return seek_plain(f, offset, whence, (int64_t)size_of(f->private));
}

static int block_fsync(struct file *f, bool data_only)
{
    struct block_device *b = f->private;

    (void)data_only;
    return b->flush ? b->flush(b) : 0;
}

#define BLKROGET     0x125eu
#define BLKGETSIZE   0x1260u
#define BLKSSZGET    0x1268u
#define BLKGETSIZE64 0x80081272u

static long block_ioctl(struct file *f, unsigned cmd, uint64_t arg)
{
    const struct block_device *b = f->private;
    void __user *out = (void __user *)(uintptr_t)arg;

    switch (cmd) {
    case BLKROGET:
        return put_user32(b->is_read_only, out);
    case BLKGETSIZE:
        return put_user64(b->sectors, out);
    case BLKSSZGET:
        return put_user32(512, out);
    case BLKGETSIZE64:
        return put_user64(size_of(b), out);
    default:
        return -ENOTTY;
    }
}

const struct file_ops block_file_ops = {
    .read = block_read,
    .write = block_write,
    .poll = page_poll,
    .seek = block_seek,
    .fsync = block_fsync,
    .ioctl = block_ioctl,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The device table, and block devices as files. */
#include <core/string.h>
#include <fs/devfs/devfs.h>
#include <fs/dev.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <syscall/uaccess.h>

/* Both lists only grow, at boot. */
static struct list devices = LIST_INIT(devices);

struct block_entry {
    struct list link;
    struct block_device *device;
    struct device_node node;
};

static struct list blocks = LIST_INIT(blocks);

void device_register(struct device_node *d)
{
    list_push_back(&devices, &d->link);
}

struct device_node *device_find(bool is_block, dev_t dev)
{
    struct device_node *d;

    list_for_each_entry(d, &devices, link) {
        if (d->is_block == is_block && d->dev == dev) {
            return d;
        }
    }
    return NULL;
}

struct device_node *device_find_name(const char *name)
{
    struct device_node *d;

    list_for_each_entry(d, &devices, link) {
        if (strcmp(d->name, name) == 0) {
            return d;
        }
    }
    return NULL;
}

struct device_node *device_after(struct device_node *d)
{
    struct list *next = d ? d->link.next : devices.next;

    return next != &devices ? list_entry(next, struct device_node, link) : NULL;
}

/* --- block devices as files: whole sectors through a page of kernel memory -------------------- */

static uint64_t size_of(const struct block_device *b)
{
    return b->sectors << 9;
}

/* The sectors of one page-sized piece around `pos`. */
struct piece {
    uint64_t sector;
    size_t count;  /* sectors */
    size_t offset; /* of pos in them */
    size_t size;   /* bytes wanted from there */
};

static struct piece piece_at(const struct block_device *b, uint64_t pos, uint64_t want)
{
    struct piece p = { .sector = (pos & PAGE_MASK) >> 9 };

    p.count = (size_t)min_of(PAGE_SIZE >> 9, b->sectors - p.sector);
    p.offset = (size_t)(pos & ~PAGE_MASK);
    p.size = (size_t)min_of(want, (uint64_t)(p.count << 9) - p.offset);
    return p;
}

static ssize_t block_transfer(struct file *f, struct uio *u, int64_t *pos, bool is_write)
{
    struct block_device *b = f->private;
    struct page *page;
    ssize_t done = 0;
    ssize_t err = 0;

    if (is_write && b->is_read_only) {
        return -EPERM;
    }
    page = page_alloc(0, GFP_KERNEL);
    if (!page) {
        return -ENOMEM;
    }
    while (u->remaining > 0 && (uint64_t)*pos < size_of(b)) {
        struct piece p = piece_at(b, (uint64_t)*pos, u->remaining);
        char *buf = page_address(page);
        ssize_t n;

        if (!is_write || p.size < p.count << 9) {
            err = b->read(b, p.sector, buf, p.count);
        }
        if (err < 0) {
            break;
        }
        n = is_write ? uio_copy_in(u, buf + p.offset, p.size)
                     : uio_copy_out(u, buf + p.offset, p.size);
        if (n <= 0) {
            err = n;
            break;
        }
        if (is_write) {
            err = b->write(b, p.sector, buf, p.count);
            if (err < 0) {
                break;
            }
        }
        *pos += n;
        done += n;
    }
    page_put(page);
    if (done == 0 && err == 0 && is_write && u->remaining > 0) {
        return -ENOSPC;
    }
    return done > 0 ? done : err;
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

static const struct file_ops block_file_ops = {
    .read = block_read,
    .write = block_write,
    .poll = page_poll,
    .seek = block_seek,
    .fsync = block_fsync,
    .ioctl = block_ioctl,
};

#define MAJOR_VIRTIO_BLK 254u

void block_device_register(struct block_device *b)
{
    static uint32_t minor; /* boot only */
    struct block_entry *e = kmalloc(sizeof(*e), GFP_KERNEL);

    if (!e) {
        return;
    }
    memset(e, 0, sizeof(*e));
    e->device = b;
    e->node.name = b->name;
    e->node.is_block = true;
    e->node.dev = dev_make(MAJOR_VIRTIO_BLK, 16 * minor++);
    e->node.mode = 0660;
    e->node.ops = &block_file_ops;
    e->node.private = b;
    list_push_back(&blocks, &e->link);
    device_register(&e->node);
}

struct block_device *block_device_find(const char *name)
{
    const struct block_entry *e;

    list_for_each_entry(e, &blocks, link) {
        if (strcmp(e->device->name, name) == 0) {
            return e->device;
        }
    }
    return NULL;
}

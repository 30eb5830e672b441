/* SPDX-License-Identifier: Apache-2.0 */
/* The device table, and the block devices in it. */
#include <core/string.h>
#include <fs/devfs/devfs.h>
#include <fs/dev.h>
#include <mm/slab.h>

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

/* --- block devices ------------------------------------------------------------------------------
 */

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
    e->node.ops = &block_file_ops; /* block.c */
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices by number, and the table that devfs shows. Linux's numbers, so that software finds what
 * it knows.
 */
#pragma once

#include <core/types.h>

struct file_ops;

/* Linux's 64-bit dev_t as in st_dev, st_rdev (glibc's gnu_dev_makedev). */
static inline dev_t dev_make(uint32_t major, uint32_t minor)
{
    return ((uint64_t)(major & 0xfffu) << 8) | (minor & 0xffu) |
           ((uint64_t)(minor & ~0xffu) << 12) | ((uint64_t)(major & ~0xfffu) << 32);
}

static inline uint32_t dev_major(dev_t d)
{
    return (uint32_t)(((d >> 8) & 0xfff) | ((d >> 32) & ~UINT64_C(0xfff)));
}

static inline uint32_t dev_minor(dev_t d)
{
    return (uint32_t)((d & 0xff) | ((d >> 12) & ~UINT64_C(0xff)));
}

/* One device node under /dev: static storage, registered once at boot. `private` reaches
 * file->private before ops->open. */
struct device_node {
    const char *name; /* "null", "vda", "pts/0" has its own file system */
    bool is_block;
    bool is_hidden; /* found by number alone: its name is in another file system */
    dev_t dev;
    uint32_t mode; /* permissions */
    const struct file_ops *ops;
    void *private;
    struct list link;
};

void device_register(struct device_node *d);
struct device_node *device_find(bool is_block, dev_t dev);
struct device_node *device_find_name(const char *name);

/* Memory that a block device moves bytes to or from; any alignment, in the direct map. */
struct block_segment {
    void *at;
    uint32_t size;
};

#define BLOCK_SEGMENTS_MAX 16u

/* A block device as file systems see it: whole sectors of 512 bytes; sleeps. 0 or -EIO. */
struct block_device {
    const char *name;
    uint64_t sectors;
    bool is_read_only;
    int (*read)(struct block_device *b, uint64_t sector, void *buf,
                size_t count); /* buf: kernel direct map */
    int (*write)(struct block_device *b, uint64_t sector, const void *buf, size_t count);
    /* One request of up to BLOCK_SEGMENTS_MAX segments, whole sectors in all. NULL: by read and
     * write alone. */
    int (*move)(struct block_device *b, bool is_write, uint64_t sector,
                const struct block_segment *segments, unsigned count);
    int (*flush)(struct block_device *b);
    void *private;
};

struct block_device *block_device_find(const char *name); /* "vda"; NULL */
void block_device_register(struct block_device *b);       /* also makes /dev/<name> */

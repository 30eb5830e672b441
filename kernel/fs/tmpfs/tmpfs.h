/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpfs, alone or above an EROFS image ("lower"): the root of a machine is the second.
 *
 * There is one inode object per file for its whole life, found by its number in the image as long
 * as it has one; so identity, open files, mappings and hard links survive every change. What was
 * never changed costs nothing here: names are looked up in memory first, then in the image; data
 * comes from the image's frames until a page is written, and then that page alone is copied.
 * An inode that was changed is pinned (holds a reference on itself) until its last name goes.
 *
 * A directory entry in memory without inode is a whiteout: it hides a name of the image.
 */
#pragma once

#include <base/rbtree.h>
#include <fs/erofs/erofs.h>
#include <fs/vfs.h>

#define TMPFS_BUCKETS 256u

struct tmpfs {
    struct spinlock lock; /* the fields below */
    uint64_t pages_used;
    uint64_t pages_max;
    uint64_t inodes_used;
    uint64_t inodes_max;
    uint64_t next_ino;
    struct list *buckets; /* of inodes from the image, by number; NULL without image */
    /* Makes the first names of the root when somebody first looks: one name when `only` says which,
     * or all that are still missing. Root's lock held for writing. NULL: done, or nothing to make.
     */
    void (*fill)(struct inode *root, const struct name *only);
    bool has_lower;
    struct erofs_image lower;
};

struct tmpfs_entry {
    struct rb_node by_name;
    struct rb_node by_order;
    uint64_t order;          /* position in listings; never reused */
    struct tmpfs_node *node; /* counted; NULL: whiteout */
    uint32_t hash;
    uint32_t length;
    char name[];
};

struct tmpfs_node {
    struct inode inode; /* first: they are freed as one */
    struct tmpfs *fs;
    struct list bucket_link;
    struct list doom_link; /* unmount */
    bool has_lower;        /* data or names still come from the image */
    bool is_from_image;    /* hashed by lower.nid */
    bool is_pinned;
    bool is_linkable; /* O_TMPFILE: may get its first name later */
    uint32_t seals;   /* memfd */
    uint64_t pages_charged;
    uint64_t lower_size;      /* regular: bytes of the image's data that still count */
    struct erofs_inode lower; /* as read from the image */
    uint64_t lower_parent;    /* directory: the image's directory that it was found in */
    struct rb_root names;     /* directory */
    struct rb_root order;
    uint64_t next_order;
    char *target; /* symbolic link; kmalloc */
};

static inline struct tmpfs_node *tmpfs_node_of(const struct inode *i)
{
    return container_of(i, struct tmpfs_node, inode);
}

extern const struct inode_ops tmpfs_dir_ops;
extern const struct inode_ops tmpfs_file_ops_inode;
extern const struct inode_ops tmpfs_link_ops;
extern const struct inode_ops tmpfs_special_ops;
extern const struct file_ops tmpfs_file_ops;
extern const struct mapping_ops tmpfs_mapping_ops;

/* node.c: life of inodes. */
int tmpfs_node_create(struct super_block *sb, uint32_t mode, dev_t rdev,
                      struct tmpfs_node **out) MUST_CHECK;
/* The inode of the image with that number, existing or new; `dir` is where it was found. */
int tmpfs_node_from_image(struct tmpfs_node *dir, uint64_t nid, struct tmpfs_node **out) MUST_CHECK;
int tmpfs_root_from_image(struct super_block *sb, struct tmpfs_node **out) MUST_CHECK;
void tmpfs_changed(struct tmpfs_node *n);                   /* pin it, if it came from the image */
void tmpfs_link_gone(struct tmpfs_node *n, uint32_t count); /* nlink went down; unpins at 0 */
void tmpfs_evict(struct inode *inode);
void tmpfs_free(struct inode *inode);

/* data.c: pages. */
void tmpfs_recharge(struct tmpfs_node *n);                        /* after pages came or went */
int tmpfs_resize(struct tmpfs_node *n, uint64_t size) MUST_CHECK; /* write_lock held */
int tmpfs_setattr(struct inode *inode, const struct attr *a);
void tmpfs_refresh(struct inode *inode);

/* dir.c */
void tmpfs_dir_clear(struct tmpfs_node *dir, struct list *doomed);

/* A file without name on the kernel's own tmpfs (memfd_create). *out is counted. */
int tmpfs_memfd(const char *name, unsigned seals, struct path *out) MUST_CHECK;

/* An image as a file system: with MS_RDONLY read-only, else with a writable layer above. `image`
 * has bytes/pa or device, and size, set; it is copied. *why as for erofs_open(). */
int tmpfs_mount_image(struct file_system *type, const struct erofs_image *image, unsigned flags,
                      unsigned erofs_flags, const char *options, const char **why,
                      struct super_block **out) MUST_CHECK;

extern struct file_system tmpfs_type;
extern struct file_system erofs_type;
extern struct file_system overlay_type; /* of the root; not mountable by name */

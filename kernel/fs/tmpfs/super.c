/* SPDX-License-Identifier: Apache-2.0 */
/* Mounting tmpfs, EROFS images, and a writable layer above one. */
#include <core/log.h>
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/dev.h>
#include <fs/fcntl.h>
#include <fs/options.h>
#include <fs/tmpfs/tmpfs.h>
#include <mm/slab.h>

#define TMPFS_MAGIC   0x01021994u
#define OVERLAY_MAGIC 0x794c7630u
#define FIRST_INO     (UINT64_C(1) << 40) /* above all numbers of an image */

static int tmpfs_statfs(struct super_block *sb, struct statfs_info *out)
{
    struct tmpfs *fs = sb->private;

    spin_lock(&fs->lock);
    out->blocks = fs->pages_max;
    out->blocks_free = fs->pages_max - min_of(fs->pages_used, fs->pages_max);
    out->files = fs->inodes_max;
    out->files_free = fs->inodes_max - min_of(fs->inodes_used, fs->inodes_max);
    spin_unlock(&fs->lock);
    out->type = fs->has_lower ? OVERLAY_MAGIC : TMPFS_MAGIC;
    out->block_size = PAGE_SIZE;
    out->name_max = NAME_MAX;
    if (sb->flags & MS_RDONLY && fs->has_lower) {
        out->type = EROFS_MAGIC;
        out->block_size = UINT64_C(1) << fs->lower.block_bits;
        out->blocks = fs->lower.block_count;
        out->blocks_free = 0;
        out->files = fs->lower.inode_count;
        out->files_free = 0;
    }
    return 0;
}

/* Changed inodes of the image hold themselves: let go. */
static void unpin_all(struct tmpfs *fs)
{
    for (unsigned i = 0; i < TMPFS_BUCKETS; i++) {
        struct tmpfs_node *n;

        if (!fs->buckets[i].next) {
            continue; /* never used */
        }
    again:
        spin_lock(&fs->lock);
        list_for_each_entry(n, &fs->buckets[i], bucket_link) {
            if (n->is_pinned) {
                n->is_pinned = false;
                spin_unlock(&fs->lock);
                inode_put(&n->inode);
                goto again;
            }
        }
        spin_unlock(&fs->lock);
    }
}

static void tmpfs_free_fs(struct tmpfs *fs)
{
    if (fs->has_lower) {
        erofs_close(&fs->lower);
    }
    kfree(fs->buckets);
    kfree(fs);
}

static void tmpfs_destroy(struct super_block *sb)
{
    struct tmpfs *fs = sb->private;

    if (!fs) {
        return;
    }
    if (fs->has_lower) {
        unpin_all(fs);
    }
    tmpfs_free_fs(fs);
}

static const struct super_ops tmpfs_super_ops = {
    .destroy = tmpfs_destroy,
    .statfs = tmpfs_statfs,
};

static int fs_create(const struct file_system *type, unsigned flags, const char *options,
                     struct super_block **out)
{
    struct page_stats memory;
    struct super_block *sb;
    struct tmpfs *fs = kmalloc(sizeof(*fs), GFP_KERNEL);
    uint64_t value;

    if (!fs) {
        return -ENOMEM;
    }
    memset(fs, 0, sizeof(*fs));
    spin_init(&fs->lock, RANK_FS_MISC);
    page_stats(&memory);
    fs->pages_max = memory.total / 2;
    if (mount_option_size(options, "size", memory.total << PAGE_SHIFT, &value)) {
        fs->pages_max = value ? value >> PAGE_SHIFT : UINT64_MAX >> PAGE_SHIFT;
    }
    fs->inodes_max = max_of(memory.total / 2, UINT64_C(1024));
    if (mount_option_size(options, "nr_inodes", 0, &value) && value > 0) {
        fs->inodes_max = value;
    }
    fs->next_ino = FIRST_INO;
    sb = super_create(type, &tmpfs_super_ops, flags);
    if (!sb) {
        kfree(fs);
        return -ENOMEM;
    }
    sb->private = fs;
    *out = sb;
    return 0;
}

static int tmpfs_mount(struct file_system *type, const char *source, unsigned flags,
                       const char *options, struct super_block **out)
{
    struct super_block *sb;
    struct tmpfs_node *root;
    uint64_t mode = 01777;
    int err = fs_create(type, flags, options, &sb);

    (void)source;
    if (err < 0) {
        return err;
    }
    sb->flags &= ~MS_RDONLY; /* of the mount, not of the tmpfs */
    (void)mount_option_octal(options, "mode", &mode);
    err = tmpfs_node_create(sb, S_IFDIR | ((uint32_t)mode & S_PERM), 0, &root);
    if (err < 0) {
        super_put(sb);
        return err;
    }
    if (mount_option_size(options, "uid", 0, &mode)) {
        root->inode.uid = (uid_t)mode;
    }
    if (mount_option_size(options, "gid", 0, &mode)) {
        root->inode.gid = (gid_t)mode;
    }
    sb->root = &root->inode;
    *out = sb;
    return 0;
}

int tmpfs_mount_image(struct file_system *type, const struct erofs_image *image, unsigned flags,
                      unsigned erofs_flags, const char *options, const char **why,
                      struct super_block **out)
{
    struct super_block *sb;
    struct tmpfs_node *root = NULL;
    struct tmpfs *fs;
    int err = fs_create(type, flags, options, &sb);

    if (err < 0) {
        *why = "no memory";
        return err;
    }
    fs = sb->private;
    fs->buckets = kmalloc_array(TMPFS_BUCKETS, sizeof(struct list), GFP_KERNEL | GFP_ZERO);
    if (!fs->buckets) {
        super_put(sb);
        *why = "no memory";
        return -ENOMEM;
    }
    fs->lower = *image;
    err = erofs_open(&fs->lower, erofs_flags, why);
    if (err == 0) {
        fs->has_lower = true;
        *why = "the root directory is damaged";
        err = tmpfs_root_from_image(sb, &root);
    }
    if (err < 0) {
        super_put(sb);
        return err;
    }
    sb->root = &root->inode;
    *out = sb;
    return 0;
}

/* mount -t erofs: an image on a block device, read-only. */
static int erofs_mount(struct file_system *type, const char *source, unsigned flags,
                       const char *options, struct super_block **out)
{
    struct erofs_image image = { 0 };
    const char *why = "";
    int err;

    if (!source) {
        return -EINVAL;
    }
    if (strncmp(source, "/dev/", 5) == 0) {
        source += 5;
    }
    image.device = block_device_find(source);
    if (!image.device) {
        return -ENOTBLK;
    }
    image.size = image.device->sectors << 9;
    err = tmpfs_mount_image(type, &image, flags | MS_RDONLY, 0, options, &why, out);
    if (err < 0) {
        log_warn("erofs: %s: %s", source, why);
    }
    return err;
}

struct file_system tmpfs_type = { .name = "tmpfs", .mount = tmpfs_mount };
struct file_system erofs_type = { .name = "erofs", .mount = erofs_mount, .needs_device = true };
struct file_system overlay_type = { .name = "overlay" };

/* --- memfd ------------------------------------------------------------------------------------ */

/* The kernel's own tmpfs, made when the first memfd is; mounted nowhere. */
static _Atomic(struct super_block *) memfd_super;
static struct mount memfd_mount = { .refs = 1, .link = LIST_INIT(memfd_mount.link) };

static struct super_block *memfd_super_get(void)
{
    struct super_block *sb = atomic_load_explicit(&memfd_super, memory_order_acquire);
    struct super_block *spare;

    if (sb) {
        return sb;
    }
    if (tmpfs_mount(&tmpfs_type, NULL, 0, NULL, &spare) < 0) {
        return NULL;
    }
    spin_lock(&dentry_lock);
    sb = atomic_load_explicit(&memfd_super, memory_order_relaxed);
    if (!sb) {
        sb = spare;
        spare = NULL;
        memfd_mount.sb = sb;
        /* release: pairs with the acquire above; whoever sees it sees the mount complete. */
        atomic_store_explicit(&memfd_super, sb, memory_order_release);
    }
    spin_unlock(&dentry_lock);
    if (spare) {
        super_put(spare);
    }
    return sb;
}

int tmpfs_memfd(const char *name, unsigned seals, struct path *out)
{
    struct super_block *sb = memfd_super_get();
    struct tmpfs_node *n;
    struct dentry *d;
    int err = sb ? tmpfs_node_create(sb, S_IFREG | 0777, 0, &n) : -ENOMEM;

    if (err < 0) {
        return err;
    }
    n->inode.nlink = 0;
    n->seals = seals;
    d = dentry_create_named(&n->inode, name);
    if (!d) {
        return -ENOMEM;
    }
    out->dentry = d;
    out->mount = mount_get(&memfd_mount);
    return 0;
}

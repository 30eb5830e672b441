/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes of tmpfs: made, found by their number in the image, pinned while changed, freed. */
#include <core/string.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/tmpfs/tmpfs.h>
#include <ipc/fifo.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>

static struct slab_cache node_cache = SLAB_CACHE("tmpfs_node", struct tmpfs_node);

static struct tmpfs *tmpfs_of(struct super_block *sb)
{
    return sb->private;
}

/* The operations that go with the type in mode. */
static void set_ops(struct tmpfs_node *n)
{
    struct inode *i = &n->inode;

    switch (i->mode & S_IFMT) {
    case S_IFDIR:
        i->ops = &tmpfs_dir_ops;
        i->file_ops = &directory_file_ops;
        break;
    case S_IFREG:
        i->ops = &tmpfs_file_ops_inode;
        i->file_ops = &tmpfs_file_ops;
        mapping_init(&i->mapping, &tmpfs_mapping_ops, i);
        break;
    case S_IFLNK:
        i->ops = &tmpfs_link_ops;
        break;
    case S_IFIFO:
        i->ops = &tmpfs_special_ops;
        i->file_ops = &fifo_ops;
        break;
    default: /* devices are found by number when opened; sockets cannot be opened */
        i->ops = &tmpfs_special_ops;
        break;
    }
}

static struct tmpfs_node *node_alloc(struct super_block *sb, uint64_t ino, uint32_t mode)
{
    struct tmpfs_node *n = slab_alloc(&node_cache, GFP_KERNEL);

    if (!n) {
        return NULL;
    }
    memset(&n->fs, 0, sizeof(*n) - offsetof(struct tmpfs_node, fs));
    inode_init(&n->inode, sb, ino, mode);
    n->fs = tmpfs_of(sb);
    n->next_order = 3; /* 1 and 2 are "." and ".." */
    list_init(&n->bucket_link);
    list_init(&n->doom_link);
    set_ops(n);
    return n;
}

int tmpfs_node_create(struct super_block *sb, uint32_t mode, dev_t rdev, struct tmpfs_node **out)
{
    struct tmpfs *fs = tmpfs_of(sb);
    const struct cred *cred = current->cred;
    struct tmpfs_node *n;
    uint64_t ino = 0;

    spin_lock(&fs->lock);
    if (fs->inodes_used < fs->inodes_max) {
        fs->inodes_used++;
        ino = fs->next_ino++;
    }
    spin_unlock(&fs->lock);
    if (ino == 0) {
        return -ENOSPC;
    }
    n = node_alloc(sb, ino, mode);
    if (!n) {
        spin_lock(&fs->lock);
        fs->inodes_used--;
        spin_unlock(&fs->lock);
        return -ENOMEM;
    }
    n->inode.rdev = rdev;
    n->inode.uid = cred ? cred->fsuid : 0;
    n->inode.gid = cred ? cred->fsgid : 0;
    n->inode.nlink = S_ISDIR(mode) ? 2 : 1;
    n->inode.atime = n->inode.mtime = n->inode.ctime = n->inode.btime = time_now();
    *out = n;
    return 0;
}

static struct list *bucket_of(const struct tmpfs *fs, uint64_t nid)
{
    struct list *bucket = &fs->buckets[(nid ^ (nid >> 8)) % TMPFS_BUCKETS];

    if (!bucket->next) { /* at first use: mounting does not walk the table */
        list_init(bucket);
    }
    return bucket;
}

static struct tmpfs_node *find_locked(const struct tmpfs *fs, uint64_t nid)
{
    struct tmpfs_node *n;

    list_for_each_entry(n, bucket_of(fs, nid), bucket_link) {
        if (n->lower.nid == nid && ref_get_unless_zero(&n->inode.ref)) {
            return n;
        }
    }
    return NULL;
}

static dev_t dev_of_image(uint32_t encoded)
{
    return dev_make((encoded & 0xfff00) >> 8, (encoded & 0xff) | ((encoded >> 12) & 0xfff00));
}

static int read_target(struct tmpfs_node *n)
{
    int err;

    if (n->lower.size == 0 || n->lower.size >= PATH_MAX) {
        return -EUCLEAN;
    }
    n->target = kmalloc((size_t)n->lower.size + 1, GFP_KERNEL);
    if (!n->target) {
        return -ENOMEM;
    }
    err = erofs_read(&n->fs->lower, &n->lower, 0, n->target, (size_t)n->lower.size);
    n->target[n->lower.size] = '\0';
    n->inode.link = n->target;
    n->inode.link_size = (uint32_t)strlen(n->target);
    return err;
}

/* A fresh object for an inode of the image, not yet in the table. */
static int node_from_lower(struct super_block *sb, const struct erofs_inode *lower,
                           struct tmpfs_node **out)
{
    struct tmpfs_node *n = node_alloc(sb, lower->nid, lower->mode);
    struct inode *i;
    int err = 0;

    if (!n) {
        return -ENOMEM;
    }
    i = &n->inode;
    n->lower = *lower;
    n->has_lower = true;
    n->is_from_image = true;
    i->uid = lower->uid;
    i->gid = lower->gid;
    i->nlink = lower->nlink;
    i->rdev = dev_of_image(lower->rdev);
    i->size = lower->size;
    i->mtime = (struct timestamp){ .sec = lower->mtime_sec, .nsec = lower->mtime_nsec };
    i->atime = i->ctime = i->btime = i->mtime;
    if (S_ISREG(i->mode)) {
        n->lower_size = lower->size;
    } else if (S_ISLNK(i->mode)) {
        err = read_target(n);
    }
    if (err < 0) {
        n->is_from_image = false;
        inode_put(i);
        return err;
    }
    *out = n;
    return 0;
}

/* One directory of the image has one parent: so its tree has no loops that a walk could be caught
 * in, whatever the image says. */
static int check_parent(const struct tmpfs_node *n, uint64_t parent)
{
    return S_ISDIR(n->inode.mode) && n->lower_parent != parent ? -EUCLEAN : 0;
}

static int node_get(struct super_block *sb, uint64_t parent, uint64_t nid, struct tmpfs_node **out)
{
    struct tmpfs *fs = tmpfs_of(sb);
    struct erofs_inode lower;
    struct tmpfs_node *fresh;
    struct tmpfs_node *n;
    int err;

    spin_lock(&fs->lock);
    n = find_locked(fs, nid);
    spin_unlock(&fs->lock);
    if (!n) {
        err = erofs_inode_read(&fs->lower, nid, &lower);
        if (err < 0) {
            return err;
        }
        err = node_from_lower(sb, &lower, &fresh);
        if (err < 0) {
            return err;
        }
        fresh->lower_parent = parent;
        spin_lock(&fs->lock);
        n = find_locked(fs, nid);
        if (!n) {
            list_push_front(bucket_of(fs, nid), &fresh->bucket_link);
            n = fresh;
            fresh = NULL;
        }
        spin_unlock(&fs->lock);
        if (fresh) {
            inode_put(&fresh->inode);
        }
    }
    err = check_parent(n, parent);
    if (err < 0) {
        inode_put(&n->inode);
        return err;
    }
    *out = n;
    return 0;
}

int tmpfs_node_from_image(struct tmpfs_node *dir, uint64_t nid, struct tmpfs_node **out)
{
    if (nid == dir->fs->lower.root_nid) {
        return -EUCLEAN;
    }
    return node_get(dir->inode.sb, dir->lower.nid, nid, out);
}

int tmpfs_root_from_image(struct super_block *sb, struct tmpfs_node **out)
{
    uint64_t root = tmpfs_of(sb)->lower.root_nid;

    return node_get(sb, root, root, out);
}

void tmpfs_changed(struct tmpfs_node *n)
{
    bool pin = false;

    if (!n->is_from_image || n->is_pinned || n->inode.nlink == 0) {
        return;
    }
    spin_lock(&n->fs->lock);
    if (!n->is_pinned) {
        n->is_pinned = true;
        pin = true;
    }
    spin_unlock(&n->fs->lock);
    if (pin) {
        inode_get(&n->inode);
    }
}

void tmpfs_link_gone(struct tmpfs_node *n, uint32_t count)
{
    bool unpin = false;

    n->inode.nlink -= min_of(count, n->inode.nlink); /* an image may lie about the count */
    if (n->inode.nlink > 0) {
        tmpfs_changed(n);
        return;
    }
    spin_lock(&n->fs->lock);
    unpin = n->is_pinned;
    n->is_pinned = false;
    spin_unlock(&n->fs->lock);
    if (unpin) {
        inode_put(&n->inode); /* the caller holds another one */
    }
}

void tmpfs_evict(struct inode *inode)
{
    struct tmpfs_node *n = tmpfs_node_of(inode);
    struct tmpfs *fs = n->fs;

    if (S_ISREG(inode->mode)) {
        mapping_drop(&inode->mapping, 0, UINT64_MAX);
        tmpfs_recharge(n);
    } else if (S_ISDIR(inode->mode)) {
        struct list doomed = LIST_INIT(doomed);

        tmpfs_dir_clear(n, &doomed);
        while (!list_is_empty(&doomed)) { /* directories below, one after the other */
            struct tmpfs_node *d = list_first(&doomed, struct tmpfs_node, doom_link);

            list_remove(&d->doom_link);
            tmpfs_dir_clear(d, &doomed);
            inode_put(&d->inode);
        }
    }
    spin_lock(&fs->lock);
    list_remove(&n->bucket_link);
    if (!n->is_from_image && inode->ino >= (UINT64_C(1) << 40) && fs->inodes_used > 0) {
        fs->inodes_used--;
    }
    spin_unlock(&fs->lock);
    kfree(n->target);
}

void tmpfs_free(struct inode *inode)
{
    slab_free(&node_cache, tmpfs_node_of(inode));
}

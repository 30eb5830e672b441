/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes: life and references. What they are belongs to their file systems. */
#include <core/string.h>
#include <fs/fcntl.h>
#include <fs/vfs.h>
#include <mm/slab.h>
#include <sched/timer.h>

static struct slab_cache inode_cache = SLAB_CACHE("inode", struct inode);

struct timestamp time_now(void)
{
    uint64_t now = clock_realtime_ns();

    return (struct timestamp){ .sec = (int64_t)(now / NSEC_PER_SEC),
                               .nsec = (uint32_t)(now % NSEC_PER_SEC) };
}

/* For inodes without a page cache: nothing is ever in it. */
static int no_pages(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    (void)m;
    (void)index;
    (void)how;
    (void)out;
    return -EIO;
}

static const struct mapping_ops no_mapping_ops = { .get = no_pages };

void inode_init(struct inode *inode, struct super_block *sb, uint64_t ino, uint32_t mode)
{
    memset(inode, 0, sizeof(*inode));
    ref_init(&inode->ref);
    inode->sb = sb;
    inode->ino = ino;
    inode->mode = mode;
    inode->nlink = 1;
    rwsem_init(&inode->lock, RANK_INODE);
    mutex_init(&inode->write_lock, RANK_INODE_WRITE);
    mapping_init(&inode->mapping, &no_mapping_ops, inode);
    list_init(&inode->locks);
}

struct inode *inode_alloc(struct super_block *sb, uint64_t ino, uint32_t mode)
{
    struct inode *inode = slab_alloc(&inode_cache, GFP_KERNEL);

    if (inode) {
        inode_init(inode, sb, ino, mode);
    }
    return inode;
}

void inode_put(struct inode *i)
{
    if (!ref_put(&i->ref)) {
        return;
    }
    void (*free)(struct inode * inode) = i->ops ? i->ops->free : NULL;

    assert(list_is_empty(&i->locks));
    if (i->ops && i->ops->evict) {
        i->ops->evict(i);
    }
    if (free) {
        free(i);
    } else {
        slab_free(&inode_cache, i);
    }
}

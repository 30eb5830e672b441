/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount tree: which file system lies over which directory. Changes hold mount_mutex; what the
 * walk reads (mountpoints, parents) is published under dentry_lock.
 */
#include <core/log.h>
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <mm/slab.h>
#include <sched/task.h>

#define FILE_SYSTEMS_MAX 16u
#define MOUNTS_MAX       4096u
#define MOUNT_FLAGS      (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME)

struct list mount_table = LIST_INIT(mount_table);
struct mount *root_mount;

static struct slab_cache mount_cache = SLAB_CACHE("mount", struct mount);
static struct mutex mount_mutex;
static uint32_t next_mount_id = 20;
static uint32_t next_anon_dev = 1;
static unsigned mount_count;
static struct file_system *file_systems[FILE_SYSTEMS_MAX]; /* written at boot only */
static unsigned file_system_count;

void mount_init(void)
{
    mutex_init(&mount_mutex, RANK_MOUNT);
}

/* --- file systems and super blocks ------------------------------------------------------------ */

int file_system_register(struct file_system *fs)
{
    if (file_system_count == FILE_SYSTEMS_MAX) {
        return -ENOSPC;
    }
    file_systems[file_system_count++] = fs;
    return 0;
}

struct file_system *file_system_at(unsigned n)
{
    return n < file_system_count ? file_systems[n] : NULL;
}

struct file_system *file_system_find(const char *name)
{
    for (unsigned i = 0; i < file_system_count; i++) {
        if (strcmp(file_systems[i]->name, name) == 0) {
            return file_systems[i];
        }
    }
    return NULL;
}

struct super_block *super_create(const struct file_system *type, const struct super_ops *ops,
                                 unsigned flags)
{
    struct super_block *sb = kmalloc(sizeof(*sb), GFP_KERNEL);

    if (!sb) {
        return NULL;
    }
    memset(sb, 0, sizeof(*sb));
    ref_init(&sb->ref);
    sb->type = type;
    sb->ops = ops;
    sb->flags = flags & MS_RDONLY;
    spin_lock(&dentry_lock);
    sb->dev = dev_make(0, next_anon_dev++);
    spin_unlock(&dentry_lock);
    return sb;
}

void super_put(struct super_block *sb)
{
    if (!ref_put(&sb->ref)) {
        return;
    }
    if (sb->root) {
        inode_put(sb->root);
        sb->root = NULL;
    }
    if (sb->ops && sb->ops->destroy) {
        sb->ops->destroy(sb);
    }
    kfree(sb);
}

/* --- mounts ----------------------------------------------------------------------------------- */

struct mount *mount_on_locked(const struct mount *m, const struct dentry *d)
{
    struct mount *over;

    list_for_each_entry(over, &mount_table, link) {
        if (over->mountpoint == d && over->parent == m && over != m) {
            return over;
        }
    }
    return NULL;
}

void mount_put(struct mount *m)
{
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    struct super_block *sb = m->sb;

    assert(!list_is_linked(&m->link));
    dentry_prune(m->root);
    dentry_put(m->root);
    slab_free(&mount_cache, m);
    super_put(sb);
}

void path_get(const struct path *p)
{
    dentry_get(p->dentry);
    mount_get(p->mount);
}

void path_put(const struct path *p)
{
    dentry_put(p->dentry);
    mount_put(p->mount);
}

/* Takes over the references on sb and root. */
static struct mount *mount_alloc(struct super_block *sb, struct dentry *root, const char *source,
                                 unsigned flags)
{
    struct mount *m = slab_alloc(&mount_cache, GFP_KERNEL);

    if (!m) {
        return NULL;
    }
    memset(m, 0, sizeof(*m));
    atomic_store_explicit(&m->refs, 1, memory_order_relaxed);
    m->flags = flags & MOUNT_FLAGS;
    m->sb = sb;
    m->root = root;
    list_init(&m->link);
    str_copy(m->source, source && *source ? source : "none", sizeof(m->source));
    return m;
}

/* Put `m` (whose reference becomes the tree's) on top of `on`, or make it the root. */
static int mount_attach(struct mount *m, const struct path *on)
{
    int err = 0;

    mutex_lock(&mount_mutex);
    spin_lock(&dentry_lock);
    if (mount_count >= MOUNTS_MAX) {
        err = -ENOSPC;
    } else if (!on) {
        assert(!root_mount);
        m->parent = m;
        m->mountpoint = m->root;
        root_mount = m;
    } else if (on->dentry->is_deleted) {
        err = -ENOENT;
    } else if (S_ISDIR(on->dentry->inode->mode) != S_ISDIR(m->root->inode->mode)) {
        err = -ENOTDIR;
    } else {
        m->parent = mount_get(on->mount);
        m->mountpoint = dentry_get(on->dentry);
        on->dentry->mount_count++;
        dentry_changes++;
    }
    if (err == 0) {
        m->id = next_mount_id++;
        mount_count++;
        list_push_back(&mount_table, &m->link);
    }
    spin_unlock(&dentry_lock);
    mutex_unlock(&mount_mutex);
    return err;
}

int mount_super(struct super_block *sb, const char *source, const struct path *on, unsigned flags)
{
    struct dentry *root = dentry_create_root(inode_get(sb->root));
    struct mount *m;
    int err;

    if (!root) {
        return -ENOMEM;
    }
    m = mount_alloc(sb, root, source, flags);
    if (!m) {
        dentry_put(root);
        return -ENOMEM;
    }
    ref_get(&sb->ref); /* for the case that attaching fails: the caller keeps his */
    err = mount_attach(m, on);
    if (err < 0) {
        mount_put(m);
        return err;
    }
    super_put(sb);
    return 0;
}

int mount_file_system(const char *type, const char *source, const struct path *on, unsigned flags,
                      const char *options)
{
    struct file_system *fs = file_system_find(type);
    struct super_block *sb;
    int err;

    if (!fs) {
        return -ENODEV;
    }
    err = fs->mount(fs, source, flags, options, &sb);
    if (err < 0) {
        return err;
    }
    err = mount_super(sb, source, on, flags);
    if (err < 0) {
        super_put(sb);
    }
    return err;
}

/* The same directory or file again at another place. */
int mount_bind(const struct path *from, const struct path *on)
{
    struct mount *m;
    int err;

    ref_get(&from->mount->sb->ref);
    m = mount_alloc(from->mount->sb, dentry_get(from->dentry), from->mount->source,
                    from->mount->flags);
    if (!m) {
        dentry_put(from->dentry);
        super_put(from->mount->sb);
        return -ENOMEM;
    }
    err = mount_attach(m, on);
    if (err < 0) {
        mount_put(m);
    }
    return err;
}

int mount_remount(const struct path *p, unsigned flags, bool is_bind)
{
    if (p->dentry != p->mount->root) {
        return -EINVAL;
    }
    mutex_lock(&mount_mutex);
    if (!is_bind && !(flags & MS_RDONLY) && p->mount->sb->flags & MS_RDONLY) {
        mutex_unlock(&mount_mutex);
        return -EROFS; /* what is read-only by nature stays so */
    }
    p->mount->flags = flags & MOUNT_FLAGS;
    mutex_unlock(&mount_mutex);
    return 0;
}

int mount_move(const struct path *from, const struct path *on)
{
    struct mount *m = from->mount;
    struct mount *old_parent;
    struct dentry *old_point;
    int err = 0;

    mutex_lock(&mount_mutex);
    spin_lock(&dentry_lock);
    if (from->dentry != m->root || m->parent == m || !m->parent) {
        err = -EINVAL;
    }
    for (const struct mount *up = on->mount; err == 0; up = up->parent) {
        if (up == m) {
            err = -ELOOP;
        }
        if (!up->parent || up->parent == up) {
            break;
        }
    }
    old_parent = m->parent;
    old_point = m->mountpoint;
    if (err == 0) {
        old_point->mount_count--;
        m->parent = mount_get(on->mount);
        m->mountpoint = dentry_get(on->dentry);
        on->dentry->mount_count++;
        dentry_changes++;
    }
    spin_unlock(&dentry_lock);
    mutex_unlock(&mount_mutex);
    if (err == 0) {
        dentry_put(old_point);
        mount_put(old_parent);
    }
    return err;
}

#define MNT_DETACH 2u

/* `p` names the root of the mount, and holds one reference on it. */
int mount_detach(const struct path *p, unsigned flags)
{
    struct mount *m = p->mount;
    struct mount *other;
    struct mount *parent = NULL;
    struct dentry *point = NULL;
    int err = 0;

    if (p->dentry != m->root) {
        return -EINVAL;
    }
    mutex_lock(&mount_mutex);
    spin_lock(&dentry_lock);
    if (m->parent == m || !list_is_linked(&m->link)) {
        err = -EINVAL;
    }
    /* The tree's reference and the caller's; anything above is a user. */
    if (!(flags & MNT_DETACH) && atomic_load_explicit(&m->refs, memory_order_acquire) > 2) {
        err = -EBUSY;
    }
    list_for_each_entry(other, &mount_table, link) {
        if (other->parent == m && other != m) {
            err = -EBUSY; /* detaching whole trees is not supported */
        }
    }
    if (err == 0) {
        list_remove(&m->link);
        mount_count--;
        parent = m->parent;
        point = m->mountpoint;
        point->mount_count--;
        dentry_changes++;
        m->parent = NULL;
        m->mountpoint = NULL;
    }
    spin_unlock(&dentry_lock);
    mutex_unlock(&mount_mutex);
    if (err == 0) {
        if (m->sb->ops->sync) {
            err = m->sb->ops->sync(m->sb);
        }
        dentry_put(point);
        mount_put(parent);
        mount_put(m);
    }
    return err;
}

int mount_sync_all(void)
{
    struct mount *m;
    int err = 0;

    mutex_lock(&mount_mutex);
    list_for_each_entry(m, &mount_table, link) {
        if (m->sb->ops->sync) {
            int one = m->sb->ops->sync(m->sb);

            err = err ? err : one;
        }
    }
    mutex_unlock(&mount_mutex);
    return err;
}

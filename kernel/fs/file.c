/* SPDX-License-Identifier: Apache-2.0 */
/* Open file descriptions: made by open or by the kernel, freed with their last reference. */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/locks.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>

#define FLAGS_KEPT (~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC))

static struct slab_cache file_cache = SLAB_CACHE("file", struct file);
static _Atomic uint64_t file_count;

uint64_t files_open(void)
{
    return atomic_load_explicit(&file_count, memory_order_relaxed);
}

static struct file *file_alloc(const struct file_ops *ops, unsigned flags)
{
    static const uint32_t access[4] = { FMODE_READ, FMODE_WRITE, FMODE_READ | FMODE_WRITE, 0 };
    struct file *f = slab_alloc(&file_cache, GFP_KERNEL);

    if (!f) {
        return NULL;
    }
    ref_init(&f->ref);
    f->ops = ops;
    atomic_store_explicit(&f->flags, flags & FLAGS_KEPT, memory_order_relaxed);
    f->mode = access[flags & O_ACCMODE];
    f->path = (struct path){ 0 };
    f->inode = NULL;
    mutex_init(&f->pos_lock, RANK_FILE_POS);
    f->pos = 0;
    f->private = NULL;
    list_init(&f->epolls);
    f->owner = 0;
    f->owner_signal = 0;
    atomic_fetch_add_explicit(&file_count, 1, memory_order_relaxed);
    return f;
}

static void file_free(struct file *f)
{
    atomic_fetch_sub_explicit(&file_count, 1, memory_order_relaxed);
    slab_free(&file_cache, f);
}

int file_create(const struct file_ops *ops, void *private, unsigned flags, struct file **out)
{
    struct file *f = file_alloc(ops, flags);

    assert(ops->poll);
    if (!f) {
        return -ENOMEM;
    }
    f->mode |= FMODE_STREAM;
    f->private = private;
    *out = f;
    return 0;
}

bool file_is_nonblock(const struct file *f)
{
    return (atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK) != 0;
}

/* --- who executes, who writes ----------------------------------------------------------------- */

static int32_t writers_add(struct inode *inode, int32_t by)
{
    int32_t *count = &inode->writers;
    int32_t old = __atomic_load_n(count, __ATOMIC_RELAXED);

    for (;;) {
        if ((by > 0 && old < 0) || (by < 0 && old > 0)) {
            return -ETXTBSY;
        }
        if (__atomic_compare_exchange_n(count, &old, old + by, true, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return 0;
        }
    }
}

int inode_deny_write(struct inode *inode)
{
    return writers_add(inode, -1);
}

void inode_allow_write(struct inode *inode)
{
    __atomic_fetch_add(&inode->writers, 1, __ATOMIC_RELEASE);
}

/* --- closing ---------------------------------------------------------------------------------- */

void file_put(struct file *f)
{
    if (!ref_put(&f->ref)) {
        return;
    }
    if (!list_is_empty(&f->epolls)) {
        epoll_file_released(f);
    }
    if (f->inode && !list_is_empty(&f->inode->locks)) {
        locks_release_file(f);
    }
    if (f->ops && f->ops->release) {
        f->ops->release(f);
    }
    if (f->inode) {
        if (f->mode & FMODE_EXEC) {
            inode_allow_write(f->inode);
        }
        if ((f->mode & FMODE_WRITE) && S_ISREG(f->inode->mode)) {
            __atomic_fetch_sub(&f->inode->writers, 1, __ATOMIC_RELEASE);
        }
        inode_put(f->inode);
    }
    if (f->path.dentry) {
        path_put(&f->path);
    }
    file_free(f);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* An O_PATH description does nothing; the table says so for each method. */
static uint32_t path_poll(struct file *f, struct poll_table *pt)
{
    (void)f;
    (void)pt;
    return POLLNVAL;
}

static const struct file_ops path_file_ops = { .type = "path", .poll = path_poll };

/* The operations for what the inode is. */
static const struct file_ops *ops_of(struct inode *inode, void **private)
{
    if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
        struct device_node *d = device_find(S_ISBLK(inode->mode), inode->rdev);

        if (!d) {
            return NULL;
        }
        *private = d->private;
        return d->ops;
    }
    return inode->file_ops;
}

/* Type, mount and mode against what is wanted. Errors in Linux's order. */
static int check_open(const struct path *p, unsigned flags)
{
    const struct inode *inode = p->dentry->inode;
    unsigned wants = flags & O_ACCMODE;
    unsigned may = 0;

    switch (inode->mode & S_IFMT) {
    case S_IFLNK:
        return -ELOOP;
    case S_IFDIR:
        if (wants != O_RDONLY || (flags & O_TRUNC)) {
            return -EISDIR;
        }
        break;
    case S_IFCHR:
    case S_IFBLK:
        if ((p->mount->flags | p->mount->sb->flags) & MS_NODEV) {
            return -EACCES;
        }
        break;
    default:
        break;
    }
    if (wants != O_WRONLY) {
        may |= MAY_READ;
    }
    if (wants != O_RDONLY || (flags & O_TRUNC)) {
        may |= MAY_WRITE;
        if (path_is_read_only(p) && (S_ISREG(inode->mode) || S_ISDIR(inode->mode))) {
            return -EROFS;
        }
    }
    return inode_permission(inode, current->cred, may);
}

int file_open_checked(const struct path *p, unsigned flags, struct file **out)
{
    struct inode *inode = p->dentry->inode;
    void *private = NULL;
    const struct file_ops *ops = &path_file_ops;
    struct file *f;
    int err = 0;

    if ((flags & O_DIRECTORY) && !S_ISDIR(inode->mode)) {
        return -ENOTDIR;
    }
    if (!(flags & O_PATH)) {
        ops = ops_of(inode, &private);
        if (!ops) {
            return -ENXIO;
        }
    }
    f = file_alloc(ops, flags);
    if (!f) {
        return -ENOMEM;
    }
    f->mode |= flags & O_NOCTTY ? FMODE_NOCTTY : 0;
    if (flags & O_PATH) {
        f->mode = FMODE_PATH;
    } else if (S_ISREG(inode->mode)) {
        f->mode |= FMODE_SEEK;
        if (f->mode & FMODE_WRITE) {
            err = writers_add(inode, 1);
            if (err < 0) {
                file_free(f);
                return err;
            }
        }
    } else if (S_ISDIR(inode->mode) || S_ISBLK(inode->mode)) {
        f->mode |= FMODE_SEEK;
    }
    f->path = *p;
    path_get(&f->path);
    f->inode = inode_get(inode);
    f->private = private;
    if (ops->open) {
        err = ops->open(inode, f);
    }
    if (err < 0) {
        f->ops = NULL; /* open failed: nothing to release */
        file_put(f);
        return err;
    }
    *out = f;
    return 0;
}

int file_open_path(const struct path *p, unsigned flags, struct file **out)
{
    struct file *alias;

    if (!(flags & O_PATH)) {
        int err = check_open(p, flags);

        if (err < 0) {
            return err;
        }
        alias = alias_file(p->dentry->inode);
        if (alias) {
            *out = file_get(alias);
            return 0;
        }
    }
    return file_open_checked(p, flags, out);
}

int file_open_exec(const struct path *p, struct file **out)
{
    struct inode *inode = p->dentry->inode;
    int err;

    if (!S_ISREG(inode->mode)) {
        return S_ISLNK(inode->mode) ? -ELOOP : -EACCES;
    }
    if ((p->mount->flags | p->mount->sb->flags) & MS_NOEXEC) {
        return -EACCES;
    }
    err = inode_permission(inode, current->cred, MAY_EXEC);
    if (err == 0) {
        err = inode_deny_write(inode);
    }
    if (err < 0) {
        return err;
    }
    err = file_open_checked(p, O_RDONLY, out);
    if (err < 0) {
        inode_allow_write(inode);
        return err;
    }
    (*out)->mode |= FMODE_EXEC;
    return 0;
}

/* --- aliases: names for descriptions that have none (see file.h) -------------------------------
 */

static void alias_evict(struct inode *inode)
{
    file_put(inode->private);
}

static const struct inode_ops alias_inode_ops = { .evict = alias_evict };

struct file *alias_file(const struct inode *inode)
{
    return inode->ops == &alias_inode_ops ? inode->private : NULL;
}

int alias_path(struct file *f, struct path *out)
{
    struct inode *inode = inode_alloc(root_mount->sb, (uintptr_t)f >> 4, S_IFIFO | 0600);

    if (!inode) {
        return -ENOMEM;
    }
    inode->ops = &alias_inode_ops;
    inode->file_ops = f->ops;
    inode->private = file_get(f);
    inode->uid = current->cred->fsuid;
    inode->gid = current->cred->fsgid;
    out->dentry = dentry_create_root(inode);
    if (!out->dentry) {
        return -ENOMEM;
    }
    out->mount = mount_get(root_mount);
    return 0;
}

/* --- reading from inside the kernel ----------------------------------------------------------- */

ssize_t file_read_kernel(struct file *f, void *buf, size_t size, int64_t pos)
{
    struct uio u;

    if (!(f->mode & FMODE_READ)) {
        return -EBADF;
    }
    if (!f->ops->read) {
        return -EINVAL;
    }
    uio_init_kernel(&u, buf, size);
    return f->ops->read(f, &u, &pos);
}

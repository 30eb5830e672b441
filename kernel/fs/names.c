/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, removing and renaming names. Each call finds its place (a directory and a last
 * component), locks the directory for writing, looks the name up, checks, and then lets the file
 * system change it.
 */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

/* A directory locked for a change of one name in it. */
struct change {
    struct place at;
    struct inode *dir;
    struct dentry *child; /* counted, maybe negative */
    char *name;           /* holds at.name */
};

static int change_begin(int dirfd, const char __user *path, struct change *c)
{
    int err = name_get(path, &c->name);

    if (err < 0) {
        return err;
    }
    err = place_lookup(dirfd, c->name, 0, &c->at);
    if (err < 0) {
        name_put(c->name);
        return err;
    }
    c->dir = c->at.dir.dentry->inode;
    return 0;
}

static void change_end(struct change *c)
{
    place_put(&c->at);
    name_put(c->name);
}

/* Locks; on failure the lock is not held. */
static int change_lock(struct change *c)
{
    int err;

    rwsem_write_lock(&c->dir->lock);
    if (c->at.dir.dentry->is_deleted || c->dir->nlink == 0) {
        err = -ENOENT;
    } else {
        err = dentry_lookup(c->at.dir.dentry, &c->at.name, &c->child);
    }
    if (err < 0) {
        rwsem_write_unlock(&c->dir->lock);
    }
    return err;
}

static void change_unlock(struct change *c)
{
    rwsem_write_unlock(&c->dir->lock);
    dentry_put(c->child);
}

static uint32_t without_umask(uint32_t mode)
{
    return mode & ~atomic_load_explicit(&current->fs->umask, memory_order_relaxed);
}

/* --- new names -------------------------------------------------------------------------------- */

/* What is to be made. */
struct making {
    uint32_t mode; /* type and permissions, umask applied */
    dev_t rdev;
    const char *target; /* symbolic link */
};

static int make_locked(struct change *c, const struct making *m, struct inode **made)
{
    const struct inode_ops *ops = c->dir->ops;
    int err;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): change_lock() has found it */
    if (c->child->inode) {
        return -EEXIST;
    }
    if (c->at.has_slash && !S_ISDIR(m->mode)) {
        return -ENOENT;
    }
    if (path_is_read_only(&c->at.dir)) {
        return -EROFS;
    }
    err = inode_permission(c->dir, current->cred, MAY_WRITE | MAY_EXEC);
    if (err < 0) {
        return err;
    }
    if (S_ISDIR(m->mode)) {
        return ops->mkdir ? ops->mkdir(c->dir, &c->at.name, m->mode, made) : -EPERM;
    }
    if (S_ISLNK(m->mode)) {
        return ops->symlink ? ops->symlink(c->dir, &c->at.name, m->target, made) : -EPERM;
    }
    return ops->create ? ops->create(c->dir, &c->at.name, m->mode, m->rdev, made) : -EPERM;
}

static long make(int dirfd, const char __user *path, const struct making *m)
{
    struct inode *made;
    struct change c;
    int err = change_begin(dirfd, path, &c);

    if (err < 0) {
        return err;
    }
    if (c.at.kind != NAME_NORMAL) {
        change_end(&c);
        return -EEXIST;
    }
    err = change_lock(&c);
    if (err == 0) {
        err = make_locked(&c, m, &made);
        if (err == 0) {
            dentry_fill(c.child, made);
        }
        change_unlock(&c);
    }
    change_end(&c);
    return err;
}

/* For bind(AF_UNIX): a socket's name, in the current directory's eyes. *out is counted. */
int vfs_make_socket(const char *name, uint32_t mode, struct path *out)
{
    struct place at;
    struct inode *made;
    struct dentry *child;
    int err = place_lookup(AT_FDCWD, name, 0, &at);

    if (err < 0) {
        return err;
    }
    struct change c = { .at = at, .dir = at.dir.dentry->inode };
    struct making m = { .mode = S_IFSOCK | without_umask(mode & 0777) };

    err = at.kind == NAME_NORMAL ? change_lock(&c) : -EADDRINUSE;
    if (err == 0) {
        err = make_locked(&c, &m, &made);
        child = c.child;
        if (err == 0) {
            dentry_fill(child, made);
            out->mount = mount_get(at.dir.mount);
            out->dentry = dentry_get(child);
        }
        change_unlock(&c);
    }
    place_put(&at);
    return err == -EEXIST ? -EADDRINUSE : err;
}

long sys_mkdirat(int dirfd, const char __user *path, unsigned mode)
{
    struct making m = { .mode = S_IFDIR | without_umask(mode & (0777u | S_ISVTX)) };

    return make(dirfd, path, &m);
}

long sys_mkdir(const char __user *path, unsigned mode)
{
    return sys_mkdirat(AT_FDCWD, path, mode);
}

long sys_mknodat(int dirfd, const char __user *path, unsigned mode, unsigned dev)
{
    struct making m = { .mode = without_umask(mode & (S_IFMT | S_PERM)) };

    switch (mode & S_IFMT) {
    case 0:
        m.mode |= S_IFREG;
        break;
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
        break;
    case S_IFCHR:
    case S_IFBLK:
        if (!cred_is_capable(current->cred, CAP_MKNOD)) {
            return -EPERM;
        }
        m.rdev = dev_make((dev & 0xfff00u) >> 8, (dev & 0xffu) | ((dev >> 12) & 0xfff00u));
        break;
    case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
    return make(dirfd, path, &m);
}

long sys_mknod(const char __user *path, unsigned mode, unsigned dev)
{
    return sys_mknodat(AT_FDCWD, path, mode, dev);
}

long sys_symlinkat(const char __user *target, int dirfd, const char __user *path)
{
    struct making m = { .mode = S_IFLNK | 0777 };
    char *text;
    long err = name_get(target, &text);

    if (err < 0) {
        return err;
    }
    m.target = text;
    err = *text ? make(dirfd, path, &m) : -ENOENT;
    name_put(text);
    return err;
}

long sys_symlink(const char __user *target, const char __user *path)
{
    return sys_symlinkat(target, AT_FDCWD, path);
}

static int link_locked(struct change *c, struct inode *target)
{
    int err;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): change_lock() has found it */
    if (c->child->inode) {
        return -EEXIST;
    }
    if (c->at.has_slash) {
        return -ENOENT;
    }
    if (path_is_read_only(&c->at.dir)) {
        return -EROFS;
    }
    if (S_ISDIR(target->mode)) {
        return -EPERM;
    }
    if (target->sb != c->dir->sb) {
        return -EXDEV;
    }
    err = inode_permission(c->dir, current->cred, MAY_WRITE | MAY_EXEC);
    if (err < 0) {
        return err;
    }
    return c->dir->ops->link ? c->dir->ops->link(c->dir, &c->at.name, target) : -EPERM;
}

long sys_linkat(int from_fd, const char __user *from, int to_fd, const char __user *to, int flags)
{
    unsigned lookup = (unsigned)flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0u;
    struct change c;
    struct path old;
    char *name;
    int err;

    if ((unsigned)flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    if ((unsigned)flags & AT_EMPTY_PATH) {
        lookup |= LOOKUP_EMPTY;
    }
    err = name_get(from, &name);
    if (err < 0) {
        return err;
    }
    err = path_lookup(from_fd, name, lookup, &old);
    name_put(name);
    if (err < 0) {
        return err;
    }
    err = change_begin(to_fd, to, &c);
    if (err < 0) {
        path_put(&old);
        return err;
    }
    if (c.at.kind != NAME_NORMAL) {
        err = -EEXIST;
    } else if (c.at.dir.mount != old.mount) {
        err = -EXDEV;
    } else {
        err = change_lock(&c);
        if (err == 0) {
            err = link_locked(&c, old.dentry->inode);
            if (err == 0) {
                dentry_fill(c.child, inode_get(old.dentry->inode));
            }
            change_unlock(&c);
        }
    }
    change_end(&c);
    path_put(&old);
    return err;
}

long sys_link(const char __user *from, const char __user *to)
{
    return sys_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* --- names that go ---------------------------------------------------------------------------- */

/* Kind and rights of an entry that is to be removed or replaced. */
static int check_victim(const struct path *dir, const struct dentry *victim, bool wants_directory)
{
    if (!victim->inode) {
        return -ENOENT;
    }
    if (path_is_read_only(dir)) {
        return -EROFS;
    }
    int err = inode_may_delete(dir->dentry->inode, victim->inode, current->cred);

    if (err < 0) {
        return err;
    }
    if (wants_directory && !S_ISDIR(victim->inode->mode)) {
        return -ENOTDIR;
    }
    if (!wants_directory && S_ISDIR(victim->inode->mode)) {
        return -EISDIR;
    }
    return victim->mount_count > 0 ? -EBUSY : 0;
}

static int unlink_locked(struct change *c)
{
    int err = check_victim(&c->at.dir, c->child, false);

    if (err == 0 && c->at.has_slash) {
        err = -ENOTDIR;
    }
    if (err == 0) {
        err = c->dir->ops->unlink ? c->dir->ops->unlink(c->dir, &c->at.name, c->child->inode)
                                  : -EPERM;
    }
    if (err == 0) {
        dentry_delete(c->child);
    }
    return err;
}

static int rmdir_locked(struct change *c)
{
    struct inode *victim = c->child->inode;
    int err = check_victim(&c->at.dir, c->child, true);

    if (err < 0) {
        return err;
    }
    if (!c->dir->ops->rmdir || victim == c->dir) {
        return -EPERM;
    }
    /* Nobody makes a name in it from now on. */
    rwsem_write_lock(&victim->lock);
    err = c->dir->ops->rmdir(c->dir, &c->at.name, victim);
    if (err == 0) {
        dentry_delete(c->child);
    }
    rwsem_write_unlock(&victim->lock);
    return err;
}

static long remove_at(int dirfd, const char __user *path, bool is_directory)
{
    struct change c;
    struct inode *victim = NULL;
    int err = change_begin(dirfd, path, &c);

    if (err < 0) {
        return err;
    }
    switch (c.at.kind) {
    case NAME_NORMAL:
        err = change_lock(&c);
        break;
    case NAME_DOT:
        err = is_directory ? -EINVAL : -EISDIR;
        break;
    case NAME_DOT_DOT:
        err = is_directory ? -ENOTEMPTY : -EISDIR;
        break;
    case NAME_ROOT:
        err = is_directory ? -EBUSY : -EISDIR;
        break;
    }
    if (err == 0) {
        victim = c.child->inode ? inode_get(c.child->inode) : NULL;
        err = is_directory ? rmdir_locked(&c) : unlink_locked(&c);
        change_unlock(&c);
    }
    if (victim) {
        inode_put(victim); /* its pages may go now, with no lock held */
    }
    change_end(&c);
    return err;
}

long sys_unlinkat(int dirfd, const char __user *path, int flags)
{
    if ((unsigned)flags & ~AT_REMOVEDIR) {
        return -EINVAL;
    }
    return remove_at(dirfd, path, ((unsigned)flags & AT_REMOVEDIR) != 0);
}

long sys_unlink(const char __user *path)
{
    return remove_at(AT_FDCWD, path, false);
}

long sys_rmdir(const char __user *path)
{
    return remove_at(AT_FDCWD, path, true);
}

/* --- rename ----------------------------------------------------------------------------------- */

static struct mutex rename_mutex; /* directories move only under it: ancestors stay ancestors */

void names_init(void)
{
    mutex_init(&rename_mutex, RANK_RENAME);
}

static bool is_ancestor(const struct dentry *above, const struct dentry *d)
{
    bool found = false;

    spin_lock(&dentry_lock);
    for (; !found; d = d->parent) {
        found = d == above;
        if (d->parent == d) {
            break;
        }
    }
    spin_unlock(&dentry_lock);
    return found;
}

/* Parent before child, then by address; one lock if it is one directory. */
static void lock_directories(struct change *a, struct change *b)
{
    struct change *first = a;
    struct change *second = b;

    if (a->dir == b->dir) {
        rwsem_write_lock(&a->dir->lock);
        return;
    }
    if (is_ancestor(b->at.dir.dentry, a->at.dir.dentry) ||
        (!is_ancestor(a->at.dir.dentry, b->at.dir.dentry) && b->dir < a->dir)) {
        first = b;
        second = a;
    }
    rwsem_write_lock(&first->dir->lock);
    rwsem_write_lock(&second->dir->lock);
}

static void unlock_directories(struct change *a, struct change *b)
{
    rwsem_write_unlock(&a->dir->lock);
    if (a->dir != b->dir) {
        rwsem_write_unlock(&b->dir->lock);
    }
}

static int check_rename(const struct change *from, const struct change *to, unsigned flags)
{
    const struct inode *moved = from->child->inode;
    const struct inode *other = to->child->inode;
    bool is_directory;
    int err;

    /* The order is Linux's: programs tell these cases apart by their numbers. */
    if (!moved) {
        return -ENOENT;
    }
    if (other && (flags & RENAME_NOREPLACE)) {
        return -EEXIST;
    }
    if (flags & RENAME_EXCHANGE) {
        if (!other) {
            return -ENOENT;
        }
        if (!S_ISDIR(other->mode) && to->at.has_slash) {
            return -ENOTDIR;
        }
    }
    is_directory = S_ISDIR(moved->mode);
    if (!is_directory && (from->at.has_slash || (to->at.has_slash && !(flags & RENAME_EXCHANGE)))) {
        return -ENOTDIR;
    }
    if (is_ancestor(from->child, to->at.dir.dentry)) {
        return -EINVAL;
    }
    if (is_ancestor(to->child, from->at.dir.dentry)) {
        return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
    }
    if (moved == other) {
        return 0;
    }
    err = check_victim(&from->at.dir, from->child, is_directory);
    if (err < 0) {
        return err;
    }
    if (!other) {
        return inode_permission(to->dir, current->cred, MAY_WRITE | MAY_EXEC);
    }
    return check_victim(&to->at.dir, to->child,
                        flags & RENAME_EXCHANGE ? S_ISDIR(other->mode) : is_directory);
}

static int rename_locked(struct change *from, struct change *to, unsigned flags)
{
    struct inode *other = to->child->inode;
    bool locks_other = false;
    char *heap = NULL;
    int err = check_rename(from, to, flags);

    if (err < 0) {
        return err;
    }
    if (from->child->inode == other) {
        return 0; /* two names of one file: nothing happens */
    }
    if (!from->dir->ops->rename) {
        return -EPERM;
    }
    err = dentry_move_prepare(from->child, &to->at.name, &heap);
    if (err < 0) {
        return err;
    }
    if (other && S_ISDIR(other->mode) && !(flags & RENAME_EXCHANGE)) {
        locks_other = true; /* it must stay empty */
        rwsem_write_lock(&other->lock);
    }
    err = from->dir->ops->rename(from->dir, &from->at.name, from->child->inode, to->dir,
                                 &to->at.name, other, flags);
    if (err < 0) {
        kfree(heap);
    } else if (flags & RENAME_EXCHANGE) {
        kfree(heap);
        dentry_exchange(from->child, to->child);
    } else {
        dentry_prune(to->child);
        dentry_move(from->child, to->child, heap);
    }
    if (locks_other) {
        rwsem_write_unlock(&other->lock);
    }
    return err;
}

static int rename_places(struct change *from, struct change *to, unsigned flags)
{
    int err;

    if (from->at.dir.mount != to->at.dir.mount) {
        return -EXDEV;
    }
    if (from->at.kind != NAME_NORMAL) {
        return -EBUSY;
    }
    if (to->at.kind != NAME_NORMAL) {
        return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    }
    mutex_lock(&rename_mutex);
    lock_directories(from, to);
    if (from->at.dir.dentry->is_deleted || to->at.dir.dentry->is_deleted) {
        err = -ENOENT;
    } else {
        err = dentry_lookup(from->at.dir.dentry, &from->at.name, &from->child);
    }
    if (err == 0) {
        err = dentry_lookup(to->at.dir.dentry, &to->at.name, &to->child);
        if (err == 0) {
            err = rename_locked(from, to, flags);
            unlock_directories(from, to);
            dentry_put(to->child);
        } else {
            unlock_directories(from, to);
        }
        dentry_put(from->child);
    } else {
        unlock_directories(from, to);
    }
    mutex_unlock(&rename_mutex);
    return err;
}

long sys_renameat2(int from_fd, const char __user *from, int to_fd, const char __user *to,
                   unsigned flags)
{
    struct change a;
    struct change b;
    int err;

    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return -EINVAL;
    }
    err = change_begin(from_fd, from, &a);
    if (err < 0) {
        return err;
    }
    err = change_begin(to_fd, to, &b);
    if (err == 0) {
        err = rename_places(&a, &b, flags);
        change_end(&b);
    }
    change_end(&a);
    return err;
}

long sys_renameat(int from_fd, const char __user *from, int to_fd, const char __user *to)
{
    return sys_renameat2(from_fd, from, to_fd, to, 0);
}

long sys_rename(const char __user *from, const char __user *to)
{
    return sys_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* --- readlink --------------------------------------------------------------------------------- */

long sys_readlinkat(int dirfd, const char __user *path, void __user *buf, int size)
{
    struct inode *inode;
    const char *text;
    struct path p;
    char *name;
    long n;

    if (size <= 0) {
        return -EINVAL;
    }
    n = name_get(path, &name);
    if (n < 0) {
        return n;
    }
    n = path_lookup(dirfd, name, LOOKUP_EMPTY, &p);
    if (n == 0 && *name == '\0' && !S_ISLNK(p.dentry->inode->mode)) {
        path_put(&p);
        n = -ENOENT;
    }
    if (n < 0) {
        name_put(name);
        return n;
    }
    inode = p.dentry->inode;
    text = inode->link;
    /* NOLINTNEXTLINE(bugprone-branch-clone): two reasons, one answer */
    if (!S_ISLNK(inode->mode)) {
        n = -EINVAL;
    } else if (text) {
        n = inode->link_size;
    } else if (inode->ops->readlink) {
        n = inode->ops->readlink(inode, name, PATH_MAX); /* the name is not needed any more */
        text = name;
    } else {
        n = -EINVAL;
    }
    if (n > 0) {
        n = min_of(n, (long)size);
        if (copy_to_user(buf, text, (size_t)n) < 0) {
            n = -EFAULT;
        }
    }
    path_put(&p);
    name_put(name);
    return n;
}

long sys_readlink(const char __user *path, void __user *buf, int size)
{
    return sys_readlinkat(AT_FDCWD, path, buf, size);
}

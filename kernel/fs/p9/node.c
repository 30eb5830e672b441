/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes: found by qid path, refreshed, freed with their fids. */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/p9/p9.h>
#include <ipc/fifo.h>
#include <mm/slab.h>
#include <sched/timer.h>

#define ATTR_SIZE_ON_WIRE 153u
#define GETATTR_BASIC     UINT64_C(0x7ff)
#define REFRESH_NS        UINT64_C(2000000)

/* Tsetattr's valid bits. */
enum {
    SET_MODE = 0x1,
    SET_UID = 0x2,
    SET_GID = 0x4,
    SET_SIZE = 0x8,
    SET_ATIME = 0x10,
    SET_MTIME = 0x20,
    SET_ATIME_TO = 0x80,
    SET_MTIME_TO = 0x100,
};

static struct slab_cache node_cache = SLAB_CACHE("p9_node", struct p9_node);

/* --- attributes ------------------------------------------------------------------------------- */

static struct timestamp get_time(struct p9_get *g)
{
    struct timestamp t = { .sec = (int64_t)p9_get64(g) };

    t.nsec = (uint32_t)(p9_get64(g) % 1000000000u);
    return t;
}

static bool is_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return true;
    default:
        return false;
    }
}

int p9_get_attr(struct p9_get *g, struct p9_attr *a)
{
    (void)p9_get64(g); /* valid */
    (void)p9_get8(g);
    (void)p9_get32(g);
    a->path = p9_get64(g);
    a->mode = p9_get32(g) & (S_IFMT | S_PERM);
    a->uid = p9_get32(g);
    a->gid = p9_get32(g);
    a->nlink = p9_get64(g);
    a->rdev = p9_get64(g);
    a->size = p9_get64(g);
    (void)p9_get64(g); /* block size */
    a->blocks = p9_get64(g);
    a->atime = get_time(g);
    a->mtime = get_time(g);
    a->ctime = get_time(g);
    return g->is_short || !is_type(a->mode) || a->size > INT64_MAX ? -EIO : 0;
}

int p9_fetch_attr(struct p9_session *s, uint32_t fid, struct p9_attr *a)
{
    struct p9_call *c = p9_begin(s, P9_TGETATTR, 12, ATTR_SIZE_ON_WIRE);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, fid);
    p9_put64(&c->put, GETATTR_BASIC);
    err = p9_run(s, c);
    err = err < 0 ? err : p9_get_attr(&c->get, a);
    p9_end(c);
    return err;
}

static void apply(struct p9_node *n, const struct p9_attr *a)
{
    struct inode *i = &n->inode;

    if (((a->mode ^ i->mode) & S_IFMT) != 0) {
        return; /* a server may lie; a type does not change */
    }
    i->mode = a->mode;
    i->uid = a->uid;
    i->gid = a->gid;
    i->nlink = (uint32_t)min_of(a->nlink, (uint64_t)UINT32_MAX);
    i->blocks = a->blocks;
    i->atime = a->atime;
    i->mtime = a->mtime;
    i->ctime = a->ctime;
    __atomic_store_n(&i->size, a->size, __ATOMIC_RELEASE);
    n->fetched_ns = clock_monotonic_ns();
}

void p9_refresh(struct inode *inode)
{
    struct p9_node *n = p9_node_of(inode);
    struct p9_attr a;

    /* What cannot be asked for any more (removed meanwhile, on some servers) stays as it was. */
    if (p9_fetch_attr(n->fs->session, n->fid, &a) == 0 && a.path == n->path) {
        apply(n, &a);
    }
}

void p9_refresh_old(struct p9_node *n)
{
    if (clock_monotonic_ns() - n->fetched_ns > REFRESH_NS) {
        p9_refresh(&n->inode);
    }
}

static void refresh_before_stat(struct inode *inode)
{
    p9_refresh_old(p9_node_of(inode));
}

int p9_setattr(struct inode *inode, const struct attr *a)
{
    struct p9_node *n = p9_node_of(inode);
    struct p9_call *c = p9_begin(n->fs->session, P9_TSETATTR, 60, 0);
    uint32_t valid = 0;
    int err;

    if (!c) {
        return -ENOMEM;
    }
    valid |= a->mask & ATTR_MODE ? SET_MODE : 0u;
    valid |= a->mask & ATTR_UID ? SET_UID : 0u;
    valid |= a->mask & ATTR_GID ? SET_GID : 0u;
    valid |= a->mask & ATTR_SIZE ? SET_SIZE : 0u;
    valid |= a->mask & ATTR_ATIME ? SET_ATIME | SET_ATIME_TO : 0u;
    /* Truncation sets the time by itself, with the host's clock as every write does. */
    valid |= (a->mask & ATTR_MTIME) && !(a->mask & ATTR_SIZE) ? SET_MTIME | SET_MTIME_TO : 0u;
    p9_put32(&c->put, n->fid);
    p9_put32(&c->put, valid);
    p9_put32(&c->put, a->mode & S_PERM);
    p9_put32(&c->put, a->uid);
    p9_put32(&c->put, a->gid);
    p9_put64(&c->put, a->size);
    p9_put64(&c->put, (uint64_t)a->atime.sec);
    p9_put64(&c->put, a->atime.nsec);
    p9_put64(&c->put, (uint64_t)a->mtime.sec);
    p9_put64(&c->put, a->mtime.nsec);
    err = valid ? p9_run(n->fs->session, c) : 0;
    p9_end(c);
    if (err < 0) {
        return err;
    }
    if ((a->mask & ATTR_SIZE) && S_ISREG(inode->mode)) {
        mapping_drop(&inode->mapping, 0, UINT64_MAX);
    }
    p9_refresh(inode);
    return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

static void set_ops(struct inode *i)
{
    switch (i->mode & S_IFMT) {
    case S_IFDIR:
        i->ops = &p9_dir_ops;
        i->file_ops = &directory_file_ops;
        break;
    case S_IFREG:
        i->ops = &p9_file_inode_ops;
        i->file_ops = &p9_file_ops;
        mapping_init(&i->mapping, &p9_mapping_ops, i);
        break;
    case S_IFIFO:
        i->ops = &p9_other_ops;
        i->file_ops = &fifo_ops;
        break;
    default:
        i->ops = &p9_other_ops;
        break;
    }
}

static int read_target(struct p9_node *n)
{
    struct p9_call *c = p9_begin(n->fs->session, P9_TREADLINK, 4, 2 + PATH_MAX);
    const uint8_t *text;
    uint16_t size;
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, n->fid);
    err = p9_run(n->fs->session, c);
    size = err < 0 ? 0 : p9_get16(&c->get);
    text = err < 0 ? NULL : p9_get_bytes(&c->get, size);
    if (err == 0 && (!text || size == 0 || size >= PATH_MAX || memchr(text, '\0', size))) {
        err = -EIO;
    }
    if (err == 0) {
        n->target = kmalloc((size_t)size + 1, GFP_KERNEL);
        err = n->target ? 0 : -ENOMEM;
    }
    if (err == 0) {
        memcpy(n->target, text, size);
        n->target[size] = '\0';
        n->inode.link = n->target;
        n->inode.link_size = size;
    }
    p9_end(c);
    return err;
}

static struct p9_node *node_alloc(struct p9_fs *fs, const struct p9_attr *a, uint32_t fid)
{
    struct p9_node *n = slab_alloc(&node_cache, GFP_KERNEL);

    if (!n) {
        return NULL;
    }
    memset(n, 0, sizeof(*n));
    inode_init(&n->inode, fs->sb, a->path, a->mode);
    n->fs = fs;
    n->path = a->path;
    n->fid = fid;
    atomic_init(&n->list_fid, P9_FID_NONE);
    atomic_init(&n->page_fid, P9_FID_NONE);
    atomic_init(&n->fresh_fid, P9_FID_NONE);
    n->inode.rdev = a->rdev; /* both ends use the 64-bit form of st_rdev */
    list_init(&n->bucket_link);
    set_ops(&n->inode);
    return n;
}

static struct list *bucket_of(struct p9_fs *fs, uint64_t path)
{
    return &fs->buckets[(path ^ path >> 8) % P9_BUCKETS];
}

static struct p9_node *find_locked(struct p9_fs *fs, uint64_t path, uint32_t mode)
{
    struct p9_node *n;

    list_for_each_entry(n, bucket_of(fs, path), bucket_link) {
        if (n->path == path && ((n->inode.mode ^ mode) & S_IFMT) == 0 &&
            ref_get_unless_zero(&n->inode.ref)) {
            return n;
        }
    }
    return NULL;
}

int p9_node_get(struct p9_fs *fs, const struct p9_attr *a, uint32_t fid, struct p9_node **out)
{
    struct p9_node *fresh;
    struct p9_node *n;
    int err = 0;

    spin_lock(&fs->lock);
    n = find_locked(fs, a->path, a->mode);
    spin_unlock(&fs->lock);
    if (n) {
        p9_clunk(fs->session, fid);
    } else {
        fresh = node_alloc(fs, a, fid);
        if (!fresh) {
            p9_clunk(fs->session, fid);
            return -ENOMEM;
        }
        if (S_ISLNK(a->mode)) {
            err = read_target(fresh);
        }
        if (err < 0) {
            inode_put(&fresh->inode);
            return err;
        }
        spin_lock(&fs->lock);
        n = find_locked(fs, a->path, a->mode);
        if (!n) {
            list_push_front(bucket_of(fs, a->path), &fresh->bucket_link);
            n = fresh;
            fresh = NULL;
        }
        spin_unlock(&fs->lock);
        if (fresh) {
            inode_put(&fresh->inode);
        }
    }
    apply(n, a);
    n->checked_ns = n->fetched_ns;
    *out = n;
    return 0;
}

bool p9_is_current(struct inode *inode)
{
    const struct p9_node *n = p9_node_of(inode);

    return n->fs->cache_ns > 0 && clock_monotonic_ns() - n->checked_ns < n->fs->cache_ns;
}

void p9_evict(struct inode *inode)
{
    struct p9_node *n = p9_node_of(inode);
    struct p9_session *s = n->fs->session;

    if (S_ISREG(inode->mode)) {
        mapping_drop(&inode->mapping, 0, UINT64_MAX);
    }
    spin_lock(&n->fs->lock);
    list_remove(&n->bucket_link);
    spin_unlock(&n->fs->lock);
    p9_clunk(s, atomic_load_explicit(&n->list_fid, memory_order_relaxed));
    p9_clunk(s, atomic_load_explicit(&n->page_fid, memory_order_relaxed));
    p9_clunk(s, atomic_load_explicit(&n->fresh_fid, memory_order_relaxed));
    p9_clunk(s, n->fid);
    kfree(n->target);
}

void p9_free(struct inode *inode)
{
    slab_free(&node_cache, p9_node_of(inode));
}

/* --- lookup ----------------------------------------------------------------------------------- */

static struct p9_hint *hint_of(struct p9_fs *fs, uint64_t dir, uint32_t hash)
{
    return &fs->hints[(hash ^ (uint32_t)dir * 31u) % P9_HINTS];
}

/* The inode that the name had the last time, if it still lives; counted. */
static struct p9_node *remembered(struct p9_fs *fs, uint64_t dir, const struct name *name)
{
    const struct p9_hint *h = hint_of(fs, dir, name->hash);
    struct p9_node *n = NULL;
    struct p9_node *found;

    spin_lock(&fs->lock);
    if (h->path != 0 && h->dir == dir && h->hash == name->hash) {
        list_for_each_entry(found, bucket_of(fs, h->path), bucket_link) {
            if (found->path == h->path && ref_get_unless_zero(&found->inode.ref)) {
                n = found;
                break;
            }
        }
    }
    spin_unlock(&fs->lock);
    return n;
}

static void remember(struct p9_fs *fs, uint64_t dir, const struct name *name, uint64_t path)
{
    spin_lock(&fs->lock);
    *hint_of(fs, dir, name->hash) = (struct p9_hint){ dir, name->hash, path };
    spin_unlock(&fs->lock);
}

/* Our monitor's way: one message. */
static int lookup_extended(struct p9_node *dir, const struct name *name, struct p9_node **out)
{
    struct p9_fs *fs = dir->fs;
    struct p9_session *s = fs->session;
    struct p9_call *c = p9_begin(s, P9_TLOOKUP, 18 + name->length, 1 + ATTR_SIZE_ON_WIRE);
    struct p9_node *known = remembered(fs, dir->path, name);
    uint32_t fid = p9_new_fid(s);
    struct p9_attr a;
    bool is_bound = false;
    int err = c ? 0 : -ENOMEM;

    if (err == 0) {
        p9_put32(&c->put, dir->fid);
        p9_put32(&c->put, fid);
        p9_put64(&c->put, known ? known->path : 0);
        p9_put_text(&c->put, name->text, name->length);
        err = p9_run_making_fid(s, c);
    }
    if (err == 0) {
        is_bound = p9_get8(&c->get) != 0;
        err = p9_get_attr(&c->get, &a);
        if (err < 0 && is_bound) {
            p9_clunk(s, fid);
        }
    }
    if (c) {
        p9_end(c);
    }
    if (err == 0 && is_bound) {
        err = p9_node_get(fs, &a, fid, out);
        if (err == 0) {
            remember(fs, dir->path, name, a.path);
        }
    } else if (err == 0) {
        err = known && known->path == a.path && ((known->inode.mode ^ a.mode) & S_IFMT) == 0 ? 0
                                                                                             : -EIO;
        if (err == 0) {
            apply(known, &a);
            known->checked_ns = known->fetched_ns;
            *out = known;
            return 0;
        }
    }
    if (known) {
        inode_put(&known->inode);
    }
    return err;
}

static int lookup_plain(struct p9_node *dir, const struct name *name, struct p9_node **out)
{
    struct p9_session *s = dir->fs->session;
    struct p9_call *c = p9_begin(s, P9_TWALK, 12 + name->length, 2 + 13);
    uint32_t fid = p9_new_fid(s);
    struct p9_attr a;
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, dir->fid);
    p9_put32(&c->put, fid);
    p9_put16(&c->put, 1);
    p9_put_text(&c->put, name->text, name->length);
    err = p9_run_making_fid(s, c);
    if (err == 0 && p9_get16(&c->get) != 1) {
        err = -ENOENT; /* nothing walked, so no fid */
    }
    p9_end(c);
    if (err < 0) {
        return err;
    }
    err = p9_fetch_attr(s, fid, &a);
    if (err < 0) {
        p9_clunk(s, fid);
        return err;
    }
    return p9_node_get(dir->fs, &a, fid, out);
}

int p9_lookup(struct inode *inode, const struct name *name, struct inode **out)
{
    struct p9_node *dir = p9_node_of(inode);
    struct p9_node *n;
    int err = dir->fs->session->has_extensions ? lookup_extended(dir, name, &n)
                                               : lookup_plain(dir, name, &n);

    if (err == 0) {
        *out = &n->inode;
    }
    return err;
}

const struct inode_ops p9_file_inode_ops = {
    .setattr = p9_setattr,
    .refresh = refresh_before_stat,
    .is_current = p9_is_current,
    .evict = p9_evict,
    .free = p9_free,
};

/* Links, fifos, sockets, devices. */
const struct inode_ops p9_other_ops = {
    .setattr = p9_setattr,
    .refresh = refresh_before_stat,
    .is_current = p9_is_current,
    .evict = p9_evict,
    .free = p9_free,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of tmpfs: entries in memory by name and by order of making, above those of the image.
 * A change takes what memory it needs before it changes anything.
 */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/fcntl.h>
#include <fs/listing.h>
#include <fs/tmpfs/tmpfs.h>
#include <mm/slab.h>

#define LOWER_COOKIE (UINT64_C(1) << 62) /* positions from here on are in the image's directory */

/* --- entries in memory ------------------------------------------------------------------------ */

static int compare(const struct name *name, const struct tmpfs_entry *e)
{
    if (name->hash != e->hash) {
        return name->hash < e->hash ? -1 : 1;
    }
    if (name->length != e->length) {
        return name->length < e->length ? -1 : 1;
    }
    return memcmp(name->text, e->name, name->length);
}

static struct tmpfs_entry *entry_find(const struct tmpfs_node *dir, const struct name *name)
{
    struct rb_node *at = dir->names.node;

    while (at) {
        struct tmpfs_entry *e = rb_entry(at, struct tmpfs_entry, by_name);
        int order = compare(name, e);

        if (order == 0) {
            return e;
        }
        at = order < 0 ? at->left : at->right;
    }
    return NULL;
}

static struct tmpfs_entry *entry_alloc(const struct name *name)
{
    struct tmpfs_entry *e = kmalloc(sizeof(*e) + name->length, GFP_KERNEL);

    if (e) {
        e->node = NULL;
        e->hash = name->hash;
        e->length = name->length;
        memcpy(e->name, name->text, name->length);
    }
    return e;
}

static void entry_insert(struct tmpfs_node *dir, struct tmpfs_entry *e)
{
    const struct name name = { .text = e->name, .length = e->length, .hash = e->hash };
    struct rb_node **link = &dir->names.node;
    struct rb_node *parent = NULL;

    while (*link) {
        parent = *link;
        link = compare(&name, rb_entry(parent, struct tmpfs_entry, by_name)) < 0 ? &parent->left
                                                                                 : &parent->right;
    }
    rb_link(&e->by_name, parent, link);
    rb_insert_fixup(&dir->names, &e->by_name);

    e->order = dir->next_order++; /* the highest: always rightmost */
    parent = rb_last(&dir->order);
    rb_link(&e->by_order, parent, parent ? &parent->right : &dir->order.node);
    rb_insert_fixup(&dir->order, &e->by_order);
}

static void entry_remove(struct tmpfs_node *dir, struct tmpfs_entry *e)
{
    rb_remove(&dir->names, &e->by_name);
    rb_remove(&dir->order, &e->by_order);
}

void tmpfs_dir_clear(struct tmpfs_node *dir, struct list *doomed)
{
    struct rb_node *at;

    while ((at = dir->names.node) != NULL) {
        struct tmpfs_entry *e = rb_entry(at, struct tmpfs_entry, by_name);
        struct tmpfs_node *n = e->node;

        entry_remove(dir, e);
        kfree(e);
        if (n && S_ISDIR(n->inode.mode) && !list_is_linked(&n->doom_link)) {
            list_push_back(doomed, &n->doom_link); /* its reference goes along */
        } else if (n) {
            inode_put(&n->inode);
        }
    }
}

/* --- the image below -------------------------------------------------------------------------- */

static int lower_find(struct tmpfs_node *dir, const struct name *name, uint64_t *nid)
{
    if (!dir->has_lower) {
        return -ENOENT;
    }
    return erofs_lookup(&dir->fs->lower, &dir->lower, name->text, name->length, nid);
}

/* In doubt (I/O error) true: a needless whiteout harms nobody. */
static bool lower_has(struct tmpfs_node *dir, const struct name *name)
{
    uint64_t nid;

    return lower_find(dir, name, &nid) != -ENOENT;
}

/* --- a name's value, in two steps: what may fail, then what cannot ------------------------------
 */

/* *spare: an entry to be used by entry_set() or entry_clear(), or NULL when none is needed. */
static int entry_prepare(struct tmpfs_node *dir, const struct name *name, bool is_clear,
                         struct tmpfs_entry **spare)
{
    *spare = NULL;
    if (entry_find(dir, name) || (is_clear && !lower_has(dir, name))) {
        return 0;
    }
    *spare = entry_alloc(name);
    return *spare ? 0 : -ENOMEM;
}

/* The name means `node` from now on (its reference is taken over); what it meant is returned. */
static struct tmpfs_node *entry_set(struct tmpfs_node *dir, const struct name *name,
                                    struct tmpfs_node *node, struct tmpfs_entry *spare)
{
    struct tmpfs_entry *e = entry_find(dir, name);
    struct tmpfs_node *old = NULL;

    if (e) {
        old = e->node;
        kfree(spare);
        if (!old) { /* was a whiteout: listed at the end, as a new name */
            entry_remove(dir, e);
            entry_insert(dir, e);
        }
    } else {
        e = spare;
        assert(e);
        entry_insert(dir, e);
    }
    e->node = node;
    return old;
}

/* The name is gone: hidden if the image has it. */
static struct tmpfs_node *entry_clear(struct tmpfs_node *dir, const struct name *name,
                                      struct tmpfs_entry *spare)
{
    struct tmpfs_entry *e = entry_find(dir, name);
    struct tmpfs_node *old = NULL;

    if (!e) {
        if (spare) {
            entry_insert(dir, spare);
        }
        return NULL;
    }
    old = e->node;
    e->node = NULL;
    kfree(spare);
    if (!lower_has(dir, name)) {
        entry_remove(dir, e);
        kfree(e);
    }
    return old;
}

static void dir_touched(struct tmpfs_node *dir)
{
    inode_touch(&dir->inode, ATTR_MTIME | ATTR_CTIME);
    tmpfs_changed(dir);
}

static void drop(struct tmpfs_node *n)
{
    if (n) {
        inode_put(&n->inode);
    }
}

/* --- inode operations ------------------------------------------------------------------------- */

static void fill_root_locked(struct inode *root, const struct name *only)
{
    struct tmpfs *fs = tmpfs_node_of(root)->fs;
    void (*fill)(struct inode * root, const struct name *only) = fs->fill;

    fs->fill = NULL; /* what it makes it looks up here */
    if (fill) {
        fill(root, only);
    }
    fs->fill = only ? fill : NULL;
}

/*
 * The names that are made at first sight. The caller holds the lock either way; held for reading it
 * is given up for a moment, which lookups and listings can stand: both look only afterwards.
 */
static void fill_root(struct inode *root, const struct name *only)
{
    if (rwsem_is_written(&root->lock)) {
        fill_root_locked(root, only);
        return;
    }
    rwsem_read_unlock(&root->lock);
    rwsem_write_lock(&root->lock);
    fill_root_locked(root, only);
    rwsem_write_unlock(&root->lock);
    rwsem_read_lock(&root->lock);
}

static bool wants_filling(const struct inode *dir)
{
    return tmpfs_node_of(dir)->fs->fill && dir == dir->sb->root;
}

static int tmpfs_lookup(struct inode *inode, const struct name *name, struct inode **out)
{
    struct tmpfs_node *dir = tmpfs_node_of(inode);
    struct tmpfs_node *n = NULL;
    struct tmpfs_entry *e;
    uint64_t nid;
    int err;

    e = dir->names.node ? entry_find(dir, name) : NULL;
    if (unlikely(!e && wants_filling(inode))) {
        fill_root(inode, name);
        e = dir->names.node ? entry_find(dir, name) : NULL;
    }
    if (e) {
        if (!e->node) {
            return -ENOENT;
        }
        *out = inode_get(&e->node->inode);
        return 0;
    }
    err = lower_find(dir, name, &nid);
    if (err == 0) {
        err = tmpfs_node_from_image(dir, nid, &n);
    }
    if (err == 0) {
        *out = &n->inode;
    }
    return err;
}

/* A new inode under a name that was checked not to exist. */
static int add_new(struct inode *inode, const struct name *name, struct tmpfs_node *n,
                   struct inode **out)
{
    struct tmpfs_node *dir = tmpfs_node_of(inode);
    struct tmpfs_entry *spare;
    int err = entry_prepare(dir, name, false, &spare);

    if (err < 0) {
        inode_put(&n->inode);
        return err;
    }
    if (inode->mode & S_ISGID) {
        n->inode.gid = inode->gid;
        if (S_ISDIR(n->inode.mode)) {
            n->inode.mode |= S_ISGID;
        }
    }
    *out = inode_get(&n->inode);
    drop(entry_set(dir, name, n, spare));
    dir_touched(dir);
    return 0;
}

static int tmpfs_create(struct inode *dir, const struct name *name, uint32_t mode, dev_t rdev,
                        struct inode **out)
{
    struct tmpfs_node *n;
    int err = tmpfs_node_create(dir->sb, mode, rdev, &n);

    return err < 0 ? err : add_new(dir, name, n, out);
}

static int tmpfs_mkdir(struct inode *dir, const struct name *name, uint32_t mode,
                       struct inode **out)
{
    struct tmpfs_node *n;
    int err = tmpfs_node_create(dir->sb, S_IFDIR | (mode & S_PERM), 0, &n);

    if (err == 0) {
        err = add_new(dir, name, n, out);
    }
    if (err == 0) {
        dir->nlink++;
    }
    return err;
}

static int tmpfs_symlink(struct inode *dir, const struct name *name, const char *target,
                         struct inode **out)
{
    struct tmpfs_node *n;
    int err = tmpfs_node_create(dir->sb, S_IFLNK | 0777, 0, &n);

    if (err < 0) {
        return err;
    }
    n->target = kstrdup(target, GFP_KERNEL);
    if (!n->target) {
        inode_put(&n->inode);
        return -ENOMEM;
    }
    n->inode.link = n->target;
    n->inode.link_size = (uint32_t)strlen(target);
    n->inode.size = n->inode.link_size;
    return add_new(dir, name, n, out);
}

static int tmpfs_tmpfile(struct inode *dir, uint32_t mode, struct inode **out)
{
    struct tmpfs_node *n;
    int err = tmpfs_node_create(dir->sb, S_IFREG | (mode & S_PERM), 0, &n);

    if (err == 0) {
        n->inode.nlink = 0;
        n->is_linkable = true;
        *out = &n->inode;
    }
    return err;
}

static int tmpfs_link(struct inode *inode, const struct name *name, struct inode *target)
{
    struct tmpfs_node *dir = tmpfs_node_of(inode);
    struct tmpfs_node *n = tmpfs_node_of(target);
    struct tmpfs_entry *spare;
    int err;

    if (target->nlink == UINT32_MAX) {
        return -EMLINK;
    }
    if (target->nlink == 0 && !n->is_linkable) {
        return -ENOENT;
    }
    err = entry_prepare(dir, name, false, &spare);
    if (err < 0) {
        return err;
    }
    inode_get(target);
    drop(entry_set(dir, name, n, spare));
    target->nlink++;
    n->is_linkable = false;
    inode_touch(target, ATTR_CTIME);
    tmpfs_changed(n);
    dir_touched(dir);
    return 0;
}

static int remove_name(struct inode *inode, const struct name *name, struct inode *target,
                       uint32_t links)
{
    struct tmpfs_node *dir = tmpfs_node_of(inode);
    struct tmpfs_entry *spare;
    struct tmpfs_node *old;
    int err = entry_prepare(dir, name, true, &spare);

    if (err < 0) {
        return err;
    }
    old = entry_clear(dir, name, spare);
    inode_touch(target, ATTR_CTIME);
    tmpfs_link_gone(tmpfs_node_of(target), links);
    drop(old);
    dir_touched(dir);
    return 0;
}

static int tmpfs_unlink(struct inode *dir, const struct name *name, struct inode *target)
{
    return remove_name(dir, name, target, 1);
}

/* 1: nothing visible in it. */
static int is_empty(struct tmpfs_node *dir)
{
    struct erofs_dir d;
    struct erofs_dirent entry;
    uint64_t pos = 0;
    int n;

    for (struct rb_node *at = rb_first(&dir->names); at; at = rb_next(at)) {
        if (rb_entry(at, struct tmpfs_entry, by_name)->node) {
            return 0;
        }
    }
    if (!dir->has_lower) {
        return 1;
    }
    erofs_dir_begin(&d, &dir->fs->lower, &dir->lower);
    while ((n = erofs_dir_next(&d, pos, &entry)) == 1) {
        struct name name = { .text = entry.name, .length = entry.name_length };

        pos = entry.next;
        if (entry.name[0] == '.' &&
            (name.length == 1 || (name.length == 2 && entry.name[1] == '.'))) {
            continue;
        }
        name.hash = name_hash(name.text, name.length);
        if (!entry_find(dir, &name)) { /* what was found there is a whiteout */
            break;
        }
    }
    erofs_dir_end(&d);
    return n < 0 ? n : n == 0;
}

static int tmpfs_rmdir(struct inode *dir, const struct name *name, struct inode *target)
{
    int empty = is_empty(tmpfs_node_of(target));
    int err;

    if (empty < 0) {
        return empty;
    }
    if (!empty) {
        return -ENOTEMPTY;
    }
    err = remove_name(dir, name, target, UINT32_MAX);
    if (err == 0 && dir->nlink > 2) {
        dir->nlink--;
    }
    return err;
}

static void move_dir_link(struct inode *from, struct inode *to)
{
    if (from != to) {
        if (from->nlink > 2) {
            from->nlink--;
        }
        to->nlink++;
    }
}

static int exchange(struct inode *from_dir, const struct name *from, struct inode *moved,
                    struct inode *to_dir, const struct name *to, struct inode *other)
{
    struct tmpfs_node *a = tmpfs_node_of(from_dir);
    struct tmpfs_node *b = tmpfs_node_of(to_dir);
    struct tmpfs_entry *spare_a;
    struct tmpfs_entry *spare_b;
    int err = entry_prepare(a, from, false, &spare_a);

    if (err < 0) {
        return err;
    }
    err = entry_prepare(b, to, false, &spare_b);
    if (err < 0) {
        kfree(spare_a);
        return err;
    }
    inode_get(moved);
    inode_get(other);
    drop(entry_set(a, from, tmpfs_node_of(other), spare_a));
    drop(entry_set(b, to, tmpfs_node_of(moved), spare_b));
    if (S_ISDIR(moved->mode)) {
        move_dir_link(from_dir, to_dir);
    }
    if (S_ISDIR(other->mode)) {
        move_dir_link(to_dir, from_dir);
    }
    return 0;
}

static int tmpfs_rename(struct inode *from_dir, const struct name *from, struct inode *moved,
                        struct inode *to_dir, const struct name *to, struct inode *replaced,
                        unsigned flags)
{
    struct tmpfs_node *a = tmpfs_node_of(from_dir);
    struct tmpfs_node *b = tmpfs_node_of(to_dir);
    struct tmpfs_entry *spare_to = NULL;
    struct tmpfs_entry *spare_from = NULL;
    int err = 0;

    if (flags & RENAME_EXCHANGE) {
        err = exchange(from_dir, from, moved, to_dir, to, replaced);
    } else {
        if (replaced && S_ISDIR(replaced->mode)) {
            int empty = is_empty(tmpfs_node_of(replaced));

            if (empty <= 0) {
                return empty < 0 ? empty : -ENOTEMPTY;
            }
        }
        err = entry_prepare(b, to, false, &spare_to);
        if (err < 0) {
            return err;
        }
        err = entry_prepare(a, from, true, &spare_from);
        if (err < 0) {
            kfree(spare_to);
            return err;
        }
        /* Commit. */
        inode_get(moved);
        drop(entry_set(b, to, tmpfs_node_of(moved), spare_to));
        drop(entry_clear(a, from, spare_from));
        if (replaced) {
            inode_touch(replaced, ATTR_CTIME);
            if (S_ISDIR(replaced->mode) && to_dir->nlink > 2) {
                to_dir->nlink--;
            }
            tmpfs_link_gone(tmpfs_node_of(replaced), S_ISDIR(replaced->mode) ? UINT32_MAX : 1);
        }
        if (S_ISDIR(moved->mode)) {
            move_dir_link(from_dir, to_dir);
        }
    }
    if (err == 0) {
        inode_touch(moved, ATTR_CTIME);
        tmpfs_changed(tmpfs_node_of(moved));
        dir_touched(a);
        dir_touched(b);
    }
    return err;
}

/* --- listing ---------------------------------------------------------------------------------- */

/* The first entry at or behind position `from`. */
static struct rb_node *order_find(const struct tmpfs_node *dir, uint64_t from)
{
    struct rb_node *at = dir->order.node;
    struct rb_node *best = NULL;

    while (at) {
        if (rb_entry(at, struct tmpfs_entry, by_order)->order >= from) {
            best = at;
            at = at->left;
        } else {
            at = at->right;
        }
    }
    return best;
}

static bool is_hidden(const struct tmpfs_node *dir, const struct erofs_dirent *entry)
{
    struct name name = { .text = entry->name,
                         .length = entry->name_length,
                         .hash = name_hash(entry->name, entry->name_length) };

    return entry_find(dir, &name) != NULL; /* listed from memory, or deleted */
}

static ALWAYS_INLINE bool is_dots(const struct erofs_dirent *entry)
{
    return unlikely(entry->name[0] == '.') &&
           (entry->name_length == 1 || (entry->name_length == 2 && entry->name[1] == '.'));
}

/* The current block's entries from *pos on. 1: all; 0: e has had enough; -EUCLEAN. */
static int list_block(const struct tmpfs_node *dir, const struct erofs_dir *d, uint64_t *pos,
                      struct dir_emit *e)
{
    struct listing *l = e->emit == listing_emit ? container_of(e, struct listing, emit) : NULL;
    struct erofs_entries block = erofs_dir_entries(d);
    uint64_t start = d->block_start;
    bool is_merged = dir->names.node != NULL; /* the directory's lock is held */
    uint32_t at = (uint32_t)(*pos - start) / EROFS_ENTRY_SIZE * EROFS_ENTRY_SIZE;

    for (; at < block.end; at += EROFS_ENTRY_SIZE) {
        struct erofs_dirent entry;

        if (unlikely(!erofs_entry_at(&block, at, &entry))) {
            erofs_dir_broken(d);
            return -EUCLEAN;
        }
        if (is_dots(&entry) || (is_merged && is_hidden(dir, &entry))) {
            continue;
        }
        uint64_t cookie = LOWER_COOKIE | (start + at + EROFS_ENTRY_SIZE);
        bool fits =
            likely(l != NULL)
                ? listing_add(l, entry.name, entry.name_length, entry.nid, entry.type, cookie)
                : e->emit(e, entry.name, entry.name_length, entry.nid, entry.type, cookie);

        if (!fits) {
            return 0;
        }
    }
    *pos = start + block.size; /* the next block's begin, or the directory's end */
    return 1;
}

static int list_lower(struct tmpfs_node *dir, uint64_t pos, struct dir_emit *e)
{
    struct erofs_dir d;
    int n;

    erofs_dir_begin(&d, &dir->fs->lower, &dir->lower);
    do {
        n = erofs_dir_load(&d, &pos);
        if (n == 1) {
            n = list_block(dir, &d, &pos, e);
        }
    } while (n == 1);
    erofs_dir_end(&d);
    return n;
}

static int tmpfs_readdir(struct inode *inode, uint64_t cookie, struct dir_emit *e)
{
    struct tmpfs_node *dir = tmpfs_node_of(inode);

    if (wants_filling(inode)) {
        fill_root(inode, NULL);
    }
    if (cookie < LOWER_COOKIE) {
        for (struct rb_node *at = order_find(dir, cookie); at; at = rb_next(at)) {
            const struct tmpfs_entry *entry = rb_entry(at, struct tmpfs_entry, by_order);

            if (entry->node && !e->emit(e, entry->name, entry->length, entry->node->inode.ino,
                                        DT_OF_MODE(entry->node->inode.mode), entry->order + 1)) {
                return 0;
            }
        }
        cookie = LOWER_COOKIE;
    }
    return dir->has_lower ? list_lower(dir, cookie - LOWER_COOKIE, e) : 0;
}

const struct inode_ops tmpfs_dir_ops = {
    .lookup = tmpfs_lookup,
    .create = tmpfs_create,
    .mkdir = tmpfs_mkdir,
    .symlink = tmpfs_symlink,
    .tmpfile = tmpfs_tmpfile,
    .link = tmpfs_link,
    .unlink = tmpfs_unlink,
    .rmdir = tmpfs_rmdir,
    .rename = tmpfs_rename,
    .readdir = tmpfs_readdir,
    .setattr = tmpfs_setattr,
    .refresh = tmpfs_refresh,
    .evict = tmpfs_evict,
    .free = tmpfs_free,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path walk: "..", symbolic links, mounts and the RESOLVE_* limits, in this one place.
 *
 * Everything cached is walked under dentry_lock without counting references. To ask a file system
 * (a name not cached, a link that must be computed) the walk pins where it is, gives the lock up,
 * and goes on with it again. Cost of a cached component: the name's bytes hashed once, one probe,
 * about 60 instructions.
 */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>

/*
 * Where the directories of recent names lie: most names of a program have one of a few beginnings.
 * Only walks that nobody could have been refused are remembered (each directory is open to
 * everybody), through file systems whose names stay. Uncounted: an entry is believed only while
 * dentry_changes has its value, and nothing on its way can go without counting. Under dentry_lock.
 */
#define PREFIXES   4u
#define PREFIX_MIN 9u
#define PREFIX_MAX 56u

static struct prefix {
    uint64_t changes;
    struct path base; /* what "/" meant */
    struct path at;
    uint32_t length; /* up to and with a slash */
    char text[PREFIX_MAX];
} prefixes[PREFIXES];

static unsigned prefix_next; /* to be replaced */

#define PREFIX_REFUSED                                                                             \
    (LOOKUP_NO_SYMLINKS | LOOKUP_BENEATH | LOOKUP_IN_ROOT | LOOKUP_NO_XDEV | LOOKUP_NO_MAGICLINKS)

struct walk {
    struct path at;   /* where we are */
    struct path base; /* what "/" means, and where ".." ends */
    struct path pin;  /* counted; keeps `at` alive while the lock is away */
    bool base_pinned;
    bool has_slash; /* the name asks for a directory */
    bool is_plain;  /* so far such that the way may be remembered */
    enum name_kind kind;
    unsigned flags;
    const char *name;    /* the text that the walk began with */
    const char *skipped; /* what follows its known prefix, or NULL */
    unsigned links;      /* followed, those of the caller included */
    unsigned depth;      /* texts that wait behind the link being walked */
    unsigned held_count;
    const char *rest; /* of the text being walked */
    struct name last;
    const char *outer[SYMLINK_DEPTH_MAX];

    struct {
        struct inode *link; /* counted: owns the text */
        char *text;         /* or kmalloc */
    } held[SYMLINK_DEPTH_MAX];
};

static bool path_is_same(const struct path *a, const struct path *b)
{
    return a->dentry == b->dentry && a->mount == b->mount;
}

/* Give the lock up; `at` and `base` stay alive. */
static void walk_unlock(struct walk *w)
{
    struct path old = w->pin;

    if (!w->base_pinned) {
        path_get(&w->base);
        w->base_pinned = true;
    }
    if (path_is_same(&old, &w->at)) {
        old.dentry = NULL;
    } else {
        path_get(&w->at);
        w->pin = w->at;
    }
    spin_unlock(&dentry_lock);
    if (old.dentry) {
        path_put(&old);
    }
}

/* Drops everything the walk holds; the lock is not held. */
static void walk_release(struct walk *w)
{
    if (w->pin.dentry) {
        path_put(&w->pin);
    }
    if (w->base_pinned) {
        path_put(&w->base);
    }
    while (w->held_count > 0) {
        w->held_count--;
        if (w->held[w->held_count].link) {
            inode_put(w->held[w->held_count].link);
        }
        kfree(w->held[w->held_count].text);
    }
}

static int may_search(struct walk *w, const struct inode *dir)
{
    if ((dir->mode & 0111) == 0111) {
        return 0; /* for everybody: no need to look who we are */
    }
    w->is_plain = false;
    return inode_permission(dir, current->cred, MAY_EXEC);
}

static int cross_mounts_locked(struct walk *w)
{
    while (unlikely(w->at.dentry->mount_count > 0)) {
        struct mount *m = mount_on_locked(w->at.mount, w->at.dentry);

        if (!m) {
            break;
        }
        if (w->flags & LOOKUP_NO_XDEV) {
            return -EXDEV;
        }
        w->at.mount = m;
        w->at.dentry = m->root;
    }
    return 0;
}

static int walk_up(struct walk *w)
{
    for (;;) {
        if (path_is_same(&w->at, &w->base)) {
            return w->flags & LOOKUP_BENEATH ? -EXDEV : 0;
        }
        if (w->at.dentry != w->at.mount->root) {
            w->at.dentry = w->at.dentry->parent;
            break;
        }
        if (!w->at.mount->parent || w->at.mount->parent == w->at.mount) {
            return 0;
        }
        if (w->flags & LOOKUP_NO_XDEV) {
            return -EXDEV;
        }
        w->at.dentry = w->at.mount->mountpoint;
        w->at.mount = w->at.mount->parent;
    }
    return cross_mounts_locked(w);
}

/* The child, valid while the lock is held. */
static int walk_child(struct walk *w, const struct name *name, struct dentry **out)
{
    struct dentry *d = dentry_find_locked(w->at.dentry, name);

    if (likely(d && !d->sb->never_caches)) {
        *out = d;
        return 0;
    }
    if (w->at.dentry->sb->never_caches) {
        w->is_plain = false;
    }
    for (;;) {
        struct inode *dir = w->at.dentry->inode;
        int err;

        walk_unlock(w);
        rwsem_read_lock(&dir->lock);
        err = dentry_lookup(w->at.dentry, name, &d);
        rwsem_read_unlock(&dir->lock);
        if (err < 0) {
            spin_lock(&dentry_lock);
            return err;
        }
        spin_lock(&dentry_lock);
        if (d->is_hashed) { /* the cache keeps it while we have the lock */
            atomic_fetch_sub_explicit(&d->refs, 1, memory_order_relaxed);
            *out = d;
            return 0;
        }
        spin_unlock(&dentry_lock); /* unlinked in between: ask again */
        dentry_put(d);
        spin_lock(&dentry_lock);
    }
}

/* Let `text` be walked next; what is left now waits. */
static int push_text(struct walk *w, const char *text)
{
    if (!*text) {
        return -ENOENT;
    }
    if (*text == '/') {
        if (w->flags & LOOKUP_BENEATH) {
            return -EXDEV;
        }
        if ((w->flags & LOOKUP_NO_XDEV) && w->at.mount != w->base.mount) {
            return -EXDEV;
        }
        w->at = w->base;
    }
    w->outer[w->depth++] = w->rest;
    w->rest = text;
    return 0;
}

/* A link whose text must be computed, or that jumps (procfs). */
static int follow_slow(struct walk *w, struct inode *link)
{
    struct path target = { 0 };
    char *text = NULL;
    ssize_t n = 0;

    w->is_plain = false;
    inode_get(link);
    w->held[w->held_count].link = link;
    w->held[w->held_count].text = NULL;
    w->held_count++;
    walk_unlock(w);
    if (link->ops->follow) {
        n = w->flags & (LOOKUP_NO_MAGICLINKS | LOOKUP_BENEATH | LOOKUP_IN_ROOT)
                ? -ELOOP
                : link->ops->follow(link, &target);
    } else if (link->ops->readlink) {
        text = kmalloc(PATH_MAX, GFP_KERNEL);
        n = text ? link->ops->readlink(link, text, PATH_MAX) : -ENOMEM;
        w->held[w->held_count - 1].text = text;
    } else {
        n = -EINVAL;
    }
    spin_lock(&dentry_lock);
    if (n < 0) {
        return (int)n;
    }
    if (text) {
        return push_text(w, text);
    }
    /* The jump's references become the pin; the old pin's go with a later unlock. */
    if ((w->flags & LOOKUP_NO_XDEV) && target.mount != w->at.mount) {
        spin_unlock(&dentry_lock);
        path_put(&target);
        spin_lock(&dentry_lock);
        return -EXDEV;
    }
    spin_unlock(&dentry_lock);
    if (w->pin.dentry) {
        path_put(&w->pin);
    }
    w->pin = target;
    w->at = target;
    spin_lock(&dentry_lock);
    return 0;
}

static int walk_link(struct walk *w, struct inode *link)
{
    if (++w->links > SYMLINK_DEPTH_MAX || (w->flags & LOOKUP_NO_SYMLINKS)) {
        return -ELOOP;
    }
    if (!link->link) {
        return follow_slow(w, link);
    }
    inode_get(link);
    w->held[w->held_count].link = link;
    w->held[w->held_count].text = NULL;
    w->held_count++;
    return push_text(w, link->link);
}

static bool is_all_walked(const struct walk *w)
{
    if (*w->rest) {
        return false;
    }
    for (unsigned i = 0; i < w->depth; i++) {
        if (*w->outer[i]) {
            return false;
        }
    }
    return true;
}

/*
 * Hash the component at p and find its end, eight bytes at a time. Bytes behind the terminator are
 * read but not used; a word never reaches into the next page.
 */
static const char *scan_name(const char *p, struct name *name)
{
    const char *start = p;
    uint64_t hash = 0;

    for (;;) {
        uint64_t word;
        uint64_t ends;

        if (likely(((uintptr_t)p & ~PAGE_MASK) <= PAGE_SIZE - 8)) {
            word = load_le64(p);
        } else {
            word = 0;
            for (unsigned i = 0; i < 8 && p[i] && p[i] != '/'; i++) {
                word |= (uint64_t)(uint8_t)p[i] << (8 * i);
            }
        }
        ends = bytes_zero(word) | bytes_zero(word ^ BYTES_OF('/'));
        if (ends) {
            unsigned n = bytes_first(ends);

            if (n > 0) {
                hash = name_hash_add(hash, word & (UINT64_MAX >> (64 - 8 * n)));
                p += n;
            }
            break;
        }
        hash = name_hash_add(hash, word);
        p += 8;
    }
    name->text = start;
    name->length = (uint32_t)(p - start);
    name->hash = name_hash_end(hash);
    return p;
}

/* Takes the next component off the text. False: nothing is left. */
static bool next_component(struct walk *w, struct name *name)
{
    const char *p = w->rest;
    for (;;) {
        while (*p == '/') {
            p++;
        }
        if (*p) {
            break;
        }
        if (w->depth == 0) {
            w->rest = p;
            return false;
        }
        p = w->outer[--w->depth];
    }
    p = scan_name(p, name);
    w->has_slash = *p == '/';
    while (*p == '/') {
        p++;
    }
    w->rest = p;
    return true;
}

static enum name_kind kind_of(const struct name *n)
{
    if (n->text[0] != '.' || n->length > 2) {
        return NAME_NORMAL;
    }
    if (n->length == 1) {
        return NAME_DOT;
    }
    return n->text[1] == '.' ? NAME_DOT_DOT : NAME_NORMAL;
}

/*
 * Does the name begin with this text? Beginnings differ in their last bytes rather than in their
 * first, so these are looked at first; they may lie behind the name's end, and then the rest tells.
 * Not all of the text may be there where a page ends: no then.
 */
static ALWAYS_INLINE bool begins_with(const char *name, const struct prefix *p)
{
    uint32_t n = p->length - 8;

    if (((uintptr_t)name & ~PAGE_MASK) + p->length > PAGE_SIZE ||
        load_le64(name + n) != load_le64(p->text + n)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i += 8) {
        if (load_le64(name + i) != load_le64(p->text + i)) {
            return false;
        }
    }
    return true;
}

/* Begin where the longest known prefix of the name ends. */
static void skip_prefix(struct walk *w)
{
    const struct prefix *best = NULL;

    for (const struct prefix *p = prefixes; p < prefixes + PREFIXES; p++) {
        if (p->changes == dentry_changes && p->length > (best ? best->length : 0) &&
            begins_with(w->name, p) && path_is_same(&p->base, &w->base)) {
            best = p;
        }
    }
    if (best && w->name[best->length] != '\0' && w->name[best->length] != '/') {
        w->at = best->at;
        w->rest = w->name + best->length;
        w->skipped = w->rest;
    }
}

/* The last component is at `last`, its directory where we are. */
static void remember_prefix(const struct walk *w, const char *last)
{
    size_t length = (size_t)(last - w->name);

    if (length < PREFIX_MIN || length > PREFIX_MAX) {
        return;
    }
    struct prefix *p = &prefixes[prefix_next++ % PREFIXES];

    p->changes = dentry_changes;
    p->base = w->base;
    p->at = w->at;
    p->length = (uint32_t)length;
    memcpy(p->text, w->name, length);
}

/* Walk to the end, or up to the last component with LOOKUP_PARENT. Lock held on entry and return.
 */
static int walk_run(struct walk *w)
{
    struct name name = { 0 };
    bool wants_directory = false; /* a slash behind what was the end of some text */
    int err;

    w->kind = NAME_ROOT;
    while (next_component(w, &name)) {
        struct dentry *child = NULL;
        struct inode *dir = w->at.dentry->inode;
        bool is_last = is_all_walked(w);

        if (!S_ISDIR(dir->mode)) {
            return -ENOTDIR;
        }
        err = may_search(w, dir);
        if (err < 0) {
            return err;
        }
        wants_directory = wants_directory || (is_last && w->has_slash);
        w->kind = kind_of(&name);
        if (is_last && (w->flags & LOOKUP_PARENT)) {
            if (name.length > NAME_MAX) {
                return -ENAMETOOLONG;
            }
            w->last = name;
            w->has_slash = wants_directory;
            return 0;
        }
        if (is_last && w->is_plain && w->depth == 0 && name.text != w->skipped) {
            remember_prefix(w, name.text);
        }
        if (w->kind == NAME_DOT) {
            continue;
        }
        if (w->kind == NAME_DOT_DOT) {
            err = walk_up(w);
            if (err < 0) {
                return err;
            }
            continue;
        }
        if (name.length > NAME_MAX) {
            return -ENAMETOOLONG;
        }
        err = walk_child(w, &name, &child);
        if (err < 0) {
            return err;
        }
        if (!child->inode) {
            return -ENOENT;
        }
        if (unlikely(S_ISLNK(child->inode->mode)) &&
            (!is_last || wants_directory || (w->flags & LOOKUP_FOLLOW))) {
            err = walk_link(w, child->inode);
            if (err < 0) {
                return err;
            }
            continue;
        }
        w->at.dentry = child;
        err = cross_mounts_locked(w);
        if (err < 0) {
            return err;
        }
    }
    if ((wants_directory || (w->flags & LOOKUP_DIRECTORY)) && !S_ISDIR(w->at.dentry->inode->mode)) {
        return -ENOTDIR;
    }
    return 0;
}

/* Hand the place over, counted; gives the lock up. */
static void walk_take(struct walk *w, struct path *out)
{
    *out = w->at;
    if (path_is_same(&w->pin, &w->at)) {
        w->pin.dentry = NULL; /* its references are the caller's now */
    } else {
        path_get(out);
    }
    spin_unlock(&dentry_lock);
}

/* `start` NULL: the working directory. Returns with the lock held. */
static void walk_begin(struct walk *w, const struct path *start, const char *name, unsigned flags)
{
    w->pin = (struct path){ 0 };
    w->base_pinned = false;
    w->has_slash = false;
    w->flags = flags;
    w->links = 0;
    w->depth = 0;
    w->held_count = 0;
    w->rest = name;
    spin_lock(&dentry_lock);
    if (likely(current->fs)) {
        w->base = current->fs->root;
        w->at = start ? *start : current->fs->cwd;
    } else { /* a task of the kernel, at boot */
        w->base = (struct path){ root_mount, root_mount->root };
        w->at = start ? *start : w->base;
    }
    w->is_plain = *name == '/' && !(flags & PREFIX_REFUSED);
    w->name = name;
    w->skipped = NULL;
    if (flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT)) {
        w->base = w->at;
    } else if (*name == '/') {
        w->at = w->base;
    }
    if (w->is_plain) {
        skip_prefix(w);
    }
}

int path_lookup_from(const struct path *start, const char *name, unsigned flags, struct path *out)
{
    struct walk w;
    int err;

    if (!*name && !(flags & LOOKUP_EMPTY)) {
        return -ENOENT;
    }
    if (*name == '/' && (flags & LOOKUP_BENEATH)) {
        return -EXDEV;
    }
    walk_begin(&w, start, name, flags);
    err = walk_run(&w);
    if (err < 0) {
        spin_unlock(&dentry_lock);
    } else {
        walk_take(&w, out);
    }
    walk_release(&w);
    return err;
}

int place_lookup_from(const struct path *start, const char *name, unsigned flags, unsigned *links,
                      struct place *out)
{
    struct walk w;
    int err;

    if (!*name) {
        return -ENOENT;
    }
    if (*name == '/' && (flags & LOOKUP_BENEATH)) {
        return -EXDEV;
    }
    walk_begin(&w, start, name, flags | LOOKUP_PARENT);
    w.links = *links;
    err = walk_run(&w);
    *links = w.links;
    if (err < 0) {
        spin_unlock(&dentry_lock);
    } else {
        out->name = w.last;
        out->kind = w.kind;
        out->has_slash = w.has_slash;
        walk_take(&w, &out->dir);
    }
    walk_release(&w);
    return err;
}

/* The descriptor's path, for relative names only; *file is to be put. */
static int start_of(int dirfd, const char *name, struct file **file)
{
    *file = NULL;
    if (*name == '/' || dirfd == AT_FDCWD) {
        return 0;
    }
    *file = fd_get(dirfd);
    if (!*file) {
        return -EBADF;
    }
    return 0;
}

int path_lookup(int dirfd, const char *name, unsigned flags, struct path *out)
{
    struct file *file;
    int err;

    if (flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT)) {
        /* Absolute names count from the descriptor here. */
        file = dirfd == AT_FDCWD ? NULL : fd_get(dirfd);
        if (dirfd != AT_FDCWD && !file) {
            return -EBADF;
        }
    } else {
        err = start_of(dirfd, name, &file);
        if (err < 0) {
            return err;
        }
    }
    if (!file) {
        return path_lookup_from(NULL, name, flags, out);
    }
    if (!file->path.dentry || (*name && !S_ISDIR(file->path.dentry->inode->mode))) {
        err = -ENOTDIR;
    } else {
        err = path_lookup_from(&file->path, name, flags, out);
    }
    file_put(file);
    return err;
}

int place_lookup(int dirfd, const char *name, unsigned flags, struct place *out)
{
    unsigned links = 0;
    struct file *file;
    int err = start_of(dirfd, name, &file);

    if (err < 0) {
        return err;
    }
    if (file && (!file->path.dentry || !S_ISDIR(file->path.dentry->inode->mode))) {
        file_put(file);
        return *name ? -ENOTDIR : -ENOENT;
    }
    err = place_lookup_from(file ? &file->path : NULL, name, flags, &links, out);
    if (file) {
        file_put(file);
    }
    return err;
}

void place_put(struct place *p)
{
    path_put(&p->dir);
}

void path_cross_mounts(struct path *p)
{
    struct path top;

    spin_lock(&dentry_lock);
    top = *p;
    while (top.dentry->mount_count > 0) {
        struct mount *m = mount_on_locked(top.mount, top.dentry);

        if (!m) {
            break;
        }
        top.mount = m;
        top.dentry = m->root;
    }
    path_get(&top);
    spin_unlock(&dentry_lock);
    path_put(p);
    *p = top;
}

struct inode *path_inode(const struct path *p)
{
    return p->dentry->inode;
}

/* Prepends `text` before *at, if it fits above `start`. */
static bool prepend(char **at, const char *start, const char *text, size_t length)
{
    if ((size_t)(*at - start) < length) {
        return false;
    }
    *at -= length;
    memcpy(*at, text, length);
    return true;
}

char *path_text(const struct path *p, char *buf, size_t size)
{
    struct path at = *p;
    struct path root;
    char *text = buf + size;
    char *end;
    bool fits = size > 1;

    if (!fits) {
        return NULL;
    }
    *--text = '\0';
    spin_lock(&dentry_lock);
    root = current->fs ? current->fs->root : (struct path){ root_mount, root_mount->root };
    if (p->dentry->is_deleted) {
        fits = prepend(&text, buf, " (deleted)", 10);
    }
    end = text;
    while (fits && !path_is_same(&at, &root)) {
        if (at.mount->root && at.dentry == at.mount->root) {
            if (!at.mount->parent || at.mount->parent == at.mount) {
                break; /* outside the root, or not mounted */
            }
            at.dentry = at.mount->mountpoint;
            at.mount = at.mount->parent;
            continue;
        }
        if (at.dentry->parent == at.dentry) {
            fits = prepend(&text, buf, at.dentry->name, at.dentry->name_length);
            break;
        }
        fits = prepend(&text, buf, at.dentry->name, at.dentry->name_length) &&
               prepend(&text, buf, "/", 1);
        at.dentry = at.dentry->parent;
    }
    if (fits && text == end) {
        fits = prepend(&text, buf, "/", 1);
    }
    spin_unlock(&dentry_lock);
    return fits ? text : NULL;
}

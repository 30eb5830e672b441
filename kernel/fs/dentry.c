/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dentry cache (contract in dentry.h). Names hang in hash buckets by (directory, name), found
 * with one probe. Unused ones are kept until the cache is over its limit; then a hand goes round
 * over all of them and takes those that nobody has used since it passed last.
 */
#include <core/string.h>
#include <fs/dentry.h>
#include <mm/page.h>
#include <mm/slab.h>

#define BUCKETS      2048u
#define CACHED_MIN   512u
#define CACHED_MAX   32768u
#define SHRINK_BATCH 64u

struct spinlock dentry_lock = SPINLOCK_INIT(RANK_DENTRY);
uint64_t dentry_changes;

static struct slab_cache dentry_cache = SLAB_CACHE("dentry", struct dentry);
static struct list buckets[BUCKETS];
static struct list all_dentries = LIST_INIT(all_dentries); /* the hand is at its front */
static size_t cached_count;
static size_t cached_max = CACHED_MIN;
static uint64_t additions; /* to the buckets; under dentry_lock */

uint32_t name_hash(const char *text, size_t length)
{
    uint64_t h = 0;

    for (; length >= 8; length -= 8, text += 8) {
        h = name_hash_add(h, load_le64(text));
    }
    if (length > 0) {
        uint64_t tail = 0;

        memcpy(&tail, text, length);
        h = name_hash_add(h, tail);
    }
    return name_hash_end(h);
}

void dentry_init(void)
{
    struct page_stats memory;

    page_stats(&memory);
    cached_max = (size_t)min_of(max_of(memory.total / 8, CACHED_MIN), (uint64_t)CACHED_MAX);
}

static struct list *bucket_of(const struct dentry *dir, uint32_t hash)
{
    uintptr_t h = hash ^ ((uintptr_t)dir >> 6);

    struct list *bucket = &buckets[(h ^ (h >> 11)) & (BUCKETS - 1)];

    if (unlikely(!bucket->next)) { /* at first use: boot does not walk the table */
        list_init(bucket);
    }
    return bucket;
}

/* Equal lengths were seen already. No byte loop: this runs for each component of each path. */
static bool name_is(const struct dentry *d, const struct name *name)
{
    const char *a = d->name;
    const char *b = name->text;
    uint32_t n = name->length;

    if (n >= 8) {
        for (uint32_t i = 0; i + 8 < n; i += 8) {
            if (load_le64(a + i) != load_le64(b + i)) {
                return false;
            }
        }
        return load_le64(a + n - 8) == load_le64(b + n - 8); /* may overlap the last word */
    }
    if (n & 4) {
        if (load_le32(a) != load_le32(b)) {
            return false;
        }
        a += 4;
        b += 4;
    }
    if (n & 2) {
        if (load_le16(a) != load_le16(b)) {
            return false;
        }
        a += 2;
        b += 2;
    }
    return !(n & 1) || *a == *b;
}

struct dentry *dentry_find_locked(struct dentry *dir, const struct name *name)
{
    struct list *bucket = bucket_of(dir, name->hash);
    struct dentry *d;

    assert_slow(spin_is_mine(&dentry_lock));
    list_for_each_entry(d, bucket, hash_link) {
        if (d->hash == name->hash && d->parent == dir && d->name_length == name->length &&
            name_is(d, name)) {
            d->was_used = true;
            return d;
        }
    }
    return NULL;
}

static int dentry_set_name(struct dentry *d, const struct name *name)
{
    char *text = d->inline_name;

    if (name->length > DENTRY_NAME_INLINE) {
        text = kmalloc(name->length, GFP_KERNEL);
        if (!text) {
            return -ENOMEM;
        }
    }
    memcpy(text, name->text, name->length);
    d->name = text;
    d->name_length = (uint16_t)name->length;
    d->hash = name->hash;
    return 0;
}

static struct dentry *dentry_alloc(const struct name *name)
{
    struct dentry *d = slab_alloc(&dentry_cache, GFP_KERNEL);

    if (!d) {
        return NULL;
    }
    atomic_store_explicit(&d->refs, 1, memory_order_relaxed);
    d->is_hashed = false;
    d->is_deleted = false;
    d->was_used = false;
    d->mount_count = 0;
    d->inode = NULL;
    list_init(&d->hash_link);
    list_init(&d->children);
    list_init(&d->sibling);
    list_init(&d->age);
    if (dentry_set_name(d, name) < 0) {
        slab_free(&dentry_cache, d);
        return NULL;
    }
    return d;
}

static void dentry_free(struct dentry *d)
{
    if (d->inode) {
        inode_put(d->inode);
    }
    if (d->name != d->inline_name) {
        kfree(d->name);
    }
    slab_free(&dentry_cache, d);
}

struct dentry *dentry_create_root(struct inode *inode)
{
    static const struct name slash = { .text = "/", .length = 1, .hash = 0 };
    struct dentry *d = dentry_alloc(&slash);

    if (!d) {
        inode_put(inode);
        return NULL;
    }
    d->inode = inode;
    d->parent = d;
    d->sb = inode->sb;
    return d;
}

struct dentry *dentry_create_named(struct inode *inode, const char *name)
{
    struct dentry *d = dentry_create_root(inode);
    size_t length = min_of(strlen(name), (size_t)NAME_MAX);
    char *text;

    if (!d) {
        return NULL;
    }
    text = kmalloc(length + 1, GFP_KERNEL);
    if (!text) {
        dentry_put(d);
        return NULL;
    }
    text[0] = '/';
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): names have a length */
    memcpy(text + 1, name, length);
    d->name = text;
    d->name_length = (uint16_t)(length + 1);
    d->is_deleted = true;
    return d;
}

/* Frees, outside the lock, what unlink_locked() has collected. */
static void free_doomed(struct list *doomed)
{
    while (!list_is_empty(doomed)) {
        struct dentry *d = list_first(doomed, struct dentry, age);

        list_remove(&d->age);
        dentry_free(d);
    }
}

/* `d` has no holder and no bucket: off the tree, with every ancestor that only it held. */
static void unlink_locked(struct dentry *d, struct list *doomed)
{
    for (;;) {
        struct dentry *parent = d->parent;

        assert(!d->is_hashed && atomic_load_explicit(&d->refs, memory_order_relaxed) == 0);
        assert_slow(list_is_empty(&d->children));
        list_remove(&d->sibling);
        if (list_is_linked(&d->age)) {
            list_remove(&d->age);
            cached_count--;
        }
        list_push_back(doomed, &d->age);
        if (parent == d || atomic_fetch_sub_explicit(&parent->refs, 1, memory_order_acq_rel) != 1 ||
            parent->is_hashed) {
            return;
        }
        d = parent;
    }
}

static void unhash_locked(struct dentry *d)
{
    list_remove(&d->hash_link);
    d->is_hashed = false;
    dentry_changes++;
}

void dentry_changed(void)
{
    spin_lock(&dentry_lock);
    dentry_changes++;
    spin_unlock(&dentry_lock);
}

static void hash_locked(struct dentry *d)
{
    list_push_front(bucket_of(d->parent, d->hash), &d->hash_link);
    d->is_hashed = true;
    additions++;
}

void dentry_put(struct dentry *d)
{
    struct list doomed = LIST_INIT(doomed);
    uint32_t refs = atomic_load_explicit(&d->refs, memory_order_relaxed);

    assert(refs != 0);
    while (refs > 1) {
        /* release: pairs with the acquire of the one that frees. */
        if (atomic_compare_exchange_weak_explicit(&d->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed)) {
            return;
        }
    }
    /* The last reference goes under the lock, so that nobody unhashes and frees it meanwhile. */
    spin_lock(&dentry_lock);
    if (atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1 && !d->is_hashed) {
        unlink_locked(d, &doomed);
    }
    spin_unlock(&dentry_lock);
    free_doomed(&doomed);
}

/* Let the hand go on over at most `steps` names. */
static size_t shrink_locked(size_t steps, size_t want, struct list *doomed)
{
    size_t freed = 0;

    while (steps-- > 0 && freed < want && !list_is_empty(&all_dentries)) {
        struct dentry *d = list_first(&all_dentries, struct dentry, age);

        list_remove(&d->age);
        list_push_back(&all_dentries, &d->age);
        if (atomic_load_explicit(&d->refs, memory_order_relaxed) != 0) {
            continue;
        }
        if (d->was_used) {
            d->was_used = false;
            continue;
        }
        unhash_locked(d);
        unlink_locked(d, doomed);
        freed++;
    }
    return freed;
}

size_t dentry_shrink(size_t count)
{
    struct list doomed = LIST_INIT(doomed);
    size_t freed;

    spin_lock(&dentry_lock);
    freed = shrink_locked(2 * cached_count, count, &doomed);
    spin_unlock(&dentry_lock);
    free_doomed(&doomed);
    return freed;
}

/* Enter a new child. dentry_lock held, dir->inode->lock held. */
static void add_locked(struct dentry *dir, struct dentry *d)
{
    d->parent = dir;
    d->sb = dir->sb;
    dentry_get_locked(dir);
    list_push_back(&dir->children, &d->sibling);
    list_push_back(&all_dentries, &d->age);
    cached_count++;
    hash_locked(d);
}

/* A cached name of a file system whose names come and go by themselves. */
static bool is_stale(const struct dentry *d)
{
    if (!d->sb->never_caches || d->mount_count > 0) {
        return false;
    }
    return !d->inode || (d->inode->ops->is_current && !d->inode->ops->is_current(d->inode));
}

int dentry_lookup(struct dentry *dir, const struct name *name, struct dentry **out)
{
    struct list doomed = LIST_INIT(doomed);
    struct inode *inode = NULL;
    struct dentry *fresh;
    struct dentry *d;
    uint64_t before;
    int err;

    spin_lock(&dentry_lock);
    d = dentry_find_locked(dir, name);
    before = d ? UINT64_MAX : additions;
    if (d && !is_stale(d)) {
        dentry_get_locked(d);
        spin_unlock(&dentry_lock);
        *out = d;
        return 0;
    }
    spin_unlock(&dentry_lock);

    if (!dir->inode->ops->lookup) {
        return -ENOTDIR;
    }
    err = dir->inode->ops->lookup(dir->inode, name, &inode);
    /* Where nothing can be made, what is missing need not be remembered for that. */
    if (err < 0 && (err != -ENOENT || (dir->sb->never_caches && !dir->inode->ops->create))) {
        return err;
    }
    fresh = dentry_alloc(name);
    if (!fresh) {
        if (inode) {
            inode_put(inode);
        }
        return -ENOMEM;
    }
    fresh->inode = inode;

    spin_lock(&dentry_lock);
    /* Absent before, and no name came since: absent still. */
    d = before == additions ? NULL : dentry_find_locked(dir, name);
    if (d && is_stale(d) && d->inode != inode) {
        unhash_locked(d);
        if (atomic_load_explicit(&d->refs, memory_order_relaxed) == 0) {
            unlink_locked(d, &doomed);
        }
        d = NULL;
    }
    if (d) {
        dentry_get_locked(d); /* another reader of the directory was faster */
        list_push_back(&doomed, &fresh->age);
    } else {
        add_locked(dir, fresh);
        d = fresh;
        if (cached_count > cached_max) {
            shrink_locked(SHRINK_BATCH, SHRINK_BATCH / 2, &doomed);
        }
    }
    spin_unlock(&dentry_lock);
    free_doomed(&doomed);
    *out = d;
    return 0;
}

void dentry_fill(struct dentry *d, struct inode *inode)
{
    spin_lock(&dentry_lock);
    assert(!d->inode);
    d->inode = inode;
    spin_unlock(&dentry_lock);
}

void dentry_delete(struct dentry *d)
{
    struct inode *inode = NULL;

    dentry_prune(d);
    spin_lock(&dentry_lock);
    if (atomic_load_explicit(&d->refs, memory_order_relaxed) == 1) {
        inode = d->inode; /* only the caller's: it goes on as a negative name */
        d->inode = NULL;
        dentry_changes++;
    } else {
        d->is_deleted = true;
        if (d->is_hashed) {
            unhash_locked(d);
        }
    }
    spin_unlock(&dentry_lock);
    if (inode) {
        inode_put(inode);
    }
}

int dentry_move_prepare(struct dentry *d, const struct name *name, char **heap)
{
    (void)d;
    *heap = NULL;
    if (name->length > DENTRY_NAME_INLINE) {
        *heap = kmalloc(name->length, GFP_KERNEL);
        if (!*heap) {
            return -ENOMEM;
        }
    }
    return 0;
}

static void reparent_locked(struct dentry *d, struct dentry *parent, struct list *doomed)
{
    struct dentry *old = d->parent;

    if (old == parent) {
        return;
    }
    dentry_get_locked(parent);
    list_remove(&d->sibling);
    list_push_back(&parent->children, &d->sibling);
    d->parent = parent;
    if (atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) == 1 && !old->is_hashed) {
        unlink_locked(old, doomed);
    }
}

void dentry_move(struct dentry *d, struct dentry *to, char *heap)
{
    struct list doomed = LIST_INIT(doomed);
    const char *old_name = NULL;

    spin_lock(&dentry_lock);
    unhash_locked(d);
    if (to->is_hashed) {
        unhash_locked(to);
    }
    to->is_deleted = true;
    if (d->name != d->inline_name) {
        old_name = d->name;
    }
    char *text = heap ? heap : d->inline_name;
    memcpy(text, to->name, to->name_length);
    d->name = text;
    d->name_length = to->name_length;
    d->hash = to->hash;
    reparent_locked(d, to->parent, &doomed);
    hash_locked(d);
    spin_unlock(&dentry_lock);
    kfree(old_name);
    free_doomed(&doomed);
}

void dentry_exchange(struct dentry *a, struct dentry *b)
{
    struct list doomed = LIST_INIT(doomed);
    struct dentry *parent_a;
    char inline_name[DENTRY_NAME_INLINE];
    const char *name_a;
    const char *name_b;
    uint32_t hash = 0;
    uint16_t length = 0;

    spin_lock(&dentry_lock);
    parent_a = a->parent;
    unhash_locked(a);
    unhash_locked(b);
    name_a = a->name != a->inline_name ? a->name : NULL;
    name_b = b->name != b->inline_name ? b->name : NULL;
    memcpy(inline_name, a->inline_name, sizeof(inline_name));
    memcpy(a->inline_name, b->inline_name, sizeof(inline_name));
    memcpy(b->inline_name, inline_name, sizeof(inline_name));
    a->name = name_b ? name_b : a->inline_name;
    b->name = name_a ? name_a : b->inline_name;
    hash = a->hash;
    a->hash = b->hash;
    b->hash = hash;
    length = a->name_length;
    a->name_length = b->name_length;
    b->name_length = length;
    dentry_get_locked(parent_a); /* may be held by `a` alone */
    reparent_locked(a, b->parent, &doomed);
    reparent_locked(b, parent_a, &doomed);
    atomic_fetch_sub_explicit(&parent_a->refs, 1, memory_order_relaxed); /* b holds it now */
    hash_locked(a);
    hash_locked(b);
    spin_unlock(&dentry_lock);
    free_doomed(&doomed);
}

void dentry_prune(struct dentry *d)
{
    struct list doomed = LIST_INIT(doomed);
    struct dentry *at = d;

    spin_lock(&dentry_lock);
    /* Depth first without a stack: down to a leaf, take it if unused, go on from its parent. */
    struct list *next = at->children.next;
    while (at != d || next != &at->children) {
        if (next == &at->children) { /* done with this directory: on behind it */
            struct dentry *done = at;

            at = done->parent;
            next = done->sibling.next;
            if (atomic_load_explicit(&done->refs, memory_order_relaxed) == 0) {
                unhash_locked(done);
                list_remove(&done->sibling);
                list_remove(&done->age);
                cached_count--;
                list_push_back(&doomed, &done->age);
                atomic_fetch_sub_explicit(&at->refs, 1, memory_order_relaxed);
            }
            continue;
        }
        at = list_entry(next, struct dentry, sibling);
        next = at->children.next;
    }
    spin_unlock(&dentry_lock);
    free_doomed(&doomed);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in memory: the dentry cache and the mounts, as the files of fs/ share them.
 *
 * A dentry is a name in a directory, with its inode or, negative, the knowledge that there is none.
 * File systems keep their directories themselves, so any dentry that nobody holds may be forgotten.
 * One spinlock, dentry_lock, guards all links, names and mount points: a walk over cached names
 * takes it once, touches no reference count, and gives it up only to ask a file system.
 *
 * What a dentry says about a directory's contents changes only under the directory's inode->lock
 * held for writing; a name is entered after a lookup under the same lock held for reading.
 */
#pragma once

#include <fs/vfs.h>

#define DENTRY_NAME_INLINE 32u

/* The hash of names, eight bytes a step, so that the walk can hash while it looks for the end. A
 * last word that is not full is padded with zeros. */
static inline uint64_t name_hash_add(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static inline uint32_t name_hash_end(uint64_t h)
{
    return (uint32_t)(h ^ h >> 32);
}

struct dentry {
    _Atomic uint32_t refs; /* holders, and each child; 0: only cached */
    uint32_t hash;
    uint16_t name_length;
    bool is_hashed;
    bool is_deleted;       /* unlinked: path_text() says so */
    bool was_used;         /* since the cache's hand passed last */
    uint32_t mount_count;  /* mounts on top of it, in whatever tree */
    struct dentry *parent; /* counted; itself for a root */
    struct inode *inode;   /* counted; NULL: negative */
    struct list hash_link; /* bucket */
    struct list children;  /* dentries below, through sibling */
    struct list sibling;
    struct list age;        /* all dentries, for the hand; or the doomed list */
    struct super_block *sb; /* borrowed: mounts hold it */
    const char *name;       /* not terminated; inline_name or kmalloc */
    char inline_name[DENTRY_NAME_INLINE];
};

extern struct spinlock dentry_lock;

/*
 * Counts what may make a walk end elsewhere than the last time: a name that goes or moves, a mount
 * that comes or goes, a directory whose mode changes. Under dentry_lock. (A name that comes does
 * not count: what was found before is found again.)
 */
extern uint64_t dentry_changes;
void dentry_changed(void); /* takes dentry_lock */

void dentry_init(void);

/* A root: holds the caller's reference on `inode`. NULL: no memory (the reference is dropped). */
struct dentry *dentry_create_root(struct inode *inode) MUST_CHECK;

/* The same for a file without directory (memfd): shown as "/name (deleted)". */
struct dentry *dentry_create_named(struct inode *inode, const char *name) MUST_CHECK;

/* Locked: the caller has dentry_lock. Hit (maybe negative, uncounted) or NULL. */
struct dentry *dentry_find_locked(struct dentry *dir, const struct name *name);

static inline void dentry_get_locked(struct dentry *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
}

/* For those who hold a reference already. */
static inline struct dentry *dentry_get(struct dentry *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void dentry_put(struct dentry *d);

/*
 * The child `name` of a directory whose inode->lock the caller holds (either way): from the cache
 * or the file system. *out is counted and may be negative. 0, or the file system's error but
 * -ENOENT.
 */
int dentry_lookup(struct dentry *dir, const struct name *name, struct dentry **out) MUST_CHECK;

/* Directory changes, dir->inode->lock held for writing. */
void dentry_fill(struct dentry *d,
                 struct inode *inode); /* negative becomes positive; takes inode */
void dentry_delete(struct dentry *d);  /* the name is gone */
/* `d` gets the place and name of `to` (which goes). -ENOMEM before anything changed. */
int dentry_move_prepare(struct dentry *d, const struct name *name, char **heap) MUST_CHECK;
void dentry_move(struct dentry *d, struct dentry *to, char *heap);
void dentry_exchange(struct dentry *a, struct dentry *b);
/* Forget unused names below `d` (a directory that goes, a file system that is unmounted). */
void dentry_prune(struct dentry *d);
/* Memory is short: forget up to `count` unused names; returns how many went. */
size_t dentry_shrink(size_t count);

/* --- mounts ----------------------------------------------------------------------------------- */

#define MS_RDONLY      1u
#define MS_NOSUID      2u
#define MS_NODEV       4u
#define MS_NOEXEC      8u
#define MS_SYNCHRONOUS 16u
#define MS_REMOUNT     32u
#define MS_NOATIME     1024u
#define MS_NODIRATIME  2048u
#define MS_BIND        4096u
#define MS_MOVE        8192u
#define MS_REC         16384u
#define MS_SILENT      32768u
#define MS_UNBINDABLE  (1u << 17)
#define MS_PRIVATE     (1u << 18)
#define MS_SLAVE       (1u << 19)
#define MS_SHARED      (1u << 20)
#define MS_RELATIME    (1u << 21)
#define MS_STRICTATIME (1u << 24)

struct mount {
    _Atomic uint32_t refs; /* its place in the tree, child mounts, paths */
    uint32_t id;
    unsigned flags;            /* MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC of this mount */
    struct super_block *sb;    /* counted */
    struct dentry *root;       /* counted */
    struct mount *parent;      /* counted; itself for the root, NULL when detached */
    struct dentry *mountpoint; /* counted; in parent */
    struct list link;          /* mount table, in order of mounting; under dentry_lock */
    char source[64];
};

extern struct list mount_table;
extern struct mount *root_mount;

static inline struct mount *mount_get(struct mount *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void mount_put(struct mount *m);
/* The mount on top of (m, d), uncounted, or NULL. dentry_lock held. */
struct mount *mount_on_locked(const struct mount *m, const struct dentry *d);

/* What mount(2) does with names already resolved; `on` is borrowed; NULL: the root of all. */
int mount_file_system(const char *type, const char *source, const struct path *on, unsigned flags,
                      const char *options) MUST_CHECK;
/* The super block's reference is taken over on success. */
int mount_super(struct super_block *sb, const char *source, const struct path *on,
                unsigned flags) MUST_CHECK;
struct file_system *file_system_find(const char *name);
/* For /proc/filesystems: the n-th, or NULL. */
struct file_system *file_system_at(unsigned n);
void super_put(struct super_block *sb);
struct super_block *super_create(const struct file_system *type, const struct super_ops *ops,
                                 unsigned flags) MUST_CHECK;

static inline bool path_is_read_only(const struct path *p)
{
    return ((p->mount->flags | p->mount->sb->flags) & MS_RDONLY) != 0;
}

/* --- the task's view -------------------------------------------------------------------------- */

struct fs_context {
    struct ref ref;
    _Atomic uint32_t umask;
    struct path root; /* counted; the words under dentry_lock */
    struct path cwd;
};

/* Borrowed views, counted copies. */
void fs_root(struct path *out);
void fs_cwd(struct path *out);
void fs_set_cwd(const struct path *p); /* takes its own references */
void fs_set_root(const struct path *p);

/* --- the walk --------------------------------------------------------------------------------- */

enum name_kind {
    NAME_NORMAL,
    NAME_DOT,
    NAME_DOT_DOT,
    NAME_ROOT
};

/* Where a name is to be made, removed or renamed. */
struct place {
    struct path dir; /* counted */
    struct name name;
    enum name_kind kind;
    bool has_slash; /* "name/": must be, or become, a directory */
};

/* `name` must live as long as *out. The last component is not looked up. */
int place_lookup(int dirfd, const char *name, unsigned flags, struct place *out) MUST_CHECK;
void place_put(struct place *p);

/* As place_lookup(), relative to a path; `links` counts what was followed already. */
int place_lookup_from(const struct path *start, const char *name, unsigned flags, unsigned *links,
                      struct place *out) MUST_CHECK;

/* Resolve from a path instead of a descriptor. */
int path_lookup_from(const struct path *start, const char *name, unsigned flags,
                     struct path *out) MUST_CHECK;

/* The topmost mount over *p: replaces it, counted. */
void path_cross_mounts(struct path *p);

/* --- mount(2) and its relatives; paths are borrowed ------------------------------------------- */

void mount_init(void);
void names_init(void);
int mount_bind(const struct path *from, const struct path *on) MUST_CHECK;
int mount_remount(const struct path *p, unsigned flags, bool is_bind) MUST_CHECK;
int mount_move(const struct path *from, const struct path *on) MUST_CHECK;
int mount_detach(const struct path *p, unsigned umount_flags) MUST_CHECK;
int mount_sync_all(void);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files: three levels (rule A2). A descriptor slot (fs/files.h) names an open file description
 * (struct file: offset, flags), which names an inode or an endpoint. Identity is the inode, not the
 * path (A3).
 *
 * Every method may sleep unless it says otherwise. Methods return -errno. File systems fill one
 * struct inode_ops a kind of inode; there is no default poll: a type without one does not compile
 * (see file_ops).
 */
#pragma once

#include <core/lock.h>
#include <core/ref.h>
#include <core/types.h>
#include <fs/dev.h>
#include <mm/mapping.h>
#include <sched/wait.h>
#include <syscall/uio.h>

#define NAME_MAX          255u
#define PATH_MAX          4096u
#define SYMLINK_DEPTH_MAX 40u

struct cred;
struct dentry;
struct file;
struct inode;
struct mount;
struct path;
struct poll_table;
struct super_block;
struct vma;

struct timestamp {
    int64_t sec;
    uint32_t nsec;
};

/* --- inodes
 * --------------------------------------------------------------------------------------- */

struct inode {
    struct ref ref;
    const struct inode_ops *ops;
    const struct file_ops *file_ops; /* for open(); NULL: ENXIO */
    struct super_block *sb;
    uint64_t ino;
    uint32_t mode; /* S_IF* and permissions */
    uint32_t nlink;
    uid_t uid;
    gid_t gid;
    dev_t rdev;
    uint64_t size;   /* bytes */
    uint64_t blocks; /* of 512 bytes */
    struct timestamp atime, mtime, ctime, btime;
    struct rwsem lock;       /* directory contents, attributes: writers; readers for lookup */
    struct mutex write_lock; /* data and size: writers, truncate; held across user copies */
    struct mapping mapping;  /* page cache of regular files */
    struct list locks;       /* POSIX, OFD and flock locks (fs/locks.c) */
    int32_t writers;         /* open for writing; < 0: being executed (ETXTBSY) */
    const char *link;   /* symbolic link: its target, if it lies in memory for the inode's life */
    uint32_t link_size; /* bytes of it; not terminated */
    void *private;      /* the file system's */
    void *endpoint;     /* what a fifo or a bound socket meets at; ipc/'s, under lock */
};

/* What notify_change wants; mask bits say which fields count. */
enum attr_mask {
    ATTR_MODE = 1u << 0,
    ATTR_UID = 1u << 1,
    ATTR_GID = 1u << 2,
    ATTR_SIZE = 1u << 3,
    ATTR_ATIME = 1u << 4,
    ATTR_MTIME = 1u << 5,
    ATTR_CTIME = 1u << 6,
};

struct attr {
    unsigned mask;
    uint32_t mode;
    uid_t uid;
    gid_t gid;
    uint64_t size;
    struct timestamp atime, mtime, ctime;
};

struct name {
    const char *text; /* not terminated */
    uint32_t length;  /* 1..NAME_MAX */
    uint32_t hash;    /* name_hash() */
};

uint32_t name_hash(const char *text, size_t length);

/*
 * Directory listing: emit() returns false when the reader's buffer is full. `cookie` is the
 * position to go on from after this entry; stable across changes of the directory.
 */
struct dir_emit {
    bool (*emit)(struct dir_emit *e, const char *name, size_t length, uint64_t ino, unsigned dtype,
                 uint64_t cookie);
};

struct inode_ops {
    /* Directory: the inode of `name` with a reference, -ENOENT, ... dir->lock held (read). */
    int (*lookup)(struct inode *dir, const struct name *name, struct inode **out);
    /* Directory changes: dir->lock held (write); the name was checked for existence by the caller.
     */
    int (*create)(struct inode *dir, const struct name *name, uint32_t mode, dev_t rdev,
                  struct inode **out); /* files, nodes, fifos, sockets */
    int (*mkdir)(struct inode *dir, const struct name *name, uint32_t mode, struct inode **out);
    int (*symlink)(struct inode *dir, const struct name *name, const char *target,
                   struct inode **out);
    int (*link)(struct inode *dir, const struct name *name, struct inode *target);
    int (*unlink)(struct inode *dir, const struct name *name, struct inode *target);
    int (*rmdir)(struct inode *dir, const struct name *name, struct inode *target);
    /* A file without a name; NULL: EOPNOTSUPP. */
    int (*tmpfile)(struct inode *dir, uint32_t mode, struct inode **out);
    int (*rename)(struct inode *from_dir, const struct name *from, struct inode *moved,
                  struct inode *to_dir, const struct name *to, struct inode *replaced,
                  unsigned flags); /* RENAME_* of Linux */
    int (*readdir)(struct inode *dir, uint64_t cookie,
                   struct dir_emit *e); /* "." and ".." are the VFS's */
    /* Symbolic link: its target, into buf (terminated), length or -errno. procfs' magic links use
     * follow instead. */
    ssize_t (*readlink)(struct inode *link, char *buf, size_t size);
    int (*follow)(struct inode *link, struct path *out); /* NULL: by text */
    int (*setattr)(
        struct inode *inode,
        const struct attr *a); /* lock held (write); NULL: generic for mode, owner, times */
    void (*refresh)(
        struct inode *inode); /* before stat: bring attributes up to date; may be NULL */
    /* fallocate(2) with write_lock held; NULL: EOPNOTSUPP. */
    int (*allocate)(struct inode *inode, int mode, uint64_t offset, uint64_t size);
    /* Last reference gone: free private, pages; NULL allowed. */
    void (*evict)(struct inode *inode);
    void (*free)(struct inode *inode); /* the memory of the inode itself; NULL: of inode_alloc() */
    /* Directory: is a name that was found before still right? NULL: always (procfs: pids come and
     * go). */
    bool (*is_current)(struct inode *inode);
};

void inode_init(struct inode *inode, struct super_block *sb, uint64_t ino, uint32_t mode);
struct inode *inode_alloc(struct super_block *sb, uint64_t ino, uint32_t mode) MUST_CHECK;

static inline struct inode *inode_get(struct inode *i)
{
    ref_get(&i->ref);
    return i;
}

void inode_put(struct inode *i);
struct timestamp time_now(void);

/* --- super blocks and mounts
 * ------------------------------------------------------------------------ */

struct statfs_info {
    uint64_t type, block_size, blocks, blocks_free, files, files_free, name_max;
    uint64_t flags;
};

struct super_ops {
    void (*destroy)(struct super_block *sb); /* the last mount is gone; frees sb */
    int (*statfs)(struct super_block *sb, struct statfs_info *out);
    int (*sync)(struct super_block *sb); /* may be NULL */
};

struct super_block {
    struct ref ref; /* mounts of it */
    const struct file_system *type;
    const struct super_ops *ops;
    struct inode *root; /* counted */
    dev_t dev;
    unsigned flags;    /* MS_RDONLY, MS_NOEXEC, MS_NOSUID, MS_NODEV */
    bool never_caches; /* names are looked up each time (procfs) */
    void *private;
};

/* A file system that can be mounted. `options` and `source` may be NULL. */
struct file_system {
    const char *name;
    int (*mount)(struct file_system *fs, const char *source, unsigned flags, const char *options,
                 struct super_block **out);
    bool needs_device;
};

int file_system_register(struct file_system *fs) MUST_CHECK;

struct path {
    struct mount *mount;
    struct dentry *dentry;
};

void path_get(const struct path *p);
void path_put(const struct path *p);

/* --- path walk
 * ----------------------------------------------------------------------------------------- */

enum lookup_flags {
    LOOKUP_FOLLOW = 1u << 0,    /* the last component too */
    LOOKUP_DIRECTORY = 1u << 1, /* ENOTDIR otherwise */
    LOOKUP_EMPTY = 1u << 2,     /* "" means dirfd itself (AT_EMPTY_PATH) */
    LOOKUP_NO_SYMLINKS = 1u << 3,
    LOOKUP_BENEATH = 1u << 4,
    LOOKUP_IN_ROOT = 1u << 5,
    LOOKUP_NO_XDEV = 1u << 6,
    LOOKUP_NO_MAGICLINKS = 1u << 7,
    LOOKUP_PARENT = 1u << 8, /* fs/ only: stop before the last component */
};

#define AT_FDCWD (-100)

/* Resolve a kernel string from dirfd (or AT_FDCWD) in the current task's root. *out is counted. */
int path_lookup(int dirfd, const char *name, unsigned flags, struct path *out) MUST_CHECK;
/* Copy a path from user memory into a buffer from the path cache; name_put() it. */
int name_get(const char __user *from, char **out) MUST_CHECK;
void name_put(char *name);

struct inode *path_inode(const struct path *p); /* borrowed */

/* The path as text from the current root, into the end of buf; returns its start, or NULL if it
 * does not fit. " (deleted)" appended when unlinked. */
char *path_text(const struct path *p, char *buf, size_t size);

/* For bind(AF_UNIX): make a socket node, umask applied. *out is counted. -EADDRINUSE: exists. */
int vfs_make_socket(const char *name, uint32_t mode, struct path *out) MUST_CHECK;

/* May `cred` do MAY_READ|MAY_WRITE|MAY_EXEC (4, 2, 1)? 0, -EACCES, -EROFS. */
#define MAY_EXEC  1u
#define MAY_WRITE 2u
#define MAY_READ  4u
int inode_permission(const struct inode *i, const struct cred *cred, unsigned may) MUST_CHECK;

/* --- open files
 * ------------------------------------------------------------------------------------------- */

struct file {
    struct ref ref;
    const struct file_ops *ops;
    _Atomic uint32_t
        flags; /* O_* of this architecture; only APPEND, NONBLOCK, ASYNC, DIRECT, NOATIME change */
    uint32_t mode;         /* FMODE_* below */
    struct path path;      /* counted; dentry NULL for anonymous objects */
    struct inode *inode;   /* counted; NULL for endpoints without one */
    struct mutex pos_lock; /* offset update is atomic per description */
    int64_t pos;
    void *private;
    struct list epolls; /* epoll entries that watch it, under epoll's global lock (ipc/epoll.c) */
    int32_t owner;      /* F_SETOWN: pid, or -pgid */
    int32_t owner_signal;
};

#define FMODE_READ   1u
#define FMODE_WRITE  2u
#define FMODE_PATH   4u  /* O_PATH: no I/O */
#define FMODE_SEEK   8u  /* has an offset: read and write take pos_lock, lseek works */
#define FMODE_STREAM 16u /* pread/pwrite give ESPIPE */
#define FMODE_EXEC   32u /* runs: writing is denied */
#define FMODE_NOCTTY 64u /* opened with O_NOCTTY: for the open method of a terminal */

struct file_ops {
    const char
        *type; /* for /proc/<pid>/fd of objects without path: "pipe", "anon_inode:[eventfd]" */
    ssize_t (*read)(struct file *f, struct uio *u, int64_t *pos);
    ssize_t (*write)(struct file *f, struct uio *u, int64_t *pos);
    /*
     * Readiness now (POLL* bits), and through poll_wait() the queues that tell of changes. The same
     * predicate decides blocking and non-blocking I/O (spec R-IO-4). Mandatory: no default says
     * "always ready".
     */
    uint32_t (*poll)(struct file *f, struct poll_table *pt);
    long (*ioctl)(struct file *f, unsigned cmd, uint64_t arg); /* NULL: ENOTTY */
    int64_t (*seek)(struct file *f, int64_t offset,
                    int whence); /* NULL: generic with FMODE_SEEK, else ESPIPE */
    /* Check and complete a mapping; sets vma fields through *mapping. NULL: the inode's page cache
     * if it is a regular file, else ENODEV. */
    int (*mmap)(struct file *f, uint32_t vma_flags, struct mapping **mapping);
    int (*open)(struct inode *inode,
                struct file *f);                  /* after allocation; may replace ops, private */
    void (*release)(struct file *f);              /* last reference gone */
    int (*flush)(struct file *f);                 /* each close(2) */
    int (*fsync)(struct file *f, bool data_only); /* NULL: EINVAL */
    int (*readdir)(struct file *f, struct dir_emit *e); /* directories only; NULL: by inode_ops */
};

/* An open description without path (pipe, socket, eventfd, ...). ops->poll must be set. NULL-safe
 * private. Flags O_RDONLY.. and O_NONBLOCK. */
int file_create(const struct file_ops *ops, void *private, unsigned flags,
                struct file **out) MUST_CHECK;
/* As open(2) by the kernel, root's eyes of the current task. */
int file_open(int dirfd, const char *name, unsigned flags, uint32_t mode,
              struct file **out) MUST_CHECK;
int file_open_path(const struct path *p, unsigned flags, struct file **out) MUST_CHECK;
/* To run it: a regular file with execute permission, on a mount that allows it; needs no read
 * permission. While the description lives nobody may open the file for writing (ETXTBSY). */
int file_open_exec(const struct path *p, struct file **out) MUST_CHECK;

static inline struct file *file_get(struct file *f)
{
    ref_get(&f->ref);
    return f;
}

void file_put(struct file *f);

ssize_t file_read_kernel(struct file *f, void *buf, size_t size, int64_t pos);
bool file_is_nonblock(const struct file *f);

/* --- boot
 * ---------------------------------------------------------------------------------------------------
 */

/* Mount the root as the command line says (root image, /dev/vda, cpio, or fail with a clear text),
 * then /dev, /proc, /tmp, /dev/shm, ... */
int vfs_mount_root(void) MUST_CHECK;

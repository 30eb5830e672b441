/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 9P2000.L client: folders of the host as a file system (type "9p", source: the share's tag).
 *
 * Each inode has a fid of the server's for as long as it lives, found by its qid path, so that
 * identity holds whatever happens to names. Names are asked for each time (or at most `cache_ns`
 * old), attributes before each stat and open; file data is read and written through. Only pages of
 * mapped files are cached: private mappings and shared ones for reading; they are dropped when an
 * open finds the file changed.
 *
 * Cost: one message for a path component, one for an open, one for a close that nobody waits for,
 * one for 64 KiB of data.
 */
#pragma once

#include <drivers/virtio_9p.h>
#include <fs/p9/wire.h>
#include <fs/vfs.h>

#define P9_BUCKETS 64u
#define P9_HINTS   64u

/* One server: the mounts on one channel share its numbers. Made at the first mount, never freed. */
struct p9_session {
    struct p9_channel *channel;
    uint32_t message_max;
    bool has_extensions;
    _Atomic uint32_t next_fid;
    _Atomic uint32_t next_tag;
};

/* What a name was at last: the server need not make a fid for what we know. A hint only. */
struct p9_hint {
    uint64_t dir;
    uint32_t hash;
    uint64_t path;
};

struct p9_fs {
    struct p9_session *session;
    struct super_block *sb;
    uint64_t cache_ns;    /* how long a name is believed; 0: not at all */
    struct spinlock lock; /* buckets, hints */
    struct list buckets[P9_BUCKETS];
    struct p9_hint hints[P9_HINTS];
};

struct p9_node {
    struct inode inode; /* first: they are freed as one */
    struct p9_fs *fs;
    struct list bucket_link;
    uint64_t path; /* the qid's */
    uint32_t fid;
    /* Opened fids, P9_FID_NONE: none. Exchanged atomically. */
    _Atomic uint32_t list_fid;  /* directory: for listing */
    _Atomic uint32_t page_fid;  /* file: for its pages */
    _Atomic uint32_t fresh_fid; /* file just made: for the open that follows */
    uint64_t fetched_ns;        /* attributes are of then */
    uint64_t checked_ns;        /* the name was right then */
    /* Cached pages are of this state of the file. */
    struct timestamp pages_mtime;
    uint64_t pages_size;
    char *target; /* symbolic link; kmalloc */
};

static inline struct p9_node *p9_node_of(const struct inode *i)
{
    return container_of(i, struct p9_node, inode);
}

/* --- rpc.c: one message and its answer -------------------------------------------------------- */

struct p9_call {
    struct p9_message message; /* first: posted ones are freed as one */
    uint8_t type;
    uint16_t tag;
    struct p9_put put; /* the fields of the request */
    struct p9_get get; /* of the answer, after p9_run() */
    uint8_t bytes[];
};

/* Room for `out` bytes of fields and an answer of `in` bytes of them. NULL: no memory. */
struct p9_call *p9_begin(struct p9_session *s, uint8_t type, uint32_t out, uint32_t in) MUST_CHECK;
/* Send it, wait, look at the answer. 0, the server's error, or -EIO. */
int p9_run(struct p9_session *s, struct p9_call *c) MUST_CHECK;
void p9_end(struct p9_call *c);
/* The fid is not needed any more; nobody waits. P9_FID_NONE is fine. */
void p9_clunk(struct p9_session *s, uint32_t fid);
uint32_t p9_new_fid(struct p9_session *s);
/* As p9_run(); when the server has no fid left, forgets names that nobody uses and tries again. */
int p9_run_making_fid(struct p9_session *s, struct p9_call *c) MUST_CHECK;

/* --- node.c ----------------------------------------------------------------------------------- */

struct p9_attr {
    uint64_t path;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint64_t nlink;
    uint64_t rdev;
    uint64_t size;
    uint64_t blocks;
    struct timestamp atime, mtime, ctime;
};

/* The block of Rgetattr and Rlookup. -EIO: nonsense. */
int p9_get_attr(struct p9_get *g, struct p9_attr *a) MUST_CHECK;
int p9_fetch_attr(struct p9_session *s, uint32_t fid, struct p9_attr *a) MUST_CHECK;
/* The inode of a file that `fid` stands for; the fid is taken over or given back on every path. */
int p9_node_get(struct p9_fs *fs, const struct p9_attr *a, uint32_t fid,
                struct p9_node **out) MUST_CHECK;
void p9_refresh(struct inode *inode);
/* Refresh unless that was done a moment ago, as by the lookup of the same system call. */
void p9_refresh_old(struct p9_node *n);
/* Ask what `name` is. */
int p9_lookup(struct inode *inode, const struct name *name, struct inode **out);
int p9_setattr(struct inode *inode, const struct attr *a);
bool p9_is_current(struct inode *inode);
void p9_evict(struct inode *inode);
void p9_free(struct inode *inode);

/* --- dir.c, file.c ---------------------------------------------------------------------------- */

extern const struct inode_ops p9_dir_ops;
extern const struct inode_ops p9_file_inode_ops;
extern const struct inode_ops p9_other_ops;
extern const struct file_ops p9_file_ops;
extern const struct mapping_ops p9_mapping_ops;

/* Open what a fid stands for under a new one. */
int p9_open_fid(struct p9_session *s, uint32_t fid, uint32_t flags, uint32_t *out) MUST_CHECK;
/* Drop cached pages if the file is not what they were read from. */
void p9_check_pages(struct p9_node *n);

/* --- super.c ---------------------------------------------------------------------------------- */

extern struct file_system p9_type;
extern struct file_system p9_virtiofs_type; /* the same under the name that programs expect */
/* What the command line announces: drupe.share=<tag>:<path>:<ro|rw>. */
int p9_mount_shares(void) MUST_CHECK;

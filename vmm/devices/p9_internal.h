/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the 9P server: fids, shares, and one function a message. */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include "p9_server.h"

#define P9_BUCKETS     256u
#define P9_DEVICES_MAX 64u
#define P9_OPEN_FLAGS  (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_DIRECTORY)

struct p9_share {
    char tag[P9_TAG_MAX + 1];
    int root_fd;
    bool is_read_only;
    struct stat root;
};

struct p9_fid {
    struct p9_fid *next; /* in its bucket */
    const struct p9_share *share;
    uint32_t id;
    int fd; /* O_PATH, or what Tlopen gave when is_open; -1: lost, restored without its file */
    uint32_t uid; /* who attached; P9_FID_NONE: not said */
    bool is_open;
    bool can_write; /* is_open: for writing */
    int open_flags; /* is_open: as the host was asked, without O_TRUNC */
};

struct p9_server {
    struct p9_share shares[P9_SHARES_MAX];
    unsigned share_count;
    int proc_fd;
    unsigned fids_max;
    unsigned fid_count;
    uint32_t message_max; /* negotiated; 0: no version yet */
    bool has_extensions;
    uid_t own_uid; /* the process's; shown as root's when it is not root */
    gid_t own_gid;
    bool may_chown; /* false once the host has refused it */
    unsigned device_count;
    dev_t devices[P9_DEVICES_MAX]; /* host devices seen, for distinct inode numbers */
    struct p9_fid *buckets[P9_BUCKETS];
};

/* A message being served: its fields, its reply, and what came with the call. */
struct p9_request {
    struct p9_server *server;
    struct p9_call *call;
    struct p9_in in;
    struct p9_out out;
    size_t data_size; /* Rread: bytes that went to data_out */
    bool is_stale;    /* it named a lost fid */
};

/* Read the fields, do it, write the reply's fields. 0 or -errno. */
typedef int (*p9_handler)(struct p9_request *r);

/* ---- fids (p9_fid.c) */

struct p9_fid *p9_fid_find(const struct p9_server *s, uint32_t id);
/* The fid that the next field names, or NULL: -EBADF (what the client hears of a lost one is
 * -ESTALE). */
struct p9_fid *p9_take_fid(struct p9_request *r);
/* A new fid that owns `fd` (-1: lost); -EBADF: in use or NOFID, -ENFILE: too many, -ENOMEM. On
 * failure `fd` stays the caller's. */
int p9_fid_add(struct p9_server *s, uint32_t id, const struct p9_share *share, uint32_t uid, int fd,
               struct p9_fid **out) MUST_CHECK;
void p9_fid_remove(struct p9_server *s, struct p9_fid *f);
void p9_fid_remove_all(struct p9_server *s);
/* The fid stands for another file from now on; takes `fd`. */
void p9_fid_replace(struct p9_fid *f, int fd);
/* Its descriptor was opened with these flags. */
void p9_fid_opened(struct p9_fid *f, uint32_t flags);

/* ---- names and files (p9_fid.c) */

#define P9_NAME_SIZE (P9_NAME_MAX + 1u)

/* One component, checked and terminated. -EINVAL, -ENAMETOOLONG. */
int p9_name(struct p9_text text, char name[P9_NAME_SIZE]) MUST_CHECK;
int p9_take_name(struct p9_request *r, char name[P9_NAME_SIZE]) MUST_CHECK;

int p9_stat(const struct p9_fid *f, struct stat *st) MUST_CHECK;
int p9_stat_fd(int fd, struct stat *st) MUST_CHECK;
struct p9_qid p9_qid_of(struct p9_server *s, const struct p9_fid *f, const struct stat *st);
/* Open what an O_PATH descriptor stands for, anew. A descriptor or -errno. */
int p9_reopen(const struct p9_server *s, int fd, int flags) MUST_CHECK;
/* "<fd>" for use below proc_fd. */
#define P9_FD_NAME_SIZE 12u
void p9_fd_name(int fd, char name[P9_FD_NAME_SIZE]);
/* 0, or -EROFS. */
int p9_check_writable(const struct p9_fid *f) MUST_CHECK;
/* Permission bits that a client may set on such a file: no set-id bits on what can be run. */
mode_t p9_mode(mode_t mode, bool is_directory);
/* Give a file that was just made its owner and exact mode (the process has an umask). */
int p9_adopt(const struct p9_fid *dir, struct p9_server *s, int fd, mode_t mode,
             uint32_t gid) MUST_CHECK;
/* An attribute block as in Rgetattr. */
void p9_put_attr(struct p9_request *r, const struct p9_fid *f, const struct stat *st);

/* ---- handlers */

int p9_statfs(struct p9_request *r);
int p9_lopen(struct p9_request *r);
int p9_lcreate(struct p9_request *r);
int p9_open_new(struct p9_request *r);
int p9_symlink(struct p9_request *r);
int p9_mknod(struct p9_request *r);
int p9_rename(struct p9_request *r);
int p9_readlink(struct p9_request *r);
int p9_getattr(struct p9_request *r);
int p9_setattr(struct p9_request *r);
int p9_readdir(struct p9_request *r);
int p9_fsync(struct p9_request *r);
int p9_lock(struct p9_request *r);
int p9_getlock(struct p9_request *r);
int p9_link(struct p9_request *r);
int p9_mkdir(struct p9_request *r);
int p9_renameat(struct p9_request *r);
int p9_unlinkat(struct p9_request *r);
int p9_attach(struct p9_request *r);
int p9_walk(struct p9_request *r);
int p9_lookup(struct p9_request *r);
int p9_read(struct p9_request *r);
int p9_write(struct p9_request *r);
int p9_clunk(struct p9_request *r);

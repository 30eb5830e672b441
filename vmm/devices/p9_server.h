/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 9P2000.L server over host directories. It knows no virtqueue: bytes in, bytes out.
 *
 * Every fid holds a descriptor of its own: O_PATH until it is opened. A walk opens one component
 * after the other with O_PATH | O_NOFOLLOW below the descriptor before it; a component is neither
 * "." nor ".." and holds no slash. So nothing the client says is ever resolved as a path, symbolic
 * links are text for the client to resolve, and no race with a rename on the host leads outside.
 * Only regular files and directories are opened; device nodes are not made.
 *
 * Everything in a message is the client's choice. One thread at a time; calls may block on the
 * host's disk.
 */
#pragma once

#include <sys/uio.h>

#include "p9_wire.h"

#define P9_SHARES_MAX  16u
#define P9_TAG_MAX     36u /* bytes */
#define P9_MESSAGE_MAX (512u << 10)
#define P9_MESSAGE_MIN 4096u
#define P9_CALL_MAX    8192u  /* of a message without Twrite's data */
#define P9_REPLY_MAX   16384u /* of a reply without Rread's data */
#define P9_FIDS_MAX    4096u

struct p9_share_setup {
    const char *tag; /* 1..P9_TAG_MAX bytes, copied */
    int root_fd;     /* a directory, O_PATH is enough; borrowed until destroy */
    bool is_read_only;
};

struct p9_server_setup {
    const struct p9_share_setup *shares;
    unsigned share_count; /* 1..P9_SHARES_MAX */
    int proc_fd;          /* /proc/self/fd of the serving process; borrowed until destroy */
    unsigned fids_max;    /* 0: what the limit of open files allows, at most P9_FIDS_MAX */
};

struct p9_server;

/* 0, -ENOMEM, or -errno of looking at a root. */
int p9_server_create(const struct p9_server_setup *setup, struct p9_server **out) MUST_CHECK;
void p9_server_destroy(struct p9_server *s);

/* Forget every fid, as after Tversion. */
void p9_server_reset(struct p9_server *s);

/* One message and the room for its reply. */
struct p9_call {
    uint8_t in[P9_CALL_MAX]; /* the message, or its beginning when it is a Twrite */
    size_t in_size;
    size_t message_size;         /* bytes that the client sent; >= in_size */
    const struct iovec *data_in; /* the message from P9_WRITE_HEADER_SIZE on; for writev only */
    unsigned data_in_count;
    const struct iovec *data_out; /* the reply's room from P9_READ_HEADER_SIZE on; for readv only */
    unsigned data_out_count;
    size_t reply_max;          /* room for the reply in all, >= P9_ERROR_SIZE */
    uint8_t out[P9_REPLY_MAX]; /* the reply, without Rread's data */
    size_t out_size;           /* bytes of it */
};

/*
 * Serve one message. Fills call->out and out_size; returns the size of the reply with the data that
 * went to data_out. -EPROTO when the message has no header to answer to.
 */
long p9_server_call(struct p9_server *s, struct p9_call *call) MUST_CHECK;

/*
 * What a snapshot holds of the session (struct snapshot_9p): the most bytes that it takes now, and
 * the bytes, written to zeroed memory; how many of them. A file that its path no longer leads to
 * (unlinked, renamed away) is written down as lost. No call is under way.
 */
size_t p9_server_state_size(const struct p9_server *s);
size_t p9_server_save(const struct p9_server *s, void *state, size_t room);
/*
 * Hostile bytes into a server just created, with shares of the same tags. Files are found by their
 * paths; whoever uses one that is not there gets ESTALE. 0, or -errno and a text in *why.
 */
int p9_server_load(struct p9_server *s, const void *state, size_t size,
                   const char **why) MUST_CHECK;

/* For tests: fids alive. */
unsigned p9_server_fid_count(const struct p9_server *s);

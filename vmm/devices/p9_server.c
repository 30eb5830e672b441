/* SPDX-License-Identifier: Apache-2.0 */
/* The session: version, attach, walk, clunk; and which function serves which message. */
#include "p9_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "p9_internal.h"

#define VERSION          "9P2000.L"
#define VERSION_EXTENDED "9P2000.L.drupe"
#define FIDS_MIN         64u

static int version(struct p9_request *r)
{
    struct p9_server *s = r->server;
    const uint32_t size = p9_get32(&r->in);
    const struct p9_text text = p9_get_text(&r->in);
    const char *answer = "unknown";

    if (r->in.is_short) {
        return -EINVAL;
    }
    if (size < P9_MESSAGE_MIN) {
        return -EMSGSIZE;
    }
    p9_server_reset(s);
    if (text.size == strlen(VERSION_EXTENDED) &&
        memcmp(text.bytes, VERSION_EXTENDED, text.size) == 0) {
        s->has_extensions = true;
        answer = VERSION_EXTENDED;
    } else if (text.size >= strlen(VERSION) && memcmp(text.bytes, VERSION, strlen(VERSION)) == 0) {
        answer = VERSION; /* an unknown extension of it: what it extends */
    }
    if (answer[0] == '9') {
        s->message_max = min_of(size, P9_MESSAGE_MAX);
    }
    p9_put32(&r->out, min_of(size, P9_MESSAGE_MAX));
    p9_put_text(&r->out, answer, strlen(answer));
    return 0;
}

static int flush(struct p9_request *r)
{
    (void)r; /* messages are served in order: the old one has been answered */
    return 0;
}

/* An empty name is the only share. */
static const struct p9_share *share_find(const struct p9_server *s, struct p9_text name)
{
    if (name.size == 0 && s->share_count == 1) {
        return &s->shares[0];
    }
    for (unsigned i = 0; i < s->share_count; i++) {
        if (strlen(s->shares[i].tag) == name.size &&
            memcmp(s->shares[i].tag, name.bytes, name.size) == 0) {
            return &s->shares[i];
        }
    }
    return NULL;
}

int p9_attach(struct p9_request *r)
{
    const uint32_t id = p9_get32(&r->in);
    const uint32_t auth = p9_get32(&r->in);
    const struct p9_text user = p9_get_text(&r->in);
    const struct p9_text name = p9_get_text(&r->in);
    const uint32_t uid = p9_get32(&r->in);
    const struct p9_share *share = share_find(r->server, name);
    struct p9_fid *f;
    struct p9_qid qid;
    int fd;
    int err;

    (void)user;
    if (r->in.is_short || auth != P9_FID_NONE) {
        return -EINVAL;
    }
    if (share == NULL) {
        return -ENOENT;
    }
    fd = fcntl(share->root_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    err = p9_fid_add(r->server, id, share, uid, fd, &f);
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    qid = p9_qid_of(r->server, f, &share->root);
    p9_put_qid(&r->out, &qid);
    return 0;
}

/* One step down. An O_PATH descriptor or -errno. */
static int step(int dir, const char *name)
{
    const int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/*
 * Walk up to `count` names of the message from `from`; qids go to the reply. The descriptor of the
 * last one, or -1 when not all could be walked; *err says why the first one could not.
 */
static int walk_names(struct p9_request *r, const struct p9_fid *from, unsigned count, int *err)
{
    char name[P9_NAME_SIZE];
    unsigned done = 0;
    int at = fcntl(from->fd, F_DUPFD_CLOEXEC, 0);

    *err = at < 0 ? -errno : 0;
    while (*err == 0 && done < count) {
        struct p9_qid qid;
        struct stat st;
        int next = -1;

        *err = p9_take_name(r, name);
        if (*err == 0) {
            next = step(at, name);
            *err = min_of(next, 0);
        }
        if (*err == 0) {
            (void)close(at);
            at = next;
            *err = p9_stat_fd(at, &st);
        }
        if (*err == 0) {
            qid = p9_qid_of(r->server, from, &st);
            p9_put_qid(&r->out, &qid);
            done++;
        }
    }
    store_le16(r->out.bytes + P9_HEADER_SIZE, (uint16_t)done);
    if (*err < 0 && at >= 0) {
        (void)close(at);
    }
    if (*err < 0 && done > 0) {
        *err = 0; /* a partial walk is no error, and makes no fid */
        return -1;
    }
    return *err < 0 ? -1 : at;
}

/* `newid` becomes a fid of `fd`, taken over on every path; it may be the old fid's own number. */
static int bind_walked(struct p9_request *r, struct p9_fid *f, uint32_t newid, int fd)
{
    struct p9_fid *made;
    int err = 0;

    if (newid == f->id) {
        p9_fid_replace(f, fd);
        return 0;
    }
    err = p9_fid_add(r->server, newid, f->share, f->uid, fd, &made);
    if (err < 0) {
        (void)close(fd);
    }
    return err;
}

int p9_walk(struct p9_request *r)
{
    struct p9_fid *f = p9_take_fid(r);
    const uint32_t newid = p9_get32(&r->in);
    const unsigned count = p9_get16(&r->in);
    int err;
    int fd;

    if (f == NULL) {
        return -EBADF;
    }
    if (r->in.is_short || f->is_open || count > P9_WALK_MAX) {
        return -EINVAL;
    }
    p9_put16(&r->out, 0);
    fd = walk_names(r, f, count, &err);
    if (fd < 0) {
        return err;
    }
    return bind_walked(r, f, newid, fd);
}

/*
 * Tlookup fid newfid known[8] name: what name is, with attributes, in one message. Rlookup
 * bound[1] attr: newfid was made, unless the file is the one that the client knows by that qid path
 * already.
 */
int p9_lookup(struct p9_request *r)
{
    struct p9_fid *f = p9_take_fid(r);
    const uint32_t newid = p9_get32(&r->in);
    const uint64_t known = p9_get64(&r->in);
    const struct p9_text text = p9_get_text(&r->in);
    char name[P9_NAME_SIZE];
    struct stat st;
    bool is_known;
    int fd;
    int err;

    if (f == NULL) {
        return -EBADF;
    }
    if (r->in.is_short || f->is_open || newid == f->id) {
        return -EINVAL;
    }
    err = p9_name(text, name);
    if (err < 0) {
        return err;
    }
    fd = step(f->fd, name);
    if (fd < 0) {
        return fd;
    }
    err = p9_stat_fd(fd, &st);
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    is_known = known != 0 && p9_qid_of(r->server, f, &st).path == known;
    p9_put8(&r->out, is_known ? 0 : 1);
    p9_put_attr(r, f, &st);
    if (is_known) {
        (void)close(fd);
        return 0;
    }
    return bind_walked(r, f, newid, fd);
}

int p9_clunk(struct p9_request *r)
{
    struct p9_fid *f = p9_fid_find(r->server, p9_get32(&r->in)); /* a lost one as well */

    if (f == NULL) {
        return -EBADF;
    }
    p9_fid_remove(r->server, f);
    return 0;
}

/* Tremove takes a name away by its file; there is no such thing here. The fid goes all the same. */
static int refuse_remove(struct p9_request *r)
{
    const int err = p9_clunk(r);

    return err < 0 ? err : -EOPNOTSUPP;
}

static int refuse(struct p9_request *r)
{
    (void)r;
    return -EOPNOTSUPP; /* no authentication, no extended attributes */
}

static const struct {
    uint8_t type;
    bool is_extension;
    p9_handler serve;
} handlers[] = {
    { P9_TSTATFS, false, p9_statfs },     { P9_TLOPEN, false, p9_lopen },
    { P9_TLCREATE, false, p9_lcreate },   { P9_TSYMLINK, false, p9_symlink },
    { P9_TMKNOD, false, p9_mknod },       { P9_TRENAME, false, p9_rename },
    { P9_TREADLINK, false, p9_readlink }, { P9_TGETATTR, false, p9_getattr },
    { P9_TSETATTR, false, p9_setattr },   { P9_TXATTRWALK, false, refuse },
    { P9_TXATTRCREATE, false, refuse },   { P9_TREADDIR, false, p9_readdir },
    { P9_TFSYNC, false, p9_fsync },       { P9_TLOCK, false, p9_lock },
    { P9_TGETLOCK, false, p9_getlock },   { P9_TLINK, false, p9_link },
    { P9_TMKDIR, false, p9_mkdir },       { P9_TRENAMEAT, false, p9_renameat },
    { P9_TUNLINKAT, false, p9_unlinkat }, { P9_TVERSION, false, version },
    { P9_TAUTH, false, refuse },          { P9_TATTACH, false, p9_attach },
    { P9_TFLUSH, false, flush },          { P9_TWALK, false, p9_walk },
    { P9_TREAD, false, p9_read },         { P9_TWRITE, false, p9_write },
    { P9_TCLUNK, false, p9_clunk },       { P9_TREMOVE, false, refuse_remove },
    { P9_TLOOKUP, true, p9_lookup },      { P9_TOPENNEW, true, p9_open_new },
};

static int serve(struct p9_request *r, uint8_t type)
{
    const struct p9_server *s = r->server;

    if (s->message_max == 0 && type != P9_TVERSION) {
        return -EPROTO;
    }
    for (size_t i = 0; i < array_size(handlers); i++) {
        if (handlers[i].type == type && (!handlers[i].is_extension || s->has_extensions)) {
            return handlers[i].serve(r);
        }
    }
    return -EOPNOTSUPP;
}

static void put_header(struct p9_out *out, uint8_t type, uint16_t tag)
{
    out->size = 0;
    out->is_full = false;
    p9_put32(out, 0);
    p9_put8(out, type);
    p9_put16(out, tag);
}

long p9_server_call(struct p9_server *s, struct p9_call *call)
{
    struct p9_request r = { .server = s, .call = call };
    uint32_t size;
    uint8_t type;
    uint16_t tag;
    int err;

    assert(call->reply_max >= P9_ERROR_SIZE && call->in_size <= sizeof(call->in));
    r.in = (struct p9_in){ .at = call->in, .left = call->in_size };
    r.out =
        (struct p9_out){ .bytes = call->out, .limit = min_of(call->reply_max, sizeof(call->out)) };
    size = p9_get32(&r.in);
    type = p9_get8(&r.in);
    tag = p9_get16(&r.in);
    if (r.in.is_short) {
        return -EPROTO;
    }
    put_header(&r.out, (uint8_t)(type + 1), tag);
    if (size < P9_HEADER_SIZE || size > call->message_size || size > P9_MESSAGE_MAX) {
        err = -EMSGSIZE;
    } else {
        r.in.left = min_of(r.in.left, size - P9_HEADER_SIZE);
        call->message_size = size;
        err = serve(&r, type);
        err = err == -EBADF && r.is_stale ? -ESTALE : err;
    }
    if (err == 0 && r.out.is_full) {
        err = -EMSGSIZE; /* the client left too little room; what was done stays done */
    }
    if (err < 0) {
        put_header(&r.out, P9_RLERROR, tag);
        p9_put32(&r.out, (uint32_t)-err);
        r.data_size = 0;
    }
    call->out_size = r.out.size;
    assert(r.out.size + r.data_size <= call->reply_max);
    store_le32(call->out, (uint32_t)(r.out.size + r.data_size));
    return (long)(r.out.size + r.data_size);
}

/* Half of the files that the process may open, so that the rest of the monitor has room. */
static unsigned fids_allowed(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) {
        return P9_FIDS_MAX;
    }
    return (unsigned)max_of(min_of(limit.rlim_cur / 2, (rlim_t)P9_FIDS_MAX), (rlim_t)FIDS_MIN);
}

int p9_server_create(const struct p9_server_setup *setup, struct p9_server **out)
{
    struct p9_server *s;

    assert(setup->share_count >= 1 && setup->share_count <= P9_SHARES_MAX);
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->proc_fd = setup->proc_fd;
    s->fids_max = setup->fids_max != 0 ? setup->fids_max : fids_allowed();
    s->own_uid = geteuid();
    s->own_gid = getegid();
    s->may_chown = true;
    s->share_count = setup->share_count;
    for (unsigned i = 0; i < s->share_count; i++) {
        struct p9_share *share = &s->shares[i];

        assert(strlen(setup->shares[i].tag) <= P9_TAG_MAX);
        memcpy(share->tag, setup->shares[i].tag, strlen(setup->shares[i].tag));
        share->root_fd = setup->shares[i].root_fd;
        share->is_read_only = setup->shares[i].is_read_only;
        const int err = p9_stat_fd(share->root_fd, &share->root);

        if (err < 0) {
            free(s);
            return err;
        }
    }
    *out = s;
    return 0;
}

void p9_server_reset(struct p9_server *s)
{
    p9_fid_remove_all(s);
    s->message_max = 0;
    s->has_extensions = false;
}

void p9_server_destroy(struct p9_server *s)
{
    p9_fid_remove_all(s);
    free(s);
}

unsigned p9_server_fid_count(const struct p9_server *s)
{
    return s->fid_count;
}

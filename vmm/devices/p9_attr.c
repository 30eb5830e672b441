/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: of a file, of a link (its text), of the file system. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <base/assert.h>

#include "p9_internal.h"

#define GETATTR_BASIC UINT64_C(0x7ff)

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

static void put_time(struct p9_out *out, const struct timespec *t)
{
    p9_put64(out, (uint64_t)t->tv_sec);
    p9_put64(out, (uint64_t)t->tv_nsec);
}

void p9_put_attr(struct p9_request *r, const struct p9_fid *f, const struct stat *st)
{
    const struct p9_qid qid = p9_qid_of(r->server, f, st);
    struct p9_out *out = &r->out;

    p9_put64(out, GETATTR_BASIC);
    p9_put_qid(out, &qid);
    p9_put32(out, st->st_mode);
    p9_put32(out, st->st_uid == r->server->own_uid ? 0 : st->st_uid);
    p9_put32(out, st->st_gid == r->server->own_gid ? 0 : st->st_gid);
    p9_put64(out, st->st_nlink);
    p9_put64(out, st->st_rdev);
    p9_put64(out, (uint64_t)st->st_size);
    p9_put64(out, (uint64_t)st->st_blksize);
    p9_put64(out, (uint64_t)st->st_blocks);
    put_time(out, &st->st_atim);
    put_time(out, &st->st_mtim);
    put_time(out, &st->st_ctim);
    for (unsigned i = 0; i < 4; i++) {
        p9_put64(out, 0); /* birth time, generation, data version: not given */
    }
}

int p9_getattr(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint64_t wanted = p9_get64(&r->in);
    struct stat st;
    int err;

    (void)wanted; /* everything costs the same */
    if (f == NULL) {
        return -EBADF;
    }
    err = p9_stat(f, &st);
    if (err == 0) {
        p9_put_attr(r, f, &st);
    }
    return err;
}

struct changes {
    uint32_t valid;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    struct timespec times[2];
};

static int set_mode(struct p9_request *r, const struct p9_fid *f, const struct changes *c,
                    const struct stat *st)
{
    char name[P9_FD_NAME_SIZE];

    if (S_ISLNK(st->st_mode)) {
        return -EOPNOTSUPP;
    }
    p9_fd_name(f->fd, name);
    return fchmodat(r->server->proc_fd, name, p9_mode(c->mode, S_ISDIR(st->st_mode)), 0) < 0
               ? -errno
               : 0;
}

static int set_owner(const struct p9_request *r, const struct p9_fid *f, const struct changes *c,
                     const struct stat *st)
{
    const uid_t uid = c->valid & SET_UID ? c->uid : (uid_t)-1;
    const gid_t gid = c->valid & SET_GID ? c->gid : (gid_t)-1;
    /* To root, what is shown as root's already. */
    const bool is_there = (uid == (uid_t)-1 || (uid == 0 && st->st_uid == r->server->own_uid)) &&
                          (gid == (gid_t)-1 || (gid == 0 && st->st_gid == r->server->own_gid));

    if (fchownat(f->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0) {
        return 0;
    }
    return errno == EPERM && is_there ? 0 : -errno;
}

static int set_size(struct p9_request *r, const struct p9_fid *f, const struct changes *c,
                    const struct stat *st)
{
    int fd = f->fd;
    int err;

    if (S_ISDIR(st->st_mode)) {
        return -EISDIR;
    }
    if (!S_ISREG(st->st_mode) || c->size > INT64_MAX) {
        return -EINVAL;
    }
    if (!f->can_write) {
        fd = p9_reopen(r->server, f->fd, O_WRONLY);
        if (fd < 0) {
            return fd;
        }
    }
    err = ftruncate(fd, (off_t)c->size) < 0 ? -errno : 0;
    if (fd != f->fd) {
        (void)close(fd);
    }
    return err;
}

static int set_times(const struct p9_fid *f, const struct changes *c)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

    if (c->valid & SET_ATIME) {
        times[0] = (struct timespec){ .tv_nsec = UTIME_NOW };
    }
    if (c->valid & SET_ATIME_TO) {
        times[0] = c->times[0];
    }
    if (c->valid & SET_MTIME) {
        times[1] = (struct timespec){ .tv_nsec = UTIME_NOW };
    }
    if (c->valid & SET_MTIME_TO) {
        times[1] = c->times[1];
    }
    return utimensat(f->fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* A time from the client; its nanoseconds must not be one of utimensat's special values. */
static bool take_time(struct p9_in *in, struct timespec *t)
{
    const uint64_t sec = p9_get64(in);
    const uint64_t nsec = p9_get64(in);

    *t = (struct timespec){ .tv_sec = (time_t)sec,
                            .tv_nsec = (long)min_of(nsec, UINT64_C(999999999)) };
    return nsec <= 999999999;
}

int p9_setattr(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    struct changes c = { .valid = p9_get32(&r->in) };
    bool are_times_good;
    struct stat st;
    int err;

    c.mode = p9_get32(&r->in);
    c.uid = p9_get32(&r->in);
    c.gid = p9_get32(&r->in);
    c.size = p9_get64(&r->in);
    are_times_good = take_time(&r->in, &c.times[0]);
    are_times_good = take_time(&r->in, &c.times[1]) && are_times_good;
    if (f == NULL) {
        return -EBADF;
    }
    if (r->in.is_short || (!are_times_good && (c.valid & (SET_ATIME_TO | SET_MTIME_TO)) != 0)) {
        return -EINVAL;
    }
    err = p9_check_writable(f);
    err = err < 0 ? err : p9_stat(f, &st);
    if (err == 0 && (c.valid & (SET_UID | SET_GID)) != 0) {
        err = set_owner(r, f, &c, &st);
    }
    if (err == 0 && (c.valid & SET_MODE) != 0) {
        err = set_mode(r, f, &c, &st);
    }
    if (err == 0 && (c.valid & SET_SIZE) != 0) {
        err = set_size(r, f, &c, &st);
    }
    if (err == 0 && (c.valid & (SET_ATIME | SET_MTIME | SET_ATIME_TO | SET_MTIME_TO)) != 0) {
        err = set_times(f, &c);
    }
    return err;
}

int p9_readlink(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    char text[PATH_MAX];
    ssize_t n;

    if (f == NULL) {
        return -EBADF;
    }
    n = readlinkat(f->fd, "", text, sizeof(text));
    if (n < 0) {
        return errno == ENOENT ? -EINVAL : -errno; /* ENOENT: no link */
    }
    p9_put_text(&r->out, text, (size_t)n);
    return 0;
}

int p9_statfs(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    struct statfs s;

    if (f == NULL) {
        return -EBADF;
    }
    if (fstatfs(f->fd, &s) < 0) {
        return -errno;
    }
    p9_put32(&r->out, (uint32_t)s.f_type);
    p9_put32(&r->out, (uint32_t)s.f_bsize);
    p9_put64(&r->out, s.f_blocks);
    p9_put64(&r->out, s.f_bfree);
    p9_put64(&r->out, s.f_bavail);
    p9_put64(&r->out, s.f_files);
    p9_put64(&r->out, s.f_ffree);
    p9_put64(&r->out, 0); /* the host's file system id is the host's */
    p9_put32(&r->out, (uint32_t)min_of(s.f_namelen, (long)P9_NAME_MAX));
    return 0;
}

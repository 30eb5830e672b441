/* SPDX-License-Identifier: Apache-2.0 */
/* Opened files: open, create, read, write, list, sync, lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/assert.h>

#include "p9_internal.h"

#define IOV_MAX_USED 128u
#define DENTS_SIZE   8192u
#define DENT_FIXED   (P9_QID_SIZE + 8u + 1u + 2u)

/* A lock's answers. */
enum {
    LOCK_SUCCESS = 0,
    LOCK_BLOCKED = 1,
    LOCK_ERROR = 2,
};

static bool wants_write(uint32_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_TRUNC | O_CREAT)) != 0;
}

/* What stands behind an O_PATH descriptor, opened. */
static int open_file(struct p9_request *r, const struct p9_fid *f, uint32_t flags, struct stat *st)
{
    int err = wants_write(flags) ? p9_check_writable(f) : 0;

    err = err < 0 ? err : p9_stat(f, st);
    if (err < 0) {
        return err;
    }
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
        /* A fifo would block us, a device is not the client's to open. */
        return S_ISLNK(st->st_mode) ? -ELOOP : -ENXIO;
    }
    return p9_reopen(r->server, f->fd, (int)flags & P9_OPEN_FLAGS);
}

static void put_opened(struct p9_request *r, const struct p9_fid *f, const struct stat *st)
{
    const struct p9_qid qid = p9_qid_of(r->server, f, st);

    p9_put_qid(&r->out, &qid);
    p9_put32(&r->out, 0); /* transfers as long as a message may be */
}

int p9_lopen(struct p9_request *r)
{
    struct p9_fid *f = p9_take_fid(r);
    const uint32_t flags = p9_get32(&r->in);
    struct stat st;
    int fd;

    if (f == NULL) {
        return -EBADF;
    }
    if (r->in.is_short || f->is_open) {
        return -EINVAL;
    }
    fd = open_file(r, f, flags, &st);
    if (fd < 0) {
        return fd;
    }
    p9_fid_replace(f, fd);
    p9_fid_opened(f, flags);
    put_opened(r, f, &st);
    return 0;
}

/* Topennew fid newfid flags: Twalk without names and Tlopen in one. Answers as Tlopen. */
int p9_open_new(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint32_t newid = p9_get32(&r->in);
    const uint32_t flags = p9_get32(&r->in);
    struct p9_fid *made;
    struct stat st;
    int err;
    int fd;

    if (f == NULL) {
        return -EBADF;
    }
    if (r->in.is_short || f->is_open) {
        return -EINVAL;
    }
    fd = open_file(r, f, flags, &st);
    if (fd < 0) {
        return fd;
    }
    err = p9_fid_add(r->server, newid, f->share, f->uid, fd, &made);
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    p9_fid_opened(made, flags);
    put_opened(r, made, &st);
    return 0;
}

/* The name exists: it is opened as what it is, if it is a file. */
static int open_existing(struct p9_request *r, const struct p9_fid *dir, const char *name,
                         uint32_t flags)
{
    struct p9_fid found = *dir;
    struct stat st;
    int fd;

    found.fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found.fd < 0) {
        return -errno;
    }
    fd = open_file(r, &found, flags, &st);
    (void)close(found.fd);
    return fd;
}

static int create_file(struct p9_request *r, const struct p9_fid *dir, const char *name,
                       uint32_t flags, mode_t mode, uint32_t gid)
{
    /* O_EXCL: never through a link, never a fifo or device that stands there. */
    int fd = openat(dir->fd, name,
                    ((int)flags & P9_OPEN_FLAGS & ~O_DIRECTORY) | O_CREAT | O_EXCL | O_NOFOLLOW |
                        O_CLOEXEC | O_NOCTTY,
                    mode);
    int err;

    if (fd < 0 && errno == EEXIST && !(flags & O_EXCL)) {
        return open_existing(r, dir, name, flags & ~(uint32_t)O_CREAT);
    }
    if (fd < 0) {
        return -errno;
    }
    err = p9_adopt(dir, r->server, fd, mode, gid);
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    return fd;
}

int p9_lcreate(struct p9_request *r)
{
    struct p9_fid *f = p9_take_fid(r);
    char name[P9_NAME_SIZE];
    int err = p9_take_name(r, name);
    const uint32_t flags = p9_get32(&r->in);
    const mode_t mode = p9_mode(p9_get32(&r->in), false);
    const uint32_t gid = p9_get32(&r->in);
    struct stat st;
    int fd;

    if (f == NULL) {
        return -EBADF;
    }
    err = err < 0 ? err : p9_check_writable(f);
    if (err < 0) {
        return err;
    }
    if (r->in.is_short || f->is_open) {
        return -EINVAL;
    }
    fd = create_file(r, f, name, flags, mode, gid);
    if (fd < 0) {
        return fd;
    }
    p9_fid_replace(f, fd); /* the fid was the directory and is the file now */
    p9_fid_opened(f, flags);
    err = p9_stat(f, &st);
    if (err == 0) {
        put_opened(r, f, &st);
    }
    return err;
}

/* The first `size` bytes of a lent range. Returns how many vectors, *size what they hold. */
static unsigned cut(const struct iovec *from, unsigned count, size_t *size,
                    struct iovec to[IOV_MAX_USED])
{
    size_t left = *size;
    unsigned n = 0;

    while (n < count && n < IOV_MAX_USED && left > 0) {
        to[n] = from[n];
        to[n].iov_len = min_of(to[n].iov_len, left);
        left -= to[n].iov_len;
        n++;
    }
    *size -= left;
    return n;
}

int p9_read(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint64_t offset = p9_get64(&r->in);
    const uint32_t count = p9_get32(&r->in);
    struct iovec iov[IOV_MAX_USED];
    size_t size = min_of(count, P9_MESSAGE_MAX);
    unsigned vectors;
    ssize_t n;

    if (f == NULL || !f->is_open) {
        return -EBADF;
    }
    if (r->in.is_short || offset > INT64_MAX) {
        return -EINVAL;
    }
    if (r->call->reply_max < P9_READ_HEADER_SIZE) {
        return -EMSGSIZE;
    }
    size = min_of(size, r->call->reply_max - P9_READ_HEADER_SIZE);
    vectors = cut(r->call->data_out, r->call->data_out_count, &size, iov);
    n = vectors > 0 ? preadv(f->fd, iov, (int)vectors, (off_t)offset) : 0;
    if (n < 0) {
        return -errno;
    }
    assert((size_t)n <= size);
    p9_put32(&r->out, (uint32_t)n);
    r->data_size = (size_t)n;
    return 0;
}

int p9_write(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint64_t offset = p9_get64(&r->in);
    const uint32_t count = p9_get32(&r->in);
    struct iovec iov[IOV_MAX_USED];
    size_t size = count;
    unsigned vectors;
    ssize_t n;

    if (f == NULL || !f->is_open || !f->can_write) {
        return -EBADF;
    }
    if (r->in.is_short || offset > INT64_MAX ||
        count > r->call->message_size - P9_WRITE_HEADER_SIZE) {
        return -EINVAL;
    }
    vectors = cut(r->call->data_in, r->call->data_in_count, &size, iov);
    n = vectors > 0 ? pwritev(f->fd, iov, (int)vectors, (off_t)offset) : 0;
    if (n < 0) {
        return -errno;
    }
    p9_put32(&r->out, (uint32_t)n);
    return 0;
}

/* The kernel's record of getdents64(2). */
struct dent {
    uint64_t ino;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static_assert(offsetof(struct dent, name) == 19, "struct linux_dirent64");

/* Turn records into entries while they fit. True if all did. */
static bool put_entries(struct p9_request *r, const struct p9_fid *f, struct stat *st,
                        const uint8_t *records, size_t size, size_t limit)
{
    for (size_t at = 0; at < size;) {
        const struct dent *d = (const struct dent *)(const void *)(records + at);
        const size_t length = strlen(d->name);

        if (r->out.size + DENT_FIXED + length > limit) {
            return false;
        }
        st->st_ino = d->ino;
        st->st_mode = (mode_t)d->type << 12; /* DT_* are the type bits of a mode */
        const struct p9_qid qid = p9_qid_of(r->server, f, st);

        p9_put_qid(&r->out, &qid);
        p9_put64(&r->out, (uint64_t)d->next);
        p9_put8(&r->out, d->type);
        p9_put_text(&r->out, d->name, length);
        at += d->size;
    }
    return true;
}

int p9_readdir(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint64_t offset = p9_get64(&r->in);
    const uint32_t count = p9_get32(&r->in);
    _Alignas(8) uint8_t records[DENTS_SIZE];
    const size_t start = r->out.size + 4;
    size_t limit;
    struct stat st;
    int err;

    if (f == NULL || !f->is_open) {
        return -EBADF;
    }
    err = p9_stat(f, &st);
    if (err < 0 || r->in.is_short || offset > INT64_MAX) {
        return err < 0 ? err : -EINVAL;
    }
    if (lseek(f->fd, (off_t)offset, SEEK_SET) < 0) {
        return -errno;
    }
    limit = start + min_of((size_t)count, r->out.limit - min_of(start, r->out.limit));
    p9_put32(&r->out, 0);
    for (;;) {
        const long n = syscall(SYS_getdents64, f->fd, records, sizeof(records));

        if (n < 0 && r->out.size == start) {
            return -errno;
        }
        if (n <= 0) {
            break;
        }
        if (!put_entries(r, f, &st, records, (size_t)n, limit)) {
            if (r->out.size == start) {
                return -EINVAL; /* not room for one entry: as getdents64(2) */
            }
            break;
        }
    }
    struct p9_out head = { .bytes = r->out.bytes + start - 4, .limit = 4 };

    p9_put32(&head, (uint32_t)(r->out.size - start));
    return 0;
}

int p9_fsync(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint32_t is_data_only = p9_get32(&r->in);

    if (f == NULL || !f->is_open) {
        return -EBADF;
    }
    return (is_data_only != 0 ? fdatasync(f->fd) : fsync(f->fd)) < 0 ? -errno : 0;
}

/* Lock numbers of the protocol are F_RDLCK, F_WRLCK, F_UNLCK of Linux. */
static int take_lock(struct p9_request *r, uint8_t type, struct flock *out)
{
    const uint64_t start = p9_get64(&r->in);
    const uint64_t length = p9_get64(&r->in);

    *out = (struct flock){ .l_type = type, .l_whence = SEEK_SET };
    if (r->in.is_short || type > F_UNLCK || start > INT64_MAX || length > INT64_MAX) {
        return -EINVAL;
    }
    out->l_start = (off_t)start;
    out->l_len = (off_t)length;
    return 0;
}

/* Locks belong to the open file: the client keeps its own processes apart. */
int p9_lock(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint8_t type = p9_get8(&r->in);
    const uint32_t flags = p9_get32(&r->in);
    struct flock lock;
    const int err = take_lock(r, type, &lock);

    (void)flags; /* "blocking": the client asks again, we never wait */
    if (f == NULL || !f->is_open) {
        return -EBADF;
    }
    if (err < 0) {
        return err;
    }
    if (fcntl(f->fd, F_OFD_SETLK, &lock) == 0) {
        p9_put8(&r->out, LOCK_SUCCESS);
    } else {
        p9_put8(&r->out, errno == EAGAIN || errno == EACCES ? LOCK_BLOCKED : LOCK_ERROR);
    }
    return 0;
}

int p9_getlock(struct p9_request *r)
{
    const struct p9_fid *f = p9_take_fid(r);
    const uint8_t type = p9_get8(&r->in);
    struct flock lock;
    const int err = take_lock(r, type, &lock);
    const uint32_t pid = p9_get32(&r->in);
    const struct p9_text client = p9_get_text(&r->in);

    if (f == NULL || !f->is_open) {
        return -EBADF;
    }
    if (err < 0 || r->in.is_short) {
        return -EINVAL;
    }
    if (fcntl(f->fd, F_OFD_GETLK, &lock) < 0) {
        return -errno;
    }
    p9_put8(&r->out, (uint8_t)lock.l_type);
    p9_put64(&r->out, (uint64_t)lock.l_start);
    p9_put64(&r->out, (uint64_t)lock.l_len);
    p9_put32(&r->out, pid);
    p9_put_text(&r->out, client.bytes, client.size);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Fids, and what their descriptors stand for. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "p9_internal.h"

static struct p9_fid **bucket_of(struct p9_server *s, uint32_t id)
{
    return &s->buckets[(id ^ id >> 8) % P9_BUCKETS];
}

struct p9_fid *p9_fid_find(const struct p9_server *s, uint32_t id)
{
    struct p9_fid *f = s->buckets[(id ^ id >> 8) % P9_BUCKETS];

    while (f != NULL && f->id != id) {
        f = f->next;
    }
    return f;
}

struct p9_fid *p9_take_fid(struct p9_request *r)
{
    struct p9_fid *f = p9_fid_find(r->server, p9_get32(&r->in));

    r->is_stale = r->is_stale || (f != NULL && f->fd < 0);
    return f != NULL && f->fd >= 0 ? f : NULL;
}

int p9_fid_add(struct p9_server *s, uint32_t id, const struct p9_share *share, uint32_t uid, int fd,
               struct p9_fid **out)
{
    struct p9_fid **bucket = bucket_of(s, id);
    struct p9_fid *f;

    if (id == P9_FID_NONE || p9_fid_find(s, id) != NULL) {
        return -EBADF;
    }
    if (s->fid_count >= s->fids_max) {
        return -ENFILE;
    }
    f = malloc(sizeof(*f));
    if (f == NULL) {
        return -ENOMEM;
    }
    *f = (struct p9_fid){ .next = *bucket, .share = share, .id = id, .fd = fd, .uid = uid };
    *bucket = f;
    s->fid_count++;
    *out = f;
    return 0;
}

static void fid_free(struct p9_fid *f)
{
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    free(f);
}

void p9_fid_remove(struct p9_server *s, struct p9_fid *f)
{
    struct p9_fid **at = bucket_of(s, f->id);

    while (*at != f) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = f->next;
    assert(s->fid_count > 0);
    s->fid_count--;
    fid_free(f);
}

void p9_fid_remove_all(struct p9_server *s)
{
    for (unsigned i = 0; i < P9_BUCKETS; i++) {
        while (s->buckets[i] != NULL) {
            struct p9_fid *f = s->buckets[i];

            s->buckets[i] = f->next;
            fid_free(f);
        }
    }
    s->fid_count = 0;
}

void p9_fid_replace(struct p9_fid *f, int fd)
{
    assert(fd >= 0);
    (void)close(f->fd);
    f->fd = fd;
}

void p9_fid_opened(struct p9_fid *f, uint32_t flags)
{
    f->is_open = true;
    f->can_write = (flags & O_ACCMODE) != O_RDONLY;
    f->open_flags = (int)flags & P9_OPEN_FLAGS & ~O_TRUNC;
}

/* ---- names and files */

int p9_name(struct p9_text text, char name[P9_NAME_SIZE])
{
    if (text.size > P9_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (text.size == 0 || memchr(text.bytes, '/', text.size) != NULL ||
        memchr(text.bytes, '\0', text.size) != NULL) {
        return -EINVAL;
    }
    memcpy(name, text.bytes, text.size);
    name[text.size] = '\0';
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? -EINVAL : 0;
}

int p9_take_name(struct p9_request *r, char name[P9_NAME_SIZE])
{
    return p9_name(p9_get_text(&r->in), name);
}

int p9_stat_fd(int fd, struct stat *st)
{
    return fstatat(fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int p9_stat(const struct p9_fid *f, struct stat *st)
{
    return p9_stat_fd(f->fd, st);
}

/* A small number for a host device; the share's roots come first. */
static unsigned device_index(struct p9_server *s, dev_t dev)
{
    for (unsigned i = 0; i < s->device_count; i++) {
        if (s->devices[i] == dev) {
            return i;
        }
    }
    if (s->device_count == P9_DEVICES_MAX) {
        return P9_DEVICES_MAX; /* numbers of such devices may coincide */
    }
    s->devices[s->device_count] = dev;
    return s->device_count++;
}

struct p9_qid p9_qid_of(struct p9_server *s, const struct p9_fid *f, const struct stat *st)
{
    struct p9_qid qid = { .path = st->st_ino };

    if (st->st_dev != f->share->root.st_dev) {
        qid.path ^= (uint64_t)(device_index(s, st->st_dev) + 1) << 56;
    }
    if (S_ISDIR(st->st_mode)) {
        qid.type = 0x80;
    } else if (S_ISLNK(st->st_mode)) {
        qid.type = 0x02;
    }
    qid.version = (uint32_t)st->st_mtim.tv_sec * 1000u + (uint32_t)(st->st_mtim.tv_nsec / 1000000) +
                  (uint32_t)st->st_size;
    return qid;
}

void p9_fd_name(int fd, char name[P9_FD_NAME_SIZE])
{
    (void)fmt_snprintf(name, P9_FD_NAME_SIZE, "%d", fd);
}

int p9_reopen(const struct p9_server *s, int fd, int flags)
{
    char name[P9_FD_NAME_SIZE];
    int opened;

    p9_fd_name(fd, name);
    opened = openat(s->proc_fd, name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return opened < 0 ? -errno : opened;
}

int p9_check_writable(const struct p9_fid *f)
{
    return f->share->is_read_only ? -EROFS : 0;
}

mode_t p9_mode(mode_t mode, bool is_directory)
{
    return mode & (is_directory ? 07777u : 01777u);
}

/* The owner that a new file should have: who is attached, and the group that was asked for. */
static int give_owner(struct p9_server *s, const struct p9_fid *dir, int fd, uint32_t gid,
                      const struct stat *st)
{
    if (!s->may_chown || ((dir->uid == P9_FID_NONE || dir->uid == st->st_uid) &&
                          (gid == P9_FID_NONE || gid == st->st_gid))) {
        return 0;
    }
    if (fchownat(fd, "", dir->uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0) {
        return 0;
    }
    if (errno != EPERM) {
        return -errno;
    }
    s->may_chown = false; /* an ordinary user's monitor: what it makes is its own */
    return 0;
}

int p9_adopt(const struct p9_fid *dir, struct p9_server *s, int fd, mode_t mode, uint32_t gid)
{
    char name[P9_FD_NAME_SIZE];
    struct stat st;
    int err = p9_stat_fd(fd, &st);

    err = err < 0 ? err : give_owner(s, dir, fd, gid, &st);
    if (err < 0) {
        return err;
    }
    p9_fd_name(fd, name);
    if (!S_ISLNK(st.st_mode) && (st.st_mode & 07777u) != mode &&
        fchmodat(s->proc_fd, name, mode, 0) < 0) {
        return -errno;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Names: made, linked, renamed, removed. Each call names a directory by fid and one component. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "p9_internal.h"

/* A directory whose names may change, then a name in it. */
static int take_place(struct p9_request *r, struct p9_fid **dir, char name[P9_NAME_SIZE])
{
    int err = 0;

    *dir = p9_take_fid(r);
    err = p9_take_name(r, name);
    if (*dir == NULL) {
        return -EBADF;
    }
    return err < 0 ? err : p9_check_writable(*dir);
}

/* Something was just made under `name`: owner, mode, and its qid into the reply. */
static int finish_new(struct p9_request *r, const struct p9_fid *dir, const char *name, mode_t mode,
                      uint32_t gid)
{
    const int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct p9_qid qid;
    struct stat st;
    int err;

    if (fd < 0) {
        return -errno;
    }
    err = p9_adopt(dir, r->server, fd, mode, gid);
    err = err < 0 ? err : p9_stat_fd(fd, &st);
    (void)close(fd);
    if (err == 0) {
        qid = p9_qid_of(r->server, dir, &st);
        p9_put_qid(&r->out, &qid);
    }
    return err;
}

int p9_mkdir(struct p9_request *r)
{
    char name[P9_NAME_SIZE];
    struct p9_fid *dir;
    const int err = take_place(r, &dir, name);
    const mode_t mode = p9_mode(p9_get32(&r->in), true);
    const uint32_t gid = p9_get32(&r->in);

    if (err < 0) {
        return err;
    }
    if (r->in.is_short) {
        return -EINVAL;
    }
    if (mkdirat(dir->fd, name, mode) < 0) {
        return -errno;
    }
    return finish_new(r, dir, name, mode, gid);
}

int p9_symlink(struct p9_request *r)
{
    char name[P9_NAME_SIZE];
    char target[PATH_MAX];
    struct p9_fid *dir;
    const int err = take_place(r, &dir, name);
    const struct p9_text text = p9_get_text(&r->in);
    const uint32_t gid = p9_get32(&r->in);

    if (err < 0) {
        return err;
    }
    if (r->in.is_short || text.size == 0 || memchr(text.bytes, '\0', text.size) != NULL) {
        return -EINVAL;
    }
    if (text.size >= sizeof(target)) {
        return -ENAMETOOLONG;
    }
    memcpy(target, text.bytes, text.size);
    target[text.size] = '\0';
    if (symlinkat(target, dir->fd, name) < 0) {
        return -errno;
    }
    return finish_new(r, dir, name, 0, gid);
}

/* Plain files, fifos, sockets. A device node would be a door into the host. */
int p9_mknod(struct p9_request *r)
{
    char name[P9_NAME_SIZE];
    struct p9_fid *dir;
    const int err = take_place(r, &dir, name);
    const mode_t mode = p9_get32(&r->in);
    const uint32_t major = p9_get32(&r->in);
    const uint32_t minor = p9_get32(&r->in);
    const uint32_t gid = p9_get32(&r->in);
    const mode_t kind = mode & S_IFMT;
    const mode_t bits = p9_mode(mode, false);

    (void)major;
    (void)minor;
    if (err < 0) {
        return err;
    }
    if (r->in.is_short) {
        return -EINVAL;
    }
    if (kind != S_IFREG && kind != S_IFIFO && kind != S_IFSOCK) {
        return -EPERM;
    }
    if (mknodat(dir->fd, name, kind | bits, 0) < 0) {
        return -errno;
    }
    return finish_new(r, dir, name, bits, gid);
}

int p9_link(struct p9_request *r)
{
    char from[P9_FD_NAME_SIZE];
    char name[P9_NAME_SIZE];
    const struct p9_fid *dir = p9_take_fid(r);
    const struct p9_fid *f = p9_take_fid(r);
    int err = p9_take_name(r, name);

    if (dir == NULL || f == NULL) {
        return -EBADF;
    }
    err = err < 0 ? err : p9_check_writable(dir);
    if (err < 0) {
        return err;
    }
    if (dir->share != f->share) {
        return -EXDEV;
    }
    p9_fd_name(f->fd, from);
    /* Through /proc, since AT_EMPTY_PATH asks for a capability. */
    return linkat(r->server->proc_fd, from, dir->fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int rename_in(const struct p9_fid *from, const char *old, const struct p9_fid *to,
                     const char *new)
{
    int err = p9_check_writable(from);

    if (err < 0) {
        return err;
    }
    if (from->share != to->share) {
        return -EXDEV;
    }
    return renameat(from->fd, old, to->fd, new) < 0 ? -errno : 0;
}

int p9_renameat(struct p9_request *r)
{
    char old[P9_NAME_SIZE];
    char new[P9_NAME_SIZE];
    const struct p9_fid *from = p9_take_fid(r);
    const int err = p9_take_name(r, old);
    const struct p9_fid *to = p9_take_fid(r);
    const int err_new = p9_take_name(r, new);

    if (from == NULL || to == NULL) {
        return -EBADF;
    }
    if (err < 0 || err_new < 0) {
        return err < 0 ? err : err_new;
    }
    return rename_in(from, old, to, new);
}

/* Trename names the file by its fid alone. A descriptor has no name that could be trusted here, and
 * every client of 9P2000.L falls back from Trenameat, not to it. */
int p9_rename(struct p9_request *r)
{
    (void)r;
    return -EOPNOTSUPP;
}

int p9_unlinkat(struct p9_request *r)
{
    char name[P9_NAME_SIZE];
    struct p9_fid *dir;
    const int err = take_place(r, &dir, name);
    const uint32_t flags = p9_get32(&r->in);

    if (err < 0) {
        return err;
    }
    if (r->in.is_short || (flags & ~(uint32_t)AT_REMOVEDIR) != 0) {
        return -EINVAL;
    }
    return unlinkat(dir->fd, name, (int)flags) < 0 ? -errno : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: names made, removed, renamed, listed. */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/p9/p9.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <sched/task.h>

#define QID_SIZE      13u
#define LISTING_SIZE  (PAGE_SIZE - 512u)
#define AT_REMOVE_DIR 0x200u
#define FIRST_COOKIE  2u /* 0 and 1 are "." and ".." of the VFS */

static struct p9_session *session_of(const struct inode *dir)
{
    return p9_node_of(dir)->fs->session;
}

/* A message that begins with a directory and a name. */
static struct p9_call *begin_named(struct inode *dir, uint8_t type, const struct name *name,
                                   uint32_t out, uint32_t in)
{
    struct p9_call *c = p9_begin(session_of(dir), type, 4 + 2 + name->length + out, in);

    if (c) {
        p9_put32(&c->put, p9_node_of(dir)->fid);
        p9_put_text(&c->put, name->text, name->length);
    }
    return c;
}

static int run_and_end(struct inode *dir, struct p9_call *c)
{
    int err = p9_run(session_of(dir), c);

    p9_end(c);
    return err;
}

/* The server makes files for the user that is attached: root. Others are given what is theirs, as
 * far as the host lets the monitor. */
static void give_owner(struct inode *made)
{
    const struct cred *cred = current->cred;
    struct attr a = { .mask = ATTR_UID, .uid = cred ? cred->fsuid : 0 };

    if (a.uid != made->uid && a.uid != 0) {
        (void)p9_setattr(made, &a);
    }
}

static int look_up_made(struct inode *dir, const struct name *name, struct inode **out)
{
    int err = p9_lookup(dir, name, out);

    if (err == 0) {
        give_owner(*out);
    }
    return err;
}

static uint32_t group(const struct inode *dir)
{
    return dir->mode & S_ISGID ? dir->gid : current->cred->fsgid;
}

/* A plain file is made by Tlcreate, which opens it: the open(2) that follows takes that fid, since
 * the file's mode may forbid another. */
static int create_file(struct inode *dir, const struct name *name, uint32_t mode,
                       struct inode **out)
{
    struct p9_session *s = session_of(dir);
    uint32_t fid = p9_new_fid(s);
    struct p9_call *c = p9_begin(s, P9_TWALK, 10, 2);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, p9_node_of(dir)->fid);
    p9_put32(&c->put, fid);
    p9_put16(&c->put, 0);
    err = p9_run_making_fid(s, c);
    p9_end(c);
    if (err < 0) {
        return err;
    }
    c = p9_begin(s, P9_TLCREATE, 4 + 2 + name->length + 12, QID_SIZE + 4);
    err = c ? 0 : -ENOMEM;
    if (c) {
        p9_put32(&c->put, fid);
        p9_put_text(&c->put, name->text, name->length);
        p9_put32(&c->put, O_RDWR | O_CREAT | O_EXCL | O_LARGEFILE);
        p9_put32(&c->put, mode & S_PERM);
        p9_put32(&c->put, group(dir));
        err = run_and_end(dir, c);
    }
    err = err < 0 ? err : look_up_made(dir, name, out);
    if (err < 0 || !S_ISREG((*out)->mode)) {
        p9_clunk(s, fid);
        return err;
    }
    p9_clunk(s, atomic_exchange_explicit(&p9_node_of(*out)->fresh_fid, fid, memory_order_acq_rel));
    return 0;
}

static int p9_create(struct inode *dir, const struct name *name, uint32_t mode, dev_t rdev,
                     struct inode **out)
{
    struct p9_call *c;
    int err;

    if (S_ISREG(mode)) {
        return create_file(dir, name, mode, out);
    }
    c = begin_named(dir, P9_TMKNOD, name, 16, QID_SIZE);
    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, mode);
    p9_put32(&c->put, dev_major(rdev));
    p9_put32(&c->put, dev_minor(rdev));
    p9_put32(&c->put, group(dir));
    err = run_and_end(dir, c);
    return err < 0 ? err : look_up_made(dir, name, out);
}

static int p9_mkdir(struct inode *dir, const struct name *name, uint32_t mode, struct inode **out)
{
    struct p9_call *c = begin_named(dir, P9_TMKDIR, name, 8, QID_SIZE);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, (mode & S_PERM) | (dir->mode & S_ISGID));
    p9_put32(&c->put, group(dir));
    err = run_and_end(dir, c);
    return err < 0 ? err : look_up_made(dir, name, out);
}

static int p9_symlink(struct inode *dir, const struct name *name, const char *target,
                      struct inode **out)
{
    uint32_t size = (uint32_t)strlen(target);
    struct p9_call *c = begin_named(dir, P9_TSYMLINK, name, 2 + size + 4, QID_SIZE);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put_text(&c->put, target, size);
    p9_put32(&c->put, group(dir));
    err = run_and_end(dir, c);
    return err < 0 ? err : look_up_made(dir, name, out);
}

static int p9_link(struct inode *dir, const struct name *name, struct inode *target)
{
    struct p9_call *c = p9_begin(session_of(dir), P9_TLINK, 10 + name->length, 0);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, p9_node_of(dir)->fid);
    p9_put32(&c->put, p9_node_of(target)->fid);
    p9_put_text(&c->put, name->text, name->length);
    err = run_and_end(dir, c);
    if (err == 0) {
        target->nlink++;
    }
    return err;
}

static int remove_name(struct inode *dir, const struct name *name, uint32_t flags)
{
    struct p9_call *c = begin_named(dir, P9_TUNLINKAT, name, 4, 0);

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, flags);
    return run_and_end(dir, c);
}

/* nlink as far as we know: other names may be the host's work. */
static void link_gone(struct inode *inode, bool is_directory)
{
    p9_node_of(inode)->fetched_ns = 0;
    inode->nlink = is_directory ? 0 : inode->nlink - min_of(inode->nlink, 1u);
}

static int p9_unlink(struct inode *dir, const struct name *name, struct inode *target)
{
    int err = remove_name(dir, name, 0);

    if (err == 0) {
        link_gone(target, false);
    }
    return err;
}

static int p9_rmdir(struct inode *dir, const struct name *name, struct inode *target)
{
    int err = remove_name(dir, name, AT_REMOVE_DIR);

    if (err == 0) {
        link_gone(target, true);
    }
    return err;
}

static int p9_rename(struct inode *from_dir, const struct name *from, struct inode *moved,
                     struct inode *to_dir, const struct name *to, struct inode *replaced,
                     unsigned flags)
{
    struct p9_call *c;
    int err;

    (void)moved;
    if (flags & ~RENAME_NOREPLACE) {
        return -EINVAL;
    }
    c = begin_named(from_dir, P9_TRENAMEAT, from, 4 + 2 + to->length, 0);
    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, p9_node_of(to_dir)->fid);
    p9_put_text(&c->put, to->text, to->length);
    err = run_and_end(from_dir, c);
    if (err == 0 && replaced) {
        link_gone(replaced, S_ISDIR(replaced->mode));
    }
    return err;
}

/* --- listing ---------------------------------------------------------------------------------- */

/* The fid for listing, opened at the first need. */
static int list_fid(struct p9_node *dir, uint32_t *out)
{
    uint32_t expected = P9_FID_NONE;
    uint32_t fid = atomic_load_explicit(&dir->list_fid, memory_order_acquire);
    int err = 0;

    if (fid == P9_FID_NONE) {
        err = p9_open_fid(dir->fs->session, dir->fid, O_RDONLY | O_DIRECTORY, &fid);
        if (err == 0 &&
            !atomic_compare_exchange_strong_explicit(&dir->list_fid, &expected, fid,
                                                     memory_order_acq_rel, memory_order_acquire)) {
            p9_clunk(dir->fs->session, fid);
            fid = expected; /* another reader was faster */
        }
    }
    *out = fid;
    return err;
}

static bool is_name(const uint8_t *text, uint16_t size)
{
    return text && size > 0 && size <= NAME_MAX && !memchr(text, '/', size) &&
           !memchr(text, '\0', size);
}

static bool is_dots(const uint8_t *text, uint16_t size)
{
    return text[0] == '.' && (size == 1 || (size == 2 && text[1] == '.'));
}

/* The server's positions follow ours; the last one may be INT64_MAX itself. */
static uint64_t cookie_of(uint64_t offset)
{
    return offset > (uint64_t)INT64_MAX - FIRST_COOKIE ? (uint64_t)INT64_MAX
                                                       : offset + FIRST_COOKIE;
}

static uint64_t offset_of(uint64_t cookie)
{
    return cookie == (uint64_t)INT64_MAX ? cookie : cookie - FIRST_COOKIE;
}

/* 1: the reader is full; 0: all given out, *offset goes on; -errno. */
static int emit_entries(struct p9_get *g, uint64_t *offset, struct dir_emit *e)
{
    while (g->left > 0) {
        uint64_t ino;
        uint64_t next;
        uint8_t dtype;
        uint16_t size;
        const uint8_t *text;

        (void)p9_get8(g);
        (void)p9_get32(g);
        ino = p9_get64(g);
        next = p9_get64(g);
        dtype = p9_get8(g);
        size = p9_get16(g);
        text = p9_get_bytes(g, size);
        if (g->is_short || !is_name(text, size)) {
            return -EIO;
        }
        if (!is_dots(text, size) &&
            !e->emit(e, (const char *)text, size, ino, dtype & 15u, cookie_of(next))) {
            return 1;
        }
        *offset = next;
    }
    return 0;
}

static int p9_readdir(struct inode *inode, uint64_t cookie, struct dir_emit *e)
{
    struct p9_session *s = session_of(inode);
    uint64_t offset = offset_of(max_of(cookie, (uint64_t)FIRST_COOKIE));
    uint32_t fid;
    int err = list_fid(p9_node_of(inode), &fid);

    while (err == 0) {
        struct p9_call *c = p9_begin(s, P9_TREADDIR, 16, 4 + LISTING_SIZE);
        uint32_t size;

        if (!c) {
            return -ENOMEM;
        }
        p9_put32(&c->put, fid);
        p9_put64(&c->put, offset);
        p9_put32(&c->put, LISTING_SIZE);
        err = p9_run(s, c);
        size = err < 0 ? 0 : p9_get32(&c->get);
        c->get.left = min_of(c->get.left, size);
        if (size == 0) {
            p9_end(c);
            return err;
        }
        err = emit_entries(&c->get, &offset, e);
        p9_end(c);
    }
    return min_of(err, 0);
}

static void refresh_before_stat(struct inode *inode)
{
    p9_refresh_old(p9_node_of(inode));
}

const struct inode_ops p9_dir_ops = {
    .lookup = p9_lookup,
    .create = p9_create,
    .mkdir = p9_mkdir,
    .symlink = p9_symlink,
    .link = p9_link,
    .unlink = p9_unlink,
    .rmdir = p9_rmdir,
    .rename = p9_rename,
    .readdir = p9_readdir,
    .setattr = p9_setattr,
    .refresh = refresh_before_stat,
    .is_current = p9_is_current,
    .evict = p9_evict,
    .free = p9_free,
};

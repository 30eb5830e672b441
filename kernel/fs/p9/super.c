/* SPDX-License-Identifier: Apache-2.0 */
/* Mounting: by mount(2), as the root, and as the command line says. */
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/options.h>
#include <fs/p9/p9.h>
#include <mm/slab.h>
#include <sched/timer.h>

#define V9FS_MAGIC       0x01021997u
#define MESSAGE_WANTED   (128u << 10)
#define MESSAGE_MIN      4096u
#define VERSION          "9P2000.L"
#define VERSION_EXTENDED "9P2000.L.drupe"
#define TAG_ALL          "drupe.shares"
#define QID_SIZE         13u
/* How long a name is believed when the mount does not say: changes by the host show that late. */
#define CACHE_RO_NS UINT64_C(1000000000)
#define CACHE_RW_NS UINT64_C(100000000)

/* --- sessions --------------------------------------------------------------------------------- */

/* Does the server speak `version`? 1, 0, or -errno. */
static int agree(struct p9_session *s, const char *version)
{
    uint32_t length = (uint32_t)strlen(version);
    struct p9_call *c = p9_begin(s, P9_TVERSION, 6 + length, 4 + 2 + 32);
    const uint8_t *text;
    uint16_t size;
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, MESSAGE_WANTED);
    p9_put_text(&c->put, version, length);
    err = p9_run(s, c);
    if (err == 0) {
        s->message_max = min_of(p9_get32(&c->get), MESSAGE_WANTED);
        size = p9_get16(&c->get);
        text = p9_get_bytes(&c->get, size);
        err = text && size == length && memcmp(text, version, length) == 0;
    }
    p9_end(c);
    return err;
}

/* The channel's session; its first mount makes it. */
static int session_get(struct p9_channel *ch, struct p9_session **out)
{
    struct p9_session *s = ch->session;
    int err;

    if (s) {
        *out = s;
        return 0;
    }
    s = kmalloc(sizeof(*s), GFP_KERNEL);
    if (!s) {
        return -ENOMEM;
    }
    memset(s, 0, sizeof(*s));
    s->channel = ch;
    atomic_init(&s->next_fid, 1);
    err = agree(s, VERSION_EXTENDED);
    s->has_extensions = err == 1;
    if (err == 0) {
        err = agree(s, VERSION);
    }
    if (err != 1 || s->message_max < MESSAGE_MIN) {
        log_error("9p: %s: the server does not speak %s (error %d)", ch->tag, VERSION,
                  -min_of(err, 0));
        kfree(s);
        return err < 0 ? err : -EPROTONOSUPPORT;
    }
    ch->session = s;
    *out = s;
    return 0;
}

static int attach(struct p9_session *s, const char *name, uint32_t fid)
{
    static const char user[] = "root";
    uint32_t length = (uint32_t)strlen(name);
    struct p9_call *c = p9_begin(s, P9_TATTACH, 12 + 2 + 4 + 2 + length, QID_SIZE);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, fid);
    p9_put32(&c->put, P9_FID_NONE);
    p9_put_text(&c->put, user, sizeof(user) - 1);
    p9_put_text(&c->put, name, length);
    p9_put32(&c->put, 0);
    err = p9_run(s, c);
    p9_end(c);
    return err;
}

/* --- file systems ----------------------------------------------------------------------------- */

static int p9_statfs(struct super_block *sb, struct statfs_info *out)
{
    const struct p9_fs *fs = sb->private;
    struct p9_call *c = p9_begin(fs->session, P9_TSTATFS, 4, 60);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, p9_node_of(sb->root)->fid);
    err = p9_run(fs->session, c);
    if (err == 0) {
        (void)p9_get32(&c->get);
        out->type = V9FS_MAGIC;
        out->block_size = p9_get32(&c->get);
        out->blocks = p9_get64(&c->get);
        out->blocks_free = p9_get64(&c->get);
        (void)p9_get64(&c->get); /* for others than root */
        out->files = p9_get64(&c->get);
        out->files_free = p9_get64(&c->get);
        out->name_max = NAME_MAX;
        err = c->get.is_short ? -EIO : 0;
    }
    p9_end(c);
    return err;
}

static void p9_destroy(struct super_block *sb)
{
    kfree(sb->private);
}

static const struct super_ops super_ops = {
    .destroy = p9_destroy,
    .statfs = p9_statfs,
};

static int make_root(struct p9_fs *fs, const char *name)
{
    struct p9_session *s = fs->session;
    uint32_t fid = p9_new_fid(s);
    struct p9_node *root;
    struct p9_attr a;
    int err = attach(s, name, fid);

    if (err < 0) {
        return err;
    }
    err = p9_fetch_attr(s, fid, &a);
    if (err < 0 || !S_ISDIR(a.mode)) {
        p9_clunk(s, fid);
        return err < 0 ? err : -ENOTDIR;
    }
    err = p9_node_get(fs, &a, fid, &root);
    if (err == 0) {
        fs->sb->root = &root->inode;
    }
    return err;
}

/* A share stands behind a device of its own, or behind the one for all, by name. */
static int find_share(const char *tag, struct p9_channel **channel, const char **name)
{
    *name = "";
    *channel = tag ? p9_channel_find(tag) : NULL;
    if (!*channel && tag) {
        *name = tag;
        *channel = p9_channel_find(TAG_ALL);
    }
    return *channel ? 0 : -ENOENT;
}

static int p9_mount(struct file_system *type, const char *source, unsigned flags,
                    const char *options, struct super_block **out)
{
    struct p9_channel *channel;
    struct p9_session *session;
    const char *name;
    uint64_t cache_ms;
    struct p9_fs *fs;
    int err = find_share(source, &channel, &name);

    err = err < 0 ? err : session_get(channel, &session);
    if (err < 0) {
        return err;
    }
    fs = kmalloc(sizeof(*fs), GFP_KERNEL);
    if (!fs) {
        return -ENOMEM;
    }
    memset(fs, 0, sizeof(*fs));
    fs->session = session;
    fs->cache_ns = flags & MS_RDONLY ? CACHE_RO_NS : CACHE_RW_NS;
    if (mount_option_size(options, "cache_ms", 0, &cache_ms) && cache_ms <= 3600000) {
        fs->cache_ns = cache_ms * NSEC_PER_MSEC;
    }
    spin_init(&fs->lock, RANK_FS_MISC);
    for (unsigned i = 0; i < P9_BUCKETS; i++) {
        list_init(&fs->buckets[i]);
    }
    fs->sb = super_create(type, &super_ops, flags);
    if (!fs->sb) {
        kfree(fs);
        return -ENOMEM;
    }
    fs->sb->private = fs;
    fs->sb->never_caches = true;
    err = make_root(fs, name);
    if (err < 0) {
        super_put(fs->sb); /* frees fs */
        return err;
    }
    *out = fs->sb;
    return 0;
}

struct file_system p9_type = { .name = "9p", .mount = p9_mount };
/* What guests of libkrun mount by a tag. */
struct file_system p9_virtiofs_type = { .name = "virtiofs", .mount = p9_mount };

/* --- the command line ------------------------------------------------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `%xx` becomes its byte. False: nonsense, or it does not fit. */
static bool decode(const char *from, size_t size, char *to, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < size && n + 1 < room; i++) {
        char c = from[i];

        if (c == '%') {
            if (size - i < 3 || hex(from[i + 1]) < 0 || hex(from[i + 2]) < 0) {
                return false;
            }
            c = (char)(hex(from[i + 1]) * 16 + hex(from[i + 2]));
            i += 2;
        }
        to[n++] = c;
    }
    to[n] = '\0';
    return n + 1 < room && n > 0 && strlen(to) == n && to[0] == '/';
}

/* Every directory on the way, made where it is missing. */
static int make_path(char *path, struct path *out)
{
    struct path root = { root_mount, root_mount->root };

    for (char *p = path + 1;; p++) {
        struct place at;
        struct inode *made;
        char end = *p;
        unsigned links = 0;
        int err;

        if (end != '/' && end != '\0') {
            continue;
        }
        *p = '\0';
        err = path_lookup_from(&root, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);
        if (err == -ENOENT) {
            err = place_lookup_from(&root, path, 0, &links, &at);
            if (err == 0) {
                struct inode *dir = at.dir.dentry->inode;

                rwsem_write_lock(&dir->lock);
                err = at.kind != NAME_NORMAL || !dir->ops->mkdir ? -ENOENT
                      : path_is_read_only(&at.dir)               ? -EROFS
                                                   : dir->ops->mkdir(dir, &at.name, 0755, &made);
                rwsem_write_unlock(&dir->lock);
                if (err == 0) {
                    inode_put(made);
                    dentry_prune(at.dir.dentry); /* it was remembered as missing */
                }
                place_put(&at);
            }
            if (err == 0) {
                err = path_lookup_from(&root, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);
            }
        }
        *p = end;
        if (err < 0 || end == '\0') {
            return err;
        }
        path_put(out);
    }
}

/* One word: tag:path:mode. */
static int mount_share(const char *word, size_t size)
{
    const char *colon = memchr(word, ':', size);
    size_t tag_size = colon ? (size_t)(colon - word) : 0;
    unsigned flags = MS_NOSUID | MS_NODEV;
    char tag[P9_TAG_MAX + 1];
    struct path on;
    char *path;
    int err = -EINVAL;

    if (!colon || tag_size > P9_TAG_MAX || size - tag_size < 5 || word[size - 3] != ':') {
        log_error("boot: drupe.share=%.*s: want <tag>:<path>:<ro|rw>", (int)size, word);
        return -EINVAL;
    }
    memcpy(tag, word, tag_size);
    tag[tag_size] = '\0';
    flags |= word[size - 1] == 'o' ? MS_RDONLY : 0u;
    path = kmalloc(PATH_MAX, GFP_KERNEL);
    if (!path) {
        return -ENOMEM;
    }
    if (decode(colon + 1, size - tag_size - 4, path, PATH_MAX)) {
        err = make_path(path, &on);
        if (err == 0) {
            err = mount_file_system("9p", tag, &on, flags, NULL);
            path_put(&on);
        }
    }
    if (err < 0) {
        log_error("boot: share %s at %s: cannot be mounted (error %d)", tag, path, -err);
    }
    kfree(path);
    return err;
}

int p9_mount_shares(void)
{
    size_t size;
    const char *word;
    int err = 0;

    for (unsigned n = 0; err == 0 && (word = boot_option_at("drupe.share=", n, &size)) != NULL;
         n++) {
        err = mount_share(word, size);
    }
    return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server in a snapshot: every fid as the path of its file below its share's root. Where the
 * machine goes on, each path is walked anew as the client once did, component after component and
 * never through a link; so a hostile snapshot reaches nothing that its guest could not reach.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "abi/snapshot.h"

#include "p9_internal.h"

static_assert(sizeof(((struct snapshot_9p_share *)NULL)->tag) >= P9_TAG_MAX, "every tag fits");

/* ---- Where a fid's file lies ---- */

/* The host's own name of what a descriptor stands for, as far as it has one. Its length or -errno.
 */
static ssize_t host_path(const struct p9_server *s, int fd, char path[PATH_MAX])
{
    char name[P9_FD_NAME_SIZE];
    ssize_t n;

    p9_fd_name(fd, name);
    n = readlinkat(s->proc_fd, name, path, PATH_MAX - 1);
    if (n < 0) {
        return -errno;
    }
    path[n] = '\0';
    return n;
}

/* The path below the share's root, without a slash in front; "" is the root. -ESTALE: none. */
static int path_in_share(const struct p9_server *s, const struct p9_fid *f, char path[PATH_MAX])
{
    char root[PATH_MAX];
    ssize_t n = host_path(s, f->share->root_fd, root);
    ssize_t size = n < 0 ? n : host_path(s, f->fd, path);

    if (size < 0) {
        return -ESTALE;
    }
    n = n == 1 ? 0 : n; /* "/" */
    if (size < n || memcmp(path, root, (size_t)n) != 0 || (path[n] != '/' && path[n] != '\0')) {
        return -ESTALE;
    }
    n += path[n] == '/';
    memmove(path, path + n, (size_t)(size - n) + 1);
    return 0;
}

/* The file at such a path, found step by step. An O_PATH descriptor or -errno. */
static int walk_path(const struct p9_share *share, const char *path)
{
    const char *rest = path[0] == '\0' ? NULL : path;
    int at = fcntl(share->root_fd, F_DUPFD_CLOEXEC, 0);
    int err = at < 0 ? -errno : 0;

    while (err == 0 && rest != NULL) {
        const size_t size = strcspn(rest, "/");
        char name[P9_NAME_SIZE];
        int next = -1;

        err = p9_name((struct p9_text){ .bytes = rest, .size = (uint16_t)size }, name);
        if (err == 0) {
            next = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
            err = next < 0 ? -errno : 0;
        }
        if (err == 0) {
            (void)close(at);
            at = next;
        }
        rest = rest[size] == '/' ? rest + size + 1 : NULL;
    }
    if (err < 0 && at >= 0) {
        (void)close(at);
    }
    return err < 0 ? err : at;
}

/* Does the path lead to the fid's file, and not to another that has its name by now? */
static bool is_found_at(const struct p9_fid *f, const char *path)
{
    struct stat there;
    struct stat ours;
    bool is_same = false;
    int fd = walk_path(f->share, path);

    if (fd >= 0) {
        is_same = p9_stat_fd(fd, &there) == 0 && p9_stat(f, &ours) == 0 &&
                  there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
        (void)close(fd);
    }
    return is_same;
}

/* ---- Saving ---- */

static size_t entry_size(size_t path_size)
{
    return (sizeof(struct snapshot_9p_fid) + path_size + 7) / 8 * 8;
}

size_t p9_server_state_size(const struct p9_server *s)
{
    size_t size = sizeof(struct snapshot_9p);
    char path[PATH_MAX];

    for (unsigned i = 0; i < P9_BUCKETS; i++) {
        for (const struct p9_fid *f = s->buckets[i]; f != NULL; f = f->next) {
            const bool has_path = f->fd >= 0 && path_in_share(s, f, path) == 0;

            size += entry_size(has_path ? strlen(path) : 0);
        }
    }
    return size;
}

/* The entry at `out`; its size, or 0 when a path that has grown meanwhile no longer fits. */
static size_t save_fid(const struct p9_server *s, const struct p9_fid *f, uint8_t *out, size_t room)
{
    struct snapshot_9p_fid entry = {
        .id = f->id,
        .uid = f->uid,
        .open_flags = (uint32_t)f->open_flags,
        .share = (uint16_t)(f->share - s->shares),
        .flags = (uint16_t)(f->is_open ? SNAPSHOT_9P_FID_IS_OPEN : 0),
    };
    char path[PATH_MAX];

    if (f->fd < 0 || path_in_share(s, f, path) < 0 || !is_found_at(f, path) ||
        entry_size(strlen(path)) > room) {
        entry.flags |= SNAPSHOT_9P_FID_IS_LOST;
        path[0] = '\0';
    }
    if (entry_size(strlen(path)) > room) {
        return 0;
    }
    entry.path_size = (uint32_t)strlen(path);
    memcpy(out, &entry, sizeof(entry));
    memcpy(out + sizeof(entry), path, entry.path_size);
    return entry_size(entry.path_size);
}

size_t p9_server_save(const struct p9_server *s, void *state, size_t room)
{
    struct snapshot_9p *head = state;
    size_t at = sizeof(*head);

    assert(room >= sizeof(*head));
    head->message_max = s->message_max;
    head->flags = s->has_extensions ? SNAPSHOT_9P_HAS_EXTENSIONS : 0;
    head->share_count = s->share_count;
    for (unsigned i = 0; i < s->share_count; i++) {
        memcpy(head->shares[i].tag, s->shares[i].tag, strlen(s->shares[i].tag));
    }
    head->device_count = s->device_count;
    for (unsigned i = 0; i < s->device_count; i++) {
        head->devices[i] = (uint64_t)s->devices[i];
    }
    for (unsigned i = 0; i < P9_BUCKETS; i++) {
        for (const struct p9_fid *f = s->buckets[i]; f != NULL; f = f->next) {
            const size_t size = save_fid(s, f, (uint8_t *)state + at, room - at);

            at += size;
            head->fid_count += size != 0;
        }
    }
    return at;
}

/* ---- Loading ---- */

/* The server's share with the tag that a saved share had. */
static const struct p9_share *share_of(const struct p9_server *s, const struct snapshot_9p *head,
                                       unsigned index)
{
    for (unsigned i = 0; i < s->share_count; i++) {
        if (strncmp(s->shares[i].tag, head->shares[index].tag, P9_TAG_MAX) == 0) {
            return &s->shares[i];
        }
    }
    return NULL;
}

/* The fid's file as it lies there now, opened if it was. A descriptor or -errno. */
static int find_file(const struct p9_server *s, const struct p9_share *share,
                     const struct snapshot_9p_fid *entry, const char *path)
{
    const int flags = (int)entry->open_flags & P9_OPEN_FLAGS & ~O_TRUNC;
    int fd = walk_path(share, path);
    int opened;
    struct stat st;
    int err;

    if (fd < 0 || (entry->flags & SNAPSHOT_9P_FID_IS_OPEN) == 0) {
        return fd;
    }
    err = p9_stat_fd(fd, &st);
    if (err == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        err = -ENXIO; /* as for Tlopen */
    }
    if (err == 0 && share->is_read_only && (flags & O_ACCMODE) != O_RDONLY) {
        err = -EROFS;
    }
    opened = err < 0 ? err : p9_reopen(s, fd, flags);
    (void)close(fd);
    return opened;
}

static int load_fid(struct p9_server *s, const struct snapshot_9p *head,
                    const struct snapshot_9p_fid *entry, const char *bytes, const char **why)
{
    const struct p9_share *share =
        entry->share < head->share_count ? share_of(s, head, entry->share) : NULL;
    struct p9_fid *f = NULL;
    char path[PATH_MAX];
    int fd = -1;
    int err;

    if (share == NULL) {
        *why = "an open file lies in a share that is not there";
        return -EINVAL;
    }
    memcpy(path, bytes, entry->path_size);
    path[entry->path_size] = '\0';
    if ((entry->flags & SNAPSHOT_9P_FID_IS_LOST) == 0) {
        fd = find_file(s, share, entry, path);
    }
    err = p9_fid_add(s, entry->id, share, entry->uid, fd, &f);
    if (err < 0) {
        *why = err == -ENFILE ? "it has more files open than may be" : "a fid is there twice";
        if (fd >= 0) {
            (void)close(fd);
        }
        return err;
    }
    if ((entry->flags & SNAPSHOT_9P_FID_IS_OPEN) != 0) {
        p9_fid_opened(f, entry->open_flags);
    }
    return 0;
}

static int load_head(struct p9_server *s, const struct snapshot_9p *head, const char **why)
{
    *why = "its state is damaged";
    if (head->share_count > P9_SHARES_MAX || head->device_count > P9_DEVICES_MAX ||
        (head->message_max != 0 &&
         (head->message_max < P9_MESSAGE_MIN || head->message_max > P9_MESSAGE_MAX))) {
        return -EINVAL;
    }
    if (head->share_count != s->share_count) {
        *why = "it has another number of shared folders";
        return -EINVAL;
    }
    for (unsigned i = 0; i < head->share_count; i++) {
        if (share_of(s, head, i) == NULL) {
            *why = "one of its shared folders is not given";
            return -EINVAL;
        }
    }
    s->message_max = head->message_max;
    s->has_extensions = (head->flags & SNAPSHOT_9P_HAS_EXTENSIONS) != 0;
    s->device_count = head->device_count;
    for (unsigned i = 0; i < head->device_count; i++) {
        s->devices[i] = (dev_t)head->devices[i];
    }
    return 0;
}

int p9_server_load(struct p9_server *s, const void *state, size_t size, const char **why)
{
    const struct snapshot_9p *head = state;
    size_t at = sizeof(*head);
    int err;

    assert(s->fid_count == 0);
    *why = "its state is damaged";
    if (size < sizeof(*head)) {
        return -EINVAL;
    }
    err = load_head(s, head, why);
    for (uint32_t i = 0; err == 0 && i < head->fid_count; i++) {
        struct snapshot_9p_fid entry;

        *why = "its state is damaged";
        if (size - at < sizeof(entry)) {
            return -EINVAL;
        }
        memcpy(&entry, (const uint8_t *)state + at, sizeof(entry));
        if (entry.path_size >= PATH_MAX || entry_size(entry.path_size) > size - at) {
            return -EINVAL;
        }
        err = load_fid(s, head, &entry, (const char *)state + at + sizeof(entry), why);
        at += entry_size(entry.path_size);
    }
    return err;
}

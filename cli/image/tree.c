/* SPDX-License-Identifier: Apache-2.0 */
/* The file system in memory; see tree.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "../files.h"
#include "tree.h"

struct image_tree *tree_create(void)
{
    struct image_tree *t = alloc_zeroed(1, sizeof(*t));

    t->root.name = text_copy("");
    t->root.mode = S_IFDIR | 0755;
    t->root.parent = &t->root;
    t->spool_fd = -1;
    t->node_count = 1;
    return t;
}

static void free_contents(struct image_node *n)
{
    for (size_t i = 0; i < n->child_count; i++) {
        free_contents(n->children[i]);
        free(n->children[i]);
    }
    free(n->children);
    free(n->name);
    free(n->bytes);
}

void tree_destroy(struct image_tree *t)
{
    if (t) {
        free_contents(&t->root);
        cleanup_fd(&t->spool_fd);
        free(t);
    }
}

/* ---- Entries of a directory --------------------------------------------------------------------
 */

/* Where `name` is or belongs among the children. */
static size_t child_place(const struct image_node *dir, const char *name, size_t size,
                          bool *is_there)
{
    size_t low = 0;
    size_t high = dir->child_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *other = dir->children[middle]->name;
        int order = strncmp(other, name, size);

        if (order == 0 && other[size] != '\0') {
            order = 1;
        }
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *is_there = false;
    return low;
}

static struct image_node *child_find(const struct image_node *dir, const char *name, size_t size)
{
    bool is_there = false;
    size_t place = child_place(dir, name, size, &is_there);

    return is_there ? dir->children[place] : NULL;
}

static int child_add(struct image_tree *t, struct image_node *dir, const char *name, size_t size,
                     struct image_node **out)
{
    bool is_there = false;
    size_t place = child_place(dir, name, size, &is_there);

    assert(!is_there);
    if (t->node_count >= IMAGE_NODES_MAX) {
        return -ENOSPC;
    }
    if (dir->depth >= IMAGE_DEPTH_MAX) {
        return -ENAMETOOLONG;
    }
    struct image_node *n = alloc_zeroed(1, sizeof(*n));

    if (dir->child_count == dir->child_capacity) {
        dir->child_capacity = max_of(dir->child_capacity * 2, (size_t)8);
        dir->children =
            alloc_resized(dir->children, dir->child_capacity, sizeof(struct image_node *));
    }
    memmove(&dir->children[place + 1], &dir->children[place],
            (dir->child_count - place) * sizeof(struct image_node *));
    dir->children[place] = n;
    dir->child_count++;
    n->parent = dir;
    n->depth = dir->depth + 1;
    n->name = text_copy_sized(name, size);
    t->node_count++;
    *out = n;
    return 0;
}

static struct image_node *target_of(struct image_node *n)
{
    assert(!n->link || !n->link->link);
    return n->link ? n->link : n;
}

/* ---- Paths -------------------------------------------------------------------------------------
 */

struct walk {
    struct image_tree *tree;
    struct image_node *at;
    unsigned links;     /* symbolic links followed so far */
    bool makes_parents; /* create directories that are missing */
};

static int walk_path(struct walk *w, const char *path, bool follows_last, const char **last_name);

/* Go on at a symbolic link's target; w->at is the directory that holds the link. */
static int walk_link(struct walk *w, const struct image_node *n)
{
    if (++w->links > IMAGE_LINKS_MAX) {
        return -ELOOP;
    }
    if (n->bytes[0] == '/') {
        w->at = &w->tree->root;
    }
    return walk_path(w, n->bytes, true, NULL);
}

static int walk_part(struct walk *w, const char *part, size_t size, bool is_last, bool follows_last)
{
    if (size > IMAGE_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (!S_ISDIR(w->at->mode)) {
        return -ENOTDIR;
    }
    if (size == 1 && part[0] == '.') {
        return 0;
    }
    if (size == 2 && part[0] == '.' && part[1] == '.') {
        w->at = w->at->parent;
        return 0;
    }
    struct image_node *n = child_find(w->at, part, size);

    if (!n) {
        if (!w->makes_parents) {
            return -ENOENT;
        }
        int err = child_add(w->tree, w->at, part, size, &n);

        if (err < 0) {
            return err;
        }
        n->mode = S_IFDIR | 0755;
    }
    n = target_of(n);
    if (S_ISLNK(n->mode) && (!is_last || follows_last)) {
        return walk_link(w, n);
    }
    w->at = n;
    return 0;
}

/*
 * Walk `path` from w->at. With last_name, stop before the last part and say where it begins; it
 * must be an ordinary name.
 */
static int walk_path(struct walk *w, const char *path, bool follows_last, const char **last_name)
{
    if (strlen(path) > IMAGE_PATH_MAX) {
        return -ENAMETOOLONG;
    }
    for (;;) {
        while (*path == '/') {
            path++;
        }
        size_t size = strcspn(path, "/");
        bool is_last = path[size + strspn(path + size, "/")] == '\0';

        if (size == 0) {
            return last_name ? -EINVAL : 0;
        }
        if (is_last && last_name) {
            bool is_dots =
                (size == 1 && path[0] == '.') || (size == 2 && strncmp(path, "..", 2) == 0);

            *last_name = path;
            return is_dots ? -EINVAL : size > IMAGE_NAME_MAX ? -ENAMETOOLONG : 0;
        }
        int err = walk_part(w, path, size, is_last, follows_last);

        if (err < 0 || is_last) {
            return err;
        }
        path += size;
    }
}

struct image_node *tree_find(struct image_tree *t, const char *path, bool follow)
{
    struct walk w = { .tree = t, .at = &t->root };

    return walk_path(&w, path, follow, NULL) == 0 ? w.at : NULL;
}

static bool is_below(const struct image_node *n, const struct image_node *dir)
{
    while (n != dir && n->parent != n) {
        n = n->parent;
    }
    return n == dir;
}

/* A name outside of `gone` that stays a link to a file inside it takes the file over. */
static void rescue_links(struct image_node *at, const struct image_node *gone)
{
    if (at == gone) {
        return;
    }
    if (at->link && is_below(at->link, gone)) {
        struct image_node *from = at->link;

        at->source = from->source;
        at->size = from->size;
        at->spool_offset = from->spool_offset;
        at->bytes = from->bytes ? text_copy_sized(from->bytes, strlen(from->bytes)) : NULL;
        if (from->source == SOURCE_BYTES) {
            free(at->bytes);
            at->bytes = text_copy_sized(from->bytes, (size_t)from->size);
        }
        at->link = NULL;
    }
    for (size_t i = 0; i < at->child_count; i++) {
        rescue_links(at->children[i], gone);
    }
}

static void forget_contents(struct image_node *n)
{
    free(n->bytes);
    n->bytes = NULL;
    n->link = NULL;
    n->is_link_target = false;
    n->source = SOURCE_NONE;
    n->size = 0;
    n->device = 0;
}

/* An empty node of that mode at `path`, new or in the place of what was there. */
static int put_node(struct image_tree *t, const char *path, mode_t mode, struct image_node **out)
{
    struct walk w = { .tree = t, .at = &t->root, .makes_parents = true };
    const char *name = NULL;
    int err = walk_path(&w, path, false, &name);

    if (err < 0) {
        return err;
    }
    if (!S_ISDIR(w.at->mode)) {
        return -ENOTDIR;
    }
    size_t size = strcspn(name, "/");
    struct image_node *n = child_find(w.at, name, size);

    if (n && S_ISDIR(n->mode)) {
        return -EISDIR;
    }
    if (n && n->is_link_target) {
        rescue_links(&t->root, n);
    }
    if (n) {
        forget_contents(n);
    } else {
        err = child_add(t, w.at, name, size, &n);
    }
    if (err < 0) {
        return err;
    }
    n->mode = mode;
    n->uid = 0;
    n->gid = 0;
    *out = n;
    return 0;
}

/* ---- Adding ------------------------------------------------------------------------------------
 */

int tree_add_dir(struct image_tree *t, const char *path, mode_t permissions)
{
    struct walk w = { .tree = t, .at = &t->root, .makes_parents = true };
    int err = walk_path(&w, path, true, NULL);

    if (err < 0) {
        return err;
    }
    if (!S_ISDIR(w.at->mode)) {
        return -ENOTDIR;
    }
    w.at->mode = S_IFDIR | (permissions & 07777);
    return 0;
}

int tree_add_bytes(struct image_tree *t, const char *path, mode_t permissions, const void *bytes,
                   size_t size)
{
    struct image_node *n = NULL;
    int err = put_node(t, path, S_IFREG | (permissions & 07777), &n);

    if (err < 0) {
        return err;
    }
    n->source = SOURCE_BYTES;
    n->bytes = text_copy_sized(bytes, size);
    n->size = size;
    return 0;
}

int tree_add_symlink(struct image_tree *t, const char *path, const char *target)
{
    struct image_node *n = NULL;
    size_t size = strlen(target);

    if (size == 0 || size > IMAGE_PATH_MAX) {
        return size ? -ENAMETOOLONG : -EINVAL;
    }
    int err = put_node(t, path, S_IFLNK | 0777, &n);

    if (err < 0) {
        return err;
    }
    n->source = SOURCE_BYTES;
    n->bytes = text_copy(target);
    n->size = size;
    return 0;
}

int tree_add_host_file(struct image_tree *t, const char *path, mode_t permissions,
                       const char *host_path, uint64_t size)
{
    struct image_node *n = NULL;
    int err = put_node(t, path, S_IFREG | (permissions & 07777), &n);

    if (err < 0) {
        return err;
    }
    n->source = SOURCE_FILE;
    n->bytes = text_copy(host_path);
    n->size = size;
    return 0;
}

int tree_add_device(struct image_tree *t, const char *path, mode_t mode, unsigned device_major,
                    unsigned device_minor)
{
    struct image_node *n = NULL;
    bool has_device = S_ISCHR(mode) || S_ISBLK(mode);

    if (!has_device && !S_ISFIFO(mode) && !S_ISSOCK(mode)) {
        return -EINVAL;
    }
    if (device_major > 0xfff || device_minor > 0xfffff) {
        return -EINVAL;
    }
    int err = put_node(t, path, mode & (S_IFMT | 07777), &n);

    if (err < 0) {
        return err;
    }
    /* Linux' new_encode_dev(). */
    n->device = has_device ? (device_minor & 0xff) | (device_major << 8) |
                                 ((device_minor & ~UINT32_C(0xff)) << 12)
                           : 0;
    return 0;
}

int tree_add_hard_link(struct image_tree *t, const char *path, const char *target)
{
    struct image_node *to = tree_find(t, target, false);
    struct image_node *n = NULL;

    if (!to) {
        return -ENOENT;
    }
    if (S_ISDIR(to->mode)) {
        return -EISDIR;
    }
    struct image_node *there = tree_find(t, path, false);

    if (there == to) {
        return 0; /* the same file already */
    }
    int err = put_node(t, path, to->mode, &n);

    if (err == 0) {
        n->link = to;
        to->is_link_target = true;
    }
    return err;
}

int tree_add_spooled(struct image_tree *t, const char *path, mode_t permissions,
                     struct image_node **out)
{
    if (t->spool_fd < 0) {
        t->spool_fd = memfd_create("drupe-spool", MFD_CLOEXEC);
        if (t->spool_fd < 0) {
            return -errno;
        }
    }
    int err = put_node(t, path, S_IFREG | (permissions & 07777), out);

    if (err < 0) {
        return err;
    }
    (*out)->source = SOURCE_SPOOL;
    (*out)->spool_offset = t->spool_size;
    return 0;
}

int tree_spool(struct image_tree *t, struct image_node *node, const void *bytes, size_t size)
{
    const char *p = bytes;

    assert(node->source == SOURCE_SPOOL);
    assert(node->spool_offset + node->size == t->spool_size);
    while (size > 0) {
        ssize_t n = pwrite(t->spool_fd, p, size, (off_t)t->spool_size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        t->spool_size += (uint64_t)n;
        node->size += (uint64_t)n;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

/* ---- Removing ----------------------------------------------------------------------------------
 */

static uint32_t count_nodes(const struct image_node *n)
{
    uint32_t count = 1;

    for (size_t i = 0; i < n->child_count; i++) {
        count += count_nodes(n->children[i]);
    }
    return count;
}

void tree_remove_path(struct image_tree *t, const char *path)
{
    struct walk w = { .tree = t, .at = &t->root };
    const char *name = NULL;
    bool is_there = false;

    if (walk_path(&w, path, false, &name) < 0 || !S_ISDIR(w.at->mode)) {
        return;
    }
    size_t place = child_place(w.at, name, strcspn(name, "/"), &is_there);

    if (!is_there) {
        return;
    }
    struct image_node *gone = w.at->children[place];

    rescue_links(&t->root, gone);
    t->node_count -= count_nodes(gone);
    w.at->child_count--;
    memmove(&w.at->children[place], &w.at->children[place + 1],
            (w.at->child_count - place) * sizeof(struct image_node *));
    free_contents(gone);
    free(gone);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes and paths of a tree's nodes, and a tree written to the host's file system. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "../files.h"
#include "tree.h"

/* ---- Reading -----------------------------------------------------------------------------------
 */

static int read_at(int fd, uint64_t offset, void *out, size_t size)
{
    char *p = out;

    while (size > 0) {
        ssize_t n = pread(fd, p, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EAGAIN;
        }
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

int tree_read(struct image_tree *t, const struct image_node *node, int *host_fd, uint64_t offset,
              void *out, size_t size)
{
    struct stat st;

    assert(range_fits(offset, size, node->size));
    switch (node->source) {
    case SOURCE_NONE:
        return 0;
    case SOURCE_BYTES:
        memcpy(out, node->bytes + offset, size);
        return 0;
    case SOURCE_SPOOL:
        return read_at(t->spool_fd, node->spool_offset + offset, out, size);
    case SOURCE_FILE:
        if (*host_fd < 0) {
            *host_fd = open(node->bytes, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        }
        if (*host_fd < 0 || fstat(*host_fd, &st) < 0) {
            return -errno;
        }
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != node->size) {
            return -EAGAIN;
        }
        return read_at(*host_fd, offset, out, size);
    }
    return -EINVAL;
}

char *tree_path(const struct image_node *node)
{
    char *path = text_copy(node->parent == node ? "/" : "");

    for (; node->parent != node; node = node->parent) {
        char *longer = text_format("/%s%s", node->name, path);

        free(path);
        path = longer;
    }
    return path;
}

static int extract_file(struct image_tree *t, const struct image_node *n, const char *path)
{
    CLEANUP_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (n->mode & 0777) | 0600);
    CLEANUP_FD host_fd = -1;
    char chunk[65536];

    if (fd < 0) {
        return -errno;
    }
    for (uint64_t at = 0; at < n->size;) {
        size_t size = (size_t)min_of(n->size - at, (uint64_t)sizeof(chunk));
        int err = tree_read(t, n, &host_fd, at, chunk, size);

        if (err == 0) {
            err = fd_write_all(fd, chunk, size);
        }
        if (err < 0) {
            return err;
        }
        at += size;
    }
    return 0;
}

static int extract_node(struct image_tree *t, struct image_node *n, const char *path)
{
    struct image_node *file = n->link ? n->link : n;
    int err = 0;

    if (S_ISREG(file->mode)) {
        return extract_file(t, file, path);
    }
    if (S_ISLNK(file->mode)) {
        return symlink(file->bytes, path) < 0 ? -errno : 0;
    }
    if (!S_ISDIR(n->mode)) {
        return 0;
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    for (size_t i = 0; i < n->child_count && err == 0; i++) {
        CLEANUP_FREE char *child = path_join(path, n->children[i]->name);

        err = extract_node(t, n->children[i], child);
    }
    return err;
}

int tree_extract(struct image_tree *t, const char *path, const char *dir)
{
    struct image_node *n = tree_find(t, path, true);

    return n ? extract_node(t, n, dir) : -ENOENT;
}
